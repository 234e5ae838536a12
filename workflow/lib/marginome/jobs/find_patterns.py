"""Patterns of an attributions file, found and tabled."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from marginome import patterns as modisco
from marginome.arrays import read_hdf5
from marginome.attribution_file import open_attributions
from marginome.columns import conform
from marginome.element_tables import PATTERN_SEQLETS, PATTERNS
from marginome.storage import write_table

log = logging.getLogger("marginome")


# What modisco-lite's command line takes by default.
WINDOW = 400


def find_patterns(
    settings: Mapping[str, Any],
    *,
    seed: int,
    attributions: str | os.PathLike,
    hdf5: str | os.PathLike,
    patterns: str | os.PathLike,
    seqlets: str | os.PathLike,
) -> None:
    """Find the patterns of an attributions file; no pattern is a valid, empty result.

    Parameters
    ----------
    settings : mapping
        ``patterns`` of the entry.
    seed : int
        The config's seed.
    attributions : path
        HDF5 of `merge_attributions`.
    hdf5 : path
        To write, in modisco-lite's format.
    patterns, seqlets : path
        Parquet to write: one row per pattern, and one per seqlet of a pattern, see `pattern_tables`; the seqlets
        have ``sequence_id, chrom, genome_start, genome_end`` too.
    """
    with open_attributions(attributions) as found:
        window = min(settings.get("window") or WINDOW, found.length)
        start = (found.length - window) // 2
        made = modisco.find_patterns(
            found.central("sequences", start, start + window),
            found.central("hypothetical", start, start + window),
            **{key: settings[key] for key in ("max_seqlets", "min_seqlets", "leiden_runs", "target_fdr")},
            seed=seed,
        )
        metadata = {"settings": dict(settings), "attribution": found.metadata["attribution"]}
        modisco.write_patterns(hdf5, made, window=window, start=start, metadata=metadata)
        with read_hdf5(hdf5) as handle:
            table, members = modisco.pattern_tables(handle, trim=settings["trim"])
        members["sequence_id"] = [found.ids[i] for i in members["example_idx"]]
        placed = found.regions is not None
        index = members["example_idx"].to_numpy(np.int64)
        members["chrom"] = found.regions["chrom"].to_numpy(object)[index] if placed else None
        for edge in ("start", "end"):
            members[f"genome_{edge}"] = found.regions["start"].to_numpy()[index] + members[edge] if placed else None
    write_table(patterns, conform(table, PATTERNS, name=str(patterns)), metadata)
    write_table(seqlets, conform(members, PATTERN_SEQLETS, name=str(seqlets)), metadata)
    log.info("window of %d bp from %d: %d patterns", window, start, len(table))
    for row in table.itertuples():
        log.info("%s: %d seqlets, %s", row.pattern_id, row.n_seqlets, row.consensus)
    if not len(table):
        log.warning("no pattern was found: the tables that follow are empty")
