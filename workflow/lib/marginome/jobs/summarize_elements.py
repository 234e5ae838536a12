"""From the shards of elements to their tables, a screen's with the elements' own columns."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import pandas as pd

from marginome.arrays import write_hdf5
from marginome.batch_files import stop_on_failures
from marginome.columns import conform, write_tsv
from marginome.element_tables import PATTERN_ELEMENTS, SEQLET_ELEMENTS
from marginome.jobs.merge_batches import merged_rows
from marginome.jobs.summarize_batch import summarized
from marginome.storage import read_table, write_table
from marginome.tables import EFFECTS

log = logging.getLogger("marginome")


def summarize_elements(
    *,
    model: str,
    names: Sequence[str],
    inserts: str | os.PathLike,
    families: str | os.PathLike,
    elements: str | os.PathLike,
    baselines: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    effects: str | os.PathLike,
    tsv: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
) -> None:
    """Merge the shards into a table like a screen's, and add the elements' own columns.

    Parameters
    ----------
    model : str
    names : sequence of str
        Of the background sets.
    inserts, families, elements : path
        Of `list_elements`.
    baselines, shards : sequence of path
        In the order of the background sets, then shards.
    effects, tsv : path
        To write: the columns of `marginome.tables.EFFECTS`, then the elements' own (by ``motif_id``).
    backgrounds, profiles : path
        To write: effects of single backgrounds, mean profiles; as a screen's.
    """
    own = read_table(elements)
    stated = PATTERN_ELEMENTS if "n_seqlets" in own else SEQLET_ELEMENTS
    columns = (*EFFECTS, *(c for c in stated if c.name in own and not c.key))
    if len(read_table(inserts, columns=["insert"])) == 0:
        table = conform(pd.DataFrame(), columns)
        write_table(effects, table, {"empty": True})
        write_tsv(tsv, table.to_pandas())
        for path in (backgrounds, profiles):
            with write_hdf5(path, {"empty": True}):
                pass
        log.warning("there was nothing to put in: the table is empty")
        return
    reasons: dict[str, str] = {}
    screen = {"backgrounds": list(names), "shards": [len(shards) // len(names)]}
    groups = list(
        summarized(
            screen,
            models=[model],
            inserts=[inserts],
            families=[families],
            baselines=baselines,
            shards=shards,
            backgrounds=backgrounds,
            profiles=profiles,
            reasons=reasons,
        )
    )
    stop_on_failures(reasons)
    filled = {name for group in groups for name in group.schema.names if group[name].null_count < group.num_rows}
    table = pd.concat(merged_rows(groups, filled), ignore_index=True)
    joined = table.merge(own, on="motif_id", how="left", validate="many_to_one")
    write_table(effects, conform(joined, columns, name=str(effects)))
    write_tsv(tsv, joined)
