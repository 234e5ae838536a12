"""A convolution of a change with all that follows it in one pass over memory: Triton, for GPUs.

On a GPU the steps of a plan are bound by memory: the products of a dilated layer of 64 channels take a fiftieth of the
time that it takes to write them down and add them up tap by tap. Here a block of outputs stays on the chip from its
first tap to the rectifier: the change is read once, the result written once, and the backgrounds' values, which are the
same for all edits, come from the cache.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F

from marginome.devices import triton_is_interpreted, triton_works

# Up to this many channels a layer is bound by memory; beyond, matrix products of the vendor's library are ahead.
MOST_CHANNELS = 128
# Narrower than this, a block of the matrix unit would be mostly padding.
LEAST_CHANNELS = 16


def worthwhile(channels: int, outputs: int, dtype: torch.dtype) -> bool:
    """Whether a layer is one of those that this module is for."""
    return (
        LEAST_CHANNELS <= channels <= MOST_CHANNELS
        and LEAST_CHANNELS <= outputs <= MOST_CHANNELS
        # The interpreter (3.6) multiplies bfloat16 wrongly.
        and (dtype == torch.float32 or (dtype == torch.bfloat16 and not triton_is_interpreted()))
    )


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
    """Return ``(outputs, channels, taps)`` as ``(taps, channels, outputs)``."""
    return weight.permute(2, 1, 0).contiguous()


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
        STARTS: tl.constexpr, FLOORED: tl.constexpr, PRECISION: tl.constexpr,
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
        for k in tl.static_range(TAPS):
            source = position + k * dilation - shift
            inside = there & (source >= 0) & (source < width)
            at = pair.to(tl.int64) * x_pair + source.to(tl.int64) * x_position
            for first in tl.static_range(0, CHANNELS, BLOCK_CHANNELS):
                c = first + tl.arange(0, BLOCK_CHANNELS)
                values = tl.load(
                    x + at[:, None] + c[None, :], mask=inside[:, None] & (c < CHANNELS)[None, :], other=0.0
                )
                factors = tl.load(
                    weight + (k * CHANNELS + c[:, None]) * OUTPUTS + o[None, :],
                    mask=(c < CHANNELS)[:, None] & (o < OUTPUTS)[None, :],
                    other=0.0,
                )
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

    ``out[p, o, j] = max(start[p % b, o, j] + sum over k, c of x[p, c, j + k * dilation - shift] weight[k, c, o],
    floor[p % b, o, j])``, x being 0 outside its span.

    Parameters
    ----------
    x : torch.Tensor, shape (pairs, channels, width), float32 or bfloat16
        Changes, backgrounds fastest.
    weight : torch.Tensor, shape (taps, channels, outputs), contiguous
        Of x's dtype (`tap_weights`).
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
        Channels last in memory, of the dtype of `start` (else of x). Sums are float32; the factors are rounded to
        TF32 where PyTorch's own matrix products would be.
    """
    taps, channels, outputs = weight.shape
    if x.stride(1) != 1:
        x = channels_last_copy(x)
    pairs, _, width = x.shape
    given = [t for t in (start, floor) if t is not None]
    assert all(t.movedim(1, -1).is_contiguous() for t in given) and weight.is_contiguous()
    dtype = x.dtype if start is None else start.dtype
    out = torch.empty(pairs, out_width, outputs, dtype=dtype, device=x.device)
    rows = pairs * out_width
    block, block_channels, block_outputs = 64, min(64, _power_of_two(channels)), min(64, _power_of_two(outputs))
    _kernel()[(-(-rows // block), -(-outputs // block_outputs))](
        x, weight, x if start is None else start, x if floor is None else floor, out,
        rows, width, out_width, shift, dilation, len(given[0]) if given else 1, x.stride(0), x.stride(2),
        TAPS=taps, CHANNELS=channels, OUTPUTS=outputs,
        BLOCK=block, BLOCK_CHANNELS=block_channels, BLOCK_OUTPUTS=block_outputs,
        STARTS=start is not None, FLOORED=floor is not None,
        PRECISION="tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
    )  # fmt: skip
    return out.movedim(-1, 1)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
