"""Every difference between a screen's table and the published one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from marginome.columns import check_columns, write_tsv
from marginome.errors import MarginomeError
from marginome.seals import is_sealed
from marginome.storage import sha256_of
from marginome.tables import EFFECTS, read_effects

log = logging.getLogger("marginome")


def compare_screen(*, expected: str | os.PathLike, effects: str | os.PathLike, table: str | os.PathLike) -> None:
    """List every difference between a screen's table and the expected one; `judge_differences` says what they mean.

    Parameters
    ----------
    expected, effects : path
        Effect tables as Parquet; rows are matched by what they are of, not by their order.
    table : path
        TSV to write: a row per differing value.
    """
    differences = list_differences(expected, effects)
    write_tsv(table, differences)
    if differences.empty:
        same = sha256_of(expected) == sha256_of(effects)
        log.info(
            "the files are %s", "the same byte for byte" if same else "written differently, e.g. by other versions"
        )


def list_differences(expected: str | os.PathLike, effects: str | os.PathLike) -> pd.DataFrame:
    """Return every difference between a published table and one that this run made, a row per differing value."""
    published, found = _read_published(expected), read_effects(effects)
    keys = [c.name for c in EFFECTS if c.key and (c.required or _has(published, c.name))]
    missing = [key for key in keys if key not in published]
    if missing:
        raise MarginomeError(f"the table has no column {', '.join(missing)}", where=str(expected), remedy=_AGAIN)
    later = [column for column in _LATER if column not in published]
    return compare_tables(published, found.drop(columns=later, errors="ignore"), keys=keys)


#: Columns that tables did not have from the start: what was published before is compared without them.
_LATER = ("position",)


def _has(table: pd.DataFrame, column: str) -> bool:
    return column in table and table[column].notna().any()


def _read_published(path: str | os.PathLike) -> pd.DataFrame:
    """Read a published table: a file of the user's, which stays where it is when it is damaged."""
    try:
        is_sealed(path)
        return pd.read_parquet(path)
    except (OSError, ValueError, RuntimeError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise MarginomeError(f"the table cannot be read ({reason})", where=str(path), remedy=_AGAIN) from error


_AGAIN = "Get the published table again."


def compare_tables(
    expected: pd.DataFrame,
    found: pd.DataFrame,
    tolerance: float | Mapping[str, float] = 0.0,
    *,
    keys: Sequence[str] | None = None,
) -> pd.DataFrame:
    """List where a table differs from the one it should reproduce.

    Parameters
    ----------
    expected, found : pandas.DataFrame
        Two tables of the same kind.
    tolerance : float or mapping of column to float, default 0
        Largest absolute difference of numbers that is none. With a mapping, columns not in it must be equal.
    keys : sequence of str, optional
        Columns that identify a row; the order of rows then does not matter. Without them rows are compared in order.

    Returns
    -------
    pandas.DataFrame
        One row for each difference, none if the tables agree: `row` (the key, or the row's number), `column`,
        `expected`, `found`, `difference` (absolute, NaN where it is not a number). A row or column of one table only
        appears once, with `column` or `row` "(whole row)" or "(whole column)" and "present" or "missing". NaN equals
        NaN, and a null equals a null.

    Raises
    ------
    MarginomeError
        If a key column is missing or a key occurs twice.
    """
    if keys is not None:
        for name, table in (("expected", expected), ("found", found)):
            check_columns(table, keys, name)
            if table.duplicated(list(keys)).any():
                example = table.loc[table.duplicated(list(keys)), list(keys)].iloc[0].tolist()
                raise MarginomeError(f"two rows have the key {example}", where=name)
        expected, found = expected.set_index(list(keys)), found.set_index(list(keys))
    else:
        expected, found = expected.reset_index(drop=True), found.reset_index(drop=True)

    differences: list[tuple] = []
    for column in [c for c in [*expected.columns, *found.columns] if (c in expected) != (c in found)]:
        here = ("present", "missing") if column in expected else ("missing", "present")
        differences.append(("(whole column)", column, *here, np.nan))
    for row in expected.index.symmetric_difference(found.index):
        here = ("present", "missing") if row in expected.index else ("missing", "present")
        differences.append((row, "(whole row)", *here, np.nan))

    shared = expected.index.intersection(found.index)
    for column in [c for c in expected.columns if c in found]:
        a, b = expected.loc[shared, column], found.loc[shared, column]
        allowed = tolerance.get(column, 0.0) if isinstance(tolerance, Mapping) else tolerance
        numeric = pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b)
        size = np.full(len(shared), np.nan)
        if numeric:
            with np.errstate(invalid="ignore"):  # inf - inf
                size = np.abs(a.to_numpy(dtype=float, na_value=np.nan) - b.to_numpy(dtype=float, na_value=np.nan))
        empty_a, empty_b = a.isna().to_numpy(), b.isna().to_numpy()
        equal = np.array([x == y for x, y in zip(a.array, b.array)], dtype=object)
        equal[empty_a | empty_b] = False
        same = equal.astype(bool) | (empty_a & empty_b) | (size <= allowed)
        differences += [(shared[i], column, a.iloc[i], b.iloc[i], size[i]) for i in np.flatnonzero(~same)]
    return pd.DataFrame(differences, columns=["row", "column", "expected", "found", "difference"])
