"""Families of similar motifs, so that forty nearly identical AP-1 matrices read as one finding."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from marginome.errors import MarginomeError
from marginome.seeds import stable_seed

log = logging.getLogger(__name__)

# Tomtom takes the columns of the targets as its background; fewer target motifs than this make its p-values hang on
# which motifs happen to be in the collection, so random ones are added as targets (never as members).
_ENOUGH_TARGETS = 100
_BLOCK = 256  # motifs that Tomtom is asked for at a time
_FLOOR = 1e-30  # smaller p-values are all the same motif
_MIN_BITS = 0.5  # a motif with less information in all says nothing and is like nothing


class Families(NamedTuple):
    """Families of a collection, in the order of its motifs.

    Attributes
    ----------
    family : numpy.ndarray
        Number of each motif's family, int64, shape (n_motifs,): 0, 1, ... in the order of their first members.
    representative : list of str
        For each motif the id of its family's most central member: the one most similar to all others, the first of
        them if several are.
    p : numpy.ndarray
        Tomtom p-value of each pair, the smaller of both directions; symmetric, float64, shape (n_motifs, n_motifs).
    """

    family: np.ndarray
    representative: list[str]
    p: np.ndarray


def motif_families(
    pwms: Sequence[np.ndarray], ids: Sequence[str], *, max_p: float = 1e-4, threads: int = 1
) -> Families:
    """Group the motifs of a collection by similarity.

    Parameters
    ----------
    pwms : sequence of numpy.ndarray
        Probabilities of A, C, G, T at each position, each of shape (4, width); widths may differ.
    ids : sequence of str
        Their ids.
    max_p : float, default 1e-4
        Two groups become one family while the geometric mean of the Tomtom p-values between their members is at most
        this. Smaller gives more and tighter families.
    threads : int, default 1
        Threads of Tomtom, at most those numba has; the result does not depend on it.

    Returns
    -------
    Families
        See there. A motif like no other is a family of its own; so is one of less than 0.5 bits in all.

    Raises
    ------
    MarginomeError
        If there are not as many ids as motifs or a matrix is not (4, width).

    Notes
    -----
    Similarity is Tomtom's (Gupta et al. 2007), in memelite's implementation with the complete score, either strand,
    any overlap. Clustering is average linkage on log10 p: single linkage would chain the zinc fingers into one family,
    complete linkage tears AP-1 apart. 1,019 JASPAR motifs take some 5 s on one core (and once half a minute more, when
    memelite is compiled). Memory is the p-values of all pairs (8 bytes each), and some more for the largest group of
    motifs that similar pairs connect.
    """
    n = len(pwms)
    if len(ids) != n:
        raise MarginomeError(f"{len(ids)} ids for {n} motifs", where="motif_families")
    matrices = [np.ascontiguousarray(pwm, dtype=np.float64) for pwm in pwms]
    for name, matrix in zip(ids, matrices):
        if matrix.ndim != 2 or matrix.shape[0] != 4 or matrix.shape[1] == 0 or not np.isfinite(matrix).all():
            raise MarginomeError(f"has shape {matrix.shape}, wanted finite (4, width)", where=f"motif '{name}'")
    if n == 0:
        return Families(np.zeros(0, dtype=np.int64), [], np.zeros((0, 0)))
    p = _pairwise_p(matrices, threads)
    groups = _clusters(p, np.log10(max_p) - np.log10(_FLOOR))
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    family = number[group]
    representative = [""] * n
    for members in _members(family):
        closeness = -np.log10(p[np.ix_(members, members)])
        np.fill_diagonal(closeness, 0.0)
        centre = ids[members[int(np.argmax(closeness.sum(axis=1).round(6)))]]
        for i in members:
            representative[i] = centre
    return Families(family, representative, p)


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Return the indices that have each label, in their order."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _clusters(p: np.ndarray, cutoff: float) -> np.ndarray:
    """Return the number of each motif's cluster: average linkage on log10 p, cut at a distance from the floor.

    Two clusters whose mean distance is within the cutoff have a pair within it, so no cluster reaches over two
    connected components of such pairs, and each component is clustered by itself. That needs the distances of the
    largest component, not of all pairs.
    """
    rows = [
        np.flatnonzero(np.log10(row) - np.log10(_FLOOR) <= cutoff + 1e-9)  # the mean is rounded, hence a little more
        for row in p
    ]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    close = csr_matrix((np.ones(starts[-1], dtype=bool), np.concatenate(rows), starts), shape=p.shape)
    _, component = connected_components(close, directed=False)
    groups, used = np.zeros(len(p), dtype=np.int64), 0
    for members in _members(component):
        found = np.ones(1, dtype=np.int64)
        if len(members) > 1:
            distance = np.concatenate([np.log10(p[i, members[k + 1 :]]) for k, i in enumerate(members)])
            distance -= np.log10(_FLOOR)
            found = fcluster(linkage(distance, method="average"), cutoff, criterion="distance")
        groups[members] = found + used
        used += int(found.max())
    return groups


def _pairwise_p(matrices: list[np.ndarray], threads: int) -> np.ndarray:
    """Return the symmetric Tomtom p-values of motifs, clipped to [1e-30, 1].

    Tomtom gives five numbers a pair; asked for some motifs at a time, only the p-values are held for all.
    """
    # Late: they load slowly, and only this function needs them.
    import numba
    from memelite import tomtom

    n, targets = len(matrices), list(matrices)
    rng = np.random.default_rng(stable_seed("motif_families", "random targets"))
    while len(targets) < _ENOUGH_TARGETS:
        targets.append(np.ascontiguousarray(rng.dirichlet(np.full(4, 0.3), size=int(rng.integers(6, 16))).T))
    p = np.empty((n, n))
    blocks = [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
    for block in blocks:
        found = tomtom(matrices[block], targets, n_jobs=min(threads, numba.config.NUMBA_NUM_THREADS))
        p[block] = found[0][:, :n]
        if len(blocks) > 1:
            log.info("similarity of %d of %d motifs", min(block.stop, n), n)
    for i, one in enumerate(blocks):
        for other in blocks[i:]:
            smaller = np.minimum(p[one, other], p[other, one].T)
            smaller = np.clip(np.nan_to_num(smaller, nan=1.0), _FLOOR, 1.0)
            p[one, other], p[other, one] = smaller, smaller.T
    total = [m.sum(axis=0, keepdims=True) for m in matrices]
    bits = np.array([(2 * m.shape[1] + np.sum(_log2_weighted(m / t))) for m, t in zip(matrices, total)])
    empty = bits < _MIN_BITS
    p[empty, :], p[:, empty] = 1.0, 1.0
    return p


def _log2_weighted(probabilities: np.ndarray) -> np.ndarray:
    """Return p log2 p, 0 where p is 0."""
    return probabilities * np.log2(np.where(probabilities > 0, probabilities, 1.0))
