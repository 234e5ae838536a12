"""What a motif is, what an odd one is, and the checks that every format shares."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from marginome.errors import MarginomeError
from marginome.textfiles import at_line

#: How far the four probabilities of a position may be from a sum of one before the reader refuses
#: them. Two decimals, as the oldest files have, can be off by 4 x 0.005.
SUM_TOLERANCE = 0.02

#: More numbers in a line are no row of a motif.
WIDEST = 10_000

#: IUPAC code -> the bases (as indices of A, C, G, T) that it stands for.
IUPAC = {
    "A": (0,), "C": (1,), "G": (2,), "T": (3,), "U": (3,), "R": (0, 2), "Y": (1, 3), "S": (1, 2), "W": (0, 3),
    "K": (2, 3), "M": (0, 1), "B": (1, 2, 3), "D": (0, 2, 3), "H": (0, 1, 3), "V": (0, 1, 2), "N": (0, 1, 2, 3),
}  # fmt: skip

NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?(?:nan|inf)", re.IGNORECASE)


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


class OddMotif(NamedTuple):
    """An entry of a file or database that is no motif, and why."""

    motif_id: str
    motif_name: str
    error: MarginomeError


@dataclass
class Record:
    """One entry of a file before it is checked: where it begins, what it is called, its lines."""

    line: int
    motif_id: str
    motif_name: str
    lines: list[tuple[int, str]] = field(default_factory=list)


def parse_each(
    records: Iterable[Record], parse: Callable[[Record, str], Motif], source: str
) -> Iterator[Motif | OddMotif]:
    """Yield the motif of each record, or why it is none: one odd record does not hide the others."""
    for record in records:
        try:
            yield parse(record, source)
        except MarginomeError as error:
            yield OddMotif(record.motif_id, record.motif_name, error)


def motif_from_sequence(sequence: str, motif_id: str, motif_name: str, source: str, line: int, form: str) -> Motif:
    """Build a motif of a given sequence; its PWM spreads each IUPAC code evenly over its bases."""
    text = sequence.upper().replace("U", "T")
    where = at_line(source, line)
    if not text:
        raise MarginomeError(f"'{motif_id}' has no sequence", where=where, remedy="Give its bases, or delete the line.")
    wrong = sorted(set(text) - set(IUPAC))
    if wrong:
        raise MarginomeError(
            f"'{motif_id[:60]}' holds {', '.join(map(repr, wrong[:5]))}, which is no IUPAC code of a base",
            where=where,
            remedy=f"Allowed: {''.join(IUPAC)}.",
        )
    if set(text) == {"N"}:
        raise MarginomeError(f"'{motif_id}' is N only: it would change nothing", where=where, remedy="Leave it out.")
    pwm = np.zeros((len(text), 4))
    for i, code in enumerate(text):
        pwm[i, list(IUPAC[code])] = 1 / len(IUPAC[code])
    return Motif(motif_id, motif_name, pwm, source, line, form, text)


def numbers(fields: list[str], where: str) -> list[float]:
    """Return the numbers of a row, or say what stands where one is wanted."""
    if len(fields) > WIDEST:
        raise MarginomeError(
            f"the line has {len(fields)} numbers, more than any motif", where=where, remedy="Mend the line."
        )
    values = []
    for item in fields:
        if not NUMBER.fullmatch(item):
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
    with np.errstate(over="ignore", invalid="ignore"):
        sums = rows.sum(1)
    if counts and (rows <= 1).all() and (rows % 1 != 0).any():
        counts = False
    negative = (rows < 0).any(1)
    bad = ~np.isfinite(sums) | (sums <= 0) | negative
    if not counts:
        bad |= np.abs(sums - 1) > tolerance + 1e-9
    if not bad.any():
        return rows / sums[:, None]
    i = int(negative.argmax() if negative.any() else bad.argmax())
    found = f"position {i + 1} of motif '{motif}' is {' '.join(f'{v:g}' for v in rows[i])} (sum {sums[i]:g})"
    where = at_line(source, lines[i] if len(lines) > 1 else (lines or [0])[0])
    if negative.any():
        raise MarginomeError(
            f"{found}: negative numbers are log-odds, not counts or probabilities",
            where=where,
            remedy="Give the motif's counts or probabilities (pcm, pfm or ppm), which its database has too.",
        )
    wanted = "counts, none negative, not all zero" if counts else f"probabilities that sum to 1 within {tolerance}"
    raise MarginomeError(
        f"{found}, wanted {wanted}", where=where, remedy="Mend the row, or leave the motif's block out of the file."
    )
