"""Calling seqlets: short spans of a sequence with unusually high or low attributions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
import pandas as pd
import torch

from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.sequences import name_some, refuse_meta

COLUMNS = {
    "example_idx": np.int64,
    "start": np.int64,
    "end": np.int64,
    "attribution": np.float64,
    "p-value": np.float64,
}
SIGNS = ("both", "positive", "negative")


class RecursiveSeqlets(NamedTuple):
    """Seqlets and the false discovery rate at every threshold; unpacks as ``seqlets, fdr``.

    Attributes
    ----------
    seqlets : pandas.DataFrame
        As `recursive_seqlets` returns them.
    fdr : pandas.DataFrame
        ``threshold``, ``n_seqlets``, ``n_control_seqlets``, ``fdr`` (NaN where nothing is called).
    """

    seqlets: pd.DataFrame
    fdr: pd.DataFrame


def recursive_seqlets(
    X: torch.Tensor | np.ndarray,
    threshold: float = 0.01,
    min_seqlet_len: int = 4,
    max_seqlet_len: int = 25,
    additional_flanks: int = 0,
    n_bins: int = 1000,
    X_control: torch.Tensor | np.ndarray | None = None,
    target_fdr: float = 0.1,
    return_fdr: bool = False,
    *,
    signs: str = "both",
) -> pd.DataFrame | RecursiveSeqlets:
    """Call seqlets by the recursive rule: every part of a seqlet is itself significant.

    A span is a seqlet when it and all spans inside it, down to `min_seqlet_len`, have a p-value below
    `threshold`. Longer spans are taken first, then those with smaller p-values; seqlets of one sign do
    not overlap before flanks are added. Positive and negative seqlets are called independently, each in
    its own tail; a positive and a negative one can share fewer than `min_seqlet_len` positions.

    Parameters
    ----------
    X : torch.Tensor or numpy.ndarray, shape (n, length)
        Attribution of the base that is there: ``attributions.sum(dim=1)``.
    threshold : float, default 0.01
        Largest p-value; at most 1. See the notes: it ranks spans, it is not an error rate.
    min_seqlet_len, max_seqlet_len : int, default 4 and 25
        Lengths of seqlets in bp, without flanks.
    additional_flanks : int, default 0
        Positions added on either side afterwards, as far as the sequence goes. The column
        ``attribution`` includes them, ``p-value`` does not.
    n_bins : int, default 1000
        Bins into which attributions are sorted for the null distribution.
    X_control : torch.Tensor or numpy.ndarray, shape (m, other length), optional
        Attributions of sequences without signal, such as shuffles of those of `X`. With them the threshold is
        chosen instead of given: of 117 from 0.1 to 1e-30, four a decade, the largest whose false discovery rate
        is at most `target_fdr`. The rate is the number of seqlets called in `X_control` by the null of `X`, plus
        one, scaled to the positions of `X`, over the number called in `X`.
    target_fdr : float, default 0.1
        Above 0. If no threshold reaches it, a warning says how near one came, and nothing is called.
    return_fdr : bool, default False
        Also return the rate at every threshold.
    signs : {"both", "positive", "negative"}, default "both"
        Which seqlets to call. Rates are of all that are called.

    Returns
    -------
    pandas.DataFrame
        One row per seqlet, by rising p-value: ``example_idx``, ``start``, ``end`` (from 0, end not
        included), ``attribution`` (their sum; its sign is the seqlet's), ``p-value``.
    RecursiveSeqlets
        Instead, with `return_fdr`: these and ``fdr``, one row per threshold.

    Raises
    ------
    MarginomeError
        Not two axes, empty, NaN, or impossible lengths and thresholds; `return_fdr` without `X_control`.

    Notes
    -----
    The null of a length is the sum of that many independent draws from the histogram of all attributions
    in `X`; the upper tail is for positive seqlets, the lower tail (the upper one of ``-X``) for negative
    ones. Neighbouring attributions are not independent and the signal is part of the histogram, so
    p-values depend on the other sequences in `X` and are for ranking.

    Examples
    --------
    >>> X = np.random.RandomState(0).normal(0, 0.01, (1, 500))
    >>> X[0, 100:110] += 1
    >>> recursive_seqlets(X)[["example_idx", "start", "end"]].iloc[0].tolist()  # with a little of what is around
    [0, 97, 113]
    """
    values = _attributions(X)
    if not 0 < threshold <= 1:
        raise MarginomeError(f"expected a p-value above 0 and at most 1, found {threshold}", where="threshold")
    if not 1 <= min_seqlet_len <= max_seqlet_len:
        raise MarginomeError(
            f"expected 1 <= min_seqlet_len <= max_seqlet_len, found {min_seqlet_len} and {max_seqlet_len}",
            where="min_seqlet_len, max_seqlet_len",
        )
    if not n_bins >= 2:
        raise MarginomeError(f"expected at least 2, found {n_bins}", where="n_bins")
    if not additional_flanks >= 0:
        raise MarginomeError(f"expected at least 0, found {additional_flanks}", where="additional_flanks")
    if signs not in SIGNS:
        raise unknown_name("choice of signs", signs, SIGNS, where="signs")

    if not 0 < target_fdr:
        raise MarginomeError(f"expected a rate above 0, found {target_fdr}", where="target_fdr")
    if return_fdr and X_control is None:
        raise MarginomeError("rates need controls", where="return_fdr", remedy="Give X_control.")

    longest = min(max_seqlet_len, values.shape[1])
    low, high = values.min(), values.max()
    # a value of a control beyond what X has counts as the largest that X has
    control = None if X_control is None else np.clip(_attributions(X_control, "X_control"), low, high)
    nulls = []
    if low < high and longest >= min_seqlet_len:
        for sign in {"both": (1, -1), "positive": (1,), "negative": (-1,)}[signs]:
            nulls.append(_null(values, control, sign, n_bins, longest))

    def call(of: np.ndarray, at: float, which: int) -> list[tuple[np.ndarray, ...]]:
        return [_call(null[which], of, null[2], at, min_seqlet_len, longest, additional_flanks) for null in nulls]

    rates = None
    if control is not None:
        rates = _discovery_rates(lambda at: (call(values, at, 0), call(control, at, 1)), values.size / control.size)
        reached = rates["threshold"][rates["fdr"] <= target_fdr]
        if reached.empty:
            warnings.warn(
                f"no threshold reaches a false discovery rate of {target_fdr:g} (the lowest is "
                f"{rates['fdr'].min():.2g}): no seqlets are called",
                stacklevel=2,
            )
            nulls = []
        else:
            threshold = float(reached.max())
    columns = [np.concatenate(parts) for parts in zip(*call(values, threshold, 0))] or [()] * len(COLUMNS)
    seqlets = pd.DataFrame({name: np.asarray(c, dtype) for (name, dtype), c in zip(COLUMNS.items(), columns)})
    seqlets = seqlets.sort_values(["p-value", "example_idx", "start"], ignore_index=True)
    return RecursiveSeqlets(seqlets, rates) if return_fdr else seqlets


def _null(
    values: np.ndarray, control: np.ndarray | None, sign: int, n_bins: int, longest: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return the bins of the values and of the control in one tail, and that tail of the null of the values."""
    tail = values.dtype.type(sign)
    lowest, highest = sorted((tail * values.min(), tail * values.max()))
    width = float(highest - lowest) / (n_bins - 1)
    bins, counts, largest = _binned(values, tail, lowest, width, n_bins, longest)
    others = None
    if control is not None:
        others, _, reach = _binned(control.astype(values.dtype), tail, lowest, width, n_bins, longest)
        largest = max(largest, reach)
    return bins, others, _tails(counts / values.size, longest, largest)


def _discovery_rates(called_at: Callable[[float], tuple[list, list]], scale: float) -> pd.DataFrame:
    """Return threshold, n_seqlets, n_control_seqlets and fdr (NaN where nothing is called), thresholds falling."""
    rows, some = [], True
    for threshold in 10.0 ** -np.linspace(1, 30, 117):
        if some:  # stricter thresholds call no more
            own, others = (sum(len(part[0]) for part in parts) for parts in called_at(threshold))
            some = own + others > 0
        rows.append((threshold, own, others, (others + 1) * scale / own if own else np.nan))
    return pd.DataFrame(rows, columns=["threshold", "n_seqlets", "n_control_seqlets", "fdr"])


def tfmodisco_seqlets(
    X_attr: torch.Tensor | np.ndarray,
    window_size: int = 21,
    flank: int = 10,
    target_fdr: float = 0.2,
    min_passing_frac: float = 0.03,
    max_passing_frac: float = 0.2,
    weak_threshold_for_counting_sign: float = 0.8,
) -> pd.DataFrame:
    """Call seqlets as TF-MoDISco does, positive and negative ones: fewer, and longer, made for finding patterns.

    Windows whose summed attribution stands out from a two-sided Laplace null at an estimated false
    discovery rate are taken from the highest down, with everything near a taken one left out. This is
    modisco-lite's own code (Shrikumar et al. 2018, arXiv:1811.00416).

    Parameters
    ----------
    X_attr : torch.Tensor or numpy.ndarray, shape (n, length)
        Attribution of the base that is there: ``attributions.sum(dim=1)``.
    window_size : int, default 21
        Positions summed up, in bp.
    flank : int, default 10
        Positions added on either side, in bp, at least 1. Windows that would stick out are not taken.
    target_fdr : float, default 0.2
        Of windows.
    min_passing_frac, max_passing_frac : float, default 0.03 and 0.2
        At least and at most this fraction of all windows passes the threshold, whatever the null says.
    weak_threshold_for_counting_sign : float, default 0.8
        Handed to modisco-lite; changes nothing about which seqlets are called.

    Returns
    -------
    pandas.DataFrame
        One row per seqlet: ``example_idx``, ``start``, ``end`` (with flanks; from 0, end not included),
        ``attribution`` (sum over the window without flanks). By sequence and falling strength.

    Raises
    ------
    MarginomeError
        Not two axes, empty, NaN, sequences that are too short, or attributions from which no null can be
        made, such as those of one sign.
    """
    from modiscolite.extract_seqlets import extract_seqlets  # takes a second, and few calls need it

    values = _attributions(X_attr, "X_attr").astype(np.float64)
    if not (flank >= 1 and window_size >= 1):
        raise MarginomeError(f"expected at least 1, found {window_size} and {flank}", where="window_size, flank")
    if values.shape[1] < window_size + 2 * flank:
        raise MarginomeError(
            f"sequences of {values.shape[1]} bp are shorter than a seqlet of {window_size + 2 * flank} bp",
            where="X_attr",
        )
    for name, value in (
        ("target_fdr", target_fdr),
        ("min_passing_frac", min_passing_frac),
        ("max_passing_frac", max_passing_frac),
        ("weak_threshold_for_counting_sign", weak_threshold_for_counting_sign),
    ):
        if not 0 <= value <= 1:
            raise MarginomeError(f"expected a number from 0 to 1, found {value}", where=name)
    try:
        called, _ = extract_seqlets(
            values,
            window_size=window_size,
            flank=flank,
            suppress=int(0.5 * window_size) + flank,
            target_fdr=target_fdr,
            min_passing_windows_frac=min_passing_frac,
            max_passing_windows_frac=max_passing_frac,
            weak_threshold_for_counting_sign=weak_threshold_for_counting_sign,
        )
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise MarginomeError(
            f"modisco-lite cannot tell signal from background in these attributions ({first_line(error)})",
            where="X_attr",
            remedy="It wants window sums of both signs and many of them: use more sequences, or recursive_seqlets.",
        ) from error
    rows = [
        (s.example_idx, s.start, s.end, values[s.example_idx, s.start + flank : s.end - flank].sum()) for s in called
    ]
    columns = list(zip(*rows)) or [()] * 4
    return pd.DataFrame({name: np.asarray(c, dtype) for (name, dtype), c in zip(COLUMNS.items(), columns)})


def _attributions(X: torch.Tensor | np.ndarray, where: str = "X") -> np.ndarray:
    """Return attributions ``(n, length)`` as an array after checking them."""
    if isinstance(X, torch.Tensor):
        refuse_meta(X, where)
        X = X.detach().cpu().numpy()
    if not isinstance(X, np.ndarray):
        raise MarginomeError(f"expected a tensor or array (n, length), found {type(X).__name__}", where=where)
    if X.ndim != 2:
        remedy = "Sum over the bases: X.sum(dim=1)." if X.ndim == 3 else None
        raise MarginomeError(
            f"expected 2 axes (n, length), found {X.ndim}: shape {X.shape}", where=where, remedy=remedy
        )
    if X.size == 0:
        raise MarginomeError(f"there is nothing in it: shape {X.shape}", where=where)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    finite = np.isfinite(X).all(axis=1)
    if not finite.all():
        raise MarginomeError(f"sequence {name_some(np.flatnonzero(~finite))} has NaN or infinite values", where=where)
    return np.ascontiguousarray(X)


@numba.njit(nogil=True, cache=True)
def _binned(values, sign, lowest, width, n_bins, longest):
    """Return the bin of each value times `sign`, how many are in each bin, and the largest sum of a span's bins.

    No span of up to `longest` positions has a larger sum than the largest of those with just as many.
    """
    n, length = values.shape
    bins = np.empty((n, length), np.int32)
    counts = np.zeros(n_bins, np.int64)
    largest = 0
    for i in range(n):
        for j in range(length):
            # The subtraction is in the dtype of the values, the division in float64.
            bins[i, j] = min(np.int32((sign * values[i, j] - lowest) / width), n_bins - 1)
        total = 0
        for j in range(length):
            counts[bins[i, j]] += 1
            total += bins[i, j]
            if j >= longest:
                total -= bins[i, j - longest]
            largest = max(largest, total)
    return bins, counts, largest


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _tails(frequencies, longest, largest):
    """Return ``tails[l, s]``, the probability that l draws from the histogram sum to at least s.

    tail(l, s) is the sum over bins j of frequency(j) * tail(l - 1, s - j): a sum of positive terms, so
    that small probabilities keep their relative precision. Sums beyond `largest` are not needed.
    """
    n_bins = frequencies.shape[0]
    occupied = np.flatnonzero(frequencies)
    # Four bins at a time, so that a partial sum is loaded and stored once for all four; frequency 0 fills up.
    n_groups = (len(occupied) + 3) // 4
    groups = np.zeros((n_groups, 4), np.int64)
    weights = np.zeros((n_groups, 4))
    for i, j in enumerate(occupied):
        groups[i // 4, i % 4] = j
        weights[i // 4, i % 4] = frequencies[j]

    tails = np.ones((longest + 1, largest + 1))
    tails[0, 1:] = 0.0
    # Ones in front stand for sums of 0 or less, which are always reached.
    previous = np.ones(n_bins + largest + 1)
    previous[n_bins + 1 :] = 0.0
    block = 1024  # of sums, so that they stay in the innermost cache
    total = np.empty(block)
    certain = 0  # Up to here tails are 1 to rounding, and those of longer spans are larger still.
    for length in range(1, longest + 1):
        reach = min(largest, length * (n_bins - 1))
        tails[length, reach + 1 :] = 0.0
        for first in range(certain + 1, reach + 1, block):
            many = min(block, reach + 1 - first)
            total[:many] = 0.0
            for g in range(n_groups):
                w0, w1, w2, w3 = weights[g, 0], weights[g, 1], weights[g, 2], weights[g, 3]
                at = n_bins + first
                s0, s1 = previous[at - groups[g, 0] :][:many], previous[at - groups[g, 1] :][:many]
                s2, s3 = previous[at - groups[g, 2] :][:many], previous[at - groups[g, 3] :][:many]
                for b in range(many):
                    total[b] += (w0 * s0[b] + w1 * s1[b]) + (w2 * s2[b] + w3 * s3[b])
            tails[length, first : first + many] = total[:many]
        previous[n_bins:] = tails[length]
        while certain < reach and tails[length, certain + 1] > 1 - 1e-14:
            certain += 1
    return tails


@numba.njit(nogil=True, cache=True)
def _call(bins, values, tails, threshold, shortest, longest, flanks):
    """Call the seqlets of every row; return example, start, end, attribution and p-value as arrays."""
    n, width = bins.shape
    room = n * (width // shortest)
    example, begin, stop = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    attribution, p_value = np.empty(room), np.empty(room)
    called = 0

    n_lengths = longest - shortest + 1
    # Spans of each length with everything in them below the threshold, by start: their start, their
    # prefixes' largest p-value (by which they are taken), and the largest of all spans in them.
    starts = np.empty((n_lengths, width), np.int64)
    prefix = np.empty((n_lengths, width))
    many = np.zeros(n_lengths, np.int64)
    sums = np.zeros(width + 1, np.int64)
    running = np.zeros(width + 1)
    free = np.empty(width, np.bool_)
    for i in range(n):
        for j in range(width):
            sums[j + 1] = sums[j] + bins[i, j]
            running[j + 1] = running[j] + values[i, j]
        m = 0
        for k in range(width - shortest + 1):
            p = tails[shortest, sums[k + shortest] - sums[k]]
            if p < threshold:
                starts[0, m] = k
                prefix[0, m] = p
                m += 1
        many[0] = m
        for step in range(1, n_lengths):
            length = shortest + step
            m = 0
            # Both spans that are shorter by one have to be among those of the step before.
            for a in range(many[step - 1] - 1):
                k = starts[step - 1, a]
                if starts[step - 1, a + 1] == k + 1:
                    p = tails[length, sums[k + length] - sums[k]]
                    if p < threshold:
                        starts[step, m] = k
                        prefix[step, m] = max(p, prefix[step - 1, a])
                        m += 1
            many[step] = m

        free[:] = True
        for step in range(n_lengths - 1, -1, -1):
            length = shortest + step
            m = 0
            for a in range(many[step]):
                k = starts[step, a]
                if _is_free(free, k, length):
                    starts[step, m] = k
                    prefix[step, m] = prefix[step, a]
                    m += 1
            for a in np.argsort(prefix[step, :m], kind="mergesort"):
                k = starts[step, a]
                if not _is_free(free, k, length):
                    continue
                free[k : k + length] = False
                left, right = max(k - flanks, 0), min(k + length + flanks, width)
                example[called], begin[called], stop[called] = i, left, right
                attribution[called] = running[right] - running[left]
                p_value[called] = tails[length, sums[k + length] - sums[k]]
                called += 1
    return example[:called], begin[:called], stop[:called], attribution[:called], p_value[:called]


@numba.njit(nogil=True, cache=True)
def _is_free(free, start, length):
    for j in range(start, start + length):
        if not free[j]:
            return False
    return True
