"""What seqlets and patterns match in motif collections, as columns of their tables."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import pandas as pd

from marginome.annotation import Annotations
from marginome.errors import MarginomeError
from marginome.motifs.motif import Motif
from marginome.motifs.table import motifs_from_table
from marginome.storage import read_table

log = logging.getLogger("marginome")


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
