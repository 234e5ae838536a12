"""TRANSFAC and its kin: records with a matrix under P0 (JASPAR's export, SwissRegulon, RSAT), STAMP, CIS-BP."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from marginome.errors import MarginomeError
from marginome.motifs.blocks import file_stem
from marginome.motifs.motif import Motif, OddMotif, Record, normalise, numbers, parse_each
from marginome.textfiles import at_line, numbered_lines

#: The line above a matrix: TRANSFAC's P0 or PO, CIS-BP's Pos.
MATRIX_HEADER = re.compile(r"^(P[0O]|Pos)\s+[ACGTU]\s", re.IGNORECASE)
_HEADERS = ("P0", "PO", "POS")
_NAMES = ("AC", "ID", "NA")


def read_transfac(text: str, source: str) -> Iterator[Motif | OddMotif]:
    """Read records that end in ``//`` or where the next begins.

    A matrix is the run of numbered rows under its header; numbered blocks further down are no part of it. STAMP and
    GimmeMotifs write the rows under a line ``DE name`` without a header; CIS-BP's files hold one matrix under ``Pos``,
    which is named after its file, or many with ``Motif`` lines.
    """
    return parse_each(_records(text, source), _motif, source)


def _records(text: str, source: str) -> list[Record]:
    records: list[Record] = []
    lines: list[tuple[int, str]] = []
    names: dict[str, str] = {}
    rows = 0  # lines of a matrix seen in the record, its header included

    def finish() -> None:
        nonlocal lines, names, rows
        motif_id = next((names[key] for key in (*_NAMES, "DE", "file") if names.get(key)), "")
        if motif_id or rows:
            name = next((names[key] for key in ("NA", "ID") if names.get(key)), motif_id)
            records.append(Record(lines[0][0], motif_id, name, lines))
        lines, names, rows = [], {}, 0

    for number, line in numbered_lines(text):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if fields[0] == "//":
            finish()
            continue
        key, value = _name(line, fields)
        again = key in _NAMES and names.get(key, value) != value
        if (rows and (again or key == "TF" or (key == "DE" and not names.keys() & {*_NAMES}))) or again:
            finish()
        if key == "DE":
            names.setdefault(key, value.split()[0] if value else "")
        elif key:
            names.setdefault(key, value)
        if fields[0].upper() in _HEADERS or (fields[0].isdigit() and len(fields) > 4):
            rows += 1
            if fields[0].upper() == "POS":
                names.setdefault("file", file_stem(source))
        lines.append((number, line))
    finish()
    return records


def _name(line: str, fields: Sequence[str]) -> tuple[str, str]:
    """Return what a line names, as TRANSFAC calls it, and the name; nothing for other lines."""
    first, _, rest = line.strip().partition("\t")
    cis_bp = {"Motif": "AC", "TF Name": "NA", "TF": "TF"}.get(first)
    if cis_bp:
        return cis_bp, rest.strip()
    return (fields[0], " ".join(fields[1:])) if fields[0] in (*_NAMES, "DE") else ("", "")


def _motif(record: Record, source: str) -> Motif:
    where, motif_id = at_line(source, record.line), record.motif_id
    rows, at, header = _matrix(record, source)
    if not rows:
        if header and header[0].upper() == "POS":
            raise MarginomeError(
                f"'{motif_id}' is the header of a CIS-BP matrix without the matrix, as CIS-BP has it where a licence "
                "(TRANSFAC's) forbids to show it",
                where=where,
                remedy="Leave the file out.",
            )
        raise MarginomeError(
            f"record '{motif_id or '?'}' has no matrix (a line P0 and rows 01, 02, ...)",
            where=where,
            remedy="Mend the record or delete it; the file may have been cut off.",
        )
    if not motif_id:
        raise MarginomeError("a record without AC, ID or NA", where=where, remedy="Name it.")
    order = [base.upper().replace("U", "T") for base in header[1:5]]
    matrix = np.array(rows)[:, [order.index(base) for base in "ACGT"]]
    pwm = normalise(matrix, at, source=source, motif=motif_id, counts=True)
    return Motif(motif_id, record.motif_name, pwm, source, record.line, "transfac")


def _matrix(record: Record, source: str) -> tuple[list[list[float]], list[int], list[str]]:
    """Return the rows of a record's matrix, their lines, and the words of its header."""
    rows: list[list[float]] = []
    at: list[int] = []
    header: list[str] = []
    last, inside, before = 0, False, ""
    for number, line in record.lines:
        fields, where = line.split(), at_line(source, number)
        if fields[0].upper() in _HEADERS:
            if header:
                raise MarginomeError(
                    "a second matrix begins before the record has ended",
                    where=where,
                    remedy="End each record with a line '//', and name it with AC or ID.",
                )
            header, inside = fields, True
            if sorted(field.upper().replace("U", "T") for field in fields[1:5]) != list("ACGT"):
                raise MarginomeError(
                    f"the matrix has columns {' '.join(fields[1:7]) or '(none)'}, wanted A C G T",
                    where=where,
                    remedy="Mend the P0 line.",
                )
        elif re.fullmatch(r"[0-9]{1,9}", fields[0]):
            if not header and before == "DE" and len(fields) > 4:
                header, inside = ["", *"ACGT"], True  # STAMP
            if inside:
                _check_row(fields, header, int(fields[0]), last if rows else None, where)
                rows.append(numbers(fields[1:5], where))
                at.append(number)
                last = int(fields[0])
            elif rows and before != "block" and len(fields) > 4 and int(fields[0]) == last + 1:
                raise MarginomeError(
                    f"row {fields[0]} of the matrix stands behind a line that ends it", where=where,
                    remedy="Mend the line before it.",
                )  # fmt: skip
            before = "block" if not inside else before
            continue
        elif inside and not re.fullmatch(r"[A-Z][A-Z0-9]", fields[0]):
            raise MarginomeError(
                f"found '{line.strip()[:40]}' within a matrix, wanted a row (01 and four numbers)",
                where=where,
                remedy="Mend the line.",
            )
        else:
            inside = False
        before = fields[0]
    return rows, at, header


def _check_row(fields: Sequence[str], header: Sequence[str], number: int, last: int | None, where: str) -> None:
    most = max(6, len(header))  # position, four numbers, often the consensus, or what the header names
    if not 5 <= len(fields) <= most:
        raise MarginomeError(
            f"the row has {len(fields) - 1} values after its position, wanted 4 (and a consensus code)",
            where=where,
            remedy="Mend the row.",
        )
    if number != last + 1 if last is not None else number > 1:
        raise MarginomeError(
            f"row {number} follows {'row ' + str(last) if last is not None else 'the header'}: a row is missing",
            where=where,
            remedy="Mend the matrix: its rows are numbered one by one.",
        )
