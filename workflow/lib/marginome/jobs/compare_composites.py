"""What composites of motifs do beside the sum of their motifs: from the shards, a table and a figure."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd

from marginome.columns import conform
from marginome.confidence import mean_interval
from marginome.figures.composites import composite_figure
from marginome.figures.shared import nothing
from marginome.interactions import beside_sum
from marginome.jobs.screen_parts import screen_parts
from marginome.jobs.summarize_batch import Part, kept_effects
from marginome.pair_tables import COMPOSITES
from marginome.plots import save_figure
from marginome.seams import seam_sites
from marginome.storage import write_table

log = logging.getLogger("marginome")


def compare_composites(
    screen: Mapping[str, Any],
    *,
    batches: Sequence[Sequence[str]],
    inserts: Sequence[str | os.PathLike],
    families: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    baselines: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    table: str | os.PathLike,
    figure: str | os.PathLike,
) -> None:
    """Compare the composites of every model, background set and signed output with the sum of their motifs alone.

    Parameters
    ----------
    screen, batches, inserts, families, motifs, baselines, shards
        See `marginome.jobs.screen_parts.screen_parts`.
    table : path
        Parquet to write: the columns of `marginome.pair_tables.COMPOSITES`.
    figure : path
        SVG to write.
    """
    found: list[pd.DataFrame] = []
    for one in screen_parts(
        screen, _described, batches=batches, inserts=inserts, families=families, motifs=motifs, baselines=baselines,
        shards=shards,
    ):  # fmt: skip
        found += [rows.assign(model=one.model, background=one.background)
                  for rows in _of_list(one.table, one.part, one.described, one.model)]  # fmt: skip
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    write_table(table, conform(rows, COMPOSITES, name=str(table)))
    save_figure(composite_figure(rows) if found else nothing("no output has a scale on which effects add up"), figure)
    for (model, background, output), part in rows.groupby(["model", "background", "output"]) if found else ():
        most = part.loc[part["beyond"].abs().idxmax()]
        log.info("%s, %s, %s: %d composites; farthest from the sum %s, %.3g where its motifs add up to %.3g", model,
                 background, output, len(part), most["motif_name"], most["effect"], most["additive"])  # fmt: skip


def _described(table: pd.DataFrame, motifs: Sequence) -> pd.DataFrame:
    """What the composites of an insert list are, whatever a model says of them."""
    some = table[table["parts"].notna()]
    starts, widths = table["start"].to_numpy(), table["insert"].str.len().to_numpy()
    sequences, strands = (table[name].to_numpy(object) for name in ("insert", "orientation"))
    of_part = [np.asarray(parts, dtype=np.int64) for parts in some["parts"]]
    gaps = [(starts[rows[1:]] - starts[rows[:-1]] - widths[rows[:-1]]).tolist() for rows in of_part]
    left = [sequences[row] for rows in of_part for row in rows[:-1]]
    right = [sequences[row] for rows in of_part for row in rows[1:]]
    sites = iter(seam_sites(left, [gap for each in gaps for gap in each], right, motifs))
    names = ["collection", "entry", "motif_id", "motif_name", "insert", "sample", "start", "position"]
    return some[names].assign(
        n_motifs=[len(rows) for rows in of_part],
        orientations=["".join(strands[rows]) for rows in of_part],
        gaps=[",".join(map(str, each)) or None for each in gaps],
        seam=[next(filter(None, [next(sites) for _ in each]), None) for each in gaps],
    )


def _of_list(table: pd.DataFrame, part: Part, what: pd.DataFrame, model: str) -> list[pd.DataFrame]:
    """The composites of one list, of every signed output of one model and background set."""
    found = []
    chosen = np.flatnonzero(table["parts"].notna())
    by_background = kept_effects(part, model) if part.kept else repeat(None)
    for j, (output, singles) in enumerate(zip(part.readouts["output"], by_background)):
        if not part.readouts["signed"][j]:
            continue  # of distances, two effects do not add up to a third
        made = what.join(beside_sum(table, part.effect[:, j].astype(np.float64), singles))
        made["effect_se"] = mean_interval(part.effect[chosen, j], part.effect_sd[chosen, j], part.n_backgrounds)[0]
        found.append(made.assign(output=output, unit=part.readouts["unit"][j], n_backgrounds=part.n_backgrounds))
    return found
