"""Given sequences: tables of names and sequences, plain lists of sequences, FASTA."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from marginome.errors import MarginomeError
from marginome.motifs.motif import IUPAC, Motif, OddMotif, Record, motif_from_sequence, parse_each
from marginome.textfiles import at_line, numbered_lines

log = logging.getLogger(__name__)

_COLUMNS = {"motif_id": "id", "id": "id", "motif_name": "name", "name": "name", "motif": "name",
            "sequence": "sequence", "seq": "sequence", "insert": "sequence"}  # fmt: skip


def is_sequence(text: str) -> bool:
    """Say whether a word holds nothing but IUPAC codes of bases."""
    return bool(text) and set(text.upper()) <= set(IUPAC)


def read_tsv(text: str, source: str) -> Iterator[Motif | OddMotif]:
    """Read names and sequences: a header of known columns; or name and sequence, sequence and name, id, name, sequence.

    A line may also be a sequence alone, which is its own name.
    """
    table = []
    for number, line in numbered_lines(text):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        while len(fields) > 1 and not fields[-1]:  # tabs at the end of the line
            fields.pop()
        table.append((number, fields))
    columns, table = _columns(table, source)
    for number, fields in table:
        row = dict(zip(columns, fields))
        name = row.get("name") or row.get("id") or (row.get("sequence", "") if columns == ["sequence"] else "")
        motif_id = row.get("id") or name
        try:
            if len(fields) < len(columns):
                raise MarginomeError(
                    f"the line has {len(fields)} columns, wanted {len(columns)}", where=at_line(source, number),
                    remedy="Separate columns by tabs.",
                )  # fmt: skip
            if columns == ["sequence"] and len(fields) > 1:
                raise MarginomeError(
                    f"the line has {len(fields)} columns, the first one has a sequence alone",
                    where=at_line(source, number),
                    remedy="Name all of them, or none.",
                )
            if not name:
                raise MarginomeError("the name is empty", where=at_line(source, number), remedy="Give it a name.")
            yield motif_from_sequence(row["sequence"], motif_id, name, source, number, "tsv")
        except MarginomeError as error:
            yield OddMotif(motif_id, name, error)


_Table = list[tuple[int, list[str]]]


def _columns(table: _Table, source: str) -> tuple[list[str], _Table]:
    """Return what the columns are, and the rows below a header."""
    if not table:
        return [], []
    number, first = table[0]
    header = [_COLUMNS.get(part.lower()) for part in first]
    if "sequence" in header and ("name" in header or "id" in header):
        return [part or "" for part in header], table[1:]
    if len(first) == 1:
        return ["sequence"], table
    if len(first) == 2:
        return (["sequence", "name"] if _sequences_first(table, source) else ["name", "sequence"]), table
    if len(first) == 3:
        return ["id", "name", "sequence"], table
    raise MarginomeError(
        f"the line has {len(first)} columns; wanted name and sequence, or id, name and sequence",
        where=at_line(source, number),
        remedy="Separate columns by tabs, or name them in a header: motif_id, motif_name, sequence.",
    )


def _sequences_first(table: _Table, source: str) -> bool:
    """Say whether the first of two columns holds the sequences: all may be, and few of the second are.

    Some names are codes of bases too (MYC, GATA), hence bases and N are counted, and half of them are not enough.
    """
    pairs = [fields for _, fields in table if len(fields) == 2]
    swapped = (
        all(is_sequence(first) for first, _ in pairs)
        and not all(is_sequence(second) for _, second in pairs)
        and 2 * sum(set(second.upper()) <= set("ACGTUN") for _, second in pairs) < len(pairs)
    )
    if swapped:
        log.info("%s: column 1 is taken for the sequences and column 2 for their names", source)
    return swapped


def read_fasta(text: str, source: str) -> Iterator[Motif | OddMotif]:
    """Read FASTA of inserts: the id is the first word of the header, the name the rest."""
    records: list[Record] = []
    for number, line in numbered_lines(text):
        stripped = line.strip()
        if not stripped or stripped.startswith(";"):
            continue
        if stripped.startswith(">"):
            words = stripped[1:].split() or [""]
            records.append(Record(number, words[0], " ".join(words[1:]) or words[0]))
        elif not records:
            raise MarginomeError(
                "bases before the first '>' line", where=at_line(source, number), remedy="Write '>name' before them."
            )
        else:
            records[-1].lines.append((number, stripped))
    return parse_each(records, _fasta_motif, source)


def _fasta_motif(record: Record, source: str) -> Motif:
    if not record.motif_id:
        where = at_line(source, record.line)
        raise MarginomeError("an entry without a name", where=where, remedy="Write it after the '>'.")
    sequence = _joined([line for _, line in record.lines])
    return motif_from_sequence(sequence, record.motif_id, record.motif_name, source, record.line, "fasta")


def _joined(lines: Sequence[str]) -> str:
    return "".join("".join(lines).split())
