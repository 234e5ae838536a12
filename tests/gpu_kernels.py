"""The kernels for GPUs, compiled for GPUs that are not here: what the machine code costs.

Triton needs a GPU to run a kernel, not to compile it: its wheel brings NVIDIA's assembler. ``make kernels`` compiles
every form that is offered and prints registers, bytes that spill to memory (any in a loop makes a kernel slower than
none), and the instructions that multiply: wgmma is Hopper's matrix unit, mma Ampere's.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from marginome.incremental import fused

GPUS = (80, 86, 90)  # A100; A10, RTX 30; H100, H200
CHANNELS = (*range(16, 129, 16), 192, 256, 384, 512)
POINTERS = ("x", "weight", "start", "floor", "out")
# What the launcher finds to be multiples of 16 for layers of that many channels.
EVEN = (*POINTERS, "x_pair", "x_position")


class Layer(NamedTuple):
    """A kind of layer on a kind of GPU."""

    gpu: int
    dtype: torch.dtype
    tf32: bool
    channels: int
    outputs: int
    taps: int


class Cost(NamedTuple):
    """What the machine code of a kernel takes: registers of a thread, bytes of it that spill, instructions, bytes."""

    registers: int
    spilled: int
    wgmma: int
    mma: int
    ahead: int
    shared: int


def compiled(layer: Layer) -> Cost | None:
    """Compile the kernel for a layer; None where none is offered."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    form = fused.form(layer.channels, layer.outputs, layer.dtype, layer.tf32)
    if form is None:
        return None
    kernel = fused._kernel()
    names = kernel.arg_names
    constants = {
        "TAPS": layer.taps, "CHANNELS": layer.channels, "OUTPUTS": layer.outputs, "BLOCK": form.rows,
        "BLOCK_CHANNELS": form.channels, "BLOCK_OUTPUTS": form.outputs, "STARTS": True, "FLOORED": True,
        "PRECISION": form.precision, "STAGES": fused.STAGES,
    }  # fmt: skip
    low = "*bf16" if layer.dtype == torch.bfloat16 else "*fp32"
    kinds = {"x": low, "weight": low} | dict.fromkeys(("start", "floor", "out"), "*fp32")
    source = ASTSource(
        fn=kernel,
        signature={name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in EVEN},
    )
    options = {"num_warps": fused.WARPS, "num_stages": fused.STAGES}
    made = triton.compile(source, target=GPUTarget("cuda", layer.gpu, 32), options=options)
    ptx = made.asm["ptx"]
    ptxas = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    chip = f"sm_{layer.gpu}a" if layer.gpu == 90 else f"sm_{layer.gpu}"
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [ptxas, f"-arch={chip}", "-v", file.name, "-o", "/dev/null"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    (registers,) = re.findall(r"(\d+) registers", told)
    spilled = sum(map(int, re.findall(r"(\d+) bytes spill", told)))
    instructions = [ptx.count(word) for word in ("wgmma.mma_async", "mma.sync", "cp.async.c")]
    return Cost(int(registers), spilled, *instructions, made.metadata.shared)


def fault(layer: Layer, cost: Cost) -> str:
    """Say what is wrong with a kernel; nothing if nothing is."""
    if cost.spilled:
        return f"{cost.spilled} bytes spill"
    if not cost.ahead:
        return "no load runs ahead"
    if not (cost.wgmma if layer.gpu == 90 else cost.mma):
        return "not on the matrix unit"
    return ""


def main() -> None:
    """Compile what is offered, print a table, and fail if anything is wrong with one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS)
    parser.add_argument("--channels", type=int, nargs="+", default=list(CHANNELS))
    parser.add_argument("--taps", type=int, nargs="+", default=[3])
    args = parser.parse_args()
    kinds = [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)]
    wrong = 0
    print("| GPU | channels | taps | precision | registers | spilled | wgmma | mma | loads ahead | shared |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for gpu, channels, taps, (dtype, tf32) in itertools.product(args.gpus, args.channels, args.taps, kinds):
        layer = Layer(gpu, dtype, tf32, channels, channels, taps)
        cost = compiled(layer)
        if cost is None:
            continue
        name = "bfloat16" if dtype == torch.bfloat16 else fused.form(channels, channels, dtype, tf32).precision
        told = fault(layer, cost)
        wrong += bool(told)
        print(f"| sm_{gpu} | {channels} | {taps} | {name} | {' | '.join(map(str, cost))} | {told}", flush=True)
    if wrong:
        sys.exit(f"{wrong} kernels should not be offered")


if __name__ == "__main__":
    main()
