"""The incremental engine side by side with tangermeme: screens, raw predictions, mutagenesis, growth with motifs.

    python tests/benchmarks/bench_engine.py                     # this machine's CPU, --threads 2
    python tests/benchmarks/bench_engine.py --device cuda       # float32, tf32 and bfloat16
    python tests/benchmarks/bench_engine.py --only screen,ism --quick
    python tests/benchmarks/bench_engine.py --clock cpu --threads 1         # on a machine that others use too

Both sides run in one process and take turns, every figure is the ratio of medians, and the outputs are compared.
The peer runs a part of the motifs (it needs minutes for all); its rate per pair does not depend on their number.
`set-up` is what the engine spends once per model and background set: capturing, checking itself, the backgrounds.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from marginome.devices import peak_memory, synchronize
from marginome.incremental import Edits, Engine
from marginome.marginalization import marginalize_many
from marginome.mutagenesis import saturation_mutagenesis
from marginome.prediction import map_structure
from marginome.sequences import random_one_hot
from marginome.substitution import insert_start
from zoo import Dilated


class Beluga(nn.Module):
    """The shape of DeepSEA Beluga: 6 convolutions, 2 poolings, 67,840 -> 2,003 -> 2,002."""

    def __init__(self):
        super().__init__()
        layers = []
        for i, (a, b) in enumerate([(4, 320), (320, 320), (320, 480), (480, 480), (480, 640), (640, 640)]):
            layers += [nn.Conv1d(a, b, 8), nn.ReLU()]
            if i in (1, 3):
                layers.append(nn.MaxPool1d(4))
        self.conv = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(67840, 2003), nn.ReLU(), nn.Linear(2003, 2002))

    def forward(self, X):
        return self.dense(self.conv(X).flatten(1))


class Counts(nn.Module):
    """One head of a model with two."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, X):
        return self.model(X)[1]


def bpnet() -> nn.Module:
    """Return BPNet's shape: 64 filters, 8 dilated layers, 2,114 bp in, 1,000 out."""
    return Dilated(filters=64, layers=8, length=2114, out=1000, kernel=21, head=75).eval()


HEADING = (
    "| work | precision | kernels | peer, per s | marginome, per s | ratio | set-up | difference of outputs "
    "| error of effects | peak memory so far, GiB |\n|---|---|---|---|---|---|---|---|---|---|"
)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]


def timed(function: Callable, device: torch.device) -> tuple[float, object]:
    """Return seconds and result."""
    synchronize(device)
    start = clock()
    result = function()
    synchronize(device)
    return clock() - start, result


def inserts(m: int, width: int = 10) -> list[torch.Tensor]:
    """Return m random inserts."""
    return list(random_one_hot((m, 4, width), random_state=1))


def centred(motifs: list[torch.Tensor], length: int) -> Edits:
    """Return them as edits in the middle."""
    return Edits.stack(motifs, [insert_start(length, motif.shape[-1]) for motif in motifs])


def reduced(engine: Engine, edits: Edits) -> object:
    """Return the mean effect over backgrounds per edit and output, as a screen needs it."""
    parts = [
        map_structure(lambda y, b: (y.double() - b.double()[None]).mean(1).cpu(), y, engine.before)
        for _, _, y in engine.run(edits)
    ]
    return map_structure(lambda *t: torch.cat(t), parts[0], *parts[1:])


def difference(ours: object, theirs: list) -> float:
    """Return the largest difference relative to the largest value, over all outputs."""
    mine: list[torch.Tensor] = []
    map_structure(mine.append, ours)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(mine, theirs))


def screen(
    name: str,
    model: nn.Module,
    length: int,
    args,
    raw: bool = False,
    precisions: Sequence[str] = ("float32", "tf32", "bfloat16"),
    ways: Sequence[str] = ("triton", "torch"),
) -> dict[tuple[str, str], float]:
    """Print rates of one model, peer against engine, per precision and way to compute; return their ratios."""
    from tangermeme.marginalize import marginalize as peer_marginalize

    device = args.device
    n, m = args.backgrounds, args.motifs
    X = random_one_hot((n, 4, length), random_state=0)
    motifs = inserts(m)
    edits = centred(motifs, length)

    def peer() -> list:
        before_after = [
            peer_marginalize(model, X.float(), k[None].float(), device=device.type, batch_size=args.batch)
            for k in motifs[: args.peer_motifs]
        ]
        heads = [[list(y) if isinstance(y, list | tuple) else [y] for y in pair] for pair in before_after]
        if raw:
            return [torch.stack([after[i] for _, after in heads]) for i in range(len(heads[0][0]))]
        return [
            torch.stack([(after[i].double() - before[i].double()).mean(0) for before, after in heads])
            for i in range(len(heads[0][0]))
        ]

    if device.type == "cpu":
        precisions, ways = ["float32"], ["torch"]
    ratios = {}
    # On a GPU each precision twice: with our own kernel, and with PyTorch's operations alone.
    for precision, kernels in itertools.product(precisions, ways):
        # The peer has no bfloat16 of its own here: it runs in the default that its users get.
        torch.backends.cudnn.allow_tf32 = precision != "float32"
        setup, engine = timed(
            lambda p=precision, k=kernels: Engine(model, X, device=device, precision=p, kernels=k == "triton"), device
        )

        def ours(engine=engine) -> object:
            if not raw:
                return reduced(engine, edits)
            kept = None
            for some, which, y in engine.run(edits):
                if kept is None:
                    kept = map_structure(lambda t: torch.empty(m, n, *t.shape[2:]), y)
                map_structure(lambda k, t, s=some, w=which: k[s, w].copy_(t), kept, y)
            return kept

        ours()  # warm
        peers, mine = [], []
        for _ in range(args.repeats):
            seconds, theirs = timed(peer, device)
            peers.append(seconds / (min(args.peer_motifs, m) * n))
            seconds, result = timed(ours, device)
            mine.append(seconds / (m * n))
        a, b = statistics.median(peers), statistics.median(mine)
        total = b * m * n + setup
        error = difference(map_structure(lambda t: t[: args.peer_motifs], result), theirs)
        info = engine.info
        ratios[precision, kernels] = a / b
        print(
            f"| {name}{', raw' if raw else ', reduced'} | {precision} | {kernels} "
            f"| {1 / a:,.0f} | {1 / b:,.0f} | {a / b:.1f}x | {setup:.1f} s, {a * m * n / total:.1f}x with it "
            f"| {error:.0e} | {info.effect_error:.0e} | {info.peak_bytes / 2**30:.1f} |",
            flush=True,
        )
        del engine
    return ratios


def mutagenesis(args) -> None:
    """Print rates of saturation mutagenesis of BPNet's counts."""
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis as peer_mutagenesis

    model = Counts(bpnet())
    X = random_one_hot((args.sequences, 4, 2114), random_state=0)
    span = {} if not args.quick else {"start": 900, "end": 1200}
    positions = 2114 if not span else 300

    def one(function: Callable, n: int) -> Callable:
        return lambda: function(model, X[:n], device=args.device.type, hypothetical=True, **span)

    peers, mine = [], []
    for _ in range(args.repeats):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds, theirs = timed(one(peer_mutagenesis, 1), args.device)
        peers.append(seconds / (3 * positions))
        seconds, result = timed(one(saturation_mutagenesis, args.sequences), args.device)
        mine.append(seconds / (3 * positions * args.sequences))
    a, b = statistics.median(peers), statistics.median(mine)
    error = float((result[:1] - theirs).abs().max() / theirs.abs().max())
    print(
        f"| BPNet counts, mutagenesis, {args.sequences} sequences, set-up included | default | default | {1 / a:,.0f} "
        f"| {1 / b:,.0f} | {a / b:.1f}x | | {error:.0e} | | {peak_memory(args.device) / 2**30:.1f} |",
        flush=True,
    )


def growth(args) -> None:
    """Print seconds and memory by number of motifs."""
    print("\n| motifs | backgrounds | seconds | per motif, ms | peak memory so far, GiB |\n|---|---|---|---|---|")
    n = args.growth_backgrounds
    X = random_one_hot((n, 4, 2114), random_state=0)
    engine = Engine(Counts(bpnet()), X, device=args.device)
    for m in (16, 64, 256, 1024):
        edits = centred(inserts(m), 2114)
        reduced(engine, edits.take(slice(0, 16)))
        seconds = statistics.median(timed(lambda edits=edits: reduced(engine, edits), args.device)[0] for _ in range(3))
        print(
            f"| {m} | {n} | {seconds:.2f} | {seconds / m * 1e3:.1f} | {engine.info.peak_bytes / 2**30:.2f} |",
            flush=True,
        )


def notebook(args) -> None:
    """Print the public function's time, everything included."""
    X = random_one_hot((args.backgrounds, 4, 2114), random_state=0)
    model = bpnet()
    seconds, _ = timed(lambda: marginalize_many(model, X, inserts(args.motifs), device=args.device.type), args.device)
    pairs = args.backgrounds * args.motifs
    print(f"\nmarginalize_many, {args.motifs} motifs x {args.backgrounds} backgrounds, all included: {seconds:.1f} s, "
          f"{pairs / seconds:,.0f} pairs/s")  # fmt: skip


def main() -> None:
    """Run what is asked for and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--threads", default=2, type=int, help="CPU threads of both sides")
    parser.add_argument("--clock", default="wall", choices=CLOCKS, help="cpu: seconds of this process, for one thread")
    parser.add_argument("--backgrounds", default=100, type=int)
    parser.add_argument("--motifs", default=64, type=int)
    parser.add_argument("--peer-motifs", type=int, help="motifs that the peer runs (default 1 on a CPU, 16 on a GPU)")
    parser.add_argument("--batch", type=int, help="the peer's batch size (default 32 on a CPU, 512 on a GPU)")
    parser.add_argument("--sequences", type=int, help="sequences of the mutagenesis (default 2, 64)")
    parser.add_argument("--growth-backgrounds", type=int, help="default 8, 100")
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--only", default="screen,raw,beluga,ism,growth,notebook")
    parser.add_argument("--quick", action="store_true", help="few backgrounds and positions: to see that it runs")
    args = parser.parse_args()
    global clock
    clock = CLOCKS[args.clock]
    gpu = args.device.type == "cuda"
    args.peer_motifs = args.peer_motifs or (16 if gpu else 1)
    args.batch = args.batch or (512 if gpu else 32)
    args.sequences = args.sequences or (64 if gpu else 2)
    args.growth_backgrounds = args.growth_backgrounds or (100 if gpu else 8)
    if args.quick:
        args.backgrounds, args.motifs, args.repeats = min(args.backgrounds, 8), min(args.motifs, 16), 1
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    only = args.only.split(",")

    name = (
        torch.cuda.get_device_name(args.device)
        if gpu
        else f"{platform.machine()}, {args.threads} threads, {args.clock} clock"
    )
    import tangermeme

    print(f"{datetime.date.today()}, {name}, PyTorch {torch.__version__}, tangermeme {tangermeme.__version__}, "
          f"{args.backgrounds} backgrounds x {args.motifs} motifs of 10 bp\n")  # fmt: skip
    print(HEADING)
    if "screen" in only:
        screen("BPNet, both heads", bpnet(), 2114, args)
        screen("BPNet, counts", Counts(bpnet()).eval(), 2114, args)
    if "raw" in only:
        screen("BPNet, both heads", bpnet(), 2114, args, raw=True)
    if "beluga" in only:
        screen("Beluga-shaped", Beluga().eval(), 2000, args)
    if "ism" in only:
        mutagenesis(args)
    if "growth" in only:
        growth(args)
    if "notebook" in only:
        notebook(args)


if __name__ == "__main__":
    main()
