"""Whether a screen gives again the table that was published."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from marginome.errors import MarginomeError
from marginome.provenance import machine
from marginome.seals import is_sealed
from marginome.storage import sha256_of
from marginome.tables import check_columns, read_effects, write_tsv

log = logging.getLogger("marginome")

# More than rounding on another kind of machine: of the expected value, and of 1 for smaller ones.
TOLERANCE = 1e-4
_KEYS = ["model", "background", "collection", "motif_id", "orientation", "start", "insert", "output"]
_WHERE_THEY_APPLY = ["draw", "partner_id", "partner_orientation", "gap", "order"]


def compare_screen(*, expected: str | os.PathLike, effects: str | os.PathLike, table: str | os.PathLike) -> None:
    """List every difference between a screen's table and the expected one; `judge_differences` says what they mean.

    Parameters
    ----------
    expected, effects : path
        Effect tables as Parquet; rows are matched by what they are of, not by their order.
    table : path
        TSV to write: a row per differing value.
    """
    differences = _differences(expected, effects)
    write_tsv(table, differences)
    if differences.empty:
        same = sha256_of(expected) == sha256_of(effects)
        log.info(
            "the files are %s", "the same byte for byte" if same else "written differently, e.g. by other versions"
        )


def _differences(expected: str | os.PathLike, effects: str | os.PathLike) -> pd.DataFrame:
    published, found = _read_published(expected), read_effects(effects)
    keys = _KEYS + [c for c in _WHERE_THEY_APPLY if c in published and published[c].notna().any()]
    missing = [key for key in keys if key not in published]
    if missing:
        raise MarginomeError(f"the table has no column {', '.join(missing)}", where=str(expected), remedy=_AGAIN)
    return compare_tables(published, found, keys=keys)


def _read_published(path: str | os.PathLike) -> pd.DataFrame:
    """Read a published table: a file of the user's, which stays where it is when it is damaged."""
    try:
        is_sealed(path)
        return pd.read_parquet(path)
    except (OSError, ValueError, RuntimeError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise MarginomeError(f"the table cannot be read ({reason})", where=str(path), remedy=_AGAIN) from error


_AGAIN = "Get the published table again."


def judge_differences(
    expected: Mapping[str, str | os.PathLike],
    effects: Mapping[str, str | os.PathLike],
    tables: Mapping[str, str | os.PathLike],
) -> None:
    """Check the published tables' checksums, tell how the screens differ from them, and fail on more than rounding.

    This is a step of its own because Snakemake deletes what a failed job wrote, and the list of differences is what
    the reader of a failure needs.

    Parameters
    ----------
    expected : mapping of str to path
        Per screen the published table; where a file SHA256SUMS lies beside it, its checksum must be the one there.
    effects : mapping of str to path
        Per screen its effect table. The differences are found again: text has no place for a digest of itself.
    tables : mapping of str to path
        Per screen the list of differences that `compare_screen` wrote, for messages.

    Raises
    ------
    MarginomeError
        When no screen has an expected table, a published table is not the one its checksum is of, a row or column is
        there on one side only, a text differs, or a number differs by more than 1e-4 of its value (of 1, if smaller).
    """
    if not expected:
        raise MarginomeError(
            "no screen has a table to compare with", where="config: screens", remedy="Give one the key expected."
        )
    for screen, path in expected.items():
        _check_sum(screen, Path(path))
    here = machine()
    log.info("this machine: %s (%s), vector instructions %s", here["processor"], here["processor_model"],
             here["vector_instructions"])  # fmt: skip
    failures = []
    for screen, path in tables.items():
        differences = _differences(expected[screen], effects[screen])
        if differences.empty:
            log.info("screen %s: no difference, every value is that of %s", screen, expected[screen])
            continue
        # NaN, for what is no number or is there on one side only, is more than any tolerance.
        size = pd.to_numeric(differences["difference"]) / pd.to_numeric(
            differences["expected"], errors="coerce"
        ).abs().clip(lower=1)
        log.info(
            "screen %s: %d values differ, numbers by at most %.2g of the value (of 1, if smaller); all are in %s",
            screen, len(differences), size.max() if size.notna().any() else 0, path,
        )  # fmt: skip
        serious = differences[~(size <= TOLERANCE)]
        if len(serious):
            failures.append((path, serious))
        else:
            log.info("screen %s: that is rounding, as on another kind of machine", screen)
    if failures:
        path, serious = failures[0]
        first = serious.iloc[0]
        raise MarginomeError(
            f"{sum(len(s) for _, s in failures)} values differ by more than rounding, e.g. {first['column']} of "
            f"{first['row']}: expected {first['expected']}, found {first['found']}",
            where=str(path),
            remedy="Look at provenance.json of both: inputs, versions, seed.",
        )


def _check_sum(screen: str, path: Path) -> None:
    """Refuse a published table that is not the one whose checksum is published with it."""
    sums = path.with_name("SHA256SUMS")
    if not sums.exists():
        log.info("screen %s: no SHA256SUMS beside %s, its checksum is not checked", screen, path)
        return
    lines = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8", errors="replace").splitlines())
    listed = {words[1].lstrip("*"): words[0] for words in lines if len(words) == 2}
    if path.name not in listed:
        raise MarginomeError(
            f"it has no checksum of {path.name}", where=str(sums), remedy=f"Add the line of: sha256sum {path.name}"
        )
    if listed[path.name] != sha256_of(path):
        raise MarginomeError(
            "the table is not the one whose checksum is in SHA256SUMS",
            where=str(path),
            remedy="Get the published table again, or correct SHA256SUMS if you made a new one.",
        )
    log.info("screen %s: the checksum of %s is right", screen, path)


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
