"""Screens of pairs and composites through Snakemake: their tables say what the library and brute force say."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tangermeme.ersatz import multisubstitute

from marginome import load_model, one_hot_encode, read_motifs
from marginome.arrays import group_of
from marginome.bases import reverse_complement_text
from marginome.cooperation import pair_rows, score_pairs
from marginome.fasta import read_background
from marginome.placing import read_inserts
from workspace import ROOT, Workspace

pytestmark = [pytest.mark.workflow, pytest.mark.long]
OUTPUT = "K562_minP_pooled"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    config = yaml.safe_load((ROOT / "config" / "examples" / "grammar.yaml").read_text())
    config["backgrounds"]["uniform"]["n"] = 4
    config["motifs"]["jaspar"]["include"] = ["MA0099.4", "MA0093.4", "MA0062.4", "MA0506.3", "MA0004.1"]
    (pairs,) = config["screens"]["grammar"]["pairs"]
    pairs |= {"among": ["MA0099.4", "MA0093.4"], "gaps": [0, 4, 8, 12, 50, 60], "orientations": ["++", "+-"],
              "mismatched": 40}  # fmt: skip
    config["screens"]["grammar"]["shards"] = 1
    config["screens"]["grammar"] |= {
        "functions": ["predict", "deep_lift_shap"],
        "function_settings": {"references": "background"},
    }
    config["screens"]["turned"] = config["screens"]["grammar"] | {
        "pairs": [{"among": ["MA0099.4", "MA0004.1"], "gaps": [0, 7], "orientations": ["++", "+-", "-+", "--"],
                   "orders": "both"}],
        "controls": False, "functions": ["predict"],
    }  # fmt: skip
    config["screens"]["composites"]["composites"][1]["gaps"] = [0, 20]
    config["screens"]["places"]["positions"] = {"start": 0, "stop": 100, "step": 40}
    made = Workspace(tmp_path_factory.mktemp("pairs"), config)
    wanted = [f"{name}/report.html" for name in ("grammar", "composites", "places", "turned")]
    wanted += [f"grammar/figures/{name}.svg" for name in ("interactions", "gaps", "heatmap")]
    wanted += ["composites/composites.parquet", "composites/figures/heatmap.svg", "places/composites.parquet"]
    made.run(*(f"results/screens/{name}" for name in wanted), cores=2)
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
    real = rows[rows["kept"].isna()].sort_values(["first", "second", "arrangement", "gap"])
    np.testing.assert_allclose(mine["interaction"], real["interaction"], atol=1e-6)
    np.testing.assert_allclose(mine["effect_partner"], real["effect_second"], atol=1e-6)
    seams = arrangements["seam"].notna()
    assert arrangements.loc[seams, "gap"].max() < 20 and not arrangements.loc[seams, "eligible"].any()
    effects = pd.read_parquet(folder / "effects.parquet")
    assert not effects["motif_id"].str.startswith("control").any() and "p" not in effects
    table = effects[(effects["output"] == OUTPUT) & effects["partner_id"].notna()]
    key = ["motif_id", "partner_id", "orientation", "partner_orientation", "order", "gap"]
    table = mine[key].merge(table, how="left")
    np.testing.assert_allclose(table["interaction"], mine["interaction"], atol=1e-9)
    if not seams.any():  # else what is eligible differs, and with it the largest
        found = score_pairs(rows).pairs
        of_output = pairs[pairs["output"] == OUTPUT]
        found = found.reindex(list(zip(of_output["motif_id"], of_output["partner_id"])))
        np.testing.assert_allclose(of_output["cooperation_z"], found["cooperation_z"], rtol=1e-3)
    page = (folder / "report.html").read_text()
    assert 'id="pairs-section"' in page and f'"n":{len(pairs)},"of":{len(pairs)}' in page
    assert 'id="pairs-section"' not in (folder.parent / "places" / "report.html").read_text()
    backgrounds = pd.read_parquet(folder / "pair_backgrounds.parquet")
    judged = pairs[pairs["gap"].notna()].set_index(["output", "motif_id", "partner_id"])
    beyond = backgrounds["effect_pair"] - backgrounds["effect"] - backgrounds["effect_partner"]
    beyond = beyond.groupby([backgrounds[name] for name in judged.index.names]).agg(["mean", "size"])
    assert len(beyond) == len(judged) and beyond["size"].eq(4).all()
    np.testing.assert_allclose(beyond["mean"].reindex(judged.index), judged["interaction"], atol=1e-6)
    for name in ("interactions", "pairs", "pair_backgrounds"):
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    for name in ("interactions", "pairs", "pair_backgrounds", "gaps", "gap_profiles"):
        assert b"<svg" in (folder / "figures" / f"{name}.svg").read_bytes()[:2000]


def test_attributions_are_of_the_best_arrangements_and_add_up_to_the_effects(workspace):
    folder = workspace.path("results", "screens", "grammar")
    pairs, effects = (pd.read_parquet(folder / f"{name}.parquet") for name in ("pairs", "effects"))
    key = ["motif_id", "partner_id", "orientation", "partner_orientation", "order", "gap"]
    best = set(pairs[key].dropna().itertuples(index=False, name=None))
    mine = effects[effects["output"] == OUTPUT]
    with h5py.File(folder / "functions.h5") as handle:
        found = pd.DataFrame(
            {name: handle[f"inserts/{name}"].asstr()[...] for name in ("motif_id", "orientation", "insert")}
        )
        found["start"] = handle["inserts/start"][...]
        group = handle[f"{group_of('mpra', 'uniform')}/deep_lift_shap/{OUTPUT}"]
        found["total"] = group["after"][...].astype(np.float64).sum(axis=(1, 2), where=np.isfinite(group["after"][...]))
    joined = found.merge(mine, on=["motif_id", "orientation", "insert", "start"], how="left", validate="one_to_one")
    assert set(joined.loc[joined["partner_id"].notna(), key].itertuples(index=False, name=None)) == best
    assert joined["partner_id"].isna().sum() <= 2 * len(best) < mine["partner_id"].notna().sum()
    # each background is its insert's reference: what attributions add up to is the effect
    np.testing.assert_allclose(joined["total"], joined["effect"], atol=2e-4)
    log = workspace.path("logs", "report_screen", "grammar.log").read_text()
    assert f"{len(found) * 12} attributions" in log


def test_orders_orientations_and_gaps_are_those_of_sequences_put_together_by_hand(workspace):
    """Of one motif and a palindrome, and of each beside itself: several rows are one sequence. In float64."""
    entry = workspace.config["models"]["mpra"]
    files = {key: str(ROOT / entry[key]) for key in ("weights", "architecture")}
    model = load_model("mpra", entry | files, precision="float64").module
    sequences = read_background(workspace.path("results", "backgrounds", "uniform.fa.gz"))[1]
    words = {"MA0099.4": "ATGAGTCAT", "MA0004.1": "CACGTG"}
    output = entry["outputs"]["activity"]["names"].index(OUTPUT)

    def effect(*parts):
        after = list(sequences)
        for start, word in parts:
            after = [s[:start] + word + s[start + len(word) :] for s in after]
        X = [torch.stack([one_hot_encode(s) for s in some]).double() for some in (sequences, after)]
        with torch.no_grad():
            return (model(X[1]) - model(X[0])).numpy()[:, output].mean()

    table = pd.read_parquet(workspace.path("results", "screens", "turned", "effects.parquet"))
    table = table[(table["output"] == OUTPUT) & table["partner_id"].notna()]
    assert len(table) == 3 * 2 * 4 * 2 and table.duplicated(["motif_id", "orientation", "start", "insert"]).sum() == 24
    for row in table.itertuples():
        first, second = (
            words[name] if strand == "+" else words[name][::-1].translate(str.maketrans("ACGT", "TGCA"))
            for name, strand in ((row.motif_id, row.orientation), (row.partner_id, row.partner_orientation))
        )
        left, right = (first, second) if row.order == "given" else (second, first)
        behind = row.start + len(left) + int(row.gap)
        assert row.start == 145 // 2 - (behind + len(right) - row.start) // 2
        alone = effect((row.start, left)) + effect((behind, right))
        together = effect((row.start, left), (behind, right))
        assert row.effect == pytest.approx(together, abs=2e-6)
        assert row.interaction == pytest.approx(together - alone, abs=2e-6)


def test_composites_are_what_brute_force_says_of_the_written_sequences(workspace):
    folder = workspace.path("results", "screens")
    tables = {name: pd.read_parquet(folder / name / "composites.parquet") for name in ("composites", "places")}
    assert {name: len(table) for name, table in tables.items()} == {"composites": 12 * 23, "places": 12 * 6}
    entry = workspace.config["models"]["mpra"]
    model = load_model("mpra", entry | {"weights": str(ROOT / entry["weights"]),
                                        "architecture": str(ROOT / entry["architecture"])})  # fmt: skip
    names = entry["outputs"]["activity"]["names"]
    sequences = read_background(workspace.path("results", "backgrounds", "uniform.fa.gz"))[1]
    X = torch.stack([one_hot_encode(sequence) for sequence in sequences]).float()
    collection = str(ROOT / "resources" / "motifs" / "JASPAR2026_CORE_vertebrates.meme")
    consensus = {motif.motif_id: motif.consensus for motif in read_motifs(collection)}

    def effect(motifs, strands, gaps, start):
        turned = [consensus[m] if s == "+" else reverse_complement_text(consensus[m]) for m, s in zip(motifs, strands)]
        with torch.no_grad():
            after = model.module(multisubstitute(X, turned, gaps, start=start).float())
            return (after - model.module(X)).double().numpy()[:, names.index(OUTPUT)]

    for name, table in tables.items():
        entries = workspace.config["screens"][name]["composites"]
        for row in table[table["output"] == OUTPUT].itertuples():
            motifs = entries[row.entry]["motifs"]
            motifs = motifs * (row.n_motifs // len(motifs))
            gaps = [int(gap) for gap in row.gaps.split(",")] if row.n_motifs > 1 else []
            whole, at = effect(motifs, row.orientations, gaps, row.start), row.start
            beyond = whole.copy()
            for motif, strand, gap in zip(motifs, row.orientations, [*gaps, 0]):
                beyond -= effect([motif], strand, [], at)
                at += len(consensus[motif]) + gap
            assert row.effect == pytest.approx(whole.mean(), abs=2e-5)
            assert row.beyond == pytest.approx(beyond.mean(), abs=5e-5)
            assert row.beyond_se == pytest.approx(beyond.std(ddof=1) / 2, abs=5e-5)
            assert row.effect_se == pytest.approx(whole.std(ddof=1) / 2, abs=2e-5)
    touching = tables["composites"][tables["composites"]["gaps"] == "0"]
    assert touching["n_motifs"].eq(2).all() and len(touching) == 24
    effects = pd.read_parquet(folder / "composites" / "effects.parquet")
    joined = tables["composites"].merge(effects, on=["model", "background", "output", "motif_id", "insert", "start"])
    assert len(joined) == len(tables["composites"]) and np.allclose(joined["effect_x"], joined["effect_y"], atol=1e-9)
    for name in tables:
        assert b"<svg" in (folder / name / "figures" / "composites.svg").read_bytes()[:2000]
        assert (folder / name / "report.html").stat().st_size > 100_000


def test_pairs_and_composites_are_two_screens(workspace):
    workspace.config["screens"]["places"]["pairs"] = [{"motifs": ["MA0099.4", "MA0062.4"], "gaps": [3]}]
    done = workspace.run("--dry-run", check=False)
    del workspace.config["screens"]["places"]["pairs"]
    assert done.returncode and "pairs and composites are both there" in done.stdout


def test_without_controls_there_is_nothing_to_judge_by(workspace):
    workspace.config["screens"]["grammar"]["controls"] = False
    del workspace.config["screens"]["grammar"]["pairs"][0]["mismatched"]
    planned = workspace.run("--dry-run").stdout
    assert "rule list_inserts" in planned and "rule score_pairs" not in planned
