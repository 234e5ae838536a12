"""Attributions of an entry for genome browsers, and for TF-MoDISco's and Fi-NeMo's own command lines."""

from __future__ import annotations

import os
from pathlib import Path

from marginome.attribution_file import open_attributions
from marginome.errors import MarginomeError
from marginome.exports import write_bigwig, write_narrowpeak, write_npz, write_shap_h5


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


def export_arrays(*, attributions: str | os.PathLike, layout: str, outputs: list[str | os.PathLike]) -> None:
    """Write sequences and hypothetical attributions as other programs read them.

    Parameters
    ----------
    attributions : path
    layout : {"npz", "h5"}
        Two .npz files and a narrowPeak file of the loci, or one HDF5 file.
    outputs : list of path
        To write: sequences, hypothetical attributions and loci, or the HDF5 file.
    """
    with open_attributions(attributions) as found:
        if layout == "h5":
            write_shap_h5(outputs[0], found)
        elif layout == "npz":
            sequences, hypothetical, loci = outputs
            write_npz(sequences, found, "sequences")
            write_npz(hypothetical, found, "hypothetical")
            write_narrowpeak(loci, found)
        else:
            raise MarginomeError(f"no layout '{layout}'", where="export", remedy="npz or h5.")
