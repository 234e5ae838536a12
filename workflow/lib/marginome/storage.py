"""Writing and reading the files that jobs hand to each other: atomic, sealed by a digest, self-describing."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import logging
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from marginome.errors import MarginomeError
from marginome.seals import OPEN_SEAL, is_sealed, seal

log = logging.getLogger("marginome")

_SEAL_KEY = "seal"  # of a JSON file and of a table's schema
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# HDF5 tells of the system's errors in words.
_FULL_WORDS = re.compile(rf"errno = ({'|'.join(map(str, _FULL))})\b|{'|'.join(map(os.strerror, _FULL))}")


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
    except Exception as error:
        if isinstance(error, MarginomeError):
            raise
        if isinstance(error, PermissionError):
            raise MarginomeError(
                f"no permission to write ({error.strerror})",
                where=str(target),
                remedy="Run in a folder you may write to, or set another with --directory.",
            ) from error
        if _disk_is_full(error, target.parent):
            raise MarginomeError(
                "the disk is full, the quota is used up, or the file is larger than may be written",
                where=str(target),
                remedy="Free some space and run the same command again: what is finished is kept.",
            ) from error
        raise
    finally:
        with suppress(OSError):  # the error that brought us here says more
            temporary.unlink(missing_ok=True)


def _disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error while writing, or one that it came from, is that nothing more can be written."""
    chain, seen = error, set()
    while chain is not None and id(chain) not in seen:
        if getattr(chain, "errno", None) in _FULL or _FULL_WORDS.search(str(chain)):
            return True
        seen.add(id(chain))
        chain = chain.__cause__ or chain.__context__
    # HDF5 may say no more than that it cannot close.
    if isinstance(error, OSError | RuntimeError | SystemError):
        with suppress(OSError):
            room = os.statvfs(folder)
            return room.f_bavail * room.f_frsize < 1 << 16
    return False


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


def damaged(path: str | os.PathLike, error: object) -> MarginomeError:
    """Remove a damaged intermediate file and build the error that says so.

    Snakemake takes an existing file for a good one, so a damaged file has to go for the next run to
    make it again.
    """
    Path(path).unlink(missing_ok=True)
    reason = " ".join(str(error).split()) or type(error).__name__  # one line
    return MarginomeError(
        f"the file is damaged ({reason}) and was removed",
        where=str(path),
        remedy="Run the same snakemake command again: it makes this file and what depends on it anew.",
    )


def outdated(path: str | os.PathLike, lacks: str) -> MarginomeError:
    """Remove an intermediate file of an earlier version that lacks what is read now, and build the error."""
    Path(path).unlink(missing_ok=True)
    return MarginomeError(
        f"an earlier version wrote this file, without {lacks}; it was removed",
        where=str(path),
        remedy="Run the same snakemake command again: it makes this file and what depends on it anew.",
    )


def disagreeing(paths: Sequence[str | os.PathLike], reason: str) -> MarginomeError:
    """Remove parts that do not belong together, where nothing says which of them is wrong, and build the error."""
    for path in paths:
        Path(path).unlink(missing_ok=True)
    return MarginomeError(
        f"{reason}; each part is as it was written, so nothing says which is wrong: all {len(paths)} were removed",
        where=str(Path(paths[0]).parent),
        remedy="Run the same snakemake command again: it makes them anew.",
    )


def sound(path: str | os.PathLike) -> bool:
    """Check a file by the digest inside it, before anything is read from it.

    Returns
    -------
    bool
        True when it is as it was written; False when it never had a digest: an earlier version wrote it. The log says
        so once for each folder.

    Raises
    ------
    MarginomeError
        For a damaged file, which is removed, and for one that cannot be read.
    """
    try:
        found = is_sealed(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise MarginomeError(
            f"the file cannot be read ({error.strerror})",
            where=str(path),
            remedy="Look at the disk or the file system; delete the file to have it made again.",
        ) from error
    except ValueError as error:
        raise damaged(path, error) from error
    if not found and (folder := os.path.dirname(os.path.abspath(path))) not in _OLD:
        _OLD.add(folder)
        log.info("%s was written without a digest (by an earlier version, or another program): used as it is", path)
    return found


_OLD: set[str] = set()


# ------------------------------------------------------------------------------------------------ records
class Record(dict):
    """What a JSON file holds; a key that it lacks is a file of another version, which is removed and named."""

    def __init__(self, values: Mapping, path: str | os.PathLike):
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> None:
        raise outdated(self._path, f"'{key}'")


def write_json(path: str | os.PathLike, value: Mapping) -> None:
    """Write `value` as indented JSON (`to_json`), atomically, with a digest of the file as its last key, ``seal``."""
    with atomic(path) as temporary:
        text = to_json({**value, _SEAL_KEY: OPEN_SEAL}, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
        seal(temporary)


def read_json(path: str | os.PathLike) -> Record:
    """Read a JSON file that another job wrote, without its seal; a damaged one is removed and named."""
    sound(path)
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no named values")
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    found.pop(_SEAL_KEY, None)
    return Record(found, path)


# ------------------------------------------------------------------------------------------------ tables
@contextmanager
def table_writer(
    path: str | os.PathLike, schema: pa.Schema, metadata: Mapping | None = None
) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet file (zstd) to be written part by part, atomically, with a digest of the file in its footer.

    Parameters
    ----------
    path : path
        Where to.
    schema : pyarrow.Schema
        Of every part.
    metadata : mapping, optional
        JSON-serialisable; stored under the key ``marginome`` of the file's schema.

    Yields
    ------
    pyarrow.parquet.ParquetWriter
    """
    kept = dict(schema.metadata or {})
    kept[b"marginome"] = to_json(dict(metadata or {}), sort_keys=True).encode()
    kept[_SEAL_KEY.encode()] = OPEN_SEAL.encode()
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, schema.with_metadata(kept), compression="zstd",
                              write_page_checksum=True) as writer:  # fmt: skip
            yield writer
        seal(temporary)


def write_table(path: str | os.PathLike, table: pd.DataFrame | pa.Table, metadata: Mapping | None = None) -> None:
    """Write a table as Parquet (zstd), atomically, with `metadata` and a digest of the file.

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
    with table_writer(path, arrow.schema, metadata) as writer:
        writer.write_table(arrow)


def read_table(path: str | os.PathLike, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet table that another job wrote; a damaged one is removed and named."""
    sound(path)
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True).to_pandas()
    except UNREADABLE as error:
        raise damaged(path, error) from error


def read_row_groups(path: str | os.PathLike, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read a Parquet table that another job wrote, one row group after another; a damaged one is removed and named."""
    sound(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as handle:
            for i in range(handle.num_row_groups):
                yield handle.read_row_group(i, columns=columns)
    except UNREADABLE as error:
        raise damaged(path, error) from error


def filled_columns(path: str | os.PathLike) -> set[str]:
    """Return the columns of a Parquet table in which any row has a value, from its footer."""
    sound(path)
    try:
        footer = pq.read_metadata(path)
        parts = [footer.row_group(i).column(j) for i in range(footer.num_row_groups) for j in range(footer.num_columns)]
        filled = (part for part in parts if part.num_values)  # without rows there are no statistics
        return {part.path_in_schema for part in filled if part.statistics.null_count < part.num_values}
    except UNREADABLE as error:
        raise damaged(path, error) from error


def table_metadata(path: str | os.PathLike) -> dict:
    """Return the metadata that `write_table` stored in a Parquet file."""
    sound(path)
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(b"marginome", b"{}"))
    except UNREADABLE as error:
        raise damaged(path, error) from error


# What libraries raise for a file that they cannot make sense of; only files without a digest get that far.
UNREADABLE = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, AssertionError, zlib.error, struct.error,
    pa.ArrowException,
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ sequences
def check_bgzip(path: str | os.PathLike) -> None:
    """Check block-gzipped text that another job wrote, before it is read; a damaged file is removed and named.

    The format has a checksum in every block and a mark at the end. A reader that stops early never comes to the
    checksum of its last block, and none looks for the mark.
    """
    from Bio import bgzf

    try:
        with open(path, "rb") as handle:
            end = [0]
            for start, length, _, size in bgzf.BgzfBlocks(handle):
                if start != end[0]:
                    raise ValueError("a block is missing")
                end = [start + length, size]
        if end[0] != os.path.getsize(path) or end[1:] != [0]:
            raise ValueError("its end is missing")
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise damaged(path, error) from error
