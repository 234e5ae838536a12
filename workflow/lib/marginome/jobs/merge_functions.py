"""What functions gave before and after every insert, merged over shards and drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from marginome.arrays import dataset, group_of, plain_name, read_hdf5, write_hdf5
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
        The insert lists; or what of them the functions were applied to, batch by batch, then list by list.
    effects : path
        The effect table: its strongest motifs are drawn.
    before, shards : sequence of path
        In the order of batches, then background sets(, then lists, then shards).
    top : int
        Motifs drawn, at most 8.
    output : path
        HDF5: ``<model>/<background>/<function>/<target>/{before,after,before_sd,after_sd}`` (names as `hdf5_name`
        writes them), inserts by (4, window) for attributions of the bases that are there (mean over backgrounds; NaN
        beyond the sequence's ends, beyond what was computed for a list whose widest insert is narrower, and of an
        insert that the functions were not applied to in that model), or of the user function's shape;
        ``inserts/{insert_id,motif_id,motif_name,orientation,start,insert}``. The middle of the insert is at column
        ``window // 2``.
    figure : path
        SVG.
    """
    with read_hdf5(before[0]) as handle:
        length = int(handle.attrs["length_bp"])
    n, of_batch = len(screen["shards"]), list(screen["batches"].values())
    tables = [read_inserts(path, length) for path in inserts]
    tables = [table[table["role"] == "motif"] for table in tables]
    motif, places = _united([tables[i : i + n] for i in range(0, len(tables), n)])
    tables, places = (some * (len(of_batch) * n // len(some)) for some in (tables, places))
    pairs = [(i, b) for i in range(len(of_batch)) for b in screen["backgrounds"]]
    per = len(shards) // len(pairs)
    parts = [
        _Part(model, background, before[k], shards[k * per : (k + 1) * per], tables[i * n : (i + 1) * n],
              places[i * n : (i + 1) * n], screen["shards"])
        for k, (i, background) in enumerate(pairs)
        for model in of_batch[i]
    ]  # fmt: skip
    text = h5py.string_dtype()
    with write_hdf5(output, {"screen": dict(screen)}) as target:
        for column in ("insert_id", "motif_id", "motif_name", "orientation", "insert"):
            target.create_dataset(f"inserts/{column}", data=motif[column].astype(str).to_numpy(object), dtype=text)
        dataset(target, "inserts/start", data=motif["start"].to_numpy(np.int64), unit="bp")
        target.attrs["window"] = max(size for part in parts for size in _windows(part))
        for part in parts:
            _merge_part(target, part, motif)
    first = (next(iter(screen["batches"].values()))[0], screen["backgrounds"][0])
    with read_hdf5(output) as made:
        save_figure(_figure(made, motif, read_table(effects), first, min(top, 8)), figure)


class _Part(NamedTuple):
    """Files of one model and background set: of the backgrounds, and shards list by list."""

    model: str
    background: str
    before: str | os.PathLike
    shards: Sequence[str | os.PathLike]
    lists: Sequence[pd.DataFrame]
    places: Sequence[np.ndarray]  # of the rows of each list among all inserts
    counts: Sequence[int]


def _united(batches: Sequence[Sequence[pd.DataFrame]]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """All inserts, list by list, each once, and where the rows of each batch's lists are: batches may have others."""
    if len(batches) == 1:
        motif = pd.concat(batches[0], ignore_index=True)
        return motif, np.split(np.arange(len(motif)), np.cumsum([len(table) for table in batches[0]])[:-1])
    key = [name for name in ("insert_id", "position") if name in batches[0][0]]
    motif = pd.concat([pd.concat(one).drop_duplicates(key) for one in zip(*batches)], ignore_index=True)
    known = pd.MultiIndex.from_frame(motif[key])
    return motif, [known.get_indexer(pd.MultiIndex.from_frame(table[key])) for one in batches for table in one]


def _merge_part(target: h5py.File, part: _Part, motif: pd.DataFrame) -> None:
    size, group, done = int(target.attrs["window"]), group_of(part.model, part.background), 0
    with read_hdf5(part.before) as handle:
        base = part_of(handle, part.model)
        for listed, places, count in zip(part.lists, part.places, part.counts):
            for number, path in enumerate(part.shards[done : done + count], start=1):
                with read_hdf5(path) as shard:
                    source = part_of(shard, part.model)
                    rows = source["rows"][...]
                    if not np.array_equal(rows, share_of_shard(listed.index.to_numpy(), number, count)):
                        raise damaged(path, f"it holds {len(rows)} inserts that are not its share of {len(listed)}")
                    here = places[np.searchsorted(listed.index, rows)]
                    for function in source:
                        if not isinstance(source[function], h5py.Group):
                            continue
                        for name in source[function]:
                            if function not in base or name not in base[function]:
                                raise disagreeing(
                                    [part.before, *part.shards], "they are of different functions or targets"
                                )
                            made = target.require_group(f"{group}/{function}/{name}")
                            _copy(made, source[function][name], base[function][name], motif, here,
                                  int(source.attrs["window"]), size)  # fmt: skip
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
    places: np.ndarray,
    narrow: int,
    size: int,
) -> None:
    """Copy what one function gave for one target in a shard to its inserts' places: mean and sd, before and after."""
    for label, suffix in (("mean", ""), ("sd", "_sd")):
        values, background = after[label][...], whole[label][...]
        if values.shape[1:] == (4, narrow):  # as wide as the widest insert of its own list asks for
            wide = np.full((len(values), 4, size), np.nan, dtype=np.float32)
            first = size // 2 - narrow // 2
            wide[:, :, first : first + narrow] = values
            values = wide
        for side in ("before", "after"):
            if side + suffix not in made:
                shape = (len(motif), *values.shape[1:])
                dataset(made, side + suffix, shape=shape, dtype="f4", chunks=(1, *values.shape[1:]))
        befores, afters = made["before" + suffix], made["after" + suffix]
        for place, value in zip(places, values):
            afters[place] = value
            befores[place] = _before(background, motif.iloc[place], size, values.shape[1:])
        for written in (afters, befores):
            written.flush()


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
    listed = motif.copy()
    listed["effect"] = strength.reindex(pd.MultiIndex.from_frame(listed[keys])).to_numpy()
    order = listed["effect"].abs().sort_values(ascending=False, kind="stable").index
    chosen: dict[str, int] = {}
    for row in order:
        if len(chosen) == top:
            break
        if listed.at[row, "motif_id"] not in chosen and np.isfinite(values["after"][row]).any():
            chosen[listed.at[row, "motif_id"]] = row
    rows = list(chosen.values())
    unit = mine["unit"].iloc[0] if len(mine) and pd.notna(mine["unit"].iloc[0]) else ""
    return attributions_figure(
        listed.loc[rows],
        np.stack([values["before"][i] for i in rows]),
        np.stack([values["after"][i] for i in rows]),
        what=f"{ATTRIBUTIONS.get(function, function)} of {name} in {pair[1]}",
        unit=str(unit),
    )
