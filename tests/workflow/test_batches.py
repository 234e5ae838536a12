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


def _atlas(workspace: Workspace, *seeds: int) -> None:
    """Have a workspace take its models from a sheet."""
    workspace.path("models.tsv").write_text(_sheet(*seeds))
    config = _config(*seeds)
    del config["models"]
    config["screens"]["s"]["models"] = {"tissue": ["tissue0", "tissue1", "tissue2"][: len(seeds)]}
    workspace.config = {**config, "sheets": ["models.tsv"]}


@pytest.fixture
def batched(tmp_path):
    """The workflow with all models in one batch: three rows of a sheet."""
    workspace = _workspace(tmp_path / "batched", _config(0, 13, 1))
    _atlas(workspace, 0, 13, 1)
    return workspace


def test_a_batch_of_models_with_one_that_fails_and_rows_that_are_appended(batched):
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

    # Rows that are appended compute themselves; all in one file, when it is asked for. Two rows of the sheet, and a
    # model of the config that one of them is too, alone in its batch.
    assert jobs_of(batched.run(TABLE, "-n").stdout) == {"merge_batches": 1}
    _atlas(batched, 0, 1, 2, 3, 4)
    planned = batched.run(TABLE, "-n").stdout
    assert {rule: n for rule, n in jobs_of(planned).items() if rule in ("check_model", "marginalize")} == {
        "check_model": 1, "marginalize": 1,
    }  # fmt: skip
    batched.config["batch"] = 2
    assert jobs_of(batched.run(TABLE, "-n").stdout)["check_model"] == 2
    _atlas(batched, 0, 1)
    batched.config["models"] = {"alone": _config(1)["models"]["m1"]}
    batched.config["screens"]["s"]["models"] = ["m0", "m1", "alone"]
    first = pd.read_parquet(batch)
    done = jobs_of(batched.run(TABLE, LABELS).stdout)
    assert done["check_model"] == done["marginalize"] == 1
    table = pd.read_parquet(batched.path(TABLE))
    assert table["model"].drop_duplicates().tolist() == ["m0", "m1", "alone"]
    columns = [c for c in table if c not in ("model", "q")]
    rows = {name: rows[columns].reset_index(drop=True) for name, rows in table.groupby("model")}
    pd.testing.assert_frame_equal(rows["alone"], rows["m1"], check_exact=True)
    for name, of_batch in first.groupby("model"):
        pd.testing.assert_frame_equal(rows[name], of_batch[columns].reset_index(drop=True), check_exact=True)

    # labels, by which screens select, are of no job
    sheet = batched.path("models.tsv")
    sheet.write_text(sheet.read_text().replace("tissue\n", "organ\n").replace("\ttissue", "\t"))
    assert jobs_of(batched.run(TABLE, LABELS, "-n").stdout) == {"label_models": 1}


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
