"""Families of motifs by models, both clustered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.cluster.hierarchy import dendrogram

from marginome.clustering import Clustered, cluster_rows
from marginome.figures.heatmap import DIVERGING
from marginome.figures.shared import nothing, styled
from marginome.model_matrices import ModelMatrix
from marginome.plots import GREY, SETS

#: Labels drawn, and values of one that the legend names.
_MOST_LABELS, _MOST_VALUES = 4, 12


@styled
def clustermap_figure(
    matrix: ModelMatrix,
    *,
    names: Sequence[str],
    labels: pd.DataFrame,
    top: int = 60,
    q: float = 0.05,
) -> Figure:
    """Show what families of motifs do in many models, clustered both ways, with side colours for labels.

    Parameters
    ----------
    matrix : ModelMatrix
        Families by models.
    names : sequence of str
        Of the families.
    labels : pandas.DataFrame
        A row for each model of the matrix, in its order; a column for each label, null where a model has none.
    top : int, default 60
        Families shown: those with the largest absolute effect in any model, of those found in one (q at most `q` in all
        of its background sets), or of all where there are no controls.
    q : float, default 0.05
        Where a family counts as found. What is found has a dot, where cells are large enough.

    Returns
    -------
    matplotlib.figure.Figure
    """
    tested = ~np.isnan(matrix.q)
    found = tested & (matrix.q <= q)
    able = found.any(1) if tested.any() else np.ones(len(matrix.rows), dtype=bool)
    size = np.where(able, np.nan_to_num(np.abs(matrix.effect), nan=0.0).max(1, initial=0.0), -1.0)
    chosen = np.argsort(-size, kind="stable")[: min(top, int(able.sum()))]
    if not len(chosen) or not len(matrix.models):
        return nothing(f"No family of motifs has q \u2264 {q:g} in any model.")
    values, found = matrix.effect[chosen], found[chosen]
    most = float(np.nanquantile(np.abs(values), 0.98)) or 1.0
    across, down = cluster_rows(values.T / most), cluster_rows(values / most)
    values, found = values[np.ix_(down.order, across.order)], found[np.ix_(down.order, across.order)]
    n, m = values.shape
    shown = [label for label in labels if labels[label].notna().any()][:_MOST_LABELS]
    named = m <= 60
    width, height = min(11, max(4.5, 0.13 * m + 2.6)), min(14, 0.15 * n + 1.8 + 0.14 * len(shown))
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.add_gridspec(
        2 + len(shown), 2, width_ratios=[0.6, width - 2.2], hspace=0.01, wspace=0.01,
        height_ratios=[0.5, *[0.14] * len(shown), max(0.6, height - 1.6)],
    )  # fmt: skip
    _tree(figure.add_subplot(grid[0, 1]), across, "top")
    _tree(figure.add_subplot(grid[1 + len(shown), 0]), down, "left")
    handles = []
    for i, label in enumerate(shown):
        handles += _side(figure.add_subplot(grid[1 + i, 1]), labels[label].to_numpy(object)[across.order], str(label))
    ax = figure.add_subplot(grid[1 + len(shown), 1])
    image = ax.imshow(values, aspect="auto", cmap=DIVERGING, vmin=-most, vmax=most, interpolation="nearest")
    if m <= 80:
        y, x = np.nonzero(found)
        ax.scatter(x, y, s=2.5, color="#16202c", linewidths=0)
    ax.yaxis.tick_right()
    ax.set_yticks(range(n), [names[chosen[i]] for i in down.order], fontsize=6)
    ax.set_xticks(range(m) if named else [], [matrix.models[i] for i in across.order] if named else [], rotation=90,
                  fontsize=6)  # fmt: skip
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("" if named else f"{m:,} models")
    figure.colorbar(image, ax=ax, label=f"effect on {matrix.output}", aspect=30, pad=0.02, extend="both")
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), fontsize=6)
    return figure


def _tree(ax: Axes, clustered: Clustered, side: str) -> None:
    ax.axis("off")
    if clustered.tree is None:
        return
    drawn = dendrogram(clustered.tree, no_plot=True)
    for x, y in zip(drawn["icoord"], drawn["dcoord"]):
        ax.plot(*((x, y) if side == "top" else (y, x)), color=GREY, linewidth=0.4)
    leaves = 10 * len(clustered.order)
    (ax.set_xlim if side == "top" else ax.set_ylim)(*((0, leaves) if side == "top" else (leaves, 0)))
    if side == "left":
        ax.invert_xaxis()


def _side(ax: Axes, values: np.ndarray, label: str) -> list[Patch]:
    """Draw the colours of one label; return what the legend says of them."""
    known = list(dict.fromkeys(v for v in values if pd.notna(v)))
    colours = {v: _colour(i) for i, v in enumerate(sorted(known, key=str))}
    ax.imshow([[colours.get(v, (0.93, 0.94, 0.95)) for v in values]], aspect="auto", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([0], [label], fontsize=6)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    told = [Patch(color=colour, label=f"{label}: {v}") for v, colour in list(colours.items())[:_MOST_VALUES]]
    more = len(known) - len(told)
    return [*told, *([Patch(alpha=0, label=f"{label}: and {more} more")] if more else [])]


def _colour(i: int) -> tuple[float, ...]:
    """Return a colour of the sets, lighter each time round."""
    share = 0.55 ** (i // len(SETS))
    return tuple(1 - share * (1 - v) for v in to_rgb(SETS[i % len(SETS)]))
