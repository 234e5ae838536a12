"""Patterns of an entry as motifs, and where their seqlets are."""

from __future__ import annotations

import os

from marginome.exports import write_instances_bed, write_meme
from marginome.storage import read_table


def export_patterns(
    *,
    patterns: str | os.PathLike,
    seqlets: str | os.PathLike,
    meme: str | os.PathLike,
    bed: str | os.PathLike,
) -> None:
    """Write the patterns of an entry as motifs, and where their seqlets are.

    Parameters
    ----------
    patterns, seqlets : path
        Tables of the patterns (with or without matches) and of their seqlets.
    meme, bed : path
        To write.
    """
    table = read_table(patterns)
    write_meme(meme, table)
    write_instances_bed(bed, read_table(seqlets), table)
