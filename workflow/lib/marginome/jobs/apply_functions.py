"""Function marginalization: attributions (or the user's function) of backgrounds before and after every insert."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import torch

from marginome.arrays import dataset, fill, write_hdf5
from marginome.attribution import EditAttributor
from marginome.attribution.functions import FUNCTIONS, Asked
from marginome.devices import peak_memory, precision_context, resolve_device
from marginome.errors import MarginomeError
from marginome.footprint import memory_of_attributions
from marginome.functions import functions_of, target_group, window_of
from marginome.incremental import Edits
from marginome.jobs.each_model import each_part
from marginome.jobs.predict_baseline import load_fitting, read_backgrounds
from marginome.jobs.runner import Progress
from marginome.models.effect_columns import select_outputs
from marginome.models.loading import LoadedModel
from marginome.models.outputs import Readouts
from marginome.placing import read_inserts
from marginome.prediction import Readout
from marginome.seeds import stable_seed
from marginome.shards import share_of_shard
from marginome.shuffles import dinucleotide_shuffle
from marginome.storage import to_json
from marginome.substitution import encode_insert
from marginome.usercode import load_user_object

log = logging.getLogger("marginome")


# Numbers of which the mean is taken at a time: those of all backgrounds at all positions of a long model are many.
_AT_A_TIME = 1 << 24
#: Bytes for a base of a sequence that an attribution takes, beside a byte for each of its references.
_OF_AN_ATTRIBUTION = 8

#: Convergence deltas above this are mentioned, as `deep_lift_shap` does.
WORST_DELTA = 1e-3


#: Targets of all outputs together; each costs as much as the first.
MOST_TARGETS = 16


class Target(NamedTuple):
    """One target of one output, as a model that returns it."""

    name: str
    unit: str
    module: torch.nn.Module
    index: int


class Windowed(NamedTuple):
    """What a function gave, averaged over the backgrounds.

    Attributes
    ----------
    mean, sd : numpy.ndarray, float64, (4, window) or of the user's shape
        Over backgrounds.
    """

    mean: np.ndarray
    sd: np.ndarray


class Applier:
    """Applies a screen's functions to sequences that are the backgrounds, or the backgrounds after one insert.

    Parameters
    ----------
    loaded : LoadedModel
    screen : mapping
        ``outputs, functions, function_settings`` of the screen's entry.
    X : torch.Tensor, int8, (backgrounds, 4, length)
    ids : sequence of str
        Of the backgrounds; the seed of a sequence's references is made of it.
    seed : int
    engine : mapping
    device : torch.device
    where : str
        For messages.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        screen: Mapping[str, Any],
        X: torch.Tensor,
        ids: Sequence[str],
        *,
        seed: int,
        engine: Mapping[str, Any],
        device: torch.device,
        where: str,
    ):
        self.X, self.engine, self.device = X, engine, device
        self.memory_bytes = memory_of_attributions(engine["memory_mb"], device)
        self.args = loaded.arguments(list(ids), X) or None
        self.settings = screen["function_settings"]
        self.functions = functions_of(screen)
        self.user = {
            name: load_user_object(entry["function"], where=f"{where}.functions")
            for name, entry in self.functions
            if entry
        }
        self.targets = _targets(loaded, screen["outputs"], where)
        self.seeds = [stable_seed(seed, "references", name) for name in ids]
        self._attributors: dict[torch.nn.Module, EditAttributor] = {}

    def __call__(self, edits: Edits | None, start: int, end: int) -> Iterator[tuple[str, str, Windowed]]:
        """Yield function, target and its mean over the sequences, attributions in positions start to end.

        The sequences are the backgrounds, or, with one edit for each, the backgrounds after it.
        """
        X = self.X if edits is None else edits.apply(self.X)
        for name, entry in self.functions:
            for target in self.targets:
                found = Moments()
                if name == "deep_lift_shap" and self.settings["references"] == "background":
                    found.add(self._against_backgrounds(target, edits, start, end))
                else:
                    for values in self._values(name, entry, target, X, start, end):
                        whole = tuple(values.shape[1:]) == tuple(X.shape[1:])
                        found.add((values[:, :, start:end] if whole else values).cpu())
                if not np.isfinite(found.mean).all():
                    raise MarginomeError("the function returned values that are not finite", where=f"functions: {name}")
                yield name, target.name, Windowed(found.mean, found.sd())

    def _against_backgrounds(self, target: Target, edits: Edits | None, first: int, last: int) -> torch.Tensor:
        """Return attributions (backgrounds, 4, last - first) with each sequence's own background as its reference."""
        if edits is None:  # compared with itself a sequence has none
            return torch.zeros(1, 4, last - first).expand(len(self.X), -1, -1)
        values = torch.zeros(len(self.X), 4, last - first)
        if target.module not in self._attributors:
            self._attributors[target.module] = EditAttributor(
                target.module, self.X, self.args, device=self.device, precision=self.engine["precision"],
                engine=self.engine["engine"], memory_bytes=self.memory_bytes,
            )  # fmt: skip
        found = self._attributors[target.module](edits, torch.arange(len(self.X)), target.index)
        if not float(found.deltas.max()) <= WORST_DELTA:  # NaN is no small delta
            log.warning(
                "%s: attributions of an insert miss the change of the output by up to %.2g", target.name,
                float(found.deltas.max()),
            )  # fmt: skip
        start, width = int(edits.starts[0]) - first, found.attributions.shape[2]
        values[:, :, start : start + width] = found.attributions
        return values

    def _values(
        self, name: str, entry: Mapping[str, Any], target: Target, X: torch.Tensor, start: int, end: int
    ) -> Iterator[torch.Tensor]:
        """Yield what a function gives for the sequences, a few at a time where it is one of ours."""
        if name in FUNCTIONS:
            # references and attributions of all long sequences would take more than the model
            each = X[0].numel() * (self.settings.get("n_references", 1) + _OF_AN_ATTRIBUTION)
            size = max(1, (self.engine["memory_mb"] << 20) // 8 // each)
            for i in range(0, len(X), size):
                rows = slice(i, i + size)
                asked = Asked(
                    target.module, X[rows], self.args and [a[rows] for a in self.args], target.index,
                    functools.partial(self._references, X[rows], rows), self.device, self.engine["precision"],
                    self.engine["engine"], span=(start, end), memory_bytes=self.memory_bytes,
                )  # fmt: skip
                yield FUNCTIONS[name](asked).attributions
            return
        function: Callable = self.user[name]
        with precision_context(self.engine["precision"], self.device), torch.enable_grad():  # it may want gradients
            module = target.module.to(self.device)
            values = function(module, X.to(self.device), args=self.args, **entry.get("arguments", {}))
        if not isinstance(values, torch.Tensor):
            raise MarginomeError(
                f"the function returned {type(values).__name__}", where=f"functions: {name}", remedy="Return a tensor."
            )
        if values.ndim < 1 or len(values) != len(X):
            raise MarginomeError(
                f"the function returned shape {tuple(values.shape)} for {len(X)} sequences",
                where=f"functions: {name}",
                remedy="Return a tensor whose first axis is the sequences.",
            )
        yield values.detach()

    def _references(self, X: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return what the sequences of some backgrounds are compared with, (backgrounds, references, 4, length)."""
        if self.settings["references"] == "background":
            return self.X[rows, None]
        return dinucleotide_shuffle(X, n=self.settings["n_references"], random_state=self.seeds[rows], allow_N=True)


class Moments:
    """Mean and standard deviation over the first axis of tensors that come one after the other, in float64.

    Attributes
    ----------
    n : int
        Entries so far.
    mean : numpy.ndarray
    """

    def __init__(self):
        self.n, self.mean, self._squares = 0, np.zeros(()), np.zeros(())

    def add(self, values: torch.Tensor) -> None:
        """Take more entries in, a few columns at a time."""
        flat = values.reshape(len(values), -1)
        if not self.n:
            self.mean, self._squares = np.zeros(values.shape[1:]), np.zeros(values.shape[1:])
        mean, squares, n = self.mean.reshape(-1), self._squares.reshape(-1), self.n + len(flat)
        size = max(1, _AT_A_TIME // len(flat))
        for i in range(0, flat.shape[1], size):
            some, columns = flat[:, i : i + size].double().numpy(), slice(i, i + size)
            theirs = some.mean(0)
            between = theirs - mean[columns]
            squares[columns] += ((some - theirs) ** 2).sum(0) + between**2 * (self.n * len(some) / n)
            mean[columns] += between * (len(some) / n)
        self.n = n

    def sd(self) -> np.ndarray:
        """Return the standard deviation; NaN of one entry."""
        return np.sqrt(self._squares / (self.n - 1)) if self.n > 1 else np.full(self.mean.shape, np.nan)


def _targets(loaded: LoadedModel, names: Sequence[str] | None, where: str) -> list[Target]:
    found = []
    for output in select_outputs(loaded.outputs, names, where=f"{where}.outputs"):
        profile = output.kind == "profile"
        module = Readout(Readouts(loaded.module, (output,)), output.name, reduce="profile" if profile else None).eval()
        labels = (output.name,) if profile else output.names
        found += [Target(label, output.unit, module, i) for i, label in enumerate(labels)]
    if len(found) > MOST_TARGETS:
        raise MarginomeError(
            f"functions of {len(found)} targets would cost {len(found)} times as much as one",
            where=f"{where}.outputs",
            remedy=f"Name outputs with {MOST_TARGETS} targets or fewer; an index of the model's outputs selects some.",
        )
    return found


def apply_functions(
    models: Mapping[str, Mapping[str, Any]],
    *,
    name: str,
    digests: Mapping[str, Mapping[str, str]],
    screen: Mapping[str, Any],
    seed: int,
    engine: Mapping[str, Any],
    device: str,
    fasta: str | os.PathLike,
    inserts: str | os.PathLike | None,
    shard: str,
    output: str | os.PathLike,
) -> None:
    """Apply a screen's functions to the backgrounds themselves (once), or to a shard's inserts in them.

    Parameters
    ----------
    models : mapping
        The entries in the config of a batch's models, by name.
    name : str
        Of the entry in the config, e.g. ``screens.ctcf``.
    digests : mapping
        Digests of each model's files, by path (`provenance.content_digests`).
    screen : mapping
        ``outputs, functions, function_settings`` of the screen's entry.
    seed : int
        The config's seed.
    engine : mapping
        precision, engine, threads, memory_mb of the run.
    device : str
        Where to compute: cpu or cuda:<index>.
    fasta : path
        The background set.
    inserts : path or None
        The insert list; None for the backgrounds as they are, over their whole length.
    shard : str
        ``3-of-16``.
    output : path
        HDF5: ``<model>/<function>/<target>/{mean,sd}``, with a leading axis of inserts (float32), and their ``rows``
        and ``window``; of a model that failed the reason (`marginome.batch_files`).
    """
    ids, X = read_backgrounds(fasta)
    table = None if inserts is None else read_inserts(inserts, X.shape[2])
    where = resolve_device(device)
    metadata = {"screen": dict(screen), "seed": seed, "shard": shard, "device": where.type,
                "precision": engine["precision"], "threads": engine["threads"]}  # fmt: skip

    def apply_one(model: str, group: h5py.Group) -> None:
        loaded = load_fitting(models[model], name=model, length=X.shape[2], fasta=fasta, precision=engine["precision"])
        apply = Applier(
            loaded, screen, X, ids, seed=seed, engine=engine, device=where, where=f"config: {name}"
        )  # fmt: skip
        described = {"model": model, "model_files": dict(digests[model]), **metadata}
        group.attrs["marginome"] = to_json(described, sort_keys=True)
        if table is None:
            for function, target, found in apply(None, 0, X.shape[2]):
                made = target_group(group, function, target)
                dataset(made, "mean", data=found.mean.astype(np.float32))
                dataset(made, "sd", data=found.sd.astype(np.float32))
        else:
            _apply_to_inserts(apply, group, table, X, shard, screen["function_settings"]["flank"])

    with write_hdf5(output, metadata) as handle:
        handle.attrs["length_bp"] = X.shape[2]
        each_part(handle, list(models), apply_one, output=output)
    log.info("peak memory %.0f MB", peak_memory(where) / 2**20)


def _apply_to_inserts(
    apply: Applier, made: h5py.Group, table: pd.DataFrame, X: torch.Tensor, shard: str, flank: int
) -> None:
    """Write what the functions give in a window around each insert of a shard, in the backgrounds after it."""
    motif = np.flatnonzero((table["role"] == "motif").to_numpy())
    number, _, count = shard.partition("-of-")
    rows = share_of_shard(motif, int(number), int(count))
    widest = int(table["insert"].str.len().max()) if len(motif) else 0
    size = widest + 2 * flank
    dataset(made, "rows", data=rows)
    made.attrs["window"] = size
    progress = Progress(len(rows), "inserts")
    for k, row in enumerate(rows):
        text, start = table["insert"].iloc[row], int(table["start"].iloc[row])
        edits = Edits.stack([encode_insert(text)[0].to(torch.int8)] * len(X), [start] * len(X))
        first, last, column = window_of(start, len(text), size, X.shape[2])
        for function, target, found in apply(edits, first, last):
            group = target_group(made, function, target)
            for label, values in (("mean", found.mean), ("sd", found.sd)):
                if values.shape == (4, last - first):
                    padded = np.full((4, size), np.nan)
                    padded[:, column : column + last - first] = values
                    values = padded
                if label not in group:
                    shape = (len(rows), *values.shape)
                    dataset(group, label, shape=shape, dtype="f4", chunks=(1, *(values.shape or ())), fillvalue=np.nan)
                fill(group[label], k, values)
        progress.update(1)
