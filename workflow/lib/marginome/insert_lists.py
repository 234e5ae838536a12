"""An insert list as a table: every insert, then its own controls, in one canonical order for all units of work."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from marginome.controls import list_controls, pool_size
from marginome.inserts import Insert

log = logging.getLogger("marginome")


def insert_table(
    listed: Sequence[Insert], controls: Mapping[str, Any] | bool, seed: int, mismatched: Sequence[Insert] = ()
) -> pd.DataFrame:
    """Return one row per insert and, behind them, one per control and position.

    Parameters
    ----------
    listed : sequence of Insert
        Of one list, with a common ``collection``. Their starts become the column ``offset``.
    controls : mapping or False
        ``pool`` (how many for the whole list; as many as `pool_size` says where it is None or missing) or
        ``per_insert`` (how many for each insert). False, and a list of pairs, has none: its interactions are judged by
        those of mismatched pairs.
    seed : int
        The config's seed. Which controls are drawn depends on it, on how many, and on the inserts of this list alone.
    mismatched : sequence of Insert, optional
        Of a list of pairs; see `marginome.pair_designs.mismatched_inserts`.

    Returns
    -------
    pandas.DataFrame
        ``role`` ("motif", "control" or "mismatched"), the fields of `Insert` (``sequence`` as ``insert``, ``start`` as
        ``offset``),
        ``position`` (number of the config's position, from 0), ``control_kind``, ``controls`` (numbers of the controls
        made from the insert) and ``control`` (a control's number). A list of pairs is in the order of places (see
        `by_place`), others in that of `listed`.
    """
    rows = pd.DataFrame([asdict(insert) for insert in [*listed, *mismatched]])
    rows = rows.rename(columns={"sequence": "insert", "start": "offset"})
    rows.insert(0, "role", ["motif"] * len(listed) + ["mismatched"] * len(mismatched))
    for column in ("sample", "gap"):
        rows[column] = rows[column].astype("Int64")
    rows["position"] = _position_numbers(rows)
    pairs = rows["partner_id"].notna().any()
    if controls is False or pairs:
        rows["control_kind"], rows["controls"] = None, None
        rows = by_place(rows) if pairs else rows
        return rows.assign(control=pd.array([pd.NA] * len(rows), dtype="Int64"))
    wanted = list(dict.fromkeys(rows["insert"]))
    each = controls.get("per_insert")
    n = each or controls.get("pool") or pool_size(len(wanted))
    drawn = list_controls([(s, s) for s in wanted], n=n, seed=seed, pooled=each is None)
    number = {sequence: i for i, sequence in enumerate(wanted)}
    rows["control_kind"] = [drawn.kinds[number[s]] for s in rows["insert"]]
    rows["controls"] = [drawn.members[number[s]].tolist() for s in rows["insert"]]
    rows["control"] = pd.array([pd.NA] * len(rows), dtype="Int64")
    offsets = {
        width: dict(zip(part["position"], part["offset"])) for width, part in rows.groupby(rows["insert"].str.len())
    }
    extra = pd.DataFrame(
        [
            {
                "role": "control",
                "motif_id": f"control_{i}",
                "motif_name": "control",
                "orientation": "+",
                "offset": offset,
                "insert": sequence,
                "position": position,
                "collection": listed[0].collection,
                "control": i,
            }
            for i, sequence in enumerate(drawn.sequences)
            for position, offset in sorted(offsets[len(sequence)].items())
        ]
    ).reindex(columns=rows.columns)
    for column in ("sample", "gap", "control"):
        extra[column] = extra[column].astype("Int64")
    return pd.concat([rows, extra], ignore_index=True)


def by_place(rows: pd.DataFrame) -> pd.DataFrame:
    """Return inserts in the order of their first and last positions, numbered anew.

    A job computes consecutive inserts together, on common spans. Of pairs, neighbours in the order of the config differ
    in their gap, and the two motifs alone stand at its ends: hardly two are on one span.
    """
    return rows.iloc[np.lexsort([rows["insert"].str.len(), rows["offset"]])].reset_index(drop=True)


def _position_numbers(rows: pd.DataFrame) -> np.ndarray:
    """Number the positions of the config from 0: with `centre`, inserts of all widths share number 0.

    Motifs alone in a list of pairs stand where they do in a pair, at places of their own: pairs are counted apart.
    """
    numbers = np.zeros(len(rows), dtype=np.int64)
    for _, part in rows.groupby([rows["insert"].str.len(), rows["partner_id"].notna()]):
        order = {start: i for i, start in enumerate(sorted(set(part["offset"])))}
        numbers[part.index] = part["offset"].map(order)
    return numbers
