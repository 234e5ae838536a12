"""Composition of every window of a genome, in one pass over the file and little memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from marginome.bounded import GENOME, opened
from marginome.errors import MarginomeError

_LONGEST_HEADER = 1 << 20  # bytes


def iterate_contigs(path: str | os.PathLike, *, chunk_bytes: int = 1 << 23) -> Iterator[tuple[str, np.ndarray]]:
    """Read a FASTA file from beginning to end in pieces.

    Parameters
    ----------
    path : path
        Plain or (b)gzip.
    chunk_bytes : int, default 8 MiB
        Bytes of text per piece.

    Yields
    ------
    name : str
        First word of the header.
    bases : numpy.ndarray, uint8
        The next bases of that contig as ASCII codes, without line ends. A contig comes in several pieces.
    """
    name = None
    with opened(path, GENOME) as handle:
        rest = b""
        while True:
            block = handle.read(chunk_bytes)
            text = rest + block
            if not block and not text:
                return
            position, rest = 0, b""
            while position < len(text):
                if text[position : position + 1] == b">":
                    end = text.find(b"\n", position)
                    if end < 0 and block:  # the header goes on in the next piece
                        rest = text[position:]
                        if len(rest) > _LONGEST_HEADER:
                            raise MarginomeError("a header line does not end", where=str(path))
                        break
                    end = len(text) if end < 0 else end
                    words = text[position + 1 : end].split()
                    name = _contig_name(words[0] if words else b"", path)
                    position = end + 1
                    yield name, np.empty(0, dtype=np.uint8)
                    continue
                end = text.find(b">", position)
                end = len(text) if end < 0 else end
                bases = text[position:end].translate(None, b"\r\n \t")
                if name is not None and bases:
                    yield name, np.frombuffer(bases, dtype=np.uint8)
                position = end
            if not block:
                return


def _contig_name(word: bytes, path: str | os.PathLike) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise MarginomeError(
            f"the name of a sequence, {word[:40]!r}, is not UTF-8", where=str(path), remedy="Rename it."
        ) from None


class Windows(NamedTuple):
    """Composition of the windows of one contig; window i begins at ``i * stride``."""

    chrom: str
    gc: np.ndarray
    """int32: G and C of each window."""
    unknown: np.ndarray
    """int32: characters other than A, C, G and T."""
    masked: np.ndarray
    """int32: lower-case bases (soft-masked repeats)."""


_IS_GC, _IS_UNKNOWN, _IS_LOWER = (np.zeros(256, dtype=np.uint8) for _ in range(3))
_IS_GC[list(b"GCgc")] = 1
_IS_UNKNOWN[:] = 1
_IS_UNKNOWN[list(b"ACGTacgt")] = 0
_IS_LOWER[list(b"acgtn")] = 1


def scan_windows(
    path: str | os.PathLike,
    length: int,
    stride: int,
    *,
    contigs: Sequence[str] | None = None,
    chunk_bytes: int = 1 << 23,
) -> Iterator[Windows]:
    """Count GC, unknown and soft-masked bases of all windows of a genome in one pass over the file.

    Memory is a few pieces of the file plus 12 bytes per window of one contig, by prefix sums over each
    piece and what the windows that straddle two pieces need of the one before.

    Parameters
    ----------
    path : path
        FASTA, plain or (b)gzip.
    length, stride : int
        Of the windows (bp).
    contigs : sequence of str, optional
        Only these.
    chunk_bytes : int, default 8 MiB

    Yields
    ------
    Windows
        One per contig that has a window.
    """
    wanted = None if contigs is None else set(contigs)
    tables = (_IS_GC, _IS_UNKNOWN, _IS_LOWER)

    def finish(name: str | None, counts: list[list[np.ndarray]]) -> Iterator[Windows]:
        if name is not None and counts[0]:
            yield Windows(name, *(np.concatenate(part) for part in counts))

    current, counts = None, [[], [], []]
    held, first, following = np.empty(0, dtype=np.uint8), 0, 0  # bases held, where they begin, next window's start
    for name, bases in iterate_contigs(path, chunk_bytes=chunk_bytes):
        if name != current or not len(bases):
            yield from finish(current, counts)
            current, counts = name, [[], [], []]
            held, first, following = np.empty(0, dtype=np.uint8), 0, 0
        if wanted is not None and name not in wanted:
            continue
        held = np.concatenate([held, bases])
        starts = np.arange(following, first + len(held) - length + 1, stride) - first
        if not len(starts):
            continue
        for table, part in zip(tables, counts):
            total = np.zeros(len(held) + 1, dtype=np.int32)
            np.cumsum(table[held], dtype=np.int32, out=total[1:])
            part.append(total[starts + length] - total[starts])
        following = first + int(starts[-1]) + stride
        drop = min(following - first, len(held))
        held, first = held[drop:], first + drop
    yield from finish(current, counts)
