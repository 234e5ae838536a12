"""What a screen's shards hold, list by list, for jobs that look at several inserts together: pairs, composites."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from marginome.arrays import read_hdf5
from marginome.batch_files import FailedModelError
from marginome.jobs.summarize_batch import Part, read_lists, read_parts
from marginome.motifs.motif import Motif
from marginome.motifs.table import motifs_from_table
from marginome.storage import read_table

log = logging.getLogger("marginome")


class ScreenPart(NamedTuple):
    """An insert list in one model and background set.

    Attributes
    ----------
    model, background : str
    table : pandas.DataFrame
        The list, placed in sequences of the background set's length.
    part : Part
        What the model says of it.
    described : object
        What `describe` made of the list.
    """

    model: str
    background: str
    table: pd.DataFrame
    part: Part
    described: Any


def screen_parts(
    screen: Mapping[str, Any],
    describe: Callable[[pd.DataFrame, list[Motif]], Any],
    *,
    batches: Sequence[Sequence[str]],
    inserts: Sequence[str | os.PathLike],
    families: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    baselines: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
) -> Iterator[ScreenPart]:
    """Yield every insert list in every model and background set; a model that failed is logged and passed over.

    Parameters
    ----------
    screen : mapping
        ``backgrounds`` (names) and ``shards`` (how many of each insert list, in order).
    describe : function
        What is to be known of a list whatever a model says of it, from its table and its collection's motifs: called
        once for each length of sequence.
    batches : sequence of sequence of str
        The models, batch by batch.
    inserts, families, motifs : sequence of path
        The insert lists, the families of their motifs, and the collections whose sites are looked for at seams.
    baselines : sequence of path
        Batch by batch, in the order of background sets.
    shards : sequence of path
        Batch by batch, in the order of background sets, then lists, then shards.
    """
    lists: dict[int, list] = {}
    described: dict[int, list] = {}
    collections = [motifs_from_table(read_table(path)) for path in motifs]
    per = sum(screen["shards"])
    files, before = iter(shards), iter(baselines)
    for models in batches:
        for background in screen["backgrounds"]:
            with read_hdf5(next(before)) as handle:
                length, n = int(handle.attrs["length_bp"]), len(handle["ids"])
            here = [next(files) for _ in range(per)]
            if length not in lists:
                lists[length] = read_lists(inserts, families, screen["shards"], length)
                described[length] = [describe(listed.table, c) for listed, c in zip(lists[length], collections)]
            for model in models:
                try:
                    parts = read_parts(here, lists[length], model, n)
                except FailedModelError as error:
                    log.error("%s", error)
                    continue
                for listed, part, what in zip(lists[length], parts, described[length]):
                    yield ScreenPart(model, background, listed.table, part, what)
