"""MEME: the minimal format, and the text output of MEME, STREME and DREME."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from marginome.errors import MarginomeError
from marginome.motifs.motif import NUMBER, Motif, OddMotif, Record, normalise, numbers, parse_each
from marginome.textfiles import at_line, numbered_lines

MATRIX = re.compile(r"^\s*letter-probability\s+matrix\s*:?(.*)$", re.IGNORECASE)
_ENTRY = re.compile(r"^\s*MOTIF(?:\s+(.*))?$")


def read_meme(text: str, source: str) -> Iterator[Motif | OddMotif]:
    """Read every MOTIF line with the matrix that follows it."""
    return parse_each(_records(text, source), _motif, source)


def _records(text: str, source: str) -> list[Record]:
    records: list[Record] = []
    for number, line in numbered_lines(text):
        if re.match(r"^\s*ALPHABET\b", line):
            _check_alphabet(line, at_line(source, number))
        entry = _ENTRY.match(line)
        if entry:
            words = _name_words((entry[1] or "").split())
            # MEME itself writes the consensus as id and "MEME-1" as name, both needed to tell them apart
            records.append(Record(number, words[0] if words else "", " ".join(words[1:] or words)))
        elif records:
            records[-1].lines.append((number, line))
        elif MATRIX.match(line):
            raise _nameless_matrix(at_line(source, number))
    return records


def _name_words(words: list[str]) -> list[str]:
    """Return the words before MEME's ``width = 15 sites = 20``."""
    for i, word in enumerate(words):
        if word.startswith("width=") or (word == "width" and words[i + 1 : i + 2] and words[i + 1].startswith("=")):
            return words[:i]
    return words


def _nameless_matrix(where: str) -> MarginomeError:
    return MarginomeError(
        "a letter-probability matrix without a MOTIF line before it",
        where=where,
        remedy="Put 'MOTIF <id> <name>' before each matrix.",
    )


def _motif(record: Record, source: str) -> Motif:
    where, motif_id = at_line(source, record.line), record.motif_id
    if not motif_id:
        raise MarginomeError("the MOTIF line has no name", where=where, remedy="Write 'MOTIF <id> <name>'.")
    headers = [i for i, (_, line) in enumerate(record.lines) if MATRIX.match(line)]
    if not headers:
        raise MarginomeError(
            f"motif '{motif_id}' has no letter-probability matrix",
            where=where,
            remedy="The file may have been cut off; log-odds matrices alone do not say the probabilities.",
        )
    if len(headers) > 1:
        raise _nameless_matrix(at_line(source, record.lines[headers[1]][0]))
    number, header = record.lines[headers[0]]
    header = MATRIX.match(header)[1]
    where = at_line(source, number)
    width, letters = _attribute(header, "w", where), _attribute(header, "alength", where)
    if letters not in (None, 4):
        raise MarginomeError(
            f"motif '{motif_id}' has an alphabet of {letters} letters, wanted the 4 of DNA",
            where=where,
            remedy="Protein motifs cannot be put into DNA.",
        )
    rows, at = _rows(record.lines[headers[0] + 1 :], width, motif_id, source)
    if not rows or (width is not None and len(rows) != width):
        more = width is not None and len(rows) > width
        raise MarginomeError(
            f"motif '{motif_id}' has {f'more than {width}' if more else len(rows)} rows, its header says "
            f"w= {width if width is not None else '?'}",
            where=where,
            remedy="Mend the header or the rows: the file may have been cut off.",
        )
    pwm = normalise(np.array(rows), at, source=source, motif=motif_id, counts=False)
    return Motif(motif_id, record.motif_name, pwm, source, record.line, "meme")


def _rows(
    lines: Sequence[tuple[int, str]], width: int | None, motif_id: str, source: str
) -> tuple[list[list[float]], list[int]]:
    """Return the rows that follow a header, one more than it says if there is one, and their lines."""
    rows: list[list[float]] = []
    at: list[int] = []
    for number, line in lines:
        fields = line.split()
        if not fields and not rows:  # blank lines between the header and the first row
            continue
        if not fields or not NUMBER.match(fields[0]):
            break
        full = width is not None and len(rows) >= width
        if full and not (len(fields) == 4 and NUMBER.fullmatch(fields[0])):
            break
        if len(fields) != 4:
            raise MarginomeError(
                f"motif '{motif_id}' has a row of {len(fields)} numbers, wanted 4 (A C G T)",
                where=at_line(source, number),
                remedy="Mend the row.",
            )
        rows.append(numbers(fields, at_line(source, number)))
        at.append(number)
        if full:
            break
    return rows, at


def _attribute(text: str, name: str, where: str) -> int | None:
    """Return an integer of a matrix header such as ``alength= 4 w= 15 nsites= 20.5``, or None."""
    found = re.search(rf"(?<![A-Za-z]){name}\s*=\s*([^\s=]+)", text)
    if not found:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", found[1]):
        raise MarginomeError(
            f"found {name}= {found[1][:40]}, wanted a whole number", where=where, remedy="Mend the header."
        )
    return int(found[1])


def _check_alphabet(line: str, where: str) -> None:
    given = re.match(r"^\s*ALPHABET\s*=\s*(\S+)", line)
    if given and given[1].strip("\"'").upper() not in ("ACGT", "ACGU", "DNA", "RNA"):
        raise MarginomeError(
            f"the alphabet is {given[1][:40]}, wanted ACGT", where=where, remedy="Only motifs of DNA can be put in."
        )
