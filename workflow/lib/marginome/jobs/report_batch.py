"""A page for each model of a batch of a screen."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from marginome.arrays import read_hdf5
from marginome.batch_files import stop_on_failures
from marginome.jobs.report_screen import read_attributions
from marginome.provenance import narrowed
from marginome.report.screen import JudgedPairs, methods_paragraph, write_report
from marginome.results import (
    read_baselines,
    read_motif_matrices,
    read_profiles,
    single_effects,
    unsigned_measures,
)
from marginome.storage import damaged, read_json, read_row_groups, read_table
from marginome.tables import EFFECTS

log = logging.getLogger("marginome")

#: Most compressed bytes of single effects and profiles of a page: an atlas has a page for each model.
DETAIL_BYTES = 1_000_000


def report_batch(
    screen: str,
    *,
    models: Sequence[str],
    failed: str | os.PathLike,
    effects: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    baselines: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    provenance: Mapping[str, Any],
    functions: str | os.PathLike | None,
    pairs: str | os.PathLike | None,
    arrangements: str | os.PathLike | None,
    pair_backgrounds: str | os.PathLike | None,
    pages: Sequence[str | os.PathLike],
) -> None:
    """Write the interactive page of each model of a batch, as `report_screen` writes that of a screen.

    Parameters
    ----------
    screen : str
        Its name.
    models : sequence of str
        Of the batch, in the order of `pages`.
    failed, effects, backgrounds, profiles : path
        What `summarize_batch` wrote.
    baselines : sequence of path
        Predictions on the backgrounds.
    motifs : sequence of path
        Tables of the collections.
    provenance : mapping
        The record of the screen's part that is of the batch.
    functions : path or None
        What functions beside predict gave before and after every insert, where the screen asks for any.
    pairs, arrangements, pair_backgrounds : path or None
        Tables of `score_screen_pairs`, where pairs were judged.
    pages : sequence of path
        HTML to write.

    Raises
    ------
    MarginomeError
        A model failed.
    """
    stop_on_failures(read_json(failed))
    unsigned = unsigned_measures(backgrounds)
    matrices = pd.concat([read_motif_matrices(path) for path in motifs], ignore_index=True)
    before = read_baselines(baselines)
    tables = {model: _rows(effects, model) for model in models}
    judged = None if pairs is None else [read_table(path) for path in (pairs, arrangements, pair_backgrounds)]
    with ExitStack() as stack:
        means = stack.enter_context(read_hdf5(profiles))
        attributed = None if functions is None else stack.enter_context(read_hdf5(functions))
        for model, page in zip(models, pages, strict=True):
            table, of_model = tables[model], narrowed(provenance, {model}, provenance["result_sha256"])
            packed = write_report(
                page,
                effects=table,
                motifs=matrices,
                per_background=single_effects(backgrounds, table),
                baseline={key: values for key, values in before.items() if key[0] == model},
                profiles=read_profiles(means, table),
                attributions=[] if attributed is None else read_attributions(attributed, table, where=str(functions)),
                pairs=None if judged is None else JudgedPairs(*(some[some["model"] == model] for some in judged)),
                unsigned=unsigned,
                provenance=of_model,
                commands=[provenance["command"]],
                methods=methods_paragraph(of_model),
                title=f"{model}, screen {screen}",
                name=f"{screen}.{model}",
                overview="../../atlas.html",
                overview_title="Atlas",
                detail_bytes=DETAIL_BYTES,
            )
            log.info("%s: %s, %.1f MB, %d rows", model, page, packed.bytes / 1e6, packed.rows)


def _rows(effects: str | os.PathLike, model: str) -> pd.DataFrame:
    """Return the rows of a model, without columns that do not apply to it."""
    found = [some for group in read_row_groups(effects) if (some := group.filter(pc.field("model") == model)).num_rows]
    if not found:
        raise damaged(effects, f"it has no rows of model '{model}'")
    table = pa.concat_tables(found).to_pandas()
    empty = [c.name for c in EFFECTS if not c.required and c.name in table and table[c.name].isna().all()]
    return table.drop(columns=empty)
