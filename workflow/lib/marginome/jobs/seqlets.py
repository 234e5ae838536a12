"""Seqlets of an attributions file: called, written as table and BED, and named by motifs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from marginome.annotation import Annotations, annotate, query_of_attributions
from marginome.errors import MarginomeError
from marginome.jobs.attributions import AttributionFile, open_attributions
from marginome.motifs import Motif, motifs_from_table
from marginome.seqlets import recursive_seqlets, tfmodisco_seqlets
from marginome.storage import atomic, read_table, write_table

log = logging.getLogger("marginome")

SEQLETS = {
    "seqlet_id": "str", "example_idx": "int64", "sequence_id": "str", "chrom": "str", "genome_start": "Int64",
    "genome_end": "Int64", "start": "int64", "end": "int64", "sign": "str", "attribution": "float64",
    "p_value": "float64", "sequence": "str", "caller": "str",
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ calling
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
    metadata = {"settings": dict(settings), "attributions": str(attributions)}
    write_table(seqlets, table, metadata)
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
    letters = np.array(list("ACGTN"))
    sequences = []
    for one_hot, _ in found.spans("sequences", table, 0):
        codes = np.where(one_hot.any(0), one_hot.argmax(0), 4)
        sequences.append("".join(letters[codes]))
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
    return described.astype({name: kind for name, kind in SEQLETS.items() if kind not in ("str",)})


def _write_bed(path: str | os.PathLike, table: pd.DataFrame) -> None:
    largest = table["attribution"].abs().max() if len(table) else 1.0
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for row in table.itertuples(index=False):
            placed = pd.notna(row.genome_start)
            chrom = row.chrom if placed else row.sequence_id
            start, end = (row.genome_start, row.genome_end) if placed else (row.start, row.end)
            score = round(1000 * abs(row.attribution) / largest)
            handle.write(f"{chrom}\t{start}\t{end}\t{row.seqlet_id}\t{score}\t.\t{row.attribution:.6g}\n")


# ------------------------------------------------------------------------------------------------ annotating
def annotate_seqlets(
    settings: Mapping[str, Any],
    *,
    seed: int,
    attributions: str | os.PathLike,
    seqlets: str | os.PathLike,
    motifs: Sequence[str | os.PathLike],
    annotations: str | os.PathLike,
    threads: int = 1,
) -> None:
    """Name the seqlets of a table by the motifs of some collections.

    Parameters
    ----------
    settings : mapping
        ``annotate`` of the entry.
    seed : int
        The config's seed.
    attributions, seqlets : path
        Of earlier rules.
    motifs : sequence of path
        Tables of the collections.
    annotations : path
        Parquet to write: the seqlets' columns and those of `annotation_columns`.
    threads : int, default 1
    """
    table = read_table(seqlets)
    collection = read_collections(motifs)
    queries = []
    with open_attributions(attributions) as found:
        for (values, _), sign in zip(
            found.spans("hypothetical", table, settings["flank"]), np.where(table["sign"] == "+", 1, -1)
        ):
            queries.append(query_of_attributions(values.astype(np.float64), sign))
    named = annotate(
        queries,
        [motif for _, motif in collection],
        seed=seed,
        min_information_bits=settings["min_information_bits"],
        shuffles=settings["shuffles"],
        threads=threads,
    )
    columns = annotation_columns(named, collection, settings["max_q"])
    write_table(annotations, pd.concat([table, columns], axis=1), {"settings": dict(settings)})
    tell_matches(columns, "seqlets")


def read_collections(tables: Sequence[str | os.PathLike]) -> list[tuple[str, Motif]]:
    """Return (collection, motif) of the motifs of several tables, in order."""
    found = []
    for path in tables:
        table = read_table(path)
        found += [(table["collection"].iloc[0], motif) for motif in motifs_from_table(table)]
    if not found:
        raise MarginomeError("there is no motif to compare with", where="annotate.motifs")
    return found


def annotation_columns(named: Annotations, collection: Sequence[tuple[str, Motif]], max_q: float) -> pd.DataFrame:
    """Return the columns that say what a seqlet or pattern matches.

    Returns
    -------
    pandas.DataFrame
        ``match_collection, match_id, match_name, match_strand`` (null where no match holds), ``match_offset,
        match_overlap`` (bp), ``best_id`` (the nearest motif whether it holds or not; null where not compared),
        ``tomtom_p, match_p, match_q, information_bits``.
    """
    holds = (named.motif >= 0) & (named.q <= max_q)
    best = [collection[i] if i >= 0 else (None, None) for i in named.motif]

    def kept(values: Sequence[object]) -> list:
        return [value if hold else None for value, hold in zip(values, holds)]

    return pd.DataFrame(
        {
            "match_collection": pd.Series(kept([name for name, _ in best]), dtype=object),
            "match_id": pd.Series(kept([m and m.motif_id for _, m in best]), dtype=object),
            "match_name": pd.Series(kept([m and m.motif_name for _, m in best]), dtype=object),
            "match_strand": pd.Series(kept(named.strand), dtype=object),
            "match_offset": pd.Series(kept(named.offset.tolist()), dtype="Int64"),
            "match_overlap": pd.Series(kept(named.overlap.tolist()), dtype="Int64"),
            "best_id": pd.Series([m and m.motif_id for _, m in best], dtype=object),
            "tomtom_p": named.tomtom_p,
            "match_p": named.p,
            "match_q": named.q,
            "information_bits": named.information_bits,
        }
    )


def tell_matches(columns: pd.DataFrame, what: str) -> None:
    """Log how many match, and what most of them match."""
    counts = columns["match_name"].value_counts()
    most = ", ".join(f"{name} {count}" for name, count in counts.head(5).items())
    log.info("%d of %d %s match a motif%s", int(counts.sum()), len(columns), what, f": {most}" if most else "")
