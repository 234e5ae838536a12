"""Figures, as matplotlib `Figure` objects without a window: the caller saves them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from marginome.bases import DINUCLEOTIDES
from marginome.seals import MARK, OPEN_SEAL, seal
from marginome.storage import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from marginome.background_set import BackgroundSet

#: Colours that stay apart for colour-blind readers: of effects, of what is beside the point, and of sets.
UP, DOWN, GREY = "#b54400", "#0068ac", "#8b95a1"
SETS = ("#0068ac", "#c98600", "#00805e", "#b5478a", "#5a6776", "#b54400")
#: A base's colour is the same here and on the interactive page.
BASES = {"A": "#00805e", "C": "#0068ac", "G": "#c98600", "T": "#b54400"}
#: The style of every figure.
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 9, "axes.labelsize": 8, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.7, "axes.edgecolor": "#5a6776", "xtick.color": "#3c4753",
    "ytick.color": "#3c4753", "axes.titlelocation": "left", "axes.unicode_minus": True, "text.parse_math": False,
    "svg.hashsalt": "marginome",
}  # fmt: skip


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure atomically, the same bytes every time; the format follows the name (svg, pdf, png)."""
    import matplotlib

    suffix = str(path).rsplit(".", 1)[-1]
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix, {})
    with matplotlib.rc_context({"svg.hashsalt": "marginome"}), atomic(path) as temporary:
        figure.savefig(temporary, format=suffix, bbox_inches="tight", dpi=150, metadata=undated)
        if suffix == "svg":
            text = temporary.read_text(encoding="utf-8").replace("<svg ", f"<!-- {MARK} -->\n<svg ", 1)
            body, end, _ = text.rpartition("</svg>")
            temporary.write_text(f"{body}<!-- {OPEN_SEAL} -->\n{end}\n", encoding="utf-8")
            seal(temporary)


def composition_figure(made: BackgroundSet) -> Figure:
    """Show the composition of a background set against what it should resemble.

    Parameters
    ----------
    made : BackgroundSet
        Of `marginome.backgrounds.make_background`.

    Returns
    -------
    matplotlib.figure.Figure
        Left: cumulative GC distribution of the set and, where there is one, of its target, with their
        Kolmogorov-Smirnov distance. Right: mean fraction of each dinucleotide in both (the bars are the
        standard deviation over sequences).
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = _composition(made)
        figure.draw_without_rendering()  # ticks are made when a figure is first laid out
    return figure


def _composition(made: BackgroundSet) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
    shown = [(made.table, SETS[0], f"{made.name} (n = {len(made.table)})")]
    if made.target is not None:
        shown.append((made.target, SETS[1], f"target (n = {len(made.target)})"))
    columns = list(DINUCLEOTIDES)
    at, width = np.arange(len(columns)), 0.8 / len(shown)
    for i, (table, colour, label) in enumerate(shown):
        left.ecdf(table["gc"].dropna(), color=colour, label=label)
        spread = table[columns].std(ddof=1).fillna(0.0) if len(table) > 1 else None
        right.bar(
            at + (i - (len(shown) - 1) / 2) * width, table[columns].mean(), width, yerr=spread, color=colour,
            label=label, error_kw={"elinewidth": 0.6, "ecolor": GREY},
        )  # fmt: skip
    left.set(xlabel="GC fraction", ylabel="cumulative fraction of sequences")
    if "gc_ks_distance" in made.checks:
        left.set_title(f"GC, KS distance {made.checks['gc_ks_distance']:.3f}")
    right.set_xticks(at, columns, rotation=90, fontfamily="monospace")
    right.set(ylabel="mean fraction")
    if "dinucleotide_distance" in made.checks:
        right.set_title(f"dinucleotides, total variation {made.checks['dinucleotide_distance']:.3f}")
    left.legend(loc="upper left")
    return figure
