"""How each attribution function of `marginome.attribution_names` is called by a job: one signature for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from marginome.attribution.deep_lift_shap import deep_lift_shap
from marginome.attribution.integrated_gradients import integrated_gradients
from marginome.mutagenesis import saturation_mutagenesis


class Asked(NamedTuple):
    """What a job wants attributed.

    Attributes
    ----------
    model : torch.nn.Module
        Returns (n, targets).
    X : torch.Tensor, (n, 4, length)
    args : sequence of torch.Tensor or None
        More inputs of the model.
    target : int
    references : callable
        Returns (n, references, 4, length), or (references, 4, length) for all; called where they are needed.
    device : torch.device
    precision, engine : str
        As the run's settings.
    span : (int, int) or None
        Positions that are wanted; a function may return all.
    hypothetical : bool
        Whether attributions of all four bases are wanted.
    quiet : bool
        Whether convergence deltas give no warnings, because the job looks at them itself.
    memory_bytes : int or None
        What to keep to, on the device.
    """

    model: torch.nn.Module
    X: torch.Tensor
    args: Sequence[torch.Tensor] | None
    target: int
    references: Callable[[], torch.Tensor]
    device: torch.device
    precision: str
    engine: str
    span: tuple[int, int] | None = None
    hypothetical: bool = False
    quiet: bool = False
    memory_bytes: int | None = None


class Attributed(NamedTuple):
    """Attributions (n, 4, length of the span or of X), and deltas (n, references) or None where there are none."""

    attributions: torch.Tensor
    deltas: torch.Tensor | None


def _deep_lift_shap(asked: Asked) -> Attributed:
    return Attributed(*deep_lift_shap(**_against_references(asked, warn_above=0.001)))


def _integrated_gradients(asked: Asked) -> Attributed:
    return Attributed(*integrated_gradients(**_against_references(asked, warn_above=0.01)))


def _saturation_mutagenesis(asked: Asked) -> Attributed:
    start, end = asked.span or (0, asked.X.shape[2])
    found = saturation_mutagenesis(
        asked.model, asked.X, args=asked.args, start=start, end=end, target=asked.target,
        hypothetical=asked.hypothetical, device=asked.device, dtype=_dtype(asked), fast=asked.engine != "full",
        memory_bytes=asked.memory_bytes,
    )  # fmt: skip
    return Attributed(found, None)


def _against_references(asked: Asked, *, warn_above: float) -> dict:
    """Return the arguments of a function that compares with references, with its deltas."""
    return {
        "model": asked.model, "X": asked.X, "args": asked.args, "target": asked.target,
        "references": asked.references(), "hypothetical": asked.hypothetical, "device": asked.device,
        "dtype": _dtype(asked), "allow_tf32": asked.precision == "tf32", "return_deltas": True,
        "warning_threshold": float("inf") if asked.quiet else warn_above,
        # the other half for what is read, drawn and returned
        "memory_bytes": asked.memory_bytes and asked.memory_bytes / 2,
    }  # fmt: skip


def _dtype(asked: Asked) -> str | None:
    return "bfloat16" if asked.precision == "bfloat16" else None


FUNCTIONS: dict[str, Callable[[Asked], Attributed]] = {
    "deep_lift_shap": _deep_lift_shap,
    "saturation_mutagenesis": _saturation_mutagenesis,
    "integrated_gradients": _integrated_gradients,
}
