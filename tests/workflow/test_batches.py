"""A run over a batch of several models: the numbers of models alone, and a model that fails costs only itself.

A config's models are batches of one; here a copy of the workflow puts them all into one.
"""

from __future__ import annotations

import json
import textwrap

import pandas as pd
import pytest

from workspace import MOTIFS, Workspace, jobs_of, rules_run

pytestmark = [pytest.mark.workflow, pytest.mark.long]
CODE = textwrap.dedent(
    """
    import torch


    class Toy(torch.nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.conv, self.counts = torch.nn.Conv1d(4, 6, 7), torch.nn.Linear(6, 2)
            self.seed = seed

        def forward(self, X):
            if self.seed == 13:
                raise ValueError("no such luck")
            return self.counts(torch.relu(self.conv(X)).mean(-1))
    """
) + "".join(f"\n\ndef toy_{seed}():\n    return Toy({seed})\n" for seed in (0, 13, 1, 2, 3, 4))
TABLE, LABELS = "results/screens/s/effects.parquet", "results/screens/s/models.parquet"


def _config(*seeds: int) -> dict:
    outputs = {"counts": {"names": ["a", "b"]}}
    jaspar = {"files": ["resources/motifs/JASPAR2026_CORE_vertebrates.meme"], "include": MOTIFS}
    return {
        "block": 16,
        "models": {
            f"m{seed}": {"loader": f"toy.py:toy_{seed}", "input_length": 100, "outputs": outputs} for seed in seeds
        },
        "motifs": {"jaspar": jaspar},
        "backgrounds": {"u": {"kind": "uniform", "n": 3, "length": 100}},
        "screens": {
            "s": {"models": [f"m{seed}" for seed in seeds], "motifs": ["jaspar"], "backgrounds": ["u"],
                  "controls": {"pool": 60}}
        },
    }  # fmt: skip


def _workspace(folder, config, **given) -> Workspace:
    folder.mkdir()
    (folder / "toy.py").write_text(CODE)
    return Workspace(folder, config, **given)


def _sheet(*seeds: int) -> str:
    """The same models as a sheet, in three tissues."""
    entries = _config(*seeds)["models"]
    rows = [f"{name}\t{entry['loader']}\t100\t{json.dumps(entry['outputs'])}\ttissue{i % 3}\n"
            for i, (name, entry) in enumerate(entries.items())]  # fmt: skip
    return "name\tloader\tinput_length\toutputs\ttissue\n" + "".join(rows)


def _atlas(workspace: Workspace, *seeds: int, models=None) -> None:
    """Have a workspace take its models from a sheet."""
    workspace.path("models.tsv").write_text(_sheet(*seeds))
    config = _config(*seeds)
    del config["models"]
    config["screens"]["s"]["models"] = models or {"tissue": ["tissue0", "tissue1", "tissue2"][: len(seeds)]}
    workspace.config = {**config, "sheets": ["models.tsv"]}


@pytest.fixture
def batched(tmp_path):
    """The workflow with all models in one batch: three rows of a sheet."""
    workspace = _workspace(tmp_path / "batched", _config(0, 13, 1))
    _atlas(workspace, 0, 13, 1)
    return workspace


def test_a_batch_of_models_with_one_that_fails(batched, tmp_path):
    first = batched.run(TABLE, check=False)
    assert first.returncode != 0 and "Error in rule summarize_screen" in first.stdout
    assert first.stdout.count("Error in rule") == 1
    last = batched.path("logs/summarize_screen/s.log").read_text().splitlines()[-1]
    assert "model 'm13'" in last and "no such luck" in last and "check.json" in last
    (batch,) = batched.path("results/screens/s/effects").iterdir()
    assert batch.name.startswith("m0+2-")
    assert set(pd.read_parquet(batch)["model"]) == {"m0", "m1"}

    _atlas(batched, 0, 1)
    assert "make_background" not in rules_run(batched.run().stdout)
    folder = batched.path("results/screens/s")
    assert {file.name for file in folder.iterdir() if file.is_file()} == {
        "manifest.parquet", "models.parquet", "label_consensus.parquet", "tau.parquet", "agreement.parquet",
        "atlas.html", "consensus.parquet", "provenance.json",
    }  # fmt: skip
    manifest = pd.read_parquet(folder / "manifest.parquet")
    assert manifest[["model", "file"]].to_numpy().tolist() == [[m, f"effects/{batch.name}"] for m in ("m0", "m1")]
    record = json.loads((folder / "provenance.json").read_text())
    assert record["result_sha256"].keys() == {f"effects/{batch.name}"}
    page = batched.path("results/index.html").read_text()
    assert "Screens of many models" in page and "screens/s/manifest.parquet" in page
    assert pd.read_parquet(folder / "models.parquet").to_numpy().tolist() == [["m0", "tissue0"], ["m1", "tissue1"]]

    assert {"merge_batches"} <= set(rules_run(batched.run(TABLE).stdout))  # one file, when it is asked for
    alone = _workspace(tmp_path / "alone", _config(1))
    alone.run(TABLE)
    mine, wanted = (pd.read_parquet(workspace.path(TABLE)) for workspace in (batched, alone))
    mine = mine[mine["model"] == "m1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, wanted, check_exact=True)


def test_a_row_beside_a_batch_of_one_and_a_dry_run(tmp_path):
    """A dry run decides nothing; a batch of one is a batch."""
    workspace = _workspace(tmp_path / "atlas", _config(0))
    _atlas(workspace, 0, 1)
    assert jobs_of(workspace.run(TABLE, "-n").stdout)["check_model"] == 1
    workspace.config["batch"] = 1
    assert jobs_of(workspace.run(TABLE, "-n").stdout)["check_model"] == 2
    _atlas(workspace, 0)
    workspace.run("results/models/m0/check.json")
    _atlas(workspace, 0, 1, 2)
    check = next(file for file in workspace.run(TABLE, "-n").stdout.split() if file.endswith("check.json"))
    assert "m1+1" in check and jobs_of(workspace.run(TABLE, "-n").stdout)["check_model"] == 1


def test_rows_that_are_appended_compute_themselves(tmp_path):
    """And labels, by which screens select, are of no job."""
    workspace = _workspace(tmp_path / "atlas", _config(0, 1))
    _atlas(workspace, 0, 1)
    workspace.config["batch"] = 2
    workspace.run(TABLE, LABELS)
    first = pd.read_parquet(workspace.path(TABLE))

    _atlas(workspace, 0, 1, 2, 3, 4)
    workspace.config["batch"] = 2
    planned = workspace.run(TABLE, "-n").stdout
    assert {rule: n for rule, n in jobs_of(planned).items() if rule in ("check_model", "marginalize")} == {
        "check_model": 2, "marginalize": 2,
    }  # fmt: skip
    workspace.run(TABLE, LABELS)
    second = pd.read_parquet(workspace.path(TABLE))
    assert set(second["model"]) == {"m0", "m1", "m2", "m3", "m4"}
    columns = [c for c in first.columns if c != "q"]
    again = second[second["model"].isin(["m0", "m1"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(again[columns], first[columns], check_exact=True)

    sheet = workspace.path("models.tsv")
    sheet.write_text(sheet.read_text().replace("tissue\n", "organ\n").replace("\ttissue", "\t"))
    workspace.config["screens"]["s"]["models"] = {"organ": [0, 1, 2]}
    assert jobs_of(workspace.run(TABLE, LABELS, "-n").stdout) == {"label_models": 1}
