"""Mean profiles before and after the strongest inserts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from marginome.figures.shared import nothing, position_label, styled
from marginome.plots import DOWN, GREY, SETS, UP
from marginome.tables import INSERT_KEYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from marginome.results import Profiles


@styled
def profiles_figure(profiles: Sequence[Profiles], effects: pd.DataFrame, *, top: int = 6) -> Figure:
    """Mean profiles on both strands before and after the strongest inserts.

    Parameters
    ----------
    profiles : sequence of marginome.results.Profiles
        One per model, background set and output; those of the first model and output are drawn.
    effects : pandas.DataFrame
        The effect table that the profiles' rows count in.
    top : int, default 6
        Inserts shown, one per motif: those whose profile changes most in the first background set.

    Returns
    -------
    matplotlib.figure.Figure
        A row per insert, a column per background set. The minus strand points down; the shaded place is the insert.
        Values in bins stand in the middle of theirs. Where the bases of a value are not known, values are counted and
        nothing is shaded. Without profiles (models whose outputs are scalars) the figure says so.
    """
    effects = effects.reset_index(drop=True)
    if not profiles:
        return nothing("There are no profiles in this screen.")
    first = effects.loc[profiles[0].rows[0]]
    blocks = [
        block
        for block in profiles
        if block.output == profiles[0].output and effects.loc[block.rows[0], "model"] == first["model"]
    ][:3]
    rows = np.asarray(blocks[0].rows)
    change = np.concatenate(  # in pieces: the profiles of all inserts together may not fit in memory
        [
            np.abs(blocks[0].after[i : i + 256] - np.asarray(blocks[0].before)).sum(axis=(1, 2))
            for i in range(0, len(rows), 256)
        ]
    )
    chosen, seen = [], set()
    for i in np.argsort(-change, kind="stable"):
        motif = tuple(effects.loc[rows[i], [c for c in ("collection", "motif_id") if c in effects]])
        if motif not in seen:
            seen.add(motif)
            chosen.append(i)
        if len(chosen) == top:
            break
    keys = [c for c in INSERT_KEYS if c in effects]
    figure = Figure(figsize=(min(9.5, 1.2 + 3.4 * len(blocks)), 0.9 + 1.25 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(blocks), squeeze=False, sharex=True, sharey=True)
    for column, block in enumerate(blocks):
        # NaN keys do not equal themselves, so they are compared as text
        where = {tuple(map(str, key)): i for i, key in enumerate(effects.loc[block.rows, keys].itertuples(index=False))}
        x = np.arange(block.before.shape[-1])
        x = block.first + block.step * x + (block.step - 1) / 2 if block.step else x
        for line, i in enumerate(chosen):
            ax, row = axes[line, column], effects.loc[rows[i]]
            at = where.get(tuple(map(str, row[keys])))
            if at is not None:
                _profile(ax, x, np.asarray(block.before), np.asarray(block.after[at]))
            if "start" in effects and "insert" in effects and block.step:
                ax.axvspan(row["start"], row["start"] + len(row["insert"]), color=SETS[3], alpha=0.25, linewidth=0)
            if column == 0:
                name = row["motif_name"] if "motif_name" in effects else row["motif_id"]
                ax.set_ylabel(f"{name} {row['orientation']}".replace("-", "\u2212"))
            if line == 0:
                ax.set_title(str(effects.loc[block.rows[0], "background"]))
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper right", ncols=4)
    figure.supxlabel(position_label(blocks[0].step), fontsize=8)
    figure.supylabel(f"mean probability, {blocks[0].output}", fontsize=8)
    return figure


def _profile(ax: Axes, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
    strands = len(before)
    for s in range(strands):
        sign = -1 if strands == 2 and s == 1 else 1
        name = ("+", "\u2212")[s] if strands == 2 else ("" if strands == 1 else f"track {s + 1}")
        ax.plot(x, sign * before[s], color=(GREY, "#5a6776")[s % 2], linewidth=0.7, label=f"before {name}".strip())
        ax.plot(x, sign * after[s], color=(UP, DOWN)[s % 2], linewidth=0.9, label=f"after {name}".strip())
    ax.axhline(0, color="#5a6776", linewidth=0.5)
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    ax.margins(x=0)
