"""A run over a batch of several models: the numbers of models alone, and a model that fails costs only itself.

A config's models are batches of one; here a copy of the workflow puts them all into one.
"""

from __future__ import annotations

import shutil
import textwrap

import pandas as pd
import pytest

from workspace import MOTIFS, ROOT, Workspace, rules_run

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
) + "".join(f"\n\ndef toy_{seed}():\n    return Toy({seed})\n" for seed in (0, 13, 1))
TABLE = "results/screens/s/effects.parquet"


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


@pytest.fixture
def batched(tmp_path):
    """The workflow with all models of a config in one batch."""
    repository = tmp_path / "repository"
    repository.mkdir()
    shutil.copy2(ROOT / "Snakefile", repository)
    for name in ("workflow", "scripts", "envs", "profiles", "config"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    module = repository / "workflow" / "lib" / "marginome" / "units.py"
    text = module.read_text()
    alone = 'return {model: (model,) for model in config["models"]}'
    assert alone in text
    module.write_text(text.replace(alone, 'return {"atlas": tuple(config["models"])}'))
    return _workspace(tmp_path / "batched", _config(0, 13, 1), repository=repository)


def test_a_batch_of_models_with_one_that_fails(batched, tmp_path):
    first = batched.run(TABLE, check=False)
    assert first.returncode != 0 and "Error in rule summarize_screen" in first.stdout
    assert first.stdout.count("Error in rule") == 1
    last = batched.path("logs/summarize_screen/s.log").read_text().splitlines()[-1]
    assert "model 'm13'" in last and "no such luck" in last and "check.json" in last
    kept = pd.read_parquet(batched.path("results/screens/s/batches/atlas/effects.parquet"))
    assert set(kept["model"]) == {"m0", "m1"}

    batched.config = _config(0, 1)
    assert "make_background" not in rules_run(batched.run(TABLE).stdout)
    alone = _workspace(tmp_path / "alone", _config(1))
    alone.run(TABLE)
    mine, wanted = (pd.read_parquet(workspace.path(TABLE)) for workspace in (batched, alone))
    mine = mine[mine["model"] == "m1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, wanted, check_exact=True)
