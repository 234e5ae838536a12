"""Sequences and attributions of an entry as TF-MoDISco's and Fi-NeMo's command lines read them."""

from __future__ import annotations

import os

from marginome.attribution_file import open_attributions
from marginome.exports import write_narrowpeak, write_npz


def export_npz(
    *,
    attributions: str | os.PathLike,
    sequences: str | os.PathLike,
    hypothetical: str | os.PathLike,
    loci: str | os.PathLike,
) -> None:
    """Write the arrays of an entry as .npz, and its loci as narrowPeak in the same order.

    Parameters
    ----------
    attributions : path
    sequences, hypothetical, loci : path
        To write.
    """
    with open_attributions(attributions) as found:
        write_npz(sequences, found, "sequences")
        write_npz(hypothetical, found, "hypothetical")
        write_narrowpeak(loci, found)
