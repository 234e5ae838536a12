"""Is the incremental path right, and how precise is it? Asked of every model before it is used."""

from __future__ import annotations

import math

import torch

from marginome.sequences import random_one_hot

from .capture import CannotCaptureError
from .edits import Edits
from .paths import Full, Incremental, tensors

# Largest difference from the full pass, relative to the largest output, that a precision may have.
TOLERANCE = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 1e-1, "float64": 1e-10}
# In float64 the two paths differ by rounding alone. Relative to the largest effect.
EXACT = 1e-8


@torch.no_grad()
def check(full: Full, path: Incremental, rows: slice) -> tuple[float | None, float, float, str]:
    """Compare the incremental path with the full pass on edits at both ends and in the middle.

    Parameters
    ----------
    full, path
        The two paths on the same backgrounds.
    rows : slice
        Which backgrounds are the sample.

    Returns
    -------
    check_error : float
        Incremental against full pass of the same graph, both in float64, relative to the largest effect: whether the
        rules are right.
    precision_error, effect_error : float
        The path as it will run against the full pass in float64: relative to the largest output, and, for the
        effect, to the largest effect.
    reason : str
        Why the path must not be used; empty if it may.
    """
    X, args = full.X[rows], tuple(a[rows] for a in full.args)
    length = X.shape[-1]
    edits = sample_edits(length)
    m, b = len(edits.starts), len(X)
    double = path.graph.to_dtype(torch.float64)
    args64 = tuple(a.double() if a.is_floating_point() else a for a in args)
    memory = path.memory_bytes // 4
    exact = Incremental(double, X, args64, path.device, "float32", memory)
    few = Incremental(path.graph, X, args, path.device, path.precision, memory, path.statics)

    index = torch.arange(b)
    each = edits.take(torch.arange(m).repeat_interleave(b))
    edited = each.apply(X[index.repeat(m)])
    everything = tuple(a[index.repeat(m)] for a in args64)
    truth = _tensors(double, double.run(edited.double(), everything)[0], (m, b))
    before = _tensors(double, double.run(X.double(), args64)[0], (b,))

    wrong = _difference(tensors(exact.product(edits, slice(0, b))), truth, before, relative_to_effect=True)
    if not wrong <= EXACT:
        return (
            wrong,
            math.nan,
            math.nan,
            f"it differs from the full pass by {wrong:.1e} of the largest effect (float64)",
        )
    after = tensors(few.product(edits, slice(0, b)))
    error = _difference(after, truth, before, relative_to_effect=False)
    # The difference of effects: what rounding before and after have in common drops out.
    few_before = tensors(few.before())
    effects = [a.double() - f.double()[None] for a, f in zip(after, few_before)]
    true_effects = [t - f[None] for t, f in zip(truth, before)]
    scale = max((float(t.abs().max()) for t in true_effects), default=0.0)
    effect_error = max((float((e - t).abs().max()) for e, t in zip(effects, true_effects)), default=0.0)
    effect_error = effect_error / scale if scale > 0 else effect_error
    module = tensors(full.product(edits, slice(rows.start, rows.stop)))
    captured = _difference(module, truth, before, relative_to_effect=False)
    tolerance = TOLERANCE[path.precision]
    reason = ""
    if not captured <= tolerance:
        reason = f"the captured graph differs from the model by {captured:.1e} of the largest output"
    elif not error <= tolerance:
        reason = f"in {path.precision} it differs from float64 by {error:.1e} of the largest output"
    return wrong, error, effect_error, reason


def sample_edits(length: int) -> Edits:
    """Return edits at both ends and in the middle, of several widths."""
    widths = [min(w, length) for w in (1, 7, 12)]
    starts = [0, length - widths[1], length // 2 - widths[2] // 2]
    inserts = [random_one_hot((1, 4, w), random_state=i)[0] for i, w in enumerate(widths)]
    return Edits.stack(inserts, starts)


def _tensors(graph, outputs: list, leading: tuple[int, ...]) -> list[torch.Tensor]:
    found = tensors(graph.nest(outputs))
    if any(len(t) != math.prod(leading) for t in found):
        raise CannotCaptureError("an output has not one entry per sequence")
    return [t.unflatten(0, leading) for t in found]


def _difference(found: list, truth: list, before: list, *, relative_to_effect: bool) -> float:
    """Return the largest difference over all outputs, each relative to its own largest effect (or output)."""
    worst = 0.0
    for a, t, b in zip(found, truth, before):
        if not t.is_floating_point():
            continue
        a, t = a.double(), t.double()
        effect = float((t - b.double()[None]).abs().max())
        output = float(t.abs().max())
        # An effect that is itself rounding is no scale.
        scale = max(effect, 1e-6 * output) if relative_to_effect else output
        difference = float((a - t).abs().max())
        worst = max(worst, difference / scale if scale > 0 else difference)
        if math.isnan(difference):
            return math.nan
    return worst
