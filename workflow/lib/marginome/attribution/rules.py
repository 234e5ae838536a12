"""DeepLIFT's multiplier of every operation that has an exact one.

A *multiplier* m of an operation y = f(z) takes the place of the derivative when the chain rule is run
backwards: it is defined for a pair (sequence, reference) and satisfies ``sum(m * (z_x - z_r)) == y_x - y_r``,
where x marks the value on the sequence and r that on the reference. When all operations of a model satisfy
this, so does the model: the attributions add up to the difference of its outputs ("completeness").

Rules here, by what the operation does:

- one number to one number: the rescale rule, the slope of the secant (Shrikumar, Greenside & Kundaje 2017,
  ICML, PMLR 70:3145, section 3.5.1);
- products of two quantities that both depend on the sequence, also within matrix products, GLU and
  normalization: the derivative at the midpoint, ``d(ab) = da (b_x + b_r)/2 + db (a_x + a_r)/2``, an identity;
- maxima: the difference of the maxima goes to the position that holds the larger one (the rule of the DeepLIFT
  authors' implementation, also used by captum);
- softmax and its logarithm: exp of ``z - log sum exp z``, each step by its secant.

Every function takes a :class:`Pair` and returns the gradients that replace autograd's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from marginome.attribution.kernels import relu_on_cpu, relu_on_gpu

Tensors = list["torch.Tensor | None"]


class RepeatSequence(Exception):
    """The sequence's values cannot be matched with its references' by their first axis: repeat the sequence."""


@dataclass
class Call:
    """One call of an ATen operation, as it was seen in a forward pass."""

    name: str  # of the operation without in-place underscore, e.g. "relu"
    args: tuple
    kwargs: dict
    outputs: Any = None  # kept only where the rule needs them


@dataclass
class Pair:
    """The same call on a group of sequences and on their references, shaped so that the two broadcast.

    Values on the sequences are (sequences, 1, ...), on the references (sequences, references, ...); where there
    is as many of one as of the other, both are (sequences, ...). Axes therefore have to be counted from the end.
    """

    x: Call
    r: Call
    grads: Tensors  # with respect to the outputs, shaped like the references' values
    plain: Tensors  # what autograd found for the inputs: the derivative on the reference times `grads`
    rank: int  # number of axes of the first input before the references got an axis of their own
    by_differences: bool = False  # values are sums of background and change: equal ones are equal up to rounding

    def axis(self, axis: int) -> int:
        """Return an axis counted from the end."""
        return axis if axis < 0 else axis - self.rank

    @property
    def grad(self) -> torch.Tensor:
        """The gradient with respect to the (first) output."""
        return self.grads[0]


def make_pair(x: Call, r: Call, grad_outputs: Sequence, grad_inputs: Sequence, n: int, n_refs: int) -> Pair:
    """Give the references an axis of their own wherever they are stacked on the first one.

    Parameters
    ----------
    x, r : Call
        The call on `n` sequences and on their ``n * n_refs`` references, references of a sequence adjacent.
    grad_outputs, grad_inputs : sequence of torch.Tensor or None
        As an autograd node's hook gets them, on the references.
    n, n_refs : int
        Sequences, and references of each.

    Raises
    ------
    RepeatSequence
        When the values of a sequence are not on the first axis, so that they cannot be matched.
    """

    def match(a: Any, b: Any) -> tuple[Any, Any]:
        if isinstance(b, tuple | list):
            both = [match(u, v) for u, v in zip(a, b)]
            return [u for u, _ in both], [v for _, v in both]
        if not isinstance(b, torch.Tensor) or a.shape == b.shape:
            return a, b
        if a.ndim == b.ndim and a.shape[0] == n and b.shape[0] == n * n_refs and a.shape[1:] == b.shape[1:]:
            return a.unsqueeze(1), b.unflatten(0, (n, n_refs))
        raise RepeatSequence(f"{r.name}: {tuple(a.shape)} on the sequences, {tuple(b.shape)} on the references")

    def split(t: torch.Tensor | None) -> torch.Tensor | None:
        return t if t is None or n_refs == 1 else t.unflatten(0, (n, n_refs))

    matched = [match(a, b) for a, b in zip(x.args, r.args)]
    outputs = match(x.outputs, r.outputs)
    given = next(g for g in grad_inputs if g is not None)
    if n_refs > 1:
        for t in (*grad_outputs, *grad_inputs):
            if t is not None and (t.ndim == 0 or t.shape[0] != n * n_refs):
                raise RepeatSequence(f"{r.name}: gradient of shape {tuple(t.shape)}")
    return Pair(
        x=Call(x.name, tuple(a for a, _ in matched), x.kwargs, outputs[0]),
        r=Call(r.name, tuple(b for _, b in matched), r.kwargs, outputs[1]),
        grads=[split(g) for g in grad_outputs],
        plain=[split(g) for g in grad_inputs],
        rank=given.ndim,
    )


def _wide(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Return half-precision tensors as float32: their differences would be mostly rounding."""
    return [t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors]


def _only(pair: Pair, gradient: torch.Tensor) -> Tensors:
    """Return the gradients with that of the one input which depends on the sequence replaced."""
    return [None if g is None else gradient for g in pair.plain]


# One number to one number ----------------------------------------------------------------------------------------


def _relu_slope(zx: torch.Tensor, zr: torch.Tensor) -> torch.Tensor:
    """Slope of ReLU's secant between two inputs.

    ``max(zx, zr) / abs(zx - zr)`` cut to [0, 1]: 1 above zero, 0 below, the right ratio across, without a
    threshold and with a third of the memory traffic of the quotient of differences (a ratio of 1/0 is cut to 1).
    """
    zx = zx - torch.finfo(zr.dtype).tiny  # changes nothing but 0, and 0/0 with it
    gap = torch.sub(zx, zr).abs_()
    return torch.maximum(zx, zr).div_(gap).clamp_(0, 1)


def relu(pair: Pair) -> Tensors:
    """ReLU."""
    zx, zr = _wide(pair.x.args[0], pair.r.args[0])
    fused = (relu_on_cpu if zr.device.type == "cpu" else relu_on_gpu)(zx, zr, pair.grad)
    return _only(pair, _relu_slope(zx, zr) * pair.grad if fused is None else fused)


# Functions with kinks or jumps: there the derivative is no substitute for the secant unless the inputs are equal
# up to rounding. For the others it is better than the quotient of two small differences.
KINKED = {
    "leaky_relu", "rrelu_with_noise", "_prelu_kernel", "elu", "celu", "hardtanh", "hardsigmoid", "hardswish",
    "threshold", "softshrink", "hardshrink", "abs", "clamp", "clamp_min", "clamp_max",
    "sign", "sgn", "round", "floor", "ceil", "trunc", "frac",
}  # fmt: skip
SMOOTH = {
    "sigmoid", "tanh", "gelu", "silu", "mish", "softplus", "log_sigmoid_forward", "exp", "exp2", "expm1", "log",
    "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "pow", "erf", "erfc", "sin", "cos", "tan", "sinh",
    "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "logit", "sinc",
}  # fmt: skip
# Of these, those that are ever steeper towards 0, where what is a small change depends on the size of the input.
STEEP = {"log", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "pow"}


def elementwise(pair: Pair) -> Tensors:
    """Rescale rule: the slope of the secant, or the derivative where the inputs are too close to tell it."""
    position = next(i for i, g in enumerate(pair.plain) if g is not None)
    zx, zr = (_operands(call, pair.plain)[position] for call in (pair.x, pair.r))
    zx, zr, yx, yr = _wide(zx, zr, evaluate(pair.x), evaluate(pair.r))
    close = None
    if pair.r.name in SMOOTH:
        close = math.sqrt(torch.finfo(zr.dtype).eps)
        if pair.r.name in STEEP:
            close = close * torch.maximum(zx.abs(), zr.abs())
    return _only(pair, _slope(zx - zr, yx - yr, pair.grad, pair.plain[position], close))


def _slope(
    change: torch.Tensor, difference: torch.Tensor, grad: torch.Tensor, plain: torch.Tensor, close: Any = None
) -> torch.Tensor:
    """Return ``difference / change * grad``, or `plain` where the change is not above `close`, by default rounding.

    Where the derivative does not exist either (the root of exactly 0 on both sides), the multiplier is 0: the inputs
    are the same, so that nothing is to be distributed.
    """
    close = change.abs() <= (8 * torch.finfo(change.dtype).eps if close is None else close)
    slope = torch.div(difference, change).mul_(grad)
    if slope.shape != plain.shape:  # broadcast: one number has many results
        slope = slope.masked_fill(close, 0.0).sum_to_size(plain.shape)
        close = close.all() if close.shape != plain.shape else close
    plain = plain.to(slope.dtype)
    return torch.where(close, torch.where(plain.isfinite(), plain, torch.zeros_like(plain)), slope)


def evaluate(call: Call) -> torch.Tensor:
    """Compute a call again: cheaper in memory than keeping all results."""
    result = getattr(torch.ops.aten, call.name)(*call.args, **call.kwargs)
    result = result[0] if isinstance(result, tuple) else result
    return result.to(call.args[0].dtype) if result.dtype == torch.bool else result  # gt_ and the like write numbers


def _operands(call: Call, plain: Tensors) -> list:
    """Return the arguments of a call in the order of its gradients."""
    if call.name == "where":  # the condition has none
        return list(call.args[1:])
    if call.name == "masked_fill":
        return [call.args[0], call.args[2]]
    tensors = [a for a in call.args if isinstance(a, torch.Tensor)]
    return tensors if len(tensors) == len(plain) else list(call.args)  # pow(2, z) has its number first


def secant(pair: Pair) -> Tensors:
    """Return multipliers of a call all of whose operands are, element by element, functions of one number.

    Any multipliers m with ``sum(m * changes of the operands) == change of the result`` amount to the secant in that
    number, because those of the operands are secants in it. Here all goes to the operand that changes most.
    """
    x, r = (_operands(call, pair.plain) for call in (pair.x, pair.r))
    seen = [i for i, g in enumerate(pair.plain) if g is not None]
    wide = {i: _wide(x[i], r[i]) for i in seen}
    changes = {i: zx - zr for i, (zx, zr) in wide.items()}
    yx, yr = _wide(evaluate(pair.x), evaluate(pair.r))
    largest = functools.reduce(torch.maximum, (c.abs() for c in changes.values()))
    gradients: Tensors = [None] * len(pair.plain)
    taken = torch.zeros_like(largest, dtype=torch.bool)
    for i in seen:
        mine = (changes[i].abs() == largest) & ~taken
        taken = taken | mine
        plain = pair.plain[i]
        slope = _slope(changes[i], yx - yr, pair.grad, plain)
        gradients[i] = torch.where(mine, slope, torch.zeros_like(slope))
    return gradients


def loses_change(x: Call, r: Call, unseen: Sequence[int]) -> bool:
    """Tell whether a result changes somewhere although no operand that has a derivative does.

    Then `secant` has nowhere to send the change, as in ``0 * z + (z > 0)``.

    Parameters
    ----------
    x, r : Call
        The same call twice, shaped so that the two broadcast.
    unseen : sequence of int
        The arguments that depend on the sequence but have no derivative.
    """
    yx, yr = _wide(evaluate(x), evaluate(r))
    lost = yx != yr
    for i, (a, b) in enumerate(zip(x.args, r.args)):
        if a is not b and isinstance(b, torch.Tensor) and i not in unseen:
            a, b = _wide(a, b)
            lost = lost & ((a - b).abs_() <= 8 * torch.finfo(b.dtype).eps if b.is_floating_point() else a == b)
    if not lost.any():
        return False
    explained = 64 * torch.finfo(yr.dtype).eps * (1 + yx.abs() + yr.abs())
    return bool((lost & ~((yx - yr).abs() <= explained)).any())


# Products --------------------------------------------------------------------------------------------------------


def _to_shape_of(pair: Pair, gradients: Sequence[torch.Tensor | None]) -> Tensors:
    """Sum gradients over the axes along which an input was broadcast."""
    return [None if p is None or g is None else g.sum_to_size(p.shape) for p, g in zip(pair.plain, gradients)]


def _same_rank(pair: Pair, n: int = 2) -> None:
    """Refuse operands of different rank where the references have an axis of their own (it would be misplaced)."""
    both = [(a, b) for a, b in zip(pair.x.args[:n], pair.r.args[:n]) if isinstance(b, torch.Tensor)]
    if len({b.ndim for _, b in both}) > 1 and any(a.shape != b.shape for a, b in both):
        raise RepeatSequence(f"{pair.r.name} of operands of different rank")


def product(pair: Pair) -> Tensors:
    """Element product a * b: the other factor at the midpoint."""
    _same_rank(pair)
    (ax, bx), (ar, br) = pair.x.args[:2], pair.r.args[:2]
    return _to_shape_of(pair, [(bx + br) * pair.grad * 0.5, (ax + ar) * pair.grad * 0.5])


def product_with_unseen(pair: Pair) -> Tensors:
    """Product with a factor that depends on the sequence but has no derivative: the sequence's own factor.

    As the softmax weights of some profile wrappers, which are detached. No rule can be complete; this is what captum
    and tangermeme do.
    """
    _same_rank(pair)
    position = next(i for i, g in enumerate(pair.plain) if g is not None)
    gradients: Tensors = [None, None]
    gradients[position] = pair.x.args[1 - position] * pair.grad
    return _to_shape_of(pair, gradients)


def quotient(pair: Pair) -> Tensors:
    """Element quotient y = a / b, see `_of_quotient`."""
    if pair.r.kwargs.get("rounding_mode"):
        return two_numbers(pair)
    _same_rank(pair)
    (ax, bx), (ar, br) = pair.x.args[:2], pair.r.args[:2]
    return _to_shape_of(pair, [m * pair.grad for m in _of_quotient(ax, bx, ar, br)])


def _of_quotient(ax: Any, bx: torch.Tensor, ar: Any, br: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the multipliers of a and b into y = a / b.

    By the midpoint rule for the product a = y b: 1 over the mean of b, and minus the mean of y over that of b. These
    stay small where b is small and y is not large, as for a vector divided by its length. Where b changes its sign:
    a by the mean of 1 / b, and b by the secant of 1 / b times the mean of a.
    """
    alike = bx * br > 0
    mean = torch.where(alike, (bx + br) * 0.5, torch.ones_like(br))
    first = torch.where(alike, 1 / mean, (1 / bx + 1 / br) * 0.5)
    return first, torch.where(alike, -(ax / bx + ar / br) * 0.5 / mean, -(ax + ar) * 0.5 / (bx * br))


def product_added(pair: Pair) -> Tensors:
    """addcmul, a + value * b * c: the other factor at the midpoint."""
    _same_rank(pair, 3)
    grad = pair.grad * (0.5 * pair.r.kwargs.get("value", 1))
    (_, bx, cx), (_, br, cr) = pair.x.args[:3], pair.r.args[:3]
    return _to_shape_of(pair, [pair.grad, (cx + cr) * grad, (bx + br) * grad])


def quotient_added(pair: Pair) -> Tensors:
    """addcdiv, a + value * b / c: as a quotient."""
    _same_rank(pair, 3)
    (_, bx, cx), (_, br, cr) = pair.x.args[:3], pair.r.args[:3]
    grad = pair.grad * pair.r.kwargs.get("value", 1)
    return _to_shape_of(pair, [pair.grad, *(m * grad for m in _of_quotient(bx, cx, br, cr))])


def interpolation(pair: Pair) -> Tensors:
    """lerp, a + w * (b - a): the product w * (b - a) by the midpoint rule."""
    _same_rank(pair, 3)
    (ax, bx, wx), (ar, br, wr) = pair.x.args[:3], pair.r.args[:3]
    weight = (wx + wr) * 0.5
    return _to_shape_of(pair, [(1 - weight) * pair.grad, weight * pair.grad, (bx - ax + br - ar) * pair.grad * 0.5])


def two_numbers(pair: Pair) -> Tensors:
    """Function of two numbers: each one's change of the result, the mean over both orders in which they can change.

    That is the Shapley value of the two, which for a product is the midpoint rule. If only one depends on the sequence
    it is the rescale rule.
    """
    if sum(g is not None for g in pair.plain) == 1:
        return elementwise(pair)
    _same_rank(pair)
    (ax, bx), (ar, br) = (_wide(*call.args[:2]) for call in (pair.x, pair.r))

    def f(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return evaluate(Call(pair.r.name, (a, b), pair.r.kwargs))

    both, none, first, second = f(ax, bx), f(ar, br), f(ax, br), f(ar, bx)
    differences = [(both - second + first - none) * 0.5, (both - first + second - none) * 0.5]
    changes = [ax - ar, bx - br]
    return [
        None if plain is None else _slope(change, difference, pair.grad, plain)
        for plain, change, difference in zip(pair.plain, changes, differences)
    ]


def extremum(pair: Pair) -> Tensors:
    """Elementwise maximum(a, b) = b + relu(a - b) and minimum(a, b) = a - relu(a - b)."""
    _same_rank(pair)
    (ax, bx), (ar, br) = pair.x.args[:2], pair.r.args[:2]
    slope = _relu_slope(ax - bx, ar - br)
    first = slope if pair.r.name in ("maximum", "fmax") else 1 - slope
    return _to_shape_of(pair, [first * pair.grad, (1 - first) * pair.grad])


def matrix_product(pair: Pair) -> Tensors:
    """mm, bmm, addmm, baddbmm of two matrices that both depend on the sequence: the other one at the midpoint."""
    first = 1 if pair.r.name in ("addmm", "baddbmm") else 0
    (ax, bx), (ar, br) = pair.x.args[first : first + 2], pair.r.args[first : first + 2]
    if ar.ndim == 3 and pair.r.name in ("mm", "addmm"):
        raise RepeatSequence(f"{pair.r.name}: the first axis of both matrices is that of the sequences")
    scale = 0.5 * (pair.r.kwargs.get("alpha", 1) if first else 1)
    grad = pair.grad * scale
    gradients: Tensors = list(pair.plain)  # the summand of addmm, if any, is linear
    if pair.plain[first] is not None:
        gradients[first] = grad @ (bx + br).mT
    if pair.plain[first + 1] is not None:
        gradients[first + 1] = (ax + ar).mT @ grad
    return gradients


def glu(pair: Pair) -> Tensors:
    """Gated linear unit a * sigmoid(b): midpoint rule for the product, secant of the sigmoid."""
    axis = pair.axis(pair.r.args[1] if len(pair.r.args) > 1 else -1)
    (zx, zr), grad = _wide(pair.x.args[0], pair.r.args[0]), pair.grad
    (ax, bx), (ar, br) = zx.chunk(2, axis), zr.chunk(2, axis)
    sx, sr = bx.sigmoid(), br.sigmoid()
    change = bx - br
    slope = torch.where(change.abs() <= math.sqrt(torch.finfo(change.dtype).eps), sr * (1 - sr), (sx - sr) / change)
    return [torch.cat([grad * (sx + sr) / 2, grad * slope * (ax + ar) / 2], dim=axis)]


# Maxima ----------------------------------------------------------------------------------------------------------


def _route(
    zx: torch.Tensor, zr: torch.Tensor, yx: torch.Tensor, yr: torch.Tensor,
    ix: torch.Tensor, ir: torch.Tensor, grad: torch.Tensor, close: torch.Tensor | float = 0.0,
) -> torch.Tensor:  # fmt: skip
    """Send the change of maxima over the last axis to the positions that hold the larger ones.

    The winner of the larger maximum changes by at least as much as the maximum, so the quotient is at most 1, and
    no threshold is needed. A position in several windows gets the sum. Where a position's own input does not
    change (by more than `close`), its multiplier only matters for hypothetical attributions: the derivative on the
    sequence, as in captum and tangermeme.
    """
    change = zx - zr
    shape = change.shape[:-1] + grad.shape[-1:]
    ix = ix.expand(shape)
    difference = yx - yr
    winner = torch.where(difference > 0, ix, ir.expand(shape))
    routed = torch.zeros_like(change).scatter_add_(-1, winner, difference.mul_(grad))
    plain = torch.zeros_like(change).scatter_add_(-1, ix, grad.expand(shape).contiguous())
    return torch.where(change.abs() <= close, plain, routed.div_(change))


def _rounding(z: torch.Tensor) -> torch.Tensor:
    """Return what two numbers along the last axis may differ by if they are the same up to rounding."""
    eps = torch.finfo(z.dtype).eps
    ends = torch.stack([z.amax(-1, keepdim=True), z.amin(-1, keepdim=True)]).abs()
    size = torch.where(ends.isfinite(), ends, 0.0).amax(0)  # infinity is a mask or padding
    return size * (64 * eps if eps < 1e-6 else 0.0)


def _first_of_windows(call: Call, close: torch.Tensor) -> torch.Tensor:
    """Return which position of each pooling window is the first that holds the maximum up to rounding.

    For windows along the last axis, the others being of size 1; else the positions that PyTorch chose.
    """
    z, (y, chosen, *_) = call.args[0], call.outputs
    length, n = z.shape[-1], y.shape[-1]
    if "2d" not in call.name or z.shape[-2] != 1 or y.shape[-2] != 1:
        return chosen
    if call.name.startswith("adaptive"):
        if length % n:
            return chosen
        kernel, stride, padding, dilation = length // n, length // n, 0, 1
    else:
        given = [*call.args[1:], *(None,) * 4][:4]
        kernel, stride, padding, dilation = (
            default if a in (None, []) else a if isinstance(a, int) else a[-1]
            for a, default in zip(given, (1, None, 0, 1))
        )
        stride = kernel if stride is None else stride
    reach = (kernel - 1) * dilation + 1
    right = max(0, (n - 1) * stride + reach - length - padding)
    if padding or right:
        z = torch.nn.functional.pad(z, (padding, right), value=-math.inf)
    windows = z.unfold(-1, reach, stride)[..., :n, ::dilation]
    tied, first = _first_of_tied(windows, y, close)
    chosen = chosen.clone()
    chosen[tied] = first * dilation + tied.nonzero()[:, -1] * stride - padding
    return chosen


def _first_of_tied(z: torch.Tensor, y: torch.Tensor, close: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where another number than the maximum y over the last axis is y up to rounding, and the first that is.

    Equal stretches of sequence give numbers that are equal up to rounding, which must not choose between them.
    """
    least = y - close
    tied = ((z < y.unsqueeze(-1)) & (z >= least.unsqueeze(-1))).any(-1)
    return tied, (z[tied] >= least[tied].unsqueeze(-1)).to(torch.uint8).argmax(-1)


def _unsqueeze(t: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """Put back axes that a reduction took away (counted from the end, ascending)."""
    for a in reversed(axes):
        t = t.unsqueeze(a)
    return t


def max_pool(pair: Pair) -> Tensors:
    """Max pooling in 1-D (which PyTorch runs as 2-D), 2-D or 3-D, also adaptive, with any windows."""
    spatial = 3 if "3d" in pair.r.name else 2
    indices, close = [call.outputs[1] for call in (pair.x, pair.r)], 0.0
    if pair.by_differences:
        close = _rounding(pair.x.args[0])
        indices[0] = _first_of_windows(pair.x, close)
        close = close.amax(-2) if spatial == 2 else 0.0
    zx, yx, ix = (t.flatten(-spatial) for t in (pair.x.args[0], pair.x.outputs[0], indices[0]))
    zr, yr, ir = (t.flatten(-spatial) for t in (pair.r.args[0], pair.r.outputs[0], indices[1]))
    routed = _route(zx, zr, yx, yr, ix, ir, pair.grad.flatten(-spatial), close)
    return _only(pair, routed.unflatten(-1, pair.plain[0].shape[-spatial:]))


def max_over_axes(pair: Pair) -> Tensors:
    """max(dim), min(dim), amax, amin: global max pooling and the like."""
    sign = -1 if pair.r.name in ("min", "amin") else 1
    given = pair.r.args[1] if len(pair.r.args) > 1 else pair.r.kwargs.get("dim", ())
    axes = given if isinstance(given, list | tuple) else [given]
    axes = sorted(pair.axis(a) for a in axes) or list(range(-pair.rank, 0))
    keepdim = pair.r.args[2] if len(pair.r.args) > 2 else pair.r.kwargs.get("keepdim", False)
    ends = list(range(-len(axes), 0))

    def to_last(t: torch.Tensor) -> torch.Tensor:
        return t.movedim(axes, ends).flatten(-len(axes))

    grad = pair.grad
    if not keepdim:
        grad = _unsqueeze(grad, axes)
    zx, zr = to_last(pair.x.args[0]) * sign, to_last(pair.r.args[0]) * sign
    (yx, ix), (yr, ir), close = zx.max(-1, keepdim=True), zr.max(-1, keepdim=True), 0.0
    if pair.by_differences:
        close = _rounding(zx)
        tied, first = _first_of_tied(zx.unsqueeze(-2), yx, close)
        ix[tied] = first
    routed = _route(zx, zr, yx, yr, ix, ir, to_last(grad), close)
    plain = pair.plain[0]
    return [routed.unflatten(-1, [plain.shape[a] for a in axes]).movedim(ends, axes)]


# Softmax ---------------------------------------------------------------------------------------------------------


def _logarithmic_mean(a: torch.Tensor, b: torch.Tensor, log_ratio: torch.Tensor) -> torch.Tensor:
    """Return ``(a - b) / (log a - log b)``, the slope of exp's secant, without cancellation."""
    t = log_ratio.abs()
    shrink = torch.where(t == 0, torch.ones_like(t), -torch.expm1(-t) / t)
    return torch.maximum(a, b) * shrink.nan_to_num(0.0)  # NaN: masked (-inf) in both, where a and b are 0


def _softmax_terms(zx: torch.Tensor, zr: torch.Tensor, axes: list[int]) -> tuple[torch.Tensor, ...]:
    """Return exp(z - c) and log sums for both, and the multipliers of z into log sum exp z."""
    c = torch.maximum(zx.amax(axes, keepdim=True), zr.amax(axes, keepdim=True))
    c = torch.where(c.isfinite(), c, torch.zeros_like(c))
    ex, er = torch.exp(zx - c), torch.exp(zr - c)
    sx, sr = ex.sum(axes, keepdim=True), er.sum(axes, keepdim=True)
    tiny = torch.finfo(sx.dtype).tiny
    lx, lr = sx.clamp_min(tiny).log(), sr.clamp_min(tiny).log()
    weights = _logarithmic_mean(ex, er, zx - zr) / _logarithmic_mean(sx, sr, lx - lr).clamp_min(tiny)
    return ex / sx.clamp_min(tiny), er / sr.clamp_min(tiny), lx - lr, weights


def softmax(pair: Pair) -> Tensors:
    """Softmax as exp of log-softmax."""
    axis = pair.axis(pair.r.args[1])
    zx, zr = _wide(pair.x.args[0], pair.r.args[0])
    yx, yr, log_change, weights = _softmax_terms(zx, zr, [axis])
    inner = _logarithmic_mean(yx, yr, zx - zr - log_change) * pair.grad
    return [inner - weights * inner.sum(axis, keepdim=True)]


def log_softmax(pair: Pair) -> Tensors:
    """Log-softmax, z - log sum exp z."""
    axis = pair.axis(pair.r.args[1])
    _, _, _, weights = _softmax_terms(*_wide(pair.x.args[0], pair.r.args[0]), [axis])
    return [pair.grad - weights * pair.grad.sum(axis, keepdim=True)]


def logsumexp(pair: Pair) -> Tensors:
    """Log sum exp over one or more axes."""
    given = pair.r.args[1]
    axes = sorted(pair.axis(a) for a in (given if isinstance(given, list | tuple) else [given]))
    keepdim = pair.r.args[2] if len(pair.r.args) > 2 else pair.r.kwargs.get("keepdim", False)
    _, _, _, weights = _softmax_terms(*_wide(pair.x.args[0], pair.r.args[0]), axes)
    grad = pair.grad
    if not keepdim:
        grad = _unsqueeze(grad, axes)
    return [weights * grad]


def logaddexp(pair: Pair) -> Tensors:
    """Log of the sum of two exponentials (logaddexp; logaddexp2 with base 2): as log sum exp of the two."""
    _same_rank(pair)
    scale = math.log(2) if pair.r.name == "logaddexp2" else 1.0
    zx, zr = (torch.stack(torch.broadcast_tensors(*call.args[:2]), -1) * scale for call in (pair.x, pair.r))
    weights = _softmax_terms(*_wide(zx, zr), [-1])[3]
    return _to_shape_of(pair, [weights[..., 0] * pair.grad, weights[..., 1] * pair.grad])


# Normalization and moments ---------------------------------------------------------------------------------------


def _normalize(zx: torch.Tensor, zr: torch.Tensor, grad: torch.Tensor, axes: list[int], epsilon: float) -> torch.Tensor:
    """Multiplier of (z - mean) / sqrt(variance + epsilon) over some axes, applied to `grad`.

    With a = z - mean and v = 1 / sqrt(variance + epsilon): the product a * v by the midpoint rule, v by its secant
    ``-v_x**2 v_r**2 / (v_x + v_r)`` in the variance, and the variance, a mean of squares, by the secant of squares.
    """
    ax, ar = zx - zx.mean(axes, keepdim=True), zr - zr.mean(axes, keepdim=True)
    vx = (ax.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    vr = (ar.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    total = ax + ar
    slope = -(vx * vr).square() / (vx + vr)
    through_variance = total * slope * (grad * total).mean(axes, keepdim=True) / 2
    gradient = grad * (vx + vr) / 2 + through_variance
    return gradient - gradient.mean(axes, keepdim=True)


def layer_norm(pair: Pair) -> Tensors:
    """LayerNorm."""
    shape, weight, _, epsilon = pair.r.args[1:5]
    grad = pair.grad if weight is None else pair.grad * weight
    axes = list(range(-len(shape), 0))
    return _first(pair, _normalize(*_wide(pair.x.args[0], pair.r.args[0]), grad, axes, epsilon))


def group_norm(pair: Pair) -> Tensors:
    """GroupNorm (n, channels, ...)."""
    weight, groups, epsilon = pair.r.args[1], pair.r.args[6], pair.r.args[7]
    zx, zr = _wide(pair.x.args[0], pair.r.args[0])
    axis = 1 - pair.rank
    shape = torch.broadcast_shapes(zx.shape, zr.shape)
    grad = pair.grad
    if weight is not None:
        grad = grad * weight.view(-1, *[1] * (pair.rank - 2))

    def grouped(t: torch.Tensor) -> torch.Tensor:
        return t.unflatten(axis, (groups, -1)).flatten(axis)

    gradient = _normalize(grouped(zx), grouped(zr), grouped(grad), [-1], epsilon)
    return _first(pair, gradient.reshape(shape))


def instance_norm(pair: Pair) -> Tensors:
    """Batch norm with the batch's own statistics on a batch of one: what InstanceNorm is run as."""
    zx, zr = pair.x.args[0], pair.r.args[0]
    if zr.shape[0] != 1 or zx.shape != zr.shape:
        raise RepeatSequence("batch norm with the statistics of the batch")
    weight, epsilon = pair.r.args[1], pair.r.args[7]
    grad = pair.grad if weight is None else pair.grad * weight.view(-1, *[1] * (zr.ndim - 2))
    return _first(pair, _normalize(*_wide(zx, zr), grad, list(range(2 - zr.ndim, 0)), epsilon))


def moment(pair: Pair) -> Tensors:
    """Variance and standard deviation over axes."""
    given = pair.r.args[1] if len(pair.r.args) > 1 else pair.r.kwargs.get("dim")
    axes = sorted(pair.axis(a) for a in given) if given else list(range(-pair.rank, 0))
    correction = pair.r.kwargs.get("correction")
    zx, zr = pair.x.args[0], pair.r.args[0]
    degrees = math.prod(zr.shape[a] for a in axes) - (1 if correction is None else correction)
    ax, ar = zx - zx.mean(axes, keepdim=True), zr - zr.mean(axes, keepdim=True)
    grad = pair.grad
    if not pair.r.kwargs.get("keepdim", False):
        grad = _unsqueeze(grad, axes)
    gradient = grad * (ax + ar) / degrees
    if pair.r.name == "std":
        roots = [(a.square().sum(axes, keepdim=True) / degrees).sqrt() for a in (ax, ar)]
        gradient = gradient / (roots[0] + roots[1]).clamp_min(torch.finfo(zr.dtype).tiny)
    return [gradient]


def euclidean_norm(pair: Pair) -> Tensors:
    """Euclidean norm over axes: the root of a sum of squares."""
    arguments = dict(zip(("ord", "dim", "keepdim"), pair.r.args[1:])) | pair.r.kwargs
    given = arguments.get("dim")
    axes = sorted(pair.axis(a) for a in given) if given else list(range(-pair.rank, 0))
    zx, zr = pair.x.args[0], pair.r.args[0]
    grad = pair.grad
    if not arguments.get("keepdim", False):
        grad = _unsqueeze(grad, axes)
    norms = sum(z.square().sum(axes, keepdim=True).sqrt() for z in (zx, zr))
    return [grad * (zx + zr) / norms.clamp_min(torch.finfo(zr.dtype).tiny)]


def _first(pair: Pair, gradient: torch.Tensor) -> Tensors:
    return [gradient, *pair.plain[1:]]


# The table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """A rule and when it is needed.

    `multiplier` returns the gradients; `needed(depends, args, kwargs)` says from which arguments depend on the
    sequence (a bool per positional argument) whether the call is not linear; `outputs` whether they are kept.
    """

    multiplier: Callable[[Pair], Tensors]
    needed: Callable[[list[bool], tuple, dict], bool] = lambda depends, args, kwargs: any(depends)
    outputs: bool = False


def _first_two(depends: list[bool], args: tuple, kwargs: dict) -> bool:
    return all(depends[:2]) and len(depends) > 1


def _second(depends: list[bool], args: tuple, kwargs: dict) -> bool:
    return any(depends[1:2]) or bool(kwargs.get("rounding_mode"))


def _third(depends: list[bool], args: tuple, kwargs: dict) -> bool:
    return len(depends) > 2 and depends[2]


def _one(depends: list[bool], args: tuple, kwargs: dict) -> bool:
    return sum(depends) == 1


def _matrices(depends: list[bool], args: tuple, kwargs: dict) -> bool:
    return len(depends) > 2 and depends[1] and depends[2]


def _own_statistics(depends: list[bool], args: tuple, kwargs: dict) -> bool:
    return args[5] is True and args[0].shape[0] == 1 and _input_alone(depends, args, kwargs)


def _input_alone(depends: list[bool], args: tuple, kwargs: dict) -> bool:
    return depends[0] and not any(depends[1:])


def _is_euclidean(depends: list[bool], args: tuple, kwargs: dict) -> bool:
    order = args[1] if len(args) > 1 else kwargs.get("ord", 2)
    return depends[0] and order == 2


RULES: dict[str, Rule] = {
    "relu": Rule(relu),
    **{name: Rule(elementwise, _one) for name in sorted(KINKED | SMOOTH)},
    **{name: Rule(two_numbers) for name in ("pow", "atan2", "hypot", "xlogy", "fmod", "remainder", "copysign")},
    "mul": Rule(product, _first_two),
    "div": Rule(quotient, _second),
    "addcmul": Rule(product_added, _matrices),
    "addcdiv": Rule(quotient_added, _third),
    "lerp": Rule(interpolation, _third),
    "maximum": Rule(extremum),
    "minimum": Rule(extremum),
    "fmax": Rule(extremum),
    "fmin": Rule(extremum),
    "logaddexp": Rule(logaddexp),
    "logaddexp2": Rule(logaddexp),
    "mm": Rule(matrix_product, _first_two),
    "bmm": Rule(matrix_product, _first_two),
    "addmm": Rule(matrix_product, _matrices),
    "baddbmm": Rule(matrix_product, _matrices),
    "glu": Rule(glu),
    "max_pool2d_with_indices": Rule(max_pool, outputs=True),
    "max_pool3d_with_indices": Rule(max_pool, outputs=True),
    "adaptive_max_pool2d": Rule(max_pool, outputs=True),
    "adaptive_max_pool3d": Rule(max_pool, outputs=True),
    "max": Rule(max_over_axes, lambda depends, args, kwargs: depends[0] and len(args) > 1),
    "min": Rule(max_over_axes, lambda depends, args, kwargs: depends[0] and len(args) > 1),
    "amax": Rule(max_over_axes),
    "amin": Rule(max_over_axes),
    "_softmax": Rule(softmax),
    "_safe_softmax": Rule(softmax),
    "_log_softmax": Rule(log_softmax),
    "logsumexp": Rule(logsumexp),
    "native_layer_norm": Rule(layer_norm, _input_alone),
    "native_group_norm": Rule(group_norm, _input_alone),
    "native_batch_norm": Rule(instance_norm, _own_statistics),
    "var": Rule(moment),
    "std": Rule(moment),
    "linalg_vector_norm": Rule(euclidean_norm, _is_euclidean),
}

# Autograd nodes (without "Backward0") of operations that are linear in what depends on the sequence, so that their
# derivative is their multiplier. For those with operands listed, only while at most one of these depends on it; for
# those with a divisor, only while nothing from there on does.
LINEAR = {
    "add", "sub", "rsub", "neg", "sum", "mean", "cumsum", "trace", "nansum",
    "view", "unsafeview", "reshapealias", "expand", "permute", "transpose", "t", "squeeze", "unsqueeze", "select",
    "slice", "split", "splitwithsizes", "unsafesplit", "unsafesplitwithsizes", "unbind", "chunk", "diagonal",
    "asstrided", "alias", "unfold", "clone", "copy", "copybackwards", "copyslices", "tocopy", "cat", "stack", "flip",
    "roll", "rot90", "repeat", "index", "indexselect", "gather", "scatter", "scatteradd", "indexput", "indexadd",
    "indexcopy", "indexfill", "take", "takealongdim", "maskedfill", "maskedselect", "maskedscatter", "where", "fill",
    "zero", "tril", "triu", "constantpadnd", "reflectionpad1d", "reflectionpad2d", "replicationpad1d",
    "replicationpad2d", "avgpool2d", "avgpool3d", "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptiveavgpool3d",
    "upsamplenearest1d", "upsamplenearest2d", "upsamplelinear1d", "upsamplebilinear2d", "upsamplebicubic2d",
    "pixelshuffle", "pixelunshuffle", "channelshuffle", "im2col", "col2im", "accumulategrad", "contiguous", "liftfresh",
    "broadcast", "movedim", "real", "selectscatter", "slicescatter", "diagonalscatter", "_replaced",
}  # fmt: skip
ONE_OPERAND = {
    "mul": (0, 1), "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "linear": (0, 1), "convolution": (0, 1),
    "addmm": (1, 2), "baddbmm": (1, 2), "addbmm": (1, 2), "addmv": (1, 2), "addcmul": (1, 2), "addr": (1, 2),
    "convolutionoverrideable": (0, 1), "mkldnnconvolution": (0, 1), "cudnnconvolution": (0, 1),
    "nativebatchnorm": (0, 1), "cudnnbatchnorm": (0, 1), "miopenbatchnorm": (0, 1),
}  # fmt: skip
DIVISOR = {"div": 1, "addcdiv": 2, "lerp": 2}


def is_linear(node: str, depends: Sequence[bool]) -> bool:
    """Tell whether an autograd node passes multipliers on as it passes gradients.

    Parameters
    ----------
    node : str
        Its name in lower case without the ending, e.g. "convolution" for ConvolutionBackward0.
    depends : sequence of bool
        For each of its inputs, whether it depends on the sequence.
    """
    if node in DIVISOR:
        return not any(depends[DIVISOR[node] :])
    if node in ONE_OPERAND:
        return sum(depends[i] for i in ONE_OPERAND[node] if i < len(depends)) < 2
    return node in LINEAR
