"""Rules of convolutions and of their transposes; the ways to compute one are `kernels` (on a GPU also `fused`)."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import fx

from .. import fused
from ..changes import Change, NeedsEverythingError, Register
from ..kernels import Geometry, by_batched_taps, by_columns, by_diagonals, by_taps, taps
from ..layout import channels_last, zeros_like_layout
from ..nodes import arguments
from ..plan import Plan
from ..registry import rule
from .forms import at_least, forms_of, per_axis


def _reads(node: fx.Node, lo: int, hi: int) -> tuple[int, int] | None:
    """Of a convolution or its like in 1-D: what its windows cover."""
    a = arguments(node)
    weight = a["weight"].meta.get("val") if isinstance(a["weight"], fx.Node) else None
    if a.get("transposed") or weight is None or weight.ndim != 3:
        return None
    return _geometries(a, list(weight.shape[2:]))[0].reads(lo, hi)


def _geometries(a: dict[str, Any], kernel: list[int]) -> list[Geometry]:
    """Return how each spatial axis is read."""
    n = len(kernel)
    dilation = per_axis(a["dilation"], n)
    if isinstance(a["padding"], str):
        # Of an odd total the larger half goes to the end.
        padding = [d * (k - 1) // 2 if a["padding"] == "same" else 0 for d, k in zip(dilation, kernel)]
    else:
        padding = per_axis(a["padding"], n)
    return [Geometry(*axis) for axis in zip(kernel, per_axis(a["stride"], n), padding, dilation)]


@rule("conv1d conv2d convolution", reads=_reads)
def convolution(plan: Plan, node: fx.Node) -> Change:
    """Convolve the change."""
    a = arguments(node)
    source, weight = a["input"], plan.constant(a["weight"])
    c = plan.unflattened_window(source)
    if a.get("transposed") or weight.ndim != len(c.inner) + 1 or c.axis == 1:
        raise NeedsEverythingError
    at = c.axis - 2  # among the spatial axes
    n = weight.ndim - 2
    kernel = list(weight.shape[2:])
    geometries = _geometries(a, kernel)
    # The other axes are the framework's, which pads both ends of them alike.
    if a["padding"] == "same" and any((g.extent - 1) % 2 for i, g in enumerate(geometries) if i != at):
        raise NeedsEverythingError
    _, stride, padding, dilation = (list(values) for values in zip(*geometries))
    geometry = geometries[at]
    shape = plan.graph.shape[node]
    lo, hi = plan.reached(node, c.axis, *geometry.reaches(c.lo, c.hi, shape[c.axis - 1]))
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

        return at_least(plan, plan.step(run, d), floor)

    return Change(c.axis, lo, hi, shape, forms_of(plan, node, emit), emit)


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
    if plan.fused and kernel > 1 and fused.worthwhile(channels, outputs, low):
        d = plan.delta(source)
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
    if channels * out_width <= outputs * c.width or kernel == 1:
        # Few channels (the first layer, of one-hot sequences): unfolding is cheap.
        w = plan.static((*key, "columns"), lambda: weight.permute(2, 1, 0).reshape(-1, outputs).to(low).contiguous())
        d = plan.delta_on(source, *geometry.reads(lo, hi))
        plan.count(elements=out_width * (2 * channels * kernel + 3 * outputs))

        def run(s, x):
            y = by_columns(squeezed(x), w, geometry.dilation, kernel)
            return restored(onto(s, y))

        return at_least(plan, plan.step(run, d), floor)
    if outputs <= 8:
        w = plan.static((*key, "diagonals"), lambda: weight.permute(0, 2, 1).reshape(-1, channels).to(low).contiguous())
        d = plan.delta_on(source, *geometry.reads(lo, hi))
        plan.count(elements=c.width * 2 * kernel * outputs)

        def run(s, x):
            y = channels_last(by_diagonals(squeezed(x), w, geometry.dilation, kernel))
            return restored(onto(s, y))

        return at_least(plan, plan.step(run, d), floor)

    d = plan.delta(source)
    parts = taps(geometry, c.lo, c.width, lo, hi)
    plan.count(elements=c.width * (channels + 4 * kernel * outputs) + out_width * outputs)
    missing = 2 * sum(count for *_, count in parts) <= kernel * c.width  # near a border most taps of an input are
    if kernel <= 3 and (c.width >= BATCHED_TAPS_WIDTH or missing):
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

    return at_least(plan, plan.step(run, d), floor)


# From this many positions on, a product per tap straight into the result beats one product for all taps, whose
# intermediate no longer fits a core's cache (docs/engine.md).
BATCHED_TAPS_WIDTH = 256


@rule("conv_transpose1d conv_transpose2d")
def transposed_convolution(plan: Plan, node: fx.Node) -> Change:
    """Spread the change over the outputs that it reaches."""
    a = arguments(node)
    source, weight = a["input"], plan.constant(a["weight"])
    c = plan.unflattened_window(source)
    n = weight.ndim - 2
    at = c.axis - 2
    if at < 0 or weight.ndim != len(c.inner) + 1:
        raise NeedsEverythingError
    stride, padding, dilation = (per_axis(a[k], n) for k in ("stride", "padding", "dilation"))
    more = per_axis(a["output_padding"], n)
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
