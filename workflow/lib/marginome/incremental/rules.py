"""One rule per operation: which span of its output a change can reach, and how to compute it there.

A rule is called once per plan as ``rule(plan, node)`` with a node at least one of whose inputs changed. It returns the
node's `Change` (None if the change cannot reach it), or raises `NeedsEverythingError` (also by way of `Plan.window` and
`Plan.constant`), and the operation is then computed on whole sequences, which is always right. ``docs/engine.md`` shows
how to add one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from . import fused
from .capture import BACKGROUND, CONSTANT, SYMBOL, arguments, name_of
from .kernels import (
    Geometry,
    by_batched_taps,
    by_columns,
    by_diagonals,
    by_taps,
    max_of_slices,
    slice_along,
    sum_of_slices,
    taps,
)
from .plan import Base, Change, NeedsEverythingError, Plan, Register, channels_last, zeros_like_layout

RULES: dict[str, Callable[[Plan, fx.Node], Change | None]] = {}


def rule(*names: str) -> Callable:
    """Register a rule under the operations' names (without their overloads)."""

    def register(function: Callable) -> Callable:
        for name in names:
            RULES[name] = function
        return function

    return register


# ---- the same tensor under another name ------------------------------------------------------------------------------


@rule("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "contiguous", "clone", "detach", "alias")
@rule("lift_fresh_copy", "to", "_to_copy", "type_as", "dropout_", "detach_", "identity")
def same(plan: Plan, node: fx.Node) -> Change:
    """Pass the change on: dropout in evaluation mode, copies, casts."""
    a = arguments(node)
    if a.get("train") is True:
        raise NeedsEverythingError
    source = node.args[0]
    c = plan.window(source)
    dtype = plan.dtype(node)

    def value() -> Register:
        v = plan.value(source)
        return v if plan.dtype(source) == dtype else plan.step(lambda s, v: v.to(dtype), v)

    if not plan.is_floating(node):  # a mask or an index, or made of one: it has no difference
        return Change(c.axis, c.lo, c.hi, c.inner, {"value": value})
    forms = {"delta": lambda: plan.delta(source), "value": value}
    return Change(c.axis, c.lo, c.hi, c.inner, forms, c.linear if plan.only_use(source) else None)


# ---- operations on single elements -----------------------------------------------------------------------------------

UNARY = """abs acos acosh asin asinh atan atanh ceil celu cos cosh deg2rad elu erf erfc exp exp2 expm1 floor frac gelu
hardshrink hardsigmoid hardswish hardtanh leaky_relu log log10 log1p log2 log_sigmoid logit mish nan_to_num neg
reciprocal relu6 round rsqrt selu sigmoid sign silu sin sinh softplus softshrink softsign special_expit sqrt square tan
tanh threshold trunc rrelu""".split()


@rule(*UNARY)
def elementwise(plan: Plan, node: fx.Node) -> Change:
    """Apply a function of single elements to the changed span."""
    source = node.args[0]
    c = plan.window(source)
    training = node.target is torch.ops.aten.rrelu.default and arguments(node).get("training")
    if training or len(node.all_input_nodes) > 1:
        raise NeedsEverythingError

    def value() -> Register:
        v = _value_of(plan, source)
        plan.count(elements=2 * plan.elements(c))
        return plan.step(lambda s, v: plan.graph.call(node, lambda n: v), v)

    return Change(c.axis, c.lo, c.hi, c.inner, {"value": value})


@rule("relu")
def relu(plan: Plan, node: fx.Node) -> Change:
    """Compute the change of a rectifier from the change of its input z.

    relu(z + d) - relu(z) = max(d + min(z, 0), -max(z, 0)): one pass, and exactly 0 where d is 0.
    """
    source = node.args[0]
    c = plan.window(source)

    def delta() -> Register:
        start = plan.base(source, c.lo, c.hi, transform="negative part", low=True)
        floor = plan.base(source, c.lo, c.hi, transform="minus positive part", low=True)
        if c.linear is not None and plan.only_use(source):
            return c.linear(start, None, floor)
        plan.count(elements=3 * plan.elements(c))
        shifted = plan.step(lambda s, d: (s.split(d) + s.bases[start]).flatten(0, 1), plan.delta(source))
        return _at_least(plan, shifted, floor)

    def value() -> Register:
        plan.count(elements=2 * plan.elements(c))
        return plan.step(lambda s, v, owned: v.relu_() if owned else v.relu(), _value_of(plan, source), steals=0)

    # Differentiated, a rectifier has to be seen as one.
    forms = {"value": value} if plan.differentiable else {"delta": delta, "value": value}
    return Change(c.axis, c.lo, c.hi, c.inner, forms)


def _at_least(plan: Plan, register: Register, floor: Base | None) -> Register:
    """Emit the maximum with background values, if there are any."""
    if floor is None:
        return register
    plan.count(elements=2 * math.prod(floor.inner) // floor.inner[floor.axis - 1] * (floor.hi - floor.lo))

    def rectify(s, d, owned):
        d = s.split(d)
        return torch.maximum(d, s.bases[floor], out=d if owned else None).flatten(0, 1)

    return plan.step(rectify, register, steals=0)


def _value_of(plan: Plan, source: fx.Node) -> Register:
    """Return the changed values of a node, computed at once with the background where it is linear."""
    c = plan.changes[source]
    if c.linear is not None and plan.only_use(source):
        return c.linear(plan.base(source, c.lo, c.hi), None)
    return plan.value(source)


def _hull(plan: Plan, node: fx.Node, operands: list[Any]) -> tuple[int, int, int, tuple[int, ...]]:
    """Return axis, lo, hi and shape of a broadcasting operation's change.

    Every changed operand has to have the result's positions on the result's axis.
    """
    changed = [plan.window(o) for o in operands if plan.change(o) is not None]
    shape = plan.graph.shape[node]
    axis, inner = changed[0].axis, changed[0].inner
    if any(c.axis != axis or len(c.inner) != len(inner) or c.inner[axis - 1] != inner[axis - 1] for c in changed):
        raise NeedsEverythingError
    if inner == shape or (len(shape) == len(inner) and shape[axis - 1] == inner[axis - 1]):
        return axis, min(c.lo for c in changed), max(c.hi for c in changed), shape
    # Flattened: only with numbers, and with tensors flattened alike.
    others = [o for o in operands if isinstance(o, fx.Node) and plan.change(o) is None]
    if others or any(c.inner != inner for c in changed):
        raise NeedsEverythingError
    return axis, min(c.lo for c in changed), max(c.hi for c in changed), inner


def _cut(plan: Plan, operand: Any, axis: int, lo: int, hi: int, rank: int) -> tuple[str, Any]:
    """Return an unchanged operand on the span: ('plain', number or tensor) or ('base', Base)."""
    if not isinstance(operand, fx.Node):
        return "plain", operand
    kind = plan.graph.kind[operand]
    if kind == CONSTANT:
        value = plan.graph.constant[operand]
        if isinstance(value, torch.Tensor) and value.ndim >= rank - axis and value.ndim:
            at = value.ndim - (rank - axis)
            if value.shape[at] > 1:
                value = value.narrow(at, lo, hi - lo)
        if isinstance(value, torch.Tensor) and value.ndim == rank and value.shape[0] > 1:
            raise NeedsEverythingError
        return "plain", value
    if kind == SYMBOL or operand not in plan.graph.shape or len(plan.graph.shape[operand]) != rank - 1:
        raise NeedsEverythingError
    if plan.graph.shape[operand][axis - 1] == 1:
        return "base", plan.base(operand)
    return "base", plan.base_at(operand, axis, lo, hi)


@rule("where", "maximum", "minimum", "pow", "atan2", "logaddexp", "logaddexp2", "fmax", "fmin", "hypot", "lerp")
@rule("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "logical_xor", "isnan")
@rule("clamp", "clamp_min", "clamp_max", "addcmul", "addcdiv", "remainder", "fmod", "xlogy", "floor_divide")
@rule("masked_fill", "heaviside", "copysign", "isfinite", "isinf", "bitwise_and", "bitwise_or", "bitwise_not")
def broadcast(plan: Plan, node: fx.Node) -> Change:
    """Apply a function of several tensors' elements to the span that covers all changes."""
    operands = list(node.all_input_nodes)
    axis, lo, hi, inner = _hull(plan, node, operands)
    rank = len(inner) + 1
    fixed = {o: _cut(plan, o, axis, lo, hi, rank) for o in operands if plan.change(o) is None}

    def value() -> Register:
        changed = [o for o in operands if plan.change(o) is not None]
        given = [plan.value_on(o, lo, hi) for o in changed]
        plan.count(elements=(1 + len(given)) * plan.elements(plan.changes[node]))

        def run(s, *values):
            here = dict(zip(changed, (s.split(v) for v in values)))
            for o, (how, what) in fixed.items():
                here[o] = s.bases[what] if how == "base" else what
            args, kwargs = plan.graph.map_nodes((node.args, node.kwargs), here.__getitem__)
            return node.target(*args, **kwargs).flatten(0, 1)

        return plan.step(run, *given)

    return Change(axis, lo, hi, inner, {"value": value})


@rule("add", "sub", "rsub")
def add(plan: Plan, node: fx.Node) -> Change:
    """Add changes; what did not change drops out."""
    if not plan.is_floating(node) or node in plan.graph.cancelling:
        return broadcast(plan, node)
    a = arguments(node)
    first, second, alpha = a["self"], a["other"], a.get("alpha", 1)
    axis, lo, hi, inner = _hull(plan, node, [first, second])
    for operand in (first, second):
        if plan.change(operand) is None:
            _cut(plan, operand, axis, lo, hi, len(inner) + 1)  # refuses what does not line up
        elif plan.changes[operand].inner != inner:
            raise NeedsEverythingError  # broadcast over another axis
    scales = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[name_of(node)]
    terms = [(o, k) for o, k in zip((first, second), scales) if plan.change(o) is not None]

    def delta() -> Register:
        if len(terms) == 1:
            return _scaled(plan, plan.delta(terms[0][0]), terms[0][1])
        if terms[0][0] is terms[1][0]:
            return _scaled(plan, plan.delta(terms[0][0]), terms[0][1] + terms[1][1])
        # The wider one is the accumulator, in place where nothing else needs it.
        (wide, k), (narrow, j) = sorted(terms, key=lambda t: -plan.changes[t[0]].width)
        at = plan.changes[narrow].lo - lo
        width = plan.changes[narrow].width
        plan.count(elements=3 * plan.elements(plan.changes[narrow]))
        base = _scaled(plan, plan.delta_on(wide, lo, hi), k)

        def accumulate(s, x, y, owned):
            x = x if owned else x.clone()
            x.narrow(axis, at, width).add_(y, alpha=j)
            return x

        return plan.step(accumulate, base, plan.delta(narrow), steals=0)

    return Change(axis, lo, hi, inner, {"delta": delta})


def _scaled(plan: Plan, register: Register, factor: float) -> Register:
    return register if factor == 1 else plan.step(lambda s, d: d * factor, register)


@rule("mul", "div", "divide", "multiply", "true_divide")
def multiply(plan: Plan, node: fx.Node) -> Change:
    """Scale a change by what did not change; else multiply (or divide) values."""
    a = arguments(node)
    first, second = a["self"], a["other"]
    dividing = name_of(node) in ("div", "divide", "true_divide")
    together = plan.change(second) is not None and (plan.change(first) is not None or dividing)
    by_value = together or not plan.is_floating(node) or node in plan.graph.cancelling
    if a.get("rounding_mode") is not None or by_value:
        return broadcast(plan, node)
    changed, other = (first, second) if plan.change(first) is not None else (second, first)
    axis, lo, hi, inner = _hull(plan, node, [first, second])
    if plan.changes[changed].inner != inner:
        raise NeedsEverythingError
    how, what = _cut(plan, other, axis, lo, hi, len(inner) + 1)
    low = plan.low

    def delta() -> Register:
        plan.count(elements=3 * plan.elements(plan.changes[node]))

        def run(s, d):
            by = s.bases[what] if how == "base" else what
            d = s.split(d)
            return (d / by if dividing else d * by).flatten(0, 1).to(low)

        return plan.step(run, plan.delta(changed))

    return Change(axis, lo, hi, inner, {"delta": delta})


@rule("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm", "cudnn_batch_norm")
def batch_norm(plan: Plan, node: fx.Node) -> Change:
    """Scale each channel (evaluation mode); the scale goes into the weights of a convolution before it."""
    a = arguments(node)
    if a.get("training"):
        raise NeedsEverythingError
    source = node.args[0]
    c = plan.plain_window(source)
    if c.axis == 1:
        raise NeedsEverythingError
    variance = plan.constant(a["running_var"])
    scale = torch.rsqrt(variance + a["eps"])
    if a.get("weight") is not None:
        scale = scale * plan.constant(a["weight"])
    shaped = scale.reshape(-1, *[1] * (len(c.inner) - 1))

    def linear(start, more, floor=None) -> Register:
        by = scale if more is None else scale * more
        if c.linear is not None and plan.only_use(source):
            return c.linear(start, by, floor)
        per_channel = by.reshape(shaped.shape)
        plan.count(elements=3 * plan.elements(c))

        def run(s, d):
            d = d * per_channel.to(d.dtype)
            return d if start is None else (s.split(d) + s.bases[start]).flatten(0, 1)

        return _at_least(plan, plan.step(run, plan.delta(source)), floor)

    whole = plan.graph.shape.get(node, c.inner)  # native_batch_norm returns a tuple; getitem reads its first
    return Change(c.axis, c.lo, c.hi, whole, _forms_of(plan, node, linear), linear)


def _forms_of(plan: Plan, node: fx.Node, linear: Callable) -> dict[str, Callable]:
    """Return both forms of a linear operation."""

    def value() -> Register:
        c = plan.changes[node]
        return linear(plan.base(node, c.lo, c.hi), None)

    return {"delta": lambda: linear(None, None), "value": value}


# ---- operations along other axes than the positions ------------------------------------------------------------------


def _dims(a: dict[str, Any], rank: int) -> list[int] | None:
    dim = a.get("dim", a.get("dims"))
    if dim is None or isinstance(dim, fx.Node):
        return None
    return [d % rank for d in (dim if isinstance(dim, list | tuple) else [dim])] or None


@rule("softmax", "log_softmax", "_softmax", "_log_softmax", "logsumexp", "amax", "amin", "var", "std", "prod", "cumsum")
@rule("glu", "norm", "linalg_vector_norm", "softmin", "any", "all", "argmax", "argmin")
def along(plan: Plan, node: fx.Node) -> Change:
    """Apply an operation along axes that are neither the positions nor the batch to the changed span."""
    source = node.args[0]
    c = plan.plain_window(source)
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
    c = plan.plain_window(source)
    if c.axis > len(c.inner) - len(arguments(node)["normalized_shape"]):
        raise NeedsEverythingError
    return _on_span(plan, node, source, c.axis)


@rule("prelu", "_prelu_kernel")
def prelu(plan: Plan, node: fx.Node) -> Change:
    """Apply a rectifier with a slope per channel."""
    source = node.args[0]
    c = plan.plain_window(source)
    if c.axis == 1:
        raise NeedsEverythingError
    return _on_span(plan, node, source, c.axis)


@rule("sum", "mean")
def total(plan: Plan, node: fx.Node) -> Change:
    """Sum (or average) the change: over positions this is global but linear."""
    a = arguments(node)
    source = node.args[0]
    c = plan.plain_window(source)
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


# ---- linear layers ---------------------------------------------------------------------------------------------------


@rule("linear", "matmul", "mm", "addmm")
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


@rule("conv1d", "conv2d", "convolution")
def convolution(plan: Plan, node: fx.Node) -> Change:
    """Convolve the change."""
    a = arguments(node)
    source, weight = a["input"], plan.constant(a["weight"])
    c = plan.plain_window(source)
    if a.get("transposed") or weight.ndim != len(c.inner) + 1 or c.axis == 1:
        raise NeedsEverythingError
    at = c.axis - 2  # among the spatial axes
    n = weight.ndim - 2
    stride, dilation = _each(a["stride"], n), _each(a["dilation"], n)
    kernel = list(weight.shape[2:])
    if isinstance(a["padding"], str):
        # Of an odd total the larger half goes to the end.
        padding = [d * (k - 1) // 2 if a["padding"] == "same" else 0 for d, k in zip(dilation, kernel)]
        if any(a["padding"] == "same" and d * (k - 1) % 2 for i, (d, k) in enumerate(zip(dilation, kernel)) if i != at):
            raise NeedsEverythingError
    else:
        padding = _each(a["padding"], n)
    geometry = Geometry(kernel[at], stride[at], padding[at], dilation[at])
    shape = plan.graph.shape[node]
    lo, hi = geometry.reaches(c.lo, c.hi, shape[c.axis - 1])
    if hi == lo:
        return None
    flat = n == 1 or all(c.inner[i + 1] == kernel[i] == shape[i + 1] == 1 for i in range(n) if i != at)
    simple = flat and geometry.stride == 1 and a["groups"] == 1

    def emit(start, scale, floor=None) -> Register:
        scaled = weight if scale is None else weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        # A scale is a batch norm's, which belongs to this plan's graph: one per node.
        key = (node, scale is not None)
        if simple:
            return _emit_simple(plan, source, geometry, lo, hi, scaled.flatten(2), key, start, floor, c.axis, shape)
        others = [0 if i == at else p for i, p in enumerate(padding)]
        w = plan.static((*key, "as it is"), lambda: scaled.to(plan.low))
        d = plan.delta_on(source, *geometry.reads(lo, hi))
        convolve = F.conv1d if n == 1 else F.conv2d if n == 2 else F.conv3d
        settings = {"stride": stride, "padding": others, "dilation": dilation, "groups": a["groups"]}
        elements = math.prod(shape) // shape[c.axis - 1] * (hi - lo)
        plan.count(2 * elements * weight[0].numel(), 3 * elements)

        def run(s, d):
            y = channels_last(convolve(d, w, None, **settings))
            return y if start is None else (s.split(y) + s.bases[start]).flatten(0, 1)

        return _at_least(plan, plan.step(run, d), floor)

    return Change(c.axis, lo, hi, shape, _forms_of(plan, node, emit), emit)


def _emit_simple(plan, source, geometry, lo, hi, weight, key, start, floor, axis, shape) -> Register:
    """Emit a convolution along positions with stride 1 and one group, the way that fits its shape.

    `start` and `floor` are background values (or None): the result is max(start + convolved change, floor).
    """
    c = plan.changes[source]
    outputs, channels, kernel = weight.shape
    low, out_width = plan.low, hi - lo

    def squeezed(x):  # (pairs, channels, positions), whatever other axes of size 1 there are
        return x.flatten(2) if x.ndim > 3 else x

    def restored(y):
        return y.reshape(len(y), outputs, *[1] * (axis - 2), -1, *[1] * (len(shape) - axis)) if len(shape) > 2 else y

    def begin(s, x):
        if start is not None:
            return squeezed(s.spread(start))
        return zeros_like_layout(x, [len(x), outputs, out_width])

    def onto(s, y):
        return y if start is None else (s.split(y) + squeezed(s.bases[start])).flatten(0, 1)

    plan.count(2 * c.width * channels * kernel * outputs, fixed=weight.numel())
    if channels * out_width <= outputs * c.width or kernel == 1:
        # Few channels (the first layer, of one-hot sequences): unfolding is cheap.
        w = plan.static((*key, "columns"), lambda: weight.permute(2, 1, 0).reshape(-1, outputs).to(low).contiguous())
        d = plan.delta_on(source, *geometry.reads(lo, hi))
        plan.count(elements=out_width * (2 * channels * kernel + 3 * outputs))

        def run(s, x):
            y = by_columns(squeezed(x), w, geometry.dilation, kernel)
            return restored(onto(s, y))

        return _at_least(plan, plan.step(run, d), floor)
    if outputs <= 8:
        w = plan.static((*key, "diagonals"), lambda: weight.permute(0, 2, 1).reshape(-1, channels).to(low).contiguous())
        d = plan.delta_on(source, *geometry.reads(lo, hi))
        plan.count(elements=c.width * 2 * kernel * outputs)

        def run(s, x):
            y = channels_last(by_diagonals(squeezed(x), w, geometry.dilation, kernel))
            return restored(onto(s, y))

        return _at_least(plan, plan.step(run, d), floor)

    d = plan.delta(source)
    if plan.fused and fused.worthwhile(channels, outputs, low):
        w = plan.static((*key, "fused"), lambda: fused.tap_weights(weight.to(low)))
        plan.count(elements=c.width * channels + out_width * outputs)
        shift = c.lo + geometry.padding - lo  # output j reads inputs of the span from j - shift on

        def run(s, x):
            start_, floor_ = (None if base is None else squeezed(s.bases[base]) for base in (start, floor))
            y = fused.convolve(
                squeezed(x), w, out_width, shift=shift, dilation=geometry.dilation, start=start_, floor=floor_
            )
            return restored(y)

        return plan.step(run, d)

    parts = taps(geometry, c.lo, c.width, lo, hi)
    plan.count(elements=c.width * (channels + 4 * kernel * outputs) + out_width * outputs)
    if kernel <= 3 and c.width >= BATCHED_TAPS_WIDTH:
        w = plan.static((*key, "batched"), lambda: weight.permute(2, 1, 0).to(low).contiguous())
        add_up = by_batched_taps
    else:
        w = plan.static((*key, "taps"), lambda: weight.permute(1, 2, 0).reshape(channels, -1).to(low).contiguous())
        add_up = by_taps

    def run(s, x):
        x = squeezed(x)
        out = begin(s, x)
        add_up(x, out, w, parts)
        return restored(out)

    return _at_least(plan, plan.step(run, d), floor)


# From this many positions on, a product per tap straight into the result beats one product for all taps, whose
# intermediate no longer fits a core's cache (docs/engine.md).
BATCHED_TAPS_WIDTH = 256


def _each(value: Any, n: int) -> list[int]:
    """Return one number per spatial axis."""
    found = [value] * n if isinstance(value, int) else list(value)
    found = found * n if len(found) == 1 else found
    if any(not isinstance(v, int) for v in found):
        raise NeedsEverythingError
    return found


@rule("conv_transpose1d", "conv_transpose2d")
def transposed_convolution(plan: Plan, node: fx.Node) -> Change:
    """Spread the change over the outputs that it reaches."""
    a = arguments(node)
    source, weight = a["input"], plan.constant(a["weight"])
    c = plan.plain_window(source)
    n = weight.ndim - 2
    at = c.axis - 2
    if at < 0 or weight.ndim != len(c.inner) + 1:
        raise NeedsEverythingError
    stride, padding, dilation = (_each(a[k], n) for k in ("stride", "padding", "dilation"))
    more = _each(a["output_padding"], n)
    shape = plan.graph.shape[node]
    extent = (weight.shape[2 + at] - 1) * dilation[at] + 1
    first = c.lo * stride[at] - padding[at]
    last = (c.hi - 1) * stride[at] - padding[at] + extent
    lo, hi = max(first, 0), min(last, shape[c.axis - 1])
    if hi <= lo:
        return None
    here = [0 if i == at else p for i, p in enumerate(padding)]
    more[at] = 0
    convolve = F.conv_transpose1d if n == 1 else F.conv_transpose2d
    w = weight.to(plan.low)

    def delta() -> Register:
        plan.count(2 * plan.elements(c) * weight[0].numel(), 2 * plan.elements(c))

        def run(s, d):
            y = convolve(
                d, w, None, stride=stride, padding=here, output_padding=more, groups=a["groups"], dilation=dilation
            )
            return y.narrow(c.axis, lo - first, hi - lo)

        return plan.step(run, plan.delta(source))

    return Change(c.axis, lo, hi, shape, {"delta": delta})


# ---- pooling and resampling ------------------------------------------------------------------------------------------


def _pooling(plan: Plan, node: fx.Node) -> tuple[fx.Node, Change, Geometry, int, int] | None:
    """Return source, its change, the geometry along positions and the span of outputs; None if there is none."""
    a = arguments(node)
    source = a["self"] if "self" in a else a["input"]
    c = plan.plain_window(source)
    n = 2 if "2d" in name_of(node) else 1
    at = c.axis - (len(c.inner) + 1 - n)
    if at < 0:
        raise NeedsEverythingError
    kernel = _each(a["kernel_size"], n)
    stride = _each(a["stride"], n) if a.get("stride") else kernel
    padding, dilation = _each(a.get("padding", 0), n), _each(a.get("dilation", 1), n)
    if any(k != 1 or s != 1 or p for i, (k, s, p) in enumerate(zip(kernel, stride, padding)) if i != at):
        raise NeedsEverythingError
    shape = plan.graph.shape.get(node)
    length = (shape or _first_shape(node))[c.axis - 1]
    geometry = Geometry(kernel[at], stride[at], padding[at], dilation[at])
    lo, hi = geometry.reaches(c.lo, c.hi, length)
    return None if hi == lo else (source, c, geometry, lo, hi)


def _first_shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"][0].shape[1:])


@rule("max_pool1d", "max_pool2d", "max_pool1d_with_indices", "max_pool2d_with_indices")
def max_pool(plan: Plan, node: fx.Node) -> Change | None:
    """Take the maximum over the windows that the change reaches, with the background around it."""
    found = _pooling(plan, node)
    if found is None:
        return None
    source, c, geometry, lo, hi = found
    inner = plan.graph.shape.get(node) or _first_shape(node)

    def value() -> Register:
        plan.count(elements=2 * plan.elements(c, (hi - lo) * geometry.stride))
        v = plan.value_on(source, *geometry.reads(lo, hi), fill=-math.inf)
        return _maxima(plan, v, c.axis, geometry, hi - lo)

    return Change(c.axis, lo, hi, inner, {"value": value})


def _maxima(plan: Plan, v: Register, axis: int, geometry: Geometry, positions: int) -> Register:
    """Emit the maxima of pooling windows; as one pooling where DeepLIFT has to see which position wins."""
    if not plan.differentiable:
        return plan.step(lambda s, v: max_of_slices(v, axis, geometry, positions), v)

    def pool(s, v):
        last = v.movedim(axis, -1)
        pooled = F.max_pool1d(last.flatten(1, -2), geometry.kernel, geometry.stride, 0, geometry.dilation)
        return pooled.view(*last.shape[:-1], -1).movedim(-1, axis)

    return plan.step(pool, v)


@rule("avg_pool1d", "avg_pool2d")
def average_pool(plan: Plan, node: fx.Node) -> Change | None:
    """Average the change over the windows that it reaches."""
    found = _pooling(plan, node)
    if found is None:
        return None
    source, c, geometry, lo, hi = found
    a = arguments(node)
    first, last = geometry.reads(lo, hi)
    padded = first < 0 or last > c.inner[c.axis - 1]
    if a.get("divisor_override") or (padded and (not a.get("count_include_pad", True) or a.get("ceil_mode"))):
        raise NeedsEverythingError  # windows at the ends have divisors of their own

    def delta() -> Register:
        plan.count(elements=2 * plan.elements(c, (hi - lo) * geometry.stride))
        d = plan.delta_on(source, first, last)
        return plan.step(lambda s, d: sum_of_slices(d, c.axis, geometry, hi - lo) / geometry.kernel, d)

    return Change(c.axis, lo, hi, plan.graph.shape[node], {"delta": delta})


@rule("adaptive_avg_pool1d", "adaptive_max_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d")
def adaptive_pool(plan: Plan, node: fx.Node) -> Change:
    """Pool into equal parts: one part is a mean (linear) or a maximum over all positions."""
    source = node.args[0]
    c = plan.plain_window(source)
    shape = plan.graph.shape.get(node) or _first_shape(node)
    parts, length = shape[c.axis - 1], c.inner[c.axis - 1]
    others = [i for i in range(len(shape)) if i != c.axis - 1]
    if length % parts or any(shape[i] != c.inner[i] for i in others):
        raise NeedsEverythingError
    geometry = Geometry(length // parts, length // parts, 0, 1)
    average = "avg" in name_of(node)
    if parts == 1 and average:

        def mean() -> Register:
            plan.count(elements=plan.elements(c))
            exact = plan.graph.dtype
            return plan.step(lambda s, d: d.sum(c.axis, keepdim=True, dtype=exact) / length, plan.delta(source))

        return Change(None, 0, 0, shape, {"delta": mean})
    if parts == 1:
        raise NeedsEverythingError
    lo, hi = geometry.reaches(c.lo, c.hi, parts)

    def emit() -> Register:
        first, last = geometry.reads(lo, hi)
        plan.count(elements=2 * plan.elements(c, last - first))
        if average:
            d = plan.delta_on(source, first, last)
            return plan.step(lambda s, d: sum_of_slices(d, c.axis, geometry, hi - lo) / geometry.kernel, d)
        v = plan.value_on(source, first, last)
        return _maxima(plan, v, c.axis, geometry, hi - lo)

    return Change(c.axis, lo, hi, shape, {"delta" if average else "value": emit})


@rule("upsample_nearest1d", "upsample_nearest2d", "repeat_interleave")
def upsample(plan: Plan, node: fx.Node) -> Change:
    """Repeat each position a whole number of times."""
    if not isinstance(arguments(node).get("repeats", 1), int):
        raise NeedsEverythingError  # a number of its own for each position
    source = node.args[0]
    c = plan.plain_window(source)
    shape = plan.graph.shape[node]
    if len(shape) != len(c.inner):
        raise NeedsEverythingError
    times, left = divmod(shape[c.axis - 1], c.inner[c.axis - 1])
    if left or any(a != b for i, (a, b) in enumerate(zip(shape, c.inner)) if i != c.axis - 1):
        raise NeedsEverythingError

    def delta() -> Register:
        plan.count(elements=2 * plan.elements(c) * times)
        return plan.step(lambda s, d: d.repeat_interleave(times, c.axis), plan.delta(source))

    return Change(c.axis, c.lo * times, c.hi * times, shape, {"delta": delta})


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _moved(plan: Plan, node: fx.Node, source: fx.Node, axis: int, view: Callable, lo=None, hi=None) -> Change:
    """Return a change that is a view of its source's, in whichever form that has."""
    c = plan.changes[source]
    lo, hi = c.lo if lo is None else lo, c.hi if hi is None else hi
    shape = plan.graph.shape[node]
    native = "delta" if "delta" in c.forms else "value"

    def emit() -> Register:
        register = plan.delta(source) if native == "delta" else plan.value(source)
        return plan.step(lambda s, t: view(t), register)

    return Change(axis, lo, hi, shape, {native: emit})


@rule("transpose", "permute", "swapaxes", "movedim", "t")
def permute(plan: Plan, node: fx.Node) -> Change:
    """Move axes, the batch staying first."""
    source = node.args[0]
    c = plan.plain_window(source)
    rank = len(c.inner) + 1
    a = arguments(node)
    order = list(range(rank))
    if name_of(node) == "permute":
        order = [d % rank for d in a["dims"]]
    elif name_of(node) in ("transpose", "swapaxes"):
        i, j = (a["dim0"], a["dim1"]) if "dim0" in a else (a["axis0"], a["axis1"])
        order[i % rank], order[j % rank] = order[j % rank], order[i % rank]
    else:
        raise NeedsEverythingError
    if order[0] != 0:
        raise NeedsEverythingError
    return _moved(plan, node, source, order.index(c.axis), lambda t: t.permute(order))


@rule("unsqueeze", "squeeze", "view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "_reshape_copy")
def reshape(plan: Plan, node: fx.Node) -> Change:
    """Keep the positions as an axis where the new shape has them; else remember the shape before (flattened)."""
    source = node.args[0]
    c = plan.window(source)
    shape = plan.graph.shape[node]
    if shape == plan.graph.shape[source]:
        return same(plan, node)
    length = c.inner[c.axis - 1]
    before = math.prod(c.inner[: c.axis - 1])
    for i, size in enumerate(shape):
        if size == length and math.prod(shape[:i]) == before:

            def view(t, i=i):
                return t.reshape(len(t), *shape[:i], -1, *shape[i + 1 :])

            return _moved(plan, node, source, i + 1, view)
    for i, size in enumerate(shape[:-1]):
        # The positions in parts of equal size, (..., length / size, size, ...).
        if size > 1 and size * shape[i + 1] == length and math.prod(shape[:i]) == before:
            part = shape[i + 1]
            lo, hi = c.lo // part, -(-c.hi // part)
            native = "delta" if "delta" in c.forms else "value"

            cover = plan.delta_on if native == "delta" else plan.value_on

            def emit(i=i, part=part, lo=lo, hi=hi, cover=cover) -> Register:
                t = cover(source, lo * part, hi * part)
                return plan.step(lambda s, t: t.reshape(len(t), *shape[:i], hi - lo, part, *shape[i + 2 :]), t)

            return Change(i + 1, lo, hi, shape, {native: emit})
    if len(shape) != 1:
        raise NeedsEverythingError
    return Change(
        c.axis, c.lo, c.hi, c.inner, {"delta": lambda: plan.delta(source), "value": lambda: plan.value(source)}
    )


@rule("expand", "expand_as")
def expand(plan: Plan, node: fx.Node) -> Change:
    """Repeat along axes other than the positions, without copying."""
    source = node.args[0]
    c = plan.plain_window(source)
    shape = plan.graph.shape[node]
    if len(shape) != len(c.inner) or shape[c.axis - 1] != c.inner[c.axis - 1]:
        raise NeedsEverythingError
    sizes = [-1 if i == c.axis - 1 else size for i, size in enumerate(shape)]
    return _moved(plan, node, source, c.axis, lambda t: channels_last(t.expand(-1, *sizes)))


@rule("slice", "narrow", "select", "split", "chunk", "split_with_sizes", "unbind", "unsafe_split", "tensor_split")
def cut(plan: Plan, node: fx.Node) -> Change | None:
    """Take a part of an axis: along positions the change is cut and shifted."""
    name = name_of(node)
    source = node.args[0]
    c = plan.plain_window(source)
    if name not in ("slice", "select", "narrow"):
        # Several results: the rule of getitem does the work.
        return Change(c.axis, c.lo, c.hi, c.inner, {})
    a = arguments(node)
    rank = len(c.inner) + 1
    dim = a["dim"] % rank
    if dim == 0:
        if name == "slice" and a.get("start") in (None, 0) and a.get("end") in (None, 2**63 - 1) and a["step"] == 1:
            return same(plan, node)
        raise NeedsEverythingError
    size = c.inner[dim - 1]
    if name == "select":
        index = a["index"] % size
        if dim != c.axis:
            return _moved(plan, node, source, c.axis - (dim < c.axis), lambda t: t.select(dim, index))
        if not c.lo <= index < c.hi:
            return None
        native = "delta" if "delta" in c.forms else "value"

        def one() -> Register:
            t = plan.delta(source) if native == "delta" else plan.value(source)
            return plan.step(lambda s, t: t.select(dim, index - c.lo).to(plan.graph.dtype), t)

        return Change(None, 0, 0, plan.graph.shape[node], {native: one})
    if name == "narrow":
        start, stop, step = a["start"], a["start"] + a["length"], 1
    else:
        start, stop, step = a.get("start"), a.get("end"), a["step"]
    if not all(isinstance(v, int | None) for v in (start, stop, step)):
        raise NeedsEverythingError
    start, stop, step = slice(start, stop, step).indices(size)
    return _sliced(plan, node, source, dim, start, stop, step)


def _sliced(plan: Plan, node: fx.Node, source: fx.Node, dim: int, start: int, stop: int, step: int) -> Change | None:
    c = plan.changes[source]
    if dim != c.axis:
        return _moved(plan, node, source, c.axis, lambda t: slice_along(t, dim, start, stop - start, step))
    lo = max(0, -(-(c.lo - start) // step))
    hi = (min(c.hi, stop) - 1 - start) // step + 1
    if hi <= lo:
        return None
    first = start + lo * step - c.lo
    return _moved(plan, node, source, dim, lambda t: slice_along(t, dim, first, (hi - lo - 1) * step + 1, step), lo, hi)


@rule("getitem")
def getitem(plan: Plan, node: fx.Node) -> Change | None:
    """Take one of an operation's several results."""
    if node.target is not operator.getitem:
        raise NeedsEverythingError
    parent, which = node.args
    name = name_of(parent)
    if name in ("_native_batch_norm_legit_no_training", "native_batch_norm", "cudnn_batch_norm") and which == 0:
        c = plan.window(parent)
        return Change(c.axis, c.lo, c.hi, c.inner, _forms_of(plan, node, c.linear), c.linear)
    if name in ("max_pool1d_with_indices", "max_pool2d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d"):
        c = plan.window(parent)
        if which != 0:
            raise NeedsEverythingError
        return Change(c.axis, c.lo, c.hi, c.inner, {"value": c.forms["value"]})
    if name not in ("split", "chunk", "split_with_sizes", "unbind", "unsafe_split", "tensor_split"):
        raise NeedsEverythingError
    source = parent.args[0]
    c = plan.plain_window(source)
    dim = (arguments(parent).get("dim") or 0) % (len(c.inner) + 1)
    if dim == 0:
        raise NeedsEverythingError
    if name == "unbind":
        if dim == c.axis:
            raise NeedsEverythingError
        return _moved(plan, node, source, c.axis - (dim < c.axis), lambda t: t.select(dim, which))
    sizes = [part.shape[dim] for part in parent.meta["val"]]
    start = sum(sizes[:which])
    return _sliced(plan, node, source, dim, start, start + sizes[which], 1)


@rule("flip")
def flip(plan: Plan, node: fx.Node) -> Change:
    """Reverse axes: along positions the span is mirrored."""
    source = node.args[0]
    c = plan.plain_window(source)
    dims = [d % (len(c.inner) + 1) for d in arguments(node)["dims"]]
    length = c.inner[c.axis - 1]
    lo, hi = (length - c.hi, length - c.lo) if c.axis in dims else (c.lo, c.hi)
    change = _moved(plan, node, source, c.axis, lambda t: channels_last(t.flip(dims)), lo, hi)
    return change


@rule("index_select", "index")
def index(plan: Plan, node: fx.Node) -> Change:
    """Pick entries of an axis other than the positions (complementing the bases, say)."""
    a = arguments(node)
    source = node.args[0]
    c = plan.plain_window(source)
    if name_of(node) == "index_select":
        dim, rows = a["dim"] % (len(c.inner) + 1), plan.constant(a["index"])
    else:
        places = [i for i, v in enumerate(a["indices"]) if v is not None]
        if len(places) != 1:
            raise NeedsEverythingError
        dim, rows = places[0], plan.constant(a["indices"][places[0]])
        if rows.ndim != 1 or rows.dtype == torch.bool:
            raise NeedsEverythingError
    if dim in (0, c.axis):
        raise NeedsEverythingError
    rows = rows % c.inner[dim - 1]  # counted from the end, where the model does
    return _moved(plan, node, source, c.axis, lambda t: t.index_select(dim, rows))


@rule("cat", "concat", "concatenate")
def concatenate(plan: Plan, node: fx.Node) -> Change:
    """Put tensors side by side: along positions each change moves by what comes before it."""
    parts = list(node.args[0])
    shape = plan.graph.shape[node]
    rank = len(shape) + 1
    dim = (arguments(node).get("dim") or 0) % rank
    changed = [(i, plan.plain_window(p)) for i, p in enumerate(parts) if plan.change(p) is not None]
    axis = changed[0][1].axis
    if dim == 0 or any(c.axis != axis for _, c in changed):
        raise NeedsEverythingError
    for p in parts:
        if plan.change(p) is None and plan.graph.kind[p] not in (CONSTANT, BACKGROUND) and p not in plan.graph.shape:
            raise NeedsEverythingError
    sizes = [p.meta["val"].shape[dim] for p in parts]
    offsets = [sum(sizes[:i]) if dim == axis else 0 for i in range(len(parts))]
    lo = min(c.lo + offsets[i] for i, c in changed)
    hi = max(c.hi + offsets[i] for i, c in changed)
    low = plan.low

    def delta() -> Register:
        plan.count(elements=2 * plan.elements(plan.changes[node]))
        if dim == axis:
            given = [plan.delta(parts[i]) for i, _ in changed]
        else:
            given = [plan.delta_on(parts[i], lo, hi) for i, _ in changed]

        def run(s, *values):
            inside = list(shape)
            inside[axis - 1] = hi - lo
            out = zeros_like_layout(torch.empty(0, dtype=low, device=values[0].device), [len(values[0]), *inside])
            for (i, c), v in zip(changed, values):
                if dim == axis:
                    out.narrow(axis, c.lo + offsets[i] - lo, c.width).copy_(v)
                else:
                    out.narrow(dim, sum(sizes[:i]), sizes[i]).copy_(v)
            return out

        return plan.step(run, *given)

    return Change(axis, lo, hi, shape, {"delta": delta})


@rule("constant_pad_nd", "pad")
def pad(plan: Plan, node: fx.Node) -> Change | None:
    """Pad with a constant: along positions the change moves (or is cut off by a negative padding)."""
    a = arguments(node)
    if a.get("mode", "constant") != "constant":
        raise NeedsEverythingError
    source = node.args[0]
    c = plan.plain_window(source)
    rank = len(c.inner) + 1
    widths = list(a["pad"])
    if not all(isinstance(w, int) for w in widths):
        raise NeedsEverythingError
    before = {rank - 1 - i: widths[2 * i] for i in range(len(widths) // 2)}
    if any(d == 0 for d in before):
        raise NeedsEverythingError
    length = plan.graph.shape[node][c.axis - 1]
    shift = before.get(c.axis, 0)
    lo, hi = max(c.lo + shift, 0), min(c.hi + shift, length)
    if hi <= lo:
        return None
    others = list(widths)
    if c.axis in before:
        i = rank - 1 - c.axis
        others[2 * i] = others[2 * i + 1] = 0

    def delta() -> Register:
        d = plan.delta_on(source, lo - shift, hi - shift)
        return plan.step(lambda s, d: F.pad(d, others), d) if any(others) else d

    return Change(c.axis, lo, hi, plan.graph.shape[node], {"delta": delta})


# Rules of operations that only move values about: a model in which nothing else is confined gains nothing.
MOVES = {same, permute, reshape, expand, cut, getitem, flip, index, concatenate, pad}
# Rules that need no difference of what they are applied to: also for masks and indices.
ANY_DTYPE = {same, permute, reshape, expand, cut, getitem, flip, index, elementwise, broadcast, along, add, multiply}
