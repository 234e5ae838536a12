"""How many mismatched pairs of a screen are called: half of them tested against the other half, both ways.

    snakemake --cores all results/screens/ctcf/pairs.parquet results/screens/ctcf/effects.h5 \
        --configfile tests/benchmarks/mismatched.yaml
    python tests/benchmarks/mismatched.py results/screens/ctcf [--backgrounds 8 16]

The screen is one that ran: its mismatched pairs are in the insert lists, and what they do in every background is in
effects.h5. None of them cooperates, so that p <= 0.05 should be said of 5 % at most. Of more backgrounds than are asked
for the first are taken.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from marginome.arrays import read_hdf5
from marginome.cooperation import NOTHING, pair_rows, score_pairs
from marginome.jobs.score_pairs import seams_of
from marginome.motifs.table import motifs_from_table
from marginome.placing import place
from marginome.storage import read_table, table_metadata


def halves(rows: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """What is said of each half of the mismatched pairs by the other, which stands beside the real pairs."""
    mismatched = (rows["kept"].notna() & (rows["kept"] != NOTHING)).to_numpy()
    names = list(dict.fromkeys(rows.loc[mismatched, "pair"]))
    first = set(np.random.default_rng(seed).permutation(len(names))[: len(names) // 2])
    half = rows["pair"].map({name: i in first for i, name in enumerate(names)})
    found = []
    for tested in (True, False):
        mine = (mismatched & (half == tested)).to_numpy()
        judged = rows.assign(kept=rows["kept"].where(~mine, None))
        pairs = score_pairs(judged).pairs
        found.append(pairs.loc[[name for name in dict.fromkeys(rows.loc[mine, "pair"])]])
    return found


def main() -> None:
    """Print a row a model, background set and number of backgrounds; calls are summed over signed outputs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("screen", type=Path, help="folder of a screen with judged pairs")
    parser.add_argument("--backgrounds", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--splits", type=int, default=1, help="ways to halve them, whose calls are added up")
    chosen = parser.parse_args()
    print("| model, background set, list | backgrounds | tested | p <= 0.05 | p <= 0.1 | syntax p <= 0.05 | p <= 0.1 |")
    print("|---|---|---|---|---|---|---|")
    lists = sorted((chosen.screen / "inserts").glob("*.parquet"))
    with read_hdf5(chosen.screen / "effects.h5") as handle:
        for model, background in ((m, b) for m in handle for b in handle[m]):
            group, done = handle[model][background], 0
            readouts = json.loads(group.attrs["readouts"])
            for path in lists:
                table = read_table(path)
                table = place(table, 10**6, counted_from=table_metadata(path)["from"])
                motifs = motifs_from_table(read_table(chosen.screen.parents[1] / "motifs" / path.name))
                seam = np.array([site is not None for site in seams_of(table, motifs)])
                effects = group["effects"][done : done + len(table)].astype(np.float64)
                done += len(table)
                for n in chosen.backgrounds:
                    made = [
                        half
                        for j, signed in enumerate(readouts["signed"])
                        if signed
                        for seed in range(chosen.splits)
                        for half in halves(pair_rows(table.assign(effect=effects[:, :n, j].mean(axis=1)), seam), seed)
                    ]
                    p = pd.concat(made)
                    calls = [int((p[name] <= alpha).sum()) for name in ("cooperation_p", "syntax_p")
                             for alpha in (0.05, 0.1)]  # fmt: skip
                    print(f"| {model}, {background}, {path.stem} | {n} | {len(p)} | {' | '.join(map(str, calls))} |",
                          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
