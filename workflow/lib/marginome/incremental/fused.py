"""A convolution of a change with all that follows it in one pass over memory: Triton, for GPUs.

On a GPU the steps of a plan are bound by memory: the products of a dilated layer of 64 channels take a fiftieth of the
time that it takes to write them down and add them up tap by tap. Here a block of outputs stays on the chip from its
first tap to the rectifier: the change is read once, the result written once, and the backgrounds' values, which are the
same for all edits, come from the cache.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F

from marginome.devices import triton_is_interpreted, triton_works

# Measured up to this many channels: 1.3 to 2.9 times as fast as PyTorch's steps at 256 and 512 (docs/engine.md).
MOST_CHANNELS = 512


class Form(NamedTuple):
    """How the kernel is cut for a kind of layer.

    Attributes
    ----------
    precision : str
        Of the products, as Triton names it. ``tf32x3``: three products of TF32 on the matrix unit, each factor being
        the sum of two numbers of TF32; the error is about float32's, for which the matrix unit has no instruction.
    rows, outputs : int
        Outputs of one block: positions, channels.
    channels : int
        Channels of the input that are on the chip at a time.
    """

    precision: str
    rows: int
    outputs: int
    channels: int


WARPS, STAGES = 4, 3  # threads / 32 of a block; loads that run ahead of the arithmetic


def form(channels: int, outputs: int, dtype: torch.dtype, tf32: bool) -> Form | None:
    """Return how a layer is computed here, or None if PyTorch's own steps compute it.

    Parameters
    ----------
    channels, outputs : int
        Of the convolution. Multiples of 16, the least that a matrix unit takes, up to `MOST_CHANNELS`.
    dtype : torch.dtype
        Of changes and weights: float32 or bfloat16.
    tf32 : bool
        Whether factors of float32 may be rounded to TF32.

    Notes
    -----
    The sizes are those that were fastest in a race of 108 forms on an H200 and need no memory for registers that
    spill (``make kernels`` compiles them for Ampere and Hopper; docs/engine.md has the race).
    """
    fits = all(n % 16 == 0 and 16 <= n <= MOST_CHANNELS for n in (channels, outputs))
    if not fits or dtype not in (torch.float32, torch.bfloat16):
        return None
    if dtype == torch.bfloat16 and triton_is_interpreted():
        return None  # the interpreter (3.6) multiplies bfloat16 wrongly
    precision = "tf32" if dtype == torch.bfloat16 or tf32 else "tf32x3"
    most = 64 if dtype == torch.bfloat16 else 32  # 64 of three products spill on Ampere
    return Form(precision, 64, min(64, _power_of_two(outputs)), min(most, channels & -channels))


def worthwhile(channels: int, outputs: int, dtype: torch.dtype) -> bool:
    """Whether a layer is one of those that this module is for."""
    return form(channels, outputs, dtype, False) is not None


def is_usable(device: torch.device) -> bool:
    """Whether the kernel compiles and computes rightly on a device."""
    return triton_works(device, _probe)


def _probe(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 16, 9, generator=generator).to(device)
    weight = torch.randn(16, 16, 3, generator=generator).to(device)
    truth = F.conv1d(x, weight, padding=3)
    for dtype in (torch.float32, torch.bfloat16):
        if worthwhile(16, 16, dtype):
            given = channels_last_copy(x.to(dtype)), tap_weights(weight.to(dtype))
            found = convolve(*given, 13, shift=3, dilation=1)
            torch.testing.assert_close(found.float(), truth, rtol=1e-2, atol=0.2)


def channels_last_copy(t: torch.Tensor) -> torch.Tensor:
    """Return ``(n, channels, positions)`` with the channels last in memory."""
    return t.movedim(1, -1).contiguous().movedim(-1, 1)


def tap_weights(weight: torch.Tensor) -> torch.Tensor:
    """Return ``(outputs, channels, taps)`` as ``(taps, outputs, channels)``: as Hopper's matrix unit reads them."""
    return weight.permute(2, 0, 1).contiguous()


@functools.lru_cache
def _kernel():
    import triton
    import triton.language as tl

    @triton.jit(do_not_specialize=["rows", "width", "out_width", "shift", "dilation", "backgrounds"])
    def taps_of_changes(
        x, weight, start, floor, out,
        rows, width, out_width, shift, dilation, backgrounds, x_pair, x_position,
        TAPS: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
        BLOCK: tl.constexpr, BLOCK_CHANNELS: tl.constexpr, BLOCK_OUTPUTS: tl.constexpr,
        STARTS: tl.constexpr, FLOORED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
    ):  # fmt: skip
        # One row per output position of a pair: narrow changes fill a block together.
        row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        o = tl.program_id(1) * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)
        there = row < rows
        pair = row // out_width
        position = row - pair * out_width
        kept = there[:, None] & (o < OUTPUTS)[None, :]
        # Pairs have their backgrounds fastest.
        before = ((pair % backgrounds) * out_width + position).to(tl.int64)[:, None] * OUTPUTS + o[None, :]
        acc = tl.zeros((BLOCK, BLOCK_OUTPUTS), tl.float32)
        if STARTS:
            acc += tl.load(start + before, mask=kept, other=0.0).to(tl.float32)
        c = tl.arange(0, BLOCK_CHANNELS)
        base = x + pair.to(tl.int64) * x_pair
        PARTS: tl.constexpr = CHANNELS // BLOCK_CHANNELS
        # One loop over taps and channels, not unrolled: the compiler lets the loads of the next rounds run ahead.
        for i in tl.range(0, TAPS * PARTS, num_stages=STAGES):
            k = i // PARTS
            first = (i % PARTS) * BLOCK_CHANNELS
            source = position + k * dilation - shift
            inside = there & (source >= 0) & (source < width)
            at = base[:, None] + (source.to(tl.int64) * x_position)[:, None] + (first + c)[None, :]
            values = tl.load(at, mask=inside[:, None], other=0.0)
            factor = weight + (k * OUTPUTS + o[None, :]) * CHANNELS + first + c[:, None]
            if OUTPUTS % BLOCK_OUTPUTS == 0:
                factors = tl.load(factor)
            else:
                factors = tl.load(factor, mask=(o < OUTPUTS)[None, :], other=0.0)
            acc = tl.dot(values, factors, acc, input_precision=PRECISION)
        if FLOORED:
            acc = tl.maximum(acc, tl.load(floor + before, mask=kept, other=0.0).to(tl.float32))
        to = row.to(tl.int64)[:, None] * OUTPUTS + o[None, :]
        tl.store(out + to, acc.to(out.dtype.element_ty), mask=kept)

    return taps_of_changes


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    out_width: int,
    *,
    shift: int,
    dilation: int,
    start: torch.Tensor | None = None,
    floor: torch.Tensor | None = None,
) -> torch.Tensor:
    """Convolve changes with stride 1, add them to background values, and cut the sum off below.

    ``out[p, o, j] = max(start[p % b, o, j] + sum over k, c of x[p, c, j + k * dilation - shift] weight[k, o, c],
    floor[p % b, o, j])``, x being 0 outside its span.

    Parameters
    ----------
    x : torch.Tensor, shape (pairs, channels, width), float32 or bfloat16
        Changes, backgrounds fastest.
    weight : torch.Tensor, shape (taps, outputs, channels), contiguous
        Of x's dtype (`tap_weights`), of a shape that has a `form`.
    out_width : int
        Positions of the result.
    shift : int
        Position 0 of x, counted from where the first tap of output 0 reads.
    dilation : int
        Positions between taps.
    start, floor : torch.Tensor, shape (b, outputs, out_width), optional
        Background values, channels last in memory; none is added, nothing cut off without.

    Returns
    -------
    torch.Tensor, shape (pairs, outputs, out_width)
        Channels last in memory, of the dtype of `start` (else of x). Sums are float32; factors of float32 are rounded
        to TF32 where PyTorch's own matrix products would be, else each is the sum of two numbers of TF32.
    """
    taps, outputs, channels = weight.shape
    cut = form(channels, outputs, x.dtype, torch.backends.cuda.matmul.allow_tf32)
    assert cut is not None, (channels, outputs, x.dtype)
    if x.stride(1) != 1:
        x = channels_last_copy(x)
    pairs, _, width = x.shape
    given = [t for t in (start, floor) if t is not None]
    assert all(t.movedim(1, -1).is_contiguous() for t in given) and weight.is_contiguous()
    dtype = x.dtype if start is None else start.dtype
    out = torch.empty(pairs, out_width, outputs, dtype=dtype, device=x.device)
    rows = pairs * out_width
    _kernel()[(-(-rows // cut.rows), -(-outputs // cut.outputs))](
        x, weight, x if start is None else start, x if floor is None else floor, out,
        rows, width, out_width, shift, dilation, len(given[0]) if given else 1, x.stride(0), x.stride(2),
        TAPS=taps, CHANNELS=channels, OUTPUTS=outputs,
        BLOCK=cut.rows, BLOCK_CHANNELS=cut.channels, BLOCK_OUTPUTS=cut.outputs,
        STARTS=start is not None, FLOORED=floor is not None, PRECISION=cut.precision, STAGES=STAGES,
        num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
    return out.movedim(-1, 1)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
