"""The index of a genome, made once for all jobs that read it by position."""

from __future__ import annotations

import logging
import os

from marginome.fasta import write_index

log = logging.getLogger("marginome")


def index_genome(genome: str | os.PathLike, *, fai: str | os.PathLike, gzi: str | os.PathLike) -> None:
    """Write the index of a genome.

    Parameters
    ----------
    genome : path
        FASTA, plain or bgzip.
    fai, gzi : path
        To write; `gzi` is empty for plain FASTA.
    """
    write_index(genome, fai, gzi)
    log.info("%s is indexed", genome)
