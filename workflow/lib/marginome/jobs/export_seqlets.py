"""Seqlets of an entry as BED."""

from __future__ import annotations

import os

from marginome.attribution_file import open_attributions
from marginome.exports import write_elements_bed
from marginome.storage import read_table


def export_seqlets(
    *,
    attributions: str | os.PathLike,
    seqlets: str | os.PathLike,
    effects: str | os.PathLike | None,
    bed: str | os.PathLike,
) -> None:
    """Write the seqlets of an entry as BED with what each does in isolation.

    Parameters
    ----------
    attributions, seqlets : path
        HDF5, and the table with or without matches.
    effects : path or None
        Isolated effects. Those on the attributed output are taken (on the first, where it has several targets), in the
        first background set of the config.
    bed : path
        To write.
    """
    table, alone = read_table(seqlets), None if effects is None else read_table(effects)
    if alone is not None and len(alone):
        with open_attributions(attributions) as found:
            output = found.metadata["output"]
        if output not in set(alone["output"]):
            output = alone["output"].iloc[0]
        alone = alone[(alone["output"] == output) & (alone["background"] == alone["background"].iloc[0])]
    write_elements_bed(bed, table, alone)
