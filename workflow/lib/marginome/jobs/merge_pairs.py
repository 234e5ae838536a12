"""The judged pairs of a screen's batches in one table of each kind."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyarrow as pa

from marginome.columns import Column, schema_of
from marginome.pair_tables import ARRANGEMENTS, PAIR_BACKGROUNDS, PAIRS
from marginome.storage import read_row_groups, table_writer


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
    """Copy the rows of all parts; memory is that of a row group. A column that some parts lack is null there."""
    # a part without rows, of models without a signed output, names all columns whether they apply or not
    begun = (next((group for group in read_row_groups(part) if len(group)), None) for part in parts)
    names = {name for group in begun if group is not None for name in group.column_names}
    schema = schema_of([c for c in columns if c.name in names or not names])
    with table_writer(path, schema) as writer:
        for part in parts:
            for group in read_row_groups(part):
                held = [group[name] if name in group.column_names else pa.nulls(len(group), schema.field(name).type)
                        for name in schema.names]  # fmt: skip
                writer.write_table(pa.Table.from_arrays(held, schema=schema))
