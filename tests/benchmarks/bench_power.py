"""Whether findings survive another draw of controls, and how often there are findings where there is nothing.

``python tests/benchmarks/bench_power.py`` prints the tables of power and of false discoveries of docs/statistics.md,
from the effects of tests/control_effects.py and tests/demo_effects.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import control_effects
import demo_effects
import handmade
from marginome.bases import reverse_complement_text
from marginome.controls import composition, list_controls
from marginome.discoveries import benjamini_hochberg, controls_needed
from marginome.insert_nulls import InsertNull, score_effects
from marginome.tails import Tails, resolution

DRAWS = 20


def ahead() -> None:
    """Print how many of the demo's fresh controls do more than CTCF, by z and by the effect itself."""
    table, sequences = demo_effects.load(), demo_effects.inserts()
    print(f"{'set':16}{'output':10}{'insert':10}{'controls':>9}  more by z, by effect")
    for kind in demo_effects.SETS:
        controls = demo_effects.drawn(table, kind)
        widths, gc = composition(list(controls))
        for j, output in enumerate(table["readouts"]):
            known = np.array([x[j] for x in controls.values()], dtype=float)
            null = InsertNull(known, widths, gc)
            theirs = (known - null.location(widths, gc)) / null.scale(widths, gc)
            for name in demo_effects.CTCF:
                for insert in (c := control_effects.consensuses()[name], reverse_complement_text(c)):
                    width, fraction = composition([insert])
                    effect = float(table[f"inserts {kind}"][sequences.index(insert), j])
                    z = (effect - null.location(width, fraction)[0]) / null.scale(width, fraction)[0]
                    more = (theirs >= z).sum(), (known >= effect).sum()
                    print(f"{kind:16}{output:10}{name:10}{len(known):9}  {more[0]:4} {more[1]:4}")


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


def _both_ways(name: str) -> set[str]:
    """The consensus of a matrix of JASPAR and its reverse complement."""
    consensus = control_effects.consensuses()[name]
    return {consensus, reverse_complement_text(consensus)}


def _z(null: InsertNull, effects: np.ndarray, inserts: list[str]) -> np.ndarray:
    """Effects in the units of a null, at each insert's width and GC."""
    widths, gc = composition(inserts)
    return (effects - null.location(widths, gc)) / null.scale(widths, gc)


def handmade_networks(tests: int = 200) -> None:
    """Print how often the motif of a network made by hand is found, and how much else, over fresh draws of controls.

    Tested are its consensus, both ways round, and meaningless inserts drawn as controls are (JASPAR's own are no draws
    to the random part of a network: dozens hold TAATTA). Controls: as many as the motif alone needs, `list_controls`
    with a seed for each draw.
    """
    jaspar = [(s, s) for s in demo_effects.inserts()]
    drawn = list(list_controls(jaspar, n=tests, seed=1).sequences)
    print(
        "motif, network, controls: of 20 draws it is found in; others found, of them meaningless; controls with sites"
    )
    for name, called in handmade.PLANTED.items():
        planted = sorted(_both_ways(name))
        sequences = [*planted, *drawn[: tests - len(planted)]]
        real, n = handmade.means_something(name, sequences), controls_needed(tests, len(planted))
        sets = [list(list_controls(jaspar, n=n, seed=seed).sequences) for seed in range(2, 2 + DRAWS)]
        sites = np.median([handmade.means_something(name, controls).sum() for controls in sets])
        for kind in handmade.KINDS:
            effects, found = handmade.effects(name, kind, sequences), []
            for controls in sets:
                scores = score_effects(effects, sequences, handmade.effects(name, kind, controls), controls)
                found.append(benjamini_hochberg(np.maximum(scores.p[:, 0], scores.p_resolution)) <= 0.05)
            own, others = np.array(found)[:, : len(planted)].all(axis=1), np.array(found)[:, len(planted) :]
            print(f"{called}, {kind}, {n}: {own.sum()} of {DRAWS}; {others.sum()}, "
                  f"{(others & ~real[len(planted) :]).sum()}; {sites:.0f}", flush=True)  # fmt: skip


def fresh_draws(draws: int = DRAWS, n: int = 14369) -> None:
    """Print in how many fresh draws of the demo's controls CTCF's six inserts have q < 0.05 on counts.

    A draw is of `list_controls` with a seed of its own (not the demo's, 1), in the demo's own backgrounds. A control
    is ahead of CTCF only if it does much: all are put into one background, and what does at least a tenth of the
    weakest of the six there into all. Location and scale at the six's widths and GC are those of the saved controls.
    """
    table, sequences = demo_effects.load(), demo_effects.inserts()
    six = [s for name in demo_effects.CTCF for s in sorted(_both_ways(name))]
    column = [str(name) for name in table["readouts"]].index("counts")
    few, all_of_them = demo_effects.Demo(only="counts", n=1), demo_effects.Demo(only="counts")
    sets = [list(list_controls([(s, s) for s in sequences], n=n, seed=seed).sequences) for seed in range(2, 2 + draws)]
    every = sorted({c for controls in sets for c in controls}, key=lambda s: (len(s), s))
    print(f"{len(every)} different controls in {draws} draws of {n}")
    for kind in demo_effects.SETS:
        known = demo_effects.drawn(table, kind)
        null = InsertNull(np.array([x[column] for x in known.values()], dtype=float), *composition(list(known)))

        mine = table[f"inserts {kind}"][[sequences.index(s) for s in six], column].astype(float)
        own_z = _z(null, mine, six)
        first = few.effects(kind, every)[:, 0]
        strong = [s for s, x in zip(every, first) if x >= mine.min() / 10]
        effects = all_of_them.effects(kind, strong)[:, 0]
        half = effects >= mine.min() / 2  # of these, how near to the line were any? A share of 1/10 would be on it
        nearest = min(
            (x / mine.min() for x, s in zip(first, every) if s in set(np.array(strong)[half])), default=np.inf
        )
        of_strong = dict(zip(strong, _z(null, effects, strong)))
        ahead = np.array([
            [sum(of_strong.get(c, -np.inf) >= own for c in controls) for own in own_z] for controls in sets
        ])  # fmt: skip
        p = np.ones((draws, len(sequences)))
        p[:, : len(six)] = 2 * (ahead + 1) / (np.array([len(c) for c in sets])[:, None] + 1)
        q = np.array([benjamini_hochberg(row)[: len(six)] for row in p])
        print(
            f"{kind}: {len(strong)} put into all backgrounds; of those with half of CTCF's effect there the "
            f"least share in the first was {nearest:.2f}; ahead of each of the six, by draw: {ahead.tolist()}"
        )
        print(f"{kind}: draws with q < 0.05, by insert: {(q < 0.05).sum(axis=0)}; all: {(q < 0.05).all(axis=1).sum()}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    false_discoveries()
    ahead()
    others()
    handmade_networks()
    fresh_draws()
