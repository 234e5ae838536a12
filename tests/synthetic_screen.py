"""A screen made up for tests of the report: real JASPAR motifs, effects drawn at random. Nothing here is a result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.results import Profiles

MEME = Path(__file__).parents[1] / "resources" / "motifs" / "JASPAR2026_CORE_vertebrates.meme"
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


class Screen(NamedTuple):
    effects: pd.DataFrame
    motifs: pd.DataFrame
    per_background: np.ndarray
    baseline: dict
    profiles: list[Profiles]


def jaspar(n: int) -> pd.DataFrame:
    """The first n motifs of the shipped file (with copies under new names when it has fewer), CTCF among them."""
    found = []
    for block in MEME.read_text().split("\nMOTIF ")[1:]:
        head, *lines = block.splitlines()
        identifier, _, name = head.partition(" ")
        numbers = [line.split() for line in lines if re.fullmatch(r"\s*[\d.]+(\s+[\d.]+){3}\s*", line)]
        found.append((identifier, name.strip() or identifier, np.array(numbers, dtype=float).T))
    found.sort(key=lambda motif: motif[0] != "MA0139.2")
    while len(found) < n:
        found += [(f"{i}.copy{len(found)}", f"{name} copy", pwm) for i, name, pwm in found[: n - len(found)]]
    return pd.DataFrame(found[:n], columns=["motif_id", "motif_name", "pwm"]).assign(collection="jaspar")


def synthetic_screen(
    n_motifs: int = 60,
    outputs: tuple[str, ...] = ("counts",),
    backgrounds: tuple[str, ...] = ("gc_matched", "shuffled"),
    n: int = 16,
    *,
    length: int = 1000,
    hostile: bool = False,
    seed: int = 0,
) -> Screen:
    """Draw a screen with every column of the effect table; a few motifs are strong."""
    draw = np.random.default_rng(seed)
    motifs = jaspar(n_motifs)
    if hostile:
        names = ["<script>window.owned=1</script>", '"><img src=x onerror="window.owned=1">', "{b}{a|x}",
                 "</script><b>", "=1+1", "[[provenance]]", "a\tb\nc", "\u202eevil", "&lt;b&gt;"]  # fmt: skip
        motifs.loc[: len(names) - 1, "motif_name"] = names
        motifs.loc[: len(names) - 1, "motif_id"] = [f"{name}#{i}" for i, name in enumerate(names)]
    consensus = ["".join("ACGT"[i] for i in pwm.argmax(0)) for pwm in motifs["pwm"]]
    inserts = pd.DataFrame(
        {
            "collection": "jaspar",
            "motif_id": np.repeat(motifs["motif_id"], 2).to_numpy(),
            "motif_name": np.repeat(motifs["motif_name"], 2).to_numpy(),
            "orientation": ["+", "-"] * n_motifs,
            "insert": [s for c in consensus for s in (c, c.translate(_COMPLEMENT)[::-1])],
            "family": np.repeat(np.arange(n_motifs) // 3, 2),
            "family_representative": np.repeat(motifs["motif_id"].to_numpy()[np.arange(n_motifs) // 3 * 3], 2),
        }
    )
    inserts["start"] = 1057 - inserts["insert"].str.len() // 2
    what = pd.MultiIndex.from_product([outputs, backgrounds, range(len(inserts))], names=["output", "background", "i"])
    table = what.to_frame(index=False)
    table = table.join(inserts, on="i")
    true = np.zeros((n_motifs, len(outputs)))
    true[: max(4, n_motifs // 30)] = draw.normal(0, 0.8, (max(4, n_motifs // 30), len(outputs)))
    true[0] = 1.6
    true += draw.normal(0, 0.02, true.shape)
    mean = true[table["i"] // 2, pd.Categorical(table["output"], categories=outputs).codes]
    each = mean[:, None] * draw.lognormal(0, 0.12, (len(table), n)) + draw.normal(0, 0.04, (len(table), n))
    table["model"], table["measure"], table["unit"] = "bpnet_ctcf", "difference", "log counts"
    table["n_backgrounds"] = n
    base = {(b, o): draw.normal(1.2, 0.2, n) for b in backgrounds for o in outputs}
    table["before_mean"] = [base[b, o].mean() for b, o in zip(table["background"], table["output"])]
    table["effect"] = each.mean(1)
    table["after_mean"] = table["before_mean"] + table["effect"]
    table["effect_sd"] = each.std(1, ddof=1)
    table["effect_se"] = table["effect_sd"] / np.sqrt(n)
    table["ci_low"], table["ci_high"] = (
        table["effect"] - 2.13 * table["effect_se"],
        table["effect"] + 2.13 * table["effect_se"],
    )
    table["sign_consistency"] = (np.sign(each) == np.sign(table["effect"].to_numpy())[:, None]).mean(1)
    table["n_controls"], table["control_kind"] = 50, "dinucleotide"
    table["control_mean"] = draw.normal(0, 0.01, len(table))
    table["control_sd"] = draw.uniform(0.02, 0.05, len(table))
    table["z"] = (table["effect"] - table["control_mean"]) / table["control_sd"]
    table["p"] = np.exp(-0.5 * np.minimum(table["z"] ** 2, 1200))
    table["q"] = np.minimum(1, table["p"] * 20)
    table["engine"], table["precision"] = "incremental", "float32"
    table = table.drop(columns="i")
    profiles = []
    x = np.arange(length)
    for background in backgrounds:
        rows = np.flatnonzero((table["background"] == background) & (table["output"] == outputs[0]))
        before = np.full((2, length), 1 / (2 * length)) * draw.lognormal(0, 0.05, (2, length))
        bumps = np.stack([np.exp(-0.5 * ((x - c * length) / (0.03 * length)) ** 2) for c in (0.41, 0.57)])
        change = np.clip(table["effect"].to_numpy()[rows], 0, None)[:, None, None] * bumps * 4 / length
        profiles.append(Profiles(rows, before, (before + change).astype(np.float32), first=557, output="profile"))
    return Screen(
        table,
        motifs[["collection", "motif_id", "pwm"]],
        each.astype(np.float32),
        {("bpnet_ctcf", b, o): v for (b, o), v in base.items()},
        profiles,
    )
