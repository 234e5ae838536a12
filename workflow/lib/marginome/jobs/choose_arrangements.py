"""The best arrangements of pairs that were judged: what attributions and other functions are computed for."""

from __future__ import annotations

import logging
import os

import numpy as np
import pandas as pd

from marginome.columns import conform
from marginome.interactions import motifs_alone
from marginome.list_tables import INSERT_LIST
from marginome.storage import read_table, table_metadata, write_table

log = logging.getLogger("marginome")

_PAIR = ["collection", "position", "motif_id", "partner_id"]
_KEY = [*_PAIR, "orientation", "partner_orientation", "order", "gap"]


def choose_arrangements(*, inserts: str | os.PathLike, pairs: str | os.PathLike, chosen: str | os.PathLike) -> None:
    """Write the rows of an insert list that are the best arrangement of a pair, and their two motifs alone.

    A pair that was not judged, by too few mismatched pairs or at one gap, has no best arrangement: all its rows are
    written.

    Parameters
    ----------
    inserts : path
        The insert list.
    pairs : path
        Table of `score_screen_pairs`: the best arrangement of each pair in each model, background set and output.
    chosen : path
        Parquet to write, an insert list in the order of `inserts`.
    """
    table, found = read_table(inserts), read_table(pairs)
    of_pairs = ((table["role"] == "motif") & table["partner_id"].notna()).to_numpy()
    best = found[_KEY].dropna().drop_duplicates()
    judged = _among(table, best, _PAIR)
    chosen_here = of_pairs & (_among(table, best, _KEY) | ~judged)
    alone = motifs_alone(table.rename(columns={"offset": "start"}))[chosen_here]
    rows = np.union1d(np.flatnonzero(chosen_here), alone)
    kept = table.iloc[rows].reset_index(drop=True)
    for column in ("sample", "gap", "control"):
        kept[column] = kept[column].astype("Int64")
    write_table(chosen, conform(kept, INSERT_LIST, name=str(chosen)), table_metadata(inserts))
    log.info("%d of %d inserts: the best arrangements of pairs, and their motifs alone", len(kept), len(table))


def _among(table: pd.DataFrame, wanted: pd.DataFrame, key: list[str]) -> np.ndarray:
    """Whether rows of a table have the key of one of those wanted."""
    here, there = (
        pd.MultiIndex.from_frame(rows[key].astype({"gap": "Int64"} if "gap" in key else {}).astype(object))
        for rows in (table, wanted)
    )
    return here.isin(there)
