"""The config: what a user gets wrong is named, with the allowed values and the closest match."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import yaml

from marginome.config import entry_files, file_keys, resolve_config
from marginome.errors import MarginomeError
from workspace import ROOT


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.chdir(ROOT)
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def test_the_shipped_config_is_valid_and_gets_its_defaults(shipped):
    resolved = resolve_config(shipped, files=[str(ROOT / "config" / "config.yaml")])
    screen = next(iter(resolved["screens"].values()))
    assert screen["controls"] == {"pool": 2000} and screen["keep"]["profiles"] is True
    assert resolved["engine"] == "auto" and resolved["seed"] == 1
    assert "keep" not in next(iter(shipped["screens"].values()))  # the user's own is left as it is


def _first(mapping):
    return next(iter(mapping))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(sede=2), ["sede", "Did you mean 'seed'"]),
        (lambda c: c.update(device="gpu"), ["device", "gpu", "cpu", "cuda"]),
        (lambda c: c.update(seed="one"), ["seed", "'one'", "string", "integer"]),
        (lambda c: c.update(seed=-1), ["seed", "at least 0"]),
        (lambda c: c.pop("models"), ["missing: models"]),
        (lambda c: c["screens"][_first(c["screens"])].update(shard=3), ["shard", "Did you mean 'shards'"]),
        (lambda c: c["screens"][_first(c["screens"])].update(models=["bpnet_ctfc"]), ["Did you mean 'bpnet_ctcf'"]),
        (lambda c: c["screens"][_first(c["screens"])].update(orientations="minus"), ["orientations", "minus", "both"]),
        (lambda c: c["screens"][_first(c["screens"])].update(positions=2114), ["positions", "start 2114", "2114 bp"]),
        (lambda c: c["screens"][_first(c["screens"])].update(positions="left"), ["positions", "centre"]),
        (lambda c: c["screens"][_first(c["screens"])].update(positions={"start": 5, "stop": 5, "step": 1}), ["empty"]),
        (lambda c: c["backgrounds"][_first(c["backgrounds"])].update(length=1000), ["lengths differ", "2114", "1000"]),
        (lambda c: c.update(precision="tf32"), ["tf32", "CUDA only"]),
        (lambda c: c["models"].update({"a/b": c["models"][_first(c["models"])]}), ["a/b", "Letters"]),
        (
            lambda c: c["models"][_first(c["models"])].update(weights="resources/models/bpnet_ctcf_k562_2114.state"),
            ["does not exist", "Did you mean", "state_dict.pt"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named(shipped, change, told):
    broken = copy.deepcopy(shipped)
    change(broken)
    with pytest.raises(MarginomeError) as caught:
        resolve_config(broken)
    for text in told:
        assert text in str(caught.value)


def test_all_mistakes_are_told_at_once(shipped):
    shipped["sede"] = 1
    shipped["device"] = "gpu"
    with pytest.raises(MarginomeError, match="2 mistakes") as caught:
        resolve_config(shipped)
    assert "sede" in str(caught.value) and "gpu" in str(caught.value)


def test_two_things_with_one_name_are_refused(shipped, tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("models:\n  a: {x: 1}\n  b: {x: 2}\n  a: {x: 3}\n")
    with pytest.raises(MarginomeError, match=r"'a' is given twice \(lines 2 and 4\)"):
        resolve_config(shipped, files=[str(file)])


def test_files_of_an_entry(shipped):
    resolved = resolve_config(shipped)
    model = _first(resolved["models"])
    files = entry_files(resolved, "models", model)
    assert any(file.endswith(".pt") for file in files)
    assert {file for key, file in file_keys(resolved) if key.startswith(f"models.{model}.")} == set(files)


def test_checking_a_config_imports_no_torch():
    code = (
        "import sys, marginome, marginome.config, marginome.errors, marginome.provenance, marginome.seeds\n"
        "marginome.provenance.code_digest('jobs.runner')\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_reference_page_is_that_of_the_schemas():
    """config/README.md is made by `python -m marginome.config_reference`."""
    from marginome.config_reference import config_reference

    assert (ROOT / "config" / "README.md").read_text() == config_reference()


def _undescribed(schema, path):
    if isinstance(schema, dict):
        for key, sub in schema.get("properties", {}).items():
            if not sub.get("description") and "$ref" not in sub and "const" not in sub:
                yield f"{path}.{key}"
        for key, sub in schema.items():
            yield from _undescribed(sub, f"{path}.{key}")
    elif isinstance(schema, list):
        for i, sub in enumerate(schema):
            yield from _undescribed(sub, f"{path}[{i}]")


def test_every_key_is_described():
    for file in (ROOT / "workflow" / "schemas").glob("*.schema.yaml"):
        assert not list(_undescribed(yaml.safe_load(file.read_text()), file.name))
