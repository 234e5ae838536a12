"""Annotation marginalization through the engine, side by side with tangermeme.marginalize_annotations.

    python tests/benchmarks/bench_elements.py                          # CPU, --threads 2
    python tests/benchmarks/bench_elements.py --clock cpu --threads 1  # on a machine that others use too
    python tests/benchmarks/bench_elements.py --device cuda

The shipped BPNet of CTCF, spans of its peaks (4 to 25 bp and flanks, as seqlets are) and GC-matched windows. Both
sides run in one process and take turns; figures are ratios of medians. The peer gets a part of the annotations: it
predicts backgrounds and edited backgrounds anew for each, so its rate does not depend on their number. `set-up` is what
the engine spends once per model and background set, whatever the number of annotations; `with set-up` counts it in.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from marginome.backgrounds import make_background
from marginome.devices import synchronize
from marginome.incremental import Edits, Engine
from marginome.loci import collect_loci
from marginome.models import load_model
from marginome.prediction import Readout
from marginome.sequences import one_hot_encode
from marginome.substitution import insert_start

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
GENOME = str(RESOURCES / "genome" / "hg19_chr20_piece.fa.gz")
PEAKS = str(RESOURCES / "peaks" / "hg19_chr20_piece_K562_CTCF.narrowPeak.gz")


def inputs(n_annotations: int, n_backgrounds: int) -> tuple:
    """Return the model's counts, loci, backgrounds and spans."""
    weights = str(RESOURCES / "models" / "bpnet_ctcf_k562_2114.state_dict.pt")
    loaded = load_model("bpnet", {"loader": "bpnet_lite", "weights": weights, "input_length": 2114})
    settings = {"kind": "bed", "genome": GENOME, "regions": PEAKS, "resize": True, "unusable": "error",
                "max_unknown_fraction": 0}  # fmt: skip
    loci = collect_loci(settings, name="peaks", length=2114)
    background = {"kind": "gc_matched", "n": n_backgrounds, "length": 2114, "genome": GENOME, "peaks": PEAKS}
    made = make_background(background, name="gc", seed=1)
    X, X0 = (torch.stack([one_hot_encode(s) for s in sequences]) for sequences in (loci.sequences, made.sequences))
    rng = np.random.default_rng(0)
    widths = rng.integers(4, 26, n_annotations) + 10
    starts = rng.integers(900, 1200, n_annotations)
    spans = np.stack([rng.integers(0, len(X), n_annotations), starts, starts + widths], 1)
    return Readout(loaded.module, 1), X, X0, torch.from_numpy(spans)


def main() -> None:
    """Print a table of rates, ratios and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--annotations", type=int, default=128)
    parser.add_argument("--peer", type=int, default=4, help="annotations that the peer gets")
    parser.add_argument("--backgrounds", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    from tangermeme.marginalize import marginalize_annotations as peer

    model, X, X0, spans = inputs(given.annotations, given.backgrounds)
    device = torch.device(given.device)
    peer_spans = spans[: given.peer]

    def timed(function) -> tuple[float, object]:
        synchronize(device)
        start = clock()
        value = function()
        synchronize(device)
        return clock() - start, value

    def theirs():
        return peer(model, X.float(), X0.float(), peer_spans, device=given.device, batch_size=32)

    def set_up():
        return Engine(model, X0, device=given.device)

    inserts = [X[i, :, a:b] for i, a, b in spans.tolist()]
    edits = Edits.stack(inserts, [insert_start(X0.shape[2], insert.shape[1], None) for insert in inserts])

    def ours(engine: Engine) -> torch.Tensor:
        after = torch.empty(len(spans), len(X0))
        for rows, columns, y in engine.run(edits):
            after[rows, columns] = y[..., 0].cpu()
        return after - engine.before[:, 0].cpu()

    with torch.no_grad():
        times: dict[str, list[float]] = {"peer": [], "set-up": [], "engine": []}
        for repeat in range(given.repeats + 1):
            seconds, found = timed(theirs)
            setup, engine = timed(set_up)
            run, effects = timed(lambda engine=engine: ours(engine))
            if repeat:  # the first round warms up
                times["peer"].append(seconds)
                times["set-up"].append(setup)
                times["engine"].append(run)
    before, after = found
    expected = (after - before)[..., 0]
    error = float((effects[: given.peer] - expected).abs().max() / expected.abs().max())
    median = {name: statistics.median(values) for name, values in times.items()}
    peer_rate = given.peer * given.backgrounds / median["peer"]
    pairs = given.annotations * given.backgrounds
    print(f"{given.annotations} annotations x {given.backgrounds} backgrounds on {given.device}, "
          f"{given.threads} threads, {given.clock} clock, {engine.info.path}, torch {torch.__version__}")  # fmt: skip
    print(f"peer               {peer_rate:10.1f} pairs/s   ({given.peer} annotations)")
    for label, seconds in (("engine", median["engine"]), ("engine with set-up", median["engine"] + median["set-up"])):
        print(f"{label:18s} {pairs / seconds:10.1f} pairs/s   {pairs / seconds / peer_rate:6.1f} x")
    print(f"set-up {median['set-up']:.2f} s; largest difference of effects {error:.1e} of the largest effect")


if __name__ == "__main__":
    main()
