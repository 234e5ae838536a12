"""Arrangements of any number of motifs as they go in, each with its motifs alone; docs/pairs.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from marginome.gaps import check_size, gaps_of
from marginome.insert_lists import insert_table
from marginome.inserts import Insert, insert_alone, list_starts
from marginome.motifs.motif import Motif
from marginome.motifs.table import find_motif
from marginome.placing import check_inside


class Composite(NamedTuple):
    """A composite as it goes in.

    Attributes
    ----------
    insert : Insert
        Of the whole; of one motif, the motif alone.
    parts : list of Insert
        Its motifs alone, from left to right, at the places that they have in it.
    entry, position : int
        Numbers of its entry and of its place in the config.
    """

    insert: Insert
    parts: list[Insert]
    entry: int
    position: int


def list_composites(
    composites: Sequence[Mapping[str, Any]],
    motifs: Sequence[Motif],
    *,
    mode: str = "consensus",
    positions: object = "centre",
    length: int | None,
    draws: int = 1,
    seed: int = 1,
    collection: str = "",
) -> list[Composite]:
    """List the composites of a screen.

    Parameters
    ----------
    composites : sequence of mapping
        Entries of the config, each with ``motifs`` (ids or names from left to right), and with ``copies`` (of one
        motif: how many), ``gaps`` (arrangements: each a number for all gaps, or one for each; or a grid) and
        ``orientations`` (each a sign for all motifs, or one for each; by default "+").
    motifs, mode, positions, length, draws, seed, collection
        As in `list_inserts`; the position is that of the whole arrangement.

    Returns
    -------
    list of Composite
        In the order of entries, copies, orientations, gaps, positions and samples. One that is asked for twice is there
        once.

    Raises
    ------
    MarginomeError
        An unknown motif, one that does not fit.
    """
    numbers: Sequence[int | None] = range(draws) if mode == "sample" else [None]
    found: dict[Insert, Composite] = {}
    places, arrangements = len(numbers) * len(list_starts(positions, length=length, width=0)), 0
    for i, entry in enumerate(composites):
        ways = [len(gaps_of(entry.get(key) or [0])) for key in ("copies", "orientations", "gaps")]
        arrangements += math.prod(ways) * places
        said = "{:,} x {:,} x {:,} of copies, orientations and gaps".format(*ways)
        check_size(arrangements, said, where=f"composites[{i}]")
        for chosen, strands, gaps in _arrangements(entry, motifs, where=f"composites[{i}]"):
            for number in numbers:
                alone = [
                    insert_alone(motif, strand, mode=mode, sample=number, seed=seed, collection=collection)
                    for motif, strand in zip(chosen, strands)
                ]
                sequence = alone[0].sequence + "".join("N" * g + a.sequence for g, a in zip(gaps, alone[1:]))
                names = [(part.motif_id, part.motif_name) for part in alone]
                whole = replace(alone[0], sequence=sequence)
                if len(alone) > 1:
                    motif_id, motif_name = (composite_name(some, strands, gaps) for some in zip(*names))
                    whole = replace(whole, motif_id=motif_id, motif_name=motif_name, orientation="+")
                before = np.cumsum([0] + [len(part.sequence) + gap for part, gap in zip(alone, gaps)]).tolist()
                for position, start in enumerate(list_starts(positions, length=length, width=len(sequence))):
                    insert = replace(whole, start=start)
                    parts = [replace(part, start=start + ahead) for part, ahead in zip(alone, before)]
                    found.setdefault(insert, Composite(insert, parts, i, position))
    if length is not None:
        check_inside([(f"motif '{c.motif_id}'", c.start, len(c.sequence)) for c in found], length)
    return list(found.values())


def _arrangements(
    entry: Mapping[str, Any], motifs: Sequence[Motif], *, where: str
) -> Iterator[tuple[list[Motif], str, list[int]]]:
    """Yield the motifs, orientations and gaps of every composite of an entry."""
    named = [find_motif(motifs, name, where=f"{where}.motifs") for name in entry["motifs"]]
    for copies in entry.get("copies") or [1]:
        chosen = named * copies
        for strands in entry.get("orientations") or ["+"]:
            for gaps in gaps_of(entry["gaps"]) if len(chosen) > 1 else [0]:
                among = [gaps] * (len(chosen) - 1) if isinstance(gaps, int) else list(gaps)
                turned = strands * len(chosen) if len(strands) == 1 else strands
                yield chosen, turned, among


def composite_table(composites: Sequence[Composite]) -> pd.DataFrame:
    """Return one row per composite and, behind it, one per motif alone that no row before has; as `insert_table` does.

    Composites have no controls. ``parts`` holds the rows of a composite's motifs alone, ``entry`` its entry's number.
    """
    number: dict[Insert, int] = {}
    for composite in composites:
        for insert in (composite.insert, *composite.parts):
            number.setdefault(insert, len(number))
    rows = insert_table(list(number), False, seed=0)
    asked = {number[c.insert]: c for c in composites}
    chosen = [asked.get(i) for i in range(len(rows))]
    rows["parts"] = [[number[part] for part in c.parts] if c else None for c in chosen]
    rows["entry"] = pd.array([c.entry if c else pd.NA for c in chosen], dtype="Int64")
    rows["position"] = [c.position if c else own for c, own in zip(chosen, rows["position"])]
    return rows


def composite_name(motifs: Sequence[str], strands: Sequence[str], gaps: Sequence[int]) -> str:
    """Return the name of an arrangement.

    Examples
    --------
    >>> composite_name(["A", "B"], "+-", [10])
    'A+ 10 B-'
    >>> composite_name(["A", "A", "A"], "+++", [5, 5])
    '3 x A+ gap 5'
    """
    parts = [motif + strand for motif, strand in zip(motifs, strands)]
    if len(parts) > 1 and len(set(parts)) == len(set(gaps)) == 1:
        return f"{len(parts)} x {parts[0]} gap {gaps[0]}"
    return " ".join([parts[0], *(f"{gap} {part}" for gap, part in zip(gaps, parts[1:]))])
