"""How a result was made: what went in, what code ran, on which machine, and the exact command to make it again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from marginome.arrays import read_hdf5
from marginome.batch_files import parts_of, read_records
from marginome.provenance import PACKAGE, code_digest, git_state, machine, versions
from marginome.storage import read_json, sha256_of, table_metadata, write_json


def write_provenance(json_file: str | os.PathLike, **made: Any) -> None:
    """Write the record of one screen or one attribution entry.

    Parameters
    ----------
    json_file : path
        To write; paths in the record are relative to its folder.
    **made
        Of `provenance_record`.
    """
    write_json(json_file, provenance_record(os.path.dirname(json_file) or ".", **made))


def provenance_record(
    base: str | os.PathLike,
    *,
    config: Mapping[str, Any],
    digests: Mapping[str, str],
    code: Sequence[str],
    opened: Sequence[str | os.PathLike],
    results: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    checks: Sequence[str | os.PathLike],
    command: str,
) -> dict[str, Any]:
    """Say what results were made from: of a screen, of a batch of its models, or of an attribution entry.

    Parameters
    ----------
    base : path
        The folder that paths in the record are relative to.
    config : mapping
        The resolved part of the config: the entry, the entries that it names, seed and engine settings.
    digests : mapping
        SHA-256 of every input file, by name; of a file at an address it may be what its server says.
    code : sequence of str
        Modules that computed it, e.g. ``jobs.marginalize``.
    opened : sequence of path
        Tables and JSON whose ``files`` say what was opened for them: SHA-256 by name, also of what was fetched.
    results : sequence of path
        The results whose SHA-256 is recorded.
    shards, checks : sequence of path
        What engine ran and how it was checked is read from these.
    command : str
        Makes the results again.

    Returns
    -------
    dict
        What can be written as JSON.
    """
    models = {name: found for path in checks for name, found in read_records(path).items() if name in config["models"]}
    found = [*map(_opened, opened), *(model["input_digests"] for model in models.values())]
    return {
        "config": config,
        "input_sha256": {**digests, **{k: v for one in found for k, v in one.items() if k in digests}},
        "result_sha256": {os.path.relpath(path, base): sha256_of(path) for path in results},
        "code": {"digest": code_digest(*code), **git_state(PACKAGE)},
        "versions": versions(),
        "machine": machine(),
        "shards": [shard for path in shards for shard in _parts(path, base)],
        "models": models,
        "command": command,
    }


def _opened(path: str | os.PathLike) -> Mapping[str, str]:
    """Return the digests that a job recorded of the files that it opened."""
    found = table_metadata(path) if os.fspath(path).endswith(".parquet") else read_json(path)
    return found["files"]


def _parts(path: str | os.PathLike, base: str) -> list[dict[str, Any]]:
    """What each model's part of a shard, or a shard that is of one model by its nature, was made with."""
    with read_hdf5(path) as handle:
        groups = parts_of(handle).values() or [handle]
        return [
            {"file": os.path.relpath(path, base), **json.loads(group.attrs["marginome"])}
            | ({"engine": json.loads(group.attrs["engine"])} if "engine" in group.attrs else {})
            for group in groups
        ]
