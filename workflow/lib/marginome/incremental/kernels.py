"""Convolutions of a difference: linear, without bias, padding or halo, on the span that changed.

Which of the four ways is used is decided when a plan is made, from shapes alone; ``docs/engine.md`` has the
measurements. All take and return feature maps ``(pairs, channels, positions)`` with the channels last in memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .layout import channels_back, channels_to_end


class Geometry(NamedTuple):
    """How one axis of a convolution or pooling reads its input."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    def reads(self, lo: int, hi: int) -> tuple[int, int]:
        """Return the input positions (also outside the sequence) that outputs ``[lo, hi)`` read."""
        return lo * self.stride - self.padding, (hi - 1) * self.stride - self.padding + self.extent

    def reaches(self, lo: int, hi: int, length: int) -> tuple[int, int]:
        """Return the outputs, out of `length`, that read any of the inputs ``[lo, hi)``; an empty span if none."""
        first = -(-(lo + self.padding - self.extent + 1) // self.stride)
        last = (hi - 1 + self.padding) // self.stride + 1
        first, last = max(first, 0), min(last, length)
        return (first, last) if last > first else (0, 0)

    @property
    def extent(self) -> int:
        """Positions from the first tap to the last."""
        return (self.kernel - 1) * self.dilation + 1


def taps(geometry: Geometry, lo: int, width: int, out_lo: int, out_hi: int) -> list[tuple[int, int, int, int]]:
    """Return ``(tap, first input, first output, count)`` within the two spans, for stride 1."""
    found = []
    for k in range(geometry.kernel):
        shift = lo + geometry.padding - k * geometry.dilation - out_lo  # output of the span's first input
        first = max(0, -shift)
        count = min(width, out_hi - out_lo - shift) - first
        if count > 0:
            found.append((k, first, first + shift, count))
    return found


def by_taps(x: torch.Tensor, out: torch.Tensor, weight: torch.Tensor, plan: list[tuple[int, int, int, int]]) -> None:
    """Add one matrix product, cut into taps that are shifted against each other, to `out`.

    `weight` is ``(channels, taps * outputs)``. Work grows with the inputs that changed, not with the outputs.
    """
    pairs, channels, width = x.shape
    outputs = out.shape[1]
    y = (channels_to_end(x).reshape(pairs * width, channels) @ weight).view(pairs, width, -1, outputs)
    target = channels_to_end(out)
    for k, first, to, count in plan:
        target.narrow(1, to, count).add_(y[:, first : first + count, k])


def by_batched_taps(
    x: torch.Tensor, out: torch.Tensor, weights: torch.Tensor, plan: list[tuple[int, int, int, int]]
) -> None:
    """Add one batched matrix product per tap straight into `out`; `weights` is ``(taps, channels, outputs)``."""
    pairs, channels, _ = x.shape
    source, target = channels_to_end(x), channels_to_end(out)
    if not source.is_contiguous():
        source = source.contiguous()
    for k, first, to, count in plan:
        part, into = source.narrow(1, first, count), target.narrow(1, to, count)
        if into.dtype == part.dtype:
            into.baddbmm_(part, weights[k].expand(pairs, channels, out.shape[1]))
        else:  # a bfloat16 change of float32 values
            into.add_(part @ weights[k])


def by_columns(x: torch.Tensor, weight: torch.Tensor, dilation: int, kernel: int) -> torch.Tensor:
    """Return the product of unfolded inputs: for few channels. `x` covers all that the outputs read, with zeros.

    `weight` is ``(taps * channels, outputs)``.
    """
    pairs, channels, width = x.shape
    positions = width - (kernel - 1) * dilation
    x = channels_to_end(x).contiguous()
    columns = x.as_strided(
        (pairs, positions, kernel, channels), (width * channels, channels, dilation * channels, 1)
    ).reshape(pairs * positions, kernel * channels)
    return channels_back((columns @ weight).view(pairs, positions, -1))


def by_diagonals(x: torch.Tensor, weight: torch.Tensor, dilation: int, kernel: int) -> torch.Tensor:
    """Return the sum along diagonals of one matrix product: for few outputs (a profile head).

    `x` covers all that the outputs read, with zeros; `weight` is ``(outputs * taps, channels)``.
    """
    pairs, _, width = x.shape
    positions = width - (kernel - 1) * dilation
    y = torch.matmul(weight, x)  # (pairs, outputs * taps, width), positions last
    outputs = weight.shape[0] // kernel
    diagonal = y.as_strided(
        (pairs, outputs, kernel, positions), (outputs * kernel * width, kernel * width, width + dilation, 1)
    )
    return diagonal.sum(2)


def max_of_slices(x: torch.Tensor, axis: int, geometry: Geometry, positions: int) -> torch.Tensor:
    """Return the maximum over pooling windows; `x` starts where the first window does, with -inf for padding."""
    span = (positions - 1) * geometry.stride + 1
    parts = [slice_along(x, axis, k * geometry.dilation, span, geometry.stride) for k in range(geometry.kernel)]
    out = parts[0]
    for i, part in enumerate(parts[1:]):
        out = torch.maximum(out, part) if i == 0 else torch.maximum(out, part, out=out)
    return out


def sum_of_slices(x: torch.Tensor, axis: int, geometry: Geometry, positions: int) -> torch.Tensor:
    """Return the sum over pooling windows; `x` starts where the first window does, with 0 for padding."""
    span = (positions - 1) * geometry.stride + 1
    out = slice_along(x, axis, 0, span, geometry.stride).clone()
    for k in range(1, geometry.kernel):
        out += slice_along(x, axis, k * geometry.dilation, span, geometry.stride)
    return out


def slice_along(x: torch.Tensor, axis: int, first: int, span: int, step: int) -> torch.Tensor:
    """Return ``x[first : first + span : step]`` of one axis, as a view."""
    index = [slice(None)] * x.ndim
    index[axis] = slice(first, first + span, step)
    return x[tuple(index)]
