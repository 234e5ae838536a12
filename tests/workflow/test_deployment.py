"""marginome from the address of a tag, without a network: by the README's three commands, and as a module."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pandas as pd
import pytest
import yaml

import marginome
from workspace import ROOT, Workspace, cannot_run, rules_run, small_config

TAG = f"v{marginome.__version__}"
ADDRESS = "https://github.com/someone/marginome"
OTHER = f"""
module marginome:
    snakefile:
        github("someone/marginome", path="workflow/Snakefile", tag="{TAG}")
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
        "touch {{output}}"
"""


def smaller_config() -> dict:
    """The small demo with one background set."""
    config = small_config()
    del config["backgrounds"]["shuffled_peaks"]
    config["screens"]["ctcf_jaspar"]["backgrounds"] = ["gc_matched"]
    return config


@pytest.fixture(scope="module")
def tagged(tmp_path_factory) -> dict[str, str]:
    """An environment in which git finds a bare repository with the tag at the address; its demo is the smaller one."""
    folder = tmp_path_factory.mktemp("tagged")
    work, bare = folder / "work", folder / "bare.git"
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", ".snakemake", "results", "logs", "benchmarks", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, work, ignore=ignored)
    (work / "config" / "config.yaml").write_text(yaml.safe_dump(smaller_config(), sort_keys=False))
    (folder / "gitconfig").write_text(
        f'[url "file://{bare}"]\n    insteadOf = {ADDRESS}\n'
        "[user]\n    name = test\n    email = test@example.org\n[safe]\n    directory = *\n"
    )
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    for command in ("init -q", "add -A -f", "commit -q -m x", f"tag {TAG}", f"clone -q --bare . {bare}"):
        subprocess.run(["git", *command.split()], cwd=work, env=environment, check=True)
    shutil.rmtree(work)
    return environment


def assert_same_numbers(folder: Path, finished: Workspace) -> None:
    """The rows of a run with one background set are those of the finished run with two."""
    mine, theirs = (
        pd.read_parquet(where / "results" / "screens" / "ctcf_jaspar" / "effects.parquet").query(
            "background == 'gc_matched'"
        )
        for where in (folder, finished.folder)
    )
    numbers = ["effect", "effect_se", "p"]
    assert len(mine) and mine[numbers].reset_index(drop=True).equals(theirs[numbers].reset_index(drop=True))


@pytest.mark.long
def test_the_three_commands_of_the_readme_lead_to_the_page(tmp_path, tagged, finished):
    """In an environment that sees what pip would fetch, but not our library; pip and git use no network."""
    commands = re.search(r"^Three commands .*?```bash\n(.+?)```", (ROOT / "README.md").read_text(), re.M | re.S)[1]
    commands = commands.replace("<address of marginome>", ADDRESS).splitlines()
    assert len(commands) == 3 and TAG in commands[0]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    # a path of a .pth file is no site folder: the link to our checkout that lies in it is not followed
    Path(site.strip(), "fetched.pth").write_text(sysconfig.get_path("purelib"))
    for program in ("pip", "snakemake"):
        (python.parent / program).write_text(f'#!/bin/sh\nexec "{python}" -m {program} "$@"\n')
        (python.parent / program).chmod(0o755)
    environment = {
        **tagged, "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip
    folder = tmp_path / "empty"
    folder.mkdir()
    for command in commands:
        done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=800)  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    where = [python, "-c", "import marginome; print(marginome.__file__)"]
    installed = subprocess.check_output(where, cwd=tmp_path, env=tagged, text=True)
    assert Path(installed.strip()).is_relative_to(tmp_path / "venv")
    assert (folder / "results" / "index.html").exists()
    assert_same_numbers(folder, finished)


@pytest.mark.long
def test_a_workflow_fetched_by_its_address_gives_the_same_results(tmp_path, tagged, finished):
    """With the check of the model that the finished run made: it takes a third of the time."""
    folder = tmp_path / "run"
    check = "results/models/bpnet_ctcf/check.json"
    (folder / check).parent.mkdir(parents=True)
    shutil.copy(finished.path(check), folder / check)
    Workspace(folder, smaller_config())
    (folder / "Snakefile").write_text(OTHER)
    done = subprocess.run(  # with the installed library, as elsewhere
        [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "config.yaml", "--nocolor"], cwd=folder,
        env=tagged, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "m_check_model" not in rules_run(done.stdout) and (folder / "results" / "index.html").exists()
    assert_same_numbers(folder, finished)


@pytest.mark.long
def test_what_snakedeploy_writes_plans_the_same_run(tmp_path, tagged):
    """It brings the config and the profiles; the demo's data, which no deployment fetches, are the user's own."""
    if not (ROOT / ".venv-oracle" / "snakedeploy").is_dir():
        cannot_run("snakedeploy is not in .venv-oracle (make oracle)")
    environment = {**tagged, "PYTHONPATH": str(ROOT / ".venv-oracle")}
    deploy = "import sys; from snakedeploy.client import main; main()"
    done = subprocess.run([sys.executable, "-c", deploy, "deploy-workflow", ADDRESS, tmp_path, "--tag", TAG],
                          cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert (tmp_path / "profiles" / "slurm" / "profile.yaml").exists()
    Workspace(tmp_path, smaller_config())  # the data
    plans = [
        subprocess.run([sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--nocolor", "-s", where / "Snakefile",
                        "--configfile", tmp_path / "config" / "config.yaml"], cwd=tmp_path, env=tagged,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        for where in (tmp_path / "workflow", ROOT)
    ]  # fmt: skip
    tables = [re.search(r"^job +count.*?^total +(\d+)", plan, re.M | re.S) for plan in plans]
    assert tables[0] and tables[1], plans[0][-4000:]
    jobs = [sorted(re.sub("marginome_", "", table[0]).split()) for table in tables]
    assert jobs[0] == jobs[1] and int(tables[0][1]) > 10
