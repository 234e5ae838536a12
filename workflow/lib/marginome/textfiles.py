"""Text files as users have them: packed or not, in any common encoding, named one by one, by folder or by pattern."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence

from marginome.bounded import Kind, read_bytes
from marginome.errors import MarginomeError


def is_address(file: str | os.PathLike) -> bool:
    """Say whether a file is named by an address that Snakemake fetches it from, such as s3://bucket/file."""
    return re.match(r"[a-z][a-z0-9+.-]*://", os.fspath(file)) is not None


def expand_files(named: str | os.PathLike) -> list[str]:
    """Return the files that a path, a folder or a pattern names.

    Parameters
    ----------
    named : path
        A file; a folder, which stands for the files in it (not those in folders within, nor hidden ones); or a
        pattern with ``*``, ``?`` or ``[...]``, where ``**`` crosses folders. A file of that very name goes first.

    Returns
    -------
    list of str
        Sorted by name. What names nothing is returned as it is, so that whoever opens it says that it is not there.
    """
    text = os.fspath(named)
    if is_address(text):
        return [text]
    if os.path.isdir(text):
        found = [os.path.join(text, name) for name in os.listdir(text) if not name.startswith(".")]
    elif not os.path.exists(text) and glob.has_magic(text):
        found = glob.glob(text, recursive=True)
    else:
        return [text]
    return sorted(file for file in found if os.path.isfile(file)) or [text]


def expand_each(named: Sequence[str | os.PathLike]) -> list[list[str]]:
    """Return the files of each of several names (`expand_files`), without what a folder or a pattern names again."""
    expanded = [expand_files(one) for one in named]
    explicit = [files == [os.fspath(one)] for one, files in zip(named, expanded)]
    seen = {os.path.normpath(files[0]) for files, is_one in zip(expanded, explicit) if is_one}
    found = []
    for files, is_one in zip(expanded, explicit):
        found.append([file for file in files if is_one or os.path.normpath(file) not in seen])
        seen.update(map(os.path.normpath, files))
    return found


def decode(raw: bytes, where: str) -> str:
    """Return bytes as text: UTF-8 (with or without mark), UTF-16 with mark, or Latin-1."""
    encodings = ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1")
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise MarginomeError("this is not text", where=where, remedy="See docs/formats.md for the formats read.")
    if "\x00" in text:
        raise MarginomeError("this is a binary file", where=where, remedy="See docs/formats.md for the formats read.")
    return text


def read_text(path: str | os.PathLike, kind: Kind) -> str:
    """Return the text of a file, packed or not; see `bounded.read_bytes` and `decode`."""
    return decode(read_bytes(path, kind), str(path))


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end), whether lines end as on Linux, Windows or old Macs."""
    return enumerate(re.split(r"\r\n|\r|\n", text), start=1)


def at_line(source: str, line: int) -> str:
    """Name a line of a file for a message; the file alone where there are no lines (0)."""
    return f"{source}, line {line}" if line else source
