"""Bases as text: the reverse complement, codes 0 to 4, and what a one-hot array says."""

from __future__ import annotations

import numpy as np

BASES = "ACGT"
DINUCLEOTIDES = tuple(a + b for a in BASES for b in BASES)
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
_CODES = np.full(256, 4, dtype=np.uint8)
for _code, _pair in enumerate(("Aa", "Cc", "Gg", "Tt")):
    _CODES[list(_pair.encode())] = _code


def reverse_complement_text(sequence: str) -> str:
    """Return the reverse complement of A, C, G, T and N, in upper case."""
    return sequence.translate(_COMPLEMENT)[::-1]


def encode(sequence: str) -> np.ndarray:
    """Return uint8 codes: 0 to 3 for A, C, G, T (either case), 4 for anything else."""
    return _CODES[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]


def decode(codes: np.ndarray) -> str:
    """Return the sequence of codes 0 to 4."""
    return np.frombuffer(b"ACGTN", dtype=np.uint8)[codes].tobytes().decode()


def cleaned(sequence: str) -> str:
    """Return a sequence in upper case, N for everything that is not A, C, G or T."""
    return decode(encode(sequence))


def read_off(one_hot: np.ndarray) -> str:
    """Return the sequence of a one-hot array (4, length), N where a column is all zero."""
    return decode(np.where(one_hot.any(0), one_hot.argmax(0), 4))
