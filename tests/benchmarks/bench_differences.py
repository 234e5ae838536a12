"""How often differences between models are called where there are none, and where there are.

``python tests/benchmarks/bench_differences.py`` prints the tables of docs/differences.md (a few minutes on one core).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from marginome.discoveries import add_q
from marginome.model_differences import align_scales, model_differences
from simulated_models import NULLS, Models, simulate

INSERTS, MOTIFS, DIFFERENT, DRAWS = 300, 60, 30, 20


def compared(models: Models) -> pd.DataFrame:
    """Compare two sides of simulated models; q is within the inserts."""
    first, second = models.first.mean(0), models.second.mean(0)
    factors = align_scales(first, second).factors
    first, second = first * factors[: first.shape[1]], second * factors[first.shape[1] :]
    s = models.sequences
    found = model_differences(first[:INSERTS], second[:INSERTS], s[:INSERTS], first[INSERTS:], second[INSERTS:],
                              s[INSERTS:])  # fmt: skip
    return add_q(pd.DataFrame({name: getattr(found, name) for name in ("p", "p_controls", "p_models", "p_resolution")}),
                 [], test=None)  # fmt: skip


def over_backgrounds(models: Models) -> np.ndarray:
    """P of a t test that takes every background of every model for a replicate: what is wrong."""
    each = []
    for side, scales in ((models.first, models.scales), (models.second, models.scales[models.first.shape[2] :])):
        values = side / scales[: side.shape[2]]
        each.append(values.transpose(1, 0, 2).reshape(values.shape[1], -1)[:INSERTS])
    return stats.ttest_ind(*each, axis=1, equal_var=False).pvalue


def tables(sides: tuple[int, int], **options) -> list[tuple[Models, pd.DataFrame]]:
    """Draws of models, half of them on each null."""
    rng = np.random.default_rng(1)
    drawn = [simulate(rng, *sides, null=NULLS[i % 2], inserts=INSERTS, motifs=MOTIFS, **options) for i in range(DRAWS)]
    return [(models, compared(models)) for models in drawn]


def rate(p: list, level: float, rows: slice = slice(None)) -> float:
    return float(np.mean([(np.asarray(one)[rows] <= level).mean() for one in p]))


def main() -> None:
    """Print the tables."""
    motifs = slice(0, MOTIFS)
    print("no difference: observed over expected calls of all 300 inserts, and of the 60 motifs; runs with a finding")
    for sides, backgrounds in [((1, 1), 8), ((3, 3), 8), ((3, 3), 16), ((3, 6), 8), ((6, 6), 8), ((12, 12), 8)]:
        drawn = tables(sides, backgrounds=backgrounds)
        named = {"p": [t["p"] for _, t in drawn], "p_models": [t["p_models"] for _, t in drawn],
                 "p_controls": [t["p_controls"] for _, t in drawn],
                 "over backgrounds": [over_backgrounds(m) for m, _ in drawn]}  # fmt: skip
        for name, p in named.items():
            cells = [f"{rate(p, level, rows) / level:.2f}" for level in (0.05, 0.01) for rows in (slice(None), motifs)]
            print(sides, backgrounds, name, *cells, flush=True)
        print(sides, backgrounds, "runs with q <= 0.05:", sum((t["q"] <= 0.05).any() for _, t in drawn), "of", DRAWS)
    print("30 of the 60 motifs differ: share of them with p <= 0.01, with q <= 0.05; share of q <= 0.05 that is false")
    for sides in [(3, 3), (3, 6), (6, 6), (12, 12)]:
        for apart in (3, 5, 10, 20):
            drawn = tables(sides, different=DIFFERENT, apart=float(apart))
            called = [(t["q"] <= 0.05).to_numpy() for _, t in drawn]
            false = np.mean([c[DIFFERENT:].sum() / max(1, c.sum()) for c in called])  # 0 where nothing is called
            print(sides, apart, f"{rate([t['p'] for _, t in drawn], 0.01, slice(0, DIFFERENT)):.2f}",
                  f"{np.mean([c[:DIFFERENT].mean() for c in called]):.2f} {false:.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
