"""How often pairs are called that do not cooperate, and how often those that do: networks made by hand, at length.

    python tests/benchmarks/bench_cooperation.py [--backgrounds 8]

For each network of `handmade_pairs`: how many real pairs without cooperation are called, how many mismatched pairs of
another seed, what is said of the pair that was planted, and what a Wilcoxon test over backgrounds would call among the
same mismatched pairs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import handmade_pairs
from marginome.cooperation import NOTHING, pair_rows, score_pairs
from marginome.interactions import motifs_alone
from marginome.jobs.score_pairs import seams_of

PAIRS = [{"among": list(handmade_pairs.WEIGHTS), "gaps": [0, *range(3, 34, 3), 70, 80, 90, 100],
          "orientations": ["++", "+-"], "mismatched": 100}]  # fmt: skip


def wilcoxon_calls(table: pd.DataFrame, single: np.ndarray, rows: pd.DataFrame) -> float:
    """Share of mismatched pairs that a Wilcoxon test over backgrounds calls, Bonferroni over arrangements, p 0.05."""
    alone = motifs_alone(table)
    at = table.index.get_indexer(
        rows.index[rows["kept"].notna() & (rows["kept"] != NOTHING) & (rows["gap"] >= 3) & (rows["gap"] < 70)]
    )
    beyond = single[at] - single[alone[at, 0]] - single[alone[at, 1]]
    p = stats.wilcoxon(beyond, axis=1).pvalue
    pair = pd.factorize(rows.loc[table.index[at], "pair"])[0]
    least = pd.Series(p).groupby(pair).min() * pd.Series(p).groupby(pair).size()
    return float((least <= 0.05).mean())


def main() -> None:
    """Print one row a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backgrounds", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--kinds", nargs="+", default=list(handmade_pairs.KINDS))
    chosen = parser.parse_args()
    table, fresh = (handmade_pairs.listed(PAIRS, seed=seed) for seed in (1, 2))
    print("| network | backgrounds | others called, p <= 0.05 | mismatched called, p <= 0.05 | p <= 0.1 | "
          "planted: p, z, syntax p, period p | Wilcoxon over backgrounds calls |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for kind in chosen.kinds:
        model = handmade_pairs.HandmadePairs(kind).eval()
        for n in chosen.backgrounds:
            started = time.monotonic()
            singles = [handmade_pairs.effects(model, t, n_backgrounds=n, each=True) for t in (table, fresh)]
            made = []
            for listed, single in zip((table, fresh), singles):
                seam = seams_of(listed, handmade_pairs.motifs())
                made.append(
                    pair_rows(listed.assign(effect=single.mean(axis=1)), np.array([s is not None for s in seam]))
                )
            real, other = made
            other = other[other["kept"].notna() & (other["kept"] != NOTHING)].assign(kept=None)
            other.index += 10 * len(table)
            for side in ("first", "second"):
                other[side] = other[side].str.replace("control_", "fresh_")
            other["pair"] = list(zip(other["first"], other["second"]))
            found = score_pairs(pd.concat([real, other])).pairs
            is_fresh = np.array([any("fresh" in motif for motif in pair) for pair in found.index])
            own = score_pairs(real).pairs
            planted = kind not in ("additive", "saturating")
            rest = own.drop(index=[handmade_pairs.TOGETHER]) if planted else own
            p = found["cooperation_p"][is_fresh]
            said = "-"
            if planted:
                best = own.loc[[handmade_pairs.TOGETHER]].iloc[0]
                said = (f"{best['cooperation_p']:.3g}, {best['cooperation_z']:+.1f}, {best['syntax_p']:.3g}, "
                        f"{best['period_p']:.2g}")  # fmt: skip
            print(f"| {kind} | {n} | {(rest['cooperation_p'] <= 0.05).sum()} of {len(rest)} | {(p <= 0.05).sum()} of "
                  f"{len(p)} | {(p <= 0.1).sum()} | {said} | {100 * wilcoxon_calls(table, singles[0], real):.0f} % |",
                  flush=True)  # fmt: skip
            print(f"# {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
