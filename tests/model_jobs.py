"""The job that checks models, run on one model by its entry in the config alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from marginome.batch_files import read_record
from marginome.jobs.check_model import check_models
from marginome.model_check.budget import BUDGET

ENGINE = {"precision": "float32", "engine": "auto", "block": None, "memory_mb": 2000}


def checked(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What check.json has of a model; the job stops when a run with it would be wrong.

    How fast blocks of inserts are, it would try for a minute; that is another test's.
    """
    record = folder / "check.json"
    with mock.patch.dict(BUDGET, engine=1.0):
        check_models({"m": settings}, digests={"m": {}}, engine=ENGINE, device="cpu", json=record)
    return read_record(record, "m")
