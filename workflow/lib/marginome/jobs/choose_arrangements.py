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

_KEY = ["collection", "position", "motif_id", "partner_id", "orientation", "partner_orientation", "order", "gap"]


def choose_arrangements(*, inserts: str | os.PathLike, pairs: str | os.PathLike, chosen: str | os.PathLike) -> None:
    """Write the rows of an insert list that are the best arrangement of a pair, and their two motifs alone.

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
    best = found[[name for name in _KEY if name in found]].dropna().drop_duplicates()
    rows = np.zeros(0, dtype=np.int64)
    if list(best.columns) == _KEY:  # pairs that were not judged have none
        listed = pd.MultiIndex.from_frame(table[_KEY].astype({"gap": "Int64"}).astype(object))
        wanted = pd.MultiIndex.from_frame(best.astype({"gap": "Int64"}).astype(object))
        rows = np.flatnonzero(listed.isin(wanted) & (table["role"] == "motif").to_numpy())
        alone = motifs_alone(table.rename(columns={"offset": "start"}))[rows]
        rows = np.union1d(rows, alone)
    kept = table.iloc[rows].reset_index(drop=True)
    for column in ("sample", "gap", "control"):
        kept[column] = kept[column].astype("Int64")
    write_table(chosen, conform(kept, INSERT_LIST, name=str(chosen)), table_metadata(inserts))
    log.info("%d of %d inserts: the best arrangements of pairs, and their motifs alone", len(kept), len(table))
