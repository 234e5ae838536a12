"""From the files of a screen's batches to one file of each kind; one model and background set at a time."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from marginome.arrays import read_hdf5, write_hdf5
from marginome.columns import conform
from marginome.storage import atomic, filled_columns, read_row_groups, table_writer
from marginome.tables import EFFECTS

#: Optional columns that every table has, null where they do not apply, and those that come with another.
_ALWAYS = ("sample", "partner_id", "partner_orientation", "gap", "order", "sign_consistency", "family",
           "family_representative")  # fmt: skip
_WITH = {
    "n_controls": {"control_kind", "control_mean", "control_sd", "z", "p", "p_resolution", "q"},
    "interaction": {"interaction_se"},
}


def merge_batches(
    *,
    parts: Sequence[str | os.PathLike],
    part_backgrounds: Sequence[str | os.PathLike],
    part_profiles: Sequence[str | os.PathLike],
    effects: str | os.PathLike,
    tsv: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
) -> None:
    """Put the rows and arrays of a screen's batches into one file of each kind.

    Parameters
    ----------
    parts, part_backgrounds, part_profiles : sequence of path
        What `summarize_batch` wrote, batch by batch.
    effects, tsv : path
        The effect table as Parquet and as gzipped TSV; columns in `marginome.tables.EFFECTS`, those that apply.
    backgrounds : path
        HDF5: the effect of every single background, ``<model>/<background>/effects``.
    profiles : path
        HDF5: mean profiles before and after, ``<model>/<background>/<output>/...``.
    """
    with _Writer(effects, tsv) as writer:
        filled = set().union(*(filled_columns(path) for path in parts))
        for rows in merged_rows((group for path in parts for group in read_row_groups(path)), filled):
            writer.write(rows)
    for target, sources in ((backgrounds, part_backgrounds), (profiles, part_profiles)):
        with write_hdf5(target) as handle:
            for source in sources:
                with read_hdf5(source) as part:
                    for model in part:
                        part.copy(model, handle)
                        handle.flush()


def merged_rows(groups: Iterable[pa.Table], filled: set[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of batches, one model and background set after another, with the columns that apply.

    Parameters
    ----------
    groups : iterable of pyarrow.Table
        What `summarize_batch` wrote, a table for each model and background set.
    filled : set of str
        Columns in which any row of any batch has a value: an optional column is there for all or for none.
    """
    filled = filled | set(_ALWAYS)
    filled = filled.union(*(others for column, others in _WITH.items() if column in filled))
    chosen = [c for c in EFFECTS if c.required or c.name in filled]
    for group in groups:
        rows = group.to_pandas()
        for column in chosen:  # a null made floats of whole numbers
            if column.type == pa.int64() and rows[column.name].dtype != np.int64:
                rows[column.name] = rows[column.name].astype("Int64")
        yield rows[[c.name for c in chosen]]


class _Writer:
    """Streams parts of the effect table to Parquet and to gzipped TSV (the same bytes for the same table)."""

    def __init__(self, parquet: str | os.PathLike, tsv: str | os.PathLike):
        self._parquet, self._stack, self._writer = parquet, ExitStack(), None
        with self._stack as stack:
            raw = stack.enter_context(open(stack.enter_context(atomic(tsv)), "wb"))
            self._tsv = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename=""))
            self._stack = stack.pop_all()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, rows: pd.DataFrame) -> None:
        arrow = conform(rows, EFFECTS, name="effects.parquet")
        if self._writer is None:
            self._columns = arrow.schema.names
            self._writer = self._stack.enter_context(table_writer(self._parquet, arrow.schema))
        self._writer.write_table(arrow)
        text = rows[self._columns].to_csv(sep="\t", index=False, na_rep="", header=self._tsv.tell() == 0)
        self._tsv.write(text.encode())
