"""Which reader a motif file wants: recognised by its content unless it is said.

Biopython reads most of these formats too, but its MEME reader rounds probabilities to counts and none
of its readers knows the line; they are the reference in the tests instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

from marginome.bounded import MOTIFS, read_bytes
from marginome.errors import MarginomeError, unknown_name
from marginome.motifs.blocks import read_blocks, read_uniprobe, split_label
from marginome.motifs.databases import read_modisco
from marginome.motifs.given import is_sequence, read_fasta, read_tsv
from marginome.motifs.meme import MATRIX, read_meme
from marginome.motifs.motif import Motif, OddMotif
from marginome.motifs.transfac import MATRIX_HEADER, read_transfac
from marginome.textfiles import decode, numbered_lines

_READERS: dict[str, Callable[[str, str], Iterator[Motif | OddMotif]]] = {
    "meme": read_meme,
    "jaspar": partial(read_blocks, form="jaspar"),
    "homer": partial(read_blocks, form="homer"),
    "transfac": read_transfac,
    "uniprobe": read_uniprobe,
    "tsv": read_tsv,
    "fasta": read_fasta,
}
FORMATS = ("auto", *_READERS, "modisco")


def read_file(path: str | os.PathLike, *, form: str = "auto", modisco_trim: float = 0.3) -> list[Motif | OddMotif]:
    """Read one motif file; the format is recognised by its content unless it is given.

    Parameters
    ----------
    path : path
        Gzip is unpacked.
    form : str, default "auto"
        One of `FORMATS`.
    modisco_trim : float, default 0.3
        See `read_modisco`.

    Returns
    -------
    list of Motif and OddMotif
        In the file's order; ids may repeat.

    Raises
    ------
    MarginomeError
        A file that cannot be read, or of no known format. What is wrong with one motif is its `OddMotif`'s.
    """
    if form not in FORMATS:
        raise unknown_name("motif format", form, FORMATS, where=str(path))
    raw = read_bytes(path, MOTIFS)
    if form == "modisco" or (form == "auto" and raw[:8] == b"\x89HDF\r\n\x1a\n"):
        return read_modisco(path, trim=modisco_trim)
    source, text = str(path), decode(raw, str(path))
    if not text.strip():
        raise MarginomeError("the file is empty", where=source, remedy="Check where it comes from.")
    found = _recognise(text, source) if form == "auto" else form
    motifs = list(read_blocks(text, source) if found == "blocks" else _READERS[found](text, source))
    if not motifs:
        raise MarginomeError(f"there is no motif in it (read as {found})", where=source, remedy="See docs/formats.md.")
    return motifs


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
