"""Where a model runs and in which precision: resolving a device, and setting the precision of a block of code."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator

import torch

from .errors import MarginomeError, unknown_name

log = logging.getLogger(__name__)

PRECISIONS = ("float32", "tf32", "bfloat16", "float64")


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device to run on, or fail at once if it is not there.

    Parameters
    ----------
    device : str, torch.device or None
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; None takes CUDA where there is one, else the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    MarginomeError
        If the device is CUDA and this process sees none, or not that many, or the name is no device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise MarginomeError(
            f"'{device}' is not a device", where="device", remedy="Use 'cpu', 'cuda' or 'cuda:<number>'."
        ) from None
    if found.type == "cuda":
        if not torch.cuda.is_available():
            built = "" if torch.backends.cuda.is_built() else " (this PyTorch is built without CUDA)"
            raise MarginomeError(
                f"'{device}' was asked for, but no CUDA device is visible here{built}",
                where="device",
                remedy="Run on a machine with a GPU, check CUDA_VISIBLE_DEVICES, or set the device to cpu.",
            )
        if found.index is not None and found.index >= torch.cuda.device_count():
            raise MarginomeError(
                f"'{device}' was asked for, but there are {torch.cuda.device_count()} CUDA devices", where="device"
            )
    return found


def multiplies_bfloat16() -> bool:
    """Return whether the processor has instructions for products of bfloat16 (AVX512-BF16, AMX).

    Without them such products are slower than those of float32.
    """
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not public, so maybe not there
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)


def check_precision(precision: str) -> str:
    """Return `precision` if it is ``float32``, ``tf32``, ``bfloat16`` or ``float64``; raise MarginomeError if not."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS, where="precision")
    return precision


@contextlib.contextmanager
def precision_context(precision: str, device: torch.device, *, autocast: bool = True) -> Iterator[None]:
    """Run a block of code without gradients in one precision, and restore PyTorch's switches after it.

    Parameters
    ----------
    precision : str
        ``float32``: the weights' own dtype, TF32 off. ``tf32``: TF32 on for convolutions and matrix products (what
        PyTorch users get for convolutions on CUDA by default; no effect on a CPU). ``bfloat16``: autocast.
        ``float64``: as ``float32``, for a model whose weights are float64; nothing is cast here.
    device : torch.device
        Where the code runs.
    autocast : bool, optional
        Whether ``bfloat16`` switches autocast on. The incremental engine casts by itself and says False.

    Notes
    -----
    TF32 rounds the factors of a product to 10 bits of mantissa (relative error about 1e-3 per factor), bfloat16 to 7.
    """
    check_precision(precision)
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        # Autocast that the caller may have on is switched off for the other precisions.
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, precision == "bfloat16" and autocast):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that the device's memory was too small, so that less at a time may work."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    # The CPU allocator raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(
        words in text
        for words in ("can't allocate memory", "out of memory", "not enough memory", "STATUS_ALLOC_FAILED")
    )


def send(t: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device. What a GPU has queued is not waited for: it copies when its turn comes."""
    if device.type == "cuda" and t.device.type == "cpu":
        return t.contiguous().pin_memory().to(device, non_blocking=True)
    return t.to(device)


def free_memory(device: torch.device) -> None:
    """Give cached, unused device memory back (after running out of it)."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def device_name(device: torch.device) -> str:
    """Return what a device is, for records: ``CPU``, or the card, e.g. ``NVIDIA H100 80GB HBM3``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def synchronize(device: torch.device) -> None:
    """Wait for the device's queued work, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def available_memory(device: torch.device) -> int:
    """Return the bytes of memory that are free now: of the GPU, or of this machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as handle:
            for line in handle:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 * 2**30  # no /proc (macOS): a laptop's worth


def peak_memory(device: torch.device) -> int:
    """Return the peak bytes so far: allocated by PyTorch on a GPU, or resident in this process on a CPU.

    Notes
    -----
    The CPU's figure counts the whole process since its start; the GPU's counts since
    ``torch.cuda.reset_peak_memory_stats``.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def triton_is_interpreted() -> bool:
    """Whether Triton runs in its interpreter (``TRITON_INTERPRET=1``): on a CPU, slowly, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def triton_works(device: torch.device, probe: Callable[[torch.device], None]) -> bool:
    """Whether a kernel written in Triton can be used on a device: tried once per process, by `probe`.

    Parameters
    ----------
    device : torch.device
        Always False on a CPU, but under Triton's interpreter.
    probe : callable
        ``probe(device)`` runs the kernel on a small case and raises where its result is wrong.
    """
    if device.type != "cuda" and not triton_is_interpreted():
        return False
    return _triton_works(str(device), probe)


@functools.lru_cache
def _triton_works(device: str, probe: Callable[[torch.device], None]) -> bool:
    if importlib.util.find_spec("triton") is None:
        log.info("Triton is not installed: PyTorch's operations are used in place of our kernels")
        return False
    try:
        probe(torch.device(device))
    except Exception as error:  # whatever a compiler or driver comes up with: there is another way
        first = next(iter(str(error).splitlines()), "")
        log.warning(
            "Triton does not work here (%s: %s): PyTorch's operations are used instead",
            type(error).__name__, first[:200],
        )  # fmt: skip
        return False
    return True
