"""Whether a model can be attributed by DeepLIFT: operations without a rule, and convergence deltas."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginome.attribution import deep_lift_shap, find_unsupported_operations
from marginome.devices import is_out_of_memory
from marginome.footprint import Live
from marginome.model_check.budget import Part
from marginome.model_check.running import Runner, finite_or_none
from marginome.models.loading import LoadedModel
from marginome.seeds import stable_seed

log = logging.getLogger("marginome")

# Memory of DeepLIFT's pair of sequence and reference, in activations of one sequence: measured 4 to 5 for stacks of
# convolutions with rectifiers and residuals.
ACTIVATIONS_PER_PAIR = 6
# Mean delta relative to the mean difference from the references, where rounding is far below.
DELTA_WARNING = 1e-2
N_REFERENCES, N_OUTPUTS = 5, 4


class _OneTarget(torch.nn.Module):
    """One target of one output as ``(n, 1)``; of a profile the mean of its logits."""

    def __init__(self, module: torch.nn.Module, name: str, profile: bool):
        super().__init__()
        self.module, self.name, self.profile = module, name, profile

    def forward(self, X: Tensor, *args: Tensor) -> Tensor:
        value = self.module(X, *args)[self.name]
        return value.mean(dim=(1, 2)).unsqueeze(1) if self.profile else value[:, :1]


def check_attribution(
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
    outputs = loaded.outputs[:N_OUTPUTS]
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
        # where one pair goes at a time, what there is at once is what a pair takes
        live = Live() if at_once == 1 and not deltas else contextlib.nullcontext()
        try:
            with live:
                deltas[output.name] = _deltas(
                    target, X[:few], [a[:few] for a in args], references, device, seed, at_once
                )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            part.leave_out(f"DeepLIFT fails on output '{output.name}': {_reason(error)}")
            continue
        if isinstance(live, Live) and live.peak > part.memory_bytes:
            part.notes.append(
                f"DeepLIFT/SHAP takes {live.peak / 1e6:,.0f} MB for one pair of sequence and reference, more than "
                f"memory_mb ({part.memory_bytes >> 20:,}); attributions run it all the same, so give memory_mb twice "
                "that much"
            )
        per_pair = (time.perf_counter() - started) / (few * references)
        found = deltas[output.name]
        found["target"] = output.names[0]
        log.info("check, attribution: output %s, %d pairs, %.3g s each", output.name, found["pairs"], per_pair)
        if found["relative"] is None or not found["relative"] <= DELTA_WARNING:
            size = "not a finite number" if found["relative"] is None else (
                f"{found['relative']:.2g} of the difference from the references on average"
            )  # fmt: skip
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
    run = Runner(_Named(target), device, "model")
    own = run(X, args, at_once=at_once)["y"]
    others = [run(references[:, r], args, at_once=at_once)["y"] for r in range(n_references)]
    mean, largest = float(found.deltas.abs().mean()), float(found.deltas.abs().max())
    size = float(np.abs(np.stack(others) - own).mean())
    relative = mean / size if size else 0.0 if mean == 0 else math.inf
    return {
        "pairs": n * n_references,
        "mean_delta": finite_or_none(mean),
        "max_delta": finite_or_none(largest),
        "mean_difference": finite_or_none(size),
        "relative": finite_or_none(relative),
    }


class _Named(torch.nn.Module):
    """A module's tensor under a name, as `Runner` wants it."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, X: Tensor, *args: Tensor) -> dict[str, Tensor]:
        return {"y": self.module(X, *args)}
