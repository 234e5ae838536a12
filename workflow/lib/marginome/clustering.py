"""The order of rows and columns of a clustered heatmap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist

#: Up to so many rows branches are turned, which takes seconds beyond.
MOST_TURNED = 600


class Clustered(NamedTuple):
    """A hierarchical clustering.

    Attributes
    ----------
    order : numpy.ndarray
        The rows as the tree has them from left to right, int64, shape (n,).
    tree : numpy.ndarray or None
        SciPy's linkage matrix, float64, shape (n - 1, 4); None for fewer than two rows.
    """

    order: np.ndarray
    tree: np.ndarray | None


def cluster_rows(values: np.ndarray) -> Clustered:
    """Cluster the rows of a matrix.

    Parameters
    ----------
    values : numpy.ndarray
        Effects, shape (n, m); NaN counts as 0, no effect.

    Returns
    -------
    Clustered
        Average linkage of Euclidean distances: rows without much of an effect are alike, whatever their noise. Up to
        `MOST_TURNED` rows branches are turned so that neighbours are alike (Bar-Joseph et al. 2001, Bioinformatics
        17:S22, as SciPy 1.17 does it, which does not always find the shortest way; where it is longer than that of the
        tree as it was built, that stays). Memory is 8 bytes for each pair of rows.
    """
    filled = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
    if len(filled) < 2:
        return Clustered(np.arange(len(filled)), None)
    distances = pdist(filled)
    tree = linkage(distances, method="average")
    if len(filled) <= MOST_TURNED:
        tree = min(tree, optimal_leaf_ordering(tree, distances), key=lambda one: _way(filled, leaves_list(one)))
    return Clustered(leaves_list(tree).astype(np.int64), tree)


def _way(values: np.ndarray, order: np.ndarray) -> float:
    """Return the sum of the distances between neighbours."""
    return float(np.linalg.norm(np.diff(values[order], axis=0), axis=1).sum())
