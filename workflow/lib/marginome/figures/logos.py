"""Sequence logos: of the motifs that were put in, and of attributions around them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from marginome.figures.shared import MINUS, nothing, one_output, signed, strongest, styled
from marginome.plots import BASES, GREY


@styled
def logos_figure(effects: pd.DataFrame, motifs: pd.DataFrame, *, model: str | None = None,
                 output: str | None = None, top: int = 15) -> Figure:  # fmt: skip
    """Logos of the strongest motifs, in the orientation that acts most, over the bases that were put in.

    Parameters
    ----------
    effects : pandas.DataFrame
        The effect table.
    motifs : pandas.DataFrame
        ``motif_id``, ``pwm`` ((4, w) probabilities in the order A C G T) and, where there are several collections,
        ``collection``. A motif without a row is drawn from its insert.
    model, output : str, optional
        By default the first ones of the table.
    top : int, default 15
        Motifs from the top; a third as many from the bottom.

    Returns
    -------
    matplotlib.figure.Figure
        Letters are as high as their information, 0 to 2 bits.
    """
    from marginome.logos import plot_logo

    rows, model, output = one_output(effects.reset_index(drop=True), model, output)
    chosen = strongest(rows, top)
    keys = [c for c in ("collection", "motif_id") if c in motifs and c in chosen]
    given = {tuple(map(str, key)): pwm for *key, pwm in motifs[[*keys, "pwm"]].itertuples(index=False)}
    columns = 3 if len(chosen) > 6 else 2 if len(chosen) > 3 else 1
    lines = -(-len(chosen) // columns)
    figure = Figure(figsize=(3.1 * columns, 1.05 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).T.ravel()
    widest = max((len(str(text)) for text in chosen["insert"]), default=1)
    for ax in axes[len(chosen) :]:
        ax.set_visible(False)
    for ax, row in zip(axes, chosen.itertuples(index=False)):
        insert = str(row.insert)
        pwm = given.get(tuple(str(getattr(row, k)) for k in keys))
        pwm = np.array([[float(b == base) for b in insert] for base in "ACGT"]) if pwm is None else np.stack(list(pwm))
        if row.orientation == "-" and given.get(tuple(str(getattr(row, k)) for k in keys)) is not None:
            pwm = pwm[::-1, ::-1]
        plot_logo(information(pwm), ax=ax, color=BASES, ylim=(0, 2))
        ax.set_xlim(-0.6, max(widest, 8) - 0.4)
        ax.set_yticks([0, 2])
        ax.set_xticks([])
        ax.set_title(f"{row.label}  effect {signed(row.effect)}", pad=2)
        if len(insert) == pwm.shape[1]:
            for i, base in enumerate(insert):
                ax.text(i, -0.12, base if base in BASES else "\u00b7", color=BASES.get(base, GREY), fontsize=6,
                        ha="center", va="top", family="monospace")  # fmt: skip
    figure.supylabel("bits", fontsize=7)
    return figure


def information(pwm: np.ndarray) -> np.ndarray:
    """Return letter heights of a logo in bits: p times (2 - entropy), (4, w); columns of zeros stay zero."""
    total = pwm.sum(0)
    p = pwm / np.where(total > 0, total, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(p > 0, p * np.log2(p), 0), axis=0)
    return p * np.where(total > 0, 2 - entropy, 0)


@styled
def attributions_figure(
    inserts: pd.DataFrame, before: np.ndarray, after: np.ndarray, *, what: str = "attribution", unit: str = ""
) -> Figure:
    """Mean attributions around inserts, without them and with them, on one scale per insert.

    Parameters
    ----------
    inserts : pandas.DataFrame
        ``motif_name``, ``orientation``, ``start``, ``insert`` and ``effect``, in the order to draw.
    before, after : numpy.ndarray
        (inserts, 4, window); the middle of the insert is at column ``window // 2``. NaN beyond the sequence's ends.
    what, unit : str
        What was attributed, and its unit.

    Returns
    -------
    matplotlib.figure.Figure
        A row per insert, before at the left and after at the right, positions counted from the insert's first base
        (shaded). Without inserts the figure says so.
    """
    from marginome.logos import plot_logo

    if not len(inserts):
        return nothing("There are no attributions to show.")
    window = before.shape[2]
    figure = Figure(figsize=(9, 1.15 * len(inserts) + 0.7), layout="constrained")
    axes = figure.subplots(len(inserts), 2, squeeze=False)
    for line, row in enumerate(inserts.itertuples(index=False)):
        both = [np.nan_to_num(values[line]) for values in (before, after)]
        highest = max(1e-12, *(np.maximum(v, 0).sum(0).max() for v in both))
        lowest = min(0.0, *(np.minimum(v, 0).sum(0).min() for v in both))
        width = len(row.insert)
        at = window // 2 - width // 2  # column of the insert's first base
        for ax, values in zip(axes[line], both):
            ax.axvspan(at - 0.5, at + width - 0.5, color="#eef1f4", linewidth=0, zorder=0)
            plot_logo(values, ax=ax, color=BASES, ylim=(1.05 * lowest, 1.05 * highest))
            ticks = [t for t in range(-(at // 10) * 10, window - at, 10) if t % 20 == 0]
            ax.set_xticks([at + t for t in ticks], [f"{t}".replace("-", "\u2212") for t in ticks])
            ax.locator_params(axis="y", nbins=4)
        axes[line][0].set_title(f"{row.motif_name} ({row.orientation.replace('-', MINUS)}), before")
        axes[line][1].set_title(f"after, effect {signed(row.effect)}")
    for ax in axes[:-1].ravel():
        ax.tick_params(labelbottom=False)
    figure.supxlabel("position from the insert's first base (bp)", fontsize=8)
    figure.supylabel(f"{what} ({unit})" if unit else what, fontsize=8)
    return figure
