"""DeepLIFT's multipliers of maxima: pooling windows, and maxima and minima over axes."""

from __future__ import annotations

import math

import torch

from marginome.attribution.pairs import (
    Call,
    Pair,
    Tensors,
    only,
    unsqueeze,
)


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
    return only(pair, routed.unflatten(-1, pair.plain[0].shape[-spatial:]))


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
        grad = unsqueeze(grad, axes)
    zx, zr = to_last(pair.x.args[0]) * sign, to_last(pair.r.args[0]) * sign
    (yx, ix), (yr, ir), close = zx.max(-1, keepdim=True), zr.max(-1, keepdim=True), 0.0
    if pair.by_differences:
        close = _rounding(zx)
        tied, first = _first_of_tied(zx.unsqueeze(-2), yx, close)
        ix[tied] = first
    routed = _route(zx, zr, yx, yr, ix, ir, to_last(grad), close)
    plain = pair.plain[0]
    return [routed.unflatten(-1, [plain.shape[a] for a in axes]).movedim(ends, axes)]
