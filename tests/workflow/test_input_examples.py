"""The examples about inputs: all dry-run; those whose data ship run, the spacing screen through Snakemake."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from marginome.backgrounds import make_background
from marginome.config import resolve_config
from marginome.inserts import list_inserts
from marginome.motifs import collect_motifs
from workspace import ROOT, Workspace, entry_files, need

SHIPPED = ["jaspar_release", "spacing", "pwm_sampling"]


def example(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / "examples" / f"{name}.yaml").read_text())


@pytest.mark.workflow
@pytest.mark.parametrize("name", [*SHIPPED, "hg38_gc_matched"])
def test_the_example_dry_runs(tmp_path, name):
    config = example(name)
    workspace = Workspace(tmp_path, config)
    resolved = resolve_config(config, check_files=False)
    for section in ("motifs", "backgrounds"):
        for entry in resolved[section]:
            for file in entry_files(resolved, section, entry):
                if file.startswith("data/"):  # the user's own; a dry run wants them to be there, no more
                    workspace.path("data").mkdir(exist_ok=True)
                    workspace.path(file).write_text("stands in for the user's file\n")
    done = workspace.run("--dry-run")
    for rule in ("collect_motifs", "make_background", "marginalize"):
        assert rule in done.stdout


@pytest.mark.parametrize("name", SHIPPED)
def test_the_inputs_of_the_example_are_made(name, monkeypatch):
    need("bedtools", "bedtools")
    monkeypatch.chdir(ROOT)
    config = resolve_config(example(name))
    (screen,) = config["screens"].values()
    motifs = collect_motifs(config["motifs"][screen["motifs"][0]], name=name)
    made = make_background(config["backgrounds"][screen["backgrounds"][0]], name=screen["backgrounds"][0], seed=1)
    inserts = list_inserts(
        motifs,
        mode=screen["inserts"],
        orientations=screen["orientations"],
        positions=screen["positions"],
        length=len(made.sequences[0]),
        draws=screen["draws"],
        flanks=screen.get("flanks"),
        pairs=screen.get("pairs"),
    )
    if name == "jaspar_release":
        assert {"CTCF", "MYC", "ETS1", "ELK1"} <= {m.motif_name for m in motifs}
        assert all(m.information_bits >= 8 and m.width <= 25 for m in motifs)
        assert len(inserts) == 2 * len(motifs)
    elif name == "spacing":
        assert sum(i.partner_id is not None for i in inserts) == 10 * 3 + 4 * 2
    else:
        assert len(inserts) == len(motifs) * 2 * 5 * 4
        assert all(i.sequence[:2] == "AC" and i.sequence[-2:] == "GT" for i in inserts)  # its own reverse complement


@pytest.mark.workflow
@pytest.mark.long
def test_the_spacing_screen_has_its_interaction(tmp_path):
    """Two CTCF sites next to each other give far less than their sum; far apart they add up. AP-1 adds nothing."""
    config = example("spacing")
    config["backgrounds"]["shuffled_peaks"]["n"] = 4
    ctcf_twice, with_ap1 = config["screens"]["ctcf_twice"]["pairs"]
    ctcf_twice |= {"gaps": [0, 640], "orientations": ["++"]}
    with_ap1 |= {"gaps": [20], "orders": "given"}
    workspace = Workspace(tmp_path, config)
    results = "results/screens/ctcf_twice"
    workspace.run(f"{results}/effects.parquet", f"{results}/figures/gaps.svg")
    table = pd.read_parquet(workspace.path("results", "screens", "ctcf_twice", "effects.parquet"))
    counts = table[table["output"] == "counts"]
    pairs = counts[counts["partner_id"].notna()].set_index(["partner_id", "gap"])
    alone = counts[counts["partner_id"].isna()]
    assert alone["interaction"].isna().all() and len(pairs) == 3
    assert pairs.loc[("MA0139.2", 0), "interaction"] < -0.8
    assert abs(pairs.loc[("MA0139.2", 640), "interaction"]) < 0.3
    assert abs(pairs.loc[("MA0099.4", 20), "interaction"]) < 0.1
    pair = pairs.loc[("MA0139.2", 640)]
    parts = alone[(alone["motif_id"] == "MA0139.2") & alone["start"].isin([pair["start"], pair["start"] + 15 + 640])]
    assert len(parts) == 2
    np.testing.assert_allclose(pair["interaction"], pair["effect"] - parts["effect"].sum(), atol=1e-9)
    assert b"<svg" in workspace.path("results", "screens", "ctcf_twice", "figures", "gaps.svg").read_bytes()[:2000]
