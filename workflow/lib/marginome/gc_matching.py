"""Windows of a genome that have the GC distribution of peaks and lie away from them."""

from __future__ import annotations

import bisect
import fnmatch
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from marginome.bigwig import BigWig
from marginome.errors import MarginomeError
from marginome.fasta import Genome
from marginome.intervals import merged_intervals, overlaps, unknown_contigs_error
from marginome.regions import read_regions
from marginome.scanning import scan_windows
from marginome.seeds import stable_seed

log = logging.getLogger(__name__)


def gc_bins(gc: np.ndarray, bin_width: float) -> np.ndarray:
    """Return the bin of each GC fraction: bin i is [i, i + 1) * `bin_width`, the last one closed."""
    if not 0 < bin_width <= 1:
        raise MarginomeError(f"expected a width above 0 and at most 1, found {bin_width}", where="bin_width")
    last = max(int(np.ceil(1 / bin_width - 1e-9)) - 1, 0)
    return np.minimum((np.asarray(gc) / bin_width + 1e-9).astype(np.int64), last)


def quotas(gc: np.ndarray, n: int, bin_width: float) -> dict[int, int]:
    """Share out n draws over GC bins: one draw at each of n evenly spaced quantiles of the GC fractions.

    Returns
    -------
    dict of int to int
        Draws per bin; within one of the bin's exact share, and with no lean to low or high bins when n is smaller
        than the number of peaks.
    """
    ordered = np.sort(gc)
    at = ((np.arange(n) + 0.5) * len(ordered) / n).astype(int)
    found, counts = np.unique(gc_bins(ordered[at], bin_width), return_counts=True)
    return {int(b): int(k) for b, k in zip(found, counts)}


def match_windows(
    settings: Mapping[str, Any],
    name: str,
    seed: int,
    genome: Genome,
    target_gc: np.ndarray,
    peaks: Sequence[tuple[str, int, int]],
    finder: Any | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Draw windows bin by bin of GC until each bin has its share.

    Parameters
    ----------
    settings : mapping
        Checked settings of kind ``gc_matched``.
    name, seed :
        Of the set and the config: each bin's draws are seeded by both and the bin.
    genome : Genome
    target_gc : numpy.ndarray
        GC fractions of the peaks, at the windows' length.
    peaks : sequence of (chrom, start, end)
        The peaks at that length: their signal sets the limit of `signal`.
    finder : HitFinder or None

    Returns
    -------
    regions : pandas.DataFrame
        ``chrom, start, end``, in the genome's order.
    checks : dict
        ``bins, bins_short, windows, dropped, hits_excluded``, and ``signal_limit`` if asked for.
    """
    where, length, n = f"backgrounds.{name}", settings["length"], settings["n"]
    width = settings["bin_width"]
    share = quotas(target_gc, n, width)
    contigs = _chosen_contigs(settings["chromosomes"], genome, where)
    candidates, dropped = _candidates(
        settings, genome, contigs, set(share) if settings["shortfall"] == "error" else None
    )

    signal = _Signal(settings["signal"], peaks, genome, where) if settings["signal"] else None
    passed: Counter = Counter()
    chosen: dict[int, list[int]] = {}

    def acceptable(contig: int, start: int) -> bool:
        taken = chosen.setdefault(contig, [])
        at = bisect.bisect_left(taken, start)
        near = [taken[i] for i in (at - 1, at) if 0 <= i < len(taken)]
        if any(s == start or (abs(s - start) < length and not settings["overlapping"]) for s in near):
            return False
        if signal is not None and not (
            signal.total(contigs[contig], start, start + length) <= signal.limit  # a track may hold NaN
        ):
            passed["windows_with_signal"] += 1
            return False
        if finder is not None and finder.find(genome.fetch(contigs[contig], start, start + length)) is not None:
            passed["hits_excluded"] += 1
            return False
        taken.insert(at, start)
        return True

    streams: dict[int, Iterator[bool]] = {}

    def stream(b: int) -> Iterator[bool]:
        """Yield whenever a window of bin b was taken, until there are no more."""
        contig, start = candidates.get(b, (np.empty(0, int), np.empty(0, int)))
        order = np.random.default_rng(stable_seed(seed, "gc_matched", name, b)).permutation(len(start))
        for i in order:
            if acceptable(int(contig[i]), int(start[i])):
                yield True

    def take(b: int, wanted: int) -> int:
        streams.setdefault(b, stream(b))
        got = 0
        while got < wanted and next(streams[b], False):
            got += 1
        return got

    # scarce bins first, so that windows of plentiful ones do not stand in their way
    available = {b: len(candidates[b][1]) if b in candidates else 0 for b in share}
    obtained = {b: take(b, share[b]) for b in sorted(share, key=lambda b: (available[b] / share[b], b))}
    short = {b: share[b] - obtained[b] for b in share if obtained[b] < share[b]}
    if short and settings["shortfall"] == "error":
        raise _shortfall(short, share, available, width, where, length, settings, dropped, passed)
    filled: dict[int, int] = dict.fromkeys(share, 0)
    for b in sorted(short):
        for other in sorted(candidates, key=lambda o: (abs(o - b), o)):
            if other != b and (missing := short[b] - filled[b]):
                filled[b] += take(other, missing)
        if filled[b] < short[b]:
            raise _shortfall(short, share, available, width, where, length, settings, dropped, passed)

    rows = [(contigs[c], s, s + length) for c in sorted(chosen) for s in chosen[c]]
    bins = [
        {
            "gc_from": round(b * width, 6),
            "gc_to": round(min((b + 1) * width, 1.0), 6),
            "wanted": share[b],
            "available": available[b],
            "obtained": obtained[b],
            "from_nearest_bins": filled[b],
        }
        for b in sorted(share)
    ]
    checks: dict[str, Any] = {
        "bins": bins,
        "bins_short": len(short),
        "hits_excluded": passed.pop("hits_excluded", 0),
        "dropped": dict(dropped) | dict(passed),
    }
    if signal is not None:
        checks["signal_limit"] = signal.limit
    return pd.DataFrame(rows, columns=["chrom", "start", "end"]), checks


def _chosen_contigs(patterns: Mapping[str, Sequence[str]] | None, genome: Genome, where: str) -> list[str]:
    include, exclude = ((patterns or {}).get(key) or [] for key in ("include", "exclude"))
    for pattern in [*include, *exclude]:
        if not any(fnmatch.fnmatchcase(contig, pattern) for contig in genome.contigs):
            have = list(genome.contigs)
            raise MarginomeError(
                f"'{pattern}' fits no contig of {genome.path} (it has {', '.join(have[:5])}"
                f"{', ...' if len(have) > 5 else ''})",
                where=f"{where}.chromosomes",
                remedy="Give names as the FASTA file spells them; patterns with * are allowed.",
            )
    kept = [
        contig
        for contig in genome.contigs
        if (not include or any(fnmatch.fnmatchcase(contig, p) for p in include))
        and not any(fnmatch.fnmatchcase(contig, p) for p in exclude)
    ]
    if not kept:
        raise MarginomeError("no contig is left", where=f"{where}.chromosomes", remedy="Widen the selection.")
    return kept


def _candidates(
    settings: Mapping[str, Any], genome: Genome, contigs: list[str], bins: set[int] | None
) -> tuple[dict[int, tuple[np.ndarray, np.ndarray]], Counter]:
    """Return, per GC bin, the contig numbers and starts of all windows that may be drawn, and what was left out."""
    length = settings["length"]
    stride = settings["stride"] or max(1, length // 8)
    shut = _excluded(settings, genome)
    number = {contig: i for i, contig in enumerate(contigs)}
    dropped: Counter = Counter()
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # bin, contig, start
    for windows in scan_windows(genome.path, length, stride, contigs=contigs):
        starts = np.arange(len(windows.gc), dtype=np.int64) * stride
        usable = windows.unknown <= settings["max_unknown_fraction"] * length
        dropped["windows_unknown_bases"] += int((~usable).sum())
        soft = ~(windows.masked <= settings["max_soft_masked_fraction"] * length)
        dropped["windows_soft_masked"] += int((usable & soft).sum())
        usable &= ~soft
        near = np.zeros(len(starts), dtype=bool)
        for merged in shut:
            near |= overlaps(starts, length, merged.get(windows.chrom))
        dropped["windows_excluded"] += int((usable & near).sum())
        usable &= ~near
        known = np.maximum(length - windows.unknown[usable], 1)
        found = gc_bins(windows.gc[usable] / known, settings["bin_width"]).astype(np.int16)
        starts = starts[usable]
        if bins is not None:
            wanted = np.isin(found, list(bins))
            found, starts = found[wanted], starts[wanted]
        dropped["windows"] += len(windows.gc)
        parts.append((found, np.full(len(found), number[windows.chrom], np.int32), starts.astype(np.int32)))
    total = dropped.pop("windows", 0)
    if not total:
        raise MarginomeError(
            f"no contig is as long as {length} bp", where=str(genome.path), remedy="Use shorter backgrounds."
        )
    found, contig, start = (np.concatenate(column) for column in zip(*parts))
    del parts
    order = np.argsort(found, kind="stable")  # keeps the genome's order within a bin
    found = found[order]
    edges = np.flatnonzero(np.diff(found)) + 1
    groups = np.split(order, edges)
    result = {int(found[edge]): (contig[group], start[group]) for edge, group in zip([0, *edges], groups) if len(group)}
    log.info("%s: %d windows every %d bp, %d may be drawn", genome.path, total, stride, len(order))
    return result, dropped


def _excluded(settings: Mapping[str, Any], genome: Genome) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return merged intervals: peaks with their flanks, and the regions of the files to exclude."""
    peaks = read_regions(settings["peaks"], odd_rows=settings["odd_rows"])
    shut = [merged_intervals(peaks, genome.contigs, flank=settings["flank"])]
    for file in settings["exclude"]:
        regions = read_regions(file, odd_rows=settings["odd_rows"])
        merged = merged_intervals(regions, genome.contigs)
        if not merged:  # as for peaks: a list that fits nowhere is in another spelling
            raise unknown_contigs_error(regions, len(regions), genome.contigs, str(file), str(genome.path))
        shut.append(merged)
    return shut


class _Signal:
    """Signal of bigWig files in a window, and the limit that the peaks set."""

    def __init__(self, settings: Mapping[str, Any], peaks: Sequence[tuple[str, int, int]], genome: Genome, where: str):
        self._files = [BigWig(path) for path in settings["bigwigs"]]
        for file in self._files:
            if not set(file.contigs) & set(genome.contigs):
                raise unknown_contigs_error(
                    pd.DataFrame({"chrom": list(file.contigs), "line": 0}), len(file.contigs), genome.contigs,
                    file.path, str(genome.path),
                )  # fmt: skip
        totals = np.array([self.total(*peak) for peak in peaks])
        self.limit = float(settings["max_fraction"] * np.quantile(totals, 0.01))
        if not self.limit > 0:
            raise MarginomeError(
                "1 % of the peaks have no signal at all, so no limit follows from them",
                where=f"{where}.signal, {', '.join(file.path for file in self._files)}",
                remedy="Check that bigWig and peaks belong together.",
            )
        log.info("%s: windows may hold a signal of %.6g in sum", where, self.limit)

    def total(self, chrom: str, start: int, end: int) -> float:
        """Return the sum of the absolute totals of the files in [start, end)."""
        return sum(abs(file.total(chrom, start, end)) for file in self._files)


def _shortfall(
    short: Mapping[int, int],
    share: Mapping[int, int],
    available: Mapping[int, int],
    width: float,
    where: str,
    length: int,
    settings: Mapping[str, Any],
    dropped: Mapping[str, int],
    passed: Mapping[str, int],
) -> MarginomeError:
    bins = "; ".join(
        f"GC {b * width:.3g}-{min((b + 1) * width, 1):.3g}: {share[b] - short[b]} of {share[b]}"
        + ("" if available[b] else " (the genome has none)")
        for b in sorted(short)
    )
    reasons = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in {**dropped, **passed}.items() if v)
    return MarginomeError(
        f"{sum(short.values())} of {settings['n']} windows of {length} bp could not be found; bins that fell short: "
        f"{bins}" + (f"; left out: {reasons}" if reasons else ""),
        where=f"{where} (gc_matched)",
        remedy="Ask for fewer (n), widen bin_width, use a smaller stride or flank, allow overlapping: true, or take "
        "windows of the nearest GC with shortfall: nearest.",
    )
