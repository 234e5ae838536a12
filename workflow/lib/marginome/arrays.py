"""Arrays that jobs hand to each other, as HDF5: streamed, compressed, sealed by a digest, any name as a path's step."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import h5py
import numpy as np

from marginome.errors import MarginomeError
from marginome.seals import MARK, OPEN_SEAL, seal
from marginome.storage import UNREADABLE, atomic, damaged, sound, to_json


@contextmanager
def write_hdf5(path: str | os.PathLike, metadata: Mapping | None = None) -> Iterator[h5py.File]:
    """Open a new HDF5 file for writing; it appears under its name only when complete.

    A digest of the whole file follows HDF5's own last byte, where the format allows anything; `read_hdf5` checks it.

    Parameters
    ----------
    path : path
        Where to.
    metadata : mapping, optional
        JSON-serialisable; stored as the file's attribute ``marginome``.

    Yields
    ------
    h5py.File
    """
    with atomic(path) as temporary:
        with _closed(h5py.File(temporary, "w"), temporary) as handle:
            handle.attrs["marginome"] = to_json(dict(metadata or {}), sort_keys=True)
            yield handle
            finish_hdf5(handle)
        seal_hdf5(temporary)


@contextmanager
def _closed(handle: h5py.File, path: Path) -> Iterator[h5py.File]:
    """Close a file that is written; after an error let go of it.

    What HDF5 cannot write when an object is closed, because the disk is full, is lost without an exception, and the
    process ends with a segmentation fault. So everything is flushed before it is closed (see `fill`), and after an
    error what HDF5 still has to write goes to memory, some MB, and the file is closed for good.
    """
    told, lost, descriptor = sys.unraisablehook, [], handle.id.get_vfd_handle()

    def tell(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, OSError) and str(path) in str(unraisable.exc_value):
            lost.append(unraisable.exc_value)
        else:
            told(unraisable)

    sys.unraisablehook = tell
    try:
        yield handle
        handle.flush()
        if lost:
            raise lost[0]
        handle.close()
    except BaseException:
        with suppress(Exception):
            if hasattr(os, "memfd_create"):  # Linux
                memory = os.memfd_create("discarded")
                os.dup2(memory, descriptor)
                os.close(memory)
            handle.close()
        raise
    finally:
        sys.unraisablehook = told


def finish_hdf5(handle: h5py.File) -> None:
    """Mark an open file as complete and as one that ends with a digest."""
    handle.attrs["complete"] = True
    handle.attrs["digest"] = f"{MARK} after the last byte of HDF5"


def seal_hdf5(path: str | os.PathLike) -> None:
    """Append the digest of a closed file to it."""
    with open(path, "ab") as handle:
        handle.write(f"\n{OPEN_SEAL}\n".encode())
    seal(path)


def dataset(group: h5py.Group, name: str, *, unit: str | None = None, **kwargs) -> h5py.Dataset:
    """Create a chunked, compressed, checksummed dataset; `kwargs` go to ``create_dataset``.

    What is never written of floating-point data reads as NaN. Text of variable length is kept as it is: HDF5 has no
    filters for it.
    """
    data = kwargs.get("data")
    shape = kwargs.get("shape", None if data is None else getattr(data, "shape", None))
    kind = kwargs.get("dtype", getattr(data, "dtype", None))
    text = kind == h5py.string_dtype()
    if not text and kind is not None and np.dtype(kind).kind == "f":
        kwargs = {"fillvalue": np.nan} | kwargs
    if shape and (all(s > 0 for s in shape) or kwargs.get("maxshape")) and not text:
        kwargs = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True} | kwargs
    made = group.create_dataset(name, **kwargs)
    made.flush()
    if unit:
        made.attrs["unit"] = unit
    return made


def append(group: h5py.Group, name: str, values: np.ndarray, *, chunk_bytes: int = 0) -> None:
    """Append rows to a dataset, which is made with the first ones.

    A chunk of it holds one row, or as many, up to 1,024, as are `chunk_bytes` before compression.
    """
    if name not in group:
        shape = values.shape[1:]
        row = max(1, int(np.prod(shape)) * values.itemsize)
        rows = max(1, min(1024, chunk_bytes // row))
        text = values.dtype == object
        dataset(
            group, name, shape=(0, *shape), maxshape=(None, *(size or None for size in shape)),
            dtype=h5py.string_dtype() if text else values.dtype,
            chunks=(256,) if text else (rows, *(max(1, size) for size in shape)),
        )  # fmt: skip
    made = group[name]
    made.resize(made.shape[0] + len(values), axis=0)
    if values.size:
        fill(made, slice(len(made) - len(values), None), values)


def fill(made: h5py.Dataset, at: Any, values: np.ndarray) -> None:
    """Write a part of a dataset, and notice here when that fails; what is written when it is closed fails unnoticed."""
    made[at] = values
    made.flush()


def hdf5_name(name: str, *, taken: Collection[str] = ()) -> str:
    """Return a name as one step of an HDF5 path, in which ``/`` separates steps and ``.`` is the step itself.

    Parameters
    ----------
    name : str
        Any text: of an output, a target, a function.
    taken : collection of str
        Names that are something else at that place.

    Returns
    -------
    str
        The name; ``/``, ``%``, a null and what is no Unicode as percent-codes, a name of dots alone, an empty or a
        taken one likewise. Different names stay different.
    """
    text = re.sub("[/%\0\ud800-\udfff]", _percent, name)
    if text in taken or re.fullmatch(r"\.+", text):
        text = _percent(text[0]) + text[1:]
    return text or "%"


def _percent(found: str | re.Match) -> str:
    character = found if isinstance(found, str) else found[0]
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def group_of(model: str, background: str) -> str:
    """Return the path of a model and background set in a merged file, where ``inserts`` may be beside the models."""
    return f"{hdf5_name(model, taken=('inserts',))}/{hdf5_name(background)}"


def plain_name(step: str) -> str:
    """Return the name that `hdf5_name` made a step of."""
    return "" if step == "%" else unquote_to_bytes(step).decode("utf-8", "surrogatepass")


@contextmanager
def read_hdf5(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Open an HDF5 file that another job wrote; a damaged one is removed and named."""
    sealed = sound(path)
    try:
        with h5py.File(path, "r") as handle:
            if not handle.attrs.get("complete", False):
                raise OSError("it was not written to its end")
            yield handle
    except MarginomeError:
        raise
    except UNREADABLE as error:
        # The system's own (no such file, a write of the caller's), or an error of the caller: the file is as written.
        if sealed or getattr(error, "errno", None) is not None:
            raise
        raise damaged(path, error) from error


def hdf5_metadata(path: str | os.PathLike) -> dict:
    """Return the metadata that `write_hdf5` stored."""
    with read_hdf5(path) as handle:
        return json.loads(handle.attrs["marginome"])
