"""What functions gave before and after every insert, merged over shards and drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from marginome.arrays import dataset, fill, group_of, plain_name, read_hdf5, write_hdf5
from marginome.attribution_names import ATTRIBUTIONS
from marginome.batch_files import part_of
from marginome.figures.logos import attributions_figure
from marginome.functions import window_of
from marginome.placing import read_inserts
from marginome.plots import save_figure
from marginome.shards import share_of_shard
from marginome.storage import damaged, disagreeing, read_table


def merge_functions(
    screen: Mapping[str, Any],
    *,
    inserts: Sequence[str | os.PathLike],
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
        ``batches`` (models by batch, in order), ``backgrounds``, ``shards`` (how many of each insert list, in order)
        and ``function_settings`` of the entry.
    inserts : sequence of path
        The insert lists.
    effects : path
        The effect table: its strongest motifs are drawn.
    before, shards : sequence of path
        In the order of batches, then background sets(, then lists, then shards).
    top : int
        Motifs drawn, at most 8.
    output : path
        HDF5: ``<model>/<background>/<function>/<target>/{before,after,before_sd,after_sd}`` (names as `hdf5_name`
        writes them), inserts by (4, window) for attributions of the bases that are there (mean over backgrounds; NaN
        beyond the sequence's ends and beyond what was computed for a list whose widest insert is narrower), or of the
        user function's shape; ``inserts/{insert_id,motif_id,motif_name,orientation,start,insert}``. The middle of the
        insert is at column ``window // 2``.
    figure : path
        SVG.
    """
    with read_hdf5(before[0]) as handle:
        length = int(handle.attrs["length_bp"])
    tables = [read_inserts(path, length) for path in inserts]
    lists = [table[table["role"] == "motif"] for table in tables]
    motif = pd.concat(lists)
    pairs = [(batch, b) for batch in screen["batches"].values() for b in screen["backgrounds"]]
    per = len(shards) // len(pairs)
    text = h5py.string_dtype()
    with write_hdf5(output, {"screen": dict(screen)}) as target:
        for column in ("insert_id", "motif_id", "motif_name", "orientation", "insert"):
            target.create_dataset(f"inserts/{column}", data=motif[column].astype(str).to_numpy(object), dtype=text)
        dataset(target, "inserts/start", data=motif["start"].to_numpy(np.int64), unit="bp")
        for i, (models, background) in enumerate(pairs):
            for model in models:
                part = _Part(model, before[i], shards[i * per : (i + 1) * per], lists, screen["shards"])
                _merge_part(target, group_of(model, background), part)
    first = (next(iter(screen["batches"].values()))[0], screen["backgrounds"][0])
    with read_hdf5(output) as made:
        save_figure(_figure(made, motif, read_table(effects), first, min(top, 8)), figure)


class _Part(NamedTuple):
    """Files of one model and background set: of the backgrounds, and shards list by list."""

    model: str
    before: str | os.PathLike
    shards: Sequence[str | os.PathLike]
    lists: Sequence[pd.DataFrame]
    counts: Sequence[int]


def _merge_part(target: h5py.File, group: str, part: _Part) -> None:
    total, done, above = sum(map(len, part.lists)), 0, 0
    size = max(_windows(part))
    if target.attrs.get("window", size) != size:
        raise disagreeing(part.shards, "the shards have windows of different width")
    target.attrs["window"] = size
    with read_hdf5(part.before) as handle:
        base = part_of(handle, part.model)
        for motif, count in zip(part.lists, part.counts):
            for number, path in enumerate(part.shards[done : done + count], start=1):
                with read_hdf5(path) as shard:
                    source = part_of(shard, part.model)
                    rows = source["rows"][...]
                    if not np.array_equal(rows, share_of_shard(motif.index.to_numpy(), number, count)):
                        raise damaged(path, f"it holds {len(rows)} inserts that are not its share of {len(motif)}")
                    for function in source:
                        if not isinstance(source[function], h5py.Group):
                            continue
                        for name in source[function]:
                            if function not in base or name not in base[function]:
                                raise disagreeing(
                                    [part.before, *part.shards], "they are of different functions or targets"
                                )
                            made = target.require_group(f"{group}/{function}/{name}")
                            _copy(made, source[function][name], base[function][name], motif.loc[rows], above, total,
                                  int(source.attrs["window"]), size)  # fmt: skip
                above += len(rows)
            done += count


def _windows(part: _Part) -> list[int]:
    """The width of the window of each list; all of its shards have it."""
    found, done = [], 0
    for count in part.counts:
        widths = set()
        for path in part.shards[done : done + count]:
            with read_hdf5(path) as shard:
                widths.add(int(part_of(shard, part.model).attrs["window"]))
        if len(widths) > 1:
            raise disagreeing(part.shards, "the shards have windows of different width")
        found += widths
        done += count
    return found


def _copy(
    made: h5py.Group,
    after: h5py.Group,
    whole: h5py.Group,
    motif: pd.DataFrame,
    above: int,
    total: int,
    narrow: int,
    size: int,
) -> None:
    """Copy what one function gave for one target in a shard: mean and standard deviation, before and after."""
    for label, suffix in (("mean", ""), ("sd", "_sd")):
        values, background = after[label][...], whole[label][...]
        if values.shape[1:] == (4, narrow):  # as wide as the widest insert of its own list asks for
            wide = np.full((len(values), 4, size), np.nan, dtype=np.float32)
            first = size // 2 - narrow // 2
            wide[:, :, first : first + narrow] = values
            values = wide
        for side in ("before", "after"):
            if side + suffix not in made:
                shape = (total, *values.shape[1:])
                dataset(made, side + suffix, shape=shape, dtype="f4", chunks=(1, *values.shape[1:]))
        fill(made["after" + suffix], slice(above, above + len(values)), values)
        befores = made["before" + suffix]
        for k in range(len(values)):
            befores[above + k] = _before(background, motif.iloc[k], size, values.shape[1:])
        befores.flush()


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
        return attributions_figure(pd.DataFrame(), np.zeros((0, 4, size)), np.zeros((0, 4, size)))
    function, name = drawn[0]
    values = part[function][name]
    function, name = plain_name(function), plain_name(name)
    mine = effects[(effects["model"] == pair[0]) & (effects["background"] == pair[1])]
    mine = mine[mine["output"] == name] if (mine["output"] == name).any() else mine
    keys = ["collection", "motif_id", "orientation", "start", "insert"]
    strength = mine.groupby(keys)["effect"].first()
    listed = motif.reset_index(drop=True)
    listed["effect"] = strength.reindex(pd.MultiIndex.from_frame(listed[keys])).to_numpy()
    order = listed["effect"].abs().sort_values(ascending=False, kind="stable").index
    rows = listed.loc[order].drop_duplicates("motif_id").head(top).index.to_numpy()
    unit = mine["unit"].iloc[0] if len(mine) and pd.notna(mine["unit"].iloc[0]) else ""
    return attributions_figure(
        listed.loc[rows],
        np.stack([values["before"][i] for i in rows]),
        np.stack([values["after"][i] for i in rows]),
        what=f"{ATTRIBUTIONS.get(function, function)} of {name} in {pair[1]}",
        unit=str(unit),
    )
