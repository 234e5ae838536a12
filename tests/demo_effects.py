"""Effects in the shipped demo's model and backgrounds: of JASPAR's inserts, and of controls of seeds not its own.

``python tests/demo_effects.py`` computes ``tests/data/demo_effects.npz`` anew, seed by seed (some minutes of processor
time each 1,000 controls). What is said about power rests on it: the demo's own controls have seed 1 and are not in it.
The first 8 backgrounds of both sets; the model's two outputs, profile (Jensen-Shannon distance) and log counts.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import control_effects
from marginome.bases import reverse_complement_text
from marginome.controls import list_controls
from marginome.discoveries import add_q
from marginome.nulls import score_effects

ROOT = control_effects.ROOT
TABLE = ROOT / "tests/data/demo_effects.npz"
SETS = ("gc_matched", "shuffled_peaks")
N_BACKGROUNDS = 8
PER_SEED = 1000
BLOCK = 64
CTCF = ("MA0139.2", "MA1929.2", "MA1930.2")  # its three matrices in JASPAR; the first is the 15-bp core


def inserts() -> list[str]:
    """JASPAR's distinct consensus sequences, both ways round: what the demo tests."""
    forward = set(control_effects.consensuses().values())
    return sorted(forward | {reverse_complement_text(s) for s in forward}, key=lambda s: (len(s), s))


@functools.cache
def controls(seed: int) -> list[str]:
    """The controls that the demo would draw with this seed, were 1,000 asked for."""
    return list(list_controls([(s, s) for s in inserts()], n=PER_SEED, seed=seed).sequences)


class Demo:
    """The demo's model, ready to be run on inserts in both background sets."""

    def __init__(self, device: str = "cpu") -> None:
        import torch

        from marginome.backgrounds import make_background
        from marginome.incremental import Engine
        from marginome.models import load_model
        from marginome.models.effect_columns import effect_columns
        from marginome.sequences import one_hot_encode

        config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        ((name, settings),) = config["models"].items()
        loaded = load_model(name, settings)
        self.outputs = loaded.outputs
        self.readouts = effect_columns(loaded.outputs).output
        self.engines = {}
        for kind in SETS:
            made = make_background(config["backgrounds"][kind], name=kind, seed=config["seed"])
            X = torch.stack([one_hot_encode(s) for s in made.sequences[:N_BACKGROUNDS]])
            self.engines[kind] = Engine(loaded.readouts(), X, device=device, block=BLOCK)

    def effects(self, kind: str, sequences: list[str]) -> np.ndarray:
        """Mean effect of each sequence in the centre of a set's backgrounds, (n, readouts), float32."""
        from marginome.incremental import Edits
        from marginome.jobs.screen import marginalize_blocks
        from marginome.sequences import encode_insert

        engine = self.engines[kind]
        length = engine.X.shape[-1]
        edits = Edits.stack([encode_insert(s)[0] for s in sequences], [length // 2 - len(s) // 2 for s in sequences])
        blocks = [slice(i, min(i + BLOCK, len(sequences))) for i in range(0, len(sequences), BLOCK)]
        found = marginalize_blocks(
            engine, self.outputs, engine.before, edits, blocks=blocks, with_profiles=[False] * len(sequences)
        )
        return np.concatenate([part.effects.double().mean(1).numpy() for _, part in found]).astype(np.float32)


def load() -> dict:
    """Read the saved table, with the ``seeds`` whose controls it has for both sets."""
    with np.load(TABLE) as saved:
        table = {name: saved[name] for name in saved.files}
    table["seeds"] = [s for s in range(2, 100) if all(f"controls {s} {kind}" in table for kind in SETS)]
    return table


@functools.cache
def matrices() -> dict[str, list[str]]:
    """Ids of JASPAR's motifs by insert: several have the same consensus."""
    found: dict[str, list[str]] = {}
    for name, sequence in control_effects.consensuses().items():
        for insert in {sequence, reverse_complement_text(sequence)}:
            found.setdefault(insert, []).append(name)
    return found


def scored(table: dict, kind: str, readout: int, seeds: Sequence[int], alternative: str) -> pd.DataFrame:
    """Score JASPAR's inserts in one set against the controls of some seeds together, each control once."""
    sequences = inserts()
    drawn = {c: x for s in seeds for c, x in zip(controls(s), table[f"controls {s} {kind}"][:, readout])}
    scores = score_effects(
        table[f"inserts {kind}"][:, readout], sequences, list(drawn.values()), list(drawn), alternative=alternative
    )
    rows = pd.DataFrame({"insert": sequences, "p": scores.p[:, 0], "p_resolution": scores.p_resolution})
    names = [matrices()[s] for s in sequences]
    rows["ctcf"] = [bool(set(CTCF) & set(some)) for some in names]
    rows["core"] = [CTCF[0] in some for some in names]
    return add_q(rows.assign(n_controls=scores.n_controls, z=scores.z[:, 0]), [])


def main(seeds: int = 20, path: Path = TABLE, device: str = "cpu") -> None:
    """Compute the inserts, then the controls of seeds 2, 3, ...; what is there already is kept."""
    demo = Demo(device)
    table = dict(np.load(path)) if path.exists() else {"readouts": np.array(demo.readouts)}
    for seed in [0, *range(2, seeds + 2)]:
        for kind in SETS:
            name = f"inserts {kind}" if seed == 0 else f"controls {seed} {kind}"
            if name not in table:
                table[name] = demo.effects(kind, inserts() if seed == 0 else controls(seed))
                np.savez_compressed(path, **table)
                print(name, table[name].shape, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *map(Path, sys.argv[2:3]), *sys.argv[3:4])
