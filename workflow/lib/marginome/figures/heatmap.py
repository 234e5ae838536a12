"""A heatmap: the strongest motifs in every single background and in every output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from marginome.figures.shared import aligned, one_output, strongest, styled, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIVERGING = LinearSegmentedColormap.from_list(
    "marginome", ["#083a68", "#4b8cc4", "#f7f7f5", "#dd8a4e", "#7d2c02"]
).with_extremes(bad="#dfe4ea")


@styled
def heatmap_figure(
    effects: pd.DataFrame,
    per_background: np.ndarray | None = None,
    *,
    model: str | None = None,
    output: str | None = None,
    top: int = 15,
) -> Figure:
    """Effects of the strongest and the lowest motifs: in every single background, and in every output.

    Parameters
    ----------
    effects : pandas.DataFrame
        The effect table, with an index of 0, 1, 2, ...
    per_background : numpy.ndarray, optional
        Effect in every background, (rows of `effects`, backgrounds), NaN for none. Without it each set is one column.
    model, output : str, optional
        By default the first ones of the table.
    top : int, default 15
        Motifs from the top; a third as many from the bottom.

    Returns
    -------
    matplotlib.figure.Figure
        Left, one block per background set with a column per background, each sorted by its mean; right (for models
        with several outputs), mean effects in every output relative to the largest of that output among all motifs.
        The colours are centred on zero.
    """
    effects = effects.reset_index(drop=True)
    rows, model, output = one_output(effects, model, output)
    chosen = strongest(rows, top)
    blocks = []
    for background, at in aligned(rows, chosen).items():
        if per_background is None:
            values = np.where(at >= 0, effects["effect"].to_numpy()[at], np.nan)[:, None]
        else:
            values = np.array([per_background[i] if i >= 0 else np.full(per_background.shape[1], np.nan) for i in at])
            values = values[:, ~np.isnan(values).all(0)] if len(values) else values
            values = values[:, np.argsort(-np.nan_to_num(values).mean(0), kind="stable")]
        blocks.append((background, values))
    outputs = effects.loc[effects["model"] == model, "output"].drop_duplicates().tolist()
    ratios = [max(v.shape[1], 4) for _, v in blocks]
    if len(outputs) > 1:
        ratios.append(max(0.25 * sum(ratios), 0.8 * len(outputs) * sum(ratios) / 40))
    # colour bars need room for their labels however few motifs there are; names of outputs stand below the panel
    height = max(3.2, 1.1 + 0.17 * len(chosen)) + (0.055 * max(map(len, outputs)) if len(outputs) > 1 else 0)
    width = 7.2 + (min(5.0, 0.22 * len(outputs)) if len(outputs) > 1 else 0)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    most = max((float(np.nanmax(np.abs(v), initial=0)) for _, v in blocks), default=0) or 1.0
    for ax, (background, values) in zip(axes, blocks):
        image = _heat(ax, values, most)
        ax.set_title(background)
        ax.set_xlabel(f"{values.shape[1]} backgrounds" if per_background is not None else "mean")
        ax.set_yticks([])
    axes[0].set_yticks(range(len(chosen)), chosen["label"])
    figure.colorbar(image, ax=axes[: len(blocks)], label=f"effect on {output} ({unit_of(rows)})", aspect=30, pad=0.01)
    if len(outputs) > 1:
        _outputs_panel(figure, axes[-1], effects[effects["model"] == model], chosen, outputs)
    return figure


def _outputs_panel(
    figure: Figure, ax: Axes, effects: pd.DataFrame, chosen: pd.DataFrame, outputs: Sequence[str]
) -> None:
    columns = []
    for name in outputs:
        some = effects[effects["output"] == name]
        means = np.full(len(chosen), np.nan)
        stack = [
            np.where(at >= 0, effects["effect"].reindex(at).to_numpy(), np.nan) for at in aligned(some, chosen).values()
        ]
        means = np.mean(stack, axis=0)
        columns.append(means / (some["effect"].abs().max() or 1.0))
    image = _heat(ax, np.array(columns).T, 1.0)
    ax.set_title("every output")
    ax.set_yticks([])
    shown = range(0, len(outputs), max(1, len(outputs) // 40))
    ax.set_xticks(list(shown), [outputs[i] for i in shown], rotation=90)
    figure.colorbar(image, ax=ax, label="share of the output's largest effect", aspect=30, pad=0.02)


def _heat(ax: Axes, values: np.ndarray, most: float):
    image = ax.imshow(values, aspect="auto", cmap=DIVERGING, vmin=-most, vmax=most, interpolation="nearest")
    ax.tick_params(length=0)
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    return image
