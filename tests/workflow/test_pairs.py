"""A screen of pairs through Snakemake: what its tables say is what the library says of its shards."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from marginome.arrays import group_of
from marginome.cooperation import pair_rows, score_pairs
from marginome.placing import read_inserts
from workspace import ROOT, Workspace

pytestmark = pytest.mark.workflow
OUTPUT = "K562_minP_pooled"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    config = yaml.safe_load((ROOT / "config" / "examples" / "grammar.yaml").read_text())
    config["backgrounds"]["uniform"]["n"] = 4
    config["motifs"]["jaspar"]["include"] = ["MA0099.4", "MA0093.4", "MA0139.2"]
    (pairs,) = config["screens"]["grammar"]["pairs"]
    pairs |= {"among": ["MA0099.4", "MA0093.4"], "gaps": [0, 4, 8, 12, 50, 60], "orientations": ["++", "+-"],
              "mismatched": 40}  # fmt: skip
    made = Workspace(tmp_path_factory.mktemp("pairs"), config)
    made.run(cores=2)
    return made


def test_the_example_in_small(workspace):
    folder = workspace.path("results", "screens", "grammar")
    pairs, arrangements = (pd.read_parquet(folder / f"{name}.parquet") for name in ("pairs", "arrangements"))
    assert len(pairs) == 3 * 12 and len(arrangements) == 3 * 12 * 12
    assert pairs["n_mismatched"].eq(40).all() and pairs["far_bp"].eq(60).all()
    assert pairs["cooperation_p"].between(1e-9, 1).all() and pairs["cooperation_q"].ge(1 / 41).all()

    listed = read_inserts(folder / "inserts" / "jaspar.parquet", 145)
    with h5py.File(folder / "effects.h5") as handle:
        group = handle[group_of("mpra", "uniform")]
        column = json.loads(group.attrs["readouts"])["output"].index(OUTPUT)
        singles = group["effects"][:, :, column].astype(np.float64)
    rows = pair_rows(listed.assign(effect=singles.mean(axis=1)), np.zeros(len(listed), dtype=bool))
    mine = arrangements[arrangements["output"] == OUTPUT].reset_index(drop=True)
    real = rows[rows["kept"].isna()]
    np.testing.assert_allclose(mine["interaction"], real["interaction"], atol=1e-6)
    np.testing.assert_allclose(mine["effect_partner"], real["effect_second"], atol=1e-6)
    seams = arrangements["seam"].notna()
    assert arrangements.loc[seams, "gap"].max() < 20 and not arrangements.loc[seams, "eligible"].any()
    effects = pd.read_parquet(folder / "effects.parquet")
    assert not effects["motif_id"].str.startswith("control").any() and "p" not in effects
    table = effects[(effects["output"] == OUTPUT) & effects["partner_id"].notna()]
    np.testing.assert_allclose(table["interaction"], mine["interaction"], atol=1e-9)
    if not seams.any():  # else what is eligible differs, and with it the largest
        found = score_pairs(rows).pairs
        np.testing.assert_allclose(
            pairs.loc[pairs["output"] == OUTPUT, "cooperation_z"], found["cooperation_z"], rtol=1e-3
        )
    for name in ("interactions", "pairs", "gaps"):
        assert b"<svg" in (folder / "figures" / f"{name}.svg").read_bytes()[:2000]


def test_without_controls_there_is_nothing_to_judge_by(workspace):
    workspace.config["screens"]["grammar"]["controls"] = False
    del workspace.config["screens"]["grammar"]["pairs"][0]["mismatched"]
    planned = workspace.run("--dry-run").stdout
    assert "rule list_inserts" in planned and "rule score_pairs" not in planned
