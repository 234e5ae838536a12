"""Effects in the shipped demo's model and backgrounds: of JASPAR's inserts, and of controls of seeds not its own.

``python tests/demo_effects.py 3`` computes ``tests/data/demo_effects.npz`` anew, seed after seed from 2 on (the demo's
own controls have seed 1). The first 8 backgrounds of both sets; the model's two outputs, profile (Jensen-Shannon
distance) and log counts. `tests/benchmarks/bench_power.py` says how many controls do more than CTCF.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import yaml

import control_effects
from marginome.bases import reverse_complement_text
from marginome.controls import list_controls

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
    """The demo's model, ready to be run on inserts in both background sets: all its outputs, or only the one named."""

    def __init__(self, device: str = "cpu", *, only: str | None = None, n: int = N_BACKGROUNDS) -> None:
        import torch

        from marginome.backgrounds import make_background
        from marginome.incremental import Engine
        from marginome.models import load_model
        from marginome.models.effect_columns import effect_columns
        from marginome.models.outputs import Readouts
        from marginome.sequences import one_hot_encode

        config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        ((name, settings),) = config["models"].items()
        loaded = load_model(name, settings)
        self.outputs = [output for output in loaded.outputs if only in (None, output.name)]
        self.readouts = effect_columns(self.outputs).output
        self.engines = {}
        for kind in SETS:
            made = make_background(config["backgrounds"][kind], name=kind, seed=config["seed"])
            X = torch.stack([one_hot_encode(s) for s in made.sequences[:n]])
            self.engines[kind] = Engine(Readouts(loaded.module, self.outputs).eval(), X, device=device, block=BLOCK)

    def effects(self, kind: str, sequences: list[str]) -> np.ndarray:
        """Mean effect of each sequence in the centre of a set's backgrounds, (n, readouts), float32."""
        from marginome.incremental import Edits
        from marginome.jobs.marginalize import marginalize_blocks
        from marginome.substitution import encode_insert

        engine = self.engines[kind]
        length = engine.X.shape[-1]
        edits = Edits.stack([encode_insert(s)[0] for s in sequences], [length // 2 - len(s) // 2 for s in sequences])
        blocks = [slice(i, min(i + BLOCK, len(sequences))) for i in range(0, len(sequences), BLOCK)]
        found = marginalize_blocks(
            engine, self.outputs, engine.before, edits, blocks=blocks, with_profiles=[False] * len(sequences)
        )
        return np.concatenate([part.effects.double().mean(1).numpy() for _, part in found]).astype(np.float32)


def load() -> dict[str, np.ndarray]:
    """Read the saved table: ``inserts <set>`` and ``controls <seed> <set>``, (n, readouts); ``readouts``."""
    with np.load(TABLE) as saved:
        return {name: saved[name] for name in saved.files}


def drawn(table: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """All controls of a set that the table has, each once, with their effects."""
    seeds = [int(name.split()[1]) for name in table if name.startswith("controls ") and name.endswith(f" {kind}")]
    return {c: x for seed in seeds for c, x in zip(controls(seed), table[f"controls {seed} {kind}"])}


def main(seeds: int = 3, path: Path = TABLE, device: str = "cpu") -> None:
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
