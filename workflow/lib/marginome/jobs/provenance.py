"""How a screen was made: what went in, what code ran, on which machine, and the exact command to make it again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from marginome.provenance import PACKAGE, code_digest, git_state, machine, versions
from marginome.storage import read_hdf5, read_json, sha256_of, write_json


def write_provenance(
    screen: Mapping[str, Any],
    *,
    digests: Mapping[str, str],
    effects: str | os.PathLike,
    shards: Sequence[str | os.PathLike],
    checks: Sequence[str | os.PathLike],
    json_file: str | os.PathLike,
) -> None:
    """Write the record of one screen.

    Parameters
    ----------
    screen : mapping
        The resolved part of the config: the screen's entry, the entries that it names, seed and engine settings.
    digests : mapping
        SHA-256 of every input file, by path.
    effects : path
        The result whose SHA-256 is recorded.
    shards, checks : sequence of path
        What engine ran and how it was checked is read from these.
    json_file : path
        To write.
    """
    record = {
        "config": screen,
        "input_sha256": dict(digests),
        "result_sha256": {os.path.basename(effects): sha256_of(effects)},
        "code": {"digest": code_digest("jobs.screen", "jobs.summary"), **git_state(PACKAGE)},
        "versions": versions(),
        "machine": machine(),
        "shards": [_shard(path) for path in shards],
        "models": {read_json(path)["model"]: read_json(path) for path in checks},
        "command": "snakemake --cores all --configfile <the config above> results/screens/"
        + next(iter(screen["screen"]))
        + "/effects.parquet",
    }
    write_json(json_file, record)


def _shard(path: str | os.PathLike) -> dict[str, Any]:
    with read_hdf5(path) as handle:
        return {
            "file": str(path),
            **json.loads(handle.attrs["marginome"]),
            "engine": json.loads(handle.attrs["engine"]),
        }
