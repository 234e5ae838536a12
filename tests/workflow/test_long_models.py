"""A screen of Enformer's and of Borzoi's class, of less depth and width, from the config to the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from oracles import ORACLE
from workspace import MOTIFS, ROOT, Workspace, small_config

pytestmark = [pytest.mark.workflow, pytest.mark.long]
LENGTHS = {"enformer": 2048, "borzoi": 1024}
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
            "models": [name], "motifs": ["jaspar"], "backgrounds": [name], "controls": {"pool": 40},
        }  # fmt: skip
    config["block"] = 16
    workspace = Workspace(tmp_path, config)
    environment = os.environ | {"PYTHONPATH": str(ORACLE)}
    tables = {name: f"results/screens/{name}/effects.parquet" for name in LENGTHS}
    workspace.run(*tables.values(), cores=2, env=environment)
    for name in LENGTHS:
        table = pd.read_parquet(workspace.path(tables[name]))
        given = json.dumps(list(zip(table["insert"], table["start"].tolist())))
        fasta = workspace.path("results", "backgrounds", f"{name}.fa.gz")
        done = subprocess.run([sys.executable, "-c", _BY_HAND, name, str(tmp_path), str(fasta)], input=given, text=True,
                              capture_output=True, env=environment)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        wanted = json.loads(done.stdout.splitlines()[-1])
        assert (table["after_mean"] / table["before_mean"] - 1).abs().max() > 100 * ROUNDING[name]
        assert table["before_mean"].tolist() == pytest.approx([wanted["before"]] * len(table), rel=ROUNDING[name])
        assert table["after_mean"].tolist() == pytest.approx(wanted["after"], rel=ROUNDING[name])
        check = json.loads(workspace.path("results", "models", name, "check.json").read_text())
        assert not check["models"][name]["problems"]
        assert name != "enformer" or set(table["engine"]) == {"incremental"}
