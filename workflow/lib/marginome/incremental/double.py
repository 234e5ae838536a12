"""Convolutions in float64 with few outputs, of which the checks of rounding make many: on a CPU, as one product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from marginome.operations import Following

# PyTorch unfolds the input in float64, taps times channels numbers a position, and multiplies; taps times outputs is
# what the product makes here. So for fewer outputs than channels, by how much being measured: BPNet's profile head (64
# channels, 2 outputs, 75 taps, 2,114 positions) takes 43 ms there, 2 ms here.
FEWER, TAPS = 4, 4


class FewOutputs(Following):
    """While it is on, convolutions along one axis, in float64 on a CPU, with few outputs are computed by `convolve`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.ops.aten.convolution.default and not kwargs:
            x, weight, bias, stride, padding, dilation, transposed, _, groups = args
            few = weight.ndim == 3 and weight.shape[0] * FEWER <= weight.shape[1] and weight.shape[2] >= TAPS
            plain = not transposed and groups == 1 and list(stride) == [1]
            if few and plain and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float64:
                return convolve(x, weight, bias, padding[0], dilation[0])
        return func(*args, **(kwargs or {}))


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
    """Return `torch.nn.functional.conv1d` with stride 1: the taps' products are added where each of them reads."""
    n, _, length = x.shape
    outputs, channels, taps = weight.shape
    products = (weight.permute(2, 0, 1).reshape(taps * outputs, channels) @ x).view(n, taps, outputs, length)
    positions = length + 2 * padding - (taps - 1) * dilation
    y = x.new_zeros(n, outputs, positions)
    for tap in range(taps):
        shift = tap * dilation - padding  # from a position to what it reads
        first, last = max(0, -shift), min(positions, length - shift)
        if last > first:
            y[:, :, first:last] += products[:, tap, :, first + shift : last + shift]
    return y if bias is None else y + bias[:, None]
