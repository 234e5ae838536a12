"""Arrangements of two motifs at many gaps against single inserts: processor time of one thread, the shipped BPNet.

    python tests/benchmarks/bench_pairs.py
    python tests/benchmarks/bench_pairs.py --list hdma          # 16 motifs, gaps 0 to 200, four orientations
    python tests/benchmarks/bench_pairs.py --list grammar       # config/examples/grammar.yaml on its own model

Rates of the incremental engine with effects reduced, both heads. Sides take turns; medians. A block is what a shard
computes at once: 64 inserts. With ``--list``, blocks drawn from a whole insert list, motifs alone and mismatched pairs
among them: in the order of the config, and in that of places, which the list has; and without the motifs alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_engine import reduced

from marginome import load_model, random_one_hot, read_motifs
from marginome.incremental import Edits, Engine
from marginome.insert_lists import insert_table
from marginome.inserts import list_inserts
from marginome.jobs.marginalize import edits_of
from marginome.pair_designs import expand_pairs, mismatched_inserts
from marginome.placing import FIRST_BASE, place
from marginome.substitution import insert_start

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "resources/models/bpnet_ctcf_k562_2114.state_dict.pt"
EXAMPLE = ROOT / "config/examples/grammar.yaml"
LENGTH, WIDTH, BLOCK = 2114, 12, 64
HDMA = {"gaps": {"start": 0, "stop": 201, "step": 8}, "orientations": ["++", "+-", "-+", "--"]}


def arrangements(gaps: list[int]) -> list[torch.Tensor]:
    """Two motifs with background between them, one arrangement a gap."""
    made = []
    for i, gap in enumerate(gaps):
        first, second = random_one_hot((2, 4, WIDTH), random_state=i)
        made.append(torch.cat([first, first.new_zeros((4, gap)), second], dim=1))
    return made


def design(name: str) -> tuple[torch.nn.Module, int, pd.DataFrame, list[str]]:
    """Return a model, the length of its sequences, an insert list, and its ids in the order of the config."""
    motifs = read_motifs(str(ROOT / "resources/motifs/JASPAR2026_CORE_vertebrates.meme"))
    if name == "hdma":
        drawn = np.random.default_rng(0).choice([motif.motif_id for motif in motifs], 16, replace=False)
        model, length, pairs = load_model("bpnet", {"weights": str(WEIGHTS), "input_length": LENGTH}), LENGTH, HDMA
        pairs = [{**pairs, "among": drawn.tolist()}]
    else:
        config = yaml.safe_load(EXAMPLE.read_text())
        entry = config["models"]["mpra"]
        files = {key: str(ROOT / entry[key]) for key in ("weights", "architecture")}
        model, length = load_model("mpra", entry | files), config["backgrounds"]["uniform"]["length"]
        pairs = config["screens"]["grammar"]["pairs"]
    pairs, placed = expand_pairs(pairs, motifs), {"positions": "centre", "length": length, "collection": "jaspar"}
    real, null = list_inserts(motifs, pairs=pairs, **placed), mismatched_inserts(pairs, motifs, seed=1, **placed)
    table = insert_table(real, {}, 1, null)
    return model.module.eval(), length, table, [insert.insert_id for insert in [*real, *null]]


def drawn_blocks(table: pd.DataFrame, given: list[str], blocks: int) -> dict[str, list[Edits]]:
    """Return blocks of a list in both orders, and of its pairs alone, drawn at random."""
    orders = {
        "in the order of the config": table.set_index("insert_id").loc[given],
        "in the order of places": table,
        "in that order, of two motifs": table[table["partner_id"].notna()],
    }
    made = {}
    for order, rows in orders.items():
        chosen = np.random.default_rng(1).choice(len(rows) // BLOCK, blocks, replace=False)
        made[order] = [edits_of(rows.iloc[i * BLOCK : (i + 1) * BLOCK]) for i in chosen]
    return made


def kinds_of_blocks(m: int) -> dict[str, list[Edits]]:
    """Return blocks of m arrangements at one gap, and at many."""
    mixed = [round(i * 200 / (m - 1)) for i in range(m)]
    kinds = {f"gap {gap}": arrangements([gap] * m) for gap in (0, 50, 100, 200)}
    kinds |= {"gaps 0 to 200": arrangements(mixed)}
    edits = {
        kind: [Edits.stack(made, [insert_start(LENGTH, insert.shape[-1]) for insert in made])]
        for kind, made in kinds.items()
    }
    # what a cache of the first motif would leave: the second alone, at every place
    second = [insert[:, -WIDTH:] for insert in kinds["gaps 0 to 200"]]
    edits["second alone, everywhere"] = [Edits.stack(second, [LENGTH // 2 + WIDTH + gap for gap in mixed])]
    return edits


def main() -> None:
    """Print a rate a kind of block, and its share of that of single inserts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", choices=["hdma", "grammar"])
    parser.add_argument("--backgrounds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=12)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    n = chosen.backgrounds
    if chosen.list:
        model, length, table, given = design(chosen.list)
        table = place(table, length, counted_from=FIRST_BASE)
        edits = drawn_blocks(table, given, chosen.blocks)
        print(f"{len(table):,} inserts, {table['partner_id'].notna().sum():,} of two motifs")
    else:
        model, length = load_model("bpnet", {"weights": str(WEIGHTS), "input_length": LENGTH}).module.eval(), LENGTH
        edits = kinds_of_blocks(BLOCK)
    singles = [insert[:, :WIDTH] for insert in arrangements([0] * BLOCK)]
    edits = {"single": [Edits.stack(singles, [insert_start(length, WIDTH)] * BLOCK)], **edits}
    engine = Engine(model, random_one_hot((n, 4, length), random_state=1), device=torch.device("cpu"))
    seconds: dict[str, list[float]] = {kind: [] for kind in edits}
    for repeat in range(chosen.repeats + 1):
        for kind, some in edits.items():
            started = time.process_time()
            for block in some:
                reduced(engine, block)
            if repeat:  # the first makes plans
                seconds[kind].append((time.process_time() - started) / len(some))
    rates = {kind: BLOCK * n / statistics.median(taken) for kind, taken in seconds.items()}
    print("| inserts | pairs/s | of single |\n|---|---|---|")
    for kind, rate in rates.items():
        print(f"| {kind} | {rate:,.0f} | {100 * rate / rates['single']:.0f} % |")


if __name__ == "__main__":
    main()
