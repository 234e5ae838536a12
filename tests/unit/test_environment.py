"""What is pinned is what is installed, in every place that names a version."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib

import pytest
import yaml

from workspace import ROOT


def _pins(text: str) -> dict[str, str]:
    return {
        re.sub(r"[-_.]+", "-", name).lower(): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", text, re.M)
    }


LOCK = _pins((ROOT / "requirements.lock").read_text())


def test_the_lock_is_for_any_linux():
    text = (ROOT / "requirements.lock").read_text()
    assert "--hash" not in text and "+cpu" not in text and "nvidia" not in text and "@ file" not in text
    assert LOCK["torch"] == "2.13.0"


def test_what_is_asked_for_is_locked():
    wanted = re.findall(r"^([\w.-]+)(?:==(\S+))?$", (ROOT / "requirements.in").read_text(), re.M)
    for name, version in wanted:
        locked = LOCK[re.sub(r"[-_.]+", "-", name).lower()]
        assert not version or version == locked, name


def test_the_library_asks_for_nothing_that_is_not_locked():
    project = tomllib.loads((ROOT / "workflow" / "lib" / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name = re.match(r"[\w.-]+", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in LOCK, name


def test_conda_environments_pin_what_the_lock_pins():
    for file in (ROOT / "envs").glob("*.yaml"):
        pip = next(d["pip"] for d in yaml.safe_load(file.read_text())["dependencies"] if isinstance(d, dict))
        for name, version in _pins("\n".join(pip)).items():
            assert LOCK[name] == version, (file.name, name)
        project = tomllib.loads((ROOT / "workflow" / "lib" / "pyproject.toml").read_text())["project"]
        needed = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", d)[0]).lower() for d in project["dependencies"]}
        assert needed <= set(_pins("\n".join(pip))), file.name


@pytest.mark.parametrize("name", ["snakemake", "torch", "tangermeme", "captum", "modisco-lite", "memelite"])
def test_the_locked_version_is_installed(name):
    assert importlib.metadata.version(name).partition("+")[0] == LOCK[name]


def test_modiscolite_is_modisco_lite_3_and_nobody_replaced_it():
    """bpnet-lite brings an older distribution of the same package; it must never be in this environment."""
    import modiscolite

    assert importlib.metadata.version("modisco-lite") == "3.0.0"
    owners = importlib.metadata.packages_distributions()["modiscolite"]
    assert owners == ["modisco-lite"]
    assert modiscolite.__version__ == "3.0.0"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("bpnet-lite")
