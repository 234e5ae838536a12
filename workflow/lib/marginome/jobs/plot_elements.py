"""One picture of an attribution entry: a locus with its seqlets, what each seqlet does alone, and the patterns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from marginome.attribution_file import open_attributions
from marginome.logos import plot_logo
from marginome.plots import BASES, DOWN, GREY, STYLE, UP, save_figure
from marginome.storage import read_table

#: Positions around the strongest seqlet that are drawn (bp).
SHOWN = 90
MOST_PATTERNS = 4


def plot_elements(
    name: str,
    *,
    attributions: str | os.PathLike,
    seqlets: str | os.PathLike,
    effects: str | os.PathLike | None,
    patterns: str | os.PathLike | None,
    figure: str | os.PathLike,
) -> None:
    """Draw the chain of one entry.

    Parameters
    ----------
    name : str
        Of the entry.
    attributions, seqlets : path
        HDF5, and the table of seqlets (with or without matches).
    effects : path or None
        Isolated effects of the seqlets.
    patterns : path or None
        Table of patterns (with or without matches).
    figure : path
        SVG to write: the locus of the strongest seqlet; if there are effects, each seqlet's isolated effect against its
        attribution in its locus; if there are patterns, the contributions of the largest ones.
    """
    import matplotlib
    from matplotlib.figure import Figure

    table = read_table(seqlets)
    found = None if patterns is None else read_table(patterns).nlargest(MOST_PATTERNS, "n_seqlets")
    alone = None if effects is None else read_table(effects)
    if not len(table) and (found is None or not len(found)):
        drawn = Figure(figsize=(5, 0.6))
        drawn.text(0.5, 0.5, f"There are no seqlets and no patterns in {name}.", ha="center", va="center")
        save_figure(drawn, figure)
        return
    rows = 1 if found is None else max(1, len(found))
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(9, 2.2 + 1.1 * max(2, rows)), layout="constrained")
        grid = drawn.add_gridspec(
            1 + rows, 2, height_ratios=[2.0, *[max(2, rows) / rows] * rows], width_ratios=[1, 1.4]
        )
        with open_attributions(attributions) as opened:
            _locus(drawn.add_subplot(grid[0, :]), opened, table, name)
        _alone(drawn.add_subplot(grid[1:, 0]), alone, table)
        _patterns([drawn.add_subplot(grid[1 + i, 1]) for i in range(rows)], found)
        drawn.draw_without_rendering()
    save_figure(drawn, figure)


def _locus(ax: Any, opened: Any, table: pd.DataFrame, name: str) -> None:
    unit = opened.metadata["unit"]
    if not len(table):
        ax.text(0.01, 0.5, f"{name}: no seqlet", transform=ax.transAxes)
        ax.set_axis_off()
        return
    best = table.loc[table["attribution"].abs().idxmax()]
    middle = int(best["start"] + best["end"]) // 2
    start = max(0, min(middle - SHOWN // 2, opened.length - SHOWN))
    end = min(opened.length, start + SHOWN)
    values = opened.part("hypothetical", best["example_idx"]).astype(np.float32)
    values = values * opened.part("sequences", best["example_idx"])
    mine = table[(table["example_idx"] == best["example_idx"]) & (table["end"] > start) & (table["start"] < end)]
    named = mine["match_name"] if "match_name" in mine else pd.Series(None, index=mine.index, dtype=object)
    marks = pd.DataFrame({"start": mine["start"], "end": mine["end"], "motif_name": named.fillna("seqlet")})
    plot_logo(values, ax=ax, color=BASES, start=start, end=end, annotations=marks, show_score=False)
    ax.set_title(f"{best['sequence_id']}, the strongest of {len(table)} seqlets in {len(opened)} loci")
    ax.set_ylabel(f"attribution\n({unit})")
    ax.set_xlabel("position in the locus (bp)")


def _alone(ax: Any, alone: pd.DataFrame | None, table: pd.DataFrame) -> None:
    if alone is None or not len(alone):
        ax.text(0.02, 0.5, "no isolated effects" if len(table) else "")
        ax.set_axis_off()
        return
    output = alone["output"].iloc[0]
    rows = alone[(alone["output"] == output) & (alone["background"] == alone["background"].iloc[0])]
    named = rows["match_name"].notna() if "match_name" in rows else pd.Series(True, index=rows.index)
    for some, colour, label in ((named, UP, "matches a motif"), (~named, GREY, "matches none")):
        part = rows[some]
        if len(part):
            ax.errorbar(
                part["attribution"], part["effect"], yerr=part["ci_high"] - part["effect"], fmt="o", ms=3, lw=0.6,
                color=colour, label=f"{label} ({len(part)})",
            )  # fmt: skip
    ax.axhline(0, color=DOWN, lw=0.6)
    ax.set_xlabel("attribution in its locus")
    ax.set_ylabel(f"effect on {output} alone ({rows['unit'].iloc[0]})")
    ax.set_title(f"Seqlets in {rows['background'].iloc[0]}")
    ax.legend(loc="upper left")


def _patterns(axes: Sequence[Any], found: pd.DataFrame | None) -> None:
    if found is None or not len(found):
        axes[0].text(0.02, 0.5, "" if found is None else "no pattern")
        axes[0].set_axis_off()
        return
    for ax, row in zip(axes, found.itertuples()):
        plot_logo(np.asarray(row.contributions, dtype=np.float64).reshape(-1, 4).T, ax=ax, color=BASES)
        matched = getattr(row, "match_name", None)
        q = f", {matched} (q {row.match_q:.1g})" if isinstance(matched, str) else ""
        ax.set_title(f"{row.pattern_id}: {row.n_seqlets} seqlets{q}")
        ax.set_ylabel("mean\nattribution")
