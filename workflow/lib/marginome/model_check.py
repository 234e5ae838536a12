"""Checks of a model before anything long runs with it: what it is, whether it behaves, and how to run it best."""

from __future__ import annotations

import copy
import html
import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginome.attribution import deep_lift_shap, find_unsupported_operations
from marginome.devices import (
    device_name,
    is_out_of_memory,
    peak_memory,
    precision_context,
    resolve_device,
    synchronize,
)
from marginome.errors import MarginomeError
from marginome.incremental import Edits, Engine
from marginome.models.loading import LoadedModel
from marginome.seeds import stable_seed
from marginome.sequences import random_one_hot
from marginome.storage import atomic

log = logging.getLogger("marginome")

N_SEQUENCES = 8
INSERT_WIDTH = 12
BLOCKS = (16, 64, 128)
BLOCK_SECONDS = 10.0  # a block that would take longer than this to try is not tried
# Relative to the largest value of an output. Rounding in another order gives about 1e-6 in float32; a model
# that mixes the sequences of a batch, or draws random numbers, is off by far more.
BATCH_TOLERANCE = 1e-3
# Relative to the spread of an output between sequences, which is what an effect is read against.
PRECISION_WARNING = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 1e-1}
# Mean delta relative to the mean difference from the references, where rounding is far below.
DELTA_WARNING = 1e-2
N_REFERENCES = 5
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
        The model.
    X : Tensor, shape (n, 4, input_length), optional
        One-hot sequences; 8 random ones by default.
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
        are sentences; ``block`` is the number of inserts to compute together; the rest are measurements,
        explained in docs/models.md.

    Raises
    ------
    MarginomeError
        When the model cannot run on these sequences at all, or needs more memory than there is.
    """
    device = resolve_device(device)
    where = f"model '{loaded.name}'"
    if X is None:
        state = stable_seed(seed, "check_model", loaded.input_length) % 2**32
        X = random_one_hot((N_SEQUENCES, 4, loaded.input_length), random_state=state)
    if args is None:
        args = tuple(torch.full((len(X), *argument.shape), argument.value) for argument in loaded.args)
    problems: list[str] = []
    notes: list[str] = []
    module = loaded.readouts()
    run = _Runner(module, device, where)
    try:
        outputs, differences = _forward(run, X, args)
        _look_at_outputs(outputs, loaded, problems, notes)
        if differences["again"] > BATCH_TOLERANCE:
            problems.append(
                f"the same sequences give other numbers the second time (relative {differences['again']:.2g}): the "
                "model draws random numbers, e.g. a dropout that is active"
            )
        elif max(differences.values()) > BATCH_TOLERANCE:
            problems.append(
                "what a sequence gives depends on the other sequences of its batch (relative "
                f"{max(differences.values()):.2g}), e.g. a batch normalisation in training mode"
            )
        errors = {} if problems else _precision_errors(run, outputs, X, args, precision, notes)
        speed = _speed(run, X, args)
        # With problems nothing runs: the engine is not asked to find them once more.
        how = _engine(loaded, module, X, args, device, precision, engine, memory_bytes, seed, notes, not problems)
        attributed = _attribution(loaded, module, X, args, device, seed, notes) if attribution and not problems else {}
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
        "member_sd": _spread(loaded, X, args, device, where) if loaded.members > 1 else {},
        "sequences": len(X),
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": precision,
        "batch_difference": differences,
        "precision_error": errors,
        "sequences_per_second": speed,
        "peak_memory_mb": round(peak_memory(device) / 2**20, 1),
        **how,
        "attribution": attributed,
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

    def __call__(
        self, X: Tensor, args: Sequence[Tensor], precision: str = "float32", dtype: torch.dtype = torch.float32
    ) -> dict[str, np.ndarray]:
        with precision_context(precision, self.device):
            outputs = self.module(X.to(self.device, dtype), *(a.to(self.device, dtype) for a in args))
        for name, value in outputs.items():
            if len(value) != len(X):
                raise MarginomeError(
                    f"output '{name}' has {len(value)} rows for {len(X)} sequences",
                    where=self.where,
                    remedy="An exported program has to be exported with a dynamic batch "
                    "(dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).",
                )
        return {name: value.double().cpu().numpy() for name, value in outputs.items()}


def _forward(run: _Runner, X: Tensor, args: Sequence[Tensor]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Outputs, and how much they change in a second run, in reverse order, and one by one (relative)."""
    try:
        outputs = run(X, args)
    except MarginomeError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        text = str(error).strip().splitlines()
        raise MarginomeError(
            f"the model fails on {len(X)} sequences at once though it runs on one: {type(error).__name__}: "
            f"{text[0] if text else ''}",
            where=run.where,
            remedy="An exported program has to be exported with a dynamic batch "
            "(dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).",
        ) from error
    again = run(X, args)
    turned = run(X.flip(0), [a.flip(0) for a in args])
    single = [run(X[i : i + 1], [a[i : i + 1] for a in args]) for i in range(min(2, len(X)))]
    differences = {
        "again": _worst(again, outputs),
        "other_order": _worst({k: v[::-1] for k, v in turned.items()}, outputs),
        "one_by_one": max(
            _worst(y, {k: v[i : i + 1] for k, v in outputs.items()}, scales=outputs) for i, y in enumerate(single)
        ),
    }
    return outputs, differences


def _worst(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], scales: Mapping | None = None) -> float:
    """Largest difference over the outputs, relative to the largest value of each."""
    worst = 0.0
    for name in b:
        scale = float(np.abs((scales or b)[name]).max()) or 1.0
        worst = max(worst, float(np.abs(a[name] - b[name]).max()) / scale)
    return worst


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
        constant = [n for n, s in zip(output.names, value.std(axis=0).reshape(-1)) if s == 0] if (
            output.kind == "scalar"
        ) else (["profile"] if not value.std(axis=0).any() else [])  # fmt: skip
        if constant and (output.kind == "profile" or len(constant) == len(output.names)):
            problems.append(
                f"output '{output.name}' is the same for every sequence: it does not depend on the sequence"
            )
        elif constant:
            notes.append(
                f"{len(constant)} of {len(output.names)} targets of output '{output.name}' are the same for every "
                f"sequence (the first: {constant[0]})"
            )
        if output.measure == "log2_fold_change" and (value < 0).any():
            problems.append(
                f"output '{output.name}' has negative values ({value.min():.3g}), of which no log fold change can be "
                "taken: use measure: difference, or transform: exp for log values"
            )


def _precision_errors(
    run: _Runner, outputs: Mapping[str, np.ndarray], X: Tensor, args: Sequence[Tensor], precision: str, notes: list[str]
) -> dict[str, dict[str, float]]:
    """Largest error of each precision against float64, relative to the spread between sequences, by output."""
    try:
        exact = _Runner(copy.deepcopy(run.module).double(), run.device, run.where)(X, args, dtype=torch.float64)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        notes.append(f"the model cannot be run in float64 ({type(error).__name__}), so its rounding error is not known")
        return {}
    tried = ["float32", *(["tf32", "bfloat16"] if run.device.type == "cuda" else [])]
    tried += [precision] if precision not in tried else []
    errors: dict[str, dict[str, float]] = {}
    for how in tried:
        found = outputs if how == "float32" else run(X, args, how)
        errors[how] = {}
        for name, value in exact.items():
            spread = float(value.std(axis=0).max()) or 1.0
            errors[how][name] = float(np.abs(found[name] - value).max()) / spread
        worst = max(errors[how], key=errors[how].get)
        if how in ("float32", precision) and errors[how][worst] > PRECISION_WARNING[how]:
            notes.append(
                f"in {how} output '{worst}' is off by {errors[how][worst]:.2g} of its spread between sequences "
                "(against float64)"
            )
    return errors


def _speed(run: _Runner, X: Tensor, args: Sequence[Tensor]) -> float:
    """Sequences per second of the full pass, a batch of all of X; the better of two."""
    best = float("inf")
    with precision_context("float32", run.device):
        data = [X.to(run.device, torch.float32), *(a.to(run.device, torch.float32) for a in args)]
        for _ in range(2):
            synchronize(run.device)
            start = time.perf_counter()
            run.module(*data)
            synchronize(run.device)
            best = min(best, time.perf_counter() - start)
    return float(f"{len(X) / best:.4g}")


def _engine(
    loaded: LoadedModel,
    module: torch.nn.Module,
    X: Tensor,
    args: Sequence[Tensor],
    device: torch.device,
    precision: str,
    engine: str,
    memory_bytes: int | None,
    seed: int,
    notes: list[str],
    self_check: bool,
) -> dict[str, Any]:
    """Which path the engine takes, and the block size that makes most pairs a second."""
    common = {"device": device, "precision": precision, "engine": engine, "memory_bytes": memory_bytes}
    runner = Engine(module, X, args, **common, self_check=self_check)
    info = runner.info
    width = min(INSERT_WIDTH, loaded.input_length)
    inserts = random_one_hot(
        (max(BLOCKS), 4, width), random_state=stable_seed(seed, "check_model inserts", width) % 2**32
    )
    starts = torch.full((max(BLOCKS),), loaded.input_length // 2 - width // 2, dtype=torch.int64)
    block, rates = info.block, {}
    if info.path == "incremental":
        seconds_per_pair = 0.0
        for size in sorted({*BLOCKS, info.block}):
            if seconds_per_pair * size * len(X) > BLOCK_SECONDS:
                break
            trial = Engine(module, X, args, **common, block=size, self_check=False)
            edits = Edits(inserts[:size], starts[:size])
            seconds = _timed(trial, edits, device)
            if seconds < 1:  # short enough for its start to count
                seconds = min(seconds, *(_timed(trial, edits, device) for _ in range(2)))
            seconds_per_pair = seconds / (size * len(X))
            rates[str(size)] = float(f"{1 / seconds_per_pair:.4g}")
        fastest = max(rates, key=rates.get)
        # the engine's own block unless another is clearly faster: noise must not change a result's last digits
        if rates[fastest] > 1.25 * rates.get(str(info.block), 0.0):
            block = int(fastest)
    elif engine != "full":
        notes.append(f"every insert goes through the whole model: {info.reason}")
    return {
        "block": block,
        "pairs_per_second": rates,
        "engine": {
            "path": info.path,
            "reason": info.reason,
            "full_operations": list(info.full_operations),
            "check_error": info.check_error,
            "precision_error": info.precision_error,
            "effect_error": info.effect_error,
        },
    }


def _timed(runner: Engine, edits: Edits, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in runner.run(edits):
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
    notes: list[str],
) -> dict[str, Any]:
    """Operations without a DeepLIFT rule, and convergence deltas of the first target of each output."""
    few = min(4, len(X))
    unsupported = find_unsupported_operations(module, X[:2], [a[:2] for a in args])
    if unsupported:
        notes.append(
            f"DeepLIFT has no rule for {len(unsupported)} operations ({', '.join(unsupported[:3])}): their derivative "
            "is used; look at the convergence deltas, or attribute by ISM"
        )
    deltas = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its warnings about deltas: they are what is measured here
        for output in loaded.outputs[:N_ATTRIBUTED_OUTPUTS]:
            target = _OneTarget(module, output.name, output.kind == "profile").eval()
            generator = np.random.RandomState(stable_seed(seed, "check_model references") % 2**32)
            letters = generator.randint(0, 4, size=(few, N_REFERENCES, loaded.input_length))
            references = torch.nn.functional.one_hot(torch.from_numpy(letters), 4).permute(0, 1, 3, 2).float()
            found = deep_lift_shap(
                target, X[:few].float(), args=[a[:few] for a in args] or None, references=references, device=device,
                return_deltas=True, warning_threshold=float("inf"), only_warn=True,
            )  # fmt: skip
            size = _difference(target, X[:few].float(), references, [a[:few] for a in args], device)
            mean, largest = float(found.deltas.abs().mean()), float(found.deltas.abs().max())
            deltas[output.name] = {
                "target": output.names[0],
                "pairs": few * N_REFERENCES,
                "mean_delta": mean,
                "max_delta": largest,
                "mean_difference": size,
                "relative": mean / size if size else None,
            }
            if size and mean / size > DELTA_WARNING:
                notes.append(
                    f"DeepLIFT does not converge for output '{output.name}': deltas are {mean / size:.2g} of the "
                    "difference from the references on average"
                )
    return {"unsupported_operations": unsupported, "deltas": deltas}


def _difference(
    target: torch.nn.Module, X: Tensor, references: Tensor, args: Sequence[Tensor], device: torch.device
) -> float:
    """Mean absolute difference between the predictions of sequences and of their references."""
    module = target if device.type == "cpu" else copy.deepcopy(target).to(device)
    with precision_context("float32", device):
        own = module(X.to(device), *(a.to(device) for a in args))
        others = [
            module(references[:, r].to(device), *(a.to(device) for a in args)) for r in range(references.shape[1])
        ]
    return float((torch.stack(others) - own).abs().mean())


def _spread(
    loaded: LoadedModel, X: Tensor, args: Sequence[Tensor], device: torch.device, where: str
) -> dict[str, float]:
    """Standard deviation between the members of an ensemble, mean over sequences and targets, by scalar output."""
    members = [_Runner(loaded.member(i).readouts(), device, where)(X, args) for i in range(loaded.members)]
    return {
        output.name: float(np.std([member[output.name] for member in members], axis=0, ddof=1).mean())
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
        **{key: float(f"{number:.6g}") for key, number in numbers.items()},
    }


# -------------------------------------------------------------------------------------------------- page
def write_check_page(path: str | os.PathLike, check: Mapping[str, Any]) -> None:
    """Write what `check_model` found as one plain HTML page, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(check_page(check), encoding="utf-8")


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2330; }
a { color: #0b5cad; } h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top; }
th { font-weight: 600; } td { overflow-wrap: anywhere; } tr + tr { border-top: 1px solid #d9dde5; }
.ok { color: #176b3a; } .warning { color: #8a5300; } .problem { color: #a8201a; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  body { background: #14171d; color: #e3e7ee; } a { color: #6db3f2; } tr + tr { border-color: #343a46; }
  .ok { color: #6cc990; } .warning { color: #e2ad5b; } .problem { color: #ff8a80; }
}
"""


def check_page(check: Mapping[str, Any]) -> str:
    """Return what `check_model` found as HTML; every name in it is escaped."""
    state = "problem" if check["problems"] else "warning" if check["warnings"] else "ok"
    verdict = {
        "ok": "Nothing stands in the way of running it.",
        "warning": "It can be run; read the warnings.",
        "problem": "It is not run: the numbers would be wrong.",
    }[state]
    engine, attribution = check["engine"], check["attribution"]
    sections = [
        f'<p class="{state}">{verdict}</p>',
        _list(check["problems"], "problem") + _list(check["warnings"], "warning"),
        "<h2>Model</h2>",
        _rows(
            ("Loader", check["loader"]),
            *[("Weights", f"{f['file']} (SHA-256 {f['sha256']})") for f in check["files"]],
            ("Parameters", f"{check['parameters']:,}"),
            ("Members of the ensemble", check["members"]),
            ("Sequence length", f"{check['input_length']:,} bp"),
            *[("Extra input", f"{a['name']} {tuple(a['shape'])}, from: {a['source']}") for a in check["arguments"]],
        ),
        "<h2>Outputs</h2>",
        _table(
            ["output", "kind", "shape", "unit", "measure", "mean", "sd", "min", "max"],
            [
                [
                    o.get(k, "") if k != "shape" else " x ".join(map(str, o["shape"]))
                    for k in ("name", "kind", "shape", "unit", "measure", "mean", "sd", "min", "max")
                ]
                for o in check["outputs"]
            ],
        ),
        f"<p>On {check['sequences']} sequences. "
        + "".join(
            f"Standard deviation between the members, output {html.escape(k)}: {v:.3g}. "
            for k, v in check["member_sd"].items()
        )
        + "</p>",
        "<h2>Behaviour</h2>",
        _rows(
            ("Second run of the same batch", f"differs by {check['batch_difference']['again']:.2g} (relative)"),
            ("Sequences in another order", f"differs by {check['batch_difference']['other_order']:.2g}"),
            ("Sequences one by one", f"differs by {check['batch_difference']['one_by_one']:.2g}"),
            *[
                (
                    f"{how} against float64",
                    "; ".join(f"{name}: {error:.2g}" for name, error in errors.items())
                    + " (of the spread between sequences)",
                )
                for how, errors in check["precision_error"].items()
            ],
        ),
        "<h2>Engine</h2>",
        _rows(
            ("Path", engine["path"] + (f" ({engine['reason']})" if engine["reason"] else "")),
            ("Computed on whole sequences", ", ".join(engine["full_operations"]) or "none"),
            *[
                (label, f"{engine[key]:.2g}")
                for label, key in (
                    ("Self-check against the full pass in float64", "check_error"),
                    ("Error of effects in this precision", "effect_error"),
                )
                if engine[key] is not None
            ],
            ("Inserts computed together", check["block"]),
            *[
                (f"Pairs per second, {size} together", f"{rate:,.4g}")
                for size, rate in check["pairs_per_second"].items()
            ],
            ("Full pass", f"{check['sequences_per_second']:,.4g} sequences per second"),
            ("Machine", f"{check['device_name']}, {check['threads']} threads, PyTorch {check['torch']}"),
            ("Peak memory", f"{check['peak_memory_mb']:,.0f} MB"),
        ),
    ]
    if attribution:
        sections += [
            "<h2>Attribution by DeepLIFT</h2>",
            _rows(("Operations without a rule", ", ".join(attribution["unsupported_operations"]) or "none")),
            _table(
                ["output", "target", "pairs", "mean delta", "largest delta", "mean difference from references"],
                [
                    [name, d["target"], d["pairs"], f"{d['mean_delta']:.2g}", f"{d['max_delta']:.2g}",
                     f"{d['mean_difference']:.3g}"]
                    for name, d in attribution["deltas"].items()
                ],
            ),
        ]  # fmt: skip
    title = html.escape(f"Model {check['model']}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
        f'<p><a href="../../index.html">All results</a></p><h1>{title}</h1>\n'
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )


def _list(items: Sequence[str], kind: str) -> str:
    return "".join(f'<p class="{kind}">{kind.capitalize()}: {html.escape(item)}.</p>' for item in items)


def _rows(*rows: tuple[str, Any]) -> str:
    cells = "".join(f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows)
    return f"<table>{cells}</table>"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
