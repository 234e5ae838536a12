"""Writing and reading the files that jobs hand to each other: atomic, checksummed, self-describing."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from marginome.errors import MarginomeError


def sha256_of(path: str | os.PathLike, *, chunk: int = 1 << 20) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(chunk):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; rename it to `path` when the block ends well.

    A reader never sees half a file: after an exception or a kill the target is as it was before. The
    temporary file is flushed to disk before it is renamed and removed after an exception; what a killed
    writer left of the same target is removed by the next one.

    Parameters
    ----------
    path : path
        The file to make. Its folder is made when missing.

    Yields
    ------
    Path
        In the same folder, with the same suffixes (compression is recognised by them).

    Raises
    ------
    MarginomeError
        When the folder cannot be written to or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".tmp-*-{glob.escape(target.name)}"):
            if re.fullmatch(rf"\.tmp-\d+-{re.escape(target.name)}", left.name):  # not of `x-<target>`
                left.unlink(missing_ok=True)
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise MarginomeError(
                f"no permission to write ({error.strerror})",
                where=str(target),
                remedy="Run in a folder you may write to, or set another with --directory.",
            ) from error
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise MarginomeError(
                "the disk is full or the quota is used up",
                where=str(target),
                remedy="Free some space and run the same command again: what is finished is kept.",
            ) from error
        raise
    finally:
        with suppress(OSError):  # the error that brought us here says more
            temporary.unlink(missing_ok=True)


def to_json(value: object, **options: object) -> str:
    """Return `value` as JSON; NaN and infinities, which JSON has not, are null, unknown types their text.

    Parameters
    ----------
    value : object
        Mappings, lists, tuples, sets, NumPy's scalars and arrays, text, numbers.
    **options
        Of `json.dumps`, e.g. ``indent``.
    """
    return json.dumps(plain(value), allow_nan=False, **options)


def plain(value: object) -> object:
    """Bring a value to what JSON has: dicts, lists, text, finite numbers, booleans and null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def write_json(path: str | os.PathLike, value: Mapping | list) -> None:
    """Write `value` as indented JSON, atomically; see `to_json`."""
    with atomic(path) as temporary:
        temporary.write_text(to_json(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> dict:
    """Read a JSON file that another job wrote; a damaged one is removed and named."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise damaged(path, error) from error


def damaged(path: str | os.PathLike, error: object) -> MarginomeError:
    """Remove a damaged intermediate file and build the error that says so.

    Snakemake takes an existing file for a good one, so a damaged file has to go for the next run to
    make it again.
    """
    Path(path).unlink(missing_ok=True)
    return MarginomeError(
        f"the file is damaged ({error}) and was removed",
        where=str(path),
        remedy="Run the same snakemake command again: it makes this file and what depends on it anew.",
    )


def write_table(path: str | os.PathLike, table: pd.DataFrame | pa.Table, metadata: Mapping | None = None) -> None:
    """Write a table as Parquet (zstd), atomically, with `metadata` and a checksum of its content.

    Parameters
    ----------
    path : path
        Where to.
    table : pandas.DataFrame or pyarrow.Table
        The columns; a frame's index is not kept.
    metadata : mapping, optional
        JSON-serialisable; stored under the key ``marginome`` of the file's schema.
    """
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    kept = dict(arrow.schema.metadata or {})
    kept[b"marginome"] = to_json(dict(metadata or {}), sort_keys=True).encode()
    with atomic(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(kept), temporary, compression="zstd", write_page_checksum=True)


def read_table(path: str | os.PathLike, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet table that another job wrote; its page checksums are verified."""
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True).to_pandas()
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def table_metadata(path: str | os.PathLike) -> dict:
    """Return the metadata that `write_table` stored in a Parquet file."""
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(b"marginome", b"{}"))
    except (pa.ArrowException, ValueError) as error:
        raise damaged(path, error) from error


@contextmanager
def write_hdf5(path: str | os.PathLike, metadata: Mapping | None = None) -> Iterator[h5py.File]:
    """Open a new HDF5 file for writing; it appears under its name only when complete.

    Datasets made through `dataset` carry a Fletcher-32 checksum per chunk, so a damaged chunk is an
    error when read. The attribute ``complete`` is written last and `read_hdf5` wants it.

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
        with h5py.File(temporary, "w") as handle:
            handle.attrs["marginome"] = to_json(dict(metadata or {}), sort_keys=True)
            yield handle
            handle.attrs["complete"] = True


def dataset(group: h5py.Group, name: str, *, unit: str | None = None, **kwargs) -> h5py.Dataset:
    """Create a chunked, compressed, checksummed dataset; `kwargs` go to ``create_dataset``.

    Text of variable length is kept as it is: HDF5 has no filters for it.
    """
    data = kwargs.get("data")
    shape = kwargs.get("shape", None if data is None else getattr(data, "shape", None))
    text = kwargs.get("dtype") == h5py.string_dtype()
    if shape and all(s > 0 for s in shape) and not text:
        kwargs = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True} | kwargs
    made = group.create_dataset(name, **kwargs)
    if unit:
        made.attrs["unit"] = unit
    return made


@contextmanager
def read_hdf5(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Open an HDF5 file that another job wrote; a damaged one is removed and named."""
    try:
        with h5py.File(path, "r") as handle:
            if not handle.attrs.get("complete", False):
                raise OSError("it was not written to its end")
            yield handle
    except OSError as error:
        if error.errno is not None:  # the system's own: no such file, no permission, a write of the caller's
            raise
        raise damaged(path, error) from error


def hdf5_metadata(path: str | os.PathLike) -> dict:
    """Return the metadata that `write_hdf5` stored."""
    with read_hdf5(path) as handle:
        return json.loads(handle.attrs["marginome"])
