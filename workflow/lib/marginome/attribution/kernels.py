"""Faster forms of two steps: ReLU's multiplier in one sweep, and, on a CPU, narrow convolutions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
import torch.nn.functional as F

from marginome.devices import triton_works
from marginome.operations import Following

# Numbers per thread below which starting a thread costs more than it saves.
PER_THREAD = 1 << 17
# oneDNN is slow at convolutions that make few channels of many with a wide kernel (a profile head), forwards and in
# their derivative, and fast at the same numbers computed as the derivative of a convolution, or as one. CPU time on
# one core, 10 x 2,114 bp, 64 to 2 channels, 75 bp: forwards 72 against 8 ms, derivative 158 against 9 ms; 64 to 16,
# 21 bp: 29 against 17 and 44 against 14 ms. Outside these bounds the two forms are alike, or the usual one is faster.
NARROW, WIDE_KERNEL = 16, 16
# cuDNN's derivatives, too, are slower than its convolutions for kernels as short as these and for profile heads. H100,
# TF32 off, ms for 500 x 2,114 bp: 64 to 64 channels, 3 bp: 1.25 against 0.98; 64 to 1, 75 bp: 48 against 0.8; but 4 to
# 64 channels, 21 bp: 1.0 against 3.0, and 320 to 320, 8 bp: 24 against 30.
SHORT_KERNEL = 3


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _relu_rows(zx, zr, grad, out, first, last):
    """Write ReLU's multiplier times the gradient for some of the references' rows (see `rules._relu_slope`)."""
    references = zr.shape[1]
    zero, one = zr.dtype.type(0), zr.dtype.type(1)
    for row in range(first, last):
        i = row // references
        j = row - i * references
        for k in range(zr.shape[2]):
            a, b = zx[i, 0, k], zr[i, j, k]
            high, gap = max(a, b), abs(a - b)
            if high <= zero:
                slope = zero
            elif gap >= high:
                slope = high / gap
            else:
                slope = one
            out[i, j, k] = slope * grad[i, j, k]


def relu_on_cpu(zx: torch.Tensor, zr: torch.Tensor, grad: torch.Tensor) -> torch.Tensor | None:
    """Return ReLU's multiplier times the gradient, or None where the fused form does not apply.

    Parameters
    ----------
    zx : torch.Tensor, shape (sequences, 1, ...) or (sequences, ...)
        Inputs of ReLU on the sequences.
    zr, grad : torch.Tensor, shape (sequences, references, ...) or (sequences, ...)
        Inputs on the references, and the gradient of the outputs.
    """
    same = zx.shape == zr.shape
    if (
        zr.device.type != "cpu"
        or zr.dtype not in (torch.float32, torch.float64)
        or zr.dtype != grad.dtype
        or zr.ndim < 2
        or not (same or (zx.shape[1] == 1 and zx.shape[0] == zr.shape[0] and zx.shape[2:] == zr.shape[2:]))
    ):
        return None
    if same:
        zx, rows = zx.unsqueeze(1), zr.unsqueeze(1)
        grad = grad.unsqueeze(1)
    else:
        rows = zr
    # Autograd's gradients are often expanded (the mean over positions), hence contiguous().
    arrays = [t.contiguous().flatten(2).numpy() if t.ndim > 2 else t.unsqueeze(2).numpy() for t in (zx, rows, grad)]
    out = np.empty_like(arrays[1])
    n = out.shape[0] * out.shape[1]
    threads = min(torch.get_num_threads(), n, max(1, out.size // PER_THREAD))
    if threads == 1:
        _relu_rows(*arrays, out, 0, n)
    else:
        edges = np.linspace(0, n, threads + 1).astype(int)
        # Threads of our own around a kernel without the GIL: numba's would forbid forking afterwards.
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda a, b: _relu_rows(*arrays, out, a, b), edges[:-1], edges[1:]))
    return torch.from_numpy(out).view(zr.shape)


@functools.lru_cache
def _relu_kernel():
    import triton
    import triton.language as tl

    @triton.jit(do_not_specialize=["size", "references"])
    def relu_multiplier(zx, zr, grad, out, size, references, BLOCK: tl.constexpr):
        # One program per block of one reference: which sequence it belongs to needs no division per number.
        row = tl.program_id(0).to(tl.int64)
        place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        there = place < size
        a = tl.load(zx + (row // references) * size + place, mask=there, other=0.0)
        b = tl.load(zr + row * size + place, mask=there, other=0.0)
        g = tl.load(grad + row * size + place, mask=there, other=0.0)
        high = tl.maximum(a, b)
        gap = tl.abs(a - b)
        across = high / tl.where(gap == 0.0, 1.0, gap)
        slope = tl.where(high <= 0.0, 0.0, tl.where(gap >= high, across, 1.0))
        tl.store(out + row * size + place, slope * g, mask=there)

    return relu_multiplier


def relu_on_gpu(zx: torch.Tensor, zr: torch.Tensor, grad: torch.Tensor) -> torch.Tensor | None:
    """Return ReLU's multiplier times the gradient in one sweep over memory instead of six; None where it cannot.

    Parameters
    ----------
    zx, zr, grad
        As for `relu_on_cpu`.
    """
    if zr.dtype != torch.float32 or zr.ndim < 2 or not triton_works(zr.device, _probe_relu):
        return None
    if zx.shape == zr.shape:
        references = 1
    elif zx.shape[1] == 1 and zx.shape[0] == zr.shape[0] and zx.shape[2:] == zr.shape[2:]:
        references = zr.shape[1]
    else:
        return None
    return _sweep(zx, zr, grad, references)


def _sweep(zx: torch.Tensor, zr: torch.Tensor, grad: torch.Tensor, references: int) -> torch.Tensor:
    zx, zr, grad = zx.contiguous(), zr.contiguous(), grad.contiguous()
    out = torch.empty_like(zr)
    rows = zr.shape[0] * references
    size = zr.numel() // max(1, rows)
    block = 1024
    if rows and size:
        _relu_kernel()[(rows, -(-size // block))](zx, zr, grad, out, size, references, BLOCK=block)
    return out


def _probe_relu(device: torch.device) -> None:
    z = torch.tensor([[[-1.0, 2.0, -1.0, 3.0, 0.0]], [[1.0, 1.0, 1.0, 1.0, 1.0]]], device=device)
    r = torch.tensor([[[-2.0, 1.0, 1.0, 3.0, 0.0]] * 2, [[1.0, -1.0, 2.0, 0.0, -3.0]] * 2], device=device)
    slopes = torch.tensor([[[0.0, 1.0, 0.5, 1.0, 0.0]] * 2, [[1.0, 0.5, 1.0, 1.0, 0.25]] * 2], device=device)
    torch.testing.assert_close(_sweep(z, r, 2 * torch.ones_like(r), 2), 2 * slopes)


class Backward(Following):
    """Run a backward pass with cheaper forms of some steps.

    Parameters
    ----------
    relu_is_ruled : bool
        Whether every ReLU of the graph has a rule. Its derivative is then not looked at and not computed.
    """

    def __init__(self, relu_is_ruled: bool):
        super().__init__()
        self.relu_is_ruled = relu_is_ruled

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run one operation of the backward pass, or a cheaper one with the same result."""
        if func is torch.ops.aten.threshold_backward.default and self.relu_is_ruled:
            return args[0]
        if func is torch.ops.aten.convolution_backward.default and list(args[10]) == [True, False, False]:
            grad, _, weight, _, stride, padding, dilation, transposed, _, groups = args[:10]
            plain = _is_plain(weight, stride, padding, dilation, transposed, groups)
            if plain and _is_faster_as_convolution(weight):
                return F.conv1d(grad, *_flipped(weight, padding, dilation)), None, None
        return func(*args, **(kwargs or {}))


def narrow_convolution(args: tuple) -> torch.Tensor | None:
    """Return the result of ``aten.convolution(*args)`` by a faster form, or None where there is none."""
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args
    plain = _is_plain(weight, stride, padding, dilation, transposed, groups)
    if x.ndim != 3 or weight.device.type != "cpu" or not plain or not _is_narrow(weight):
        return None
    flipped, _, _, padding, dilation = _flipped(weight, padding, dilation)
    return F.conv_transpose1d(x, flipped, bias, padding=padding, dilation=dilation)


def _flipped(weight: torch.Tensor, padding: Sequence[int], dilation: Sequence[int]) -> tuple:
    """Return weight, bias, stride, padding and dilation of the convolution that is the derivative of another."""
    around = dilation[0] * (weight.shape[2] - 1) - padding[0]
    return weight.flip(2).transpose(0, 1), None, 1, around, dilation[0]


def _is_plain(weight, stride, padding, dilation, transposed, groups) -> bool:
    """Tell whether a convolution's derivative by its input is a convolution."""
    return (
        weight.ndim == 3
        and not transposed
        and groups == 1
        and stride[0] == 1
        and dilation[0] * (weight.shape[2] - 1) >= padding[0]
    )


def _is_narrow(weight: torch.Tensor) -> bool:
    """Tell whether a convolution makes few channels of more with a wide kernel, a profile head."""
    return weight.shape[0] <= NARROW and weight.shape[2] >= WIDE_KERNEL and weight.shape[1] > weight.shape[0]


def _is_faster_as_convolution(weight: torch.Tensor) -> bool:
    """Tell whether a plain convolution's derivative by its input is faster as the convolution that it is."""
    if weight.device.type == "cpu":
        return _is_narrow(weight)
    short = weight.shape[2] <= SHORT_KERNEL and weight.shape[1] >= NARROW
    return weight.dtype == torch.float32 and (short or _is_narrow(weight))
