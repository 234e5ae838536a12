"""The library as a package: what a wheel and a source distribution hold, which copy is used, one version."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import marginome
from workspace import ROOT, small_config

LIBRARY = ROOT / "workflow" / "lib"
BUILD = "import sys, setuptools.build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"
USE = """
import json, sys
import marginome.config
config = json.load(sys.stdin)
resolved = marginome.config.resolve_config(config)
assert resolved["screens"] and "torch" not in sys.modules
print(marginome.__file__, marginome.__version__)
"""

WITHOUT_PYTORCH = """
import importlib, pkgutil, sys
import marginome.jobs, marginome.logos
for module in pkgutil.iter_modules(marginome.jobs.__path__):
    if module.name not in sys.argv[1:]:
        importlib.import_module(f"marginome.jobs.{module.name}")
        assert "torch" not in sys.modules, module.name
"""
# Jobs that run models, and the one that calls seqlets in tensors.
WITH_PYTORCH = ("apply_functions", "attribute", "call_seqlets", "check_model", "each_model", "marginalize",
                "marginalize_elements", "predict_baseline")  # fmt: skip


def built(kind: str, folder: Path) -> Path:
    """Build a distribution from a copy of the library, without a network."""
    source = folder / "source"
    shutil.copytree(LIBRARY, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    done = subprocess.run([sys.executable, "-c", BUILD, kind, folder], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / done.stdout.splitlines()[-1]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_what_is_built_and_installed_checks_a_config(kind, tmp_path):
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--target", tmp_path / "site", built(kind, tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", USE], input=json.dumps(small_config()), cwd=ROOT, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [str(tmp_path / "site" / "marginome" / "__init__.py"), marginome.__version__]
    # every file that is no code and lies in the library is in it
    data = {p.relative_to(LIBRARY) for p in (LIBRARY / "marginome").rglob("*")
            if p.is_file() and p.suffix not in (".py", ".pyc", ".nbi", ".nbc")}  # fmt: skip
    assert len(data) > 15 and [str(p) for p in sorted(data) if not (tmp_path / "site" / p).is_file()] == []


def test_jobs_without_a_model_start_without_pytorch():
    """Its import takes 2 s of each."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_PYTORCH, *WITH_PYTORCH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_version_stands_once():
    assert f'VERSION = "{marginome.__version__}"' in (ROOT / "workflow" / "rules" / "common.smk").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == marginome.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest[1] == marginome.__version__


def dry_run(snakefile: Path, start: str = "", **environment: str) -> subprocess.CompletedProcess:
    """Plan the demo in this process's Python, after a line of code."""
    code = f"import sys; {start}\nfrom snakemake.cli import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", code, "-n", "--cores", "1", "--nocolor", "-s", snakefile], cwd=ROOT,
        env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def copy_of_workflow(folder: Path) -> Path:
    """Copy what Snakemake fetches of a workflow by its address: all but the library."""
    for part in ("workflow", "scripts"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("lib", "__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def test_a_missing_package_and_one_of_another_version_are_one_line(tmp_path):
    copy = copy_of_workflow(tmp_path)
    told = dry_run(copy / "Snakefile", "sys.modules['marginome'] = None").stdout
    assert "marginome: this Python package is missing" in told and "pip install 'marginome @ git+" in told
    assert "Traceback" not in told
    rules = copy / "workflow" / "rules" / "common.smk"
    rules.write_text(rules.read_text().replace(f'VERSION = "{marginome.__version__}"', 'VERSION = "9.9.9"'))
    told = dry_run(copy / "Snakefile").stdout
    assert f"marginome {marginome.__version__} in" in told and "is not the 9.9.9 of this workflow" in told
    assert "Traceback" not in told


def test_both_snakefiles_are_the_same_workflow():
    # --forceall: after `make demo` there is nothing to be done
    plans = [
        dry_run(ROOT / name, "sys.argv.append('--forceall')").stdout for name in ("Snakefile", "workflow/Snakefile")
    ]
    tables = [re.search(r"^job +count.*?^total +\d+", plan, re.M | re.S) for plan in plans]
    assert tables[0] and tables[1], plans
    assert tables[0][0] == tables[1][0]


def test_the_image_has_what_the_setup_command_sees_to():
    steps = (ROOT / "Dockerfile").read_text()
    setup = (ROOT / "envs" / "setup.sh").read_text()
    for debian in re.findall(r"need_package (\S+) \"", setup):
        assert debian in steps or debian == "python3-venv"  # the image is an environment of its own
    for step in ("-r requirements.lock", "workflow/lib", "envs/warm_numba.py"):
        assert step in steps and step in setup
    copied = re.findall(r"^COPY (.+) \./$", steps, re.M)
    assert copied == ["requirements.lock", "."]  # the environment is made anew when the lock changes, not the code
    python = re.search(r"^FROM python:(\d+\.\d+)", steps, re.M)[1]
    assert f"python ={python}" in (ROOT / "envs" / "marginome.yaml").read_text()


def test_the_checks_of_the_repository_are_those_of_the_makefile():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = {word for run in runs for word in re.findall(r"^make (\w+)", run)}
    assert targets == {"lint", "test", "demo"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    named = set(re.search(r"^TIMED = ((?:.*\\\n)*.*)\nCHECKS = (.*)", makefile, re.M)[0].split())
    scripts = {path.stem for path in (ROOT / "tests" / "checks").glob("*.py") if "__main__" in path.read_text()}
    assert scripts - named == {"mutations", "keras_models"}  # by hand; what keras_layers runs
    assert yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]["report"] is True
