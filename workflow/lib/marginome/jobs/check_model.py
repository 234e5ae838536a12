"""The models of a batch, checked before anything long runs with them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from marginome import model_check
from marginome.batch_files import write_records
from marginome.jobs.each_model import each_model
from marginome.models.loading import load_model

log = logging.getLogger("marginome")


def check_models(
    models: Mapping[str, Mapping[str, Any]],
    *,
    digests: Mapping[str, Mapping[str, str]],
    engine: Mapping[str, Any],
    device: str,
    json: str | os.PathLike,
) -> None:
    """Check models in the way they are going to be run; one with which a run would be wrong has failed.

    Parameters
    ----------
    models : mapping
        The entries in the config of a batch's models, by name. A batch of one stops when its model fails.
    digests : mapping
        Digests of each model's files, by path (`provenance.content_digests`).
    engine : mapping
        precision, engine, block, threads, memory_mb of the run.
    device : str
        Where to run: cpu or cuda:<index>.
    json : path
        What was found of each, or why it failed; see `marginome.batch_files.read_record`.
    """
    records: dict[str, Mapping[str, Any]] = {}
    measured: dict[str, Mapping[str, Any]] = {}

    def check(name: str) -> None:
        loaded = load_model(name, dict(models[name]), precision=engine["precision"])
        kind = model_check.architecture(loaded)
        found = model_check.check_model(
            loaded,
            device=device,
            precision=engine["precision"],
            engine=engine["engine"],
            memory_bytes=int(engine["memory_mb"]) << 20,
            like=measured.get(kind),
            block=engine.get("block"),
        )
        model_check.stop_on_problems(found)
        measured.setdefault(kind, found)
        found["block"] = engine.get("block") or found["block"]
        for text in found["warnings"]:
            log.info("note: %s", text)
        log.info("%s: %s, %.3g sequences/s%s", name, loaded.loader, found["sequences_per_second"],
                 f", as {found['measured_on']}, whose architecture it has" if found["measured_on"] else "")  # fmt: skip
        records[name] = {**found, "input_digests": dict(digests[name])}

    failed = each_model(list(models), check, output=json, failed={})
    write_records(json, records, failed)
