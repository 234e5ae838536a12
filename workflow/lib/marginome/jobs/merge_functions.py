"""What functions gave before and after every insert, merged over shards and drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import pandas as pd

from marginome import figures
from marginome.arrays import dataset, fill, group_of, plain_name, read_hdf5, write_hdf5
from marginome.functions import window_of
from marginome.plots import save_figure
from marginome.shards import share_of_shard
from marginome.storage import damaged, disagreeing, read_table


def merge_functions(
    screen: Mapping[str, Any],
    *,
    inserts: str | os.PathLike,
    effects: str | os.PathLike,
    before: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    top: int,
    output: str | os.PathLike,
    figure: str | os.PathLike,
) -> None:
    """Merge what the functions gave before and after every insert, and draw the strongest motifs' logos.

    Parameters
    ----------
    screen : mapping
        ``models``, ``backgrounds``, ``function_settings`` of the entry.
    inserts, effects : path
        The canonical list, and the effect table: its strongest motifs are drawn.
    before, shards : sequence of path
        In the order of models, then background sets(, then shards).
    top : int
        Motifs drawn, at most 8.
    output : path
        HDF5: ``<model>/<background>/<function>/<target>/{before,after,before_sd,after_sd}`` (names as `hdf5_name`
        writes them), inserts by (4, window) for attributions of the bases that are there (mean over backgrounds; NaN
        beyond the sequence's ends), or of the user function's shape;
        ``inserts/{insert_id,motif_id,motif_name,orientation,start,insert}``. The middle of the insert is at column
        ``window // 2``.
    figure : path
        SVG.
    """
    table = read_table(inserts)
    motif = table[table["role"] == "motif"]
    pairs = [(m, b) for m in screen["models"] for b in screen["backgrounds"]]
    per = len(shards) // len(pairs)
    text = h5py.string_dtype()
    with write_hdf5(output, {"screen": dict(screen)}) as target:
        for column in ("insert_id", "motif_id", "motif_name", "orientation", "insert"):
            target.create_dataset(f"inserts/{column}", data=motif[column].astype(str).to_numpy(object), dtype=text)
        dataset(target, "inserts/start", data=motif["start"].to_numpy(np.int64), unit="bp")
        for i, (model, background) in enumerate(pairs):
            _merge_part(target, group_of(model, background), before[i], shards[i * per : (i + 1) * per], motif)
    with read_hdf5(output) as made:
        save_figure(_figure(made, motif, read_table(effects), pairs[0], min(top, 8)), figure)


def _merge_part(
    target: h5py.File,
    group: str,
    before: str | os.PathLike,
    shards: Sequence[str | os.PathLike],
    motif: pd.DataFrame,
) -> None:
    done, size = 0, None
    with read_hdf5(before) as base:
        for number, path in enumerate(shards, start=1):
            with read_hdf5(path) as source:
                rows = source["rows"][...]
                if not np.array_equal(rows, share_of_shard(motif.index.to_numpy(), number, len(shards))):
                    raise damaged(path, f"it holds {len(rows)} inserts that are not its share of {len(motif)}")
                if size not in (None, int(source.attrs["window"])):
                    raise disagreeing(shards, "the shards have windows of different width")
                size = int(source.attrs["window"])
                target.attrs["window"] = size
                for function in source:
                    if not isinstance(source[function], h5py.Group):
                        continue
                    for name in source[function]:
                        if function not in base or name not in base[function]:
                            raise disagreeing([before, *shards], "they are of different functions or targets")
                        made = target.require_group(f"{group}/{function}/{name}")
                        for label, suffix in (("mean", ""), ("sd", "_sd")):
                            after = source[function][name][label]
                            whole = base[function][name][label][...]
                            for side in ("before", "after"):
                                if side + suffix not in made:
                                    shape = (len(motif), *after.shape[1:])
                                    dataset(made, side + suffix, shape=shape, dtype="f4", chunks=(1, *after.shape[1:]))
                            fill(made["after" + suffix], slice(done, done + len(rows)), after[...])
                            befores = made["before" + suffix]
                            for k in range(len(rows)):
                                values = _before(whole, motif.iloc[done + k], size, after.shape[1:])
                                befores[done + k] = values
                            befores.flush()
                done += len(rows)


def _before(whole: np.ndarray, row: pd.Series, size: int, shape: tuple) -> np.ndarray:
    """The backgrounds' own values in the insert's window; as they are where the function is the user's own shape."""
    if tuple(shape) != (4, size):
        return whole
    first, last, column = window_of(int(row["start"]), len(row["insert"]), size, whole.shape[1])
    padded = np.full((4, size), np.nan, dtype=np.float32)
    padded[:, column : column + last - first] = whole[:, first:last]
    return padded


def _figure(made: h5py.File, motif: pd.DataFrame, effects: pd.DataFrame, pair: tuple[str, str], top: int) -> Any:
    """Logos of the strongest motifs of the first model and background set, of the first function that attributes."""
    size = int(made.attrs["window"])
    part = made.get(group_of(*pair), {})
    drawn = [(f, name) for f in part for name in part[f] if part[f][name]["after"].shape[1:] == (4, size)]
    if not drawn:
        return figures.attributions_figure(pd.DataFrame(), np.zeros((0, 4, size)), np.zeros((0, 4, size)))
    function, name = drawn[0]
    values = part[function][name]
    function, name = plain_name(function), plain_name(name)
    mine = effects[(effects["model"] == pair[0]) & (effects["background"] == pair[1])]
    mine = mine[mine["output"] == name] if (mine["output"] == name).any() else mine
    keys = ["collection", "motif_id", "orientation", "start"]
    strength = mine.groupby(keys)["effect"].first()
    listed = motif.reset_index(drop=True)
    listed["effect"] = strength.reindex(pd.MultiIndex.from_frame(listed[keys])).to_numpy()
    order = listed["effect"].abs().sort_values(ascending=False, kind="stable").index
    rows = listed.loc[order].drop_duplicates("motif_id").head(top).index.to_numpy()
    unit = mine["unit"].iloc[0] if len(mine) and pd.notna(mine["unit"].iloc[0]) else ""
    return figures.attributions_figure(
        listed.loc[rows],
        np.stack([values["before"][i] for i in rows]),
        np.stack([values["after"][i] for i in rows]),
        what=f"{figures.METHODS.get(function, function)} of {name} in {pair[1]}",
        unit=str(unit),
    )
