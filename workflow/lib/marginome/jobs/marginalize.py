"""One shard: a run of whole blocks of an insert list, in every background of one set, seen by a batch of models."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import torch

from marginome.arrays import append, dataset, hdf5_name, read_hdf5, write_hdf5
from marginome.batch_files import failed_parts, failed_records, read_record
from marginome.confidence import summarize_effects
from marginome.devices import is_out_of_memory, peak_memory, resolve_device
from marginome.effects import measure_of, summed_probabilities
from marginome.errors import MarginomeError, first_line
from marginome.incremental import Edits, Engine
from marginome.jobs.each_model import each_part
from marginome.jobs.predict_baseline import check_baseline, load_fitting, read_backgrounds, read_baseline
from marginome.jobs.runner import Progress
from marginome.measures import MEASURES
from marginome.models.effect_columns import (
    MEMBER,
    EffectColumns,
    MemberReadouts,
    by_target,
    effect_columns,
    member_outputs,
    select_outputs,
)
from marginome.models.loading import LoadedModel
from marginome.models.outputs import Readouts
from marginome.placing import read_inserts
from marginome.sequences import one_hot_encode
from marginome.shards import PROFILE_ROWS, whole_blocks
from marginome.storage import to_json
from marginome.substitution import encode_insert

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
        Digests of each model's files, by path (`provenance.content_digests`).
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
        edits = edits_of(table)

        def marginalize_one(name: str, group: h5py.Group) -> None:
            loaded = load_fitting(
                models[name], name=name, length=X.shape[2], fasta=fasta, precision=engine["precision"]
            )
            checked = read_record(check, name)
            _marginalize_one(
                loaded, (ids, X), table, edits, before, group, name=name, checked=checked, screen=screen, engine=engine,
                where=where, shard=shard, model_files=digests[name],
            )  # fmt: skip

        each_part(handle, list(models), marginalize_one, output=output, failed=failed)
    log.info("peak memory %.0f MB", peak_memory(where) / 2**20)


def _marginalize_one(
    loaded: LoadedModel,
    backgrounds: tuple[Sequence[str], torch.Tensor],
    table: pd.DataFrame,
    edits: Edits,
    baseline: h5py.File,
    group: h5py.Group,
    *,
    name: str,
    checked: Mapping[str, Any],
    screen: Mapping[str, Any],
    engine: Mapping[str, Any],
    where: torch.device,
    shard: str,
    model_files: Mapping[str, str],
) -> None:
    """Compute a shard for one model."""
    ids, X = backgrounds
    block = int(checked["block"])
    outputs = select_outputs(loaded.outputs, screen["outputs"], where=f"screen's outputs, model '{name}'")
    names = [o.name for o in outputs]
    number, _, count = shard.partition("-of-")
    blocks = whole_blocks(len(table), block, int(number), int(count))
    before = read_baseline(baseline, name, names, device=where)
    readouts = effect_columns(outputs)
    log.info("shard %s: %d of %d inserts x %d backgrounds, outputs %s", shard, _size(blocks), len(table), len(ids),
             ", ".join(names))  # fmt: skip
    keep = _keeps_backgrounds(len(table), len(ids), len(readouts.output), screen["keep"])
    wanted = (table["role"] == "motif").to_numpy() & bool(screen["keep"]["profiles"])
    paired = "partner_id" in table and bool(table["partner_id"].notna().any())
    runner, results = None, iter(())
    if blocks:  # else there are more shards than blocks: a small list in many
        several = MemberReadouts if loaded.members > 1 else Readouts
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
            kernels=checked["engine"]["kernels"] == "triton",
        )
        log.info("engine: %s%s", runner.info.path, f" ({runner.info.reason})" if runner.info.reason else "")
        before |= {o.name: runner.before[o.name] for o in members}
        results = marginalize_blocks(
            runner,
            [*outputs, *members],
            before,
            edits,
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
        keep_members=loaded.members > 1 and paired,
        engine=runner,
    )


#: Of the engine, in a shard without inserts.
NOTHING_RUN = {"path": "none", "reason": "no inserts in this shard"}


def edits_of(table: pd.DataFrame) -> Edits:
    """Turn the list of inserts into one padded tensor (zero columns keep the background) and starts."""
    if table.empty:
        return Edits(torch.zeros(0, 4, 1, dtype=torch.int8), torch.zeros(0, dtype=torch.int64))
    width = int(table["insert"].str.len().max())
    one_hot = one_hot_encode("".join(text.ljust(width, "N") for text in table["insert"]))
    inserts = encode_insert(one_hot.unflatten(1, (-1, width)).movedim(0, 1).contiguous(), name="inserts")
    return Edits(inserts, torch.tensor(table["start"].to_numpy(np.int64)))


def write_part(
    group: h5py.Group,
    results: Any,
    blocks: Sequence[slice],
    readouts: EffectColumns,
    n_backgrounds: int,
    *,
    with_profiles: np.ndarray,
    keep_backgrounds: bool,
    ensemble: bool,
    keep_members: bool,
    engine: Engine | None,
) -> None:
    """Stream a model's results to its group of a shard; memory is bounded by a block.

    The group holds, for its run of inserts (``rows``): ``effect``, ``effect_sd``, ``sign_consistency`` and
    ``after_mean`` (inserts, readouts) float64; ``effects`` (inserts, backgrounds, readouts) float32 if kept;
    of an ensemble ``effect_fold_sd`` float64, and of pairs ``effect_by_member`` (inserts, members, readouts) float32;
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

    def made_of(name: str, several: int) -> h5py.Dataset:
        chunks = (min(total, 16), several, min(k, 64)) if total else None
        return dataset(group, name, shape=(total, several, k), dtype="f4", chunks=chunks)

    single = made_of("effects", n_backgrounds) if keep_backgrounds else None
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
        if folds.shape[2]:  # an ensemble: its members' mean effects, and their spread
            by_member = folds.astype(np.float64).mean(1).reshape(m, -1, k)
            tables["effect_fold_sd"][part] = by_member.std(1, ddof=1)
            if keep_members:
                whole = group.get("effect_by_member") or made_of("effect_by_member", by_member.shape[1])
                whole[part] = by_member
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
    group.attrs["engine"] = to_json(dataclasses.asdict(engine.info) if engine else NOTHING_RUN)


def _keeps_backgrounds(inserts: int, backgrounds: int, readouts: int, keep: Mapping[str, Any]) -> bool:
    """Whether the effects of single backgrounds are small enough to be kept (float32, before compression)."""
    return inserts * backgrounds * readouts * 4 <= keep["backgrounds_mb"] << 20


def _size(blocks: Sequence[slice]) -> int:
    return sum(b.stop - b.start for b in blocks)


class BlockEffects(NamedTuple):
    """What a block of inserts did.

    Attributes
    ----------
    effects : torch.Tensor, float32, (inserts, backgrounds, readouts)
        The effect of every single pair.
    after : torch.Tensor, float64, (inserts, readouts)
        Mean output with the insert; NaN where the readout is no scalar.
    profiles : dict of str to (logits, probabilities)
        Per profile output the means over backgrounds, float64, (inserts, strands, length).
    predictions : dict of str to torch.Tensor, float32 (float64 in that precision), (inserts, backgrounds, ...)
        The outputs as they are; empty unless asked for.
    """

    effects: torch.Tensor
    after: torch.Tensor
    profiles: dict[str, tuple[torch.Tensor, torch.Tensor]]
    predictions: dict[str, torch.Tensor]


def marginalize_blocks(
    engine: Any,
    outputs: Sequence[Any],
    before: Mapping[str, torch.Tensor],
    edits: Any,
    *,
    blocks: Sequence[slice],
    with_profiles: Sequence[bool],
    with_predictions: bool = False,
) -> Iterator[tuple[slice, BlockEffects]]:
    """Put blocks of inserts into all backgrounds and reduce what the model says, on the device.

    Parameters
    ----------
    engine : marginome.incremental.Engine
        Made for the model's readouts and the background set.
    outputs : sequence of Output
        What the readouts are.
    before : mapping of str to tensor
        Per output the prediction on the backgrounds, (backgrounds, ...).
    edits : marginome.incremental.Edits
        All inserts.
    blocks : sequence of slice
        Runs of inserts; each is computed by itself, so that its numbers do not depend on the others.
    with_profiles : sequence of bool
        Per insert of `edits` whether its mean profiles are wanted (controls need none).
    with_predictions : bool, default False
        Whether the outputs themselves are wanted too: a block of them is then held on the host.

    Yields
    ------
    block : slice
    BlockEffects
        On the CPU.
    """
    functions = {o.name: measure_of(o, 2 if o.measure in MEASURES else 1) for o in outputs}
    device = next(iter(before.values())).device
    n = len(next(iter(before.values())))
    for block in blocks:
        m = block.stop - block.start
        part = type(edits)(edits.one_hot[block], edits.starts[block])
        wanted = any(with_profiles[block])
        means = {o.name: torch.zeros(m, before[o.name].shape[1], dtype=torch.float64, device=device)
                 for o in outputs if o.kind == "scalar"}  # fmt: skip
        sums = {
            o.name: [torch.zeros(m, *before[o.name].shape[1:], dtype=torch.float64, device=device) for _ in range(2)]
            for o in outputs
            if o.kind == "profile" and wanted and MEMBER not in o.name
        }
        filled: dict[str, torch.Tensor] = {}
        raw = {
            o.name: torch.zeros(m, *before[o.name].shape, dtype=_kept(before[o.name]))
            for o in outputs
            if with_predictions and MEMBER not in o.name
        }
        for rows, columns, after in engine.run(part):
            for output in outputs:
                y1, y0 = after[output.name], before[output.name][columns]
                if output.measure in MEASURES:
                    compared = y0[None], y1
                else:  # one's own gets pairs
                    compared = y0.expand(y1.shape).flatten(0, 1), y1.flatten(0, 1)
                effect = _effect(functions[output.name], *compared, output).reshape(*y1.shape[:2], -1)
                if output.name not in filled:
                    filled[output.name] = torch.full(
                        (m, n, effect.shape[2]), float("nan"), dtype=torch.float32, device=device
                    )
                filled[output.name][rows, columns] = effect.float()
                if output.name in raw:
                    raw[output.name][rows, columns] = y1.cpu().to(raw[output.name].dtype)
                if output.kind == "scalar":
                    means[output.name][rows] += y1.double().sum(1)
                elif output.name in sums:
                    sums[output.name][0][rows] += y1.double().sum(1)
                    sums[output.name][1][rows] += summed_probabilities(y1, output.softmax)
        yield block, _collect(outputs, filled, means, sums, n)._replace(predictions=raw)


def _kept(y: torch.Tensor) -> torch.dtype:
    """The dtype that predictions are kept in."""
    return torch.float64 if y.dtype == torch.float64 else torch.float32


def _effect(measure: Callable, before: torch.Tensor, after: torch.Tensor, output: Any) -> torch.Tensor:
    """Apply a measure, the user's own too, to pairs ``(pairs, ...)``; name the output when it cannot be."""
    where = f"output '{output.name}', measure {output.measure}"
    try:
        effect = measure(before, after)
    except MarginomeError as error:
        raise MarginomeError(error.what, where=where, remedy=error.remedy) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise MarginomeError(
            f"it failed on {tuple(before.shape)} before and after: {first_line(error)}",
            where=where,
            remedy="A measure gets two tensors (pairs, ...) and returns one.",
        ) from error
    if not isinstance(effect, torch.Tensor) or effect.ndim == 0 or len(effect) != len(after) or effect.is_complex():
        found = tuple(effect.shape) if isinstance(effect, torch.Tensor) else type(effect).__name__
        raise MarginomeError(
            f"it returned {found} for {len(after)} pairs",
            where=where,
            remedy="A measure returns a real tensor with one entry per pair on axis 0.",
        )
    return effect


def _collect(outputs: Sequence[Any], filled: Mapping, means: Mapping, sums: Mapping, n: int) -> BlockEffects:
    effects, after = [], []
    for output in outputs:
        found = filled[output.name]
        if not torch.isfinite(found).all():
            rows = (~torch.isfinite(found)).flatten(1).any(1).nonzero().flatten().tolist()
            raise MarginomeError(
                f"the effect is NaN or infinite for {len(rows)} of {len(found)} inserts of a block",
                where=f"output '{output.name}', measure {output.measure}",
                remedy="The model returned none, or the measure does not fit the output's scale (config: outputs).",
            )
        effects.append(found)
        if by_target(output):
            if found.shape[2] != len(output.names):
                raise MarginomeError(
                    f"the measure gave {found.shape[2]} effects for {len(output.names)} targets",
                    where=f"output '{output.name}', measure {output.measure}",
                    remedy="A measure of a scalar output returns (backgrounds, targets), or says per_target = False.",
                )
            after.append(means[output.name] / n)
        else:
            if found.shape[2] != 1:
                raise MarginomeError(
                    f"the measure gave {found.shape[2]} effects per background, expected one",
                    where=f"output '{output.name}', measure {output.measure}",
                )
            after.append(torch.full((len(found), 1), float("nan"), dtype=torch.float64, device=found.device))
    profiles = {name: (logits.cpu() / n, probs.cpu() / n) for name, (logits, probs) in sums.items()}
    return BlockEffects(torch.cat(effects, 2).cpu(), torch.cat(after, 1).cpu(), profiles, {})
