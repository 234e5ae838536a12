"""The page of a screen."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack

import h5py
import numpy as np
import pandas as pd

from marginome.arrays import group_of, plain_name, read_hdf5
from marginome.placing import insert_ids
from marginome.report.screen import AttributionLogos, JudgedPairs, methods_paragraph, write_report
from marginome.results import (
    combinations,
    read_baselines,
    read_motif_matrices,
    read_profiles,
    single_effects,
    unsigned_measures,
)
from marginome.storage import damaged, read_json, read_table
from marginome.tables import read_effects

log = logging.getLogger("marginome")


def report_screen(
    screen: str,
    *,
    effects: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    baselines: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    provenance: str | os.PathLike,
    functions: str | os.PathLike | None,
    pairs: str | os.PathLike | None,
    arrangements: str | os.PathLike | None,
    pair_backgrounds: str | os.PathLike | None,
    page: str | os.PathLike,
) -> None:
    """Write the interactive page of one screen.

    Parameters
    ----------
    screen : str
        Its name.
    effects, backgrounds, profiles : path
        Tables of `summarize_screen`.
    baselines : sequence of path
        Predictions on the backgrounds.
    motifs : sequence of path
        Tables of the collections.
    provenance : path
        The screen's record.
    functions : path or None
        What functions beside predict gave before and after every insert, where the screen asks for any.
    pairs, arrangements, pair_backgrounds : path or None
        Tables of `score_screen_pairs`, where pairs were judged.
    page : path
        HTML to write.
    """
    table = read_effects(effects)
    record = read_json(provenance)
    with ExitStack() as stack:
        handle = stack.enter_context(read_hdf5(profiles))
        made = None if functions is None else stack.enter_context(read_hdf5(functions))
        packed = write_report(
            page,
            effects=table,
            motifs=pd.concat([read_motif_matrices(path) for path in motifs], ignore_index=True),
            per_background=single_effects(backgrounds, table),
            baseline=read_baselines(baselines),
            profiles=read_profiles(handle, table),
            attributions=[] if made is None else read_attributions(made, table, where=str(functions)),
            pairs=None if pairs is None else JudgedPairs(*map(read_table, (pairs, arrangements, pair_backgrounds))),
            unsigned=unsigned_measures(backgrounds),
            provenance=record,
            commands=[record["command"]],
            methods=methods_paragraph(record),
            title=f"Screen {screen}",
            name=screen,
            overview="../../index.html",
        )
    log.info("%s: %.1f MB, %d rows, %d inserts, %d profiles, %d attributions", page, packed.bytes / 1e6, packed.rows,
             packed.inserts, packed.profiles, packed.attributions)  # fmt: skip


def read_attributions(handle: h5py.File, table: pd.DataFrame, *, where: str) -> list[AttributionLogos]:
    """Return the attributions of an open functions.h5, tied to rows of the effect table.

    Of a screen of pairs the file may hold some inserts only, the best arrangements; of a model those that are its own.

    A function of the user's that gives another shape than attributions (a number, say) is left to the file.

    Parameters
    ----------
    handle : h5py.File
        What `merge_functions` wrote.
    table : pandas.DataFrame
        The effect table of the same screen.
    where : str
        For messages.

    Returns
    -------
    list of AttributionLogos
        One per model, background set, function and target, the functions in the config's order.
    """
    keys = ["motif_id", "orientation", "start", "insert"]
    listed = pd.DataFrame({k: handle[f"inserts/{k}"].asstr()[...] if k != "start" else handle["inserts/start"][...]
                           for k in keys})  # fmt: skip
    size = int(handle.attrs["window"])
    first = (listed["start"] + listed["insert"].str.len() // 2 - size // 2).to_numpy()
    blocks = []
    some = "partner_id" in table and table["partner_id"].notna().any()
    for model, background in combinations(table):
        here = np.flatnonzero(((table["model"] == model) & (table["background"] == background)).to_numpy())
        part = table.iloc[here]
        per = max(1, part["output"].nunique())  # rows of an insert follow one another, a row per output
        heads = part.iloc[::per]
        place = np.arange(len(heads))
        if some:
            ids = handle["inserts/insert_id"].asstr()[...]
            place = pd.Index(insert_ids(heads.astype({"sample": "Int64", "gap": "Int64"}))).get_indexer(ids)
            place = place[place >= 0]
            heads = heads.iloc[place]
        if len(heads) != len(listed) or not all(np.array_equal(heads[k], listed[k]) for k in keys):
            raise damaged(where, "it holds other inserts than the effect table")
        outputs, units = part["output"].iloc[:per].tolist(), part["unit"].iloc[:per].tolist()
        for function, targets in handle.get(group_of(model, background), {}).items():
            function = plain_name(function)
            for step, made in targets.items():
                target = plain_name(step)
                if made["after"].shape[1:] != (4, size):
                    log.info("%s of %s has shape %s: not drawn", function, target, made["after"].shape[1:])
                    continue
                at = outputs.index(target) if target in outputs else 0
                unit = units[at] if target in outputs and pd.notna(units[at]) else ""
                before, after, tied, begins = made["before"], made["after"], here[place * per + at], first
                if some:
                    mine = np.isfinite(after[...]).any(axis=(1, 2))
                    before, after, tied, begins = before[mine], after[mine], tied[mine], begins[mine]
                blocks.append(AttributionLogos(tied, before, after, begins, target, function, unit))
    return blocks
