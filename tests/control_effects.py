"""Effects of some twenty thousand meaningless inserts on the shipped models: what the calibration is checked on.

``python tests/control_effects.py`` computes ``tests/data/control_effects.npz`` anew (some 20 minutes on two cores). The
tests recompute a part of it. Two models (the BPNet's log counts; the MPRA model's K562 minP task), each with two kinds
of background: windows of the genome with a GC content like that of CTCF peaks, and their dinucleotide shuffles.
"""

from __future__ import annotations

import gzip
import random
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marginome.controls import draw_control, draw_controls, gc_fraction

if TYPE_CHECKING:
    from marginome.incremental import Engine

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests/data/control_effects.npz"
JASPAR = ROOT / "resources/motifs/JASPAR2026_CORE_vertebrates.meme"
MODELS = {
    "bpnet": {
        "loader": "bpnet_lite",
        "weights": str(ROOT / "resources/models/bpnet_ctcf_k562_2114.state_dict.pt"),
        "input_length": 2114,
        "genome": ROOT / "resources/genome/hg38_chr22_piece.fa.gz",
        "n": 8,
    },
    "mpra": {
        "loader": "keras",
        "weights": str(ROOT / "resources/models/mpra_dragonn_conv.hdf5"),
        "architecture": str(ROOT / "resources/models/mpra_dragonn_conv.model.json"),
        "input_length": 145,
        "outputs": {"k562_minp": {"index": 2, "unit": "log2 activity", "measure": "difference"}},
        "genome": ROOT / "resources/genome/hg19_chr20_piece.fa.gz",
        "n": 16,
    },
}
KINDS = ("gc_matched", "dinucleotide_shuffle")


def consensuses() -> dict[str, str]:
    """JASPAR's motif ids and consensus sequences, read without the library's reader."""
    found, name, rows, width = {}, "", [], 0
    for line in JASPAR.read_text().splitlines():
        if line.startswith("MOTIF"):
            name = line.split()[1]
        elif line.startswith("letter-probability"):
            width, rows = int(re.search(r"w=\s*(\d+)", line).group(1)), []
        elif len(rows) < width and re.match(r"\s*[\d.]", line):
            rows.append([float(x) for x in line.split()])
            if len(rows) == width:
                found[name] = "".join("ACGT"[int(np.argmax(row))] for row in rows)
    return found


def inserts() -> tuple[list[str], list[str]]:
    """Controls of every JASPAR motif, by the ladder (16 each), and random sequences of its width and GC (8 each)."""
    ladder, drawn = set(), set()
    for name, sequence in consensuses().items():
        ladder.update(draw_controls(sequence, 16, 7)[0])
        rng = random.Random(name + "b")
        drawn.update(draw_control(sequence, "pool", rng) for _ in range(8))
    return sorted(ladder), sorted(drawn - ladder)


def backgrounds(model: str, kind: str) -> list[str]:
    """Background sequences of a model: genome windows with a GC content drawn around 0.5, or their shuffles."""
    length, genome = MODELS[model]["input_length"], MODELS[model]["genome"]
    with gzip.open(genome, "rt") as lines:
        text = "".join(line.strip().upper() for line in lines if not line.startswith(">"))
    rng = random.Random(11)
    wanted = [rng.gauss(0.5, 0.07) for _ in range(MODELS[model]["n"])]
    windows = [text[i : i + length] for i in range(0, len(text) - length, length // 3)]
    windows = [(gc_fraction(w), w) for w in windows if "N" not in w]
    chosen = []
    for gc in wanted:
        nearest = min(windows, key=lambda w: abs(w[0] - gc))
        windows.remove(nearest)
        chosen.append(nearest[1])
    if kind == "dinucleotide_shuffle":
        chosen = [draw_control(w, "dinucleotide", random.Random(5)) for w in chosen]
    return chosen


@cache
def engine(model: str, kind: str, n: int | None = None) -> tuple[Engine, str]:
    """A model's engine over its first n backgrounds, and the name of its scalar output; made once in a process."""
    import torch

    from marginome.incremental import Engine
    from marginome.models import load_model
    from marginome.models.outputs import Readouts
    from marginome.sequences import one_hot_encode

    settings = {k: v for k, v in MODELS[model].items() if k not in ("genome", "n")}
    loaded = load_model(model, settings)
    X = torch.stack([one_hot_encode(b) for b in backgrounds(model, kind)[:n]])
    scalars = [output for output in loaded.outputs if output.kind == "scalar"]  # a profile takes as long again
    return Engine(Readouts(loaded.module, scalars).eval(), X), scalars[0].name


def effects(model: str, kind: str, sequences: list[str], n: int | None = None) -> np.ndarray:
    """Effect (difference) of each sequence in each of the first n backgrounds, by the library: float64, (m, n)."""
    from marginome.incremental import Edits
    from marginome.substitution import encode_insert

    runner, scalar = engine(model, kind, n)
    out = np.zeros((len(sequences), len(runner.X)))
    starts = [runner.X.shape[-1] // 2 - len(s) // 2 for s in sequences]
    edits = Edits.stack([encode_insert(s)[0] for s in sequences], starts)
    for part, some, after in runner.run(edits):
        change = after[scalar].double() - runner.before[scalar][some].double()
        out[part, some] = change[..., 0].cpu().numpy()
    return out


def load() -> dict[str, np.ndarray]:
    """Read the saved table: ``sequences``, ``ladder`` (bool) and per null, "model kind", the mean effects."""
    with np.load(TABLE) as saved:
        table = {name: saved[name] for name in saved.files}
    table["sequences"] = np.array(bytes(table["sequences"]).decode().split())
    return table


def small_list(table: dict, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an insert list of five inserts of one width: indices of some `n` controls of its own, and of what is scored.

    The controls have the width and the GC of the five, as shuffles of them have; scored are all other ladder sequences
    of that width and GC.
    """
    widths = np.array([len(s) for s in table["sequences"]])
    gc = np.array([gc_fraction(s) for s in table["sequences"]])
    ladder = np.flatnonzero(table["ladder"])
    while True:
        alike = ladder[widths[ladder] == widths[rng.choice(ladder)]]
        shares = [rng.permutation(alike[np.isclose(gc[alike], value)]) for value in gc[rng.choice(alike, 5)]]
        controls = np.unique(np.concatenate([share[: n // 5] for share in shares]))
        fresh = np.setdiff1d(np.unique(np.concatenate(shares)), controls)
        if len(controls) >= 0.9 * n and len(fresh) >= 50:  # else too few sequences of that width were marginalized
            return controls, fresh


def main() -> None:
    """Compute the table and save it."""
    ladder, drawn = inserts()
    sequences = sorted([*ladder, *drawn], key=lambda s: (len(s), s))
    table = {"sequences": np.frombuffer(" ".join(sequences).encode(), dtype=np.uint8)}
    table["ladder"] = np.isin(sequences, ladder)
    for model in MODELS:
        for kind in KINDS:
            table[f"{model} {kind}"] = effects(model, kind, sequences).mean(axis=1).astype(np.float32)
            print(model, kind, len(sequences), flush=True)
    np.savez_compressed(TABLE, **table)


if __name__ == "__main__":
    main()
