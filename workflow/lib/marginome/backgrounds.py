"""Background sets: the sequences that motifs are put into, of every kind, with a check of what was obtained."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from marginome.background_set import BackgroundSet, checks_of, composition_table
from marginome.bases import BASES, cleaned, decode, encode
from marginome.config_checks import background_problem, whole_number
from marginome.config_schema import complete_entry
from marginome.errors import MarginomeError
from marginome.fasta import Genome, read_fasta
from marginome.hits import HitFinder
from marginome.intervals import place_regions
from marginome.regions import read_regions
from marginome.seeds import stable_seed

log = logging.getLogger(__name__)


#: How often a generated sequence that holds an excluded hit is drawn anew before that is an error.
ATTEMPTS = 100


def make_background(
    settings: Mapping[str, Any], *, name: str, seed: int, index: tuple[str | os.PathLike, ...] | None = None
) -> BackgroundSet:
    """Make one background set of the config.

    Parameters
    ----------
    settings : mapping
        One entry of ``backgrounds:``; backgrounds.schema.yaml describes the keys of each kind:

        - ``uniform``: every base drawn with probability 1/4.
        - ``composition``: every base drawn with given probabilities, or those of given sequences.
        - ``gc_matched``: windows of a genome with the GC distribution of peaks, away from them.
        - ``dinucleotide_shuffle``: shuffles of given sequences that keep all dinucleotide counts.
        - ``fasta``, ``bed``: given sequences, or regions of a genome.
    name : str
        The set's name: draws of two sets differ.
    seed : int
        The config's seed. A sequence that is drawn depends on it, the set's name and the sequence's own number or
        source alone: another `n` leaves the first ones as they are for ``uniform`` and ``composition``.
    index : tuple of path, optional
        Index of the genome (see `Genome`). By default it is looked for beside the genome, and made there.

    Returns
    -------
    BackgroundSet
        ``checks`` holds ``n``, ``gc_mean``, and where there is something to compare with
        ``gc_target_mean``, ``gc_ks_distance`` (Kolmogorov-Smirnov distance of the GC distributions, 0 to
        1), ``dinucleotide_distance`` (total variation distance of the mean dinucleotide frequencies, 0 to
        1); ``bins`` (per GC bin: wanted, available, obtained) and ``bins_short``; ``equal_to_input``
        (shuffles); ``dropped`` (counts by reason), ``hits_excluded``.

    Raises
    ------
    MarginomeError
        An unknown or missing key, a file that cannot be read, fewer sequences than asked for.
    """
    where = f"backgrounds.{name}"
    chosen = check_settings(settings, where=where) | {"index": index}
    made = _KINDS[chosen["kind"]](chosen, name, seed)
    lengths = {len(sequence) for sequence in made.sequences}
    if len(lengths) > 1:
        raise MarginomeError(
            f"the sequences have {len(lengths)} lengths, {min(lengths)} to {max(lengths)} bp; a set has one",
            where=where,
            remedy=f"Give length: {min(lengths)} or less; longer ones are cut around their middle.",
        )
    made.checks = (
        {"kind": chosen["kind"], "n": len(made.ids), "length_bp": lengths.pop()} | checks_of(made) | made.checks
    )
    log.info("%s: %s", where, ", ".join(f"{k} {v}" for k, v in made.checks.items() if not isinstance(v, (list, dict))))
    return made


def check_settings(settings: Mapping[str, Any], *, where: str = "background") -> dict[str, Any]:
    """Return the settings of one set with defaults filled in, or say which key is unknown or missing."""
    chosen = complete_entry("backgrounds", settings, where=where)
    for key in ("n", "length", "flank", "stride"):
        if chosen.get(key) is not None:
            chosen[key] = whole_number(chosen[key], where=f"{where}.{key}")
    if problem := background_problem(chosen, where=where):
        raise problem
    return chosen


def _hit_finder(settings: Mapping[str, Any], name: str) -> HitFinder | None:
    chosen = settings["exclude_hits"]
    if not chosen:
        return None
    # Imported by name: how motif files are read counts for the sets that leave hits out alone (code_of_background).
    formats = importlib.import_module("marginome.motifs.formats")
    motifs = formats.collect_motifs(chosen["motifs"], name=f"{name}.exclude_hits")
    return HitFinder(motifs, chosen["p_value"])


# ------------------------------------------------------------------------------------------------ generated kinds
def _generate(
    settings: Mapping[str, Any],
    name: str,
    seed: int,
    ids: Sequence[str],
    draw: Callable[[int, int], str],
) -> tuple[list[str], int]:
    """Draw each sequence (attempt 0, 1, ...) until it holds no excluded hit; also count the draws refused."""
    finder = _hit_finder(settings, name)
    sequences, excluded = [], 0
    for i, identifier in enumerate(ids):
        for attempt in range(ATTEMPTS):
            sequence = draw(i, attempt)
            if finder is None or (hit := finder.find(sequence)) is None:
                break
            excluded += 1
        else:
            raise MarginomeError(
                f"'{identifier}' held a strong hit of '{hit}' in each of {ATTEMPTS} draws",
                where=f"backgrounds.{name}.exclude_hits",
                remedy="Use a smaller p_value, fewer motifs or shorter sequences.",
            )
        sequences.append(sequence)
    return sequences, excluded


def _uniform(settings: Mapping[str, Any], name: str, seed: int) -> BackgroundSet:
    return _from_probabilities(settings, name, seed, np.full(4, 0.25), "uniform", None, {})


def _composition(settings: Mapping[str, Any], name: str, seed: int) -> BackgroundSet:
    given = settings["probabilities"]
    if given is not None:
        values = np.array([given[base] for base in BASES] if isinstance(given, Mapping) else given, dtype=np.float64)
        return _from_probabilities(settings, name, seed, values, "composition", None, {})
    ids, sequences, _, dropped = _source_sequences(settings, name, keep_length=True)
    codes = np.concatenate([encode(sequence) for sequence in sequences])
    counts = np.bincount(codes, minlength=5)[:4]
    if not counts.sum():
        raise MarginomeError("the sequences hold no base", where=f"backgrounds.{name}", remedy="Give others.")
    target = composition_table(ids, sequences, ids)
    made = _from_probabilities(settings, name, seed, counts / counts.sum(), "composition", target, dropped)
    made.checks["probabilities"] = dict(zip(BASES, (counts / counts.sum()).round(6).tolist()))
    return made


def _from_probabilities(
    settings: Mapping[str, Any],
    name: str,
    seed: int,
    probabilities: np.ndarray,
    kind: str,
    target: pd.DataFrame | None,
    dropped: dict[str, int],
) -> BackgroundSet:
    length, cumulative = settings["length"], np.cumsum(probabilities)

    def draw(i: int, attempt: int) -> str:
        rng = np.random.default_rng(stable_seed(seed, "background", name, kind, i, attempt))
        return decode(np.searchsorted(cumulative[:3], rng.random(length), side="right").astype(np.uint8))

    ids = [f"{name}_{i}" for i in range(settings["n"])]
    sequences, excluded = _generate(settings, name, seed, ids, draw)
    table = composition_table(ids, sequences, [kind] * len(ids))
    return BackgroundSet(name, ids, sequences, None, table, _counted(dropped, excluded), target)


def _counted(dropped: Mapping[str, int], excluded: int) -> dict[str, Any]:
    return {"dropped": {reason: int(n) for reason, n in dropped.items() if n}, "hits_excluded": int(excluded)}


def _dinucleotide_shuffle(settings: Mapping[str, Any], name: str, seed: int) -> BackgroundSet:
    import torch

    from marginome.sequences import one_hot_encode
    from marginome.shuffles import dinucleotide_shuffle

    sources, originals, _, dropped = _source_sequences(settings, name)
    wanted, available = settings["n"], len(sources)
    # which sources are used, and in which order, depends on their names alone
    order = sorted(range(available), key=lambda i: stable_seed(seed, "shuffle source", name, sources[i]))
    per_source = -(-wanted // available)
    used = order[: min(wanted, available)]
    chosen = [used[i % len(used)] for i in range(wanted)]
    ids = [f"{sources[s]}_shuffle{i // len(used)}" for i, s in enumerate(chosen)]
    encoded = torch.stack([one_hot_encode(originals[s]) for s in used])

    def shuffled(attempt: int) -> tuple[np.ndarray, np.ndarray]:
        seeds = [stable_seed(seed, "dinucleotide_shuffle", name, sources[s], attempt) for s in used]
        made = dinucleotide_shuffle(encoded, n=per_source, random_state=seeds, allow_N=True, return_unchanged=True)
        codes = made.sequences.argmax(2).masked_fill(made.sequences.sum(2) == 0, 4)
        return codes.numpy().astype(np.uint8), made.unchanged.numpy()

    rounds = {0: shuffled(0)}
    equal = np.zeros(wanted, dtype=bool)

    def draw(i: int, attempt: int) -> str:
        if attempt not in rounds:
            rounds[attempt] = shuffled(attempt)
        sequences, unchanged = rounds[attempt]
        row, copy = i % len(used), i // len(used)
        equal[i] = bool(unchanged[row, copy])
        return decode(sequences[row, copy])

    sequences, excluded = _generate(settings, name, seed, ids, draw)
    table = composition_table(ids, sequences, [sources[s] for s in chosen])
    used_ids = [sources[s] for s in used]
    target = composition_table(used_ids, [originals[s] for s in used], used_ids)
    checks = _counted(dropped, excluded) | {"equal_to_input": int(equal.sum()), "source_sequences": len(used)}
    if equal.any():
        log.warning("%s: %d of %d shuffles equal their input", name, equal.sum(), wanted)
    return BackgroundSet(name, ids, sequences, None, table, checks, target)


# ------------------------------------------------------------------------------------------------ given sequences
def _source_sequences(
    settings: Mapping[str, Any], name: str, *, keep_length: bool = False
) -> tuple[list[str], list[str], pd.DataFrame | None, dict[str, int]]:
    """Return ids, sequences, regions and dropped counts of a FASTA file, or of regions of a genome."""
    where = f"backgrounds.{name}"
    length = None if keep_length else settings["length"]
    regions, dropped = None, {}
    if settings.get("fasta"):
        ids, sequences = read_fasta(settings["fasta"])
        if length is not None:
            longest = max(map(len, sequences))
            if longest < length:
                raise MarginomeError(
                    f"the longest sequence is {longest} bp, wanted {length} bp",
                    where=f"{where}.length, {settings['fasta']}",
                    remedy="Give a smaller length or longer sequences.",
                )
            kept = [i for i, sequence in enumerate(sequences) if len(sequence) >= length]
            dropped["too_short"] = len(sequences) - len(kept)
            ids = [ids[i] for i in kept]
            cut = [(len(sequences[i]) - length) // 2 for i in kept]
            sequences = [sequences[i][begin : begin + length] for i, begin in zip(kept, cut)]
        source = settings["fasta"]
    else:
        source = settings["regions"]
        placed = _placed(settings, source, length)
        regions = placed.regions
        dropped |= {
            "odd_rows": placed.odd_rows,
            "off_edge": placed.off_edge,
            "unknown_contig": placed.unknown_contig,
        }
        ids, again = [], ~regions.duplicated(["chrom", "start", "end"]).to_numpy()
        dropped["duplicate"] = int((~again).sum())
        regions = regions[again].reset_index(drop=True)
        with Genome(settings["genome"], index=settings["index"]) as genome:
            rows = list(regions[["chrom", "start", "end"]].itertuples(index=False, name=None))
            sequences = [genome.fetch(*row) for row in rows]
            ids = [f"{chrom}:{start}-{end}" for chrom, start, end in rows]
    sequences = [cleaned(sequence) for sequence in sequences]
    unknown = np.array([sequence.count("N") / len(sequence) for sequence in sequences])
    # what is shuffled or drawn from must be known bases; windows and given sequences may be let in
    good = unknown <= settings["max_unknown_fraction"]
    dropped["unknown_bases"] = int((~good).sum())
    if not good.any():
        raise MarginomeError(
            f"all {len(good)} sequences have more than {settings['max_unknown_fraction']:.0%} unknown bases (N)",
            where=f"{where}, {source}",
            remedy="Raise max_unknown_fraction (models see N as no base at all), or give others.",
        )
    kept = np.flatnonzero(good)
    if regions is not None:
        regions = regions.iloc[kept].reset_index(drop=True)
    if dropped["unknown_bases"]:
        log.info("%s: %d sequences with too many unknown bases left out", where, dropped["unknown_bases"])
    return [ids[i] for i in kept], [sequences[i] for i in kept], regions, dropped


def _placed(settings: Mapping[str, Any], source: str, length: int | None) -> Any:
    with Genome(settings["genome"], index=settings["index"]) as genome:
        return place_regions(
            read_regions(source, odd_rows=settings["odd_rows"]),
            length,
            genome.contigs,
            off_edge=settings["off_edge"],
            unknown_contigs=settings["unknown_contigs"],
            where=str(source),
            genome=str(settings["genome"]),
        )


def _given(settings: Mapping[str, Any], name: str, seed: int) -> BackgroundSet:
    ids, sequences, regions, dropped = _source_sequences(settings, name)
    wanted = settings["n"]
    finder = _hit_finder(settings, name)
    order = range(len(ids))
    if wanted is not None:  # a subset depends on the names alone, not on the order in the file
        order = sorted(order, key=lambda i: stable_seed(seed, "background subset", name, ids[i]))
    kept, excluded = [], 0
    for i in order:
        if finder is not None and finder.find(sequences[i]) is not None:
            excluded += 1
            continue
        kept.append(i)
        if wanted is not None and len(kept) == wanted:
            break
    if not kept or (wanted is not None and len(kept) < wanted):
        lost = {**dropped, "strong hits": excluded}
        reasons = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in lost.items() if n)
        raise MarginomeError(
            f"{len(kept)} sequences are there, wanted {wanted or 'at least one'}"
            + (f" (left out: {reasons})" if reasons else ""),
            where=f"backgrounds.{name}.n",
            remedy="Give a smaller n or more sequences.",
        )
    kept.sort()
    ids, sequences = [ids[i] for i in kept], [sequences[i] for i in kept]
    if regions is not None:
        regions = regions.iloc[kept].reset_index(drop=True)[["chrom", "start", "end"]]
    table = composition_table(ids, sequences, [str(settings.get("fasta") or settings["regions"])] * len(ids))
    return BackgroundSet(name, ids, sequences, regions, table, _counted(dropped, excluded), None)


# ------------------------------------------------------------------------------------------------ GC-matched windows
def _gc_matched(settings: Mapping[str, Any], name: str, seed: int) -> BackgroundSet:
    from marginome.gc_matching import match_windows

    length = settings["length"]
    placed = _placed(settings, settings["peaks"], length)
    dropped = {
        "peaks_odd_rows": placed.odd_rows,
        "peaks_off_edge": placed.off_edge,
        "peaks_unknown_contig": placed.unknown_contig,
    }
    finder = _hit_finder(settings, name)
    with Genome(settings["genome"], index=settings["index"]) as genome:
        peaks = list(placed.regions[["chrom", "start", "end"]].itertuples(index=False, name=None))
        peak_ids = [f"{chrom}:{start}-{end}" for chrom, start, end in peaks]
        target = composition_table(peak_ids, [genome.fetch(*peak) for peak in peaks], peak_ids)
        chosen, checks = match_windows(settings, name, seed, genome, target["gc"].dropna().to_numpy(), peaks, finder)
        rows = list(chosen[["chrom", "start", "end"]].itertuples(index=False, name=None))
        sequences = [cleaned(genome.fetch(*row)) for row in rows]
    ids = [f"{chrom}:{start}-{end}" for chrom, start, end in rows]
    table = composition_table(ids, sequences, [str(settings["genome"])] * len(ids))
    checks["dropped"] = {reason: n for reason, n in (dropped | checks.pop("dropped")).items() if n}
    return BackgroundSet(name, ids, sequences, chosen, table, checks, target)


_KINDS: dict[str, Callable[[Mapping[str, Any], str, int], BackgroundSet]] = {
    "uniform": _uniform,
    "composition": _composition,
    "gc_matched": _gc_matched,
    "dinucleotide_shuffle": _dinucleotide_shuffle,
    "fasta": _given,
    "bed": _given,
}
