"""Shuffled copies of sequences that keep their bases or their dinucleotides, uniformly drawn.

Every (sequence, shuffle) has a random stream of its own, made from the sequence's seed and the number of
the shuffle, so results do not depend on the batch, on the order, on threads or on how many are drawn.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
import torch

from marginome.errors import MarginomeError
from marginome.sequences import base_codes, name_some, validate_one_hot

log = logging.getLogger(__name__)

LETTERS = 5  # A, C, G, T and N
MASK = (1 << 64) - 1
# Positions that one thread shuffles at least: starting a thread for fewer costs more than it saves.
POSITIONS_PER_THREAD = 100_000


class Shuffles(NamedTuple):
    """Shuffled sequences and which of them are no different from their input."""

    sequences: torch.Tensor
    """``(n, n_shuffles, 4, length)``."""
    unchanged: torch.Tensor
    """bool ``(n, n_shuffles)``: the shuffle equals its input."""


def sequence_seeds(random_state: int | Sequence[int] | np.ndarray | torch.Tensor | None, n: int) -> np.ndarray:
    """Return one seed per sequence: the given ones, or ones derived from a single seed and the place in the batch.

    Parameters
    ----------
    random_state : int, sequence of n ints, or None
        None takes a fresh seed from the operating system.
    n : int
        Number of sequences.

    Returns
    -------
    numpy.ndarray
        uint64 ``(n,)``. Passing a slice of it with the same slice of the sequences gives the same shuffles.
    """
    if random_state is None:
        random_state = secrets.randbits(64)
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        base = _mix_int(int(random_state) & MASK)
        return np.array([_mix_int((base + i) & MASK) for i in range(n)], dtype=np.uint64)
    try:
        given = [int(seed) & MASK for seed in random_state]
        whole = all(int(seed) == seed for seed in random_state)
    except (TypeError, ValueError):
        given, whole = [], False
    if not whole:
        raise MarginomeError(
            f"expected a whole number or one per sequence, found {type(random_state).__name__}", where="random_state"
        )
    if len(given) != n:
        raise MarginomeError(f"expected one seed for each of {n} sequences, found {len(given)}", where="random_state")
    return np.array(given, dtype=np.uint64)


def dinucleotide_shuffle(
    X: torch.Tensor,
    start: int = 0,
    end: int = -1,
    n: int = 20,
    random_state: int | Sequence[int] | None = None,
    verbose: bool = False,
    allow_N: bool = False,
    *,
    return_unchanged: bool = False,
) -> torch.Tensor | Shuffles:
    """Shuffle sequences, keeping the number of every dinucleotide and both ends exactly.

    A shuffle is drawn uniformly from all sequences with the same dinucleotide counts and ends.

    Parameters
    ----------
    X : torch.Tensor, shape (n_sequences, 4, length)
        One-hot, any dtype and device.
    start, end : int, default 0 and -1
        The span that is shuffled; the rest is copied. A negative `end` counts from the end and is
        inclusive, so -1 is the whole rest.
    n : int, default 20
        Shuffles per sequence. Drawing more does not change the first ones.
    random_state : int or sequence of int, optional
        One seed, or one per sequence: a sequence with its own seed is shuffled alike alone and in any
        batch. Not reproducible when None.
    verbose : bool, default False
        Log how many shuffles equal their input, even when it is few.
    allow_N : bool, default False
        Unknown bases (all-zero columns) are refused by default. When allowed, N is a fifth letter: its
        neighbourhoods are kept as all others are, so a run of N stays a run but moves.
    return_unchanged : bool, default False
        Also return which shuffles equal their input.

    Returns
    -------
    torch.Tensor, or Shuffles when `return_unchanged`
        ``(n_sequences, n, 4, length)`` with the dtype and device of `X`.

    Notes
    -----
    Dinucleotides are the edges of a directed multigraph of bases and shuffles its Eulerian paths. The
    last exits of all bases but the final one form a spanning tree into that base; drawing the tree by
    Wilson's algorithm (1996, STOC '96:296), weighted by the counts, and the other exits in random order
    makes every path equally likely (Kandel, Matias, Unger and Winkler 1996, Discrete Applied Mathematics
    71:171). A sequence of low complexity may have few paths or one; those that come back as they went in
    are reported, with a warning in the log when it is all shuffles of a sequence.

    Examples
    --------
    >>> from marginome import one_hot_decode, one_hot_encode
    >>> one_hot_decode(dinucleotide_shuffle(one_hot_encode("ACGACTAGCA")[None], n=2, random_state=0)[0])
    ['ACTACGAGCA', 'AGACTACGCA']
    """
    validate_one_hot(X, "X", allow_n=allow_N)
    return _shuffled(X, start, end, n, random_state, verbose, return_unchanged, keep_dinucleotides=True)


def shuffle(
    X: torch.Tensor,
    start: int = 0,
    end: int = -1,
    n: int = 1,
    random_state: int | Sequence[int] | None = None,
    *,
    return_unchanged: bool = False,
) -> torch.Tensor | Shuffles:
    """Shuffle the positions of sequences, keeping the number of every base.

    All orders are equally likely, and every sequence and shuffle has an order of its own.

    Parameters
    ----------
    X : torch.Tensor, shape (n_sequences, 4, length)
        One-hot, any dtype and device. Unknown bases (all-zero columns) move like the others.
    start, end : int, default 0 and -1
        The span that is shuffled, as in `dinucleotide_shuffle`.
    n : int, default 1
        Shuffles per sequence.
    random_state : int or sequence of int, optional
        As in `dinucleotide_shuffle`.
    return_unchanged : bool, default False
        Also return which shuffles equal their input.

    Returns
    -------
    torch.Tensor, or Shuffles when `return_unchanged`
        ``(n_sequences, n, 4, length)`` with the dtype and device of `X`.
    """
    validate_one_hot(X, "X")
    return _shuffled(X, start, end, n, random_state, False, return_unchanged, keep_dinucleotides=False)


def _shuffled(
    X: torch.Tensor,
    start: int,
    end: int,
    n: int,
    random_state: int | Sequence[int] | None,
    verbose: bool,
    return_unchanged: bool,
    *,
    keep_dinucleotides: bool,
) -> torch.Tensor | Shuffles:
    length = X.shape[2]
    stop = length + 1 + end if end < 0 else end
    if not 0 <= start < stop <= length:
        raise MarginomeError(f"there is no span from {start} to {end} in sequences of {length} bp", where="start, end")
    if not n >= 1:
        raise MarginomeError(f"expected at least 1 shuffle, found {n}", where="n")
    seeds = sequence_seeds(random_state, X.shape[0])
    codes = base_codes(X[:, :, start:stop]).cpu().numpy()

    # On the CPU the kernel writes the caller's dtype where it knows it; all else travels as int8.
    direct = X.device.type == "cpu" and X.dtype in (torch.int8, torch.float32, torch.float64)
    Y = torch.empty((X.shape[0], n, 4, length), dtype=X.dtype if direct else torch.int8)
    if stop - start < length:
        outside = X if direct else X.to("cpu", torch.int8)
        Y[..., :start] = outside[:, None, :, :start]
        Y[..., stop:] = outside[:, None, :, stop:]
    unchanged = np.empty((X.shape[0], n), dtype=np.bool_)
    out = Y.numpy()[..., start:stop]

    def work(rows: slice) -> None:
        _shuffle_rows(codes[rows], seeds[rows], keep_dinucleotides, out[rows], unchanged[rows])

    threads = min(torch.get_num_threads(), X.shape[0], max(1, codes.size * n // POSITIONS_PER_THREAD))
    if threads == 1:
        work(slice(None))
    else:
        # Threads of our own around a kernel without the GIL: numba's would forbid forking afterwards.
        edges = np.linspace(0, X.shape[0], threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, [slice(a, b) for a, b in pairwise(edges)]))

    stuck = np.flatnonzero(unchanged.all(axis=1))
    if len(stuck):
        log.warning("all %d shuffles of sequence %s equal it: it has too few arrangements", n, name_some(stuck))
    if verbose:
        log.warning("%d of %d shuffles equal their input", unchanged.sum(), unchanged.size)
    Y = Y if direct else Y.to(X.device).to(X.dtype)
    return Shuffles(Y, torch.from_numpy(unchanged)) if return_unchanged else Y


# The random streams: xoroshiro128++ (Blackman and Vigna 2021, ACM TOMS 47:36), its state filled by SplitMix64 -----


def _mix_int(x: int) -> int:
    """Return SplitMix64's next output for state `x`, in Python's integers."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


@numba.njit(nogil=True, cache=True)
def _mix(x):
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _rotate(x, k):
    return (x << np.uint64(k)) | (x >> np.uint64(64 - k))


@numba.njit(nogil=True, cache=True)
def _draw(bound, s0, s1):
    """Draw from 0 to bound - 1 without bias (Lemire 2019, ACM TOMACS 29:3), bound < 2**32; return the new state too."""
    bound = np.uint64(bound)
    low_bits = np.uint64(0xFFFFFFFF)
    while True:
        r = _rotate(s0 + s1, 17) + s0
        s1 ^= s0
        s0 = _rotate(s0, 49) ^ s1 ^ (s1 << np.uint64(21))
        s1 = _rotate(s1, 28)
        product = (r >> np.uint64(32)) * bound
        low = product & low_bits
        # The second test costs a division and is needed only after the first.
        if low >= bound or low >= (np.uint64(1) << np.uint64(32)) % bound:
            return np.int64(product >> np.uint64(32)), s0, s1


@numba.njit(nogil=True, cache=True)
def _last_exits(counts, leaving, root, exits, joined, s0, s1):
    """Draw a spanning tree into `root`, weighted by `counts`: Wilson's loop-erased random walks.

    exits[v] becomes the base to which v is left for the last time. Steps from a base to itself belong to
    no tree and are left out of the walk, which would otherwise dwell on long homopolymers.
    """
    for v in range(LETTERS):
        joined[v] = v == root
    for v in range(LETTERS):
        if leaving[v] == 0:
            continue
        u = v
        while not joined[u]:
            pick, s0, s1 = _draw(leaving[u] - counts[u, u], s0, s1)
            for w in range(LETTERS):
                if w != u:
                    pick -= counts[u, w]
                    if pick < 0:
                        exits[u] = w
                        break
            u = exits[u]
        u = v
        while not joined[u]:
            joined[u] = True
            u = exits[u]
    return s0, s1


@numba.njit(nogil=True, cache=True)
def _permute(values, first, last, s0, s1):
    """Put values[first:last] in random order (Fisher and Yates)."""
    for i in range(last - 1, first, -1):
        j, s0, s1 = _draw(i - first + 1, s0, s1)
        j += first
        values[i], values[j] = values[j], values[i]
    return s0, s1


@numba.njit(nogil=True, cache=True)
def _shuffle_rows(codes, seeds, keep_dinucleotides, out, unchanged):
    """Shuffle each row of `codes` (uint8, 4 is N) into one-hot ``out[i, k, :, :]`` for every k."""
    n_rows, length = codes.shape
    row = np.empty(length, dtype=np.uint8)
    successors = np.empty(length, dtype=np.uint8)
    counts = np.empty((LETTERS, LETTERS), dtype=np.int64)
    leaving = np.empty(LETTERS, dtype=np.int64)
    at = np.empty(LETTERS, dtype=np.int64)
    exits = np.empty(LETTERS, dtype=np.int64)
    joined = np.empty(LETTERS, dtype=np.bool_)
    for i in range(n_rows):
        code = codes[i]
        root = np.int64(code[length - 1])
        counts[:] = 0
        for j in range(length - 1):
            counts[code[j], code[j + 1]] += 1
        for v in range(LETTERS):
            leaving[v] = counts[v].sum()
        for k in range(out.shape[1]):
            s0 = _mix(seeds[i] ^ _mix(np.uint64(k)))
            s1 = _mix(s0 + np.uint64(1))
            if keep_dinucleotides:
                s0, s1 = _last_exits(counts, leaving, root, exits, joined, s0, s1)
                # The exits of each base, in random order but for the last one, behind one another.
                first = 0
                for v in range(LETTERS):
                    at[v] = first
                    if leaving[v] == 0:
                        continue
                    end = first
                    for w in range(LETTERS):
                        many = counts[v, w]
                        if v != root and w == exits[v]:
                            many -= 1
                        successors[end : end + many] = w
                        end += many
                    s0, s1 = _permute(successors, first, end, s0, s1)
                    if v != root:
                        successors[end] = exits[v]
                        end += 1
                    first = end
                v = np.int64(code[0])
                row[0] = v
                for j in range(1, length):
                    place = at[v]
                    at[v] = place + 1
                    v = np.int64(successors[place])
                    row[j] = v
            else:
                row[:] = code
                s0, s1 = _permute(row, 0, length, s0, s1)
            same = True
            for j in range(length):
                same &= row[j] == code[j]
            unchanged[i, k] = same
            for c in range(4):
                target = out[i, k, c]
                for j in range(length):
                    target[j] = row[j] == c
