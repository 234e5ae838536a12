"""Predictions of a model on a background set, computed once and shared by every insert, shard and control."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from marginome.arrays import dataset, hdf5_name, read_hdf5, write_hdf5
from marginome.devices import precision_context, resolve_device
from marginome.effects import saturated
from marginome.errors import MarginomeError
from marginome.fasta import read_background
from marginome.models.loading import LoadedModel, load_model
from marginome.prediction import predict
from marginome.sequences import one_hot_encode
from marginome.storage import damaged, sha256_of

log = logging.getLogger("marginome")


def predict_baseline(
    settings: Mapping[str, Any],
    *,
    name: str,
    digests: Mapping[str, str],
    engine: Mapping[str, Any],
    device: str,
    check: str | os.PathLike,
    fasta: str | os.PathLike,
    predictions: str | os.PathLike,
) -> None:
    """Predict every background and write the readouts.

    Parameters
    ----------
    settings : mapping
        The model's entry in the config.
    name : str
        The model's name.
    digests : mapping
        SHA-256 of the model's files, by path.
    engine : mapping
        precision, threads, ... of the run.
    device : str
        Where to compute: cpu or cuda:<index>.
    check : path
        What `check_model` found.
    fasta : path
        The background set.
    predictions : path
        HDF5 to write: ``outputs/<name>`` (backgrounds, ...) float32, or float64 in that precision; ``ids``.
    """
    loaded, ids, X = load_inputs(settings, name=name, fasta=fasta, precision=engine["precision"])
    where = resolve_device(device)
    log.info("model %s (%s), %d backgrounds of %d bp on %s, %s", name, loaded.loader, len(ids), X.shape[2], where,
             engine["precision"])  # fmt: skip
    with precision_context(engine["precision"], where):
        outputs = predict(
            loaded.readouts(), X, args=loaded.arguments(ids, X) or None, batch_size=BATCH, device=where, verbose=False
        )
    metadata = {
        "model": name,
        "model_files": dict(digests),
        "fasta": str(fasta),
        "fasta_sha256": sha256_of(fasta),
        "device": where.type,
        "precision": engine["precision"],
    }
    double = engine["precision"] == "float64"
    with write_hdf5(predictions, metadata) as handle:
        handle.attrs["length_bp"] = X.shape[2]
        handle.create_dataset("ids", data=np.array(ids, dtype=object), dtype=_text())
        for output in loaded.outputs:
            values = outputs[output.name].to(torch.float64 if double else torch.float32).numpy()
            if not np.isfinite(values).all():
                bad = [ids[i] for i in np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[:5]]
                raise MarginomeError(
                    f"the prediction is not finite for backgrounds {bad}",
                    where=f"model '{name}', output '{output.name}'",
                )
            made = dataset(handle, f"outputs/{hdf5_name(output.name)}", data=values, unit=output.unit)
            made.attrs["kind"] = output.kind
            made.attrs["names"] = json.dumps(list(output.names))
            made.attrs["softmax"] = output.softmax or ""
            found = saturated(values, engine["precision"] if engine["precision"] != "tf32" else "float32")
            if found:
                log.warning("note: output %s: %s", output.name, found)
            log.info("output %s %s: mean %.4g, sd %.4g", output.name, values.shape, values.mean(), values.std())


BATCH = 32  # one size for every run: kernels round differently at another


def load_inputs(
    settings: Mapping[str, Any], *, name: str, fasta: str | os.PathLike, precision: str = "float32"
) -> tuple[LoadedModel, list[str], torch.Tensor]:
    """Load a model and a background set and check that they fit.

    Returns
    -------
    loaded : LoadedModel
    ids : list of str
    X : torch.Tensor, int8, (backgrounds, 4, length)
    """
    loaded = load_model(name, dict(settings), precision=precision)
    ids, sequences = read_background(fasta)
    length = len(sequences[0])
    if loaded.input_length and length != loaded.input_length:
        raise MarginomeError(
            f"the backgrounds are {length} bp, the model wants {loaded.input_length} bp",
            where=f"model '{name}', {fasta}",
            remedy="Set the background set's length to the model's input_length.",
        )
    return loaded, ids, torch.stack([one_hot_encode(sequence) for sequence in sequences])


def read_baseline(
    path: str | os.PathLike, names: list[str], *, fasta: str | os.PathLike, device: torch.device
) -> dict[str, torch.Tensor]:
    """Read the baseline of some outputs onto the device; it must have been made from this very background set."""
    with read_hdf5(path) as handle:
        metadata = json.loads(handle.attrs["marginome"])
        found = {name: torch.from_numpy(handle[f"outputs/{hdf5_name(name)}"][...]).to(device) for name in names}
    if metadata["fasta_sha256"] != sha256_of(fasta):
        raise damaged(path, "it was made from another version of the background set")
    return found


def _text() -> Any:
    import h5py

    return h5py.string_dtype()
