"""Outputs without an insert against outputs with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from marginome.figures.shared import aligned, one_output, signed, strongest, styled, unit_of
from marginome.plots import GREY, SETS


@styled
def before_after_figure(
    effects: pd.DataFrame,
    per_background: np.ndarray | None = None,
    baseline: Mapping[tuple[str, str, str], np.ndarray] | None = None,
    *,
    model: str | None = None,
    output: str | None = None,
    top: int = 6,
) -> Figure:
    """Output without an insert against output with it; on the diagonal the insert does nothing.

    Parameters
    ----------
    effects, per_background, model, output
        As in `heatmap_figure`.
    baseline : mapping, optional
        (model, background, output) -> outputs of the backgrounds without an insert, (backgrounds,). With it and
        `per_background`, and where the effect is the difference, every background is a point; without, every
        output and background set is one (its mean).
    top : int, default 6
        Motifs shown, strongest first.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per motif, one colour per background set.
    """
    effects = effects.reset_index(drop=True)
    rows, model, output = one_output(effects, model, output)
    chosen = strongest(rows, max(len(rows), 1), lowest=0)
    order = chosen["effect"].abs().sort_values(ascending=False, kind="stable").index[:top]
    chosen = chosen.loc[order].reset_index(drop=True)
    single = per_background is not None and baseline and (rows["measure"] == "difference").all()
    sets = list(dict.fromkeys(effects["background"]))
    points: list[list[tuple[str, np.ndarray, np.ndarray]]] = [[] for _ in range(len(chosen))]
    source = rows if single else effects[effects["model"] == model]
    groups = [(None, source)] if single else source.groupby("output", sort=False)
    for _, part in groups:
        for background, at in aligned(part, chosen).items():
            for panel, row in enumerate(at):
                if row < 0:
                    continue
                if single and (model, background, output) in baseline:
                    before = np.ravel(baseline[model, background, output])
                    points[panel].append((background, before, before + per_background[row][: len(before)]))
                elif not single:
                    points[panel].append(
                        (background, effects["before_mean"].to_numpy()[[row]], effects["after_mean"].to_numpy()[[row]])
                    )
    columns = min(3, max(len(chosen), 1))
    lines = -(-max(len(chosen), 1) // columns)
    figure = Figure(figsize=(2.35 * columns + 0.4, 2.3 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    every = [v for panel in points for _, b, a in panel for v in (*b, *a) if np.isfinite(v)]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    pad = 0.05 * (high - low or 1.0)
    for panel, ax in enumerate(axes):
        if panel >= len(chosen):
            ax.set_visible(False)
            continue
        ax.axline((low, low), slope=1, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        for name in sets:
            b = np.concatenate([p[1] for p in points[panel] if p[0] == name] or [np.zeros(0)])
            a = np.concatenate([p[2] for p in points[panel] if p[0] == name] or [np.zeros(0)])
            ax.scatter(b, a, s=13, color=SETS[sets.index(name) % len(SETS)], alpha=0.75, linewidth=0, label=name)
        ax.set_title(f"{chosen['label'][panel]}  effect {signed(chosen['effect'][panel])}")
        ax.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
    if len(sets) > 1:
        axes[0].legend(loc="lower right", handletextpad=0.1)
    figure.supxlabel(f"{output} before ({unit_of(rows)})" if single else "mean output before", fontsize=8)
    figure.supylabel("after", fontsize=8)
    return figure
