"""Naming seqlets and patterns: the best motif of a collection, and whether the match is more than chance.

Tomtom's p-values say how unusual a score is among the columns of the targets. They are no error rates for a query: a
column without information is near to everything, and a short or repetitive query has a good partner in every large
collection. So queries and motifs without enough information are not compared, and the best p-value of a query is
compared with the best p-values of column-shuffled queries, which have the same columns in an order that means nothing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marginome.errors import MarginomeError
from marginome.motifs.motif import Motif
from marginome.seeds import stable_seed

log = logging.getLogger("marginome")

#: Null queries that a query is compared with, at least, of its own width or the nearest ones.
NEAREST_NULL = 500
#: Fraction of the null that its exponential tail is fitted to.
TAIL = 0.1
#: Contrast of a query made of attributions, see `query_of_attributions`.
CONTRAST = 4.0


class Annotations(NamedTuple):
    """The best motif of each query; arrays with one entry per query.

    Attributes
    ----------
    motif : numpy.ndarray, int64
        Index of the best motif; -1 where the query was not compared.
    strand : numpy.ndarray of str
        "+" as the motif is given, "-" its reverse complement, "" where not compared.
    offset, overlap : numpy.ndarray, int64
        Where the motif's first column lies in the query, and columns of both that lie on each other (bp).
    tomtom_p : numpy.ndarray, float64
        Tomtom's p-value of that match; NaN where not compared.
    p, q : numpy.ndarray, float64
        Against column-shuffled queries, and Benjamini-Hochberg over the compared queries; 1 where not compared.
    information_bits : numpy.ndarray, float64
        Of the query.
    """

    motif: np.ndarray
    strand: np.ndarray
    offset: np.ndarray
    overlap: np.ndarray
    tomtom_p: np.ndarray
    p: np.ndarray
    q: np.ndarray
    information_bits: np.ndarray


def query_of_attributions(hypothetical: np.ndarray, sign: float) -> np.ndarray:
    """Turn hypothetical attributions into a matrix of probabilities that can be compared with motifs.

    Parameters
    ----------
    hypothetical : numpy.ndarray, shape (4, width)
        Attribution of each base as if it were there.
    sign : float
        Above 0 for a positive seqlet; a negative one is read upside down.

    Returns
    -------
    numpy.ndarray, float64, shape (4, width)
        Columns sum to one.

    Raises
    ------
    MarginomeError
        An attribution that is not finite.

    Notes
    -----
    ``softmax(4 h / max |h|)`` of the attributions h, centred per position: the strongest column nears certainty, one
    without attribution is flat. The bases that are there alone (one-hot) name the model's own motif in fewer than half
    of the seqlets where this does in nearly all (docs/elements.md).
    """
    if not np.isfinite(hypothetical).all() or not abs(sign) > 0:
        raise MarginomeError(
            f"its attributions are not finite, or its sign is 0 (found {sign})", where="annotate: a seqlet"
        )
    centred = np.sign(sign) * (hypothetical - hypothetical.mean(0, keepdims=True)).astype(np.float64)
    largest = np.abs(centred).max()
    powers = np.exp(CONTRAST * centred / largest) if largest > 0 else np.ones_like(centred)
    return powers / powers.sum(0, keepdims=True)


def information_bits(matrix: np.ndarray) -> float:
    """Return the information content (bits) of (4, width) probabilities against equal base frequencies."""
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(matrix == 0, 0.0, matrix * np.log2(matrix)).sum()  # NaN stays NaN
    return float(2 * matrix.shape[1] - entropy)


def annotate(
    queries: Sequence[np.ndarray],
    motifs: Sequence[Motif],
    *,
    seed: int,
    min_information_bits: float = 6.0,
    shuffles: int = 2000,
    threads: int = 1,
) -> Annotations:
    """Find the best motif of each query, and how often a column-shuffled query has as good a one.

    Parameters
    ----------
    queries : sequence of numpy.ndarray, each (4, width)
        Probabilities of A, C, G, T; see `query_of_attributions`.
    motifs : sequence of Motif
    seed : int
        Of the shuffles.
    min_information_bits : float, default 6
        Queries and motifs with less are not compared.
    shuffles : int, default 2000
        Column-shuffled queries in all, spread evenly over the compared ones.
    threads : int, default 1

    Returns
    -------
    Annotations

    Raises
    ------
    MarginomeError
        No motif has enough information.

    Notes
    -----
    The null of a query is made of the best p-values of shuffled queries of its own width, with those of the next
    widths until there are 500. Its p-value is the fraction of the null that is as small; beyond the smallest tenth, an
    exponential tail of -log10 p is fitted to that tenth, which is what the smallest of many p-values has
    (Gupta et al. 2007, Genome Biology 8:R24, for Tomtom).
    """
    n = len(queries)
    bits = np.array([information_bits(query) for query in queries])
    made = Annotations(
        np.full(n, -1), np.full(n, "", dtype=object), np.zeros(n, np.int64), np.zeros(n, np.int64),
        np.full(n, np.nan), np.ones(n), np.ones(n), bits,
    )  # fmt: skip
    targets = [i for i, motif in enumerate(motifs) if information_bits(motif.pwm.T) >= min_information_bits]
    if not targets:
        raise MarginomeError(
            f"none of {len(motifs)} motifs has {min_information_bits:g} bits",
            where="annotate.min_information_bits",
            remedy="Lower it, or give other motifs.",
        )
    compared = np.flatnonzero(bits >= min_information_bits)
    if len(compared) < n:
        log.info("%d of %d queries have less than %g bits: not compared", n - len(compared), n, min_information_bits)
    if not len(compared):
        return made
    rng = np.random.default_rng(stable_seed(seed, "shuffled queries"))
    chosen = [np.asarray(queries[i], dtype=np.float64) for i in compared]
    origin = np.concatenate([rng.permutation(len(chosen)) for _ in range(-(-shuffles // len(chosen)))])[:shuffles]
    shuffled = [chosen[i][:, rng.permutation(chosen[i].shape[1])] for i in origin]
    matrices = [motifs[i].pwm.T for i in targets]
    found = _tomtom(chosen, matrices, threads)
    null = _tomtom(shuffled, matrices, threads)
    widths = np.array([query.shape[1] for query in chosen])
    p = _against_null(-np.log10(found[0]), widths, -np.log10(null[0]), widths[origin])
    made.motif[compared] = np.array(targets)[found[5].astype(np.int64)]
    made.strand[compared] = np.where(found[4] > 0, "-", "+")
    made.offset[compared], made.overlap[compared] = -found[2], found[3]  # memelite counts from the motif
    made.tomtom_p[compared], made.p[compared] = found[0], p
    from scipy.stats import false_discovery_control

    made.q[compared] = false_discovery_control(p)
    return made


def _tomtom(queries: Sequence[np.ndarray], targets: Sequence[np.ndarray], threads: int) -> np.ndarray:
    """Return p-value, score, offset, overlap, strand and index of the best target of each query, (6, queries)."""
    from memelite import tomtom

    parts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few targets: the null below is of the same targets
        for i in range(0, len(queries), 5000):  # what it allocates grows with the number of queries
            parts.append(tomtom(list(queries[i : i + 5000]), list(targets), n_nearest=1, n_jobs=threads)[:, :, 0])
    best = np.concatenate(parts, axis=1)
    best[0] = np.where(np.isnan(best[0]), 1.0, np.maximum(best[0], 1e-300))  # no p-value: no match
    return best


def _against_null(scores: np.ndarray, widths: np.ndarray, null: np.ndarray, null_widths: np.ndarray) -> np.ndarray:
    """Return the p-value of each score (larger is better) against the null scores of the nearest widths."""
    p = np.ones(len(scores))
    for width in np.unique(widths):
        distance = np.abs(null_widths - width)
        reach = max(0, int(np.sort(distance)[min(NEAREST_NULL, len(distance)) - 1]))
        mine = np.sort(null[distance <= reach])
        some = widths == width
        above = len(mine) - np.searchsorted(mine, scores[some] - 1e-9)
        empirical = (1 + above) / (1 + len(mine))
        cut = np.quantile(mine, 1 - TAIL)
        beyond = mine[mine > cut] - cut
        fraction = len(beyond) / len(mine)
        if len(beyond) >= 10 and beyond.mean() > 0:
            tail = fraction * np.exp(-np.maximum(scores[some] - cut, 0) / beyond.mean())
            # In the tail's own range the counts are the better estimate as long as there are a few of them.
            p[some] = np.where(above >= 10, empirical, np.minimum(tail, np.maximum(empirical, 11 / (1 + len(mine)))))
        else:
            p[some] = empirical
    return p
