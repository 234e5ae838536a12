"""DeepLIFT/SHAP side by side with tangermeme 1.6.0, in one process, taking turns.

Run from the repository: ``python tests/benchmarks/bench_attribution.py [--device cuda] [--threads 2]``. Prints pairs of
sequence and reference per second (medians), their ratio, and how far the attributions are apart (largest difference
over largest attribution; for shuffles made inside the call there is none, since the two draw differently).
On a GPU TF32 is off on both sides. The profile readout multiplies two quantities that depend on the sequence, for which
tangermeme has no rule outside its own BilinearOp: there the column of errors shows that, not rounding.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from itertools import pairwise
from pathlib import Path

import torch
from tangermeme.deep_lift_shap import deep_lift_shap as peer
from torch import nn

from marginome import Readout, deep_lift_shap, dinucleotide_shuffle, load_model, random_one_hot
from marginome.attribution import EditAttributor
from marginome.incremental import Edits

ROOT = Path(__file__).parents[2]
N_REFS = 20


class Pooled(nn.Module):
    """Six convolutions and two poolings on 2,000 bp, shaped like DeepSEA "Beluga", a quarter of its width."""

    def __init__(self):
        super().__init__()
        widths = [4, 80, 80, 120, 120, 160, 160]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.Conv1d(a, b, 8), nn.ReLU()]
            if i in (1, 3):
                layers.append(nn.MaxPool1d(4, 4))
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(200), nn.ReLU(), nn.Linear(200, 10))

    def forward(self, X):
        return self.layers(X)


clock = time.perf_counter


def seconds(function, device: str) -> float:
    """Time one call."""
    start = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def compare(
    name: str, model: nn.Module, length: int, n: int, given: bool, device: str, batch: int, repeats: int
) -> float:
    """Print one line of the table; return the ratio."""
    X = random_one_hot((n, 4, length), random_state=0)
    made = dinucleotide_shuffle(X, n=N_REFS, random_state=0)
    options = {"references": made} if given else {"n_shuffles": N_REFS, "random_state": 0}

    def ours():
        return deep_lift_shap(model, X, device=device, **options)

    def theirs():
        return peer(model, X, device=device, batch_size=batch, **options)

    a, b = ours(), theirs()  # also warms up
    error = f"{float((a - b).abs().max() / b.abs().max()):.1e}" if given else "-"
    times = [(seconds(ours, device), seconds(theirs, device)) for _ in range(repeats)]
    mine, other = (statistics.median(t) for t in zip(*times))
    pairs = n * N_REFS
    print(f"{name:42s} {pairs / mine:10.1f} {pairs / other:10.1f} {other / mine:7.2f}x {error:>9s}", flush=True)
    return other / mine


def compare_edits(
    name: str, model: nn.Module, length: int, n: int, m: int, device: str, batch: int, repeats: int
) -> None:
    """Print one line: inserts of 10 bp in backgrounds that are their own references."""
    X = random_one_hot((n, 4, length), random_state=0)
    inserts = random_one_hot((m, 4, 10), random_state=1)
    edits = Edits.stack(list(inserts.repeat_interleave(n, 0)), [length // 2 - 5] * (m * n))
    index = torch.arange(n).repeat(m)
    some = slice(0, n if device == "cpu" else m * n)  # the peer's rate does not depend on the number
    before, after = X[index[some]], edits.take(some).apply(X[index[some]])
    attribute = EditAttributor(model, X, device=device)

    def ours():
        return attribute(edits, index).attributions

    def theirs():
        return peer(model, after.float(), references=before.float().unsqueeze(1), device=device, batch_size=batch)

    a, b = ours(), theirs()[:, :, length // 2 - 5 : length // 2 + 5]
    error = f"{float((a[some] - b).abs().max() / b.abs().max()):.1e}"
    times = [(seconds(ours, device) / len(index), seconds(theirs, device) / len(after)) for _ in range(repeats)]
    mine, other = (statistics.median(t) for t in zip(*times))
    print(f"{name:42s} {1 / mine:10.1f} {1 / other:10.1f} {other / mine:7.2f}x {error:>9s}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sequences", type=int, help="2 on a CPU and 64 on a GPU by default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: processor time, for one thread")
    parser.add_argument("--only", default="references,edits")
    options = parser.parse_args()
    global clock
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    warnings.simplefilter("ignore")
    gpu = options.device.startswith("cuda")
    n, batch = options.sequences or (64 if gpu else 2), 512 if gpu else 32

    weights = ROOT / "resources/models/bpnet_ctcf_k562_2114.state_dict.pt"
    bpnet = load_model("bpnet", {"loader": "bpnet_lite", "weights": str(weights), "input_length": 2114}).module
    torch.manual_seed(0)
    pooled = Pooled().eval()
    with torch.no_grad():
        pooled(torch.zeros(1, 4, 2000))

    name = torch.cuda.get_device_name() if gpu else f"{options.threads} threads"
    print(f"{name}, torch {torch.__version__}, {n} sequences x {N_REFS} references, {options.repeats} repeats")
    print(f"{'pairs per second':42s} {'marginome':>10s} {'tangermeme':>10s} {'ratio':>8s} {'error':>9s}")
    for given in (True, False) if "references" in options.only else ():
        source = "references given" if given else "with own shuffles"
        for label, model, length in (
            ("BPNet counts, 2,114 bp", Readout(bpnet, 1), 2114),
            ("BPNet profile, 2,114 bp", Readout(bpnet, 0, reduce="profile"), 2114),
            ("pooled, 2,000 bp", pooled, 2000),
        ):
            compare(f"{label}, {source}", model, length, n, given, options.device, batch, options.repeats)
    if "edits" not in options.only:
        return
    n, m = (64, 16) if gpu else (16, 4)
    print(f"\n{m} inserts of 10 bp in {n} backgrounds, each background the reference of its own inserts")
    for label, model, length in (
        ("BPNet counts, 2,114 bp", Readout(bpnet, 1), 2114),
        ("pooled, 2,000 bp", pooled, 2000),
    ):
        compare_edits(f"{label}, background", model, length, n, m, options.device, batch, options.repeats)


if __name__ == "__main__":
    main()
