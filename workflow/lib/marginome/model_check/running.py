"""Running a model for its check: arrays by output, and what one sequence costs."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from marginome.devices import precision_context
from marginome.errors import MarginomeError
from marginome.footprint import Live
from marginome.model_check.budget import Cost, Counting
from marginome.prediction import cast_argument, run_model

log = logging.getLogger("marginome")


class Runner:
    """Runs the readouts of a model on a device, in a precision, and gives float64 arrays by output."""

    def __init__(self, module: torch.nn.Module, device: torch.device, where: str):
        self.module = module if device.type == "cpu" else copy.deepcopy(module).to(device)
        self.device, self.where = device, where
        # a module without weights gets float32
        self.dtype = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)

    def __call__(
        self, X: Tensor, args: Sequence[Tensor], precision: str = "float32", *, at_once: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return by output what sequences ``(n, 4, length)`` give, ``(n, ...)``, `at_once` of them at a time."""
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


def cost_of(run: Runner, X: Tensor, args: Sequence[Tensor]) -> Cost:
    """Run one sequence twice, timed and counted: a first run also sets things up."""
    one = X[:1], [a[:1] for a in args]
    with Counting() as counted, Live() as live:
        seconds = seconds_of(run, *one)
    seconds = min(seconds, seconds_of(run, *one))
    log.info("check: one sequence takes %.3g s and %.3g MB of activations, %.3g MB at once", seconds,
             counted.bytes / 1e6, live.peak / 1e6)  # fmt: skip
    return Cost(seconds, counted.bytes, live.peak)


def seconds_of(run: Runner, X: Tensor, args: Sequence[Tensor]) -> float:
    """Return the seconds of one run."""
    start = time.perf_counter()
    run(X, args)
    return time.perf_counter() - start


def finite_or_none(value: float | None) -> float | None:
    """A measurement as JSON has it: None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None
