"""The example configs about models: each plans a run; the two whose data ship run, on a few motifs."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from marginome.config import file_keys
from workspace import ROOT, Workspace, jobs_of, rules_run

EXAMPLES = ROOT / "config/examples"
SHIPPED = ("mpra_dragonn", "own_model", "atlas")


def space(tmp_path, name: str) -> Workspace:
    """A working directory with the example and a placeholder for each file that the user brings."""
    made = Workspace(tmp_path, yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()))
    (tmp_path / "config").symlink_to(ROOT / "config")
    for _, file in file_keys(made.config):
        path = tmp_path / file
        if not path.exists():
            assert name not in SHIPPED, file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("placeholder")
    return made


@pytest.mark.workflow
@pytest.mark.parametrize(
    "name",
    ["bpnet_controls", "chrombpnet_folds", "cherimoya_folds", "crested", "splicing", "long_models", "beluga", *SHIPPED],
)
def test_examples_plan_a_run(tmp_path, name):
    planned = rules_run(space(tmp_path, name).run("--dry-run").stdout)
    assert {"check_model", "predict_baseline", "marginalize", "summarize_screen"} <= planned


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("name", "screen", "motifs"),
    [
        pytest.param("mpra_dragonn", "reporter", ["MA0506.3", "MA0138.3"], marks=pytest.mark.long),
        pytest.param("own_model", "binding", ["MA0139.2", "MA0138.3"], marks=pytest.mark.long),
    ],
)
def test_examples_whose_data_ship_run(tmp_path, name, screen, motifs):
    made = space(tmp_path, name)
    made.config["motifs"]["jaspar"]["include"] = motifs
    made.config["backgrounds"]["uniform"]["n"] = 20
    made.config["models"].pop("deepbind_ctcf_selex", None)  # the example of a sheet runs it
    made.config["screens"][screen] |= {"models": [*made.config["models"]], "controls": {"pool": 60}, "shards": 1}
    made.run(f"results/screens/{screen}/effects.parquet", cores=2)
    effects = pd.read_parquet(made.path("results/screens", screen, "effects.parquet"))
    assert set(effects["model"]) == set(made.config["models"])
    assert set(effects["motif_id"]) == set(motifs)
    known = effects[effects["motif_id"] == motifs[0]]
    if name == "mpra_dragonn":  # NRF1 activates the reporter, REST does not
        assert set(effects["output"]) == set(made.config["models"]["mpra"]["outputs"]["activity"]["names"])
        assert (known["effect"] > 0.1).all() and (effects[effects["motif_id"] == motifs[1]]["effect"] < 0.1).all()
    else:  # CTCF
        assert (known[known["model"].str.contains("ctcf")]["effect"] > 5).all()
        assert (known[known["model"].str.contains("jund")]["effect"] < 3).all()


@pytest.mark.workflow
@pytest.mark.long
def test_the_example_of_a_sheet_runs(tmp_path):
    """CTCF's motif moves the models of CTCF, by the labels of the sheet; each row is computed once for both screens."""
    made = space(tmp_path, "atlas")
    made.config["block"] = 16
    made.config["motifs"]["jaspar"]["include"] = ["MA0139.2", "MA0138.3"]
    made.config["backgrounds"]["uniform"]["n"] = 20
    for screen in made.config["screens"].values():
        screen["controls"] = {"pool": 60}
    done = made.run("screens", "--omit-from", "report_batch_of_2", "check_entries")
    assert jobs_of(done.stdout)["check_model"] == 1 and jobs_of(done.stdout)["predict_baseline"] == 1
    rows = {}
    for screen in ("all", "chip"):
        folder = made.path("results/screens", screen)
        files = pd.read_parquet(folder / "manifest.parquet")["file"].unique()
        read = pd.concat([pd.read_parquet(folder / file) for file in files])
        rows[screen] = read.merge(pd.read_parquet(folder / "models.parquet"), on="model", validate="many_to_one")
    assert set(rows["all"]["model"]) == {"ctcf_selex", "ctcf_chip", "jund_chip"}
    assert set(rows["chip"]["model"]) == {"ctcf_chip", "jund_chip"} and set(rows["chip"]["assay"]) == {"ChIP-seq"}
    ctcf = rows["all"][rows["all"]["motif_id"] == "MA0139.2"]
    assert (ctcf.loc[ctcf["protein"] == "CTCF", "effect"] > 5).all()
    assert (ctcf.loc[ctcf["protein"] == "JUND", "effect"] < 3).all()
    told = {}
    for screen in ("all", "chip"):
        folder = made.path("results/screens", screen)
        labels = pd.read_parquet(folder / "label_consensus.parquet")
        told[screen] = labels.groupby(["label", "value"])["n_models"].unique().map(list).to_dict()
        assert (folder / "atlas.html").is_file() and (folder / "figures" / "clustermap.svg").is_file()
    assert len(list(made.path("results/screens/all/pages").glob("*/*.html"))) == 3  # a page for each of the models
    protein, assay = ({("protein", "CTCF"): [2], ("protein", "JUND"): [1]}, {("assay", "ChIP-seq"): [2]})
    assert told == {"all": {**protein, **assay, ("assay", "SELEX"): [1]}, "chip": assay}  # a protein for each: no label
