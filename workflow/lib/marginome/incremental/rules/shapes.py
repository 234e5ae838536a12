"""Rules of what moves values about: axes, views, parts, joins, padding."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import fx

from ..capture import BACKGROUND, CONSTANT
from ..changes import Change, NeedsEverythingError, Register
from ..kernels import slice_along
from ..layout import channels_last, zeros_like_layout
from ..nodes import arguments, name_of
from ..plan import Plan
from ..registry import in_place, rule
from .elements import same
from .forms import forms_of


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


@rule("transpose permute swapaxes movedim t", moves=True, any_dtype=True)
def permute(plan: Plan, node: fx.Node) -> Change:
    """Move axes, the batch staying first."""
    source = node.args[0]
    c = plan.unflattened_window(source)
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


@rule("unsqueeze squeeze view reshape _unsafe_view flatten unflatten view_as _reshape_copy", moves=True, any_dtype=True)
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


@rule("expand expand_as", moves=True, any_dtype=True)
def expand(plan: Plan, node: fx.Node) -> Change:
    """Repeat along axes other than the positions, without copying."""
    source = node.args[0]
    c = plan.unflattened_window(source)
    shape = plan.graph.shape[node]
    if len(shape) != len(c.inner) or shape[c.axis - 1] != c.inner[c.axis - 1]:
        raise NeedsEverythingError
    sizes = [-1 if i == c.axis - 1 else size for i, size in enumerate(shape)]
    return _moved(plan, node, source, c.axis, lambda t: channels_last(t.expand(-1, *sizes)))


def _slice_reads(node: fx.Node, lo: int, hi: int) -> tuple[int, int] | None:
    """Of a slice: the positions that it takes."""
    a = arguments(node)
    if name_of(node) != "slice":
        return None
    if a["dim"] % 3 != 2:
        return lo, hi
    length = node.args[0].meta["val"].shape[2]
    bounds = a.get("start"), a.get("end"), a["step"]
    if not all(isinstance(v, int | None) for v in bounds):
        return None
    start, _, step = slice(*bounds).indices(length)
    return start + lo * step, start + (hi - 1) * step + 1


@rule(
    "slice narrow select split chunk split_with_sizes unbind unsafe_split tensor_split",
    moves=True,
    any_dtype=True,
    reads=_slice_reads,
)
def cut(plan: Plan, node: fx.Node) -> Change | None:
    """Take a part of an axis: along positions the change is cut and shifted."""
    name = name_of(node)
    source = node.args[0]
    c = plan.unflattened_window(source)
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


@rule("getitem", moves=True, any_dtype=True)
def getitem(plan: Plan, node: fx.Node) -> Change | None:
    """Take one of an operation's several results."""
    if node.target is not operator.getitem:
        raise NeedsEverythingError
    parent, which = node.args
    name = name_of(parent)
    if name in ("_native_batch_norm_legit_no_training", "native_batch_norm", "cudnn_batch_norm") and which == 0:
        c = plan.window(parent)
        return Change(c.axis, c.lo, c.hi, c.inner, forms_of(plan, node, c.linear), c.linear)
    if name in ("max_pool1d_with_indices", "max_pool2d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d"):
        c = plan.window(parent)
        if which != 0:
            raise NeedsEverythingError
        return Change(c.axis, c.lo, c.hi, c.inner, {"value": c.forms["value"]})
    if name not in ("split", "chunk", "split_with_sizes", "unbind", "unsafe_split", "tensor_split"):
        raise NeedsEverythingError
    source = parent.args[0]
    c = plan.unflattened_window(source)
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


@rule("flip", moves=True, any_dtype=True)
def flip(plan: Plan, node: fx.Node) -> Change:
    """Reverse axes: along positions the span is mirrored."""
    source = node.args[0]
    c = plan.unflattened_window(source)
    dims = [d % (len(c.inner) + 1) for d in arguments(node)["dims"]]
    length = c.inner[c.axis - 1]
    lo, hi = (length - c.hi, length - c.lo) if c.axis in dims else (c.lo, c.hi)
    change = _moved(plan, node, source, c.axis, lambda t: channels_last(t.flip(dims)), lo, hi)
    return change


@rule("index_select index", moves=True, any_dtype=True)
def index(plan: Plan, node: fx.Node) -> Change:
    """Pick entries of an axis other than the positions (complementing the bases, say)."""
    a = arguments(node)
    source = node.args[0]
    c = plan.unflattened_window(source)
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


@rule("cat concat concatenate", moves=True, reads=in_place)
def concatenate(plan: Plan, node: fx.Node) -> Change:
    """Put tensors side by side: along positions each change moves by what comes before it."""
    parts = list(node.args[0])
    shape = plan.graph.shape[node]
    rank = len(shape) + 1
    dim = (arguments(node).get("dim") or 0) % rank
    changed = [(i, plan.unflattened_window(p)) for i, p in enumerate(parts) if plan.change(p) is not None]
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


@rule("constant_pad_nd pad", moves=True)
def pad(plan: Plan, node: fx.Node) -> Change | None:
    """Pad with a constant: along positions the change moves (or is cut off by a negative padding)."""
    a = arguments(node)
    if a.get("mode", "constant") != "constant":
        return _copied_pad(plan, node)
    source = node.args[0]
    c = plan.unflattened_window(source)
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


# Where the positions of padding come from, by the position before the sequence's first or after its last.
COPIES = {
    "circular": lambda i, length: i % length,
    "reflect": lambda i, length: length - 1 - abs(length - 1 - abs(i)),
    "replicate": lambda i, length: min(max(i, 0), length - 1),
}


def _copied_pad(plan: Plan, node: fx.Node) -> Change:
    """Pad positions with copies of others: what lies near an end changes in two places."""
    a = arguments(node)
    mode, widths = a["mode"], list(a["pad"])
    source = node.args[0]
    c = plan.unflattened_window(source)
    if c.axis != len(c.inner) or len(widths) != 2 or not all(isinstance(w, int) and w >= 0 for w in widths):
        raise NeedsEverythingError
    length = c.inner[-1]
    origin = [COPIES[mode](i, length) for i in range(-widths[0], length + widths[1])]
    changed = [i for i, where in enumerate(origin) if c.lo <= where < c.hi]
    lo, hi = changed[0], changed[-1] + 1
    native = "delta" if "delta" in c.forms else "value"
    cover = plan.delta_on if native == "delta" else plan.value_on
    first, last = min(origin[lo:hi]), max(origin[lo:hi]) + 1
    columns = torch.tensor([where - first for where in origin[lo:hi]])

    def emit() -> Register:
        t = cover(source, first, last)
        if columns.tolist() == list(range(last - first)):
            return t
        return plan.step(lambda s, t: channels_last(t.index_select(c.axis, columns.to(t.device))), t)

    return Change(c.axis, lo, hi, plan.graph.shape[node], {native: emit})
