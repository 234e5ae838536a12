"""A model, checked before anything long runs with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from marginome import model_check
from marginome.models.loading import load_model
from marginome.storage import write_json

log = logging.getLogger("marginome")


def check_model(
    settings: Mapping[str, Any],
    *,
    name: str,
    digests: Mapping[str, str],
    engine: Mapping[str, Any],
    device: str,
    json: str | os.PathLike,
) -> None:
    """Check one model in the way it is going to be run, and stop when a run with it would be wrong.

    Parameters
    ----------
    settings : mapping
        The model's entry in the config.
    name : str
        Its name.
    digests : mapping
        SHA-256 of its files, by path.
    engine : mapping
        precision, engine, block, threads, memory_mb of the run.
    device : str
        Where to run: cpu or cuda:<index>.
    json : path
        What was found.
    """
    loaded = load_model(name, dict(settings), precision=engine["precision"])
    found = model_check.check_model(
        loaded,
        device=device,
        precision=engine["precision"],
        engine=engine["engine"],
        memory_bytes=int(engine["memory_mb"]) << 20,
    )
    model_check.stop_on_problems(found)
    found["block"] = engine.get("block") or found["block"]
    for text in found["warnings"]:
        log.info("note: %s", text)
    log.info("%s: %s, %.3g sequences/s", name, loaded.loader, found["sequences_per_second"])
    write_json(json, {**found, "input_sha256": dict(digests)})
