"""Rules of poolings and of repeating positions."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import fx

from ..changes import Change, NeedsEverythingError, Register
from ..kernels import Geometry, max_of_slices, sum_of_slices
from ..nodes import arguments, name_of
from ..plan import Plan
from ..registry import rule
from .forms import per_axis


def _reads(node: fx.Node, lo: int, hi: int) -> tuple[int, int] | None:
    """Of a pooling in 1-D: what its windows cover."""
    return None if "2d" in name_of(node) else _geometries(node, 1)[0].reads(lo, hi)


def _geometries(node: fx.Node, n: int) -> list[Geometry]:
    """Return how each of n spatial axes is read."""
    a = arguments(node)
    kernel = per_axis(a["kernel_size"], n)
    stride = per_axis(a["stride"], n) if a.get("stride") else kernel
    padding, dilation = per_axis(a.get("padding", 0), n), per_axis(a.get("dilation", 1), n)
    return [Geometry(*axis) for axis in zip(kernel, stride, padding, dilation)]


def _pooling(plan: Plan, node: fx.Node) -> tuple[fx.Node, Change, Geometry, int, int] | None:
    """Return source, its change, the geometry along positions and the span of outputs; None if there is none."""
    a = arguments(node)
    source = a["self"] if "self" in a else a["input"]
    c = plan.unflattened_window(source)
    n = 2 if "2d" in name_of(node) else 1
    at = c.axis - (len(c.inner) + 1 - n)
    if at < 0:
        raise NeedsEverythingError
    geometries = _geometries(node, n)
    if any(g[:3] != (1, 1, 0) for i, g in enumerate(geometries) if i != at):
        raise NeedsEverythingError
    shape = plan.graph.shape.get(node)
    length = (shape or _first_shape(node))[c.axis - 1]
    geometry = geometries[at]
    lo, hi = plan.reached(node, c.axis, *geometry.reaches(c.lo, c.hi, length))
    return None if hi == lo else (source, c, geometry, lo, hi)


def _first_shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"][0].shape[1:])


@rule("max_pool1d max_pool2d max_pool1d_with_indices max_pool2d_with_indices", reads=_reads)
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


@rule("avg_pool1d avg_pool2d", reads=_reads)
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


@rule("adaptive_avg_pool1d adaptive_max_pool1d adaptive_avg_pool2d adaptive_max_pool2d")
def adaptive_pool(plan: Plan, node: fx.Node) -> Change:
    """Pool into equal parts: one part is a mean (linear) or a maximum over all positions."""
    source = node.args[0]
    c = plan.unflattened_window(source)
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


@rule("upsample_nearest1d upsample_nearest2d repeat_interleave")
def upsample(plan: Plan, node: fx.Node) -> Change:
    """Repeat each position a whole number of times."""
    if not isinstance(arguments(node).get("repeats", 1), int):
        raise NeedsEverythingError  # a number of its own for each position
    source = node.args[0]
    c = plan.unflattened_window(source)
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
