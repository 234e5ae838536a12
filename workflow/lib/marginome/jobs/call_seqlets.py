"""Seqlets of an attributions file: called, written as table and BED."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from marginome.attribution_file import AttributionFile, open_attributions
from marginome.bases import read_off
from marginome.columns import conform
from marginome.element_tables import SEQLETS
from marginome.seqlets import recursive_seqlets, tfmodisco_seqlets
from marginome.storage import atomic, write_table

log = logging.getLogger("marginome")


def call_seqlets(
    settings: Mapping[str, Any],
    *,
    attributions: str | os.PathLike,
    seqlets: str | os.PathLike,
    bed: str | os.PathLike,
) -> None:
    """Call the seqlets of an attributions file.

    Parameters
    ----------
    settings : mapping
        ``seqlets`` of the entry.
    attributions : path
        HDF5 of `merge_attributions`.
    seqlets : path
        Parquet to write: ``seqlet_id``; ``example_idx`` and ``sequence_id`` (the locus); ``chrom, genome_start,
        genome_end`` (0-based, half-open; null where the loci have no coordinates); ``start, end`` (in the locus, from
        0, end not included, bp); ``sign``; ``attribution`` (sum of the bases that are there, unit of the output);
        ``p_value`` (recursive caller: rank within these loci, no error rate; null otherwise); ``sequence``; ``caller``.
    bed : path
        The same spans as BED6 + attribution; without coordinates the first column is the locus.
    """
    with open_attributions(attributions) as found:
        observed = found.observed()
        table = _called(observed, settings)
        table = table[table["attribution"].abs() >= settings["min_attribution"]]
        table = table.sort_values(["example_idx", "start", "end"], kind="stable", ignore_index=True)
        table = _described(table, found, settings["caller"])
    metadata = {"settings": dict(settings), "attribution": found.metadata["attribution"]}
    write_table(seqlets, conform(table, SEQLETS, name=str(seqlets)), metadata)
    _write_bed(bed, table)
    signs = table["sign"].value_counts()
    log.info("%d seqlets in %d loci: %d positive, %d negative", len(table), len(observed), signs.get("+", 0),
             signs.get("-", 0))  # fmt: skip
    if not len(table):
        log.warning("no seqlet was called: the tables that follow are empty")


def _called(observed: np.ndarray, settings: Mapping[str, Any]) -> pd.DataFrame:
    if not observed.any():
        log.warning("all attributions are 0: there is no seqlet in them")
        return pd.DataFrame({c: pd.Series(dtype=t) for c, t in
                             (("example_idx", int), ("start", int), ("end", int), ("attribution", float))})  # fmt: skip
    if settings["caller"] == "recursive":
        return recursive_seqlets(
            observed,
            threshold=settings["threshold"],
            min_seqlet_len=settings["min_length"],
            max_seqlet_len=settings["max_length"],
            signs=settings["signs"],
        )
    table = tfmodisco_seqlets(
        observed, window_size=settings["window"], flank=settings["flank"], target_fdr=settings["target_fdr"]
    )
    if settings["signs"] != "both":
        wanted = 1 if settings["signs"] == "positive" else -1
        table = table[np.sign(table["attribution"]) == wanted]
    return table


def _described(table: pd.DataFrame, found: AttributionFile, caller: str) -> pd.DataFrame:
    index = table["example_idx"].to_numpy(np.int64)
    names = np.array(found.ids, dtype=object)[index] if len(index) else np.zeros(0, dtype=object)
    spans = [f"{name}|{a}-{b}" for name, a, b in zip(names, table["start"], table["end"])]
    sequences = [read_off(one_hot) for one_hot, _ in found.spans("sequences", table, 0)]
    described = pd.DataFrame(
        {
            "seqlet_id": spans,
            "example_idx": index,
            "sequence_id": names,
            "chrom": None,
            "genome_start": pd.NA,
            "genome_end": pd.NA,
            "start": table["start"].to_numpy(),
            "end": table["end"].to_numpy(),
            "sign": np.where(table["attribution"] > 0, "+", "-"),
            "attribution": table["attribution"].to_numpy(),
            "p_value": table["p-value"].to_numpy() if "p-value" in table else np.nan,
            "sequence": sequences,
            "caller": caller,
        }
    )
    if found.regions is not None and len(index):
        begin = found.regions["start"].to_numpy()[index]
        described["chrom"] = found.regions["chrom"].to_numpy(object)[index]
        described["genome_start"] = begin + described["start"].to_numpy()
        described["genome_end"] = begin + described["end"].to_numpy()
    return described


def _write_bed(path: str | os.PathLike, table: pd.DataFrame) -> None:
    largest = table["attribution"].abs().max() if len(table) else 1.0
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for row in table.itertuples(index=False):
            placed = pd.notna(row.genome_start)
            chrom = row.chrom if placed else row.sequence_id
            start, end = (row.genome_start, row.genome_end) if placed else (row.start, row.end)
            score = round(1000 * abs(row.attribution) / largest)
            handle.write(f"{chrom}\t{start}\t{end}\t{row.seqlet_id}\t{score}\t.\t{row.attribution:.6g}\n")
