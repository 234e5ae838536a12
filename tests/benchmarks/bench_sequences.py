"""predict, shuffles, seqlets and logos side by side with tangermeme 1.6.0, in one process.

    python tests/benchmarks/bench_sequences.py [--quick] [--device cuda]

Each pair is run in turn several times after a warm-up; the ratio is the peer's median wall time over ours (with
--cpu-time the processor time, on one thread: for machines that have other work to do). "error" is
the largest difference of what the two return, or what was checked instead where they differ by design.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import time
from collections.abc import Callable

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import tangermeme.ersatz
import tangermeme.plot
import tangermeme.predict
import tangermeme.seqlet
import torch

from marginome import dinucleotide_shuffle, plot_logo, predict, random_one_hot, recursive_seqlets

CLOCK = [time.perf_counter]


class ConvNet(torch.nn.Module):
    """Dilated residual layers with a profile and a counts head, as BPNet's."""

    def __init__(self, filters: int = 64, layers: int = 8):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv1d(4, filters, 21, padding=10)
        self.rest = torch.nn.ModuleList(
            torch.nn.Conv1d(filters, filters, 3, padding=2**i, dilation=2**i) for i in range(1, layers + 1)
        )
        self.profile = torch.nn.Conv1d(filters, 2, 75, padding=37)
        self.counts = torch.nn.Linear(filters, 1)

    def forward(self, X):
        X = torch.relu(self.first(X))
        for layer in self.rest:
            X = X + torch.relu(layer(X))
        return self.profile(X)[:, :, 557:-557], self.counts(X[:, :, 520:-520].mean(dim=-1))


class Pooled(torch.nn.Module):
    """Small and quick, so that what is around the model counts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(
            torch.nn.Conv1d(4, 16, 11),
            torch.nn.ReLU(),
            torch.nn.AdaptiveMaxPool1d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(16, 3),
        )

    def forward(self, X):
        return self.body(X)


def medians(ours: Callable, theirs: Callable, repeats: int) -> tuple[float, float]:
    """Run both in turn after one warm-up each; return their median wall times in seconds."""
    ours(), theirs()
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(repeats):
        for which in ((0, 1), (1, 0))[i % 2]:
            began = CLOCK[0]()
            (ours, theirs)[which]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[which].append(CLOCK[0]() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def row(what: str, ours: Callable, theirs: Callable, repeats: int, error: str) -> None:
    """Print one line of the table."""
    a, b = medians(ours, theirs, repeats)
    print(f"| {what} | {a * 1e3:,.1f} | {b * 1e3:,.1f} | {b / a:.2f} | {error} |", flush=True)


def bench_predict(quick: bool, device: str, repeats: int) -> None:
    """Two models, int8 input, the default batch."""
    n = 64 if quick and device == "cpu" else 256
    for name, model, X in (
        (f"predict, BPNet-shaped, {n} x 2,114", ConvNet(), random_one_hot((n, 4, 2114), random_state=0)),
        ("predict, small pooled, 5,000 x 200", Pooled(), random_one_hot((5000, 4, 200), random_state=0)),
    ):
        ours, theirs = predict(model, X, device=device), tangermeme.predict.predict(model, X, device=device)
        pairs = zip(ours, theirs) if isinstance(ours, tuple) else [(ours, theirs)]
        error = max((a - b).abs().max().item() for a, b in pairs)
        row(
            name,
            lambda model=model, X=X: predict(model, X, device=device),
            lambda model=model, X=X: tangermeme.predict.predict(model, X, device=device),
            repeats,
            f"{error:.1e}",
        )


def bench_shuffles(quick: bool, repeats: int) -> None:
    """Ours is uniform over all arrangements and the peer's is not, so only what both keep can be compared."""
    sizes = [(1, 20, 2114), (100, 20, 200), (100, 20, 2114)] + ([] if quick else [(1000, 20, 2114)])
    for n, k, length in sizes:
        for dtype in (torch.int8, torch.float32):
            X = random_one_hot((n, 4, length), random_state=0).to(dtype)
            pair = X.to(torch.int16)[:20]
            kept = torch.einsum("nal,nbl->nab", pair[..., :-1], pair[..., 1:])
            out = dinucleotide_shuffle(X[:20], n=3, random_state=0).to(torch.int16)
            same = torch.equal(
                torch.einsum("nkal,nkbl->nkab", out[..., :-1], out[..., 1:]), kept[:, None].expand(-1, 3, -1, -1)
            )
            row(
                f"dinucleotide_shuffle, {n:,} x {k} x {length:,}, {str(dtype)[6:]}",
                lambda X=X, k=k: dinucleotide_shuffle(X, n=k, random_state=0),
                lambda X=X, k=k: tangermeme.ersatz.dinucleotide_shuffle(X, n=k, random_state=0),
                repeats,
                "counts kept" if same else "COUNTS DIFFER",
            )


def bench_seqlets(quick: bool, repeats: int) -> None:
    """Positive seqlets, which are all the peer calls; and both signs against two calls of the peer."""
    span = ["example_idx", "start", "end"]
    for n in (1, 100) if quick else (1, 100, 1000):
        random = np.random.RandomState(0)
        X = random.laplace(scale=0.01, size=(n, 2114)).astype(np.float32)
        for _ in range(6 * n):
            i, at = random.randint(n), random.randint(2090)
            X[i, at : at + random.randint(4, 18)] += random.normal(scale=0.3)
        ours, theirs = recursive_seqlets(X, signs="positive"), tangermeme.seqlet.recursive_seqlets(X)
        ours, theirs = (t.sort_values(span, ignore_index=True) for t in (ours, theirs))
        if ours[span].equals(theirs[span]):
            relative = np.abs(ours["p-value"] / theirs["p-value"] - 1).max()
            error = f"{len(ours):,} spans equal, p to {relative:.0e}"
        else:
            error = "SPANS DIFFER"
        row(
            f"recursive_seqlets, positive, {n:,} x 2,114",
            lambda X=X: recursive_seqlets(X, signs="positive"),
            lambda X=X: tangermeme.seqlet.recursive_seqlets(X),
            repeats,
            error,
        )
        row(
            f"recursive_seqlets, both signs, {n:,} x 2,114",
            lambda X=X: recursive_seqlets(X),
            lambda X=X: (tangermeme.seqlet.recursive_seqlets(X), tangermeme.seqlet.recursive_seqlets(-X)),
            repeats,
            "",
        )


def bench_logo(repeats: int) -> None:
    """A logo of 2,000 positions, drawn and saved as SVG."""
    X = np.random.RandomState(0).normal(size=(4, 2000)) * (random_one_hot((1, 4, 2000), random_state=0)[0].numpy())

    def draw(function: Callable) -> int:
        figure, ax = plt.subplots(figsize=(12, 2))
        function(X, ax=ax)
        out = io.BytesIO()
        figure.savefig(out, format="svg")
        plt.close(figure)
        return len(out.getvalue())

    sizes = f"{draw(plot_logo) / 1e6:.1f} and {draw(tangermeme.plot.plot_logo) / 1e6:.1f} MB"
    row(
        "plot_logo, 2,000 positions, SVG",
        lambda: draw(plot_logo),
        lambda: draw(tangermeme.plot.plot_logo),
        repeats,
        sizes,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--device", default="cpu", help="for predict")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cpu-time", action="store_true", help="one thread, processor time")
    options = parser.parse_args()
    if options.cpu_time:
        torch.set_num_threads(1)
        CLOCK[0] = time.process_time
    where = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or platform.machine()
    print(f"{where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| work | ours, ms | tangermeme 1.6.0, ms | ratio | error |\n|---|---|---|---|---|")
    bench_predict(options.quick, options.device, options.repeats)
    bench_shuffles(options.quick, options.repeats)
    bench_seqlets(options.quick, options.repeats)
    bench_logo(options.repeats)


if __name__ == "__main__":
    main()
