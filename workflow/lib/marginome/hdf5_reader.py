"""The child process of `marginome.hdf5`: JSON requests come in, for each file an .npz and one JSON answer go out.

It is run by its path and imports nothing of this package, so that it starts in 0.2 s. Every
file is read in a fork with limits of memory and processor time, since the HDF5 library may crash or never end.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o

MB = 2**20
MOST_OBJECTS = 200_000


class Refused(Exception):
    """The file holds what is not read: something that leads out of it, or values of another kind."""


class LeadsOut(Refused):
    """Something in the file leads out of it."""

    def __str__(self) -> str:
        return f"{self.args[0]}; only what lies in the file itself is read"


def main() -> None:
    """Answer the requests on stdin, one after the other."""
    answers = []
    for request in json.load(sys.stdin):
        incoming, outgoing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(incoming)
            _in_the_fork(request, outgoing)
        os.close(outgoing)
        with open(incoming, "rb") as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        answers.append(json.loads(text) if status == 0 and text else {"damaged": _death(status)})
    json.dump(answers, sys.stdout)


def _in_the_fork(request: dict[str, Any], outgoing: int) -> None:
    """Read one file and leave for good."""
    try:
        size = os.path.getsize(request["path"])
        usual = 20 * size + 64 * MB  # weights do not compress, counts of reads do
        most = request["max_bytes"] if request["max_bytes"] is not None else usual
        seconds = request["seconds"] or 20 + size // (20 * MB)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the library prints its traces there
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        if sys.platform == "linux":  # elsewhere this limit is not kept by the system
            with open("/proc/self/statm") as statm:
                now = int(statm.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + usual + 3 * most + 128 * MB,) * 2)
        _save(request, most)
        answer = {}
    except Refused as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"damaged": "it wants more memory than a file of its size may have"}
    except BaseException as error:  # whatever h5py meets in a damaged file
        first = (str(error).strip().splitlines() or [""])[0]
        answer = {"damaged": first[:1000] or type(error).__name__}
    os.write(outgoing, json.dumps(answer).encode())
    os._exit(0)


def _death(status: int) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return "reading it does not come to an end"
    return f"reading it ends in {signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status}"


def _save(request: dict[str, Any], most: int) -> None:
    with h5py.File(request["path"], "r") as file:
        attributes, shapes, arrays = {}, {}, {}
        wanted = re.compile(request["datasets"], re.DOTALL)
        for path, found in _objects(file):
            if isinstance(found, h5g.GroupID):
                group = h5py.Group(found)
                attributes[path] = {name: _plain(group.attrs, name, path) for name in group.attrs}
                continue
            dataset = h5py.Dataset(found)
            shapes[path] = dataset.shape
            if wanted.fullmatch(path):
                rows = request["rows"].get(path)
                count = dataset.size if rows is None else len(rows) * int(np.prod(dataset.shape[1:], dtype=object))
                most -= (count or 0) * dataset.dtype.itemsize
                if most < 0:
                    raise ValueError("it says that it holds more values than a file of its size may have")
                arrays[path] = _values(dataset, rows, path)
    header = {"attributes": attributes, "shapes": shapes, "arrays": list(arrays)}
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(request["out"], header=text, **{str(i): array for i, array in enumerate(arrays.values())})


def _objects(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Groups and datasets with their paths; an exception for whatever is not in the file itself."""
    waiting, groups = [("", file["/"].id)], set()
    count = 0
    while waiting:
        path, group = waiting.pop()
        address = h5o.get_info(group).addr
        if address in groups:
            raise LeadsOut(f"'{path}' is a group that another path leads to as well")
        groups.add(address)
        yield path, group
        for name in group:
            count += 1
            if count > MOST_OBJECTS:
                raise ValueError(f"it holds more than {MOST_OBJECTS} objects")
            below = f"{path}/{name.decode()}".lstrip("/")
            kind = group.links.get_info(name).type
            if kind != h5l.TYPE_HARD:
                word = {h5l.TYPE_SOFT: "a soft", h5l.TYPE_EXTERNAL: "an external"}.get(kind, "a user-defined")
                raise LeadsOut(f"'{below}' is {word} link")
            found = h5o.open(group, name)
            if isinstance(found, h5g.GroupID):
                waiting.append((below, found))
            elif isinstance(found, h5d.DatasetID):
                _refuse_storage_elsewhere(found, below)
                yield below, found


def _refuse_storage_elsewhere(dataset: h5d.DatasetID, path: str) -> None:
    plan = dataset.get_create_plist()
    if plan.get_layout() == h5d.VIRTUAL:
        raise LeadsOut(f"'{path}' is a virtual dataset")
    if plan.get_external_count():
        raise LeadsOut(f"'{path}' keeps its values in another file (external storage)")
    if _holds_references(dataset.dtype):
        raise LeadsOut(f"'{path}' holds references")


def _holds_references(dtype: np.dtype) -> bool:
    inner = [field[0] for field in (dtype.fields or {}).values()]
    inner += [dtype.subdtype[0]] if dtype.subdtype else []
    vlen = h5py.check_vlen_dtype(dtype)
    inner += [np.dtype(vlen)] if vlen is not None else []
    return h5py.check_ref_dtype(dtype) is not None or any(_holds_references(part) for part in inner)


def _plain(attributes: h5py.AttributeManager, name: str, path: str) -> Any:
    """An attribute as JSON has it."""
    if _holds_references(attributes.get_id(name).dtype):
        raise LeadsOut(f"the attribute '{name}' of '{path or '/'}' holds references")
    value = attributes[name]
    if isinstance(value, h5py.Empty):
        return None
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return [_text(item) for item in value] if isinstance(value, list) else _text(value)


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _values(dataset: h5py.Dataset, rows: list[int] | None, path: str) -> np.ndarray:
    if h5py.check_string_dtype(dataset.dtype) is not None:
        values = dataset[()] if rows is None else dataset[rows]
        return np.array(_text(values.tolist() if isinstance(values, np.ndarray) else values), dtype=str)
    if dataset.dtype.kind not in "biuf":
        raise Refused(f"'{path}' holds values of the type {dataset.dtype}; wanted real numbers or text")
    return np.asarray(dataset[()] if rows is None else dataset[rows])


if __name__ == "__main__":
    main()
