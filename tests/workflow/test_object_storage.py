"""Runs without a shared disk: results in an object store, each job in an empty folder that sees no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
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
SCREEN = "results/screens/ctcf_jaspar"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class Bucket:
    """A bucket of an S3 on loopback, by the plain HTTP that it speaks too."""

    def __init__(self, endpoint: str):
        self.endpoint = endpoint
        self.ask("PUT", "/store")

    def ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """Send a request and return the answer's body."""
        request = urllib.request.Request(self.endpoint + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def put(self, name: str, content: bytes) -> None:
        """Store a file of the run."""
        self.ask("PUT", f"/store/run/{name}", content)

    def get(self, name: str) -> bytes:
        """Return a file of the run."""
        return self.ask("GET", f"/store/run/{name}")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    if not (PLUGINS / "moto").is_dir():
        cannot_run("the plugins are not in .venv-plugins (make plugins)")
    command = [sys.executable, ISOLATION / "s3_server.py"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, **KEYS, "PYTHONPATH": str(PLUGINS)})  # fmt: skip
    yield Bucket(server.stdout.readline().strip())
    server.communicate("", timeout=30)


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


def run(folder: Path, bucket: Bucket, *arguments: str) -> subprocess.CompletedProcess:
    """Run the workflow of a folder with its results in the bucket and its jobs isolated."""
    storage = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://store/run",
               "--storage-s3-endpoint-url", bucket.endpoint]  # fmt: skip
    isolated = ["--executor", "isolated", "--jobs", "2", "--seconds-between-status-checks", "1"]
    environment = {
        **os.environ, **KEYS, "PYTHONPATH": f"{PLUGINS}:{ISOLATION}", "ISOLATED_PLUGINS": str(PLUGINS.resolve()),
        "ISOLATED_HIDDEN": f"{ROOT}:{Path(sys.prefix).resolve().parent}",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--nocolor", *storage, *isolated, *arguments], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
    )  # fmt: skip


def upload(config: dict, bucket: Bucket) -> None:
    """Store the data that a config names where the default storage looks for it."""
    for _, file in file_keys(resolve_config(config)):
        bucket.put(file, (ROOT / file).read_bytes())


def equal_tables(bucket: Bucket, finished: Workspace, names: list[str], tmp_path: Path) -> None:
    """Tables in the bucket are those of a local run, to the last bit; text files byte for byte."""
    for name in names:
        (tmp_path / "fetched").write_bytes(bucket.get(name))
        if name.endswith(".parquet"):
            mine, theirs = pq.read_table(tmp_path / "fetched"), pq.read_table(finished.path(name))
            pd.testing.assert_frame_equal(mine.to_pandas(), theirs.to_pandas(), check_exact=True, obj=name)
        else:
            assert (tmp_path / "fetched").read_bytes() == finished.path(name).read_bytes(), name


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
    equal_tables(bucket, finished, names, tmp_path)
    assert not (work / "results").exists()
    assert finished.path("results/index.html").read_bytes()[:2000] == bucket.get("results/index.html")[:2000]
