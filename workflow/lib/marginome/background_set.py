"""A background set as it is held and written: sequences, where they are from, how they compare with their target."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from marginome.bases import DINUCLEOTIDES, encode
from marginome.storage import atomic, sha256_of, write_json


@dataclass
class BackgroundSet:
    """Sequences of one length, where they are from, and how they compare with what they should be like.

    Attributes
    ----------
    name : str
    ids : list of str
        Unique; ``chrom:start-end`` (0-based, half-open) for windows of a genome.
    sequences : list of str
        A, C, G, T and N, upper case.
    regions : pandas.DataFrame or None
        ``chrom, start, end`` of sequences that are windows of a genome.
    table : pandas.DataFrame
        One row per sequence: ``id, length`` (bp)``, gc`` (fraction of A, C, G and T)``, unknown`` (bp)``, source``
        (what it was made from), and ``AA`` to ``TT``, the fractions of the 16 dinucleotides.
    checks : dict
        What was obtained against what was wanted: see `make_background`.
    target : pandas.DataFrame or None
        The same columns as `table` for the sequences that the set should resemble.
    """

    name: str
    ids: list[str]
    sequences: list[str]
    regions: pd.DataFrame | None
    table: pd.DataFrame
    checks: dict[str, Any] = field(default_factory=dict)
    target: pd.DataFrame | None = None


def composition_table(ids: Sequence[str], sequences: Sequence[str], source: Sequence[str]) -> pd.DataFrame:
    """Return length, GC, unknown bases and dinucleotide fractions of sequences, one row each.

    Dinucleotides with an unknown base are left out of the fractions.
    """
    counts = np.zeros((len(sequences), 16))
    basic = np.zeros((len(sequences), 3))
    for i, sequence in enumerate(sequences):
        codes = encode(sequence)
        known = codes < 4
        pairs = known[:-1] & known[1:]
        counts[i] = np.bincount(4 * codes[:-1][pairs].astype(int) + codes[1:][pairs], minlength=16)
        basic[i] = len(codes), ((codes == 1) | (codes == 2)).sum(), (~known).sum()
    with np.errstate(invalid="ignore"):
        gc = basic[:, 1] / (basic[:, 0] - basic[:, 2])
        fractions = counts / counts.sum(1, keepdims=True)
    table = pd.DataFrame(
        {
            "id": list(ids),
            "length": basic[:, 0].astype(int),
            "gc": gc,
            "unknown": basic[:, 2].astype(int),
            "source": list(source),
        }
    )
    return pd.concat([table, pd.DataFrame(fractions, columns=list(DINUCLEOTIDES))], axis=1)


def checks_of(made: BackgroundSet) -> dict[str, Any]:
    """Return GC and dinucleotides of a set, against its target's where it has one; see `make_background`."""
    checks: dict[str, Any] = {"gc_mean": float(np.nanmean(made.table["gc"]))}
    if made.target is not None:
        from scipy.stats import ks_2samp

        got, wanted = made.table["gc"].dropna(), made.target["gc"].dropna()
        columns = list(DINUCLEOTIDES)
        distance = (made.table[columns].mean() - made.target[columns].mean()).abs().sum() / 2
        checks |= {
            "gc_target_mean": float(wanted.mean()),
            "gc_ks_distance": float(ks_2samp(got, wanted).statistic),
            "dinucleotide_distance": float(distance),
        }
    return checks


def write_background(
    made: BackgroundSet,
    *,
    fasta: str | os.PathLike,
    bed: str | os.PathLike | None = None,
    tsv: str | os.PathLike | None = None,
    checks: str | os.PathLike | None = None,
) -> None:
    """Write a background set so that other programs can use it, each file atomically.

    Parameters
    ----------
    made : BackgroundSet
    fasta : path
        Block-gzipped (bgzip) when its name ends in ``.gz``, else plain.
    bed : path, optional
        BED4: windows of the genome with their ids; empty for sets without coordinates.
    tsv : path, optional
        `BackgroundSet.table`; fractions with 6 decimals.
    checks : path, optional
        `BackgroundSet.checks` as JSON, and ``tsv_sha256``: text has no place for a digest of itself.
    """
    from Bio import bgzf

    text = "".join(f">{name}\n{sequence}\n" for name, sequence in zip(made.ids, made.sequences)).encode()
    with atomic(fasta) as temporary:
        if str(fasta).endswith(".gz"):
            with bgzf.BgzfWriter(str(temporary), "wb") as handle:
                handle.write(text)
        else:
            temporary.write_bytes(text)
    if bed is not None:
        rows = []
        if made.regions is not None:
            columns = made.regions[["chrom", "start", "end"]].itertuples(index=False, name=None)
            rows = [f"{chrom}\t{start}\t{end}\t{name}\n" for (chrom, start, end), name in zip(columns, made.ids)]
        with atomic(bed) as temporary:
            temporary.write_text("".join(rows), encoding="utf-8")
    if tsv is not None:
        with atomic(tsv) as temporary:
            made.table.to_csv(temporary, sep="\t", index=False, float_format="%.6f")
    if checks is not None:
        write_json(checks, made.checks | ({} if tsv is None else {"tsv_sha256": sha256_of(tsv)}))
