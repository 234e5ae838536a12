"""Patterns named by motifs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from marginome.annotation import annotate
from marginome.columns import conform
from marginome.element_tables import MATCHES, PATTERNS
from marginome.matches import annotation_columns, read_collections, tell_matches
from marginome.storage import read_table, write_table

log = logging.getLogger("marginome")


def annotate_patterns(
    settings: Mapping[str, Any],
    *,
    seed: int,
    patterns: str | os.PathLike,
    motifs: Sequence[str | os.PathLike],
    matches: str | os.PathLike,
    threads: int = 1,
) -> None:
    """Name patterns by motifs, as seqlets are; the query is the pattern's trimmed base frequencies.

    Parameters
    ----------
    settings : mapping
        ``annotate`` of the entry.
    seed : int
        The config's seed.
    patterns : path
        Table of `find_patterns`.
    motifs : sequence of path
        Tables of the collections.
    matches : path
        Parquet to write: the patterns' columns and those of `annotation_columns`.
    threads : int, default 1
    """
    table = read_table(patterns)
    collection = read_collections(motifs)
    named = annotate(
        [np.asarray(pwm, dtype=np.float64).reshape(-1, 4).T for pwm in table["pwm"]],
        [motif for _, motif in collection],
        seed=seed,
        min_information_bits=settings["min_information_bits"],
        shuffles=settings["shuffles"],
        threads=threads,
    )
    columns = annotation_columns(named, collection, settings["max_q"])
    whole = conform(pd.concat([table, columns], axis=1), (*PATTERNS, *MATCHES), name=str(matches))
    write_table(matches, whole, {"settings": dict(settings)})
    tell_matches(columns, "patterns")
