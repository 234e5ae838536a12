"""Checks of a model before anything long runs with it: what it is, whether it behaves, and how to run it best."""

from __future__ import annotations

import copy
import logging
import math
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginome.attribution import deep_lift_shap, find_unsupported_operations
from marginome.batches import BATCH_TOLERANCE
from marginome.check_budget import Cost, Counting, Part, Parts
from marginome.devices import (
    device_name,
    is_out_of_memory,
    multiplies_bfloat16,
    peak_memory,
    precision_context,
    resolve_device,
    synchronize,
)
from marginome.effects import saturated
from marginome.errors import MarginomeError
from marginome.incremental import Edits, Engine
from marginome.incremental.engine import memory_to_keep_to
from marginome.models.effect_columns import output_measure
from marginome.models.loading import LoadedModel
from marginome.prediction import cast_argument, run_model
from marginome.seeds import stable_seed
from marginome.sequences import random_one_hot

log = logging.getLogger("marginome")

N_SEQUENCES = 8
INSERT_WIDTH = 12
BLOCKS = {"cpu": (16, 64, 128), "cuda": (64, 128, 256, 512)}
BLOCK_SECONDS = 10.0  # a block that would take longer than this to try is not tried
RACES = 3
# Memory of DeepLIFT's pair of sequence and reference, in activations of one sequence: measured 4 to 5 for stacks of
# convolutions with rectifiers and residuals.
ACTIVATIONS_PER_PAIR = 6
# Relative to the spread of an output between sequences, which is what an effect is read against.
PRECISION_WARNING = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 1e-1, "float64": 1e-9}
# Mean delta relative to the mean difference from the references, where rounding is far below.
DELTA_WARNING = 1e-2
N_REFERENCES = 5
# What stands for the engine where a model has problems: nothing is going to run.
NOT_RUN: dict[str, Any] = {
    "block": 1,
    "pairs_per_second": {},
    "engine": {
        "path": "none",
        "reason": "the model has problems",
        "full_operations": [],
        "kernels": "torch",
        "kernels_pairs_per_second": {},
        "bfloat16": {},
        "check_error": None,
        "precision_error": None,
        "effect_error": None,
    },
}
N_ATTRIBUTED_OUTPUTS = 4


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

    Returns
    -------
    dict
        JSON-serialisable. ``problems`` (a run would be wrong: `stop_on_problems` raises) and ``warnings``
        are sentences; ``block`` is the number of inserts to compute together; ``parts`` says what each part
        took and looked at; the rest are measurements, explained in docs/models.md. None is what is not
        finite or was not measured, and a sentence says so.

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
    run = _Runner(module, device, where)
    try:
        parts.cost = _cost(run, X, args)
        with parts("batches") as part:
            n = part.sequences(len(X), per_sequence=3.0)
            X, args = X[:n], tuple(a[:n] for a in args)
            outputs, differences, speed = _forward(run, X, args)
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
            with parts("engine") as part:
                how = _engine(loaded, module, X, args, device, precision, engine, memory_bytes, seed, part)
            if attribution:
                with parts("attribution") as part:
                    attributed = _attribution(loaded, module, X, args, device, seed, part)
        spread = _spread(loaded, X, args, device, where) if loaded.members > 1 else {}
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
        "files": [{"file": file, "sha256": digest} for file, digest in zip(loaded.files, loaded.sha256)],
        "parameters": sum(p.numel() for p in loaded.module.parameters()),
        "members": loaded.members,
        "input_length": loaded.input_length,
        "arguments": [{"name": a.name, "shape": list(a.shape), "source": a.source} for a in loaded.args],
        "outputs": [_output(output, outputs[output.name]) for output in loaded.outputs],
        "member_sd": spread,
        "sequences": len(X),
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": precision,
        "batch_difference": {name: _number(value) for name, value in differences.items()},
        "precision_error": errors,
        "sequences_per_second": speed,
        "peak_memory_mb": round(peak_memory(device) / 2**20, 1),
        **how,
        "attribution": attributed,
        "parts": parts.took,
        "warnings": notes,
        "problems": problems,
    }


def stop_on_problems(check: Mapping[str, Any]) -> None:
    """Raise when a check found that a run with this model would be wrong."""
    if check["problems"]:
        raise MarginomeError(
            "; ".join(check["problems"]),
            where=f"model '{check['model']}'",
            remedy="Nothing was run with it. Mend the model or its entry in the config (docs/models.md).",
        )


# ------------------------------------------------------------------------------------------ measurements
class _Runner:
    """Runs the readouts of a model on a device, in a precision, and gives float64 arrays by output."""

    def __init__(self, module: torch.nn.Module, device: torch.device, where: str):
        self.module = module if device.type == "cpu" else copy.deepcopy(module).to(device)
        self.device, self.where = device, where
        # a module without weights gets float32
        self.dtype = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)

    def __call__(
        self, X: Tensor, args: Sequence[Tensor], precision: str = "float32", *, at_once: int | None = None
    ) -> dict[str, np.ndarray]:
        parts = []
        for first in range(0, len(X), at_once or len(X)):
            rows = slice(first, first + (at_once or len(X)))
            inputs = (
                X[rows].to(self.device, self.dtype),
                [cast_argument(a[rows], self.dtype, self.device) for a in args],
            )
            try:
                with precision_context(precision, self.device):
                    outputs = run_model(self.module, *inputs)
            except MarginomeError as error:
                raise MarginomeError(error.what, where=self.where, remedy=error.remedy) from error
            parts.append({name: value.double().cpu().numpy() for name, value in outputs.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cost(run: _Runner, X: Tensor, args: Sequence[Tensor]) -> Cost:
    """Run one sequence twice, timed and counted: a first run also sets things up."""
    one = X[:1], [a[:1] for a in args]
    with Counting() as counted:
        seconds = _seconds(run, *one)
    seconds = min(seconds, _seconds(run, *one))
    log.info("check: one sequence takes %.3g s and %.3g MB of activations", seconds, counted.bytes / 1e6)
    return Cost(seconds, counted.bytes)


def _seconds(run: _Runner, X: Tensor, args: Sequence[Tensor]) -> float:
    start = time.perf_counter()
    run(X, args)
    return time.perf_counter() - start


def _forward(run: _Runner, X: Tensor, args: Sequence[Tensor]) -> tuple[dict[str, np.ndarray], dict[str, float], float]:
    """Outputs; how much they change in a second run, in reverse order, and one by one (relative); sequences/s."""
    try:
        outputs = run(X, args)
    except MarginomeError as error:
        if len(X) == 1:
            raise
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
    if seconds < 1:  # short enough for noise to count
        seconds = min(seconds, *(_seconds(run, X, args) for _ in range(2)))
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


def _number(value: float | None) -> float | None:
    """A measurement as JSON has it: None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


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
        if output_measure(output).nonnegative and (value < 0).any():
            problems.append(
                f"output '{output.name}' has negative values ({value.min():.3g}), of which no log fold change can be "
                "taken: use measure: difference, or transform: exp for log values"
            )


def _precision_errors(
    run: _Runner, outputs: Mapping[str, np.ndarray], X: Tensor, args: Sequence[Tensor], precision: str, part: Part
) -> dict[str, dict[str, float | None]]:
    """Largest error of each precision against float64, relative to the spread between sequences, by output."""
    tried = ["float32", *(["tf32", "bfloat16"] if run.device.type == "cuda" else [])]
    tried += [precision] if precision not in (*tried, "float64") else []
    n = part.sequences(len(X), per_sequence=1.0 + len(tried), together=False)
    X, args = X[:n], [a[:n] for a in args]
    # Convolutions in float64 unfold their input on a CPU: 0.8 GB a sequence for 75 bp of 128 channels at 10 kb.
    at_once = 1 if run.device.type == "cpu" else part.at_once(n, activations=2)
    try:
        if run.dtype == torch.float64:
            exact, single = run(X, args, at_once=at_once), _Runner(
                copy.deepcopy(run.module).float(), run.device, run.where
            )  # fmt: skip
        else:
            double = _Runner(copy.deepcopy(run.module).double(), run.device, run.where)
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
        errors[how] = {name: _number(error) for name, error in relative.items()}
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


def _engine(
    loaded: LoadedModel,
    module: torch.nn.Module,
    X: Tensor,
    args: Sequence[Tensor],
    device: torch.device,
    precision: str,
    engine: str,
    memory_bytes: int,
    seed: int,
    part: Part,
) -> dict[str, Any]:
    """Which path the engine takes, and the block size that makes most pairs a second."""
    settings = dict(device=device, precision=precision, engine=engine, memory_bytes=memory_bytes)
    start = time.perf_counter()
    runner = Engine(module, X, args, **settings)
    set_up = time.perf_counter() - start
    info = runner.info
    width, blocks = min(INSERT_WIDTH, loaded.input_length), BLOCKS[device.type]
    inserts = random_one_hot(
        (blocks[-1], 4, width), random_state=stable_seed(seed, "check_model inserts", width) % 2**32
    )
    starts = torch.full((blocks[-1],), loaded.input_length // 2 - width // 2, dtype=torch.int64)
    block, rates, kernels, rough = info.block, {}, {}, {}
    if info.path == "incremental":
        few = Edits(inserts[:1], starts[:1])
        pair = _timed(runner, few, device, 1)  # the first makes plans, so that it is slower than those that follow
        backgrounds = max(1, min(len(X), int(BLOCK_SECONDS / (pair * blocks[0]))))
        for size in blocks:
            if pair * size * backgrounds > min(BLOCK_SECONDS, part.left) and rates:
                part.leave_out(f"blocks of {size} and more inserts were not tried")
                break
            runner.block = size
            edits = Edits(inserts[:size], starts[:size])
            seconds = _timed(runner, edits, device, backgrounds)
            if seconds < 1:  # short enough for its start to count
                seconds = min(seconds, *(_timed(runner, edits, device, backgrounds) for _ in range(2)))
            pair = seconds / (size * backgrounds)
            rates[str(size)] = float(f"{1 / pair:.4g}")
        fastest = max(rates, key=rates.get)
        # the engine's own block unless another is clearly faster: noise must not change a result's last digits
        if rates[fastest] > 1.25 * rates.get(str(info.block), 0.0):
            block = int(fastest)
        if info.kernels == "triton":
            other = Engine(module, X, args, kernels=False, **settings)
            kernels = _race({e.info.kernels: e for e in (runner, other)}, inserts, starts, block)
            log.info("convolutions of changes by %s (pairs/s: %s)", max(kernels, key=kernels.get),
                     ", ".join(f"{name} {rate:,.4g}" for name, rate in kernels.items()))  # fmt: skip
        if runner.device.type == "cpu" and precision == "float32":
            rough = _bfloat16(
                runner, lambda: Engine(module, X, args, **{**settings, "precision": "bfloat16"}),
                inserts, starts, block, 2 * set_up < part.left,
            )  # fmt: skip
    elif engine != "full":
        part.notes.append(f"every insert goes through the whole model: {info.reason}")
    errors = {key: getattr(info, key) for key in ("check_error", "precision_error", "effect_error")}
    for key, error in errors.items():
        if error is not None and not math.isfinite(error):
            part.notes.append(f"the engine's {key.replace('_', ' ')} is not finite, so it is not known")
    return {
        "block": block,
        "pairs_per_second": rates,
        "engine": {
            "path": info.path,
            "reason": info.reason,
            "full_operations": list(info.full_operations),
            "kernels": max(kernels, key=kernels.get) if kernels else info.kernels,
            "kernels_pairs_per_second": kernels,
            "bfloat16": rough,
            **{key: _number(error) for key, error in errors.items()},
        },
    }


def _bfloat16(
    runner: Engine, build: Callable[[], Engine], inserts: Tensor, starts: Tensor, block: int, in_time: bool
) -> dict[str, Any]:
    """Return what ``precision: bfloat16`` would give on a processor that multiplies such numbers: rates, and its error.

    It is offered in the log where it is faster, never taken by itself. Elsewhere ``reason`` says why it was not tried.
    """
    if not multiplies_bfloat16():
        return {"reason": "this processor has no instructions for products of bfloat16"}
    if not in_time:
        return {"reason": "there was no time left to set it up"}
    rough = build()
    if rough.info.path != "incremental":
        return {"reason": rough.info.reason}
    rates = _race({"float32": runner, "bfloat16": rough}, inserts, starts, block)
    error = rough.info.effect_error
    if rates["bfloat16"] > rates["float32"]:
        log.info("precision: bfloat16 would compute %s pairs/s in place of %s; largest error of an effect in the "
                 "sample: %s of the largest effect", f"{rates['bfloat16']:,.4g}", f"{rates['float32']:,.4g}",
                 "unknown" if error is None else f"{error:.1g}")  # fmt: skip
    return {"pairs_per_second": rates, "effect_error": None if error is None else _number(error), "reason": ""}


def _race(engines: dict[str, Engine], inserts: Tensor, starts: Tensor, block: int) -> dict[str, float]:
    """Return pairs per second of engines on the same backgrounds, which take turns."""
    edits = Edits(inserts[:block], starts[:block])
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(RACES + 1):
        for name, runner in engines.items():
            runner.block = block
            seconds[name].append(_timed(runner, edits, runner.device, len(runner.X)))
    # the first round makes plans and compiles
    pairs = len(edits.starts) * len(next(iter(engines.values())).X)
    return {name: float(f"{pairs / statistics.median(times[1:]):.4g}") for name, times in seconds.items()}


def _timed(runner: Engine, edits: Edits, device: torch.device, backgrounds: int) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in runner.run(edits, backgrounds=slice(0, backgrounds)):
        pass
    synchronize(device)
    return time.perf_counter() - start


class _OneTarget(torch.nn.Module):
    """One target of one output as ``(n, 1)``; of a profile the mean of its logits."""

    def __init__(self, module: torch.nn.Module, name: str, profile: bool):
        super().__init__()
        self.module, self.name, self.profile = module, name, profile

    def forward(self, X: Tensor, *args: Tensor) -> Tensor:
        value = self.module(X, *args)[self.name]
        return value.mean(dim=(1, 2)).unsqueeze(1) if self.profile else value[:, :1]


def _attribution(
    loaded: LoadedModel,
    module: torch.nn.Module,
    X: Tensor,
    args: Sequence[Tensor],
    device: torch.device,
    seed: int,
    part: Part,
) -> dict[str, Any]:
    """Operations without a DeepLIFT rule, and convergence deltas of the first target of each output."""
    try:
        unsupported = find_unsupported_operations(module, X[:2], [a[:2] for a in args])
    except Exception as error:
        if is_out_of_memory(error):
            raise
        part.leave_out(f"DeepLIFT was not looked at, since it fails on this model: {_reason(error)}")
        return {"unsupported_operations": [], "deltas": {}, "failed": _reason(error)}
    if unsupported:
        part.notes.append(
            f"DeepLIFT has no rule for {len(unsupported)} operations ({', '.join(unsupported[:3])}): their derivative "
            "is used; look at the convergence deltas, or attribute by ISM"
        )
    deltas: dict[str, Any] = {}
    # A pass forwards and one backwards, and the plain difference: measured 1.5 to 2 passes, and known after the first.
    per_pair = 3 * part.cost.seconds
    at_once = part.at_once(32, activations=ACTIVATIONS_PER_PAIR)
    outputs = loaded.outputs[:N_ATTRIBUTED_OUTPUTS]
    for i, output in enumerate(outputs):
        affordable = int(part.left / (len(outputs) - i) / max(per_pair, 1e-9))
        if deltas and affordable < 1:
            names = ", ".join(f"'{o.name}'" for o in outputs[i:])
            part.leave_out(f"DeepLIFT's convergence was not looked at for output {names}")
            break
        references = min(N_REFERENCES, max(1, affordable))
        few = max(1, min(4, len(X), affordable // references))
        if few * references < min(4, len(X)) * N_REFERENCES:
            part.leave_out(f"DeepLIFT's convergence for output '{output.name}' with {few * references} pairs")
        target = _OneTarget(module, output.name, output.kind == "profile").eval()
        started = time.perf_counter()
        try:
            deltas[output.name] = _deltas(target, X[:few], [a[:few] for a in args], references, device, seed, at_once)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            part.leave_out(f"DeepLIFT fails on output '{output.name}': {_reason(error)}")
            continue
        per_pair = (time.perf_counter() - started) / (few * references)
        found = deltas[output.name]
        found["target"] = output.names[0]
        log.info("check, attribution: output %s, %d pairs, %.3g s each", output.name, found["pairs"], per_pair)
        if found["relative"] is None or not found["relative"] <= DELTA_WARNING:
            size = "not a finite number" if found["relative"] is None else (
                f"{found['relative']:.2g} of the difference from the references on average"
            )  # fmt: skip
            if found["mean_difference"] == 0 and found["mean_delta"] == 0:
                continue  # nothing to explain
            part.notes.append(f"DeepLIFT does not converge for output '{output.name}': deltas are {size}")
    return {"unsupported_operations": unsupported, "deltas": deltas}


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _deltas(
    target: torch.nn.Module,
    X: Tensor,
    args: Sequence[Tensor],
    n_references: int,
    device: torch.device,
    seed: int,
    at_once: int,
) -> dict[str, Any]:
    """DeepLIFT's convergence deltas against random references, and the differences that they are measured by."""
    n, length = len(X), X.shape[2]
    generator = np.random.RandomState(stable_seed(seed, "check_model references") % 2**32)
    letters = generator.randint(0, 4, size=(n, n_references, length))
    references = torch.nn.functional.one_hot(torch.from_numpy(letters), 4).permute(0, 1, 3, 2).to(torch.int8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its warnings about deltas: they are what is measured here
        found = deep_lift_shap(
            target, X, args=args or None, references=references.float(), device=device, return_deltas=True,
            warning_threshold=float("inf"), only_warn=True, batch_size=at_once,
        )  # fmt: skip
    run = _Runner(_Named(target), device, "model")
    own = run(X, args, at_once=at_once)["y"]
    others = [run(references[:, r], args, at_once=at_once)["y"] for r in range(n_references)]
    mean, largest = float(found.deltas.abs().mean()), float(found.deltas.abs().max())
    size = float(np.abs(np.stack(others) - own).mean())
    relative = mean / size if size else 0.0 if mean == 0 else math.inf
    return {
        "pairs": n * n_references,
        "mean_delta": _number(mean),
        "max_delta": _number(largest),
        "mean_difference": _number(size),
        "relative": _number(relative),
    }


class _Named(torch.nn.Module):
    """A module's tensor under a name, as `_Runner` wants it."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, X: Tensor, *args: Tensor) -> dict[str, Tensor]:
        return {"y": self.module(X, *args)}


def _spread(
    loaded: LoadedModel, X: Tensor, args: Sequence[Tensor], device: torch.device, where: str
) -> dict[str, float | None]:
    """Standard deviation between the members of an ensemble, mean over sequences and targets, by scalar output."""
    members = [_Runner(loaded.member(i).readouts(), device, where)(X, args) for i in range(loaded.members)]
    return {
        output.name: _number(float(np.std([member[output.name] for member in members], axis=0, ddof=1).mean()))
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
        **{key: _number(float(f"{number:.6g}")) for key, number in numbers.items()},
    }
