"""Loci: the sequences whose attributions are computed, checked before any model runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from marginome.bases import cleaned, reverse_complement_text
from marginome.errors import MarginomeError
from marginome.fasta import Genome, read_background, read_fasta
from marginome.inserts import insert_sequence
from marginome.intervals import place_regions, regions_of, unknown_contigs_error
from marginome.motifs.table import find_motif, motifs_from_table
from marginome.regions import read_regions

log = logging.getLogger(__name__)


class Loci(NamedTuple):
    """Sequences of one length.

    Attributes
    ----------
    ids : list of str
        Unique; ``chrom:start-end`` (0-based, half-open) for regions of a genome.
    sequences : list of str
        A, C, G, T and N, upper case.
    regions : pandas.DataFrame or None
        ``chrom, start, end`` where they are known.
    contigs : dict of str to int, optional
        Lengths of the genome's contigs (bp) where the loci are its regions.
    """

    ids: list[str]
    sequences: list[str]
    regions: pd.DataFrame | None
    contigs: dict[str, int] | None = None


def collect_loci(
    settings: Mapping[str, Any],
    *,
    name: str,
    length: int | None,
    index: tuple[str | os.PathLike, ...] | None = None,
    background: str | os.PathLike | None = None,
    motifs: pd.DataFrame | None = None,
) -> Loci:
    """Read the loci of one attribution analysis.

    Parameters
    ----------
    settings : mapping
        ``loci`` of the entry, as attributions.schema.yaml describes it.
    name : str
        The entry's name, for messages.
    length : int or None
        The model's input length (bp); None takes the loci as they are, all of one width.
    index : tuple of path, optional
        Index of the genome (see `Genome`), for ``kind: bed``.
    background : path, optional
        FASTA of the background set, for ``kind: background``.
    motifs : pandas.DataFrame, optional
        Table of the collection that the insert is from.

    Returns
    -------
    Loci

    Raises
    ------
    MarginomeError
        Loci that cannot be used (unless they are to be dropped): how many, which, why; none left.
    """
    where = f"attributions.{name}.loci"
    kind = settings["kind"]
    if kind == "background":
        found = _from_background(settings, background, motifs, where)
    elif kind == "bed":
        found = _from_regions(settings, length, index, where)
    else:
        found = _from_fasta(settings, length, where)
    if len({len(sequence) for sequence in found.sequences}) > 1 or (length and len(found.sequences[0]) != length):
        widths = sorted({len(sequence) for sequence in found.sequences})
        raise MarginomeError(
            f"the loci have {len(widths)} widths, {widths[0]} to {widths[-1]} bp; the model wants {length or 'one'}",
            where=where,
            remedy="Give the model's input_length, or sequences of one width.",
        )
    return found


def _from_regions(
    settings: Mapping[str, Any], length: int | None, index: tuple[str | os.PathLike, ...] | None, where: str
) -> Loci:
    source, drop = str(settings["regions"]), settings["unusable"] == "drop"
    regions = read_regions(source, odd_rows=settings.get("odd_rows", "error"))
    with Genome(settings["genome"], index=index) as genome:
        known = regions["chrom"].isin(list(genome.contigs)).to_numpy()
        if not known.all() and (not drop or not known.any()):
            raise unknown_contigs_error(regions[~known], len(regions), genome.contigs, source, str(settings["genome"]))
        regions = regions[known].reset_index(drop=True)
        if length is not None and not settings["resize"]:
            regions = _of_width(regions, length, drop, where, source)
        placed = place_regions(
            regions,
            length if settings["resize"] else None,
            genome.contigs,
            off_edge="drop" if drop else "error",
            where=source,
            genome=str(settings["genome"]),
        ).regions
        again = placed.duplicated(["chrom", "start", "end"]).to_numpy()
        if again.any():
            log.info("%s: %d loci are there twice and are used once", source, again.sum())
        placed = placed[~again].reset_index(drop=True)
        rows = list(placed[["chrom", "start", "end"]].itertuples(index=False, name=None))
        sequences = [cleaned(genome.fetch(*row)) for row in rows]
        contigs = {name: int(length) for name, length in genome.contigs.items()}
    ids = [f"{chrom}:{start}-{end}" for chrom, start, end in rows]
    kept = _known_bases(ids, sequences, settings["max_unknown_fraction"], drop, where)
    return Loci(
        [ids[i] for i in kept],
        [sequences[i] for i in kept],
        placed.iloc[kept][["chrom", "start", "end"]].reset_index(drop=True),
        contigs,
    )


def _of_width(regions: pd.DataFrame, length: int, drop: bool, where: str, source: str) -> pd.DataFrame:
    """Return the regions that are as wide as the model's input, or say how many are not."""
    widths = (regions["end"] - regions["start"]).to_numpy()
    wrong = widths != length
    if wrong.any() and (not drop or wrong.all()):
        first = regions[wrong].iloc[0]
        raise MarginomeError(
            f"{wrong.sum()} of {len(regions)} loci are not {length} bp, the model's input, first {first['chrom']}:"
            f"{first['start']}-{first['end']} of {widths[wrong][0]} bp (widths {widths.min()} to {widths.max()} bp)",
            where=f"{where}, {source}, line {first['line']}",
            remedy="Set resize: true to take that much around each summit or middle.",
        )
    if wrong.any():
        log.info("%s: %d loci of another width than %d bp: left out", source, wrong.sum(), length)
    return regions[~wrong].reset_index(drop=True)


def _from_fasta(settings: Mapping[str, Any], length: int | None, where: str) -> Loci:
    source, drop = str(settings["fasta"]), settings["unusable"] == "drop"
    ids, sequences = read_fasta(source)
    sequences = [cleaned(sequence) for sequence in sequences]
    if length is not None:
        wrong = [i for i, s in enumerate(sequences) if (len(s) < length if settings["resize"] else len(s) != length)]
        if wrong and (not drop or len(wrong) == len(ids)):
            raise MarginomeError(
                f"{len(wrong)} of {len(ids)} sequences are {'shorter than' if settings['resize'] else 'not'} {length} "
                f"bp, the model's input, first '{ids[wrong[0]]}' of {len(sequences[wrong[0]])} bp",
                where=f"{where}, {source}",
                remedy="Give longer sequences." if settings["resize"] else "Set resize: true to cut longer ones.",
            )
        if wrong:
            log.info("%s: %d sequences of another width than %d bp: left out", source, len(wrong), length)
        left = set(wrong)
        ids = [name for i, name in enumerate(ids) if i not in left]
        cut = [s for i, s in enumerate(sequences) if i not in left]
        sequences = [s[(len(s) - length) // 2 : (len(s) - length) // 2 + length] for s in cut]
    kept = _known_bases(ids, sequences, settings["max_unknown_fraction"], drop, where)
    return Loci([ids[i] for i in kept], [sequences[i] for i in kept], None)


def _from_background(
    settings: Mapping[str, Any], background: str | os.PathLike | None, motifs: pd.DataFrame | None, where: str
) -> Loci:
    ids, sequences = read_background(background)
    insert = settings.get("insert")
    if insert:
        text = insert.get("sequence", "").upper()
        if not text:
            found = motifs_from_table(motifs)
            text = insert_sequence(find_motif(found, insert["motif"], where=f"{where}.insert.motif"))
        if insert["orientation"] == "-":
            text = reverse_complement_text(text)
        length = len(sequences[0])
        start = insert.get("start", length // 2 - len(text) // 2)
        if start + len(text) > length:
            raise MarginomeError(
                f"an insert of {len(text)} bp from {start} does not fit into {length} bp", where=f"{where}.insert"
            )
        sequences = [
            s[:start] + "".join(b if b != "N" else a for a, b in zip(s[start:], text)) + s[start + len(text) :]
            for s in sequences
        ]
        log.info("insert %s at %d of every background", text, start)
    return Loci(ids, sequences, regions_of(ids))


def _known_bases(ids: Sequence[str], sequences: Sequence[str], most: float, drop: bool, where: str) -> list[int]:
    """Return the numbers of the sequences with few enough unknown bases."""
    unknown = np.array([sequence.count("N") / len(sequence) for sequence in sequences])
    bad = np.flatnonzero(unknown > most)
    if len(bad) and (not drop or len(bad) == len(ids)):
        raise MarginomeError(
            f"{len(bad)} of {len(ids)} loci have more than {most:g} unknown bases (N), first '{ids[bad[0]]}' with "
            f"{unknown[bad[0]]:.3g}",
            where=where,
            remedy="Leave them out (unusable: drop), or raise max_unknown_fraction (an N is attributed 0).",
        )
    if len(bad):
        log.info("%s: %d loci with too many unknown bases: left out", where, len(bad))
    return np.flatnonzero(unknown <= most).tolist()
