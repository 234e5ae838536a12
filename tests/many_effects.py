"""Effects of 300,000 meaningless inserts on the MPRA model: how far down p can be checked.

``python tests/many_effects.py`` computes ``tests/data/many_effects.npz`` anew (a quarter of an hour of processor time);
the tests recompute a sample. Inserts are drawn as controls are: a JASPAR motif in turn, its rung of the ladder, a coin
for the orientation; the n-th is always the same. K562 minP in 4 genome windows: the tail lies between inserts.
"""

from __future__ import annotations

import random

import numpy as np

import control_effects
from marginome.bases import reverse_complement_text
from marginome.controls import draw_control, draw_controls
from marginome.seeds import stable_seed

TABLE = control_effects.ROOT / "tests/data/many_effects.npz"
MODEL, N, SEED, N_BACKGROUNDS = "mpra", 300_000, 18, 4
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


def effects(sequences: list[str]) -> np.ndarray:
    """Mean effect of each insert, float32; equal ones are computed once, those of a width together."""
    distinct = sorted(set(sequences), key=lambda s: (len(s), s))
    found = control_effects.effects(MODEL, "gc_matched", distinct, n=N_BACKGROUNDS).mean(axis=1)
    place = {s: i for i, s in enumerate(distinct)}
    return found[[place[s] for s in sequences]].astype(np.float32)


def load() -> np.ndarray:
    """Read the saved effects; the n-th is of the n-th insert."""
    with np.load(TABLE) as saved:
        return saved["effects"]


def main() -> None:
    """Compute all inserts, round by round, and save them; what is there already is kept."""
    parts = [load()] if TABLE.exists() else []
    for first in range(sum(map(len, parts)), N, ROUND):
        parts.append(effects(inserts(first, min(first + ROUND, N))))
        print(first + len(parts[-1]), flush=True)
    np.savez_compressed(TABLE, effects=np.concatenate(parts))


if __name__ == "__main__":
    main()
