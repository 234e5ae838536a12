"""Rules of single elements: copies and casts, functions, rectifiers, sums and products of tensors, batch norms."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from ..capture import CONSTANT, SYMBOL
from ..changes import Change, NeedsEverythingError, Register
from ..nodes import arguments, name_of
from ..plan import Plan
from ..registry import in_place, rule
from .forms import at_least, forms_of, value_of


@rule(
    "dropout feature_dropout alpha_dropout feature_alpha_dropout contiguous clone detach alias lift_fresh_copy to "
    "_to_copy type_as dropout_ detach_ identity",
    moves=True,
    any_dtype=True,
    reads=in_place,
)
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


UNARY = """abs acos acosh asin asinh atan atanh ceil celu cos cosh deg2rad elu erf erfc exp exp2 expm1 floor frac gelu
hardshrink hardsigmoid hardswish hardtanh leaky_relu log log10 log1p log2 log_sigmoid logit mish nan_to_num neg
reciprocal relu6 round rsqrt selu sigmoid sign silu sin sinh softplus softshrink softsign special_expit sqrt square tan
tanh threshold trunc rrelu"""


@rule(UNARY, any_dtype=True, reads=in_place)
def elementwise(plan: Plan, node: fx.Node) -> Change:
    """Apply a function of single elements to the changed span."""
    source = node.args[0]
    c = plan.window(source)
    training = node.target is torch.ops.aten.rrelu.default and arguments(node).get("training")
    if training or len(node.all_input_nodes) > 1:
        raise NeedsEverythingError

    def value() -> Register:
        v = value_of(plan, source)
        plan.count(elements=2 * plan.elements(c))
        return plan.step(lambda s, v: plan.graph.call(node, lambda n: v), v)

    return Change(c.axis, c.lo, c.hi, c.inner, {"value": value})


@rule("relu", reads=in_place)
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
        return at_least(plan, shifted, floor)

    def value() -> Register:
        plan.count(elements=2 * plan.elements(c))
        return plan.step(lambda s, v, owned: v.relu_() if owned else v.relu(), value_of(plan, source), steals=0)

    # Differentiated, a rectifier has to be seen as one.
    forms = {"value": value} if plan.differentiable else {"delta": delta, "value": value}
    return Change(c.axis, c.lo, c.hi, c.inner, forms)


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


@rule(
    "where maximum minimum pow atan2 logaddexp logaddexp2 fmax fmin hypot lerp eq ne lt le gt ge logical_and "
    "logical_or logical_not logical_xor isnan clamp clamp_min clamp_max addcmul addcdiv remainder fmod xlogy "
    "floor_divide masked_fill heaviside copysign isfinite isinf bitwise_and bitwise_or bitwise_not",
    any_dtype=True,
    reads=in_place,
)
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


@rule("add sub rsub", any_dtype=True, reads=in_place)
def add(plan: Plan, node: fx.Node) -> Change | None:
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
    lo, hi = plan.reached(node, axis, lo, hi)
    if hi == lo:
        return None
    scales = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[name_of(node)]
    terms = [(o, k) for o, k in zip((first, second), scales) if plan.change(o) is not None]

    def delta() -> Register:
        if len(terms) == 1:
            return _scaled(plan, plan.delta_on(terms[0][0], lo, hi), terms[0][1])
        if terms[0][0] is terms[1][0]:
            return _scaled(plan, plan.delta_on(terms[0][0], lo, hi), terms[0][1] + terms[1][1])
        # The wider one is the accumulator, in place where nothing else needs it.
        spans = {o: (max(lo, plan.changes[o].lo), min(hi, plan.changes[o].hi)) for o, _ in terms}
        (wide, k), (narrow, j) = sorted(terms, key=lambda t: spans[t[0]][0] - spans[t[0]][1])
        first, last = spans[narrow]
        base = _scaled(plan, plan.delta_on(wide, lo, hi), k)
        if last <= first:  # no output sees what changed of it
            return base
        at, width = first - lo, last - first
        plan.count(elements=3 * plan.elements(plan.changes[narrow], width))

        def accumulate(s, x, y, owned):
            x = x if owned else x.clone()
            x.narrow(axis, at, width).add_(y, alpha=j)
            return x

        return plan.step(accumulate, base, plan.delta_on(narrow, first, last), steals=0)

    return Change(axis, lo, hi, inner, {"delta": delta})


def _scaled(plan: Plan, register: Register, factor: float) -> Register:
    return register if factor == 1 else plan.step(lambda s, d: d * factor, register)


@rule("mul div divide multiply true_divide", any_dtype=True, reads=in_place)
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


def _scales(node: fx.Node, lo: int, hi: int) -> tuple[int, int] | None:
    return None if arguments(node).get("training") else (lo, hi)


@rule("batch_norm _native_batch_norm_legit_no_training native_batch_norm cudnn_batch_norm", reads=_scales)
def batch_norm(plan: Plan, node: fx.Node) -> Change:
    """Scale each channel (evaluation mode); the scale goes into the weights of a convolution before it."""
    a = arguments(node)
    if a.get("training"):
        raise NeedsEverythingError
    source = node.args[0]
    c = plan.unflattened_window(source)
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

        return at_least(plan, plan.step(run, plan.delta(source)), floor)

    whole = plan.graph.shape.get(node, c.inner)  # native_batch_norm returns a tuple; getitem reads its first
    return Change(c.axis, c.lo, c.hi, whole, forms_of(plan, node, linear), linear)
