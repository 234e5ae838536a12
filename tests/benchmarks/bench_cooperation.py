"""How often pairs are called that do not cooperate, and how often those that do: networks made by hand, at length.

    python tests/benchmarks/bench_cooperation.py [--backgrounds 8] [--period --kinds periodic additive --draws 6]

For each network of `handmade_pairs`: how many real pairs without cooperation are called, how many mismatched pairs of
another seed, what is said of the pair that was planted, and what a Wilcoxon test over backgrounds would call among the
same mismatched pairs. With --period gaps are 2 bp apart, as the test of the period wants them, and its calls are
counted instead.
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
#: The wave of the periodic network ends at 60 bp.
DENSE = [PAIRS[0] | {"gaps": [*range(3, 64, 2), 70, 80, 90, 100], "orientations": ["++"]}]


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


def tested(kind: str, pairs: list[dict], n: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """What is said of the real pairs, and of the mismatched pairs of the next seed as if they were real."""
    model, made = handmade_pairs.HandmadePairs(kind).eval(), []
    for some in (seed, seed + 1):
        table = handmade_pairs.listed(pairs, seed=some)
        single = handmade_pairs.effects(model, table, n_backgrounds=n, each=True)
        seam = np.array([s is not None for s in seams_of(table, handmade_pairs.motifs())])
        made.append(pair_rows(table.assign(effect=single.mean(axis=1)), seam))
        if some == seed:
            by_wilcoxon = wilcoxon_calls(table, single, made[0])
            size = len(table)
    real, other = made
    other = other[other["kept"].notna() & (other["kept"] != NOTHING)].assign(kept=None)
    other.index += 10 * size
    for side in ("first", "second"):
        other[side] = other[side].str.replace("control_", "fresh_")
    other["pair"] = list(zip(other["first"], other["second"]))
    found = score_pairs(pd.concat([real, other])).pairs
    fresh = np.array([any("fresh" in motif for motif in pair) for pair in found.index])
    return score_pairs(real).pairs, found[fresh], by_wilcoxon


def main() -> None:
    """Print one row a network and number of backgrounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backgrounds", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--kinds", nargs="+", default=list(handmade_pairs.KINDS))
    parser.add_argument("--draws", type=int, default=1, help="of mismatched pairs, whose calls are added up")
    parser.add_argument("--period", action="store_true")
    parser.add_argument("--gain", type=float, default=handmade_pairs.GAIN, help="of the planted pair")
    chosen = parser.parse_args()
    test, pairs = ("period", DENSE) if chosen.period else ("cooperation", PAIRS)
    handmade_pairs.GAIN = chosen.gain
    print("| network | backgrounds | others called, p <= 0.05 | mismatched called, p <= 0.05 | p <= 0.1 | "
          "planted: p, z, syntax p, period share, p | Wilcoxon over backgrounds calls |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for kind in chosen.kinds:
        planted = kind not in ("additive", "saturating")
        for n in chosen.backgrounds:
            started = time.monotonic()
            rest, p, said, by_wilcoxon = [], [], [], []
            for seed in range(1, chosen.draws + 1):
                own, fresh, share = tested(kind, pairs, n, seed)
                rest.append(own.drop(index=[handmade_pairs.TOGETHER] if planted else [])[f"{test}_p"])
                p.append(fresh[f"{test}_p"])
                by_wilcoxon.append(share)
                best = own.loc[[handmade_pairs.TOGETHER]].iloc[0]
                said.append(f"{best['cooperation_p']:.3g}, {best['cooperation_z']:+.1f}, {best['syntax_p']:.3g}, "
                            f"{best['period_share']:.2g}, {best['period_p']:.2g}")  # fmt: skip
            rest, p = pd.concat(rest), pd.concat(p)
            print(f"| {kind} | {n} | {(rest <= 0.05).sum()} of {len(rest)} | {(p <= 0.05).sum()} of {len(p)} | "
                  f"{(p <= 0.1).sum()} | {'; '.join(said) if planted else '-'} | {100 * np.mean(by_wilcoxon):.0f} % |",
                  flush=True)  # fmt: skip
            print(f"# {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
