"""Rules along axes other than the positions (norms, softmax), and of sums, which may run over the positions too."""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from ..capture import CONSTANT
from ..changes import Change, NeedsEverythingError, Register
from ..nodes import arguments, name_of
from ..plan import Plan
from ..registry import in_place, rule


def _dims(a: dict[str, Any], rank: int) -> list[int] | None:
    dim = a.get("dim", a.get("dims"))
    if dim is None or isinstance(dim, fx.Node):
        return None
    return [d % rank for d in (dim if isinstance(dim, list | tuple) else [dim])] or None


@rule(
    "softmax log_softmax _softmax _log_softmax logsumexp amax amin var std prod cumsum glu norm "
    "linalg_vector_norm softmin any all argmax argmin",
    any_dtype=True,
)
def along(plan: Plan, node: fx.Node) -> Change:
    """Apply an operation along axes that are neither the positions nor the batch to the changed span."""
    source = node.args[0]
    c = plan.unflattened_window(source)
    dims = _dims(arguments(node), len(c.inner) + 1)
    if dims is None or c.axis in dims or 0 in dims:
        raise NeedsEverythingError
    return _on_span(plan, node, source, _axis_after(plan, node, c, dims))


def _axis_after(plan: Plan, node: fx.Node, c: Change, dims: list[int]) -> int:
    """Return where the positions are after axes were reduced (or kept)."""
    shape = plan.graph.shape[node]
    return c.axis if len(shape) == len(c.inner) else c.axis - sum(d < c.axis for d in dims)


def _on_span(plan: Plan, node: fx.Node, source: fx.Node, axis: int) -> Change:
    """Run the operation as it is, with its own arguments, on the values of the changed span."""
    c = plan.changes[source]
    inner = plan.graph.shape[node]

    def value() -> Register:
        plan.count(elements=2 * plan.elements(c))
        return plan.step(lambda s, v: plan.graph.call(node, lambda n: v), plan.value(source))

    if any(n is not source and plan.graph.kind[n] != CONSTANT for n in node.all_input_nodes):
        raise NeedsEverythingError
    return Change(axis, c.lo, c.hi, inner, {"value": value})


@rule("layer_norm")
def layer_norm(plan: Plan, node: fx.Node) -> Change:
    """Normalize over channels, position by position."""
    source = node.args[0]
    c = plan.unflattened_window(source)
    if c.axis > len(c.inner) - len(arguments(node)["normalized_shape"]):
        raise NeedsEverythingError
    return _on_span(plan, node, source, c.axis)


@rule("prelu _prelu_kernel", reads=in_place)
def prelu(plan: Plan, node: fx.Node) -> Change:
    """Apply a rectifier with a slope per channel."""
    source = node.args[0]
    c = plan.unflattened_window(source)
    if c.axis == 1:
        raise NeedsEverythingError
    return _on_span(plan, node, source, c.axis)


@rule("sum mean")
def total(plan: Plan, node: fx.Node) -> Change:
    """Sum (or average) the change: over positions this is global but linear."""
    a = arguments(node)
    source = node.args[0]
    c = plan.unflattened_window(source)
    rank = len(c.inner) + 1
    dims = _dims(a, rank)
    if dims is None or 0 in dims or not node.meta["val"].is_floating_point():
        raise NeedsEverythingError
    count = math.prod(c.inner[d - 1] for d in dims) if name_of(node) == "mean" else 1
    keep = bool(a.get("keepdim"))
    over_positions = c.axis in dims
    if node in plan.graph.cancelling:
        if over_positions:
            raise NeedsEverythingError
        return _on_span(plan, node, source, _axis_after(plan, node, c, dims))
    exact = plan.graph.dtype if over_positions else plan.low

    def delta() -> Register:
        plan.count(elements=plan.elements(c))

        def run(s, d):
            return d.sum(dims, keepdim=keep, dtype=exact) / count

        return plan.step(run, plan.delta(source))

    shape = plan.graph.shape[node]
    if over_positions:
        return Change(None, 0, 0, shape, {"delta": delta})
    return Change(_axis_after(plan, node, c, dims), c.lo, c.hi, shape, {"delta": delta})
