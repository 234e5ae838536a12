"""Predictions of models on a background set, computed once and shared by every insert, shard and control."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import torch

from marginome.arrays import dataset, hdf5_name, write_hdf5
from marginome.batch_files import failed_records, part_of
from marginome.devices import precision_context, resolve_device
from marginome.effects import saturated
from marginome.errors import MarginomeError
from marginome.fasta import read_background
from marginome.footprint import sequences_at_once
from marginome.jobs.each_model import each_part
from marginome.models.loading import LoadedModel, load_model
from marginome.prediction import predict
from marginome.sequences import one_hot_encode
from marginome.storage import damaged, sha256_of, to_json

log = logging.getLogger("marginome")


def predict_baselines(
    models: Mapping[str, Mapping[str, Any]],
    *,
    digests: Mapping[str, Mapping[str, str]],
    engine: Mapping[str, Any],
    device: str,
    check: str | os.PathLike,
    fasta: str | os.PathLike,
    predictions: str | os.PathLike,
) -> None:
    """Predict every background with every model of a batch and write the readouts.

    Parameters
    ----------
    models : mapping
        The models' entries in the config, by name.
    digests : mapping
        Digests of each model's files, by path (`provenance.content_digests`).
    engine : mapping
        precision, threads, memory_mb, ... of the run.
    device : str
        Where to compute: cpu or cuda:<index>.
    check : path
        What `check_models` found: models that failed there are passed over.
    fasta : path
        The background set.
    predictions : path
        HDF5 to write: ``ids``, and for each model ``<model>/outputs/<name>`` (backgrounds, ...) float32, or float64 in
        that precision, or why it failed (`marginome.batch_files`).
    """
    ids, X = read_backgrounds(fasta)
    where = resolve_device(device)
    metadata = {
        "fasta": os.path.basename(fasta),
        "fasta_sha256": sha256_of(fasta),
        "device": where.type,
        "precision": engine["precision"],
    }

    def predict_one(name: str, group: h5py.Group) -> None:
        loaded = load_fitting(models[name], name=name, length=X.shape[2], fasta=fasta, precision=engine["precision"])
        log.info("model %s (%s), %d backgrounds of %d bp on %s, %s", name, loaded.loader, len(ids), X.shape[2], where,
                 engine["precision"])  # fmt: skip
        model, args = loaded.readouts(), loaded.arguments(ids, X)
        run = functools.partial(predict, model, device=where, verbose=False)
        memory = int(engine["memory_mb"]) << 19
        with precision_context(engine["precision"], where):
            size = sequences_at_once(run, X, args, memory_bytes=memory, most=BATCH)
            outputs = run(X, args, batch_size=size)
        group.attrs["marginome"] = to_json({"model": name, "model_files": dict(digests[name])}, sort_keys=True)
        _write_outputs(group, name, loaded, ids, outputs, engine["precision"])

    with write_hdf5(predictions, metadata) as handle:
        handle.attrs["length_bp"] = X.shape[2]
        handle.create_dataset("ids", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
        each_part(handle, list(models), predict_one, output=predictions, failed=failed_records(check))


def _write_outputs(
    group: h5py.Group,
    name: str,
    loaded: LoadedModel,
    ids: list[str],
    outputs: Mapping[str, torch.Tensor],
    precision: str,
) -> None:
    double = precision == "float64"
    for output in loaded.outputs:
        values = outputs[output.name].to(torch.float64 if double else torch.float32).numpy()
        if not np.isfinite(values).all():
            bad = [ids[i] for i in np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[:5]]
            raise MarginomeError(
                f"the prediction is not finite for backgrounds {bad}",
                where=f"model '{name}', output '{output.name}'",
            )
        made = dataset(group, f"outputs/{hdf5_name(output.name)}", data=values, unit=output.unit)
        made.attrs["kind"] = output.kind
        made.attrs["names"] = json.dumps(list(output.names))
        made.attrs["softmax"] = output.softmax or ""
        if output.kind == "profile":
            made.attrs["bin_bp"], made.attrs["first_bp"] = output.bin or 0, output.first or 0
        found = saturated(values, precision if precision != "tf32" else "float32")
        if found:
            log.warning("note: output %s: %s", output.name, found)
        log.info("output %s %s: mean %.4g, sd %.4g", output.name, values.shape, values.mean(), values.std())


# Sequences together where a model is not too large for the run's memory, of which half is for their activations; one
# size for every run, since kernels round differently at another.
BATCH = 32


def read_backgrounds(fasta: str | os.PathLike) -> tuple[list[str], torch.Tensor]:
    """Read a background set: ids, and the sequences one-hot, int8, (backgrounds, 4, length)."""
    ids, sequences = read_background(fasta)
    return ids, torch.stack([one_hot_encode(sequence) for sequence in sequences])


def load_fitting(
    settings: Mapping[str, Any], *, name: str, length: int, fasta: str | os.PathLike, precision: str = "float32"
) -> LoadedModel:
    """Load a model and check that it takes the sequences of a background set."""
    loaded = load_model(name, dict(settings), precision=precision)
    if loaded.input_length and length != loaded.input_length:
        raise MarginomeError(
            f"the backgrounds are {length} bp, the model wants {loaded.input_length} bp",
            where=f"model '{name}', {fasta}",
            remedy="Set the background set's length to the model's input_length.",
        )
    return loaded


def check_baseline(handle: h5py.File, fasta: str | os.PathLike) -> None:
    """Refuse an open baseline that was not made from this very background set."""
    if json.loads(handle.attrs["marginome"])["fasta_sha256"] != sha256_of(fasta):
        raise damaged(handle.filename, "it was made from another version of the background set")


def read_baseline(handle: h5py.File, model: str, names: list[str], *, device: torch.device) -> dict[str, torch.Tensor]:
    """Read the baseline of some of a model's outputs onto the device."""
    part = part_of(handle, model)
    return {name: torch.from_numpy(part[f"outputs/{hdf5_name(name)}"][...]).to(device) for name in names}
