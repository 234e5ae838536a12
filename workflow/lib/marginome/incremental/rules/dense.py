"""The rule of dense layers: position by position, over the positions, or over flattened feature maps."""

from __future__ import annotations

import math

import torch
from torch import fx

from ..changes import Change, NeedsEverythingError, Register
from ..nodes import arguments, name_of
from ..plan import Plan
from ..registry import rule


@rule("linear matmul mm addmm")
def linear(plan: Plan, node: fx.Node) -> Change:
    """Multiply the change with the weights: with the rows of its span only where positions are summed over."""
    a = arguments(node)
    how = name_of(node)
    if how == "linear":
        source, weight = a["input"], a["weight"]
    elif how == "addmm":
        source, weight = a["mat1"], a["mat2"]
        if a.get("alpha", 1) != 1 or a.get("beta", 1) != 1 or plan.change(a["self"]) is not None:
            raise NeedsEverythingError
    else:
        source, weight = (a["self"], a["mat2"]) if how == "mm" else (a["self"], a["other"])
    if plan.change(source) is None:
        raise NeedsEverythingError
    matrix = plan.constant(weight)  # (outputs, inputs) for linear, (inputs, outputs) for the others
    if matrix.ndim != 2:
        raise NeedsEverythingError
    c = plan.changes[source]
    shape = plan.graph.shape[node]
    outputs = shape[-1] if shape else 0
    low = plan.low

    def turned() -> torch.Tensor:
        return (matrix.t() if how == "linear" else matrix).to(low).contiguous()

    if c.axis is None:
        # Everything changed. The change is multiplied, not the values, so that the error is the change's; not so for
        # feature maps, where it would cost as much again to keep the background's.
        if len(plan.graph.shape.get(source, ())) != 1:
            raise NeedsEverythingError
        w = plan.static((node, "whole"), turned)
        exact = plan.graph.dtype

        def delta() -> Register:
            return plan.step(lambda s, d: (d.to(low) @ w).to(exact), plan.delta(source))

        return Change(None, 0, 0, shape, {"delta": delta})

    if c.inner == plan.graph.shape[source] and c.axis < len(c.inner):
        # Position by position, over the last axis.
        w = plan.static((node, "rows"), turned)

        def delta() -> Register:
            plan.count(2 * plan.elements(c) * outputs, plan.elements(c) + c.width * outputs)
            return plan.step(lambda s, d: d @ w, plan.delta(source))

        return Change(c.axis, c.lo, c.hi, shape, {"delta": delta})

    # Flattened positions, or the positions themselves, are summed over.
    if len(c.inner) == 1 or c.inner == plan.graph.shape[source]:
        if c.axis != len(c.inner):
            raise NeedsEverythingError
        w = plan.static((node, "positions"), turned)

        def delta() -> Register:
            plan.count(2 * plan.elements(c) * outputs, plan.elements(c))
            return plan.step(lambda s, d: (d @ w[c.lo : c.hi]).to(plan.graph.dtype), plan.delta(source))

        return Change(None, 0, 0, shape, {"delta": delta})

    channels, positions = math.prod(c.inner[: c.axis - 1]), c.inner[c.axis - 1]
    after = math.prod(c.inner[c.axis :])

    # Positions first, so that a span's rows are one block of memory, in the order that feature maps have.
    def rearranged(lo: int, hi: int) -> torch.Tensor:
        m = (matrix.t() if how == "linear" else matrix).reshape(channels, positions, after, outputs)
        return m[:, lo:hi].permute(1, 2, 0, 3).to(low).contiguous()

    def delta() -> Register:
        plan.count(2 * plan.elements(c) * outputs, plan.elements(c), fixed=plan.elements(c) * outputs)
        # These weights can be most of a model: the first spans copy their rows, many spans share one whole copy.
        copies = plan.static((node, "copies"), list)
        if len(copies) < 8:
            copies.append(None)
            rows = rearranged(c.lo, c.hi).reshape(-1, outputs)
        else:
            rows = plan.static((node, "flattened"), lambda: rearranged(0, positions))[c.lo : c.hi].reshape(-1, outputs)

        def run(s, d):
            d = d.reshape(len(d), channels, c.width, after).permute(0, 2, 3, 1)
            return (d.reshape(len(d), -1) @ rows).to(plan.graph.dtype)

        return plan.step(run, plan.delta(source))

    return Change(None, 0, 0, shape, {"delta": delta})
