"""Kernels written in Triton: on a GPU, or under Triton's interpreter in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from marginome.attribution.kernels import relu_on_cpu, relu_on_gpu
from marginome.incremental import Edits, Engine, fused
from marginome.incremental.layout import channels_last
from marginome.sequences import random_one_hot
from workspace import cannot_run
from zoo import Dilated

ROOT = Path(__file__).parents[2]
ORACLE = ROOT / ".venv-oracle"  # where `make oracle` puts Triton, which a CPU build of PyTorch does not bring
# pairs, backgrounds, channels, outputs, width of the change, positions wanted, shift, dilation, taps
CASES = [
    (6, 2, 16, 16, 9, 13, 3, 1, 3),
    (12, 3, 16, 16, 33, 50, 10, 4, 3),
    (12, 3, 16, 32, 20, 40, 16, 8, 3),
    (5, 5, 48, 80, 7, 11, 2, 2, 3),  # channels that are no powers of two
    (4, 2, 128, 64, 5, 9, 2, 1, 2),
    (4, 1, 16, 16, 150, 160, 16, 16, 3),  # longer than a block
    (4, 2, 96, 112, 5, 4, 1, 1, 5),  # more channels and outputs than a block; cut off at both ends
    (3, 3, 16, 16, 4, 30, -20, 1, 3),  # far from the change: background alone
]


def by_definition(x, weight, out_width, shift, dilation, start, floor):
    """The sum over taps in float64, tap by tap."""
    room = 400
    wide = F.pad(x.double(), (room, room))
    out = torch.zeros(len(x), weight.shape[1], out_width, dtype=torch.float64, device=x.device)
    for k in range(weight.shape[0]):
        first = room + k * dilation - shift
        out += torch.einsum("pcj,oc->poj", wide[:, :, first : first + out_width], weight[k].double())
    if start is not None:
        out += start.double().repeat(len(x) // len(start), 1, 1)
    return out if floor is None else torch.maximum(out, floor.double().repeat(len(x) // len(floor), 1, 1))


def check_kernel(device: str, dtype: torch.dtype, tolerance: float) -> None:
    """Compare every case with its definition."""
    torch.manual_seed(0)

    def random(*shape):
        return channels_last(torch.randn(*shape, device=device).to(dtype))

    for pairs, b, channels, outputs, width, out_width, shift, dilation, taps in CASES:
        x, weight = random(pairs, channels, width), fused.tap_weights(random(outputs, channels, taps))
        start, floor = random(b, outputs, out_width), random(b, outputs, out_width)
        for given in ({}, {"start": start}, {"start": start, "floor": floor}):
            found = fused.convolve(x, weight, out_width, shift=shift, dilation=dilation, **given)
            truth = by_definition(x, weight, out_width, shift, dilation, given.get("start"), given.get("floor"))
            assert found.dtype == dtype and found.shape == truth.shape
            error = (found.double() - truth).abs().max() / truth.abs().max().clamp_min(1e-9)
            assert error <= tolerance, (pairs, channels, width, list(given), float(error))
    # a part of a wider change, which is not one block of memory
    x = random(4, 16, 30)[:, :, 5:25]
    weight = fused.tap_weights(random(16, 16, 3))
    found = fused.convolve(x, weight, 24, shift=4, dilation=2)
    assert (found.double() - by_definition(x, weight, 24, 4, 2, None, None)).abs().max() <= tolerance * 50


def check_relu(device: str) -> None:
    """Compare ReLU's multiplier with the secant's slope in float64."""
    torch.manual_seed(0)
    for x_shape, shape in (((3, 5, 7), (3, 5, 7)), ((3, 1, 5, 1100), (3, 4, 5, 1100)), ((2, 1), (2, 3))):
        zx, zr, grad = (torch.randn(s, device=device).round(decimals=1) for s in (x_shape, shape, shape))
        found = relu_on_gpu(zx, zr, grad)
        assert found is not None and found.dtype == torch.float32
        change = zx.double() - zr.double()
        secant = (zx.double().relu() - zr.double().relu()) / change
        slope = torch.where(change.abs() < 1e-6, (torch.maximum(zx, zr) > 0).double(), secant)
        torch.testing.assert_close(found.double(), slope * grad.double(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.cpu(), relu_on_cpu(zx.cpu(), zr.cpu(), grad.cpu()), rtol=1e-6, atol=1e-7)
    assert relu_on_gpu(zx.double(), zr.double(), grad.double()) is None  # PyTorch's operations


def check_engine(device: str, precision: str, tolerance: float) -> None:
    """Compare an engine that uses the kernel with the full pass, and see that it does use it."""
    torch.manual_seed(0)
    model = Dilated(filters=16, layers=4).eval()
    X = random_one_hot((3, 4, 160), random_state=0)
    used = []
    original = fused.convolve
    fused.convolve = lambda *a, **k: (used.append(k.get("floor")), original(*a, **k))[1]
    try:
        engine = Engine(model, X, device=device, engine="incremental", precision=precision)
        inserts = [random_one_hot((1, 4, w), random_state=w)[0] for w in (1, 7, 8, 12, 110)]
        inserts[-1][:, 6:-6] = 0  # two motifs: what each changes is computed apart
        edits = Edits.stack(inserts, [0, 70, 71, 148, 25])
        engine._path.always_apart = True
        used.clear()
        for (_, _, found), (_, _, truth) in zip(engine.run(edits), Engine(model, X, engine="full").run(edits)):
            for a, b in zip(found, truth):
                assert (a.cpu() - b).abs().max() <= tolerance * b.abs().max()
        assert any(floor is not None for floor in used)
        assert any(hole is not None for _, _, hole in engine._path._plans)
        assert engine.info.precision_error <= tolerance
    finally:
        fused.convolve = original


def test_under_the_interpreter():
    paths = [str(ROOT / "workflow" / "lib"), str(ROOT / "tests"), str(ORACLE)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)}
    there = subprocess.run([sys.executable, "-c", "import triton"], env=environment, capture_output=True)
    if there.returncode:
        cannot_run("Triton is not installed (make oracle)")
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "kernels and engine agree" in done.stdout


def test_off_a_gpu_it_is_not_used():
    assert not fused.is_usable(torch.device("cpu"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    "precision, dtype, tolerance",
    [("float32", torch.float32, 1e-6), ("tf32", torch.float32, 5e-3), ("bfloat16", torch.bfloat16, 2e-2)],
)
def test_on_a_gpu(precision, dtype, tolerance, monkeypatch):
    assert fused.is_usable(torch.device("cuda")), "the log says why"
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", precision == "tf32")
    check_kernel("cuda", dtype, tolerance)
    check_engine("cuda", precision, max(tolerance, 1e-5))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_relu_on_a_gpu():
    check_relu("cuda")


if __name__ == "__main__":
    torch.set_num_threads(1)  # the interpreter knows one program at a time
    assert fused.is_usable(torch.device("cpu"))
    check_kernel("cpu", torch.float32, 1e-6)
    check_engine("cpu", "float32", 1e-5)
    check_relu("cpu")
    print("kernels and engine agree")
