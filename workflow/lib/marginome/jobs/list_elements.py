"""What seqlets, annotations and patterns put into backgrounds, with its controls."""

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
from marginome.element_tables import PATTERN_ELEMENTS, SEQLET_ELEMENTS
from marginome.errors import MarginomeError
from marginome.insert_lists import insert_table
from marginome.inserts import Insert
from marginome.list_tables import FAMILIES, INSERT_LIST
from marginome.placing import MIDDLE
from marginome.regions import read_regions
from marginome.seeds import stable_seed
from marginome.storage import read_table, write_table
from marginome.units import controls_of

log = logging.getLogger("marginome")


def list_elements(
    settings: Mapping[str, Any],
    *,
    kind: str,
    name: str,
    seed: int,
    digests: Mapping[str, str],
    annotations: Mapping[str, str],
    attributions: str | os.PathLike,
    table: str | os.PathLike,
    members: str | os.PathLike | None,
    inserts: str | os.PathLike,
    families: str | os.PathLike,
    elements: str | os.PathLike,
) -> None:
    """List what goes into the backgrounds, with controls, as `list_screen_inserts` does for motifs.

    Parameters
    ----------
    settings : mapping
        ``marginalize`` of the entry.
    kind : {"seqlets", "patterns"}
        Seqlets (or the spans of a BED file) with their flanks; or the trimmed consensus of each pattern and samples of
        its seqlets, numbered in the column ``sample``.
    name : str
        The entry's name.
    seed : int
        The config's seed.
    digests : mapping
        Digests of the model's files: the attributions must be of this model.
    annotations : mapping
        SHA-256 of the BED file of ``annotations``, by name, where there is one.
    attributions, table : path
        HDF5, and the table of seqlets or patterns, with or without matches.
    members : path or None
        The patterns' seqlets.
    inserts, families, elements : path
        Parquet to write: inserts and controls; families (elements that match one motif); the elements' own columns.
    """
    where = f"config: attributions.{name}.marginalize"
    with open_attributions(attributions, digests) as found:
        if kind == "patterns":
            described, listed = _patterns(read_table(table), read_table(members), settings["samples"], seed)
        else:
            spans = settings.get("annotations")
            seqlets = read_table(table) if spans is None else _annotations(spans, found, where)
            described, listed = _seqlets(seqlets, found, settings["flank"])
    rows = [
        Insert(motif_id, motif_name, "+", -(len(sequence) // 2), sequence, sample, collection=kind)
        for motif_id, motif_name, sequence, sample in listed
    ]
    if rows:
        controls = insert_table(rows, controls_of(settings["controls"], kind), seed)
    else:
        controls = pd.DataFrame()
        log.warning("there are no %s: the table is empty", kind)
    metadata = {"from": MIDDLE, "seed": seed, "files": dict(annotations)}
    write_table(inserts, conform(controls, INSERT_LIST, name=str(inserts)), metadata)
    write_table(families, conform(_families(described, kind), FAMILIES, name=str(families)))
    columns = PATTERN_ELEMENTS if kind == "patterns" else SEQLET_ELEMENTS
    write_table(elements, conform(described, columns, name=str(elements)))
    log.info("%d %s, %d inserts, %d controls", len(described), kind, len(rows), len(controls) - len(rows))


def _seqlets(table: pd.DataFrame, found: AttributionFile, flank: int) -> tuple[pd.DataFrame, list[tuple]]:
    """Return the seqlets' own columns, and (id, name, sequence with flanks, sample) of each."""
    sequences = [read_off(one_hot) for one_hot, _ in found.spans("sequences", table, flank)]
    unknown = [i for i, sequence in enumerate(sequences) if set(sequence) == {"N"}]
    if unknown:
        log.warning("%d spans hold unknown bases only: left out", len(unknown))
    keep = [i for i in range(len(table)) if i not in set(unknown)]
    table = table.iloc[keep].reset_index(drop=True)
    described = table.rename(
        columns={"seqlet_id": "motif_id", "start": "seqlet_start", "end": "seqlet_end", "p_value": "seqlet_p",
                 "sequence": "seqlet"}
    ).drop(columns=["example_idx", "caller"], errors="ignore")  # fmt: skip
    names = _names(described)
    return described, [(i, n, sequences[k], None) for i, n, k in zip(described["motif_id"], names, keep)]


def _annotations(bed: str | os.PathLike, found: AttributionFile, where: str) -> pd.DataFrame:
    """Find the spans of a BED file in the loci: by coordinates, or by the locus's name in the first column."""
    regions = read_regions(bed)
    names = {name: i for i, name in enumerate(found.ids)}
    rows, outside = [], 0
    for row in regions.itertuples(index=False):
        index, offset = names.get(row.chrom), 0
        if index is None and found.regions is not None:
            inside = (
                (found.regions["chrom"] == row.chrom)
                & (found.regions["start"] <= row.start)
                & (found.regions["end"] >= row.end)
            ).to_numpy()
            index = int(inside.argmax()) if inside.any() else None
            offset = int(found.regions["start"].iloc[index]) if index is not None else 0
        if index is None or row.end - offset > found.length:
            outside += 1
            continue
        genome = (row.chrom, row.start, row.end) if offset or names.get(row.chrom) is None else (None, pd.NA, pd.NA)
        rows.append((row.name, found.ids[index], index, row.start - offset, row.end - offset, *genome))
    if outside:
        log.warning("%s: %d of %d annotations lie in no locus: left out", bed, outside, len(regions))
    if not rows:
        contigs = [] if found.regions is None else list(dict.fromkeys(found.regions["chrom"]))
        raise MarginomeError(
            f"none of {len(regions)} annotations lies in a locus; the file names {regions['chrom'].iloc[0]}, the loci "
            f"{', '.join(contigs[:3]) or found.ids[0]}",
            where=f"{where}.annotations, {bed}",
            remedy="Use the coordinates of the loci, or their names, in the first column.",
        )
    columns = ["seqlet_id", "sequence_id", "example_idx", "start", "end", "chrom", "genome_start", "genome_end"]
    table = pd.DataFrame(rows, columns=columns).sort_values(["example_idx", "start", "end"], ignore_index=True)
    again = table.groupby("seqlet_id").cumcount()
    table["seqlet_id"] = [f"{name}~{n + 1}" if n else name for name, n in zip(table["seqlet_id"], again)]
    observed = found.observed()
    table["attribution"] = [
        float(observed[i, a:b].sum(dtype=np.float64))
        for i, a, b in zip(table["example_idx"], table["start"], table["end"])
    ]
    return table


def _patterns(table: pd.DataFrame, members: pd.DataFrame, samples: int, seed: int) -> tuple[pd.DataFrame, list[tuple]]:
    """Return the patterns' own columns, and the inserts of each: its consensus, then samples of its seqlets."""
    described = table.rename(columns={"pattern_id": "motif_id", "width": "pattern_width"}).drop(
        columns=["pwm", "contributions"]
    )
    listed = []
    for motif_id, name, consensus in zip(described["motif_id"], _names(described), described["consensus"]):
        listed.append((motif_id, name, consensus, None))
        mine = members.loc[members["pattern_id"] == motif_id, "sequence"].tolist()
        rng = np.random.default_rng(stable_seed(seed, "seqlets of a pattern", motif_id))
        for sample, i in enumerate(rng.permutation(len(mine))[:samples]):
            listed.append((motif_id, name, mine[i], sample))
    return described, listed


def _names(described: pd.DataFrame) -> list[str]:
    """The matched motif's name where there is one, else the element's own."""
    if "match_name" not in described:
        return described["motif_id"].tolist()
    return described["match_name"].where(described["match_name"].notna(), described["motif_id"]).tolist()


def _families(described: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Elements that match the same motif are one family; the others are one each."""
    key = described["motif_id"]
    if "match_id" in described:
        key = described["match_id"].where(described["match_id"].notna(), described["motif_id"])
    family = pd.factorize(key)[0]
    first = described["motif_id"].groupby(family).transform("first") if len(described) else described["motif_id"]
    return pd.DataFrame(
        {
            "collection": kind,
            "motif_id": described["motif_id"],
            "motif_name": _names(described),
            "family": family.astype(np.int64),
            "family_representative": first,
        }
    )
