"""Files of a batch of models: a part for each model, which is what was computed, or what the model failed with.

One failing model costs only itself: its error is its result, and whoever puts batches together says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import groupby

import h5py

from marginome.arrays import hdf5_name, read_hdf5
from marginome.errors import MarginomeError
from marginome.storage import Record, outdated, read_json, write_json

#: Beside the models' groups of a baseline; no model has that name there.
IDS = ("ids",)
#: Key of a part that holds no result but the reason why there is none.
ERROR = "error"


class FailedModelError(MarginomeError):
    """A model of a batch has no result here, for a reason that an earlier job wrote down."""


# ------------------------------------------------------------------------------------------------ JSON
def write_records(path: str | os.PathLike, records: Mapping[str, Mapping], failed: Mapping[str, str]) -> None:
    """Write what was found of every model of a batch as JSON: ``models``, by name; of a failed one its ``error``.

    Parameters
    ----------
    path : path
        To write.
    records : mapping of str to mapping
        What was found, by model.
    failed : mapping of str to str
        Reasons, of the other models.
    """
    write_json(path, {"models": {**records, **{name: {ERROR: reason} for name, reason in failed.items()}}})


def read_records(path: str | os.PathLike) -> dict[str, Record]:
    """Read what `write_records` wrote, without the models that failed."""
    return {name: found for name, found in _records(path).items() if ERROR not in found}


def read_record(path: str | os.PathLike, model: str) -> Record:
    """Read what `write_records` wrote of one model; a failed one is an error."""
    records = _records(path)
    if model not in records:
        raise outdated(path, f"model '{model}'")
    if ERROR in records[model]:
        raise _failed(model, records[model][ERROR])
    return records[model]


def failed_records(path: str | os.PathLike) -> dict[str, str]:
    """Return the reasons of the models that failed, by name."""
    return {name: found[ERROR] for name, found in _records(path).items() if ERROR in found}


def read_checks(checks: Mapping[str, str | os.PathLike]) -> tuple[dict[str, str], dict[str, Record]]:
    """Return why models failed, and what was found of the others, by model; a file of several is read once.

    Parameters
    ----------
    checks : mapping of str to path
        The file of `write_records` that each model is in.
    """
    reasons: dict[str, str] = {}
    found: dict[str, Record] = {}
    for path, models in groupby(sorted(checks, key=lambda name: str(checks[name])), key=checks.__getitem__):
        records = _records(path)
        for name in models:
            if name not in records:
                raise outdated(path, f"model '{name}'")
            if ERROR in records[name]:
                reasons[name] = records[name][ERROR]
            else:
                found[name] = records[name]
    return reasons, {name: found[name] for name in checks if name in found}


def stop_on_failures(reasons: Mapping[str, str]) -> None:
    """Stop when a model failed, with the reasons by model."""
    if reasons:
        named = ", ".join([*list(reasons)[:20], *(["..."] if len(reasons) > 20 else [])])
        several = f"{len(reasons)} models failed ({named}); the first: " if len(reasons) > 1 else ""
        raise MarginomeError(
            f"{several}{next(iter(reasons.values()))}",
            remedy="Mend its entry or leave it out: other batches are kept, models of its batch are computed again. To "
            "try it again as it is, delete the file that is named.",
        )


def _records(path: str | os.PathLike) -> dict[str, Record]:
    return {name: Record(found, path) for name, found in read_json(path)["models"].items()}


# ------------------------------------------------------------------------------------------------ HDF5
def part_name(model: str) -> str:
    """Return the name of a model's group."""
    return hdf5_name(model, taken=IDS)


def parts_of(handle: h5py.File) -> dict[str, h5py.Group]:
    """Return the groups of an open file's models that did not fail, by model."""
    groups = [group for group in handle.values() if isinstance(group, h5py.Group) and "marginome" in group.attrs]
    return {json.loads(group.attrs["marginome"])["model"]: group for group in groups}


def part_of(handle: h5py.File, model: str) -> h5py.Group:
    """Return a model's group of an open file; a failed model is an error."""
    group = handle.get(part_name(model))
    if group is None:
        raise outdated(handle.filename, f"model '{model}'")
    if ERROR in group.attrs:
        raise _failed(model, group.attrs[ERROR])
    return group


def failed_parts(files: Sequence[str | os.PathLike]) -> dict[str, str]:
    """Return what models failed with in any of some files, by model."""
    found: dict[str, str] = {}
    for file in files:
        with read_hdf5(file) as handle:
            for group in handle.values():
                if isinstance(group, h5py.Group) and ERROR in group.attrs:
                    found.setdefault(group.attrs["model"], group.attrs[ERROR])
    return found


def _failed(model: str, reason: object) -> FailedModelError:
    return FailedModelError(f"it failed: {reason}", where=f"model '{model}'")
