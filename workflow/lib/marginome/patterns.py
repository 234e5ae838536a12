"""Patterns: clusters of similar seqlets by TF-MoDISco, and what they look like."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from marginome.arrays import finish_hdf5, seal_hdf5
from marginome.errors import MarginomeError, first_line
from marginome.seeds import stable_seed
from marginome.storage import atomic, to_json

log = logging.getLogger("marginome")

#: Core and flank of a seqlet (bp), as modisco-lite's command line sets them.
CORE, FLANK = 20, 5
SIGNS = {"pos_patterns": "+", "neg_patterns": "-"}


class Patterns(NamedTuple):
    """modisco-lite's pattern objects: positive and negative ones, None where there were too few seqlets.

    Where seqlets were sampled, `order` holds the sequence that stands for each of those that the objects number.
    """

    positive: list | None
    negative: list | None
    order: np.ndarray | None = None

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.positive or []) + len(self.negative or [])


def find_patterns(
    sequences: np.ndarray,
    hypothetical: np.ndarray,
    *,
    max_seqlets: int = 20000,
    min_seqlets: int = 100,
    leiden_runs: int = 2,
    target_fdr: float = 0.05,
    seed: int = 0,
) -> Patterns:
    """Find patterns by TF-MoDISco (modisco-lite), with the settings of its command line.

    Parameters
    ----------
    sequences : numpy.ndarray, shape (n, 4, window)
        One-hot.
    hypothetical : numpy.ndarray, shape (n, 4, window)
        Attribution of each base as if it were there.
    max_seqlets : int, default 20000
        Seqlets per sign, which bounds memory and time. Of more, those of a random order of the sequences are taken,
        the strongest of a sequence first, until there are so many: modisco-lite itself takes the first sequences.
    min_seqlets : int, default 100
        With fewer of a sign, none of its patterns are looked for (modisco-lite's ``min_metacluster_size``: more
        than this).
    leiden_runs : int, default 2
        Clusterings with different seeds.
    target_fdr : float, default 0.05
        Of the windows that seqlets are taken from.
    seed : int, default 0
        Of that order. Nothing depends on it while there are no more than `max_seqlets` of a sign.

    Returns
    -------
    Patterns
        Empty where there is no signal: an empty result is no error.

    Raises
    ------
    MarginomeError
        Sequences shorter than a seqlet, values that are not finite, attributions from which modisco-lite can make no
        null.

    Notes
    -----
    Shrikumar et al. 2018, arXiv:1811.00416. Threads are numba's.
    """
    if sequences.shape != hypothetical.shape or sequences.ndim != 3 or sequences.shape[1] != 4:
        raise MarginomeError(
            f"expected two arrays (n, 4, window), found {sequences.shape} and {hypothetical.shape}",
            where="sequences, hypothetical",
        )
    if sequences.shape[2] < CORE + 2 * FLANK:
        raise MarginomeError(
            f"a window of {sequences.shape[2]} bp is shorter than a seqlet of {CORE + 2 * FLANK} bp",
            where="patterns.window",
        )
    if not np.isfinite(hypothetical).all():
        raise MarginomeError("there are NaN or infinite values", where="hypothetical")
    if not (sequences * hypothetical).any():
        log.warning("all attributions are 0: there is no pattern in them")
        return Patterns(None, None)
    from modiscolite import precompile
    from modiscolite.tfmodisco import TFMoDISco

    precompile.start()  # keeps what numba compiles; when numba's threads run, modisco-lite's own call does nothing
    try:
        order = None
        seqlets = _seqlets_of_each_sign(sequences, hypothetical, target_fdr)
        if max(seqlets) > max_seqlets:
            order = np.random.default_rng(stable_seed(seed, "seqlets of patterns")).permutation(len(sequences))
            sequences, hypothetical = sequences[order], hypothetical[order]
            log.warning("%d positive and %d negative seqlets: up to %d of each are taken, of loci in a random order",
                        *seqlets, max_seqlets)  # fmt: skip
        found = TFMoDISco(
            one_hot=np.ascontiguousarray(sequences.transpose(0, 2, 1), dtype=np.float32),
            hypothetical_contribs=np.ascontiguousarray(hypothetical.transpose(0, 2, 1), dtype=np.float32),
            max_seqlets_per_metacluster=max_seqlets,
            min_metacluster_size=min_seqlets,
            sliding_window_size=CORE,
            flank_size=FLANK,
            target_seqlet_fdr=target_fdr,
            n_leiden_runs=leiden_runs,
        )
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise MarginomeError(
            f"modisco-lite cannot find patterns in these attributions ({first_line(error)})",
            where="patterns",
            remedy="It wants window sums of both signs and many of them: use more loci or a larger window.",
        ) from error
    return Patterns(*found, order)


def _seqlets_of_each_sign(sequences: np.ndarray, hypothetical: np.ndarray, target_fdr: float) -> tuple[int, int]:
    """Return how many positive and negative seqlets modisco-lite cuts out of these sequences."""
    from modiscolite.extract_seqlets import extract_seqlets

    observed = (sequences * hypothetical).sum(1, dtype=np.float32)
    # the sum of the core decides the sign, against modisco-lite's defaults
    seqlets, threshold = extract_seqlets(
        attribution_scores=observed, window_size=CORE, flank=FLANK, suppress=CORE // 2 + FLANK, target_fdr=target_fdr,
        min_passing_windows_frac=0.03, max_passing_windows_frac=0.2, weak_threshold_for_counting_sign=0.8,
    )  # fmt: skip
    sums = np.array([observed[s.example_idx, s.start + FLANK : s.end - FLANK].sum() for s in seqlets])
    return int((sums > threshold).sum()), int((sums < -threshold).sum())


def write_patterns(
    path: str | os.PathLike, found: Patterns, *, window: int, start: int, metadata: Mapping[str, Any]
) -> None:
    """Write patterns in modisco-lite's own HDF5 format, atomically.

    Parameters
    ----------
    path : path
        Can be read by ``modisco report`` and as a motif collection of this workflow.
    found : Patterns
    window : int
        Width of the windows (bp).
    start : int
        Where in the loci the windows began: seqlets in the file are in the window's coordinates, as modisco-lite has
        them; attribute ``window_start``.
    metadata : mapping
        JSON-serialisable; attribute ``marginome``.
    """
    from modiscolite.io import save_hdf5

    with atomic(path) as temporary:
        save_hdf5(str(temporary), found.positive, found.negative, window)
        with h5py.File(temporary, "a") as handle:
            if found.order is not None:
                handle.visititems(lambda name, item: _renumber(name, item, found.order))
            handle.attrs["window_start"] = start
            handle.attrs["marginome"] = to_json(dict(metadata), sort_keys=True)
            finish_hdf5(handle)
        seal_hdf5(temporary)


def _renumber(name: str, item: h5py.Dataset | h5py.Group, order: np.ndarray) -> None:
    """Number the sequences of seqlets as they were before they were brought into an order."""
    if name.endswith("/example_idx"):
        item[...] = order[item[...].astype(np.int64)]


def trimmed_span(contributions: np.ndarray, trim: float) -> tuple[int, int]:
    """Return the part of a pattern (width, 4) that contributes: first position and one after the last.

    Positions at both ends are cut off until one whose summed absolute contribution is `trim` of the largest.
    """
    scores = np.abs(contributions).sum(1)
    if not 0 <= trim <= 1 or not np.isfinite(scores).all():
        raise MarginomeError(
            f"wanted finite contributions and a fraction from 0 to 1, found {trim}", where="patterns.trim"
        )
    kept = np.flatnonzero(scores >= trim * scores.max())
    return int(kept[0]), int(kept[-1]) + 1


def pattern_tables(handle: h5py.File, *, trim: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the patterns of a file of `write_patterns` (or of ``modisco motifs``) as two tables.

    Parameters
    ----------
    handle : h5py.File
    trim : float
        See `trimmed_span`.

    Returns
    -------
    patterns : pandas.DataFrame
        ``pattern_id, sign, n_seqlets, width`` (bp, trimmed), ``consensus`` (trimmed), ``attribution`` (mean over
        seqlets of the sum over the trimmed positions), ``pwm`` and ``contributions`` (trimmed, width x 4, row by row).
    seqlets : pandas.DataFrame
        ``pattern_id, number`` (in the pattern), ``example_idx, start, end`` (of the trimmed part, in the locus, end
        not included, bp), ``strand`` ("-": the pattern's reverse complement is there), ``sequence`` (trimmed, in the
        pattern's orientation), ``attribution``.
    """
    offset = int(handle.attrs.get("window_start", 0))
    rows, members = [], []
    for group, sign in SIGNS.items():
        names = sorted(handle[group], key=lambda name: int(name.rpartition("_")[2])) if group in handle else []
        for name in names:
            pattern = handle[group][name]
            pattern_id = f"{group}.{name}"
            contributions = pattern["contrib_scores"][...].astype(np.float64)
            first, last = trimmed_span(contributions, trim)
            pwm = pattern["sequence"][first:last].astype(np.float64)
            pwm /= pwm.sum(1, keepdims=True)
            one_hot = pattern["seqlets/sequence"][:, first:last]
            sums = (pattern["seqlets/contrib_scores"][:, first:last] * one_hot).sum((1, 2)).astype(np.float64)
            width = pattern["sequence"].shape[0]
            reverse = pattern["seqlets/is_revcomp"][...].astype(bool)
            begin = pattern["seqlets/start"][...].astype(np.int64) + offset
            begin = begin + np.where(reverse, width - last, first)
            rows.append(
                (
                    pattern_id,
                    sign,
                    len(one_hot),
                    last - first,
                    "".join("ACGT"[i] for i in pwm.argmax(1)),
                    float(sums.mean()),
                    pwm.ravel(),
                    contributions[first:last].ravel(),
                )
            )
            members.append(
                pd.DataFrame(
                    {
                        "pattern_id": pattern_id,
                        "number": np.arange(len(one_hot)),
                        "example_idx": pattern["seqlets/example_idx"][...].astype(np.int64),
                        "start": begin,
                        "end": begin + (last - first),
                        "strand": np.where(reverse, "-", "+"),
                        "sequence": ["".join("ACGT"[i] for i in seqlet.argmax(1)) for seqlet in one_hot],
                        "attribution": sums,
                    }
                )
            )
    columns = ["pattern_id", "sign", "n_seqlets", "width", "consensus", "attribution", "pwm", "contributions"]
    empty = {"pattern_id": str, "number": int, "example_idx": int, "start": int, "end": int, "strand": str,
             "sequence": str, "attribution": float}  # fmt: skip
    none = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in empty.items()})
    table = pd.DataFrame(rows, columns=columns).astype({"n_seqlets": int, "width": int, "attribution": float})
    return table, pd.concat([none, *members], ignore_index=True) if members else none
