"""Runs without a shared disk: results in an object store, each job in an empty folder that sees no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from marginome.config import file_keys, resolve_config
from workspace import RESOURCES, ROOT, Workspace, cannot_run, need, small_config

pytestmark = pytest.mark.workflow
PLUGINS = ROOT / ".venv-plugins"
ISOLATION = ROOT / "tests" / "isolation"
SCREEN, CHECK = "results/screens/ctcf_jaspar", "results/models/bpnet_ctcf/check.json"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class Bucket:
    """The bucket of an S3 on loopback, which a process of its own serves."""

    def __init__(self, folder: Path):
        command = [sys.executable, ISOLATION / "s3_server.py"]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **KEYS, "PYTHONPATH": str(PLUGINS)})  # fmt: skip
        self._folder = folder
        self.endpoint = self._server.stdout.readline().strip()
        assert self.endpoint.startswith("http://127.0.0.1:"), self._server.stdout.read()

    def _ask(self, what: str, key: str, file: Path) -> None:
        print(what, key, file, sep="\t", file=self._server.stdin, flush=True)
        assert self._server.stdout.readline() == "done\n", (what, key)

    def put(self, key: str, file: Path) -> None:
        """Store a file."""
        self._ask("put", key, file)

    def get(self, name: str) -> Path:
        """Fetch a file of the run."""
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        self._ask("get", f"run/{name}", file)
        return file

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=30)


@pytest.fixture
def bucket(tmp_path) -> Iterator[Bucket]:
    if not (PLUGINS / "moto").is_dir():
        cannot_run("the plugins are not in .venv-plugins (make plugins)")
    served = Bucket(tmp_path / "fetched")
    yield served
    served.close()


def checkout(folder: Path, config: dict) -> None:
    """A repository of the workflow with a config; the data is there for the process that plans, and not in git."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "resources", "README.md", "*.fai", "*.gzi")
    for part in ("workflow", "scripts", "envs", "profiles", "config"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for command in ("init -q", "add -A"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)
    (folder / "resources").symlink_to(RESOURCES)


def run(
    folder: Path, bucket: Bucket, *arguments: str, executor: str = "isolated", program: tuple = ("-m", "snakemake"),
    **variables: str,
) -> subprocess.CompletedProcess:  # fmt: skip
    """Run the workflow of a folder with its results in the bucket and its jobs where an executor has them."""
    storage = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://store/run",
               "--storage-s3-endpoint-url", bucket.endpoint]  # fmt: skip
    isolated = ["--executor", executor, "--jobs", "2", "--seconds-between-status-checks", "1"]
    environment = {
        **os.environ, **KEYS, "PYTHONPATH": f"{PLUGINS}:{ISOLATION}", "ISOLATED_PLUGINS": str(PLUGINS.resolve()),
        "ISOLATED_HIDDEN": f"{ROOT}:{Path(sys.prefix).resolve().parent}", **variables,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *program, "--nocolor", *storage, *isolated, *arguments], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
    )  # fmt: skip


def upload(config: dict, bucket: Bucket) -> None:
    """Store the data that a config names where the default storage looks for it."""
    for _, file in file_keys(resolve_config(config)):
        bucket.put(f"run/{file}", ROOT / file)


def assert_same(bucket: Bucket, finished: Workspace, names: list[str]) -> None:
    """Tables in the bucket are those of a local run, to the last bit; other files byte for byte."""
    for name in names:
        mine, theirs = bucket.get(name), finished.path(name)
        if name.endswith(".parquet"):
            tables = [pq.read_table(file).to_pandas() for file in (mine, theirs)]
            pd.testing.assert_frame_equal(*tables, check_exact=True, obj=name)
        else:
            assert mine.read_bytes() == theirs.read_bytes(), name


@pytest.mark.long
def test_isolated_jobs_give_the_tables_of_a_local_run(tmp_path, bucket, finished, monkeypatch):
    need("unshare", "util-linux")
    if os.geteuid() != 0:
        cannot_run("mount namespaces want root here")
    monkeypatch.chdir(ROOT)
    work = tmp_path / "work"
    checkout(work, small_config())
    upload(small_config(), bucket)
    done = run(work, bucket)
    assert done.returncode == 0, done.stdout[-8000:]
    names = [
        "results/motifs/jaspar.parquet",
        *(f"results/backgrounds/{s}.{end}" for s in small_config()["backgrounds"] for end in ("tsv", "fa.gz", "bed")),
        *(f"{SCREEN}/{name}.parquet" for name in ("effects", "agreement", "consensus", "inserts/jaspar")),
        f"{SCREEN}/effects.tsv.gz",
    ]  # fmt: skip
    assert_same(bucket, finished, names)
    assert not (work / "results").exists()
    assert "Effects of the strongest motifs" in bucket.get("results/index.html").read_text()


def planned_folder(tmp_path: Path, bucket: Bucket, config: dict) -> Path:
    """A checkout of which a run can be planned in the bucket."""
    work = tmp_path / "work"
    checkout(work, config)
    upload(config, bucket)
    return work


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_job_that_the_kubernetes_plugin_makes(tmp_path, bucket, device, monkeypatch):
    """With the resources that the shipped profile offers: a GPU is a limit too, and on a CPU no GPU is asked for."""
    monkeypatch.chdir(ROOT)
    work = planned_folder(tmp_path, bucket, {**small_config(), "device": device})
    gpu = ["--set-resources", "check_model:gpu_manufacturer=nvidia", "check_model:scale=0"] if device == "cuda" else []
    done = run(
        work, bucket, CHECK, "--container-image", "image:1", *gpu, executor="kubernetes",
        program=(ISOLATION / "kubernetes_stub.py",), SPECIFICATION=str(tmp_path / "job"),
    )  # fmt: skip
    assert "the specification is written" in done.stdout, done.stdout[-4000:]
    (container,) = json.loads((tmp_path / "job").read_text())["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "image:1"
    assert container["resources"]["requests"]["memory"] == "5000M"
    assert "--deploy-sources s3://store/run/" in container["args"][1]
    if device == "cuda":
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    else:
        assert "nvidia.com/gpu" not in container["resources"]["requests"]
