"""Of judged pairs, the best arrangements and their motifs alone: what attributions are computed for."""

from __future__ import annotations

import pandas as pd
import pytest

import handmade_pairs
from marginome.columns import conform
from marginome.jobs.choose_arrangements import choose_arrangements
from marginome.list_tables import INSERT_LIST
from marginome.placing import FIRST_BASE, read_inserts
from marginome.storage import table_metadata, write_table

PAIRS = [{"among": ["MA0099.4", "MA0062.4"], "gaps": [3, 10, 50], "orientations": ["++", "+-"], "mismatched": 40}]


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "inserts.parquet"
    table = handmade_pairs.listed(PAIRS).rename(columns={"start": "offset"})
    write_table(path, conform(table, INSERT_LIST, name="inserts"), {"from": FIRST_BASE, "seed": 1})
    return path, table


def pairs_of(table: pd.DataFrame, rows: list[int]) -> pd.DataFrame:
    """The best arrangements, the first of them in two outputs, and a pair without one."""
    keys = ["collection", "position", "motif_id", "partner_id", "orientation", "partner_orientation", "order", "gap"]
    best = table.loc[[*rows, rows[0]], keys]
    return pd.concat([best, best.iloc[:1].assign(orientation=None, order=None, gap=None)], ignore_index=True)


def test_the_best_arrangements_and_their_motifs_alone_are_left(listed, tmp_path):
    path, table = listed
    real = table[(table["role"] == "motif") & table["partner_id"].notna()]
    best = [part.index[i + 1] for i, (_, part) in enumerate(real.groupby(["motif_id", "partner_id"]))]
    assert len(best) == 3, "every pair was judged"
    write_table(tmp_path / "pairs.parquet", pairs_of(table, best))
    choose_arrangements(inserts=path, pairs=tmp_path / "pairs.parquet", chosen=tmp_path / "best.parquet")
    kept, whole = (read_inserts(p, handmade_pairs.LENGTH) for p in (tmp_path / "best.parquet", path))
    wanted = set()
    for row in best:  # by hand: the pair, and each of its motifs where it stands in it
        pair = whole.loc[row]
        widths = {m: handmade_pairs.HandmadePairs("additive").widths[m] for m in (pair["motif_id"], pair["partner_id"])}
        behind = pair["start"] + widths[pair["motif_id"]] + pair["gap"]
        alone = whole[whole["partner_id"].isna()]
        for name, strand, start in ((pair["motif_id"], pair["orientation"], pair["start"]),
                                    (pair["partner_id"], pair["partner_orientation"], behind)):  # fmt: skip
            found = (alone["motif_id"] == name) & (alone["orientation"] == strand) & (alone["start"] == start)
            wanted |= set(alone.index[found])
        wanted.add(row)
    pd.testing.assert_frame_equal(kept, whole.loc[sorted(wanted)].reset_index(drop=True), check_dtype=False)
    assert len(kept) <= 9 and set(kept["role"]) == {"motif"}
    assert table_metadata(tmp_path / "best.parquet")["from"] == FIRST_BASE


def test_of_pairs_that_were_not_judged_all_arrangements_are_left(listed, tmp_path):
    path, table = listed
    nothing = pairs_of(table, [0]).assign(orientation=None, partner_orientation=None, order=None, gap=None)
    write_table(tmp_path / "pairs.parquet", nothing)
    choose_arrangements(inserts=path, pairs=tmp_path / "pairs.parquet", chosen=tmp_path / "best.parquet")
    kept, whole = (read_inserts(p, handmade_pairs.LENGTH) for p in (tmp_path / "best.parquet", path))
    real = whole[whole["role"] == "motif"]
    assert kept["partner_id"].notna().sum() == real["partner_id"].notna().sum() > 10
    assert set(kept["insert_id"]) == set(real["insert_id"])
