"""Checks of a model before anything long runs with it: what it is, whether it behaves, and how to run it best."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginome.batches import BATCH_TOLERANCE
from marginome.devices import (
    device_name,
    is_out_of_memory,
    peak_memory,
    resolve_device,
)
from marginome.effects import saturated
from marginome.errors import MarginomeError, called
from marginome.incremental.double import FewOutputs
from marginome.incremental.engine import memory_to_keep_to
from marginome.model_check.attribution import check_attribution
from marginome.model_check.budget import Cost, Part, Parts
from marginome.model_check.engine import NOT_RUN, check_engine, engine_like
from marginome.model_check.running import Runner, cost_of, finite_or_none, seconds_of
from marginome.models.effect_columns import output_measure
from marginome.models.loading import LoadedModel
from marginome.seeds import stable_seed
from marginome.sequences import random_one_hot

log = logging.getLogger("marginome")

N_SEQUENCES = 8
# Relative to the spread of an output between sequences, which is what an effect is read against.
PRECISION_WARNING = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 1e-1, "float64": 1e-9}


def check_model(
    loaded: LoadedModel,
    X: Tensor | None = None,
    args: Sequence[Tensor] | None = None,
    *,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    engine: str = "auto",
    memory_bytes: int | None = None,
    attribution: bool = True,
    seed: int = 1,
    like: Mapping[str, Any] | None = None,
    block: int | None = None,
) -> dict[str, Any]:
    """Check a model on a few sequences, in the way it is going to be run.

    Parameters
    ----------
    loaded : LoadedModel
        The model, in float64 where that is the precision.
    X : Tensor, shape (n, 4, input_length), optional
        One-hot sequences; 8 random ones by default. Fewer are looked at where the model is slow or large.
    args : sequence of Tensor, optional
        Its extra inputs for these sequences, n entries each. By default constants: an input that is read
        from a file is 0 here, since random sequences are in no file.
    device, precision, engine, memory_bytes
        As the run uses them; see `marginome.incremental.Engine`.
    attribution : bool, default True
        Whether to look for operations without a DeepLIFT rule and to measure convergence deltas.
    seed : int, default 1
        Of the random sequences, inserts and references.
    like : mapping, optional
        The check of a model of the same `architecture` on this device, in these settings. How it is run, how fast, and
        how its attributions converge is not looked at again; whether the model behaves is.
    block : int, optional
        How many inserts the run computes together, where that is stated: no other number is tried.

    Returns
    -------
    dict
        JSON-serialisable. ``problems`` (a run would be wrong: `stop_on_problems` raises) and ``warnings``
        are sentences; ``block`` is the number of inserts to compute together; ``parts`` says what each part
        took and looked at; ``measured_on`` names the model of `like`; the rest are measurements, explained in
        docs/models.md. None is what is not finite or was not measured, and a sentence says so.

    Raises
    ------
    MarginomeError
        When the model cannot run on these sequences at all, or needs more memory than there is.

    Notes
    -----
    One sequence is run first. Its time and the memory of its activations decide how much is looked at, so that
    each part keeps to its `BUDGET` and to `memory_bytes`; what was cut short is in ``warnings``.
    """
    device = resolve_device(device)
    where = f"model '{loaded.name}'"
    memory_bytes = memory_bytes or memory_to_keep_to(device)
    if X is None:
        state = stable_seed(seed, "check_model", loaded.input_length) % 2**32
        X = random_one_hot((N_SEQUENCES, 4, loaded.input_length), random_state=state)
    if args is None:
        args = tuple(torch.full((len(X), *argument.shape), argument.value) for argument in loaded.args)
    problems: list[str] = []
    parts = Parts(memory_bytes, device)
    notes = parts.notes
    module = loaded.readouts()
    run = Runner(module, device, where)
    try:
        parts.cost = Cost(**like["cost"]) if like else cost_of(run, X, args)
        if parts.cost.peak > memory_bytes:
            notes.append(
                f"one sequence takes {parts.cost.peak / 1e6:,.0f} MB of activations at once, more than memory_mb "
                f"({memory_bytes >> 20:,}); a job runs it all the same, so give memory_mb that much"
            )
        with parts("batches") as part:
            n = part.sequences(len(X), per_sequence=3.0)
            X, args = X[:n], tuple(a[:n] for a in args)
            outputs, differences, speed = _forward(run, X, args, timed=like is None)
            _look_at_outputs(outputs, loaded, problems, notes)
        if not differences["again"] <= BATCH_TOLERANCE:
            problems.append(
                f"the same sequences give other numbers the second time (relative {differences['again']:.2g}): the "
                "model draws random numbers, e.g. a dropout that is active"
            )
        elif not all(difference <= BATCH_TOLERANCE for difference in differences.values()):
            problems.append(
                "what a sequence gives depends on the other sequences of its batch (relative "
                f"{max(differences.values()):.2g}), e.g. a batch normalisation in training mode"
            )
        errors, how, attributed = {}, NOT_RUN, {}
        if not problems:
            with parts("precision") as part:
                errors = _precision_errors(run, outputs, X, args, precision, part)
            if like:
                how = engine_like(like)
            else:
                with parts("engine") as part:
                    how = check_engine(
                        loaded, module, X, args, device, precision, engine, memory_bytes, seed, part, block
                    )
                if attribution:
                    with parts("attribution") as part:
                        attributed = check_attribution(loaded, module, X, args, device, seed, part)
        member_sd = _member_sd(loaded, X, args, device, where) if loaded.members > 1 else {}
    except Exception as error:
        if is_out_of_memory(error):
            raise MarginomeError(
                f"the model needs more memory than there is on {device} to run {len(X)} sequences",
                where=where,
                remedy="Use a machine or a GPU with more memory; run the members of an ensemble one by one.",
            ) from error
        raise
    return {
        "model": loaded.name,
        "loader": loaded.loader,
        "files": [{"file": called(file), "sha256": digest} for file, digest in zip(loaded.files, loaded.sha256)],
        "parameters": sum(p.numel() for p in loaded.module.parameters()),
        "members": loaded.members,
        "input_length": loaded.input_length,
        "arguments": [{"name": a.name, "shape": list(a.shape), "source": a.source} for a in loaded.args],
        "outputs": [_output(output, outputs[output.name]) for output in loaded.outputs],
        "member_sd": member_sd,
        "sequences": len(X),
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": precision,
        "batch_difference": {name: finite_or_none(value) for name, value in differences.items()},
        "precision_error": errors,
        "sequences_per_second": like["sequences_per_second"] if like else speed,
        "cost": parts.cost._asdict(),
        "measured_on": like["model"] if like else None,
        "peak_memory_mb": round(peak_memory(device) / 2**20, 1),
        **how,
        "attribution": attributed,
        "parts": parts.took,
        "warnings": notes,
        "problems": problems,
    }


def architecture(loaded: LoadedModel) -> str:
    """Return what models have in common of which one is as fast as the other: all but the values of their weights."""
    module = loaded.module
    shapes = [(name, tuple(value.shape), str(value.dtype)) for name, value in module.state_dict().items()]
    kinds = [f"{type(part).__module__}.{type(part).__qualname__}" for part in module.modules()]
    return repr((loaded.input_length, loaded.members, loaded.outputs, loaded.args, str(module), kinds, shapes))


def stop_on_problems(check: Mapping[str, Any]) -> None:
    """Raise when a check found that a run with this model would be wrong."""
    if check["problems"]:
        raise MarginomeError(
            "; ".join(check["problems"]),
            where=f"model '{check['model']}'",
            remedy="Nothing was run with it. Mend the model or its entry in the config (docs/models.md).",
        )


# ------------------------------------------------------------------------------------------ measurements
def _forward(
    run: Runner, X: Tensor, args: Sequence[Tensor], *, timed: bool
) -> tuple[dict[str, np.ndarray], dict[str, float], float]:
    """Outputs; how much they change in a second run, in reverse order, and one by one (relative); sequences/s."""
    try:
        outputs = run(X, args)
    except MarginomeError as error:
        if len(X) == 1:
            raise
        run(X[:1], [a[:1] for a in args])  # has words of its own
        raise MarginomeError(
            f"the model fails on {len(X)} sequences at once though it runs on one: "
            + error.what.removeprefix("its forward() failed: "),
            where=run.where,
            remedy="An exported program has to be exported with a dynamic batch "
            f"(dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},)). {error.remedy or ''}".strip(),
        ) from error
    started = time.perf_counter()
    again = run(X, args)
    seconds = time.perf_counter() - started
    turned = run(X.flip(0), [a.flip(0) for a in args])
    single = [run(X[i : i + 1], [a[i : i + 1] for a in args]) for i in range(min(2, len(X)))]
    if timed and seconds < 1:  # short enough for noise to count
        seconds = min(seconds, *(seconds_of(run, X, args) for _ in range(2)))
    differences = {
        "again": _worst(again, outputs),
        "other_order": _worst({k: v[::-1] for k, v in turned.items()}, outputs),
        "one_by_one": _largest(
            _worst(y, {k: v[i : i + 1] for k, v in outputs.items()}, scales=outputs) for i, y in enumerate(single)
        ),
    }
    return outputs, differences, float(f"{len(X) / seconds:.4g}")


def _largest(values: Any) -> float:
    """The largest of some numbers; NaN if one is, which Python's max forgets."""
    return float(np.max([*values], initial=0.0))


def _worst(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], scales: Mapping | None = None) -> float:
    """Largest difference over the outputs, relative to the largest value of each; NaN where one of the two is NaN."""
    found = []
    with np.errstate(invalid="ignore"):
        for name in b:
            scale = float(np.abs((scales or b)[name]).max()) or 1.0
            difference = np.where(a[name] == b[name], 0.0, np.abs(a[name] - b[name]))
            found.append(float(difference.max()) / scale)
    return _largest(found)


def _look_at_outputs(
    outputs: Mapping[str, np.ndarray], loaded: LoadedModel, problems: list[str], notes: list[str]
) -> None:
    for output in loaded.outputs:
        value = outputs[output.name]
        if not np.isfinite(value).all():
            rows = np.flatnonzero(~np.isfinite(value).reshape(len(value), -1).all(axis=1))
            problems.append(f"output '{output.name}' is NaN or infinite for {len(rows)} of {len(value)} sequences")
            continue
        if tuple(value.shape[1:]) != tuple(output.shape):
            problems.append(
                f"output '{output.name}' is {value.shape[1:]} per sequence; with one sequence it was {output.shape}"
            )
        varies = (value != value[:1]).any(axis=0)
        constant = [n for n, v in zip(output.names, varies.reshape(-1)) if not v] if output.kind == "scalar" else []
        if not varies.any():
            at = f"; every value is {value.flat[0]:g}, so it may be saturated: use logits, or precision: float64" if (
                np.isin(value, (-1, 0, 1)).all()
            ) else ""  # fmt: skip
            problems.append(
                f"output '{output.name}' is the same for every sequence: it does not depend on the sequence{at}"
            )
        elif constant:
            notes.append(
                f"{len(constant)} of {len(output.names)} targets of output '{output.name}' are the same for every "
                f"sequence (the first: {constant[0]})"
            )
        if output.kind == "profile" and output.bin is None:
            notes.append(
                f"output '{output.name}' has {output.shape[-1]:,} values, and it is not known how many bases each "
                "stands for: figures count values (bin of the output says it)"
            )
        if output_measure(output).nonnegative and (value < 0).any():
            problems.append(
                f"output '{output.name}' has negative values ({value.min():.3g}), of which no log fold change can be "
                "taken: use measure: difference, or transform: exp for log values"
            )


def _precision_errors(
    run: Runner, outputs: Mapping[str, np.ndarray], X: Tensor, args: Sequence[Tensor], precision: str, part: Part
) -> dict[str, dict[str, float | None]]:
    """Largest error of each precision against float64, relative to the spread between sequences, by output."""
    tried = ["float32", *(["tf32", "bfloat16"] if run.device.type == "cuda" else [])]
    tried += [precision] if precision not in (*tried, "float64") else []
    n = part.sequences(len(X), per_sequence=1.0 + len(tried), together=False)
    X, args = X[:n], [a[:n] for a in args]
    # Convolutions in float64 unfold their input on a CPU: 0.8 GB a sequence for 75 bp of 128 channels at 10 kb.
    at_once = 1 if run.device.type == "cpu" else part.at_once(n, activations=2)
    try:
        with FewOutputs():
            if run.dtype == torch.float64:
                exact, single = run(X, args, at_once=at_once), Runner(
                    copy.deepcopy(run.module).float(), run.device, run.where
                )  # fmt: skip
            else:
                double = Runner(copy.deepcopy(run.module).double(), run.device, run.where)
                exact, single = double(X, args, at_once=at_once), run
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error.__cause__ or error).splitlines() or [""])[0]
        part.notes.append(f"the model cannot be run in float64, so its rounding error is not known ({reason})")
        return {}
    errors: dict[str, dict[str, float | None]] = {}
    for how in tried:
        if how == "float32" and single is run:
            found = {name: value[:n] for name, value in outputs.items()}
        else:
            found = single(X, args, how, at_once=at_once)
        relative = {}
        for name, value in exact.items():
            spread = float(value.std(axis=0).max()) or 1.0
            relative[name] = float(np.abs(found[name] - value).max()) / spread
        errors[how] = {name: finite_or_none(error) for name, error in relative.items()}
        if how == precision or (how == "float32" and precision != "float64"):
            bad = [name for name, error in relative.items() if not error <= PRECISION_WARNING[how]]
            if bad:
                worst = max(bad, key=lambda name: math.inf if math.isnan(relative[name]) else relative[name])
                part.notes.append(
                    f"in {how} output '{worst}' is off by {relative[worst]:.2g} of its spread between sequences "
                    "(against float64)"
                )
    for name, value in exact.items():
        in_use = "bfloat16" if precision == "bfloat16" else "float64" if precision == "float64" else "float32"
        found = saturated(value, in_use)
        if found:
            part.notes.append(f"output '{name}': {found}")
    return errors


def _member_sd(
    loaded: LoadedModel, X: Tensor, args: Sequence[Tensor], device: torch.device, where: str
) -> dict[str, float | None]:
    """Standard deviation between the members of an ensemble, mean over sequences and targets, by scalar output."""
    members = [Runner(loaded.member(i).readouts(), device, where)(X, args) for i in range(loaded.members)]
    return {
        output.name: finite_or_none(float(np.std([member[output.name] for member in members], axis=0, ddof=1).mean()))
        for output in loaded.outputs
        if output.kind == "scalar"
    }


def _output(output: Any, value: np.ndarray) -> dict[str, Any]:
    finite = value[np.isfinite(value)]
    numbers = (
        {"mean": finite.mean(), "sd": finite.std(), "min": finite.min(), "max": finite.max()} if finite.size else {}
    )
    return {
        "name": output.name,
        "kind": output.kind,
        "shape": list(output.shape),
        "names": list(output.names),
        "unit": output.unit,
        "measure": output.measure,
        "softmax": output.softmax,
        "bin": output.bin,
        "first": output.first,
        **{key: finite_or_none(float(f"{number:.6g}")) for key, number in numbers.items()},
    }
