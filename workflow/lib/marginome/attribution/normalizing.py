"""DeepLIFT's multipliers of what relates numbers to all others of an axis: softmax, norms, moments."""

from __future__ import annotations

import math

import torch

from marginome.attribution.pairs import (
    Pair,
    RepeatSequence,
    Tensors,
    same_rank,
    to_shape_of,
    unsqueeze,
    wide,
)


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
    zx, zr = wide(pair.x.args[0], pair.r.args[0])
    yx, yr, log_change, weights = _softmax_terms(zx, zr, [axis])
    inner = _logarithmic_mean(yx, yr, zx - zr - log_change) * pair.grad
    return [inner - weights * inner.sum(axis, keepdim=True)]


def log_softmax(pair: Pair) -> Tensors:
    """Log-softmax, z - log sum exp z."""
    axis = pair.axis(pair.r.args[1])
    _, _, _, weights = _softmax_terms(*wide(pair.x.args[0], pair.r.args[0]), [axis])
    return [pair.grad - weights * pair.grad.sum(axis, keepdim=True)]


def logsumexp(pair: Pair) -> Tensors:
    """Log sum exp over one or more axes."""
    given = pair.r.args[1]
    axes = sorted(pair.axis(a) for a in (given if isinstance(given, list | tuple) else [given]))
    keepdim = pair.r.args[2] if len(pair.r.args) > 2 else pair.r.kwargs.get("keepdim", False)
    _, _, _, weights = _softmax_terms(*wide(pair.x.args[0], pair.r.args[0]), axes)
    grad = pair.grad
    if not keepdim:
        grad = unsqueeze(grad, axes)
    return [weights * grad]


def logaddexp(pair: Pair) -> Tensors:
    """Log of the sum of two exponentials (logaddexp; logaddexp2 with base 2): as log sum exp of the two."""
    same_rank(pair)
    scale = math.log(2) if pair.r.name == "logaddexp2" else 1.0
    zx, zr = (torch.stack(torch.broadcast_tensors(*call.args[:2]), -1) * scale for call in (pair.x, pair.r))
    weights = _softmax_terms(*wide(zx, zr), [-1])[3]
    return to_shape_of(pair, [weights[..., 0] * pair.grad, weights[..., 1] * pair.grad])


# Normalization and moments ---------------------------------------------------------------------------------------


def _normalize(
    zx: torch.Tensor, zr: torch.Tensor, grad: torch.Tensor, axes: list[int], epsilon: float, centred: bool = True
) -> torch.Tensor:
    """Multiplier of (z - mean) / sqrt(variance + epsilon) over some axes, or with mean 0, applied to `grad`.

    With a = z - mean and v = 1 / sqrt(variance + epsilon): the product a * v by the midpoint rule, v by its secant
    ``-v_x**2 v_r**2 / (v_x + v_r)`` in the variance, and the variance, a mean of squares, by the secant of squares.
    """
    ax, ar = zx, zr
    if centred:
        ax, ar = zx - zx.mean(axes, keepdim=True), zr - zr.mean(axes, keepdim=True)
    vx = (ax.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    vr = (ar.square().mean(axes, keepdim=True) + epsilon).rsqrt()
    total = ax + ar
    slope = -(vx * vr).square() / (vx + vr)
    through_variance = total * slope * (grad * total).mean(axes, keepdim=True) / 2
    gradient = grad * (vx + vr) / 2 + through_variance
    return gradient - gradient.mean(axes, keepdim=True) if centred else gradient


def layer_norm(pair: Pair) -> Tensors:
    """LayerNorm."""
    shape, weight, _, epsilon = pair.r.args[1:5]
    grad = pair.grad if weight is None else pair.grad * weight
    axes = list(range(-len(shape), 0))
    return _first(pair, _normalize(*wide(pair.x.args[0], pair.r.args[0]), grad, axes, epsilon))


def rms_norm(pair: Pair) -> Tensors:
    """RMSNorm, where it is one operation (on CUDA)."""
    shape, weight, epsilon = pair.r.args[1:4]
    zx, zr = pair.x.args[0], pair.r.args[0]
    epsilon = torch.finfo(zr.dtype).eps if epsilon is None else epsilon
    grad = pair.grad if weight is None else pair.grad * weight
    return _first(pair, _normalize(*wide(zx, zr), grad, list(range(-len(shape), 0)), epsilon, centred=False))


def group_norm(pair: Pair) -> Tensors:
    """GroupNorm (n, channels, ...)."""
    weight, groups, epsilon = pair.r.args[1], pair.r.args[6], pair.r.args[7]
    zx, zr = wide(pair.x.args[0], pair.r.args[0])
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
    return _first(pair, _normalize(*wide(zx, zr), grad, list(range(2 - zr.ndim, 0)), epsilon))


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
        grad = unsqueeze(grad, axes)
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
        grad = unsqueeze(grad, axes)
    norms = sum(z.square().sum(axes, keepdim=True).sqrt() for z in (zx, zr))
    return [grad * (zx + zr) / norms.clamp_min(torch.finfo(zr.dtype).tiny)]


def _first(pair: Pair, gradient: torch.Tensor) -> Tensors:
    return [gradient, *pair.plain[1:]]
