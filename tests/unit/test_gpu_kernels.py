"""The kernels for GPUs, compiled for GPUs that are not here (``make kernels`` compiles all that are offered)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from gpu_kernels import Cost, Layer, fault
from marginome.incremental import fused
from workspace import ROOT, cannot_run


def test_what_is_offered_neither_spills_nor_leaves_the_matrix_unit():
    # in a process of its own: Triton lies in a folder that no other test should import from
    paths = os.pathsep.join(str(ROOT / part) for part in ("workflow/lib", ".venv-oracle"))
    environment = {**os.environ, "PYTHONPATH": paths}
    there = subprocess.run([sys.executable, "-c", "import triton.language"], env=environment, capture_output=True)
    if there.returncode:
        cannot_run("Triton is not installed (make oracle)")
    command = [sys.executable, ROOT / "tests" / "gpu_kernels.py", "--gpus", "80", "90", "--channels"]
    done = subprocess.run(
        [*command, "16", "32", "48", "64", "512"], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("| sm_") == 2 * 5 * 3  # GPUs, channels, precisions


def test_faults_are_seen():
    hopper, ampere = (Layer(gpu, torch.float32, True, 64, 64, 3) for gpu in (90, 80))
    right = Cost(registers=142, spilled=0, wgmma=4, mma=0, ahead=30, shared=49152)
    assert fault(hopper, right) == ""
    assert fault(ampere, right._replace(wgmma=0, mma=32)) == ""
    assert "spill" in fault(hopper, right._replace(spilled=8))
    assert "ahead" in fault(hopper, right._replace(ahead=0))
    assert "matrix unit" in fault(hopper, right._replace(wgmma=0, mma=32))
    assert "matrix unit" in fault(ampere, right)


@pytest.mark.parametrize(
    "channels, outputs, dtype",
    [(8, 64, torch.float32), (64, 24, torch.float32), (528, 64, torch.float32), (64, 64, torch.float64)],
)
def test_what_is_not_offered_takes_the_steps_of_pytorch(channels, outputs, dtype):
    assert fused.form(channels, outputs, dtype, False) is None
