"""From a screen's shards to its tables: intervals, nulls, p and q, agreement; one background set at a time."""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import torch
from scipy import stats

from marginome.agreements import INSERT, agreement, consensus
from marginome.arrays import append, dataset, fill, group_of, hdf5_name, plain_name, read_hdf5, write_hdf5
from marginome.discoveries import add_q, findings_needed
from marginome.effects import probabilities
from marginome.interactions import interaction
from marginome.nulls import score_effects
from marginome.shards import PROFILE_ROWS, whole_blocks
from marginome.storage import atomic, damaged, disagreeing, read_table, table_writer, write_table
from marginome.tables import EFFECTS, conform

log = logging.getLogger("marginome")

# Measures that cannot be negative: only more than a meaningless insert does is of interest.
ONE_SIDED = ("euclidean", "jensen_shannon_distance")
_KEYS = ["collection", "motif_id", "motif_name", "orientation", "start", "insert", "draw", "partner_id",
         "partner_orientation", "gap", "order"]  # fmt: skip


# What all shards of a model and background set were made with.
_ALIKE = ("model", "model_files", "precision", "block")


class Part(NamedTuple):
    """The results of all shards of one model and background set, in the canonical order of inserts."""

    readouts: Mapping[str, list]
    effect: np.ndarray
    effect_sd: np.ndarray
    sign_consistency: np.ndarray
    after_mean: np.ndarray
    fold_sd: np.ndarray | None
    n_backgrounds: int
    engine: str
    precision: str


def summarize_screen(
    screen: Mapping[str, Any],
    *,
    inserts: str | os.PathLike,
    families: str | os.PathLike,
    baselines: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    effects: str | os.PathLike,
    tsv: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    agreement_table: str | os.PathLike,
    consensus_table: str | os.PathLike,
) -> None:
    """Merge a screen's shards and write every table of it.

    Parameters
    ----------
    screen : mapping
        ``models``, ``backgrounds``, ``controls``, ``keep`` and ``shards`` of the screen's entry.
    inserts, families : path
        The canonical list, and the families of similar motifs.
    baselines, shards : sequence of path
        In the order of models, then background sets, then shards.
    effects, tsv : path
        The effect table as Parquet and as gzipped TSV; columns in `marginome.tables.EFFECTS`.
    backgrounds : path
        HDF5: the effect of every single background, ``<model>/<background>/effects``.
    profiles : path
        HDF5: mean profiles before and after, ``<model>/<background>/<output>/...``.
    agreement_table, consensus_table : path
        Parquet: how far background sets agree, pair by pair, and what they say together of each insert.
    """
    table = read_table(inserts)
    motif = (table["role"] == "motif").to_numpy()
    named = table.loc[motif].merge(
        read_table(families)[["collection", "motif_id", "family", "family_representative"]],
        on=["collection", "motif_id"], how="left", validate="many_to_one",
    )  # fmt: skip
    combinations = [(m, b) for m in screen["models"] for b in screen["backgrounds"]]
    per = len(shards) // len(combinations)
    kept = []
    with ExitStack() as stack:
        singles = stack.enter_context(write_hdf5(backgrounds, {"inserts": str(inserts)}))
        means = stack.enter_context(write_hdf5(profiles, {"inserts": str(inserts)}))
        writer = stack.enter_context(_Writer(effects, tsv))
        for i, (model, background) in enumerate(combinations):
            files = shards[i * per : (i + 1) * per]
            part = _read_part(files, baselines[i], len(table))
            group = group_of(model, background)
            before, change = _copy_profiles(files, baselines[i], means, group, table, part)
            _copy_singles(files, singles, group, table, part)
            rows = _rows(named, table, motif, part, before, change, model=model, background=background)
            if screen["pairs"]:
                rows = _with_interaction(rows, singles.get(f"{group}/effects"), motif, part)
            writer.write(rows)
            kept.append(rows[["model", "background", "output", *INSERT, "insert", "draw", "effect",
                              *(c for c in ("p", "q") if c in rows)]])  # fmt: skip
            _tell(rows)
    everything = pd.concat(kept, ignore_index=True)
    write_table(agreement_table, _agreement(everything))
    write_table(consensus_table, _consensus(everything))


def _read_part(files: Sequence[str | os.PathLike], baseline: str | os.PathLike, n_inserts: int) -> Part:
    """Put the shards of one model and background set together and check that every insert is there once.

    A shard that is not what its place and the baseline ask for is removed; of shards that disagree about what neither
    says, none can be called wrong, and all are.
    """
    with read_hdf5(baseline) as handle:
        n_baseline = len(handle["ids"])
    columns: dict[str, list] = {name: [] for name in ("rows", "effect", "effect_sd", "sign_consistency", "after_mean")}
    folds, engines, first = [], set(), None
    for number, file in enumerate(files, start=1):
        with read_hdf5(file) as handle:
            for name, parts in columns.items():
                parts.append(handle[name][...])
            if "effect_fold_sd" in handle:
                folds.append(handle["effect_fold_sd"][...])
            readouts = json.loads(handle.attrs["readouts"])
            n, single = int(handle.attrs["n_backgrounds"]), "effects" in handle
            engine, metadata = json.loads(handle.attrs["engine"]), json.loads(handle.attrs["marginome"])
        engines.add(engine["path"])
        if n != n_baseline:
            raise damaged(file, f"it is of {n} backgrounds, the baseline of {n_baseline}")
        share = whole_blocks(n_inserts, metadata["block"], number, len(files))
        if not np.array_equal(columns["rows"][-1], np.concatenate([np.r_[part] for part in share] or [[]])):
            raise damaged(file, f"its {len(columns['rows'][-1])} inserts are not its share of {n_inserts}")
        made = {"readouts": readouts, "effects of single backgrounds": single}
        made |= {key: metadata.get(key) for key in _ALIKE}
        first = first or made
        differing = [key for key, value in made.items() if value != first[key]]
        if differing:
            raise disagreeing(files, f"the shards differ in {', '.join(differing)}")
    merged = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Part(
        first["readouts"], merged["effect"], merged["effect_sd"], merged["sign_consistency"], merged["after_mean"],
        np.concatenate(folds) if folds else None, n_baseline, "+".join(sorted(engines)), first["precision"],
    )  # fmt: skip


def _copy_singles(
    files: Sequence[str | os.PathLike], target: h5py.File, group: str, table: pd.DataFrame, part: Part
) -> None:
    """Copy the effects of single backgrounds, shard by shard; say so in the file where they were not kept."""
    made = target.require_group(group)
    made.attrs["readouts"] = json.dumps(part.readouts)
    kept = True
    for file in files:
        with read_hdf5(file) as handle:
            if "effects" not in handle:
                kept = False
                break
            source = handle["effects"]
            if "effects" not in made:
                shape = (len(table), *source.shape[1:])
                chunks = (min(16, len(table)), source.shape[1], min(64, source.shape[2]))
                dataset(made, "effects", shape=shape, dtype="f4", chunks=chunks)
            rows = handle["rows"][...]
            for i in range(0, len(rows), 256):
                fill(made["effects"], rows[i : i + 256], source[i : i + 256])
    if not kept:
        made.attrs["note"] = "larger than keep.backgrounds_mb of the config: not kept"
    text = h5py.string_dtype()
    dataset(made, "insert_id", data=table["insert_id"].to_numpy(object), dtype=text)
    dataset(made, "role", data=table["role"].to_numpy(object), dtype=text)


def _copy_profiles(
    files: Sequence[str | os.PathLike],
    baseline: str | os.PathLike,
    target: h5py.File,
    group: str,
    table: pd.DataFrame,
    part: Part,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Copy mean profiles; return the mean scalars before, and where each insert changes each profile most."""
    before = np.full(len(part.readouts["output"]), np.nan)
    place: dict[str, np.ndarray] = {}
    with read_hdf5(baseline) as handle:
        for step, values in handle["outputs"].items():
            name = plain_name(step)
            if values.attrs["kind"] == "scalar":
                means = values[...].astype(np.float64).mean(0)
                for target_name, mean in zip(json.loads(values.attrs["names"]), means):
                    for k, output in enumerate(part.readouts["output"]):
                        if output == target_name and part.readouts["scalar"][k]:
                            before[k] = mean
            elif name in part.readouts["output"]:
                logits = values[...]
                probs = probabilities(torch.from_numpy(logits), values.attrs["softmax"] or None).numpy()
                made = target.require_group(f"{group}/{hdf5_name(name)}")
                made.attrs["softmax"] = values.attrs["softmax"]
                made.attrs["first_bp"] = max(0, (int(handle.attrs["length_bp"]) - logits.shape[-1]) // 2)
                made.attrs["readme"] = "before: means over backgrounds; after: per insert, in the order of insert_id"
                dataset(made, "before_logits", data=logits.astype(np.float64).mean(0).astype(np.float32))
                dataset(made, "before_probabilities", data=probs.mean(0).astype(np.float32))
                place[name] = _copy_after(files, made, name, probs.mean(0), table)
    return before, place


def _copy_after(
    files: Sequence[str | os.PathLike], made: h5py.Group, name: str, before: np.ndarray, table: pd.DataFrame
) -> np.ndarray:
    """Copy one output's mean profiles after each insert; return the position that each changes most, -1 unknown."""
    place = np.full(len(table), -1, dtype=np.int64)
    ids = []
    for file in files:
        with read_hdf5(file) as handle:
            held = f"profiles/{hdf5_name(name, taken=PROFILE_ROWS)}"
            if held not in handle:
                continue
            rows = handle["profiles/rows"][...]
            for kind in ("logits", "probabilities"):
                source = handle[f"{held}/{kind}"]
                for i in range(0, len(rows), 256):
                    values = source[i : i + 256]
                    append(made, f"after_{kind}", values)
                    if kind == "probabilities":
                        place[rows[i : i + 256]] = np.abs(values - before).sum(1).argmax(1)
            ids.append(table["insert_id"].to_numpy(object)[rows])
    if ids:
        dataset(made, "insert_id", data=np.concatenate(ids), dtype=h5py.string_dtype())
    return place


def _rows(
    named: pd.DataFrame,
    table: pd.DataFrame,
    motif: np.ndarray,
    part: Part,
    before: np.ndarray,
    place: Mapping[str, np.ndarray],
    *,
    model: str,
    background: str,
) -> pd.DataFrame:
    """The effect table of one model and background set, inserts by readouts."""
    n, k = int(motif.sum()), len(part.readouts["output"])
    count = part.n_backgrounds
    effect, sd = part.effect[motif], part.effect_sd[motif]
    se = sd / np.sqrt(count)
    half = stats.t.ppf(0.975, count - 1) * se if count > 1 else se
    rows = named[_KEYS].loc[named.index.repeat(k)].reset_index(drop=True)
    rows.insert(0, "model", model)
    rows.insert(1, "background", background)
    for column in ("output", "measure", "unit"):
        rows[column] = np.tile(np.array(part.readouts[column], dtype=object), n)
    rows["n_backgrounds"] = count
    rows["before_mean"] = np.tile(before, n)
    for column, values in {
        "after_mean": part.after_mean[motif], "effect": effect, "effect_sd": sd, "effect_se": se,
        "ci_low": effect - half, "ci_high": effect + half, "sign_consistency": part.sign_consistency[motif],
    }.items():  # fmt: skip
        rows[column] = values.ravel()
    if part.fold_sd is not None:
        rows["effect_fold_sd"] = part.fold_sd[motif].ravel()
    if place:
        where = np.full((n, k), -1, dtype=np.int64)
        for j, output in enumerate(part.readouts["output"]):
            if output in place:
                where[:, j] = place[output][motif]
        rows["largest_change_bp"] = pd.array(where.ravel(), dtype="Int64")
        rows.loc[rows["largest_change_bp"] < 0, "largest_change_bp"] = pd.NA
    position = np.repeat(named["position"].to_numpy(), k)
    if (~motif).any():
        scored = _score(table, motif, part)
        rows["n_controls"] = np.repeat(scored["n_controls"], k)
        rows["control_kind"] = np.repeat(named["control_kind"].to_numpy(object), k)
        for column in ("control_mean", "control_sd", "z", "p", "p_resolution"):
            rows[column] = scored[column].ravel()
        rows = add_q(rows.assign(position=position), ["output", "position"])
        _tell_reach(rows)
        rows = rows.drop(columns="position")
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
            alternative = "greater" if part.readouts["measure"][j] in ONE_SIDED else "two-sided"
            scores = score_effects(part.effect[mine, j], sequences[mine], part.effect[theirs, j], sequences[theirs],
                                   alternative=alternative)  # fmt: skip
            for name in ("control_mean", "control_sd", "z", "p"):
                found[name][rows, j] = getattr(scores, name)[:, 0]
            found["n_controls"][rows], found["p_resolution"][rows, j] = scores.n_controls, scores.p_resolution
    return found


def _with_interaction(rows: pd.DataFrame, singles: h5py.Dataset | None, motif: np.ndarray, part: Part) -> pd.DataFrame:
    """Add what each pair does beyond the sum of its two motifs alone."""
    parts = []
    for j, output in enumerate(part.readouts["output"]):
        some = rows[rows["output"] == output]
        effects = None if singles is None else singles[..., j][motif]
        parts.append(some.join(interaction(some.reset_index(drop=True), effects).set_index(some.index)))
    return pd.concat(parts).sort_index()


class _Writer:
    """Streams parts of the effect table to Parquet and to gzipped TSV (the same bytes for the same table)."""

    def __init__(self, parquet: str | os.PathLike, tsv: str | os.PathLike):
        self._parquet, self._stack, self._writer = parquet, ExitStack(), None
        with self._stack as stack:
            raw = stack.enter_context(open(stack.enter_context(atomic(tsv)), "wb"))
            self._tsv = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename=""))
            self._stack = stack.pop_all()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, rows: pd.DataFrame) -> None:
        arrow = conform(rows, EFFECTS, name="effects.parquet")
        if self._writer is None:
            self._columns = arrow.schema.names
            self._writer = self._stack.enter_context(table_writer(self._parquet, arrow.schema))
        self._writer.write_table(arrow)
        text = rows[self._columns].to_csv(sep="\t", index=False, na_rep="", header=self._tsv.tell() == 0)
        self._tsv.write(text.encode())


def _agreement(everything: pd.DataFrame) -> pd.DataFrame:
    """Every two background sets (and every two models that share an output), output by output."""
    return pd.concat([*_agreements(everything)], ignore_index=True) if len(everything) else pd.DataFrame()


def _agreements(everything: pd.DataFrame) -> Iterator[pd.DataFrame]:
    columns = ["across", "model", "background", "output", "first", "second", "n", "spearman", "pearson",
               "sign_agreement", "top_overlap"]  # fmt: skip
    of = [*INSERT, "insert", "draw"]
    yield pd.DataFrame({c: pd.Series(dtype=object) for c in columns[:6]})
    for across, other in (("background", "model"), ("model", "background")):
        for (name, output), part in everything.groupby([other, "output"], sort=False):
            if part[across].nunique() > 1:
                found = agreement(_filled(part), across, of=of)
                yield found.assign(**{"across": across, other: name, "output": output}).reindex(columns=columns)


def _consensus(everything: pd.DataFrame) -> pd.DataFrame:
    """What all background sets of a model say of each insert."""
    of = [*INSERT, "insert", "draw"]
    parts = [
        consensus(_filled(part), "background", of=of).assign(model=model, output=output)
        for (model, output), part in everything.groupby(["model", "output"], sort=False)
    ]
    found = pd.concat(parts, ignore_index=True)
    found["draw"] = found["draw"].where(found["draw"] >= 0)
    return found[["model", "output", *[c for c in found if c not in ("model", "output")]]]


def _filled(part: pd.DataFrame) -> pd.DataFrame:
    """Draw numbers as plain integers, -1 for none: a missing key would be dropped when reshaping."""
    return part.assign(draw=part["draw"].astype("Int64").fillna(-1).astype(np.int64))


def _tell_reach(rows: pd.DataFrame) -> None:
    """Log what the number of controls allows, where that is less than to find an insert that stands alone.

    Of the output that needs most: a distance, tested one-sided, needs half of what others do.
    """
    worst = rows.loc[rows["p_resolution"].idxmax()]
    one = rows[(rows["output"] == worst["output"]) & (rows["position"] == worst["position"])]
    tests, n, reach = one["insert"].nunique(), worst["n_controls"], worst["p_resolution"]
    least = findings_needed(tests, reach)
    if least > 1:
        log.info("%s: %d controls reach to p %.2g, q <= 0.05 takes %d of %d inserts that do more than all of them",
                 worst["output"], n, reach, least, tests)  # fmt: skip


def _tell(rows: pd.DataFrame) -> None:
    for output, part in rows.groupby("output", sort=False):
        best = part.reindex(part["effect"].abs().sort_values(ascending=False).index).iloc[0]
        q = f", q {best['q']:.2g}" if "q" in best and pd.notna(best["q"]) else ""
        log.info("%s, %s, %s: %d rows; largest effect %s (%s) %s %.4g%s", best["model"], best["background"], output,
                 len(part), best["motif_name"], best["motif_id"], best["orientation"], best["effect"], q)  # fmt: skip
        break
