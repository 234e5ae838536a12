"""Screens of classes of other packages, from the config to the table: reduced Enformer and Borzoi, and OpenSpliceAI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from oracles import ORACLE
from workspace import MOTIFS, ROOT, Workspace, small_config

pytestmark = [pytest.mark.workflow, pytest.mark.long]
LENGTHS = {"enformer": 2048, "borzoi": 512}
ROUNDING = {"enformer": 5e-6, "borzoi": 1e-4}  # in float32 its outputs are off by 3e-5 from float64, as its check says
# The package's own class and its own way to load what it saved; bins are read as the config says.
_BY_HAND = """
import gzip, json, sys
import numpy as np, torch
torch.set_num_threads(2)
name, folder, fasta = sys.argv[1:4]
if name == "enformer":
    from enformer_pytorch import Enformer, EnformerConfig
    model = Enformer(EnformerConfig(**json.load(open(f"{folder}/enformer/config.json"))))
    model.load_state_dict(torch.load(f"{folder}/enformer/pytorch_model.bin", weights_only=True))
    read = lambda X: model.eval()(X.transpose(1, 2))["human"][:, 3:5, 3].mean(1)
elif name in ("acceptor", "donor"):
    from openspliceai.train_base.openspliceai import SpliceAI
    model = SpliceAI(32, np.array([11] * 8), np.array([1] * 4 + [4] * 4))
    model.load_state_dict(torch.load(f"{folder}/openspliceai.pt", weights_only=True))
    row, column = (1, 240) if name == "acceptor" else (2, 359)
    read = lambda X: torch.logit(model.eval()(X)[:, row, column].double())
else:
    from borzoi_pytorch import Borzoi
    model = Borzoi.from_pretrained(f"{folder}/borzoi")
    read = lambda X: model.eval()(X)[:, 7, 6:10].mean(1)
sequences = [line.strip() for line in gzip.open(fasta, "rt") if not line.startswith(">")]
def mean(insert="", start=0):
    def put(s):
        inside = [b if a == "N" else a for a, b in zip(insert, s[start:])]
        return [*s[:start], *inside, *s[start + len(insert):]]
    X = np.stack([np.eye(4, dtype="f")[["ACGT".index(base) for base in put(s)]].T for s in sequences])
    with torch.no_grad():
        return float(read(torch.from_numpy(X)).double().mean())
rows = json.load(sys.stdin)
print(json.dumps({"before": mean(), "after": [mean(*row) for row in rows]}))
"""


def by_hand(name: str, folder, fasta, table: pd.DataFrame) -> dict:
    """Means before, and after every insert of a table, of the package's own class in a process of its own."""
    given = json.dumps(list(zip(table["insert"], table["start"].tolist())))
    done = subprocess.run([sys.executable, "-c", _BY_HAND, name, str(folder), str(fasta)], input=given, text=True,
                          capture_output=True, env=os.environ | {"PYTHONPATH": str(ORACLE)})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_example_of_splicing_runs(tmp_path, packages):
    """Acceptor and donor of an exon: means are those of OpenSpliceAI's own class."""
    made = Workspace(tmp_path, yaml.safe_load((ROOT / "config/examples/splicing.yaml").read_text()))
    (tmp_path / "config").symlink_to(ROOT / "config")
    for folder in ("models", "data"):
        (tmp_path / folder).mkdir()
    shutil.copy(packages / "openspliceai.pt", tmp_path / made.config["models"]["openspliceai"]["weights"])
    rng = np.random.default_rng(0)
    lines = [f">exon{i}\n{''.join(rng.choice([*'ACGT'], 1000))}\n" for i in range(4)]
    (tmp_path / "data/exons_1000bp.fa").write_text("".join(lines))
    made.config["motifs"]["jaspar"]["include"] = MOTIFS[:2]
    made.config["screens"]["splicing"] |= {"controls": False, "shards": 1}
    made.run("results/screens/splicing/effects.parquet", env=os.environ | {"PYTHONPATH": str(ORACLE)})
    effects = pd.read_parquet(made.path("results/screens/splicing/effects.parquet"))
    assert set(effects["output"]) == {"acceptor", "donor"} and set(effects["start"]) == {480}
    for output, table in effects.groupby("output"):
        wanted = by_hand(output, packages, made.path("results/backgrounds/exons.fa.gz"), table)
        assert (table["after_mean"] - table["before_mean"]).abs().max() > 1e-3
        assert table["before_mean"].tolist() == pytest.approx([wanted["before"]] * len(table), abs=2e-5)
        assert table["after_mean"].tolist() == pytest.approx(wanted["after"], abs=2e-5)


@pytest.mark.timeout(1500)
def test_reduced_models_of_long_sequences_are_screened(tmp_path, packages):
    """Means before and after every insert are those of the packages' classes, in a process of their own."""
    for name in LENGTHS:
        (tmp_path / name).symlink_to(packages / name)
    config = small_config()
    config["motifs"]["jaspar"]["include"] = MOTIFS[:2]
    loader = str(ROOT / "config" / "examples" / "packages.py")
    readout = {"reduce": "mean", "unit": "signal", "measure": "log2_fold_change"}
    config["models"] = {
        "enformer": {
            "loader": f"{loader}:enformer",
            "weights": "enformer/pytorch_model.bin",
            "architecture": "enformer/config.json",
            "outputs": {"y": readout | {"head": "human", "index": "3:5, 3"}},
        },
        "borzoi": {
            "loader": f"{loader}:borzoi",
            "weights": "borzoi/model.safetensors",
            "architecture": "borzoi/config.json",
            "outputs": {"y": readout | {"index": "7, 6:10"}},
        },
    }
    config["backgrounds"], config["screens"] = {}, {}
    for name, length in LENGTHS.items():
        config["models"][name]["input_length"] = length
        config["backgrounds"][name] = {"kind": "uniform", "n": 2, "length": length}
        config["screens"][name] = {
            "models": [name], "motifs": ["jaspar"], "backgrounds": [name], "controls": False,
        }  # fmt: skip
    config["block"] = 16
    workspace = Workspace(tmp_path, config)
    environment = os.environ | {"PYTHONPATH": str(ORACLE)}
    tables = {name: f"results/screens/{name}/effects.parquet" for name in LENGTHS}
    workspace.run(*tables.values(), cores=2, env=environment)
    for name in LENGTHS:
        table = pd.read_parquet(workspace.path(tables[name]))
        wanted = by_hand(name, tmp_path, workspace.path("results", "backgrounds", f"{name}.fa.gz"), table)
        assert (table["after_mean"] / table["before_mean"] - 1).abs().max() > 100 * ROUNDING[name]
        assert table["before_mean"].tolist() == pytest.approx([wanted["before"]] * len(table), rel=ROUNDING[name])
        assert table["after_mean"].tolist() == pytest.approx(wanted["after"], rel=ROUNDING[name])
        check = json.loads(workspace.path("results", "models", name, "check.json").read_text())
        assert not check["models"][name]["problems"]
        assert name != "enformer" or set(table["engine"]) == {"incremental"}
