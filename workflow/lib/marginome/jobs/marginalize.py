"""One shard: a run of whole blocks of an insert list, in every background of one set, seen by a batch of models."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch

from marginome.arrays import append, dataset, hdf5_name, read_hdf5, write_hdf5
from marginome.batch_files import failed_parts, failed_records, read_record
from marginome.devices import peak_memory, resolve_device
from marginome.incremental import Edits, Engine
from marginome.jobs.each_model import each_part
from marginome.jobs.predict_baseline import check_baseline, load_fitting, read_backgrounds, read_baseline
from marginome.jobs.runner import Progress
from marginome.models import LoadedModel
from marginome.models.outputs import Readouts as ModelReadouts
from marginome.placing import read_inserts
from marginome.screens import (
    PROFILE_ROWS,
    MemberReadouts,
    Readouts,
    marginalize_blocks,
    member_outputs,
    readouts_of,
    select_outputs,
    whole_blocks,
)
from marginome.sequences import encode_insert
from marginome.statistics import summarize_effects
from marginome.storage import to_json

log = logging.getLogger("marginome")


def marginalize_shard(
    models: Mapping[str, Mapping[str, Any]],
    *,
    digests: Mapping[str, Mapping[str, str]],
    screen: Mapping[str, Any],
    engine: Mapping[str, Any],
    device: str,
    check: str | os.PathLike,
    fasta: str | os.PathLike,
    baseline: str | os.PathLike,
    inserts: str | os.PathLike,
    shard: str,
    output: str | os.PathLike,
) -> None:
    """Compute the effects of a shard's inserts on every model of a batch and write them.

    Parameters
    ----------
    models : mapping
        The models' entries in the config, by name.
    digests : mapping
        SHA-256 of each model's files, by path.
    screen : mapping
        ``outputs`` (names or None) and ``keep`` of the screen's entry.
    engine : mapping
        precision, engine, threads, memory_mb.
    device : str
        Where to compute: cpu or cuda:<index>.
    check, fasta, baseline, inserts : path
        What earlier rules made. Models that failed there are passed over.
    shard : str
        ``3-of-16``.
    output : path
        HDF5 to write: for each model a group as `write_part` fills it, or why it failed (`marginome.batch_files`).
    """
    ids, X = read_backgrounds(fasta)
    table = read_inserts(inserts, X.shape[2])
    where = resolve_device(device)
    failed = {**failed_records(check), **failed_parts([baseline])}
    metadata = {"shard": shard, "threads": engine["threads"], "device": where.type, "precision": engine["precision"]}
    with write_hdf5(output, metadata) as handle, read_hdf5(baseline) as before:
        check_baseline(before, fasta)

        def marginalize_one(name: str, group: h5py.Group) -> None:
            loaded = load_fitting(
                models[name], name=name, length=X.shape[2], fasta=fasta, precision=engine["precision"]
            )
            block = int(read_record(check, name)["block"])
            _marginalize_one(
                loaded, (ids, X), table, before, group, name=name, block=block, screen=screen, engine=engine,
                where=where, shard=shard, model_files=digests[name],
            )  # fmt: skip

        each_part(handle, list(models), marginalize_one, failed=failed)
    log.info("peak memory %.0f MB", peak_memory(where) / 2**20)


def _marginalize_one(
    loaded: LoadedModel,
    backgrounds: tuple[Sequence[str], torch.Tensor],
    table: pd.DataFrame,
    baseline: h5py.File,
    group: h5py.Group,
    *,
    name: str,
    block: int,
    screen: Mapping[str, Any],
    engine: Mapping[str, Any],
    where: torch.device,
    shard: str,
    model_files: Mapping[str, str],
) -> None:
    """Compute a shard for one model."""
    ids, X = backgrounds
    outputs = select_outputs(loaded.outputs, screen["outputs"], where=f"screen's outputs, model '{name}'")
    names = [o.name for o in outputs]
    number, _, count = shard.partition("-of-")
    blocks = whole_blocks(len(table), block, int(number), int(count))
    before = read_baseline(baseline, name, names, device=where)
    readouts = readouts_of(outputs)
    log.info("shard %s: %d of %d inserts x %d backgrounds, outputs %s", shard, _size(blocks), len(table), len(ids),
             ", ".join(names))  # fmt: skip
    several = MemberReadouts if loaded.members > 1 else ModelReadouts
    members = member_outputs(outputs, loaded.members)
    runner = Engine(
        several(loaded.module, outputs).eval(),
        X,
        loaded.arguments(ids, X),
        device=where,
        precision=engine["precision"],
        engine=engine["engine"],
        memory_bytes=int(engine["memory_mb"]) << 20,
        block=block,
    )
    log.info("engine: %s%s", runner.info.path, f" ({runner.info.reason})" if runner.info.reason else "")
    keep = _keeps_backgrounds(len(table), len(ids), len(readouts.output), screen["keep"])
    wanted = (table["role"] == "motif").to_numpy() & bool(screen["keep"]["profiles"])
    before |= {o.name: runner.before[o.name] for o in members}
    results = marginalize_blocks(
        runner,
        [*outputs, *members],
        before,
        edits_of(table),
        blocks=blocks,
        with_profiles=wanted,
        with_predictions=bool(screen["keep"].get("predictions")),
    )
    metadata = {"model": name, "model_files": dict(model_files), "shard": shard, "threads": engine["threads"],
                "device": where.type, "precision": engine["precision"], "block": block}  # fmt: skip
    group.attrs["marginome"] = to_json(metadata, sort_keys=True)
    write_part(
        group,
        results,
        blocks,
        readouts,
        len(ids),
        with_profiles=wanted,
        keep_backgrounds=keep,
        ensemble=loaded.members > 1,
        engine=runner,
    )


def edits_of(table: pd.DataFrame) -> Edits:
    """Turn the list of inserts into one padded tensor (zero columns keep the background) and starts."""
    return Edits.stack([encode_insert(text)[0].to(torch.int8) for text in table["insert"]], table["start"].tolist())


def write_part(
    group: h5py.Group,
    results: Any,
    blocks: Sequence[slice],
    readouts: Readouts,
    n_backgrounds: int,
    *,
    with_profiles: np.ndarray,
    keep_backgrounds: bool,
    ensemble: bool,
    engine: Engine,
) -> None:
    """Stream a model's results to its group of a shard; memory is bounded by a block.

    The group holds, for its run of inserts (``rows``): ``effect``, ``effect_sd``, ``sign_consistency`` and
    ``after_mean`` (inserts, readouts) float64; ``effects`` (inserts, backgrounds, readouts) float32 if kept;
    ``profiles/<output>/{logits,probabilities}`` (inserts, strands, length) float32 and their ``rows``;
    ``predictions/<output>`` (inserts, backgrounds, ...) float32 (float64 in that precision) if asked for.
    """
    total, k = _size(blocks), len(readouts.output)
    rows = np.concatenate([np.arange(b.start, b.stop) for b in blocks]) if blocks else np.zeros(0, dtype=np.int64)
    progress = Progress(total * n_backgrounds, "pairs")
    group.attrs["readouts"] = json.dumps(readouts._asdict())
    group.attrs["n_backgrounds"] = n_backgrounds
    dataset(group, "rows", data=rows)
    tables = {
        name: dataset(group, name, shape=(total, k), dtype="f8", chunks=(min(max(total, 1), 64), k) if total else None)
        for name in (
            "effect",
            "effect_sd",
            "sign_consistency",
            "after_mean",
            *(["effect_fold_sd"] if ensemble else []),
        )
    }
    single = None
    if keep_backgrounds:
        chunks = (min(max(total, 1), 16), n_backgrounds, min(k, 64)) if total else None
        single = dataset(group, "effects", shape=(total, n_backgrounds, k), dtype="f4", chunks=chunks)
    done, profile_rows = 0, []
    for block, found in results:
        m = block.stop - block.start
        part = slice(done, done + m)
        values, folds = found.effects.numpy()[:, :, :k], found.effects.numpy()[:, :, k:]
        summary = summarize_effects(values)
        tables["effect"][part] = summary.mean
        tables["effect_sd"][part] = summary.sd
        tables["sign_consistency"][part] = summary.sign_consistency
        tables["after_mean"][part] = found.after.numpy()[:, :k]
        if folds.shape[2]:  # an ensemble: the spread of its members' mean effects
            by_member = folds.astype(np.float64).mean(1).reshape(m, -1, k)
            tables["effect_fold_sd"][part] = by_member.std(1, ddof=1)
        if single is not None:
            single[part] = values
        wanted = with_profiles[block]
        if found.profiles:
            profile_rows.append(np.arange(block.start, block.stop)[wanted])
        for name, means in found.profiles.items():
            made = group.require_group(f"profiles/{hdf5_name(name, taken=PROFILE_ROWS)}")
            for kind, mean_profile in zip(("logits", "probabilities"), means):
                append(made, kind, mean_profile.float().numpy()[wanted])
        for name, values_of in found.predictions.items():
            append(group.require_group("predictions"), hdf5_name(name), values_of.numpy())
        done += m
        progress.update(m * n_backgrounds)
    if profile_rows:
        dataset(group, "profiles/rows", data=np.concatenate(profile_rows))
    group.attrs["engine"] = to_json(dataclasses.asdict(engine.info))


def _keeps_backgrounds(inserts: int, backgrounds: int, readouts: int, keep: Mapping[str, Any]) -> bool:
    """Whether the effects of single backgrounds are small enough to be kept (float32, before compression)."""
    return inserts * backgrounds * readouts * 4 <= keep["backgrounds_mb"] << 20


def _size(blocks: Sequence[slice]) -> int:
    return sum(b.stop - b.start for b in blocks)
