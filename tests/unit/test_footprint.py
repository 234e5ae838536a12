"""Memory of models of long sequences: what activations take, how many sequences go together, what a process takes."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from marginome import deep_lift_shap, integrated_gradients
from marginome.background_set import BackgroundSet, composition_table, write_background
from marginome.footprint import Live, sequences_at_once
from marginome.incremental import Edits, Engine, paths
from marginome.sequences import random_one_hot
from workspace import ROOT
from zoo import Dilated

KB = 4 * 4 * 64  # of four channels at 64 positions


def twice(X: torch.Tensor, *args: torch.Tensor) -> torch.Tensor:
    for _ in range(5):
        X = X + 1  # the old one and the new one
    return X.sum((1, 2))


def test_what_is_there_at_once_is_followed():
    X = torch.zeros(3, 4, 64)
    with Live() as live:
        twice(X)
    assert live.peak == 3 * 2 * KB
    weights = torch.zeros(4, 4000)
    with Live() as live:  # a view of a weight, and a product of 4 numbers at 64 positions
        torch.einsum("ncl,cd->ndl", X, weights.view(4000, 4)[:4])
    assert 3 * KB <= live.peak < 4 * 3 * KB
    with Live() as live:
        held = [X + i for i in range(5)]
    assert live.peak == sum(x.nbytes for x in held)


@pytest.mark.parametrize(("memory", "size"), [(1, 1), (2 * KB, 1), (7 * KB, 3), (64 * KB, 32), (10**9, 32)])
def test_sequences_go_together_as_far_as_there_is_memory(memory, size):
    seen = []

    def run(X, args):
        seen.append(len(X))
        return twice(X, *args)

    X = random_one_hot((5, 4, 64), random_state=0).float()
    assert sequences_at_once(run, X, (torch.zeros(5, 2),), memory_bytes=memory, most=32) == size
    assert seen == ([] if memory == 10**9 else [1])  # nothing is run where nothing can be in the way


# 32 channels at 131,072 positions are 17 MB, 1,000 tracks in 4,096 bins too; the last layers see every position.
_MODEL = """
import torch

class Long(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        widths = [4, 32, 32, 32, 32, 32]
        self.tower = torch.nn.Sequential(*(
            torch.nn.Sequential(torch.nn.Conv1d(a, b, 5, padding=2), torch.nn.GELU(), torch.nn.MaxPool1d(2))
            for a, b in zip(widths, widths[1:])
        ))
        self.head = torch.nn.Conv1d(32, 1000, 1)

    def forward(self, X):
        X = self.tower(X)
        return torch.nn.functional.softplus(self.head(X + X.mean(-1, keepdim=True)))
"""
_PEAK = """
import resource, sys, torch
torch.set_num_threads(1)
from marginome import random_one_hot
from marginome.incremental import Edits, Engine
from marginome.jobs.predict_baseline import predict_baselines, read_backgrounds
from marginome.batch_files import write_records
from marginome.models import load_model
folder, what = sys.argv[1:]
outputs = {"y": {"index": "[3, 5], 2040:2050", "reduce": {"how": "mean", "axes": [2]}, "names": ["a", "b"]}}
settings = {"loader": f"{folder}/long.py:Long", "input_length": 131072, "outputs": outputs}
write_records(f"{folder}/check.json", {"m": {}}, {})
model = load_model("m", settings)
ids, X = read_backgrounds(f"{folder}/set.fa.gz")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
if what == "baseline":
    engine = {"precision": "float32", "memory_mb": 400}
    predict_baselines({"m": settings}, digests={"m": {}}, engine=engine, device="cpu", check=f"{folder}/check.json",
                      fasta=f"{folder}/set.fa.gz", predictions=f"{folder}/baseline.h5")
else:
    engine = Engine(model.readouts(), X, device="cpu", engine=what, memory_bytes=400 << 20)
    edits = Edits.stack([random_one_hot((1, 4, 12), random_state=i)[0] for i in range(3)], [65530, 65530, 100])
    found = torch.full((3, len(X), 2), torch.nan)
    for some, which, y in engine.run(edits):
        found[some, which] = y["y"]
    torch.save(found, f"{folder}/{what}.pt")
    assert engine.info.path == what and not engine.info.full_units, engine.info
print(peak() - before)
"""


def write_long(folder, n: int) -> None:
    """Random sequences of 131,072 bp as a background set."""
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)[np.random.default_rng(0).integers(0, 4, (n, 131072))]
    ids, sequences = [f"s{i}" for i in range(n)], [row.tobytes().decode() for row in bases]
    made = BackgroundSet("set", ids, sequences, None, composition_table(ids[:1], sequences[:1], ["x"]))
    write_background(made, fasta=folder / "set.fa.gz", bed=folder / "set.bed")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_long_models_keep_to_the_memory_of_the_run(tmp_path):
    """32 sequences at a time would take some 1,600 MB; what is kept of a background whole, 170 MB."""
    (tmp_path / "long.py").write_text(_MODEL)
    write_long(tmp_path, 12)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow" / "lib")}
    for what in ("baseline", "incremental", "full"):
        done = subprocess.run([sys.executable, "-c", _PEAK, str(tmp_path), what], capture_output=True, text=True,
                              env=environment)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        # 300 MB more are for what kernels and libraries take, and one sequence in float64, in which a path is checked
        assert float(done.stdout.splitlines()[-1]) < 400 + 300, what
    a, b = (torch.load(tmp_path / f"{what}.pt") for what in ("incremental", "full"))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


_ATTRIBUTED = """
import resource, sys, torch
torch.set_num_threads(1)
from marginome import random_one_hot
from marginome.attribution.functions import FUNCTIONS, Asked
from marginome.models import load_model
from marginome.prediction import Readout
folder, what, memory = sys.argv[1:]
outputs = {"y": {"index": "3, 2040:2050", "reduce": {"how": "mean", "axes": [1]}}}
model = load_model("m", {"loader": f"{folder}/long.py:Long", "input_length": 131072, "outputs": outputs})
X = random_one_hot((1, 4, 131072), random_state=0)
references = random_one_hot((4, 4, 131072), random_state=1)[None]
target = Readout(model.readouts(), "y").eval()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if what == "integrated_gradients":
    X, references = X[..., :32768].repeat(1, 1, 4), references[:, :1]  # 50 points
before = peak()
found = FUNCTIONS[what](Asked(target, X, None, 0, lambda: references, torch.device("cpu"), "float32", "full",
                              span=(65536, 65544), quiet=True, memory_bytes=int(memory) << 20))
torch.save(found.attributions, f"{folder}/{what}.pt")
print(peak() - before)
"""


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("what", "memory", "most"),
    [("deep_lift_shap", 900, 1000), ("integrated_gradients", 1200, 1200), ("saturation_mutagenesis", 400, 600)],
)
def test_attributions_of_long_models_keep_to_the_memory_of_the_run(tmp_path, what, memory, most):
    """Where no memory is named, four pairs, 32 points and 24 edits go together: 1.4, 5.3 and 1.1 GB."""
    (tmp_path / "long.py").write_text(_MODEL)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow" / "lib")}
    done = subprocess.run([sys.executable, "-c", _ATTRIBUTED, str(tmp_path), what, str(memory)], capture_output=True,
                          text=True, env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout.splitlines()[-1]) < most
    assert float(torch.load(tmp_path / f"{what}.pt").abs().max()) > 0


_JOBS = """
import resource, sys, torch
torch.set_num_threads(1)
from marginome.jobs import apply_functions, attribute
folder, what = sys.argv[1:]
settings = {"loader": f"{folder}/short.py:Short", "input_length": 131072, "outputs": {"y": {}}}
engine = {"precision": "float32", "engine": "auto", "threads": 1, "memory_mb": 100}
given = {"name": "x", "seed": 1, "engine": engine, "device": "cpu", "fasta": f"{folder}/set.fa.gz", "shard": "1-of-1",
         "output": f"{folder}/{what}.h5"}
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
if what == "loci":
    entry = {"output": None, "target": None, "method": "deep_lift_shap", "max_delta": 1.0, "on_exceed": "warn",
             "references": {"kind": "dinucleotide_shuffle", "n": 60}, "precision_bits": 32}
    attribute.attribute_shard(settings, model="m", digests={}, attribution=entry, references=None, **given)
else:
    screen = {"outputs": None, "functions": ["deep_lift_shap"],
              "function_settings": {"references": "dinucleotide_shuffle", "n_references": 4, "flank": 5}}
    apply_functions.apply_functions({"m": settings}, digests={"m": {}}, screen=screen, inserts=None, **given)
print(peak() - before)
"""
_SHORT = """
import torch
class Short(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = torch.nn.Conv1d(4, 4, 128, stride=128), torch.nn.Linear(4, 1)
    def forward(self, X):
        return self.head(torch.relu(self.conv(X)).mean(-1))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("what", "n", "most"), [("loci", 8, 480), ("functions", 60, 390)])
def test_jobs_hold_a_few_long_sequences_at_a_time(tmp_path, what, n, most):
    """Shuffles of eight loci together take 250 MB, attributions of 60 backgrounds 240 MB once joined."""
    (tmp_path / "short.py").write_text(_SHORT)
    write_long(tmp_path, n)
    done = subprocess.run([sys.executable, "-c", _JOBS, str(tmp_path), what], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT / "workflow" / "lib")})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout.splitlines()[-1]) < most


@pytest.mark.parametrize("function", [deep_lift_shap, integrated_gradients])
def test_a_memory_changes_no_attribution(function, monkeypatch):
    """However many go together; the least is one, and what is measured is remembered."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv1d(4, 8, 9), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 162, 1)]
    model, X = torch.nn.Sequential(*layers), random_one_hot((3, 4, 170), random_state=0).float()
    references, seen = random_one_hot((15, 4, 170), random_state=1).float().unflatten(0, (3, 5)), []
    run = model.forward
    model.forward = lambda X: seen.append(len(X)) or run(X)
    given = {"references": references, "device": "cpu", "warning_threshold": float("inf")}
    wanted = function(model, X, **given)
    for memory, most in ((1, 1), (10**9, max(seen))):
        seen.clear()
        found = function(model, X, memory_bytes=memory, **given)
        assert max(seen) == most
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    times = len(seen)
    function(model, X, memory_bytes=10**9, **given)
    assert len(seen) < 2 * times  # without measuring


def test_a_batch_of_pairs_has_as_many_as_there_is_room_for_at_once(monkeypatch):
    """A GPU wants larger batches than the memory would hold if all stayed that moves."""
    monkeypatch.setitem(paths.BATCH_BYTES, "cpu", paths.BATCH_BYTES["cuda"])
    torch.manual_seed(0)
    model, X = Dilated(filters=32, layers=6).eval(), random_one_hot((6, 4, 170), random_state=0)
    memory = 40 << 20
    path = Engine(model, X, memory_bytes=memory, engine="incremental")._path
    edits = Edits(random_one_hot((200, 4, 9), random_state=1), torch.full((200,), 80))
    plan = path.plan(80, 89)
    with Live() as live:
        found = path.product(edits, slice(0, 6))
    outputs = sum(t.nbytes for t in pytree.tree_leaves(found))
    at_a_time = path._pairs_at_a_time(plan)
    assert 4 * memory / 4 / plan.bytes < at_a_time < 1200  # more than if all that moves stayed, and several batches
    assert (
        live.peak - outputs < 0.3 * memory
    )  # a quarter for the batch; its inserts and the backgrounds' values besides
    few = Engine(model, X, engine="incremental", memory_bytes=4 << 30)
    for a, b in zip(pytree.tree_leaves(found), pytree.tree_leaves(few._path.product(edits, slice(0, 6)))):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("memory", "shrink", "found"),
    [
        (1e9, 1, {1: 1, 5: 5, 6: 6, 7: 7, 8: 4, 14: 7, 15: 5, 64: 7}),  # up to 7 at once: 64 in ten batches, not 13
        (100, 1, {5: 5, 6: 3, 8: 4, 64: 5}),  # a quarter of the memory has no room for 7 pairs of 4 bytes
        (1e9, 2, {5: 5, 6: 3, 8: 4, 64: 5}),  # memory ran out before
    ],
)
def test_a_few_edits_more_than_a_batch_are_no_batch_of_their_own(memory, shrink, found):
    path, plan = SimpleNamespace(memory_bytes=memory, _shrink=shrink), SimpleNamespace(bytes=4)
    assert {edits: paths.Incremental._edits_at_a_time(path, edits, 5, plan) for edits in found} == found
