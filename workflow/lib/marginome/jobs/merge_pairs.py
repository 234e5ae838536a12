"""The judged pairs of a screen's batches in one table of each kind."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd

from marginome.columns import Column, conform
from marginome.pair_tables import ARRANGEMENTS, PAIR_BACKGROUNDS, PAIRS
from marginome.storage import read_table, write_table


def merge_pairs(
    *,
    part_pairs: Sequence[str | os.PathLike],
    part_arrangements: Sequence[str | os.PathLike],
    part_backgrounds: Sequence[str | os.PathLike],
    pairs: str | os.PathLike,
    arrangements: str | os.PathLike,
    backgrounds: str | os.PathLike,
) -> None:
    """Put the tables of batches into one of each kind.

    Parameters
    ----------
    part_pairs, part_arrangements, part_backgrounds : sequence of path
        What `score_screen_pairs` wrote, batch by batch.
    pairs, arrangements, backgrounds : path
        Parquet tables to write, see `marginome.pair_tables`.
    """
    _merge(part_pairs, PAIRS, pairs)
    _merge(part_arrangements, ARRANGEMENTS, arrangements)
    _merge(part_backgrounds, PAIR_BACKGROUNDS, backgrounds)


def _merge(parts: Sequence[str | os.PathLike], columns: Sequence[Column], path: str | os.PathLike) -> None:
    # A model without a signed output has no rows, and of whole numbers with nulls pandas makes fractions.
    tables = [table for table in map(read_table, parts) if len(table)]
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    write_table(path, conform(whole, columns, name=str(path)))
