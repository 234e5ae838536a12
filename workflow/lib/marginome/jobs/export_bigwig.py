"""Attributions of an entry for genome browsers."""

from __future__ import annotations

import os
from pathlib import Path

from marginome.attribution_file import open_attributions
from marginome.exports import write_bigwig


def export_bigwig(
    *, attributions: str | os.PathLike, sizes: str | os.PathLike, track: str, bigwig: str | os.PathLike
) -> None:
    """Write one track of an entry's attributions as bigWig.

    Parameters
    ----------
    attributions, sizes : path
        HDF5, and the lengths of the contigs.
    track : str
        ``observed``, or ``hypothetical_A`` (C, G, T).
    bigwig : path
        To write.
    """
    lines = (line.split("\t") for line in Path(sizes).read_text(encoding="utf-8").splitlines())
    lengths = {chrom: int(size) for chrom, size in lines}
    with open_attributions(attributions) as found:
        write_bigwig(bigwig, found, lengths, base=track[-1] if track != "observed" else None)
