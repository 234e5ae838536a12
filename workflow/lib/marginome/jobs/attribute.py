"""Attributions of the loci of one shard, with the gate on their convergence deltas."""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch

from marginome.arrays import append, write_hdf5
from marginome.attribution import deep_lift_shap
from marginome.attribution.functions import FUNCTIONS, Asked
from marginome.attribution.functions import Attributed as Found
from marginome.attribution_file import CHUNK_BYTES
from marginome.attribution_names import ATTRIBUTIONS, METHODS
from marginome.devices import peak_memory, resolve_device
from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.fasta import count_sequences, read_background, read_some
from marginome.footprint import memory_of_attributions
from marginome.jobs.runner import Progress
from marginome.models.loading import LoadedModel, load_model
from marginome.models.outputs import Readouts
from marginome.prediction import Readout
from marginome.seeds import stable_seed
from marginome.sequences import one_hot_encode
from marginome.shards import rows_of_shard, whole_blocks
from marginome.shuffles import dinucleotide_shuffle

log = logging.getLogger("marginome")


# Loci computed and written together, where they have room. It is what a locus's last digits may depend on, and what a
# shard is made of.
BLOCK = {"cpu": 8, "cuda": 64}
#: Bytes of the host for a base of a locus: what a member of an ensemble gives, kept, averaged and written.
_OF_A_MEMBER = 16


class Attributed(NamedTuple):
    """Attributions of a block of loci.

    Attributes
    ----------
    hypothetical : torch.Tensor, float32, (n, 4, length)
        Mean over the ensemble's members.
    observed : torch.Tensor, float32, (n, length)
        Of the base that is there.
    member_sd : torch.Tensor or None
        Ensembles: standard deviation of `observed` between members, (n, length).
    deltas : torch.Tensor, float32, (n, references)
        Largest convergence delta of any member; no references with mutagenesis alone.
    method : torch.Tensor, uint8, (n,)
        Index into `METHODS`.
    """

    hypothetical: torch.Tensor
    observed: torch.Tensor
    member_sd: torch.Tensor | None
    deltas: torch.Tensor
    method: torch.Tensor


def attribute_shard(
    settings: Mapping[str, Any],
    *,
    name: str,
    model: str,
    digests: Mapping[str, str],
    attribution: Mapping[str, Any],
    seed: int,
    engine: Mapping[str, Any],
    device: str,
    fasta: str | os.PathLike,
    references: str | os.PathLike | None,
    shard: str,
    output: str | os.PathLike,
) -> None:
    """Attribute the loci of one shard and stream them to HDF5.

    Parameters
    ----------
    settings, model, digests
        The model's entry, name and file digests.
    name : str
        Of the entry of ``attributions:``.
    attribution : mapping
        ``output, target, method, references, max_delta, on_exceed, precision_bits`` of the entry.
    seed : int
        The config's seed; the references of a locus depend on it and on the locus's id alone.
    engine : mapping
        precision, engine, threads, memory_mb of the run.
    device : str
        Where to compute: cpu or cuda:<index>.
    fasta : path
        The loci.
    references : path or None
        FASTA of the background set that are the references.
    shard : str
        ``3-of-16``.
    output : path
        HDF5 to write; the datasets of `merge_attributions`.
    """
    where = resolve_device(device)
    loaded = load_model(model, dict(settings), precision=engine["precision"])
    chosen, target = choose_output(loaded, attribution["output"], attribution["target"], where=f"attributions.{name}")
    number, _, count = shard.partition("-of-")
    total = count_sequences(fasta)
    blocks = whole_blocks(total, BLOCK[where.type], int(number), int(count))
    shared = None if references is None else torch.stack([one_hot_encode(s) for s in read_background(references)[1]])
    start, stop = rows_of_shard(total, BLOCK[where.type], int(number), int(count))
    log.info("shard %s: loci %d to %d, %s of output %s on %s", shard, start, stop, attribution["method"],
             chosen.name, where)  # fmt: skip
    metadata = {
        "attribution": name, "model": model, "model_files": dict(digests), "output": chosen.name, "target": target,
        "unit": chosen.unit, "kind": chosen.kind, "method": attribution["method"],
        "references": attribution["references"],
        "max_delta": attribution["max_delta"], "on_exceed": attribution["on_exceed"], "seed": seed,
        "members": loaded.members, "device": where.type, "precision": engine["precision"],
        "threads": engine["threads"], "block": BLOCK[where.type],
    }  # fmt: skip
    attributor = _Attributor(loaded, chosen, target, attribution, engine, where, seed, shared)
    progress = Progress(stop - start, "loci")
    rows = read_some(fasta, start, stop)
    most = attributor.loci_at_once(engine["memory_mb"])
    with write_hdf5(output, metadata) as handle:
        handle.attrs["rows"] = (start, stop)
        for size in [min(most, block.stop - i) for block in blocks for i in range(block.start, block.stop, most)]:
            ids, sequences = zip(*islice(rows, size))
            X = torch.stack([one_hot_encode(sequence) for sequence in sequences])
            found = attributor(list(ids), X)
            _write_block(handle, ids, X, found, attributor.seeds(ids), attribution["precision_bits"])
            progress.update(len(ids))
        if attributor.exceeded:
            log.warning("%d loci have convergence deltas above %g (%s)", attributor.exceeded,
                        attribution["max_delta"], attribution["on_exceed"])  # fmt: skip
    log.info("peak memory %.0f MB", peak_memory(where) / 2**20)


def choose_output(loaded: LoadedModel, output: str | None, target: str | int | None, *, where: str) -> tuple[Any, int]:
    """Return the output of a model and the number of the target that an entry asks for."""
    known = [o.name for o in loaded.outputs]
    if output is None and len(known) > 1:
        raise MarginomeError(f"the model has {len(known)} outputs", where=where, remedy=f"One of {', '.join(known)}.")
    if output is not None and output not in known:
        raise unknown_name("output", output, known, where=f"{where}.output")
    chosen = loaded.outputs[known.index(output) if output is not None else 0]
    if chosen.kind == "profile":
        return chosen, 0
    if target is None:
        if len(chosen.names) > 1:
            raise MarginomeError(
                f"output '{chosen.name}' has {len(chosen.names)} targets", where=f"{where}.target",
                remedy=f"Give one of {', '.join(chosen.names[:8])}{', ...' if len(chosen.names) > 8 else ''}.",
            )  # fmt: skip
        return chosen, 0
    if isinstance(target, int):
        if target >= len(chosen.names):
            raise MarginomeError(f"{target}, but there are {len(chosen.names)} targets", where=f"{where}.target")
        return chosen, target
    if target not in chosen.names:
        raise unknown_name("target", target, chosen.names, where=f"{where}.target")
    return chosen, chosen.names.index(target)


class _Attributor:
    """Attributes blocks of loci by every member of a model, and applies the gate on convergence deltas."""

    def __init__(
        self,
        loaded: LoadedModel,
        output: Any,
        target: int,
        attribution: Mapping[str, Any],
        engine: Mapping[str, Any],
        device: torch.device,
        seed: int,
        references: torch.Tensor | None,
    ):
        reduce = "profile" if output.kind == "profile" else None
        self.models = [
            Readout(Readouts(loaded.member(i).module, (output,)), output.name, reduce=reduce)
            for i in range(loaded.members)
        ]
        self.loaded, self.output, self.target, self.settings = loaded, output, target, attribution
        self.engine, self.device, self.seed, self.references = engine, device, seed, references
        self.exceeded = 0

    def seeds(self, ids: Sequence[str]) -> list[int]:
        """Return the seed of the references of each locus."""
        return [stable_seed(self.seed, "references", name) for name in ids]

    def loci_at_once(self, memory_mb: int) -> int:
        """Return how many loci have room in half of a memory, with the references that are drawn for each."""
        drawn = self.settings["method"] != "saturation_mutagenesis" and self.references is None
        references = self.settings["references"]["n"] if drawn else 0
        locus = 4 * self.loaded.input_length * (references + _OF_A_MEMBER * len(self.models))
        return max(1, (memory_mb << 19) // locus)

    def __call__(self, ids: list[str], X: torch.Tensor) -> Attributed:
        args = self.loaded.arguments(ids, X)
        method = torch.full((len(ids),), METHODS.index(self.settings["method"]), dtype=torch.uint8)
        drawn = functools.cache(lambda: self._references(ids, X))  # the same for all members
        parts, deltas = [], []
        for model in self.models:
            found = self._attribute(self.settings["method"], model, X, args, drawn)
            parts.append(found.attributions.float())
            if found.deltas is not None:
                deltas.append(found.deltas.float())
        if not deltas:
            return self._together(parts, X, torch.zeros(len(ids), 0), method)
        worst = torch.stack(deltas).amax(0)
        over = ~(worst <= self.settings["max_delta"]).all(1)  # NaN is over
        if over.any():
            self._gate(ids, X, args, drawn(), worst, over)
            if self.settings["on_exceed"] == "mutagenesis":
                some = tuple(a[over] for a in args)
                for part, model in zip(parts, self.models):
                    part[over] = self._attribute("saturation_mutagenesis", model, X[over], some).attributions.float()
                method[over] = METHODS.index("saturation_mutagenesis")
        return self._together(parts, X, worst, method)

    def _gate(
        self,
        ids: list[str],
        X: torch.Tensor,
        args: tuple,
        references: torch.Tensor,
        deltas: torch.Tensor,
        over: torch.Tensor,
    ) -> None:
        """Stop, or say once, that deltas are too high, and why."""
        first = self.exceeded == 0
        self.exceeded += int(over.sum())
        if not first:
            return
        locus, reference = divmod(int(deltas.argmax()), deltas.shape[1])  # NaN counts as the largest
        one = slice(locus, locus + 1)
        drawn = references if references.ndim == 3 else references[locus]
        reason, remedy = self._diagnosis(X[one], tuple(a[one] for a in args), drawn[reference][None, None])
        what = (
            f"the convergence delta of locus {ids[locus]} and reference {reference} is {float(deltas.max()):.3g} "
            f"{self.output.unit}, more than max_delta {self.settings['max_delta']:g}; {reason}"
        )
        if self.settings["on_exceed"] == "fail":
            raise MarginomeError(what, where=f"model '{self.loaded.name}', output '{self.output.name}'", remedy=remedy)
        log.warning("%s", what)

    def _diagnosis(self, X: torch.Tensor, args: tuple, reference: torch.Tensor) -> tuple[str, str]:
        """Return why a pair's delta is high, told by the same in float64, and what can be done about it."""
        limit, exact, said = self.settings["max_delta"], 0.0, []
        other = "Set method: saturation_mutagenesis, on_exceed: mutagenesis or warn, or raise max_delta."
        if self.settings["method"] != "deep_lift_shap":
            return (
                f"{ATTRIBUTIONS[self.settings['method']]} add up to the output's difference no better than that",
                other,
            )
        for model in self.models:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    found = deep_lift_shap(
                        model, X, args=args or None, target=self.target, references=reference, device=self.device,
                        warning_threshold=limit, return_deltas=True, dtype="float64",
                    )  # fmt: skip
                except (RuntimeError, MarginomeError) as error:
                    why = f"the model does not run in float64 ({first_line(error)})"
                    return f"whether this is rounding is not known: {why}", other
            exact = max(exact, float(found.deltas.nan_to_num(torch.inf).max()))
            said += [str(w.message).partition(":")[0] for w in caught if str(w.message).startswith("no DeepLIFT rule")]
        if exact <= limit:
            finer = "float64" if self.engine["precision"] == "float32" else "float32"
            return f"in float64 it is {exact:.1g}: this is rounding", f"Raise max_delta, or set precision: {finer}."
        if said:
            return said[0], other
        return (
            f"in float64 it is {exact:.3g}, so this is no rounding, and no operation without a rule was seen: does the "
            "model draw random numbers, mix the sequences of a batch, or divide by 0?",
            other,
        )

    def _references(self, ids: list[str], X: torch.Tensor) -> torch.Tensor:
        if self.references is not None:
            return self.references
        n = self.settings["references"]["n"]
        return dinucleotide_shuffle(X, n=n, random_state=self.seeds(ids), allow_N=True)

    def _attribute(
        self,
        method: str,
        model: torch.nn.Module,
        X: torch.Tensor,
        args: tuple,
        references: Callable[[], torch.Tensor] | None = None,
    ) -> Found:
        asked = Asked(
            model, X, args or None, self.target, references, self.device, self.engine["precision"],
            self.engine["engine"], hypothetical=True, quiet=True,
            memory_bytes=memory_of_attributions(self.engine["memory_mb"], self.device),
        )  # fmt: skip
        return FUNCTIONS[method](asked)

    def _together(
        self, parts: list[torch.Tensor], X: torch.Tensor, deltas: torch.Tensor, method: torch.Tensor
    ) -> Attributed:
        observed = torch.stack([(part * X).sum(1) for part in parts])
        member_sd = observed.double().std(0).float() if len(parts) > 1 else None
        hypothetical = torch.stack(parts).double().mean(0).float()
        return Attributed(hypothetical, observed.double().mean(0).float(), member_sd, deltas, method)


def _write_block(
    handle: h5py.File, ids: Sequence[str], X: torch.Tensor, found: Attributed, seeds: Sequence[int], bits: int
) -> None:
    largest = float(found.hypothetical.abs().max())
    if not np.isfinite(largest):
        bad = ids[int((~found.hypothetical.isfinite()).flatten(1).any(1).nonzero()[0])]
        raise MarginomeError(f"the attributions of locus {bad} are not finite", remedy="Check the model on it.")
    if bits == 16 and largest > 6e4:
        raise MarginomeError(
            f"an attribution of {largest:.3g} is too large for 16 bits", where="precision_bits", remedy="Set it to 32."
        )
    kind = np.float16 if bits == 16 else np.float32
    columns = {
        "ids": np.array(ids, dtype=object),
        "sequences": X.to(torch.int8).numpy(),
        "hypothetical": found.hypothetical.numpy().astype(kind),
        "observed": found.observed.numpy().astype(kind),
        "deltas": found.deltas.numpy(),
        "method": found.method.numpy(),
        "seeds": np.array(seeds, dtype=np.int64),
    }
    if found.member_sd is not None:
        columns["member_sd"] = found.member_sd.numpy().astype(kind)
    for name, values in columns.items():
        append(handle, name, values, chunk_bytes=CHUNK_BYTES)
