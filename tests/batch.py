"""What jobs of a batch read, written by hand: an insert list, and what was found of its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from marginome.batch_files import write_records
from marginome.placing import FIRST_BASE
from marginome.storage import write_table


def write_inserts(path: Path, table: pd.DataFrame) -> None:
    """Write an insert list whose starts (column ``start``) do not depend on how long the sequences are."""
    made = table.rename(columns={"start": "offset"}).drop(columns="insert_id", errors="ignore")
    names = [f"m{i}" for i in range(len(made))]
    for column, values in (("collection", "c"), ("motif_id", names), ("motif_name", names), ("orientation", "+")):
        if column not in made:
            made[column] = values
    write_table(path, made, {"from": FIRST_BASE})


def write_checks(path: Path, **found: Any) -> None:
    """Write what was found of the models of a batch; None for one that failed."""
    engine = {"kernels": "torch"}
    records = {name: {"engine": engine, **record} for name, record in found.items() if record is not None}
    write_records(path, records, {name: "it does not load" for name in found if name not in records})
