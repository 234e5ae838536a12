"""Readers of motif files: each turns one file into motifs, or says which line is wrong and what to do.

Biopython reads most of these formats too, but its MEME reader rounds probabilities to counts and none
of its readers knows the line; they are the reference in the tests instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from marginome.bounded import MOTIFS, Kind, read_bytes
from marginome.errors import MarginomeError, unknown_name
from marginome.hdf5 import Request, read_foreign_hdf5

#: How far the four probabilities of a position may be from a sum of one before the reader refuses
#: them. Two decimals, as the oldest files have, can be off by 4 x 0.005.
SUM_TOLERANCE = 0.02

#: IUPAC code -> the bases (as indices of A, C, G, T) that it stands for.
IUPAC = {
    "A": (0,), "C": (1,), "G": (2,), "T": (3,), "U": (3,), "R": (0, 2), "Y": (1, 3), "S": (1, 2), "W": (0, 3),
    "K": (2, 3), "M": (0, 1), "B": (1, 2, 3), "D": (0, 2, 3), "H": (0, 1, 3), "V": (0, 1, 2), "N": (0, 1, 2, 3),
}  # fmt: skip

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Motif:
    """A motif: what its file says, and where it says so.

    Attributes
    ----------
    motif_id : str
        Unique in its collection.
    motif_name : str
        As the file gives it; need not be unique.
    pwm : numpy.ndarray, shape (width, 4), float64
        Probabilities of A, C, G and T; every row sums to one.
    source : str
        File (or database release) that it comes from.
    line : int
        Line of that file where it begins, from 1; 0 where there are no lines (HDF5, databases).
    format : str
        Format it was read as.
    sequence : str or None
        The given sequence (A, C, G, T, N and other IUPAC codes) of an entry of a TSV or FASTA file.
    """

    motif_id: str
    motif_name: str
    pwm: np.ndarray
    source: str
    line: int
    format: str
    sequence: str | None = None

    @property
    def width(self) -> int:
        """Number of positions (bp)."""
        return len(self.pwm)

    @property
    def consensus(self) -> str:
        """Most probable base of each position; the first of equals in the order A, C, G, T.

        A position where all four are equally probable says nothing and is N, which keeps the
        background's base.
        """
        best = np.array(list("ACGT"))[self.pwm.argmax(1)]
        best[np.ptp(self.pwm, axis=1) < 1e-9] = "N"
        return "".join(best)

    @property
    def information_bits(self) -> float:
        """Information content (bits) against equal base frequencies: the sum over positions of 2 - entropy."""
        with np.errstate(divide="ignore", invalid="ignore"):
            bits = np.where(self.pwm == 0, 0.0, self.pwm * np.log2(self.pwm))  # NaN stays NaN
        return float(2 * self.width + bits.sum())


def motif_from_sequence(sequence: str, motif_id: str, motif_name: str, source: str, line: int, form: str) -> Motif:
    """Build a motif of a given sequence; its PWM spreads each IUPAC code evenly over its bases."""
    text = sequence.upper().replace("U", "T")
    where = _at(source, line)
    if not text:
        raise MarginomeError(f"'{motif_id}' has no sequence", where=where, remedy="Give its bases, or delete the line.")
    wrong = sorted(set(text) - set(IUPAC))
    if wrong:
        raise MarginomeError(
            f"'{motif_id}' holds {', '.join(map(repr, wrong[:5]))}, which is no IUPAC code of a base",
            where=where,
            remedy=f"Allowed: {''.join(IUPAC)}.",
        )
    if set(text) == {"N"}:
        raise MarginomeError(f"'{motif_id}' is N only: it would change nothing", where=where, remedy="Leave it out.")
    pwm = np.zeros((len(text), 4))
    for i, code in enumerate(text):
        pwm[i, list(IUPAC[code])] = 1 / len(IUPAC[code])
    return Motif(motif_id, motif_name, pwm, source, line, form, text)


# ------------------------------------------------------------------------------------------------ files to lines
def read_text(path: str | os.PathLike, kind: Kind) -> str:
    """Return the text of a file, gzipped or not, in UTF-8 (with or without mark), UTF-16 with mark or Latin-1."""
    return _decode(read_bytes(path, kind), str(path))


def _decode(raw: bytes, where: str) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "latin-1")
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


def _split(text: str) -> list[tuple[int, str]]:
    """Return (line number from 1, text without its end) for every kind of line end."""
    return list(enumerate(re.split(r"\r\n|\r|\n", text), start=1))


def _stem(source: str) -> str:
    return Path(source).name.removesuffix(".gz").rsplit(".", 1)[0]


def _at(source: str, line: int) -> str:
    return f"{source}, line {line}" if line else source


# ------------------------------------------------------------------------------------------------ numbers
def _numbers(fields: list[str], where: str) -> list[float]:
    values = []
    for item in fields:
        if not _NUMBER.fullmatch(item):
            raise MarginomeError(f"found '{item[:40]}' where a number is wanted", where=where, remedy="Mend the line.")
        values.append(float(item))
    return values


def normalise(
    rows: np.ndarray, lines: list[int], *, source: str, motif: str, counts: bool, tolerance: float = SUM_TOLERANCE
) -> np.ndarray:
    """Bring the rows of a matrix to a sum of one, or name the line of the row that cannot be.

    Parameters
    ----------
    rows : numpy.ndarray, shape (width, 4)
        Probabilities or counts of A, C, G, T.
    lines : list of int
        Line of each row, or one line for all.
    source, motif : str
        For the message.
    counts : bool
        Whether the format holds counts, whose rows may have any positive sum. A matrix of such a format
        with fractions and no value above one is taken as probabilities.
    tolerance : float, default 0.02
        How far the sum of probabilities may be from one.

    Returns
    -------
    numpy.ndarray, shape (width, 4), float64
    """
    sums = rows.sum(1)
    if counts and (rows <= 1).all() and (rows % 1 != 0).any():
        counts = False
    bad = ~np.isfinite(rows).all(1) | (rows < 0).any(1) | (sums <= 0)
    if not counts:
        bad |= np.abs(sums - 1) > tolerance + 1e-9
    if bad.any():
        i = int(bad.argmax())
        where = _at(source, lines[i] if len(lines) > 1 else (lines or [0])[0])
        found = " ".join(f"{v:g}" for v in rows[i])
        wanted = "counts, none negative, not all zero" if counts else f"probabilities that sum to 1 within {tolerance}"
        raise MarginomeError(
            f"position {i + 1} of motif '{motif}' is {found} (sum {sums[i]:g}), wanted {wanted}",
            where=where,
            remedy="Mend the row, or leave the motif's block out of the file.",
        )
    return rows / sums[:, None]


# ------------------------------------------------------------------------------------------------ MEME
_MEME_MATRIX = re.compile(r"^\s*letter-probability\s+matrix\s*:?(.*)$", re.IGNORECASE)
_MEME_ENTRY = re.compile(r"^\s*MOTIF(?:\s+(.*))?$")


def _read_meme(text: str, source: str) -> list[Motif]:
    """Minimal MEME and the text output of MEME, STREME, DREME: every MOTIF line, with the matrix that follows it."""
    lines = _split(text)
    motifs: list[Motif] = []
    pending: tuple[int, str, str] | None = None  # line, id, name of a MOTIF line that awaits its matrix
    i = 0
    while i < len(lines):
        number, line = lines[i]
        i += 1
        if re.match(r"^\s*ALPHABET\b", line):
            _check_alphabet(line, _at(source, number))
        entry = _MEME_ENTRY.match(line)
        if entry:
            if pending:
                raise _no_matrix(pending, source)
            words = re.split(r"\s+width\s*=", entry[1] or "")[0].split()
            if not words:
                raise MarginomeError(
                    "the MOTIF line has no name", where=_at(source, number), remedy="Write 'MOTIF <id> <name>'."
                )
            # MEME itself writes the consensus as id and "MEME-1" as name, both needed to tell them apart
            pending = (number, words[0], " ".join(words[1:]) or words[0])
            continue
        matrix = _MEME_MATRIX.match(line)
        if not matrix:
            continue
        if not pending:
            raise MarginomeError(
                "a letter-probability matrix without a MOTIF line before it",
                where=_at(source, number),
                remedy="Put 'MOTIF <id> <name>' before each matrix.",
            )
        began, motif_id, name = pending
        pending = None
        width = _meme_attribute(matrix[1], "w", _at(source, number))
        letters = _meme_attribute(matrix[1], "alength", _at(source, number))
        if letters not in (None, 4):
            raise MarginomeError(
                f"motif '{motif_id}' has an alphabet of {letters} letters, wanted the 4 of DNA",
                where=_at(source, number),
                remedy="Protein motifs cannot be put into DNA.",
            )
        rows, at = [], []
        while i < len(lines):
            here, row = lines[i]
            fields = row.split()
            if not fields and not rows:  # blank lines between the header and the first row
                i += 1
                continue
            if not fields or not _NUMBER.match(fields[0]) or (width is not None and len(rows) == width):
                break
            if len(fields) != 4:
                raise MarginomeError(
                    f"motif '{motif_id}' has a row of {len(fields)} numbers, wanted 4 (A C G T)",
                    where=_at(source, here),
                    remedy="Mend the row.",
                )
            rows.append(_numbers(fields, _at(source, here)))
            at.append(here)
            i += 1
        more = i < len(lines) and len(lines[i][1].split()) == 4 and bool(_NUMBER.fullmatch(lines[i][1].split()[0]))
        if not rows or (width is not None and (len(rows) != width or more)):
            found = f"more than {width}" if more else str(len(rows))
            raise MarginomeError(
                f"motif '{motif_id}' has {found} rows, its header says w= {width if width is not None else '?'}",
                where=_at(source, number),
                remedy="Mend the header or the rows: the file may have been cut off.",
            )
        pwm = normalise(np.array(rows), at, source=source, motif=motif_id, counts=False)
        motifs.append(Motif(motif_id, name, pwm, source, began, "meme"))
    if pending:
        raise _no_matrix(pending, source)
    return motifs


def _no_matrix(pending: tuple[int, str, str], source: str) -> MarginomeError:
    return MarginomeError(
        f"motif '{pending[1]}' has no letter-probability matrix",
        where=_at(source, pending[0]),
        remedy="The file may have been cut off; log-odds matrices alone do not say the probabilities.",
    )


def _meme_attribute(text: str, name: str, where: str) -> int | None:
    """Return an integer of a matrix header such as ``alength= 4 w= 15 nsites= 20.5``, or None."""
    found = re.search(rf"(?<![A-Za-z]){name}\s*=\s*([^\s=]+)", text)
    if not found:
        return None
    if not re.fullmatch(r"\d+", found[1]):
        raise MarginomeError(f"found {name}= {found[1]}, wanted a whole number", where=where, remedy="Mend the header.")
    return int(found[1])


def _check_alphabet(line: str, where: str) -> None:
    given = re.match(r"^\s*ALPHABET\s*=\s*(\S+)", line)
    if given and given[1].strip("\"'").upper() not in ("ACGT", "ACGU", "DNA", "RNA"):
        raise MarginomeError(
            f"the alphabet is {given[1][:40]}, wanted ACGT", where=where, remedy="Only motifs of DNA can be put in."
        )


# ------------------------------------------------------------------------------------------------ JASPAR, HOMER
@dataclass
class _Block:
    """One entry of a file of '>' headers: its header and its rows of numbers."""

    line: int
    header: str
    rows: list[tuple[int, str | None, list[float]]] = field(default_factory=list)  # line, label, numbers


_LABELLED = re.compile(
    rf"^\s*([{''.join(IUPAC)}])\s*[\[|:]?\s+(.*?)\s*\]?\s*$|^\s*([ACGTU])\s*[\[|:]\s*(.*?)\s*\]?\s*$", re.IGNORECASE
)


def _blocks(text: str, source: str) -> list[_Block]:
    blocks: list[_Block] = []
    for number, line in _split(text):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith(">"):
            blocks.append(_Block(number, stripped[1:].strip()))
            continue
        if not blocks:  # a raw matrix without a header is named after its file
            blocks.append(_Block(number, _stem(source)))
        label = None
        labelled = _LABELLED.match(stripped)
        if labelled:
            label, stripped = (labelled[1] or labelled[3]).upper().replace("U", "T"), labelled[2] or labelled[4] or ""
        fields = stripped.strip("[]").split()
        blocks[-1].rows.append((number, label, _numbers(fields, _at(source, number))))
    return blocks


def _orientation(block: _Block) -> str | None:
    """Return "bases" (four rows, one per base), "positions" (four columns) or None where 4 x 4 may be both."""
    labels = [label for _, label, _ in block.rows]
    if any(labels):
        # rows that begin with the consensus at their position (ENCODE's motifs), or with the base that they count
        is_consensus = sorted(filter(None, labels)) != list("ACGT") and all(
            label and len(values) == 4 for _, label, values in block.rows
        )
        return "positions" if is_consensus else "bases"
    by_rows = len(block.rows) == 4 and len({len(values) for *_, values in block.rows}) == 1
    by_columns = all(len(values) == 4 for *_, values in block.rows)
    if by_rows and by_columns:
        header = block.header.split("\t")
        is_homer = len(header) > 2 and _NUMBER.fullmatch(header[2].strip())
        return "positions" if is_homer else None
    return "bases" if by_rows else "positions" if by_columns else "neither"


def _read_blocks(text: str, source: str, form: str) -> list[Motif]:
    """JASPAR (labelled or raw), and HOMER or GimmeMotifs (one row of four per position)."""
    blocks = _blocks(text, source)
    kinds = [_orientation(block) for block in blocks]
    known = {kind for kind in kinds if kind in ("bases", "positions")}
    fallback = {"jaspar": "bases", "homer": "positions"}.get(form) or (known.pop() if len(known) == 1 else None)
    motifs = []
    for block, found in zip(blocks, kinds):
        kind, where = found or fallback, _at(source, block.line)
        if not block.header:
            raise MarginomeError("a motif without a name", where=where, remedy="Write its id after the '>'.")
        name = block.header.split()[0]
        if not block.rows:
            raise MarginomeError(f"motif '{name}' has no matrix", where=where, remedy="The file may have been cut off.")
        if kind is None:
            raise MarginomeError(
                f"motif '{name}' is a square of 4 x 4: rows may be bases or positions",
                where=where,
                remedy="Say which with format: jaspar (rows are A, C, G, T) or format: homer (columns are).",
            )
        if kind == "neither":
            raise MarginomeError(
                f"motif '{name}' has {len(block.rows)} rows of "
                f"{', '.join(map(str, sorted({len(v) for *_, v in block.rows})))} numbers; wanted four rows of equal "
                "length (A, C, G, T) or rows of four",
                where=where,
                remedy="Mend the matrix; the file may have been cut off.",
            )
        motifs.append(_block_motif(block, kind, source))
    return motifs


def _block_motif(block: _Block, kind: str, source: str) -> Motif:
    fields = [part.strip() for part in block.header.split("\t")]
    if kind == "bases":
        words = block.header.split()
        motif_id, name = words[0], " ".join(words[1:]) or words[0]
        labels = [label for _, label, _ in block.rows]
        if any(labels) and (len(labels) != 4 or set(labels) != set("ACGT")):
            raise MarginomeError(
                f"motif '{motif_id}' has rows for {', '.join(label or '(no base)' for label in labels)}, "
                "wanted one each for A, C, G, T",
                where=_at(source, block.rows[-1][0]),
                remedy="Mend the rows.",
            )
        rows = sorted(block.rows, key=lambda row: "ACGT".index(row[1])) if all(labels) else block.rows
        widths = [len(values) for *_, values in rows]
        if len(set(widths)) != 1 or not widths[0]:
            raise MarginomeError(
                f"the rows of motif '{motif_id}' have {', '.join(map(str, widths))} numbers, wanted as many in each",
                where=_at(source, rows[0][0]),
                remedy="Mend the rows.",
            )
        matrix, at = np.array([values for *_, values in rows]).T, [block.line]
        form = "jaspar"
    else:
        # HOMER: consensus, name, threshold, ...; a name such as "1-GGGT,BestGuess:..." ends at the comma
        is_homer = len(fields) > 2
        motif_id = fields[1].split(",")[0] if is_homer and fields[1] else block.header.split()[0]
        rest = "" if is_homer else " ".join(block.header.split()[1:])
        name = re.split(r"[(/]", motif_id)[0] if is_homer else rest or motif_id
        name = name or motif_id
        matrix, at = np.array([values for *_, values in block.rows]), [number for number, *_ in block.rows]
        form = "homer"
    pwm = normalise(matrix, at, source=source, motif=motif_id, counts=True)
    return Motif(motif_id, name, pwm, source, block.line, form)


# ------------------------------------------------------------------------------------------------ TRANSFAC
def _read_transfac(text: str, source: str) -> list[Motif]:
    """TRANSFAC: records that end in ``//``, with AC, ID, NA, and a matrix under P0. CIS-BP: one matrix under Pos."""
    motifs: list[Motif] = []
    keys: dict[str, str] = {}
    began, order, rows, at = 0, "", [], []

    def finish(number: int) -> None:
        nonlocal keys, began, order, rows, at
        motif_id = keys.get("AC") or keys.get("ID") or keys.get("NA") or keys.get("file")
        if motif_id or order:
            if not order or not rows:
                raise MarginomeError(
                    f"record '{motif_id or '?'}' has no matrix (a line P0 and rows 01, 02, ...)",
                    where=_at(source, began),
                    remedy="Mend the record or delete it; the file may have been cut off.",
                )
            if not motif_id:
                raise MarginomeError("a record without AC, ID or NA", where=_at(source, began), remedy="Name it.")
            matrix = np.array(rows)[:, [order.index(base) for base in "ACGT"]]
            pwm = normalise(matrix, at, source=source, motif=motif_id, counts=True)
            name = keys.get("NA") or keys.get("ID") or motif_id
            motifs.append(Motif(motif_id, name, pwm, source, began, "transfac"))
        keys, began, order, rows, at = {}, 0, "", [], []

    number = 0
    for number, line in _split(text):
        fields = line.split()
        if not fields or fields[0] == "XX" or fields[0].startswith("#"):
            continue
        if fields[0] == "//":
            finish(number)
            continue
        began = began or number
        if fields[0].upper() in ("P0", "PO", "POS"):
            if fields[0].upper() == "POS":  # a CIS-BP file holds one matrix and no name
                keys.setdefault("file", _stem(source))
            if order:
                raise MarginomeError(
                    "a second matrix begins before the record has ended",
                    where=_at(source, number),
                    remedy="End each record with a line '//', and name it with AC or ID.",
                )
            order = "".join(fields[1:5]).upper().replace("U", "T")
            if sorted(order) != list("ACGT"):
                raise MarginomeError(
                    f"the matrix has columns {' '.join(fields[1:]) or '(none)'}, wanted A C G T",
                    where=_at(source, number),
                    remedy="Mend the P0 line.",
                )
        elif re.fullmatch(r"\d+", fields[0]):
            if not order:
                raise MarginomeError(
                    "a row of a matrix before its P0 line", where=_at(source, number), remedy="Add 'P0 A C G T'."
                )
            if len(fields) not in (5, 6):  # position, four numbers, and often the consensus
                raise MarginomeError(
                    f"the row has {len(fields) - 1} values after its position, wanted 4 (and a consensus code)",
                    where=_at(source, number),
                    remedy="Mend the row.",
                )
            rows.append(_numbers(fields[1:5], _at(source, number)))
            at.append(number)
        elif fields[0] in ("AC", "ID", "NA"):
            keys.setdefault(fields[0], " ".join(fields[1:]))
    finish(number)
    return motifs


# ------------------------------------------------------------------------------------------------ sequences
_TSV_COLUMNS = {"motif_id": "id", "id": "id", "motif_name": "name", "name": "name", "motif": "name",
                "sequence": "sequence", "seq": "sequence", "insert": "sequence"}  # fmt: skip


def _read_tsv(text: str, source: str) -> list[Motif]:
    """Names and sequences: a header of known columns, or name and sequence, or id, name and sequence."""
    motifs: list[Motif] = []
    columns: list[str] | None = None
    for number, line in _split(text):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        while len(fields) > 1 and not fields[-1]:  # tabs at the end of the line
            fields.pop()
        if columns is None:
            header = [_TSV_COLUMNS.get(part.lower()) for part in fields]
            if "sequence" in header and ("name" in header or "id" in header):
                columns = [part or "" for part in header]
                continue
            columns = {2: ["name", "sequence"], 3: ["id", "name", "sequence"]}.get(len(fields))
            if columns is None:
                raise MarginomeError(
                    f"the line has {len(fields)} columns; wanted name and sequence, or id, name and sequence",
                    where=_at(source, number),
                    remedy="Separate columns by tabs, or name them in a header: motif_id, motif_name, sequence.",
                )
        if len(fields) < len(columns):
            raise MarginomeError(
                f"the line has {len(fields)} columns, wanted {len(columns)}", where=_at(source, number),
                remedy="Separate columns by tabs.",
            )  # fmt: skip
        row = dict(zip(columns, fields))
        name = row.get("name") or row.get("id") or ""
        if not name:
            raise MarginomeError("the name is empty", where=_at(source, number), remedy="Give the sequence a name.")
        motifs.append(motif_from_sequence(row["sequence"], row.get("id") or name, name, source, number, "tsv"))
    return motifs


def _read_fasta(text: str, source: str) -> list[Motif]:
    """FASTA of inserts: the id is the first word of the header, the name the rest."""
    entries: list[tuple[int, str, list[str]]] = []
    for number, line in _split(text):
        stripped = line.strip()
        if not stripped or stripped.startswith(";"):
            continue
        if stripped.startswith(">"):
            entries.append((number, stripped[1:].strip(), []))
        elif not entries:
            raise MarginomeError(
                "bases before the first '>' line", where=_at(source, number), remedy="Write '>name' before them."
            )
        else:
            entries[-1][2].append("".join(stripped.split()))
    motifs = []
    for number, header, parts in entries:
        words = header.split()
        if not words:
            raise MarginomeError("an entry without a name", where=_at(source, number), remedy="Write it after the '>'.")
        name = " ".join(words[1:]) or words[0]
        motifs.append(motif_from_sequence("".join(parts), words[0], name, source, number, "fasta"))
    return motifs


# ------------------------------------------------------------------------------------------------ HDF5 and databases
def read_modisco(path: str | os.PathLike, *, trim: float = 0.3) -> list[Motif]:
    """Read the patterns of a TF-MoDISco HDF5 file (modisco-lite), trimmed to what contributes.

    Parameters
    ----------
    path : path
        Written by ``modisco motifs``.
    trim : float, default 0.3
        Positions at both ends are cut off until one whose summed absolute contribution is at least this
        fraction of the pattern's largest, as modisco-lite does for its motif comparison. 0 keeps all.

    Returns
    -------
    list of Motif
        ``motif_id`` is e.g. ``pos_patterns.pattern_0``; positive patterns first, in their order.
    """
    source = str(path)
    contents = read_foreign_hdf5(Request(source, r"(pos|neg)_patterns/[^/]+/(sequence|contrib_scores)"))
    if "metacluster_idx_to_submetacluster_results" in contents.names():
        raise MarginomeError(
            "this is a file of the first TF-MoDISco",
            where=source,
            remedy="Convert it: modisco convert -i old.h5 -o new.h5",
        )
    groups = [name for name in ("pos_patterns", "neg_patterns") if name in contents.attributes]
    if not groups:
        raise MarginomeError(
            f"no pos_patterns or neg_patterns in it (found: {', '.join(contents.names()[:5]) or 'nothing'})",
            where=source,
            remedy="Give the file that 'modisco motifs -o' wrote.",
        )
    motifs = []
    for group in groups:
        for name in sorted(contents.names(group), key=lambda n: (int(re.sub(r"\D", "", n) or 0), n)):
            motifs.append(_modisco_pattern(contents.arrays, group, name, trim, source))
    return motifs


def _modisco_pattern(arrays: Mapping[str, np.ndarray], group: str, name: str, trim: float, source: str) -> Motif:
    motif_id = f"{group}.{name}"
    try:
        frequencies = np.asarray(arrays[f"{group}/{name}/sequence"], dtype=np.float64)
        scores = np.abs(np.asarray(arrays[f"{group}/{name}/contrib_scores"], dtype=np.float64)).sum(1)
        if frequencies.ndim != 2 or frequencies.shape[1] != 4 or scores.shape != frequencies.shape[:1]:
            raise ValueError(f"sequence has the shape {frequencies.shape}, wanted (width, 4)")
        if not np.isfinite(scores).all():
            raise ValueError("contrib_scores are not finite")
    except (KeyError, TypeError, ValueError, np.exceptions.AxisError) as error:
        raise MarginomeError(
            f"pattern '{motif_id}' cannot be read ({error})",
            where=source,
            remedy="Give the file that 'modisco motifs -o' wrote.",
        ) from None
    kept = np.flatnonzero(scores >= trim * scores.max()) if len(scores) else []
    if not len(kept):
        raise MarginomeError(f"pattern '{motif_id}' is empty", where=source, remedy="Leave it out.")
    pwm = normalise(frequencies[kept[0] : kept[-1] + 1], [0], source=source, motif=motif_id, counts=True)
    return Motif(motif_id, motif_id, pwm, source, 0, "modisco")


def read_jaspar_release(
    release: str | int, *, collection: str = "CORE", tax_group: list[str] | str = ()
) -> list[Motif]:
    """Read a JASPAR release from the installed pyjaspar, which carries the databases: no network.

    Parameters
    ----------
    release : str or int
        Year, e.g. 2026 or "JASPAR2026".
    collection : str, default "CORE"
        E.g. CORE or UNVALIDATED.
    tax_group : str or list of str, default all
        E.g. "vertebrates".

    Returns
    -------
    list of Motif
        The newest version of every matrix, sorted by id; counts normalised per position.
    """
    import pyjaspar

    key = str(release).upper()
    key = key if key.startswith("JASPAR") else f"JASPAR{key}"
    if key not in pyjaspar.jaspar_releases:
        raise unknown_name("JASPAR release", key, sorted(pyjaspar.jaspar_releases), where="jaspar.release")
    database = pyjaspar.jaspardb(release=key)
    connection = database.conn
    try:
        have = [row[0] for row in connection.execute("SELECT DISTINCT collection FROM MATRIX ORDER BY 1")]
        if collection not in have:
            raise unknown_name("collection", collection, have, where=f"{key}, jaspar.collection")
        groups = [tax_group] if isinstance(tax_group, str) else list(tax_group)
        query = "SELECT DISTINCT val FROM MATRIX_ANNOTATION WHERE tag = 'tax_group' ORDER BY 1"
        taxa = [row[0] for row in connection.execute(query)]
        for group in groups:
            if group not in taxa:
                raise unknown_name("tax group", group, taxa, where=f"{key}, jaspar.tax_group")
        records = database.fetch_motifs(collection=collection, tax_group=groups or None)
    finally:
        connection.close()
    source, motifs = f"{key} {collection} (pyjaspar {pyjaspar.__version__})", []
    for record in sorted(records, key=lambda r: r.matrix_id):
        matrix = np.array([record.counts[base] for base in "ACGT"], dtype=np.float64).T
        pwm = normalise(matrix, [0], source=source, motif=record.matrix_id, counts=True)
        motifs.append(Motif(record.matrix_id, record.name, pwm, source, 0, "jaspar"))
    return motifs


# ------------------------------------------------------------------------------------------------ which reader
_READERS: dict[str, Callable[[str, str], list[Motif]]] = {
    "meme": _read_meme,
    "jaspar": lambda text, source: _read_blocks(text, source, "jaspar"),
    "homer": lambda text, source: _read_blocks(text, source, "homer"),
    "transfac": _read_transfac,
    "tsv": _read_tsv,
    "fasta": _read_fasta,
}
FORMATS = ("auto", *_READERS, "modisco")


def read_file(path: str | os.PathLike, *, form: str = "auto", modisco_trim: float = 0.3) -> list[Motif]:
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
    list of Motif
        In the file's order; ids may repeat.
    """
    if form not in FORMATS:
        raise unknown_name("motif format", form, FORMATS, where=str(path))
    raw = read_bytes(path, MOTIFS)
    if form == "modisco" or (form == "auto" and raw[:8] == b"\x89HDF\r\n\x1a\n"):
        return read_modisco(path, trim=modisco_trim)
    source, text = str(path), _decode(raw, str(path))
    if not text.strip():
        raise MarginomeError("the file is empty", where=source, remedy="Check where it comes from.")
    found = _recognise(text, source) if form == "auto" else form
    motifs = _read_blocks(text, source, "auto") if found == "blocks" else _READERS[found](text, source)
    if not motifs:
        raise MarginomeError(f"there is no motif in it (read as {found})", where=source, remedy="See docs/formats.md.")
    return motifs


def _recognise(text: str, source: str) -> str:
    head = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")][:2000]
    first = head[0] if head else ""
    if first.startswith(("<?xml", "<!DOCTYPE", "<html")):
        raise MarginomeError(
            "this is XML or HTML", where=source, remedy="Give the text output of the same tool (meme.txt, streme.txt)."
        )
    if re.match(r"^MEME version", first, re.IGNORECASE) or any(_MEME_MATRIX.match(line) for line in _lines_of(text)):
        return "meme"
    if any(re.match(r"^(P[0O]|Pos)\s+[ACGTU]\s", line, re.IGNORECASE) for line in _lines_of(text)):
        return "transfac"
    if any(re.match(r"^MOTIF\s", line) for line in head):
        return "meme"
    if first.startswith(">"):
        body = [line for line in head if not line.startswith(">")]
        if not body:
            raise MarginomeError("only header lines in it", where=source, remedy="The file may have been cut off.")
        is_matrix = re.match(r"^([ACGTU]\s*[\[|:]|[A-Z]?\s*[\[(]*\s*[-+.\d])", body[0], re.IGNORECASE)
        return "blocks" if is_matrix else "fasta"
    if re.match(r"^([ACGTUacgtu]\s*[\[|:]?\s*)?\[?\s*[-+.\d]", first) and not re.search(r"[B-Zb-df-z]{3}", first):
        return "blocks"
    if len(first.split("\t")) > 1 or len(first.split()) > 1:
        return "tsv"
    raise MarginomeError(
        f"the format is not recognised; the file begins with '{first[:60]}'",
        where=source,
        remedy=f"Say it with format: (one of {', '.join(FORMATS[1:])}); docs/formats.md shows each.",
    )


def _lines_of(text: str) -> Iterator[str]:
    return (line.strip() for line in re.split(r"\r\n|\r|\n", text))
