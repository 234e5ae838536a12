"""Motif files of any format: which reader a file wants, recognised by its content unless it is said.

Biopython reads most of these formats too, but its MEME reader rounds probabilities to counts and none
of its readers knows the line; they are the reference in the tests instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NoReturn

from marginome.bounded import MOTIFS, read_bytes
from marginome.errors import MarginomeError, unknown_name
from marginome.motifs import collection, databases
from marginome.motifs.blocks import split_label
from marginome.motifs.collection import keep_apart, without_odd
from marginome.motifs.given import is_sequence
from marginome.motifs.meme import MATRIX
from marginome.motifs.motif import Motif, OddMotif
from marginome.motifs.reading import motif_text, named_files, read_with
from marginome.motifs.transfac import MATRIX_HEADER
from marginome.textfiles import numbered_lines

#: Format, as configs name it, to the module of this package whose function ``read_<format>`` reads a file:
#: ``(text, source) -> iterator of Motif or OddMotif``; `databases.read_modisco`, of HDF5, takes the path.
READERS = {
    "meme": "meme",
    "jaspar": "blocks",
    "homer": "blocks",
    "transfac": "transfac",
    "uniprobe": "blocks",
    "tsv": "given",
    "fasta": "given",
    "modisco": "databases",
}
FORMATS = ("auto", *READERS)


# ------------------------------------------------------------------------------------------------ which reader
def reader_of(path: str | os.PathLike, form: str = "auto") -> str:
    """Return the reader that a motif file wants, for `reading.read_with`.

    Parameters
    ----------
    path : path
    form : str, default "auto"
        One of `FORMATS`.

    Raises
    ------
    MarginomeError
        No such format, or a file that cannot be read or is of no known format.
    """
    if form not in FORMATS:
        raise unknown_name("motif format", form, FORMATS, where=str(path))
    if form == "auto":
        raw = read_bytes(path, MOTIFS)
        hdf5 = raw[:8] == b"\x89HDF\r\n\x1a\n"
        form = "modisco" if hdf5 else _recognise(motif_text(raw, str(path)), str(path))
    return f"{READERS.get(form, form)}:read_{form}"


def readers_of(settings: Mapping) -> dict[str, str]:
    """Return the reader of every file of a collection of the config, for `collection.collect`.

    Of a file that cannot be read it is `read_auto`, which says what is wrong with it when the collection is made.
    """
    found = {}
    for file, form in named_files(settings.get("files") or [], settings.get("format", "auto")):
        try:
            found[file] = reader_of(file, form)
        except MarginomeError:
            if form != "auto":
                raise
            found[file] = "formats:read_auto"
    return found


def reader_modules(settings: Mapping, readers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the modules that read a collection of the config with these readers, for `provenance.code_digest`."""
    modules = {f"motifs.{reader.partition(':')[0]}" for reader in readers.values()}
    return tuple(sorted(modules | ({"motifs.databases"} if settings.get("jaspar") else set())))


def read_auto(text: str, source: str) -> NoReturn:
    """Say what is wrong with a file that no reader was found for."""
    form = _recognise(text, source)
    raise MarginomeError(
        f"the file is {form} now; when the run was planned it was of no known format", where=source,
        remedy="Run the same command again.",
    )  # fmt: skip


def _recognise(text: str, source: str) -> str:
    lines = [line.strip() for _, line in numbered_lines(text)]
    head = [line for line in lines if line and not line.startswith("#")][:2000]
    first = head[0] if head else ""
    if first.startswith(("<?xml", "<!DOCTYPE", "<html")):
        raise MarginomeError(
            "this is XML or HTML", where=source, remedy="Give the text output of the same tool (meme.txt, streme.txt)."
        )
    if re.match(r"^MEME version", first, re.IGNORECASE) or any(MATRIX.match(line) for line in lines):
        return "meme"
    if not any(line.startswith(">") for line in head) and any(re.match(r"[ACGT]:\s", line, re.I) for line in head):
        return "uniprobe"
    if any(MATRIX_HEADER.match(f"{line} ") for line in lines) or _is_stamp(head):
        return "transfac"
    if any(re.match(r"^MOTIF\s", line) for line in head):
        return "meme"
    if first.startswith(">"):
        body = [line for line in head if not line.startswith(">")]
        if not body:
            raise MarginomeError("only header lines in it", where=source, remedy="The file may have been cut off.")
        return "blocks" if _begins_with_number(body[0]) else "fasta"
    if _begins_with_number(first) and not re.search(r"[B-Zb-df-z]{3}", first):
        return "blocks"
    if len(first.split()) > 1 or is_sequence(first):
        return "tsv"
    raise MarginomeError(
        f"the format is not recognised; the file begins with '{first[:60]}'",
        where=source,
        remedy=f"Say it with format: (one of {', '.join(FORMATS[1:])}); docs/formats.md shows each.",
    )


def _begins_with_number(line: str) -> bool:
    """Say whether a line is a row of a matrix, with the base it counts or without."""
    return bool(re.match(r"[-+.]*[0-9]", split_label(line)[1].lstrip("[( \t")))


def _is_stamp(head: list[str]) -> bool:
    """Say whether numbered rows of four follow a line ``DE name``."""
    return any(
        re.match(r"DE\s", name) and re.match(r"[01]\s", row) and len(row.split()) > 4 for name, row in pairwise(head)
    )


# ------------------------------------------------------------------------------------------------ files read
def read_file(path: str | os.PathLike, *, form: str = "auto", modisco_trim: float = 0.3) -> list[Motif | OddMotif]:
    """Read one motif file; the format is recognised by its content unless it is given.

    Parameters
    ----------
    path, modisco_trim
        As `reading.read_with` takes them.
    form : str, default "auto"
        One of `FORMATS`.

    Returns
    -------
    list of Motif and OddMotif
        In the file's order; ids may repeat.

    Raises
    ------
    MarginomeError
        A file that cannot be read, or of no known format. What is wrong with one motif is its `OddMotif`'s.
    """
    return read_with(reader_of(path, form), path, modisco_trim=modisco_trim)


def read_motifs(
    files: str | os.PathLike | Mapping[str, str] | Iterable[str | os.PathLike | Mapping[str, str]],
    *,
    format: str = "auto",
    modisco_trim: float = 0.3,
    odd_motifs: str = "error",
    exclude: Sequence[str] = (),
) -> list[Motif]:
    """Read motif files: as many motifs as they hold, or an error with file, line and remedy.

    Parameters
    ----------
    files : path, or iterable of paths and mappings
        MEME (minimal or full text), JASPAR (labelled or raw), TRANSFAC and its kin, HOMER, UniPROBE, TF-MoDISco HDF5,
        names and sequences, or FASTA; gzip is unpacked. A path may be a folder or a pattern (``pwms/*.txt``). A
        mapping ``{"file": ..., "format": ...}`` gives a file a format of its own. docs/formats.md has the details.
    format : str, default "auto"
        Format of the other files; recognised by content when "auto".
    modisco_trim : float, default 0.3
        See `read_modisco`.
    odd_motifs : {"error", "skip"}, default "error"
        What becomes of a motif that cannot be used (no matrix, a position of zeros, log-odds ...); skipped ones are
        counted in the log.
    exclude : sequence of str
        Odd motifs of these ids, names or patterns are left out without a word. (Good ones are not: see
        `select_motifs`.)

    Returns
    -------
    list of Motif
        In the order of the files. An id that occurs again gets ``~2``, ``~3`` ... appended, so that no
        motif hides another.

    Raises
    ------
    MarginomeError
        A file that cannot be read in full; an odd motif.
    """
    found = [
        motif
        for file, form in named_files(files, format)
        for motif in read_file(file, form=form, modisco_trim=modisco_trim)
    ]
    return keep_apart(without_odd(found, odd_motifs, exclude))


def collect_motifs(settings: Mapping, *, name: str = "") -> list[Motif]:
    """Read and select the motifs of one collection of the config.

    Parameters
    ----------
    settings : mapping
        One entry of ``motifs:`` (keys of motifs.schema.yaml; defaults are filled in).
    name : str, optional
        The collection's name, for messages.

    Returns
    -------
    list of Motif
        Ids are unique.

    Raises
    ------
    MarginomeError
        A key that is not known, a file that cannot be read in full, an odd motif, a selection of nothing.
    """
    return collection.collect(settings, name=name, readers=readers_of(settings))


def read_modisco(path: str | os.PathLike, *, trim: float = 0.3) -> list[Motif]:
    """Read the patterns of a TF-MoDISco HDF5 file, as `databases.read_modisco` does; refuse an odd one."""
    return without_odd(databases.read_modisco(path, trim=trim), "error", ())


def read_jaspar_release(
    release: str | int, *, collection: str = "CORE", tax_group: list[str] | str = (), odd_motifs: str = "error"
) -> list[Motif]:
    """Read a JASPAR release from the installed pyjaspar, which carries the databases: no network.

    Parameters
    ----------
    release, collection, tax_group :
        As in `marginome.motifs.databases.read_jaspar_release`.
    odd_motifs : {"error", "skip"}, default "error"
        As in `read_motifs`.

    Returns
    -------
    list of Motif
        The newest version of every matrix, sorted by id.
    """
    found = databases.read_jaspar_release(release, collection=collection, tax_group=tax_group)
    return without_odd(found, odd_motifs, ())
