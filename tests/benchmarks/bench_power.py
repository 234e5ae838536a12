"""Whether findings survive another draw of controls, and how often there are findings where there is nothing.

``python tests/benchmarks/bench_power.py`` prints the tables of power and of false discoveries of docs/statistics.md,
from tests/data/demo_effects.npz (the demo's model and backgrounds, controls of 20 seeds that are not its own).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import control_effects
import demo_effects
from marginome.controls import reverse_complement_text
from marginome.discoveries import benjamini_hochberg
from marginome.nulls import score_effects
from marginome.tails import Tails, resolution

DRAWS = 20


def power() -> None:
    """Print, for each number of controls, in how many draws CTCF's matrices have q < 0.05."""
    table = demo_effects.load()
    rng = np.random.default_rng(6)
    seeds = [s for s in table["seeds"] if s != 1]
    print(f"{'background':16}{'output':10}{'controls':>9}{'draws':>6}  q median, largest  all < 0.05  MA0139.2  calls")
    for kind in demo_effects.SETS:
        for j, output in enumerate(table["readouts"]):
            alternative = "greater" if output == "profile" else "two-sided"
            for parts in (1, 2, 5, 10):
                found = []
                for draw in range(DRAWS):
                    some = [seeds[draw % len(seeds)]] if parts == 1 else rng.choice(seeds, size=parts, replace=False)
                    found.append(demo_effects.scored(table, kind, j, some, alternative))
                ctcf = np.array([rows.loc[rows["ctcf"], "q"].to_numpy() for rows in found])
                core = np.array([rows.loc[rows["core"], "q"].to_numpy() for rows in found])
                n = np.median([rows["n_controls"].iloc[0] for rows in found])
                print(
                    f"{kind:16}{output:10}{n:9.0f}{DRAWS:6}  {np.median(ctcf):.4f}  {ctcf.max():.4f}"
                    f"  {(ctcf < 0.05).all(axis=1).mean():9.2f}  {(core < 0.05).all(axis=1).mean():9.2f}"
                    f"  {np.median([(rows['q'] < 0.05).sum() for rows in found]):5.0f}",
                    flush=True,
                )


def others() -> None:
    """Print the same for the nulls of tests/control_effects.py: counts in 8 backgrounds, the MPRA model in 16.

    Of the BPNet only CTCF's inserts are computed; all others are taken to do nothing, so q is no smaller than it says.
    """
    known, sequences = control_effects.load(), demo_effects.inserts()
    ladder, rng = np.flatnonzero(known["ladder"]), np.random.default_rng(8)
    leading = {"bpnet": demo_effects.CTCF, "mpra": ("MA0527.2", "MA0605.3", "MA0591.2", "MA0076.3")}
    print(f"{'null':30}{'controls':>9}{'draws':>6}  leading: q median, largest, share < 0.05   calls")
    for model, motifs in leading.items():
        mine = {control_effects.consensuses()[motif] for motif in motifs}
        mine |= {reverse_complement_text(sequence) for sequence in mine}
        computed = sorted(mine) if model == "bpnet" else sequences
        rows = np.isin(computed, list(mine))
        for kind in control_effects.KINDS:
            effects = control_effects.effects(model, kind, computed).mean(axis=1)
            for n in (1000, 2000, 5000, 10000):
                q = []
                for _ in range(DRAWS):
                    some = rng.choice(ladder, size=n, replace=False)
                    found = score_effects(
                        effects, computed, known[f"{model} {kind}"][some], list(known["sequences"][some])
                    )
                    p = np.ones(len(sequences))
                    p[: len(computed)] = np.maximum(found.p[:, 0], found.p_resolution)
                    q.append(benjamini_hochberg(p)[: len(computed)])
                q = np.array(q)
                print(
                    f"{model + ' ' + kind:30}{n:9}{DRAWS:6}  {np.median(q[:, rows]):.4f}  {q[:, rows].max():.4f}"
                    f"  {(q[:, rows] < 0.05).mean():.2f}  {np.median((q < 0.05).sum(axis=1)):5.0f}",
                    flush=True,
                )


def false_discoveries(runs: int = 80) -> None:
    """Print how many runs find something among 1,000 effects that mean nothing, and the FDR beside 50 that do."""
    rng = np.random.default_rng(0)
    laws = {"t, 3 degrees": stats.t(3), "lognormal (1.0)": stats.lognorm(1.0)}
    print(f"{'null':20}{'controls':>9}  runs with a finding, q of p as it is  FDR beside 50, q of p as it is")
    for name, law in laws.items():
        for n in (300, 1000, 5000, 45000):
            found, share = np.zeros((2, runs), dtype=bool), np.zeros((2, runs))
            for run in range(runs):
                tails = Tails(law.rvs(size=n, random_state=rng), ranks_only=n > 5000)  # a fit of so many is slow
                p = tails.p(law.rvs(size=1000, random_state=rng))
                beside = np.concatenate([np.full(50, 1e-12), p[50:]])
                for k, least in enumerate((resolution(n), 0.0)):
                    found[k, run] = (benjamini_hochberg(np.maximum(p, least)) <= 0.05).any()
                    called = benjamini_hochberg(np.maximum(beside, least)) <= 0.05
                    share[k, run] = called[50:].sum() / max(1, called.sum())
            fitted = ("-", "-") if n > 5000 else (found[1].sum(), f"{share[1].mean():.3f}")
            print(
                f"{name:20}{n:9}  {found[0].sum():4} {fitted[0]:>4} of {runs}  {share[0].mean():.3f} {fitted[1]}",
                flush=True,
            )


if __name__ == "__main__":
    false_discoveries()
    power()
    others()
