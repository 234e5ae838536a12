"""The files that a collection names, and one of them read by the reader that it is told.

No reader is imported here: the code of one counts for the collections that it reads (`formats.reader_modules`), so that
a reader which is added makes no collection anew, nor what is computed of it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping

from marginome.bounded import MOTIFS, read_bytes
from marginome.errors import MarginomeError
from marginome.motifs.motif import Motif, OddMotif
from marginome.textfiles import decode, expand_each


def named_files(files: object, form: str) -> Iterator[tuple[str, str]]:
    """Yield (file, format), folders and patterns expanded; what they name again is read once."""
    entries = [named if isinstance(named, Mapping) else {"file": named} for named in _listed(files)]
    for entry, found in zip(entries, expand_each([entry["file"] for entry in entries])):
        yield from ((file, entry.get("format", form)) for file in found)


def _listed(files: object) -> list:
    return [files] if isinstance(files, (str, os.PathLike, Mapping)) else list(files)


def read_with(reader: str, path: str | os.PathLike, *, modisco_trim: float = 0.3) -> list[Motif | OddMotif]:
    """Read one motif file.

    Parameters
    ----------
    reader : str
        ``module:function`` of this package, as `formats.reader_of` tells it.
    path : path
        Gzip is unpacked.
    modisco_trim : float, default 0.3
        See `databases.read_modisco`.

    Returns
    -------
    list of Motif and OddMotif
        In the file's order; ids may repeat.

    Raises
    ------
    MarginomeError
        A file that cannot be read, or without a motif. What is wrong with one motif is its `OddMotif`'s.
    """
    module, _, function = reader.partition(":")
    read = getattr(importlib.import_module(f"marginome.motifs.{module}"), function)
    if function == "read_modisco":
        return read(path, trim=modisco_trim)
    source = str(path)
    motifs = list(read(motif_text(read_bytes(path, MOTIFS), source), source))
    if not motifs:
        form = function.removeprefix("read_")
        raise MarginomeError(f"there is no motif in it (read as {form})", where=source, remedy="See docs/formats.md.")
    return motifs


def motif_text(raw: bytes, source: str) -> str:
    """Return the text of a motif file, which must hold something."""
    text = decode(raw, source)
    if not text.strip():
        raise MarginomeError("the file is empty", where=source, remedy="Check where it comes from.")
    return text
