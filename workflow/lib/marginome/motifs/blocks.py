"""Matrices under headers: JASPAR, HOMER, GimmeMotifs, Cluster-Buster and ENCODE under '>', UniPROBE under a title."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marginome.errors import MarginomeError
from marginome.motifs.motif import IUPAC, NUMBER, Motif, OddMotif, Record, normalise, numbers, parse_each
from marginome.textfiles import at_line, numbered_lines

_LABEL = re.compile(rf"([{''.join(IUPAC)}])(?:\s*[\[|:]\s*|\s+)", re.IGNORECASE)


class _Row(NamedTuple):
    line: int
    label: str | None
    numbers: list[float]


def file_stem(source: str) -> str:
    """Return the name of a file without its folder and endings: what a matrix without a name is called."""
    return Path(source).name.removesuffix(".gz").rsplit(".", 1)[0]


def split_label(line: str) -> tuple[str | None, str]:
    """Split ``A [ 1 2 3 ]`` (or ``A: 1 2 3``, ``A | 1 2 3``, ``A 1 2 3``) into the base and its numbers."""
    text = line.strip()
    found = _LABEL.match(text)
    label = found[1].upper().replace("U", "T") if found else None
    return label, (text[found.end() :] if found else text).strip("[] \t")


def read_blocks(text: str, source: str, form: str = "auto") -> Iterator[Motif | OddMotif]:
    """Read JASPAR (labelled or raw rows of a base), HOMER and GimmeMotifs (a row of four per position).

    A square matrix may be either: `form` ("jaspar" or "homer") says which, else the other motifs of the file do.
    """
    records = _records(text, source)
    parsed: list[list[_Row] | MarginomeError] = []
    for record in records:
        try:
            parsed.append(_rows(record, source))
        except MarginomeError as error:
            parsed.append(error)
    kinds = [_orientation(record, rows) for record, rows in zip(records, parsed) if isinstance(rows, list)]
    known = {kind for kind in kinds if kind in ("bases", "positions")}
    fallback = {"jaspar": "bases", "homer": "positions"}.get(form) or (known.pop() if len(known) == 1 else None)
    for record, rows in zip(records, parsed):
        try:
            if isinstance(rows, MarginomeError):
                raise rows
            yield _motif(record, rows, _orientation(record, rows) or fallback, source)
        except MarginomeError as error:
            yield OddMotif(record.motif_id, record.motif_name, error)


def read_jaspar(text: str, source: str) -> Iterator[Motif | OddMotif]:
    """Read JASPAR: rows of a base."""
    return read_blocks(text, source, "jaspar")


def read_homer(text: str, source: str) -> Iterator[Motif | OddMotif]:
    """Read HOMER: a row of four per position."""
    return read_blocks(text, source, "homer")


def _records(text: str, source: str) -> list[Record]:
    records: list[Record] = []
    for number, line in numbered_lines(text):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith(">"):
            records.append(Record(number, *_names(stripped[1:].strip()), [(number, stripped[1:].strip())]))
            continue
        if not records:  # a raw matrix without a header is named after its file
            stem = file_stem(source)
            records.append(Record(number, stem, stem, [(number, stem)]))
        records[-1].lines.append((number, stripped))
    return records


def _names(header: str) -> tuple[str, str]:
    fields = [part.strip() for part in header.split("\t")]
    if len(fields) > 2 and fields[1]:
        # HOMER: consensus, name, threshold, ...; a name such as "1-GGGT,BestGuess:..." ends at the comma
        motif_id = fields[1].split(",")[0]
        return motif_id, re.split(r"[(/]", motif_id)[0] or motif_id
    words = header.split()
    return words[0] if words else "", " ".join(words[1:]) or (words[0] if words else "")


def _rows(record: Record, source: str) -> list[_Row]:
    rows = []
    for number, line in record.lines[1:]:
        label, rest = split_label(line)
        rows.append(_Row(number, label, numbers(rest.split(), at_line(source, number))))
    return rows


def _orientation(record: Record, rows: list[_Row]) -> str | None:
    """Return "bases" (four rows, one per base), "positions" (four columns) or None where 4 x 4 may be both."""
    labels = [row.label for row in rows]
    if any(labels):
        # rows that begin with the consensus at their position (ENCODE's motifs), or with the base that they count
        is_consensus = sorted(filter(None, labels)) != list("ACGT") and all(
            row.label and len(row.numbers) == 4 for row in rows
        )
        return "positions" if is_consensus else "bases"
    by_rows = len(rows) == 4 and len({len(row.numbers) for row in rows}) == 1
    by_columns = all(len(row.numbers) == 4 for row in rows)
    if by_rows and by_columns:
        header = record.lines[0][1].split("\t")
        is_homer = len(header) > 2 and NUMBER.fullmatch(header[2].strip())
        return "positions" if is_homer else None
    return "bases" if by_rows else "positions" if by_columns else "neither"


def _motif(record: Record, rows: list[_Row], kind: str | None, source: str) -> Motif:
    where, name = at_line(source, record.line), record.motif_id
    if not name:
        raise MarginomeError("a motif without a name", where=where, remedy="Write its id after the '>'.")
    if not rows:
        raise MarginomeError(f"motif '{name}' has no matrix", where=where, remedy="The file may have been cut off.")
    if kind is None:
        raise MarginomeError(
            f"motif '{name}' is a square of 4 x 4: rows may be bases or positions",
            where=where,
            remedy="Say which with format: jaspar (rows are A, C, G, T) or format: homer (columns are).",
        )
    if kind == "neither":
        widths = sorted({len(row.numbers) for row in rows})
        raise MarginomeError(
            f"motif '{name}' has {len(rows)} rows of {', '.join(map(str, widths[:5]))}"
            f"{' ...' if len(widths) > 5 else ''} numbers; wanted four rows of one length (A, C, G, T), or rows of 4",
            where=where,
            remedy="Mend the matrix; the file may have been cut off.",
        )
    if kind == "positions":
        matrix = np.array([row.numbers for row in rows])
        pwm = normalise(matrix, [row.line for row in rows], source=source, motif=name, counts=True)
        return Motif(name, record.motif_name, pwm, source, record.line, "homer")
    # a matrix by bases may not have a name of HOMER's
    words = record.lines[0][1].split()
    pwm = normalise(_by_bases(rows, name, source), [record.line], source=source, motif=name, counts=True)
    return Motif(words[0], " ".join(words[1:]) or words[0], pwm, source, record.line, "jaspar")


def _by_bases(rows: list[_Row], name: str, source: str) -> np.ndarray:
    """Return the (width, 4) matrix of rows that are bases, labelled or in the order A, C, G, T."""
    labels = [row.label for row in rows]
    if any(labels) and (len(labels) != 4 or set(labels) != set("ACGT")):
        shown = ", ".join(label or "(no base)" for label in labels[:8]) + (" ..." if len(labels) > 8 else "")
        raise MarginomeError(
            f"motif '{name}' has rows for {shown}, wanted one each for A, C, G, T",
            where=at_line(source, rows[-1].line),
            remedy="Mend the rows.",
        )
    if all(labels):
        rows = sorted(rows, key=lambda row: "ACGT".index(row.label or ""))
    widths = [len(row.numbers) for row in rows]
    if len(set(widths)) != 1 or not widths[0]:
        raise MarginomeError(
            f"the rows of motif '{name}' have {', '.join(map(str, widths))} numbers, wanted as many in each",
            where=at_line(source, rows[0].line),
            remedy="Mend the rows.",
        )
    return np.array([row.numbers for row in rows]).T


# ------------------------------------------------------------------------------------------------ UniPROBE
_UNIPROBE_ROW = re.compile(r"[ACGT]:\s", re.IGNORECASE)
_NAMED = re.compile(r"(?:motif|protein|gene|name)\s*:\s*(\S+)", re.IGNORECASE)


def read_uniprobe(text: str, source: str) -> Iterator[Motif | OddMotif]:
    """Read UniPROBE's matrices: a title, then rows ``A:``, ``C:``, ``G:``, ``T:``, or several matrices of a motif.

    Of several (scores, energies, probabilities) the one under "Probability matrix" is taken.
    """
    records: list[Record] = []
    for number, line in numbered_lines(text):
        stripped = line.strip()
        if not stripped:
            continue
        is_row = _UNIPROBE_ROW.match(f"{stripped} ")
        is_part = is_row or re.fullmatch(r"[\w ]*\bmatrix\b[\w ]*", stripped, re.IGNORECASE)
        begun = records and any(_UNIPROBE_ROW.match(f"{part} ") for _, part in records[-1].lines)
        if not records or (begun and not is_part and not re.match(r"P[O0]\s", stripped)):
            title = file_stem(source) if is_part else stripped.lstrip("#> \t")
            named = _NAMED.search(title)
            name = named[1] if named else (title.split() or [""])[0]
            records.append(Record(number, name, name))
        if is_part:
            records[-1].lines.append((number, stripped))
    return parse_each(records, _uniprobe_motif, source)


def _uniprobe_motif(record: Record, source: str) -> Motif:
    parts: dict[str, list[tuple[int, str]]] = {"": []}
    part = ""
    for number, line in record.lines:
        if _UNIPROBE_ROW.match(f"{line} "):
            parts[part].append((number, line))
        else:
            part = line.lower()
            parts.setdefault(part, [])
    lines = next((rows for name, rows in parts.items() if "probability" in name), parts[""])
    where = at_line(source, record.line)
    if not record.motif_id:
        raise MarginomeError("a motif without a name", where=where, remedy="Write its id in the title.")
    if not lines:
        raise MarginomeError(
            f"motif '{record.motif_id}' has no probability matrix", where=where, remedy="Give it, or delete the motif."
        )
    rows = _rows(Record(record.line, record.motif_id, record.motif_name, [(record.line, ""), *lines]), source)
    pwm = normalise(_by_bases(rows, record.motif_id, source), [lines[0][0]], source=source, motif=record.motif_id,
                    counts=True)  # fmt: skip
    return Motif(record.motif_id, record.motif_name, pwm, source, record.line, "uniprobe")
