"""What a screen asks for beside predictions, and the windows around inserts that its results are kept in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py

from marginome.arrays import hdf5_name
from marginome.errors import MarginomeError


def functions_of(screen: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (name, settings) of the functions of a screen beside predict; the user's own are called by their name."""
    found = []
    for entry in screen["functions"]:
        if isinstance(entry, str):
            if entry != "predict":
                found.append((entry, {}))
        else:
            found.append((entry["function"].rpartition(":")[2], entry))
    names = [name for name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MarginomeError(f"two functions are named {', '.join(twice)}", where="functions", remedy="Rename one.")
    return found


def window_of(start: int, width: int, size: int, length: int) -> tuple[int, int, int]:
    """Return first and last position of the window around an insert, cut at the ends, and the column of the first.

    A window has `size` columns for inserts of every width: the insert's middle is at column ``size // 2``.
    """
    first = start + width // 2 - size // 2
    return max(0, first), min(length, first + size), max(0, -first)


def target_group(handle: h5py.Group, function: str, target: str) -> h5py.Group:
    """Return the group of what a function gave for a target, made when it is not there."""
    return handle.require_group(hdf5_name(function, taken=("rows",))).require_group(hdf5_name(target))
