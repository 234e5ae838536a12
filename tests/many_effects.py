"""Effects of 300,000 meaningless inserts: how far down p-values and their resolution can be checked.

``python tests/many_effects.py`` computes ``tests/data/many_effects.npz`` anew (about half an hour of processor time);
the tests recompute a sample. Inserts are drawn as controls are: a JASPAR motif in turn, its rung of the ladder, a coin
for the orientation; the n-th is always the same. Few backgrounds, because the tail lies between inserts: 1 genome
window for the BPNet's log counts, 4 for the MPRA model's K562 minP task.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np

import control_effects
from marginome.controls import draw_control, draw_controls, reverse_complement_text
from marginome.seeds import stable_seed

TABLE = control_effects.ROOT / "tests/data/many_effects.npz"
N, SEED = 300_000, 18
BACKGROUNDS = {"mpra": 4, "bpnet": 1}
ROUND = 20_000


def inserts(first: int, last: int) -> list[str]:
    """Return the inserts of these numbers; the same one may come again, as a control may be drawn again."""
    motifs = sorted(control_effects.consensuses().values())
    kinds = {sequence: draw_controls(sequence, 1, SEED)[1] for sequence in set(motifs)}
    found = []
    for i in range(first, last):
        motif = motifs[i % len(motifs)]
        rng = random.Random(stable_seed(SEED, "meaningless", i))
        drawn = motif
        while drawn in (motif, reverse_complement_text(motif)):
            drawn = draw_control(motif, kinds[motif], rng)
        found.append(reverse_complement_text(drawn) if rng.random() < 0.5 else drawn)
    return found


def effects(model: str, sequences: list[str]) -> np.ndarray:
    """Mean effect of each insert, float32; equal ones are computed once, those of a width together."""
    distinct = sorted(set(sequences), key=lambda s: (len(s), s))
    found = control_effects.effects(model, "gc_matched", distinct, n=BACKGROUNDS[model]).mean(axis=1)
    place = {s: i for i, s in enumerate(distinct)}
    return found[[place[s] for s in sequences]].astype(np.float32)


def load() -> dict[str, np.ndarray]:
    """Read the saved effects, by model; the n-th is of the n-th insert."""
    with np.load(TABLE) as saved:
        return {name: saved[name] for name in saved.files}


def main(model: str, path: Path = TABLE) -> None:
    """Compute one model's inserts, round by round; what is there already is kept."""
    table = dict(np.load(path)) if path.exists() else {}
    have = table.get(model, np.zeros(0, dtype=np.float32))
    for first in range(len(have), N, ROUND):
        have = np.concatenate([have, effects(model, inserts(first, min(first + ROUND, N)))])
        np.savez_compressed(path, **(table | {model: have}))
        print(model, len(have), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:3]))
