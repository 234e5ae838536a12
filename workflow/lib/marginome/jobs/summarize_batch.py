"""From the shards of a batch of models to its rows: intervals, nulls, p; one background set at a time."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import special

from marginome.arrays import append, dataset, fill, group_of, hdf5_name, plain_name, read_hdf5, write_hdf5
from marginome.batch_files import FailedModelError, part_of
from marginome.columns import conform, schema_of
from marginome.confidence import mean_interval
from marginome.discoveries import TEST_SET, add_q, findings_needed
from marginome.insert_nulls import score_effects
from marginome.interactions import interaction
from marginome.placing import read_inserts
from marginome.shards import PROFILE_ROWS, whole_blocks
from marginome.storage import damaged, disagreeing, outdated, read_table, table_writer, write_json
from marginome.tables import EFFECTS, INSERT_KEYS

log = logging.getLogger("marginome")


# What all shards of a model and background set were made with.
_ALIKE = ("model", "model_files", "precision", "block")


class InsertList(NamedTuple):
    """An insert list, placed in the sequences of the background sets.

    Attributes
    ----------
    table : pandas.DataFrame
        Inserts and controls in the canonical order, with their starts.
    motif : numpy.ndarray
        Which rows are inserts, bool.
    named : pandas.DataFrame
        The inserts with the family of their motif.
    shards : int
        In how many parts it was computed.
    """

    table: pd.DataFrame
    motif: np.ndarray
    named: pd.DataFrame
    shards: int


class Part(NamedTuple):
    """The results of all shards of one model, background set and insert list, in the canonical order of inserts."""

    files: Sequence[str | os.PathLike]
    readouts: Mapping[str, list]
    effect: np.ndarray
    effect_sd: np.ndarray
    sign_consistency: np.ndarray
    after_mean: np.ndarray
    fold_sd: np.ndarray | None
    n_backgrounds: int
    engine: str
    precision: str
    kept: bool


def summarize_batch(
    screen: Mapping[str, Any],
    *,
    models: Sequence[str],
    inserts: Sequence[str | os.PathLike],
    families: Sequence[str | os.PathLike],
    baselines: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    effects: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    failed: str | os.PathLike,
) -> None:
    """Merge the shards of a batch of models: everything of a row that no other model and no other list decides.

    Parameters
    ----------
    screen : mapping
        ``backgrounds`` (names) and ``shards`` (how many of each insert list, in order).
    models : sequence of str
        Of the batch.
    inserts, families : sequence of path
        The insert lists, and the families of their motifs.
    baselines : sequence of path
        In the order of background sets.
    shards : sequence of path
        In the order of background sets, then lists, then shards.
    effects : path
        Parquet to write: the columns of `marginome.tables.EFFECTS`, all of them, null where they do not apply; a row
        group for each model and background set.
    backgrounds : path
        HDF5: the effect of every single background, ``<model>/<background>/effects``.
    profiles : path
        HDF5: mean profiles before and after, ``<model>/<background>/<output>/...``.
    failed : path
        JSON: why models have no result, by model.
    """
    reasons: dict[str, str] = {}
    with table_writer(effects, BATCH_SCHEMA) as writer:
        for rows in summarized(screen, models=models, inserts=inserts, families=families, baselines=baselines,
                               shards=shards, backgrounds=backgrounds, profiles=profiles, reasons=reasons):  # fmt: skip
            writer.write_table(rows, row_group_size=max(1, rows.num_rows))
    write_json(failed, reasons)


def summarized(
    screen: Mapping[str, Any],
    *,
    models: Sequence[str],
    inserts: Sequence[str | os.PathLike],
    families: Sequence[str | os.PathLike],
    baselines: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    reasons: dict[str, str],
) -> Iterator[pa.Table]:
    """Yield the rows of each model and background set of a batch (`BATCH_SCHEMA`), and write what is not a row.

    Parameters
    ----------
    screen, models, inserts, families, baselines, shards, backgrounds, profiles
        As `summarize_batch` takes them.
    reasons : dict
        Gets why models have no result, by model.
    """
    with write_hdf5(backgrounds) as singles, write_hdf5(profiles) as means:
        lists: dict[int, list[InsertList]] = {}
        per = len(shards) // len(screen["backgrounds"])
        for model in models:
            try:
                for i, background in enumerate(screen["backgrounds"]):
                    with read_hdf5(baselines[i]) as handle:
                        length, n = int(handle.attrs["length_bp"]), len(handle["ids"])
                        if length not in lists:
                            lists[length] = read_lists(inserts, families, screen["shards"], length)
                        parts = read_parts(shards[i * per : (i + 1) * per], lists[length], model, n)
                        rows = _summarize(lists[length], parts, handle, singles, means, model, background)
                    found = _with_q(pa.concat_tables([conform_batch(part) for part in rows]))
                    _tell(found)
                    yield found
            except FailedModelError as error:
                reasons[model] = str(error)
                log.error("%s", error)


BATCH_SCHEMA = schema_of(EFFECTS)


def conform_batch(rows: pd.DataFrame) -> pa.Table:
    """Bring rows to `BATCH_SCHEMA`, null where a column does not apply."""
    known = conform(rows, EFFECTS, name="effects of a batch")
    columns = [
        known[field.name] if field.name in known.schema.names else pa.nulls(known.num_rows, field.type)
        for field in BATCH_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=BATCH_SCHEMA)


def _with_q(rows: pa.Table) -> pa.Table:
    """Add the q of one model and background set, over all lists."""
    if rows["p"].null_count == len(rows):
        return rows
    tested = rows.select([*TEST_SET, "insert", "p", "p_resolution"]).to_pandas()
    place = rows.schema.get_field_index("q")
    return rows.set_column(place, rows.field(place), pa.array(add_q(tested)["q"], from_pandas=True))


def _tell(rows: pa.Table) -> None:
    """Log the largest effect, and what the number of controls allows where that is not enough.

    Not enough to find an insert that stands alone; of the output that needs most: a distance, tested on one side, needs
    half as many.
    """
    names = ("model", "background", "output", "position", "motif_id", "motif_name", "orientation", "insert", "effect")
    table = rows.select([*names, "n_controls", "p", "p_resolution", "q"]).to_pandas()
    first = table[table["output"] == table["output"].iloc[0]]
    best = first.loc[first["effect"].abs().idxmax()]
    q = f", q {best['q']:.2g}" if pd.notna(best["q"]) else ""
    log.info("%s, %s, %s: %d rows; largest effect %s (%s) %s %.4g%s", best["model"], best["background"], best["output"],
             len(first), best["motif_name"], best["motif_id"], best["orientation"], best["effect"], q)  # fmt: skip
    tested = table[table["p"].notna()]
    if tested.empty:
        return
    worst = tested.loc[tested["p_resolution"].idxmax()]
    one = tested[(tested["output"] == worst["output"]) & (tested["position"] == worst["position"])]
    tests, least = one["insert"].nunique(), findings_needed(one["insert"].nunique(), worst["p_resolution"])
    if least > 1:
        log.info("%s: %d controls reach to p %.2g, q <= 0.05 takes %d of %d inserts that do more than all of them",
                 worst["output"], worst["n_controls"], worst["p_resolution"], least, tests)  # fmt: skip


def read_lists(
    inserts: Sequence[str | os.PathLike], families: Sequence[str | os.PathLike], shards: Sequence[int], length: int
) -> list[InsertList]:
    """Read the insert lists of a screen, placed in sequences of a length (bp)."""
    found = []
    for path, grouped, count in zip(inserts, families, shards, strict=True):
        table = read_inserts(path, length)
        motif = (table["role"] == "motif").to_numpy()
        named = table.loc[motif].merge(
            read_table(grouped)[["collection", "motif_id", "family", "family_representative"]],
            on=["collection", "motif_id"], how="left", validate="many_to_one",
        )  # fmt: skip
        found.append(InsertList(table, motif, named, count))
    return found


def _summarize(
    lists: Sequence[InsertList],
    parts: Sequence[Part],
    baseline: h5py.File,
    singles: h5py.File,
    means: h5py.File,
    model: str,
    background: str,
) -> list[pd.DataFrame]:
    """Rows of one model and background set, list by list; effects of single backgrounds and profiles go to files."""
    group = group_of(model, background)
    tables = [listed.table for listed in lists]
    _copy_singles(singles, group, tables, parts, model)
    before, places = _copy_profiles(baseline, means, group, tables, parts, model)
    rows = []
    for listed, part, place in zip(lists, parts, places):
        rows.append(_rows(listed, part, before, place, model=model, background=background))
        if listed.named["partner_id"].notna().any():
            rows[-1] = _with_interaction(rows[-1], part, listed.motif, model)
    return rows


def read_parts(
    files: Sequence[str | os.PathLike], lists: Sequence[InsertList], model: str, n_backgrounds: int
) -> list[Part]:
    """Put the shards of one model and background set together and check that every insert is there once.

    A shard that is not what its place and the baseline ask for is removed; of shards that disagree about what neither
    says, none can be called wrong, and all are.
    """
    found, first, done = [], None, 0
    for listed in lists:
        mine = files[done : done + listed.shards]
        done += listed.shards
        columns: dict[str, list] = {
            name: [] for name in ("rows", "effect", "effect_sd", "sign_consistency", "after_mean")
        }
        folds, engines, kept = [], set(), set()
        for number, file in enumerate(mine, start=1):
            with read_hdf5(file) as handle:
                group = part_of(handle, model)
                for name, parts in columns.items():
                    parts.append(group[name][...])
                if "effect_fold_sd" in group:
                    folds.append(group["effect_fold_sd"][...])
                readouts = json.loads(group.attrs["readouts"])
                n, single = int(group.attrs["n_backgrounds"]), "effects" in group
                engine, metadata = json.loads(group.attrs["engine"]), json.loads(group.attrs["marginome"])
            engines |= {engine["path"]} if len(columns["rows"][-1]) else set()
            kept.add(single)
            if n != n_backgrounds:
                raise damaged(file, f"it is of {n} backgrounds, the baseline of {n_backgrounds}")
            share = whole_blocks(len(listed.table), metadata["block"], number, len(mine))
            if not np.array_equal(columns["rows"][-1], np.concatenate([np.r_[part] for part in share] or [[]])):
                raise damaged(file, f"its {len(columns['rows'][-1])} inserts are not its share of {len(listed.table)}")
            made = {"readouts": readouts} | {key: metadata.get(key) for key in _ALIKE}
            first = first or made
            differing = [key for key, value in made.items() if value != first[key]]
            if len(kept) > 1:
                differing.append("effects of single backgrounds")
            if differing:
                raise disagreeing(files, f"the shards differ in {', '.join(differing)}")
        merged = {name: np.concatenate(parts) for name, parts in columns.items()}
        found.append(
            Part(
                mine, first["readouts"], merged["effect"], merged["effect_sd"], merged["sign_consistency"],
                merged["after_mean"], np.concatenate(folds) if folds else None, n_backgrounds,
                "+".join(sorted(engines)), first["precision"], kept == {True},
            )
        )  # fmt: skip
    return found


def _copy_singles(
    target: h5py.File, group: str, tables: Sequence[pd.DataFrame], parts: Sequence[Part], model: str
) -> None:
    """Copy the effects of single backgrounds, list by list and shard by shard; say so where they were not kept."""
    made = target.require_group(group)
    made.attrs["readouts"] = json.dumps(parts[0].readouts)
    total, above = sum(map(len, tables)), 0
    for table, part in zip(tables, parts):
        for file in part.files if all(part.kept for part in parts) else ():
            with read_hdf5(file) as handle:
                source = part_of(handle, model)["effects"]
                if "effects" not in made:
                    shape = (total, *source.shape[1:])
                    chunks = (min(16, total), source.shape[1], min(64, source.shape[2]))
                    dataset(made, "effects", shape=shape, dtype="f4", chunks=chunks)
                rows = part_of(handle, model)["rows"][...]
                for i in range(0, len(rows), 256):
                    fill(made["effects"], above + rows[i : i + 256], source[i : i + 256])
        above += len(table)
    if "effects" not in made:
        made.attrs["note"] = "larger than keep.backgrounds_mb of the config: not kept"
    text = h5py.string_dtype()
    for column in ("insert_id", "role"):
        values = np.concatenate([table[column].to_numpy(object) for table in tables])
        dataset(made, column, data=values, dtype=text)


def _copy_profiles(
    baseline: h5py.File,
    target: h5py.File,
    group: str,
    tables: Sequence[pd.DataFrame],
    parts: Sequence[Part],
    model: str,
) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Copy mean profiles; return the mean scalars before, and list by list where inserts change profiles most."""
    readouts = parts[0].readouts
    before = np.full(len(readouts["output"]), np.nan)
    places: list[dict[str, np.ndarray]] = [{} for _ in parts]
    for step, values in part_of(baseline, model)["outputs"].items():
        name = plain_name(step)
        if values.attrs["kind"] == "scalar":
            means = values[...].astype(np.float64).mean(0)
            for target_name, mean in zip(json.loads(values.attrs["names"]), means):
                for k, output in enumerate(readouts["output"]):
                    if output == target_name and readouts["scalar"][k]:
                        before[k] = mean
        elif name in readouts["output"]:
            logits = values[...]
            probs = _probabilities(logits, values.attrs["softmax"] or None)
            made = target.require_group(f"{group}/{hdf5_name(name)}")
            made.attrs["softmax"] = values.attrs["softmax"]
            if "bin_bp" not in values.attrs:
                raise outdated(baseline.filename, "which bases a profile is of")
            first, width = int(values.attrs["first_bp"]), int(values.attrs["bin_bp"])
            made.attrs["first_bp"], made.attrs["bin_bp"] = first, width
            made.attrs["readme"] = "before: means over backgrounds; after: per insert, in the order of insert_id"
            dataset(made, "before_logits", data=logits.astype(np.float64).mean(0).astype(np.float32))
            dataset(made, "before_probabilities", data=probs.mean(0).astype(np.float32))
            ids: list[np.ndarray] = []
            for table, part, place in zip(tables, parts, places):
                most, some = _copy_after(part.files, made, name, probs.mean(0), table, model)
                ids += some
                if width:
                    place[name] = np.where(most < 0, np.nan, first + width * most)
            if ids:
                dataset(made, "insert_id", data=np.concatenate(ids), dtype=h5py.string_dtype())
    return before, places


def _probabilities(logits: np.ndarray, softmax: str | None) -> np.ndarray:
    """What `effects.probabilities` gives, without PyTorch, whose import takes half of the job's time."""
    return special.softmax(logits.astype(np.float64), axis=-1 if softmax == "strand" else (-2, -1))


def _copy_after(
    files: Sequence[str | os.PathLike],
    made: h5py.Group,
    name: str,
    before: np.ndarray,
    table: pd.DataFrame,
    model: str,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Copy one output's mean profiles after each insert of a list.

    Returns the number of the value that each insert changes most, -1 unknown, and the ids of the inserts.
    """
    place = np.full(len(table), -1, dtype=np.int64)
    ids = []
    for file in files:
        with read_hdf5(file) as handle:
            held = part_of(handle, model).get("profiles")
            step = hdf5_name(name, taken=PROFILE_ROWS)
            if held is None or step not in held:
                continue
            rows = held["rows"][...]
            for kind in ("logits", "probabilities"):
                source = held[f"{step}/{kind}"]
                for i in range(0, len(rows), 256):
                    values = source[i : i + 256]
                    append(made, f"after_{kind}", values)
                    if kind == "probabilities":
                        place[rows[i : i + 256]] = np.abs(values - before).sum(1).argmax(1)
            ids.append(table["insert_id"].to_numpy(object)[rows])
    return place, ids


def _rows(
    listed: InsertList,
    part: Part,
    before: np.ndarray,
    place: Mapping[str, np.ndarray],
    *,
    model: str,
    background: str,
) -> pd.DataFrame:
    """The effect table of one model, background set and list, inserts by readouts."""
    table, motif, named, _ = listed
    n, k = int(motif.sum()), len(part.readouts["output"])
    count = part.n_backgrounds
    effect, sd = part.effect[motif], part.effect_sd[motif]
    se, low, high = mean_interval(effect, sd, count)
    rows = named[[*INSERT_KEYS, "position", "motif_name"]].loc[named.index.repeat(k)].reset_index(drop=True)
    rows.insert(0, "model", model)
    rows.insert(1, "background", background)
    for column in ("output", "measure", "unit"):
        rows[column] = np.tile(np.array(part.readouts[column], dtype=object), n)
    rows["n_backgrounds"] = count
    rows["before_mean"] = np.tile(before, n)
    for column, values in {
        "after_mean": part.after_mean[motif], "effect": effect, "effect_sd": sd, "effect_se": se,
        "ci_low": low, "ci_high": high, "sign_consistency": part.sign_consistency[motif],
    }.items():  # fmt: skip
        rows[column] = values.ravel()
    if part.fold_sd is not None:
        rows["effect_fold_sd"] = part.fold_sd[motif].ravel()
    if place:
        where = np.full((n, k), np.nan)
        for j, output in enumerate(part.readouts["output"]):
            if output in place:
                where[:, j] = place[output][motif]
        rows["largest_change_bp"] = pd.array(where.ravel(), dtype="Int64")
    if (table["role"] == "control").any():
        scored = _score(table, motif, part)
        rows["n_controls"] = np.repeat(scored["n_controls"], k)
        rows["control_kind"] = np.repeat(named["control_kind"].to_numpy(object), k)
        for column in ("control_mean", "control_sd", "z", "p", "p_resolution"):
            rows[column] = scored[column].ravel()
    for column in ("family", "family_representative"):
        rows[column] = np.repeat(named[column].to_numpy(), k)
    rows["engine"], rows["precision"] = part.engine, part.precision
    return rows


def _score(table: pd.DataFrame, motif: np.ndarray, part: Part) -> dict[str, np.ndarray]:
    """Effects against the null of their position: one null per position and readout."""
    n, k = int(motif.sum()), part.effect.shape[1]
    found = {name: np.full((n, k), np.nan) for name in ("control_mean", "control_sd", "z", "p")}
    found["n_controls"], found["p_resolution"] = np.zeros(n, dtype=np.int64), np.zeros((n, k))
    positions = table["position"].to_numpy()
    sequences = table["insert"].to_numpy(object)
    for position in np.unique(positions):
        mine, theirs = motif & (positions == position), ~motif & (positions == position)
        rows = mine[motif]
        for j in range(k):
            alternative = "greater" if not part.readouts["signed"][j] else "two-sided"
            scores = score_effects(part.effect[mine, j], sequences[mine], part.effect[theirs, j], sequences[theirs],
                                   alternative=alternative)  # fmt: skip
            for name in ("control_mean", "control_sd", "z", "p"):
                found[name][rows, j] = getattr(scores, name)[:, 0]
            found["n_controls"][rows], found["p_resolution"][rows, j] = scores.n_controls, scores.p_resolution
    return found


def _with_interaction(rows: pd.DataFrame, part: Part, motif: np.ndarray, model: str) -> pd.DataFrame:
    """Add what each pair does beyond the sum of its two motifs alone."""
    parts = []
    singles = kept_effects(part, model) if part.kept else repeat(None)
    for output, single in zip(part.readouts["output"], singles):
        some = rows[rows["output"] == output]
        effects = None if single is None else single[motif]
        parts.append(some.join(interaction(some.reset_index(drop=True), effects).set_index(some.index)))
    return pd.concat(parts).sort_index()


#: Values of single backgrounds that are held at a time, of as many readouts as go into them (float32: 256 MB).
_HELD = 1 << 26


def kept_effects(part: Part, model: str, name: str = "effects") -> Iterator[np.ndarray]:
    """Yield what the shards keep of every insert, readout by readout: float32, (inserts, backgrounds).

    Of many readouts as many are read at once as fit, since each read unpacks chunks that hold up to 64 of them.
    `name` is ``effects``, or ``effect_by_member`` for an ensemble's members in place of backgrounds.
    """
    n, k = part.effect.shape
    first = 0
    while first < k and n:
        found, step = [], k
        for file in part.files:
            with read_hdf5(file) as handle:
                group = part_of(handle, model)
                if len(group["rows"]):  # else how many members there are was not seen
                    width = group[name].shape[1]
                    step = max(1, min(k, _HELD // (n * width)))
                    found.append(group[name][:, :, first : first + step])
        yield from np.moveaxis(np.concatenate(found), 2, 0)
        first += step
