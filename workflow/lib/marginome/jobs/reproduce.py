"""What the differences from published tables mean."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from marginome.errors import MarginomeError
from marginome.jobs.compare_screen import list_differences
from marginome.provenance import machine
from marginome.storage import sha256_of

log = logging.getLogger("marginome")


# More than rounding on another kind of machine: of the expected value, and of 1 for smaller ones.
TOLERANCE = 1e-4


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
        differences = list_differences(expected[screen], effects[screen])
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
