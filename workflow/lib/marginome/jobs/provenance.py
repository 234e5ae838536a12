"""How a result was made: what went in, what code ran, on which machine, and the exact command to make it again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from marginome.arrays import read_hdf5
from marginome.provenance import PACKAGE, code_digest, git_state, machine, versions
from marginome.storage import read_json, sha256_of, write_json


def write_provenance(
    config: Mapping[str, Any],
    *,
    digests: Mapping[str, str],
    code: Sequence[str],
    results: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    checks: Sequence[str | os.PathLike],
    command: str,
    json_file: str | os.PathLike,
) -> None:
    """Write the record of one screen or one attribution entry.

    Parameters
    ----------
    config : mapping
        The resolved part of the config: the entry, the entries that it names, seed and engine settings.
    digests : mapping
        SHA-256 of every input file, by path.
    code : sequence of str
        Modules that computed it, e.g. ``jobs.screen``.
    results : sequence of path
        The results whose SHA-256 is recorded, by path relative to the record.
    shards, checks : sequence of path
        What engine ran and how it was checked is read from these.
    command : str
        Makes the results again.
    json_file : path
        To write.
    """
    base = os.path.dirname(json_file) or "."
    record = {
        "config": config,
        "input_sha256": dict(digests),
        "result_sha256": {os.path.relpath(path, base): sha256_of(path) for path in results},
        "code": {"digest": code_digest(*code), **git_state(PACKAGE)},
        "versions": versions(),
        "machine": machine(),
        "shards": [_shard(path) for path in shards],
        "models": {read_json(path)["model"]: read_json(path) for path in checks},
        "command": command,
    }
    write_json(json_file, record)


def _shard(path: str | os.PathLike) -> dict[str, Any]:
    with read_hdf5(path) as handle:
        engine = {"engine": json.loads(handle.attrs["engine"])} if "engine" in handle.attrs else {}
        return {"file": str(path), **json.loads(handle.attrs["marginome"]), **engine}
