"""DeepLIFT's multiplier of every operation that has an exact one.

A *multiplier* m of an operation y = f(z) takes the place of the derivative when the chain rule is run
backwards: it is defined for a pair (sequence, reference) and satisfies ``sum(m * (z_x - z_r)) == y_x - y_r``,
where x marks the value on the sequence and r that on the reference. When all operations of a model satisfy
this, so does the model: the attributions add up to the difference of its outputs ("completeness").

Rules, by what the operation does:

- one number to one number: the rescale rule, the slope of the secant (Shrikumar, Greenside & Kundaje 2017,
  ICML, PMLR 70:3145, section 3.5.1);
- products of two quantities that both depend on the sequence, also within matrix products, GLU and
  normalization: the derivative at the midpoint, ``d(ab) = da (b_x + b_r)/2 + db (a_x + a_r)/2``, an identity;
- maxima (`maxima`): the difference of the maxima goes to the position that holds the larger one (the rule of the
  DeepLIFT authors' implementation, also used by captum);
- softmax and its logarithm, norms, moments (`normalizing`): exp of ``z - log sum exp z``, each step by its secant.

Every function takes a `pairs.Pair` and returns the gradients that replace autograd's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from marginome.attribution.kernels import relu_on_cpu, relu_on_gpu
from marginome.attribution.maxima import max_over_axes, max_pool
from marginome.attribution.normalizing import (
    euclidean_norm,
    group_norm,
    instance_norm,
    layer_norm,
    log_softmax,
    logaddexp,
    logsumexp,
    moment,
    rms_norm,
    softmax,
)
from marginome.attribution.pairs import (
    Call,
    Pair,
    RepeatSequence,
    Tensors,
    only,
    same_rank,
    to_shape_of,
    wide,
)

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
    zx, zr = wide(pair.x.args[0], pair.r.args[0])
    fused = (relu_on_cpu if zr.device.type == "cpu" else relu_on_gpu)(zx, zr, pair.grad)
    return only(pair, _relu_slope(zx, zr) * pair.grad if fused is None else fused)


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
    zx, zr, yx, yr = wide(zx, zr, evaluate(pair.x), evaluate(pair.r))
    close = None
    if pair.r.name in SMOOTH:
        close = math.sqrt(torch.finfo(zr.dtype).eps)
        if pair.r.name in STEEP:
            close = close * torch.maximum(zx.abs(), zr.abs())
    return only(pair, _slope(zx - zr, yx - yr, pair.grad, pair.plain[position], close))


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
    pairs = {i: wide(x[i], r[i]) for i in seen}
    changes = {i: zx - zr for i, (zx, zr) in pairs.items()}
    yx, yr = wide(evaluate(pair.x), evaluate(pair.r))
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
    yx, yr = wide(evaluate(x), evaluate(r))
    lost = yx != yr
    for i, (a, b) in enumerate(zip(x.args, r.args)):
        if a is not b and isinstance(b, torch.Tensor) and i not in unseen:
            a, b = wide(a, b)
            lost = lost & ((a - b).abs_() <= 8 * torch.finfo(b.dtype).eps if b.is_floating_point() else a == b)
    if not lost.any():
        return False
    explained = 64 * torch.finfo(yr.dtype).eps * (1 + yx.abs() + yr.abs())
    return bool((lost & ~((yx - yr).abs() <= explained)).any())


# Products --------------------------------------------------------------------------------------------------------


def product(pair: Pair) -> Tensors:
    """Element product a * b: the other factor at the midpoint."""
    same_rank(pair)
    (ax, bx), (ar, br) = pair.x.args[:2], pair.r.args[:2]
    return to_shape_of(pair, [(bx + br) * pair.grad * 0.5, (ax + ar) * pair.grad * 0.5])


def product_with_unseen(pair: Pair) -> Tensors:
    """Product with a factor that depends on the sequence but has no derivative: the sequence's own factor.

    As the softmax weights of some profile wrappers, which are detached. No rule can be complete; this is what captum
    and tangermeme do.
    """
    same_rank(pair)
    position = next(i for i, g in enumerate(pair.plain) if g is not None)
    gradients: Tensors = [None, None]
    gradients[position] = pair.x.args[1 - position] * pair.grad
    return to_shape_of(pair, gradients)


def quotient(pair: Pair) -> Tensors:
    """Element quotient y = a / b, see `_of_quotient`."""
    if pair.r.kwargs.get("rounding_mode"):
        return two_numbers(pair)
    same_rank(pair)
    (ax, bx), (ar, br) = pair.x.args[:2], pair.r.args[:2]
    return to_shape_of(pair, [m * pair.grad for m in _of_quotient(ax, bx, ar, br)])


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
    same_rank(pair, 3)
    grad = pair.grad * (0.5 * pair.r.kwargs.get("value", 1))
    (_, bx, cx), (_, br, cr) = pair.x.args[:3], pair.r.args[:3]
    return to_shape_of(pair, [pair.grad, (cx + cr) * grad, (bx + br) * grad])


def quotient_added(pair: Pair) -> Tensors:
    """addcdiv, a + value * b / c: as a quotient."""
    same_rank(pair, 3)
    (_, bx, cx), (_, br, cr) = pair.x.args[:3], pair.r.args[:3]
    grad = pair.grad * pair.r.kwargs.get("value", 1)
    return to_shape_of(pair, [pair.grad, *(m * grad for m in _of_quotient(bx, cx, br, cr))])


def interpolation(pair: Pair) -> Tensors:
    """lerp, a + w * (b - a): the product w * (b - a) by the midpoint rule."""
    same_rank(pair, 3)
    (ax, bx, wx), (ar, br, wr) = pair.x.args[:3], pair.r.args[:3]
    weight = (wx + wr) * 0.5
    return to_shape_of(pair, [(1 - weight) * pair.grad, weight * pair.grad, (bx - ax + br - ar) * pair.grad * 0.5])


def two_numbers(pair: Pair) -> Tensors:
    """Function of two numbers: each one's change of the result, the mean over both orders in which they can change.

    That is the Shapley value of the two, which for a product is the midpoint rule. If only one depends on the sequence
    it is the rescale rule.
    """
    if sum(g is not None for g in pair.plain) == 1:
        return elementwise(pair)
    same_rank(pair)
    (ax, bx), (ar, br) = (wide(*call.args[:2]) for call in (pair.x, pair.r))

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
    same_rank(pair)
    (ax, bx), (ar, br) = pair.x.args[:2], pair.r.args[:2]
    slope = _relu_slope(ax - bx, ar - br)
    first = slope if pair.r.name in ("maximum", "fmax") else 1 - slope
    return to_shape_of(pair, [first * pair.grad, (1 - first) * pair.grad])


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
    (zx, zr), grad = wide(pair.x.args[0], pair.r.args[0]), pair.grad
    (ax, bx), (ar, br) = zx.chunk(2, axis), zr.chunk(2, axis)
    sx, sr = bx.sigmoid(), br.sigmoid()
    change = bx - br
    slope = torch.where(change.abs() <= math.sqrt(torch.finfo(change.dtype).eps), sr * (1 - sr), (sx - sr) / change)
    return [torch.cat([grad * (sx + sr) / 2, grad * slope * (ax + ar) / 2], dim=axis)]


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
    "_fused_rms_norm": Rule(rms_norm, _input_alone),
    **{f"{of}_batch_norm": Rule(instance_norm, _own_statistics) for of in ("native", "cudnn", "miopen")},
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
    "packpaddedsequence",
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
