"""Arrangements of two motifs at many gaps against single inserts: processor time of one thread, the shipped BPNet.

    python tests/benchmarks/bench_pairs.py

Rates of the incremental engine with effects reduced, both heads. Sides take turns; medians. A block is what a shard
computes at once: 64 inserts, in the order of the insert list, or all together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_engine import reduced

from marginome import load_model, random_one_hot
from marginome.incremental import Edits, Engine
from marginome.substitution import insert_start

WEIGHTS = Path(__file__).resolve().parents[2] / "resources/models/bpnet_ctcf_k562_2114.state_dict.pt"
LENGTH, WIDTH = 2114, 12


def arrangements(gaps: list[int]) -> list[torch.Tensor]:
    """Two motifs with background between them, one arrangement a gap."""
    made = []
    for i, gap in enumerate(gaps):
        first, second = random_one_hot((2, 4, WIDTH), random_state=i)
        made.append(torch.cat([first, first.new_zeros((4, gap)), second], dim=1))
    return made


def main() -> None:
    """Print a rate a kind of insert, and its share of that of single inserts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backgrounds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--inserts", type=int, default=64)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    n, m = chosen.backgrounds, chosen.inserts
    model = load_model("bpnet", {"weights": str(WEIGHTS), "input_length": LENGTH}).module.eval()
    engine = Engine(model, random_one_hot((n, 4, LENGTH), random_state=1), device=torch.device("cpu"))
    mixed = [round(i * 200 / (m - 1)) for i in range(m)]
    middle = LENGTH // 2
    kinds = {"single": [insert[:, :WIDTH] for insert in arrangements([0] * m)]}
    kinds |= {f"gap {gap}": arrangements([gap] * m) for gap in (0, 50, 100, 200)}
    kinds |= {"gaps 0 to 200": arrangements(mixed)}
    edits = {
        kind: Edits.stack(made, [insert_start(LENGTH, insert.shape[-1]) for insert in made])
        for kind, made in kinds.items()
    }
    held = kinds["gaps 0 to 200"]
    edits["gaps 0 to 200, first held"] = Edits.stack(held, [middle] * m)
    # what a cache of the first motif would leave: the second alone, at every place
    second = [insert[:, -WIDTH:] for insert in held]
    edits["second alone, everywhere"] = Edits.stack(second, [middle + WIDTH + gap for gap in mixed])
    seconds: dict[str, list[float]] = {kind: [] for kind in edits}
    for repeat in range(chosen.repeats + 1):
        for kind, some in edits.items():
            started = time.process_time()
            reduced(engine, some)
            if repeat:  # the first makes plans
                seconds[kind].append(time.process_time() - started)
    rates = {kind: m * n / statistics.median(taken) for kind, taken in seconds.items()}
    print("| inserts | pairs/s | of single |\n|---|---|---|")
    for kind, rate in rates.items():
        print(f"| {kind} | {rate:,.0f} | {100 * rate / rates['single']:.0f} % |")


if __name__ == "__main__":
    main()
