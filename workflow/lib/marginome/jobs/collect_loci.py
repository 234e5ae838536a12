"""The loci of an entry, read and checked."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from marginome.background_set import BackgroundSet, write_background
from marginome.batch_files import read_record
from marginome.errors import MarginomeError, unknown_name
from marginome.loci import collect_loci as read_loci
from marginome.storage import atomic, read_table

log = logging.getLogger("marginome")


def collect_loci(
    settings: Mapping[str, Any],
    *,
    name: str,
    digests: Mapping[str, str],
    index: tuple[str | os.PathLike, ...],
    check: str | os.PathLike,
    model: Mapping[str, Any],
    attribution: Mapping[str, Any],
    background: str | os.PathLike | None,
    motifs: str | os.PathLike | None,
    fasta: str | os.PathLike,
    bed: str | os.PathLike,
    sizes: str | os.PathLike,
    record: str | os.PathLike,
) -> None:
    """Read and check the loci of one entry; also check that its output exists, before any long job.

    Parameters
    ----------
    settings : mapping
        ``loci`` of the entry.
    name : str
        The entry's name.
    digests : mapping
        SHA-256 of the files of ``loci``, by name.
    index : tuple of path
        The index of the genome (`index_genome`), empty where ``loci`` names none.
    check : path
        What `check_models` found of the model: its outputs.
    model : mapping
        The model's entry: its input_length.
    attribution : mapping
        ``model``, ``output``, ``target`` of the entry.
    background, motifs : path or None
        FASTA of the background set and table of the collection that ``loci`` names.
    fasta, bed : path
        To write; the BED file is empty where no coordinates are known.
    sizes : path
        To write: contigs and their lengths (bp), tab-separated; empty where the loci are no regions of a genome.
    record : path
        JSON to write: the digests, under ``files``.
    """
    checked = read_record(check, attribution["model"])
    outputs = [output["name"] for output in checked["outputs"]]
    where = f"config: attributions.{name}"
    if attribution["output"] is None and len(outputs) > 1:
        raise MarginomeError(
            f"model '{attribution['model']}' has {len(outputs)} outputs", where=where,
            remedy=f"Give output: one of {', '.join(outputs)}.",
        )  # fmt: skip
    if attribution["output"] is not None and attribution["output"] not in outputs:
        raise unknown_name("output", attribution["output"], outputs, where=f"{where}.output")
    length = model.get("input_length") or checked.get("input_length")
    found = read_loci(
        settings,
        name=name,
        length=length,
        index=index or None,
        background=background,
        motifs=None if motifs is None else read_table(motifs),
    )
    made = BackgroundSet(name, found.ids, found.sequences, found.regions, pd.DataFrame(), {"files": dict(digests)})
    write_background(made, fasta=fasta, bed=bed, checks=record)
    with atomic(sizes) as temporary:
        lines = [f"{chrom}\t{size}\n" for chrom, size in (found.contigs or {}).items()]
        temporary.write_text("".join(lines), encoding="utf-8")
    log.info("%d loci of %d bp", len(found.ids), len(found.sequences[0]))
