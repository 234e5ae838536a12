"""What a reader opens: the page of a screen, the overview of all results, and a file that says what each file is."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence

import h5py
import numpy as np
import pandas as pd

from marginome.report import Profiles, write_report
from marginome.storage import read_hdf5, read_json, read_table

log = logging.getLogger("marginome")

# Above this many values the effects of single backgrounds are left out of the page (they stay in effects.h5).
MOST_VALUES = 50_000_000


def report_screen(
    screen: str,
    *,
    effects: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    baselines: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    provenance: str | os.PathLike,
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
    page : path
        HTML to write.
    """
    table = read_table(effects)
    record = read_json(provenance)
    with read_hdf5(profiles) as handle:
        packed = write_report(
            page,
            effects=table,
            motifs=pd.concat([read_motif_matrices(path) for path in motifs], ignore_index=True),
            per_background=single_effects(backgrounds, table),
            baseline=read_baselines(baselines),
            profiles=read_profiles(handle, table),
            provenance=record,
            commands=[record["command"]],
            title=f"Screen {screen}",
            name=screen,
            overview="../../index.html",
        )
    log.info("%s: %.1f MB, %d rows, %d inserts, profiles of %d", page, packed.bytes / 1e6, packed.rows, packed.inserts,
             packed.profiles)  # fmt: skip


def read_motif_matrices(path: str | os.PathLike) -> pd.DataFrame:
    """Return ``collection, motif_id, motif_name, pwm`` with matrices of shape (4, w)."""
    table = read_table(path)[["collection", "motif_id", "motif_name", "pwm"]]
    return table.assign(pwm=[np.asarray(values).reshape(-1, 4).T for values in table["pwm"]])


def single_effects(backgrounds: str | os.PathLike, table: pd.DataFrame) -> np.ndarray | None:
    """Return the effects of single backgrounds, one row per row of the effect table, NaN where a set is smaller.

    Returns
    -------
    numpy.ndarray, float32, (rows, most backgrounds of a set), or None
        None where they were not kept, or are too many to be held in memory.
    """
    parts, most = [], 0
    with read_hdf5(backgrounds) as handle:
        for model, background in _combinations(table):
            group = handle[f"{model}/{background}"]
            if "effects" not in group:
                return None
            most = max(most, group["effects"].shape[1])
        if most * len(table) > MOST_VALUES:
            return None
        for model, background in _combinations(table):
            group = handle[f"{model}/{background}"]
            motif = group["role"].asstr()[...] == "motif"
            values = group["effects"][...][motif]  # (inserts, backgrounds, readouts)
            rows = values.transpose(0, 2, 1).reshape(-1, values.shape[1])
            padded = np.full((len(rows), most), np.nan, dtype=np.float32)
            padded[:, : rows.shape[1]] = rows
            parts.append(padded)
    return np.concatenate(parts)


def read_baselines(files: Sequence[str | os.PathLike]) -> dict[tuple[str, str, str], np.ndarray]:
    """Return (model, background, output) -> predictions on the backgrounds, of every scalar target."""
    found = {}
    for file in files:
        with read_hdf5(file) as handle:
            model = json.loads(handle.attrs["marginome"])["model"]
            background = os.path.splitext(os.path.basename(file))[0]
            for values in handle["outputs"].values():
                if values.attrs["kind"] == "scalar":
                    array = values[...]
                    for k, name in enumerate(json.loads(values.attrs["names"])):
                        found[model, background, name] = array[:, k]
    return found


def read_profiles(handle: h5py.File, table: pd.DataFrame) -> list[Profiles]:
    """Return the mean profiles of an open profiles.h5, tied to rows of the effect table."""
    blocks = []
    for model, background in _combinations(table):
        for name, group in handle.get(f"{model}/{background}", {}).items():
            if "after_probabilities" not in group:
                continue
            here = (table["model"] == model) & (table["background"] == background) & (table["output"] == name)
            after = group["after_probabilities"]
            blocks.append(
                Profiles(
                    rows=np.flatnonzero(here.to_numpy()),
                    before=group["before_probabilities"][...],
                    after=after,
                    first=int(group.attrs.get("first_bp", 0)),
                    output=name,
                )
            )
    return blocks


def _combinations(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(table[["model", "background"]].drop_duplicates().itertuples(index=False, name=None))
