"""Seqlets named by motifs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from marginome.annotation import annotate, query_of_attributions
from marginome.attribution_file import open_attributions
from marginome.columns import conform
from marginome.element_tables import MATCHES, SEQLETS
from marginome.matches import annotation_columns, read_collections, tell_matches
from marginome.storage import read_table, write_table

log = logging.getLogger("marginome")


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
    whole = conform(pd.concat([table, columns], axis=1), (*SEQLETS, *MATCHES), name=str(annotations))
    write_table(annotations, whole, {"settings": dict(settings)})
    tell_matches(columns, "seqlets")
