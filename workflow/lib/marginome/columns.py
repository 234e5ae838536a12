"""What a column of a result table is; tables are checked against their columns when they are written.

The columns themselves are in `tables` (of effects), `list_tables` (of motifs and inserts) and `element_tables`, so that
an edit of one kind makes no table of another kind anew, nor what is computed of it.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from marginome.errors import MarginomeError
from marginome.storage import atomic

TEXT, INT, FLOAT, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()


class Column(NamedTuple):
    """One column.

    Attributes
    ----------
    name : str
    type : pyarrow.DataType
    description : str
        What it means, with its unit.
    required : bool, default True
        Whether every table has it.
    key : bool, default False
        Whether it tells rows apart: no two rows are equal in all of these.
    """

    name: str
    type: pa.DataType
    description: str
    required: bool = True
    key: bool = False


def conform(table: pd.DataFrame, columns: Sequence[Column], *, extra: bool = False, name: str = "table") -> pa.Table:
    """Bring a frame to the stated columns, order and types, or say what does not fit.

    A table without rows gets all columns: nothing in it says which of them apply.

    Parameters
    ----------
    table : pandas.DataFrame
        Must hold every required column, unless it has no rows.
    columns : sequence of Column
        The schema, e.g. `marginome.tables.EFFECTS`.
    extra : bool, default False
        Whether columns that the schema does not know are kept (at the end) or an error.
    name : str
        For messages.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    MarginomeError
        On a missing or unknown column, or a value that its type cannot hold.
    """
    unknown = [c for c in table.columns if c not in {column.name for column in columns}]
    if not len(table):
        table = table.reindex(columns=[*(c.name for c in columns), *unknown])
    missing = [c.name for c in columns if c.required and c.name not in table]
    if missing or (unknown and not extra):
        raise MarginomeError(f"columns missing: {missing}; columns not in the schema: {unknown}", where=name)
    present = [c for c in columns if c.name in table]
    try:
        arrays = [pa.array(table[c.name] if len(table) else [], type=c.type, from_pandas=True) for c in present]
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise MarginomeError(f"a value does not fit its column: {error}", where=name) from error
    result = pa.Table.from_arrays(arrays, schema=schema_of(present))
    for column in unknown:
        result = result.append_column(column, pa.array(table[column], from_pandas=True))
    return result


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Return the schema of a table that has these columns, with what they mean."""
    return pa.schema([pa.field(c.name, c.type, metadata={"description": c.description}) for c in columns])


def check_columns(table: pd.DataFrame, columns: Sequence[str], where: str, *, remedy: str | None = None) -> None:
    """Refuse a table without some columns.

    Parameters
    ----------
    table : pandas.DataFrame
        Any.
    columns : sequence of str
        Names it must have.
    where : str
        For the message: the function or file that needs them.
    remedy : str, optional
        What to do where they are missing.

    Raises
    ------
    MarginomeError
        With the missing names and those that are there.
    """
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise MarginomeError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}",
            where=where,
            remedy=remedy,
        )


def write_tsv(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Write a table as tab-separated text, gzipped when the name ends in .gz (same bytes for the same table)."""
    with atomic(path) as temporary:
        if str(path).endswith(".gz"):
            with open(temporary, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as handle:
                handle.write(table.to_csv(sep="\t", index=False, na_rep="").encode())
        else:
            table.to_csv(temporary, sep="\t", index=False, na_rep="")


def describe(columns: tuple[Column, ...]) -> str:
    """Return a Markdown table of column, type and meaning."""
    lines = ["| column | type | meaning |", "|---|---|---|"]
    lines += [
        f"| `{c.name}` | {c.type}{'' if c.required else ', where it applies'} | {c.description} |" for c in columns
    ]
    return "\n".join(lines)
