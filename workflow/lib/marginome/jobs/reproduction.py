"""Whether a screen gives again the table that was published."""

from __future__ import annotations

import logging
import os

from marginome.errors import MarginomeError
from marginome.statistics import compare_tables
from marginome.storage import read_table, sha256_of
from marginome.tables import write_tsv

log = logging.getLogger("marginome")

# More than rounding on another kind of machine.
TOLERANCE = 1e-4
_KEYS = ["model", "background", "collection", "motif_id", "orientation", "start", "insert", "output"]
_WHERE_THEY_APPLY = ["draw", "partner_id", "partner_orientation", "gap", "order"]


def compare_screen(*, expected: str | os.PathLike, effects: str | os.PathLike, table: str | os.PathLike) -> None:
    """List every difference between a screen's table and the expected one.

    Parameters
    ----------
    expected, effects : path
        Effect tables as Parquet; rows are matched by what they are of, not by their order.
    table : path
        TSV to write: a row per differing value.

    Raises
    ------
    MarginomeError
        When a row or column is there on one side only, a text differs, or a number differs by more than 1e-4.
    """
    published, found = read_table(expected), read_table(effects)
    keys = _KEYS + [c for c in _WHERE_THEY_APPLY if c in published and published[c].notna().any()]
    differences = compare_tables(published, found, keys=keys)
    write_tsv(table, differences)
    if differences.empty:
        log.info("no difference: every value of %s is that of %s", effects, expected)
        same = sha256_of(expected) == sha256_of(effects)
        log.info(
            "the files are %s", "the same byte for byte" if same else "written differently, e.g. by other versions"
        )
        return
    largest = differences["difference"].max()
    log.info("%d values differ, at most by %.3g; all of them are in %s", len(differences), largest, table)
    serious = differences[~(differences["difference"] <= TOLERANCE)]
    if len(serious):
        first = serious.iloc[0]
        raise MarginomeError(
            f"{len(serious)} values differ by more than rounding, e.g. {first['column']} of {first['row']}: expected "
            f"{first['expected']}, found {first['found']}",
            where=str(effects),
            remedy="Look at provenance.json of both: inputs, versions, seed.",
        )
