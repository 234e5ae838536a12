"""Inserts in sequences of a known length: where each starts, whether it fits, and the id that names it there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from marginome.errors import MarginomeError
from marginome.storage import outdated, read_table, table_metadata

#: What an insert list counts its column ``offset`` from (its metadata ``from``): the first base of the sequence, or its
#: middle (``length // 2``), so that the list does not depend on how long the sequences are.
FIRST_BASE, MIDDLE = "first base", "middle"


def insert_id(
    collection: str,
    motif_id: str,
    orientation: str,
    start: int,
    sample: int | None = None,
    partner_id: str | None = None,
    partner_orientation: str | None = None,
    gap: int | None = None,
    order: str | None = None,
) -> str:
    """Return the text that identifies an insert in its screen; the arguments are the fields of `Insert`."""
    parts = [collection, motif_id, orientation, str(start)]
    if sample is not None:
        parts.append(f"sample {sample}")
    if partner_id is not None:
        parts += [partner_id, str(partner_orientation), f"gap {gap}", str(order)]
    return "|".join(parts)


_ID = ("collection", "motif_id", "orientation", "start", "sample", "partner_id", "partner_orientation", "gap", "order")
#: Whole numbers that not every row has: as pandas reads them they would be fractions.
_WHOLE = ("sample", "gap", "control")


def place(table: pd.DataFrame, length: int, *, counted_from: str) -> pd.DataFrame:
    """Return an insert list with starts and ids, in sequences of some length.

    Parameters
    ----------
    table : pandas.DataFrame
        Has ``offset`` (bp), ``insert`` and the columns that an id is made of.
    length : int
        Of the sequences (bp).
    counted_from : {"first base", "middle"}
        What ``offset`` is counted from.

    Returns
    -------
    pandas.DataFrame
        A copy: ``insert_id`` in front, ``start`` (0-based, bp) in the place of ``offset``.

    Raises
    ------
    MarginomeError
        An insert that does not lie within the sequence.
    """
    placed = table.rename(columns={"offset": "start"})
    placed["start"] += length // 2 if counted_from == MIDDLE else 0
    outside = placed[(placed["start"] < 0) | (placed["start"] + placed["insert"].str.len() > length)]
    check_inside([(_called(row), row["start"], len(row["insert"])) for row in outside.to_dict("records")], length)
    placed.insert(0, "insert_id", insert_ids(placed))
    return placed


def insert_ids(table: pd.DataFrame) -> np.ndarray:
    """Return the `insert_id` of each row of a table that has the columns of its parts, text, shape (rows,)."""
    fields = [
        table[name].astype(object).where(table[name].notna(), None) if name in table else [None] * len(table)
        for name in _ID
    ]
    return np.array([insert_id(*row) for row in zip(*fields)], dtype=object)


def read_inserts(path: str | os.PathLike, length: int) -> pd.DataFrame:
    """Read an insert list that another job wrote, placed in sequences of that length (bp); see `place`."""
    table, counted_from = read_table(path), table_metadata(path).get("from")
    if counted_from is None or "offset" not in table:
        raise outdated(path, "the starts of inserts counted from the middle")
    whole = table.astype({name: "Int64" for name in _WHOLE if name in table})
    return place(whole, length, counted_from=counted_from)


def _called(row: Mapping[str, Any]) -> str:
    """What a row of an insert list is, for a message."""
    partner = row.get("partner_id")
    paired = partner is not None and not pd.isna(partner)
    return f"motif '{row['motif_id']}'" + (f" with '{partner}', gap {row['gap']}" if paired else "")


def check_inside(inserts: Iterable[tuple[str, int, int]], length: int) -> None:
    """Refuse inserts, (what, start, width) each, of which some do not lie within sequences of that length (bp)."""
    outside = [found for found in inserts if found[1] < 0 or found[1] + found[2] > length]
    if outside:
        what, start, width = max(outside, key=lambda found: found[2])  # of a pair, not of its motifs alone
        raise MarginomeError(
            f"an insert of {width} bp at {start} does not lie within the background of {length} bp"
            + (f" ({len(outside)} inserts do not)" if len(outside) > 1 else ""),
            where=what,
            remedy="Change positions (or gaps), use longer backgrounds, or leave the motif out.",
        )
