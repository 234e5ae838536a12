"""How well p-values are calibrated, what wrong nulls would do, and what the null costs.

``python tests/benchmarks/bench_controls.py`` prints the tables of docs/statistics.md and draws docs/calibration.svg
from the effects in tests/data/control_effects.npz (made by tests/control_effects.py).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
matplotlib.use("svg")

from matplotlib import pyplot as plt

import control_effects
import many_effects
from marginome.controls import composition, list_controls
from marginome.insert_nulls import InsertNull, score_effects
from marginome.tails import resolution

LEVELS = (0.1, 1e-2, 1e-3)
NULLS = [f"{model} {kind}" for model in control_effects.MODELS for kind in control_effects.KINDS]
TITLES = ["BPNet, GC-matched windows", "BPNet, dinucleotide shuffles", "MPRA model, GC-matched", "MPRA model, shuffles"]


def normal(null: InsertNull, z: np.ndarray) -> np.ndarray:
    """Normal tails."""
    return 2 * stats.norm.sf(np.abs(z))


def plug_in(null: InsertNull, z: np.ndarray) -> np.ndarray:
    """The usual generalised Pareto tail: fitted by maximum likelihood to the largest tenth, used as if known."""

    def upper(sample, z):
        k = len(sample) // 10
        threshold = (sample[-k] + sample[-k - 1]) / 2
        shape, _, scale = stats.genpareto.fit(sample[-k:] - threshold, floc=0)
        ranks = (len(sample) - np.searchsorted(sample, z) + 1) / (len(sample) + 1)
        return np.where(z > threshold, k / len(sample) * stats.genpareto.sf(z - threshold, shape, scale=scale), ranks)

    return np.minimum(1, 2 * np.minimum(upper(null.null.z, z), upper(-null.null.z[::-1], -z)))


def scored(table: dict, name: str, n: int, sets: int, methods: dict) -> dict[str, list[np.ndarray]]:
    """P-values of all inserts that are not among the controls, for `sets` random sets of `n` controls."""
    widths, gc = composition(table["sequences"])
    effects, ladder = table[name].astype(float), np.flatnonzero(table["ladder"])
    rng, out = np.random.default_rng(3), {method: [] for method in methods}
    for _ in range(sets):
        controls = rng.choice(ladder, size=n, replace=False)
        null = InsertNull(effects[controls], widths[controls], gc[controls])
        fresh = np.setdiff1d(np.arange(len(effects)), controls)
        z = (effects[fresh] - null.location(widths[fresh], gc[fresh])) / null.scale(widths[fresh], gc[fresh])
        for method, function in methods.items():
            out[method].append(function(null, z))
    return out


def calibration(table: dict) -> None:
    """Print observed over expected calls, averaged over sets of controls, as far as the controls reach."""
    methods = {"marginome": InsertNull.p, "normal tails": normal, "Pareto, plugged in": plug_in}
    print(f"{'null':28} {'controls':>8} {'method':20}" + "".join(f"{level:>9g}" for level in LEVELS) + "  reach   KS")
    for name in NULLS:
        for n in (300, 1000, 3000):
            found = scored(table, name, n, 20, methods if n == 1000 else {"marginome": InsertNull.p})
            for method, sets in found.items():
                levels = [*LEVELS, resolution(n)]
                ratio = [np.mean([(p <= level).mean() for p in sets]) / level for level in levels]
                ks = np.mean([stats.kstest(p, "uniform").statistic for p in sets])
                told = "".join(f"{r:9.2f}" if x >= resolution(n) else f"{'-':>9}" for x, r in zip(levels, ratio))
                print(f"{name:28} {n:8} {method:20}{told}  {ks:.3f}", flush=True)


def far_calibration(sets: int = 20) -> None:
    """Print the same for the inserts of tests/many_effects.py, which reach further down."""
    effects = many_effects.load().astype(float)
    widths, gc = composition(many_effects.inserts(0, len(effects)))
    rng = np.random.default_rng(9)
    for n in (1000, 3000, 10000, 30000, 57479):
        levels, calls = np.array([1e-2, 1e-3, 2 * resolution(n), resolution(n)]), 0
        for _ in range(sets):
            controls = rng.choice(len(effects), size=n, replace=False)
            null = InsertNull(effects[controls], widths[controls], gc[controls])
            fresh = np.setdiff1d(np.arange(len(effects)), controls)
            location, scale = (f(widths[fresh], gc[fresh]) for f in (null.location, null.scale))
            p = null.p((effects[fresh] - location) / scale)
            calls += np.array([(p <= level).mean() for level in levels]) / sets
        told = "".join(f" {x:.2g}: {c / x:.2f}" for x, c in zip(levels, calls) if x >= resolution(n))
        print(f"MPRA model, {len(effects)} inserts, {n} controls{told}", flush=True)


def small_lists(table: dict, lists: int = 150) -> None:
    """Print observed over expected calls for insert lists of five inserts of one width, with controls of their own.

    The last columns say by how much p differs from what 1,000 controls shared by all of JASPAR give: median and 95 % of
    the absolute log10 of the ratio.
    """
    (widths, gc), ladder = composition(table["sequences"]), np.flatnonzero(table["ladder"])
    levels = "".join(f"{level:>9g}" for level in LEVELS[:3])
    print(f"{'five inserts of one width':28} {'controls':>8}{levels}   shared")
    for name in NULLS:
        values = table[name].astype(float), widths, gc
        for n in (50, 100, 300):
            rng, calls, ratios = np.random.default_rng(5), [], []
            for _ in range(lists):
                controls, fresh = control_effects.small_list(table, n, rng)
                p = _p(values, controls, fresh)
                calls.append([(p <= level).mean() for level in LEVELS[:3]])
                ratios.append(np.log10(p / _p(values, rng.choice(ladder, 1000, replace=False), fresh)))
            ratio = np.mean(calls, axis=0) / LEVELS[:3]
            differs = np.quantile(np.abs(np.concatenate(ratios)), [0.5, 0.95])
            print(f"{name:28} {n:8}" + "".join(f"{r:9.2f}" for r in [*ratio, *differs]), flush=True)


def _p(values: tuple, controls: np.ndarray, inserts: np.ndarray) -> np.ndarray:
    """P-values of some inserts under the null of some controls; `values` are all effects, widths and GC."""
    effects, widths, gc = values
    null = InsertNull(effects[controls], widths[controls], gc[controls])
    z = (effects[inserts] - null.location(widths[inserts], gc[inserts])) / null.scale(widths[inserts], gc[inserts])
    return null.p(z)


def draw(table: dict, path: Path) -> None:
    """Draw observed against expected quantiles of p, ten sets of 1,000 controls on each null."""
    plt.rcParams.update({"svg.fonttype": "none", "font.size": 8, "svg.hashsalt": "marginome"})
    figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.7), sharex=True, sharey=True, layout="constrained")
    for axis, name, title in zip(axes, NULLS, TITLES):
        found = scored(table, name, 1000, 10, {"marginome": InsertNull.p, "normal tails": normal})
        for method, colour in (("normal tails", "#d08a7c"), ("marginome", "#2b6cb0")):
            curves = []
            for p in found[method]:
                expected = np.geomspace(1, len(p), 60) / (len(p) + 1)
                curves.append(-np.log10(np.maximum(np.quantile(p, expected), 1e-12)))
            curves = np.array(curves)
            x = -np.log10(expected)
            axis.fill_between(x, curves.min(0), curves.max(0), color=colour, alpha=0.25, lw=0)
            axis.plot(x, np.median(curves, axis=0), color=colour, lw=1.4, label=method)
        axis.plot([0, 4.3], [0, 4.3], color="0.3", lw=0.7, ls=":")
        axis.set(title=title, xlabel="expected −log10 p", xlim=(0, 4.4), ylim=(0, 8))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("observed −log10 p")
    axes[0].legend(frameon=False, loc="upper left")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def cost() -> None:
    """Print the processor time of listing controls, of scoring, and of marginalizing them on the BPNet."""
    from marginome.bases import reverse_complement_text

    inserts = [(f"{i}{o}", s if o == "+" else reverse_complement_text(s))
               for i, s in control_effects.consensuses().items() for o in "+-"]  # fmt: skip
    rng = np.random.default_rng(0)
    for n in (1000, 2000):
        start = time.process_time()
        controls = list_controls(inserts, n=n, seed=1).sequences
        listed = time.process_time() - start
        start = time.process_time()
        sequences = [s for _, s in inserts]
        score_effects(rng.standard_t(4, len(inserts)), sequences, rng.standard_t(4, len(controls)), controls)
        print(
            f"{len(inserts)} inserts ({len(set(sequences))} distinct), {len(controls)} controls: "
            f"listed in {listed:.2f} s, scored in {time.process_time() - start:.2f} s an output"
        )
    # An engine is made each time, as in each shard.
    control_effects.effects("bpnet", "gc_matched", sequences[:64])
    for _ in range(3):
        for name, some in (("inserts", sequences), ("controls", controls[::2])):
            start = time.process_time()
            control_effects.effects("bpnet", "gc_matched", list(some))
            print(f"BPNet, 8 backgrounds, {len(some)} {name}: {time.process_time() - start:.1f} s")


def main() -> None:
    """Print the tables, draw the figure."""
    table = control_effects.load()
    calibration(table)
    small_lists(table)
    far_calibration()
    draw(table, control_effects.ROOT / "docs/calibration.svg")
    cost()


if __name__ == "__main__":
    main()
