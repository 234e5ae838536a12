"""marginome as a module of another workflow that fetches it by address and tag, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pandas as pd

from workspace import ROOT, Workspace, small_config

OTHER = """
module marginome:
    snakefile:
        github("someone/marginome", path="workflow/Snakefile", tag="v0")
    config:
        config


use rule * from marginome as m_*


rule all:
    default_target: True
    input:
        rules.m_all.input,
    output:
        "done",
    shell:
        "touch {output}"
"""


def test_a_workflow_fetched_by_its_address_gives_the_same_results(tmp_path, finished):
    origin = tmp_path / "origin"
    for part in ("workflow", "scripts", "envs"):
        shutil.copytree(ROOT / part, origin / part, ignore=shutil.ignore_patterns("lib", "__pycache__"))
    shutil.copy(ROOT / "Snakefile", origin)
    # git puts the folder in the place of the address
    (tmp_path / "gitconfig").write_text(
        f'[url "file://{origin}"]\n    insteadOf = https://github.com/someone/marginome\n'
        "[user]\n    name = test\n    email = test@example.org\n[safe]\n    directory = *\n"
    )
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},  # the installed library, as elsewhere
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for command in ("init -q", "add -A", "commit -q -m x", "tag v0"):
        subprocess.run(["git", *command.split()], cwd=origin, env=environment, check=True)
    config = small_config()
    del config["backgrounds"]["shuffled_peaks"]
    config["screens"]["ctcf_jaspar"]["backgrounds"] = ["gc_matched"]
    folder = tmp_path / "run"
    folder.mkdir()
    Workspace(folder, config)
    (folder / "Snakefile").write_text(OTHER)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "config.yaml", "--nocolor"], cwd=folder,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert (folder / "results" / "index.html").exists()
    mine, theirs = (
        pd.read_parquet(where / "results" / "screens" / "ctcf_jaspar" / "effects.parquet").query(
            "background == 'gc_matched'"
        )
        for where in (folder, finished.folder)
    )
    numbers = ["effect", "effect_se", "p"]
    assert len(mine) and mine[numbers].reset_index(drop=True).equals(theirs[numbers].reset_index(drop=True))
