"""Runs without a shared disk: results in an object store, each job in an empty folder that sees no checkout."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from marginome.attribution_entries import result_files
from marginome.config import file_keys, resolve_config
from marginome.provenance import SOURCES, import_closure
from marginome.storage import sha256_of
from workspace import (
    MOTIFS,
    RESOURCES,
    ROOT,
    Workspace,
    cannot_run,
    know_sources,
    need,
    rules_run,
    small_config,
    small_elements_config,
)

pytestmark = pytest.mark.workflow
PLUGINS = ROOT / ".venv-plugins"
ISOLATION = ROOT / "tests" / "isolation"
BEFORE_ELEMENTS = {"index_genome", "collect_motifs", "check_model", "make_background", "predict_baseline"}
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

    def batch_jobs(self) -> Path:
        """Fetch the definitions of jobs that Batch has, as JSON."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._ask("jobs", "", self._folder / "jobs.json")
        return self._folder / "jobs.json"

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
    know_sources(folder)


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
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=3000,
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


def run_isolated(folder: Path, bucket: Bucket, config: dict, *arguments: str, made: Sequence[Path] = ()) -> str:
    """Run a config with each job in an empty folder and all data and results in the bucket; return what was said.

    Parts of results that a local run made can be in the bucket before.
    """
    need("unshare", "util-linux")
    if os.geteuid() != 0:
        cannot_run("mount namespaces want root here")
    checkout(folder, config)
    upload(config, bucket)
    for part in made:
        for file in sorted(filter(Path.is_file, part.rglob("*"))):
            bucket.put(f"run/results/{file.relative_to(part.parent)}", file)
    done = run(folder, bucket, *arguments)
    assert done.returncode == 0, done.stdout[-8000:]
    assert not (folder / "results").exists()
    return done.stdout


@pytest.mark.long
def test_isolated_jobs_give_the_tables_of_a_local_run(tmp_path, bucket, finished, monkeypatch):
    monkeypatch.chdir(ROOT)
    told = run_isolated(tmp_path / "work", bucket, small_config())
    assert BEFORE_ELEMENTS <= rules_run(told)
    names = [
        "results/motifs/jaspar.parquet",
        *(f"results/backgrounds/{s}.{end}" for s in small_config()["backgrounds"] for end in ("tsv", "fa.gz", "bed")),
        *(f"{SCREEN}/{name}.parquet" for name in ("effects", "agreement", "consensus", "inserts/jaspar")),
        f"{SCREEN}/effects.tsv.gz",
    ]  # fmt: skip
    assert_same(bucket, finished, names)
    assert "Effects of the strongest motifs" in bucket.get("results/index.html").read_text()


@pytest.mark.long
@pytest.mark.timeout(3600)  # half an hour on two cores that others keep busy
def test_isolated_jobs_give_the_elements_of_a_local_run(tmp_path, bucket, elements, monkeypatch):
    """From peaks to patterns and isolated effects, and loci of a background set: tables, arrays, browsers' files.

    What the test above has isolated jobs make is in the bucket already: the run goes on from it.
    """
    monkeypatch.chdir(ROOT)
    config = resolve_config(small_elements_config())
    folder, loci = "results/attributions/ctcf_peaks", "results/attributions/ctcf_shuffled/loci.fa.gz"
    targets = [f"{folder}/{name}" for name in result_files(config["attributions"]["ctcf_peaks"])]
    parts = ("genomes", "motifs", "models", "backgrounds", "baselines")
    made = [elements.path("results", part) for part in parts]
    told = run_isolated(tmp_path / "work", bucket, small_elements_config(), *targets, loci, made=made)
    assert not rules_run(told) & BEFORE_ELEMENTS and "find_patterns" in rules_run(told)
    ends = (".parquet", ".bed", ".gz", ".sizes", ".bw", ".meme")
    files = elements.path(folder).rglob("*")
    made = sorted(str(file.relative_to(elements.folder)) for file in files if file.name.endswith(ends))
    kinds = {name.rpartition("/")[2] for name in made}
    assert {"loci.fa.gz", "seqlets.parquet", "patterns.meme", "observed.bw", "effects.tsv.gz"} <= kinds, made
    assert_same(bucket, elements, [*made, loci])
    for name in ("attributions", "seqlets/effects"):
        array = f"{folder}/{name}.h5"
        assert arrays_of(bucket.get(array)) == arrays_of(elements.path(array)), name
    page = bucket.get(f"{folder}/report.html").read_text()
    assert "<svg" in page and not re.search(r"\.snakemake|s3://", page)


def arrays_of(file: Path) -> dict[str, tuple]:
    """Shape, type and bytes of every array of an HDF5 file."""
    found = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            values = item[...]
            found[name] = (
                values.shape,
                str(values.dtype),
                values.tolist() if values.dtype.hasobject else values.tobytes(),
            )

    with h5py.File(file) as handle:
        handle.visititems(keep)
    return found


def planned_folder(tmp_path: Path, bucket: Bucket, config: dict) -> Path:
    """A checkout of which a run can be planned in the bucket."""
    work = tmp_path / "work"
    checkout(work, config)
    upload(config, bucket)
    return work


def test_a_file_at_an_address_is_fetched_checked_and_followed(workspace, bucket):
    """By its checksum where the config gives it, else by what the server says."""
    name, collection = "s3://store/data/motifs.meme", "results/motifs/jaspar.parquet"
    motifs = (RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme").read_bytes()
    local = workspace.path("motifs.meme")
    local.write_bytes(motifs)
    bucket.put("data/motifs.meme", local)
    workspace.config["motifs"]["jaspar"]["files"] = [name]
    environment = {**os.environ, **KEYS, "PYTHONPATH": str(PLUGINS)}

    def collect(*arguments: str, **kwargs) -> str:
        storage = ["--storage-s3-endpoint-url", bucket.endpoint]
        return workspace.run(collection, *storage, *arguments, env=environment, **kwargs).stdout

    assert f"{name}: SHA-256 {hashlib.sha256(motifs).hexdigest()}" in collect()
    table = pd.read_parquet(workspace.path(collection))
    assert set(table["motif_id"]) == set(MOTIFS) and set(table["source"]) == {name}
    assert "Nothing to be done" in collect()
    local.write_bytes(motifs + b"\n")
    bucket.put("data/motifs.meme", local)
    assert rules_run(collect("-n")) == {"collect_motifs"}
    workspace.config["sha256"] = {name: hashlib.sha256(motifs).hexdigest()}
    told = collect(check=False)
    assert f"{name}: what was fetched has the SHA-256" in told and "Traceback" not in told
    workspace.config["sha256"] = {name: hashlib.sha256(motifs + b"\n").hexdigest()}
    assert "as wanted" in collect()


@pytest.mark.long
def test_records_of_files_at_addresses_have_their_names_and_digests(workspace, bucket, monkeypatch):
    """A screen and attributions of which every file is fetched: no record names a place of Snakemake's own."""
    config, store = workspace.config, "s3://store"
    config["screens"]["ctcf_jaspar"]["backgrounds"] = ["gc_matched"]
    config["backgrounds"] = {"gc_matched": {**config["backgrounds"]["gc_matched"], "length": 300}}
    weights = {"iconv": (4, 4, 7), "rconvs.0": (4, 4, 3), "fconv": (2, 4, 5), "linear": (1, 4)}  # no number is compared
    torch.manual_seed(0)
    state = {f"{name}.weight": torch.randn(shape) for name, shape in weights.items()}
    torch.save(state, workspace.path("small.pt"))
    config["models"]["bpnet_ctcf"] |= {"weights": "small.pt", "input_length": 300}
    genome, peaks = (config["backgrounds"]["gc_matched"][key] for key in ("genome", "peaks"))
    with gzip.open(ROOT / peaks, "rt") as lines:
        fields = [line.split("\t") for line, _ in zip(lines, range(2))]
    span = [f"{chrom}\t{int(start) + 100}\t{int(start) + 120}\ts{start}\n" for chrom, start, *_ in fields]
    workspace.path("two.bed").write_text("".join("\t".join(line) for line in fields))
    workspace.path("spans.bed").write_text("".join(span))
    config["attributions"] = {
        "two": {
            "model": "bpnet_ctcf",
            "output": "counts",
            "loci": {"kind": "bed", "genome": genome, "regions": "two.bed", "resize": True},
            "references": {"kind": "dinucleotide_shuffle", "n": 2},
            "marginalize": {"backgrounds": ["gc_matched"], "annotations": "spans.bed", "controls": {"pool": 40}},
        }
    }
    workspace.write()
    monkeypatch.chdir(workspace.folder)
    named = {file for _, file in file_keys(resolve_config(config))}
    for file in named:
        bucket.put(file, workspace.path(file))
    text = yaml.safe_dump(config)
    for file in named:
        text = re.sub(rf"(?<=[\s-]){re.escape(file)}(?=\s)", f"{store}/{file}", text)
    workspace.config = yaml.safe_load(text)
    environment = {**os.environ, **KEYS, "PYTHONPATH": str(PLUGINS)}
    records = [f"{SCREEN}/provenance.json", "results/attributions/two/provenance.json"]
    workspace.run(*records, "--storage-s3-endpoint-url", bucket.endpoint, cores=2, env=environment)
    digests = {f"{store}/{file}": hashlib.sha256(workspace.path(file).read_bytes()).hexdigest() for file in named}
    found = [json.loads(workspace.path(record).read_text())["input_sha256"] for record in records]
    assert found[0] == {file: digest for file, digest in digests.items() if not file.endswith(".bed")}
    assert found[1] == {file: digest for file, digest in digests.items() if not file.endswith(".meme")}
    for file in filter(Path.is_file, workspace.path("results").rglob("*")):
        content = file.read_bytes()
        assert b".snakemake/" not in (gzip.decompress(content) if file.suffix == ".gz" else content), file


def test_code_that_would_not_be_shipped_stops_the_run(tmp_path, bucket, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = small_config()
    upload(config, bucket)
    config["screens"]["ctcf_jaspar"]["functions"] = ["predict", {"function": "own.py:twice"}]
    checkout(tmp_path / "work", config)
    (tmp_path / "work" / "own.py").write_text("def twice(model, X, args=None):\n    return 2 * model(X.float())\n")
    done = run(tmp_path / "work", bucket, CHECK)
    assert done.returncode != 0 and "own.py: jobs without a shared file system get the code that git" in done.stdout
    assert "Traceback" not in done.stdout and "rule check_model" not in done.stdout


def test_without_its_plugin_one_line_says_what_to_install(workspace):
    workspace.config["motifs"]["jaspar"]["files"] = ["gs://bucket/motifs.meme"]
    told = workspace.run("-n", check=False).stdout
    assert "gs://bucket/motifs.meme: to fetch it, pip install snakemake-storage-plugin-gcs" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_job_that_the_kubernetes_plugin_makes(tmp_path, bucket, device, monkeypatch):
    """With the resources that the shipped profile offers: a GPU is a limit too, and on a CPU no GPU is asked for."""
    monkeypatch.chdir(ROOT)
    work = planned_folder(tmp_path, bucket, {**small_config(), "device": device})
    gpu = ["--set-resources", "check_model:gpu_manufacturer=nvidia", "check_model:scale=0"] if device == "cuda" else []
    done = run(
        work, bucket, CHECK, "--container-image", "image:1", *gpu, executor="kubernetes",
        program=(ISOLATION / "kubernetes_stub.py",), SPECIFICATION=str(tmp_path / "job"),
        AWS_ENDPOINT_URL=bucket.endpoint,
    )  # fmt: skip
    assert "the specification is written" in done.stdout, done.stdout[-4000:]
    (container,) = json.loads((tmp_path / "job").read_text())["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "image:1"
    assert container["resources"]["requests"]["memory"] == f"{small_config()['memory_mb'] + 2000}M"
    assert "--deploy-sources s3://store/run/" in container["args"][1]
    with tarfile.open(tmp_path / "job.tar.xz") as sources:  # what is known of the code's files: no job parses them
        known = json.load(sources.extractfile(str(SOURCES)))["files"]
    assert {sha256_of(file) for file in import_closure("jobs.marginalize")} <= known.keys()
    if device == "cuda":
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    else:
        assert "nvidia.com/gpu" not in container["resources"]["requests"]


def test_the_job_that_the_batch_plugin_makes(tmp_path, bucket, monkeypatch):
    """With the resources that the shipped profile asks for, registered with a Batch that runs nothing."""
    monkeypatch.chdir(ROOT)
    config = {**small_config(), "device": "cuda"}
    checkout(tmp_path / "work", config)
    upload(config, bucket)
    place = {"region": "us-east-1", "job-queue": "none", "job-role": "arn:aws:iam::1:role/r", "task-timeout": "28800"}
    batch = [word for key, value in place.items() for word in (f"--aws-batch-{key}", value)]
    batch += ["--set-resources", "check_model:mem_mb=8192", "check_model:_gpus=1"]
    done = run(tmp_path / "work", bucket, CHECK, "--container-image", "image:1", *batch, executor="aws-batch",
               AWS_ENDPOINT_URL=bucket.endpoint)  # fmt: skip
    assert "Failed to submit job" in done.stdout, done.stdout[-4000:]  # to a queue that is not there
    (job,) = json.loads(bucket.batch_jobs().read_text())
    asked = {one["type"]: one["value"] for one in job["containerProperties"]["resourceRequirements"]}
    assert asked == {"VCPU": "1", "MEMORY": "8192", "GPU": "1"}
    assert job["containerProperties"]["image"] == "image:1" and job["timeout"]["attemptDurationSeconds"] == 28800
    assert "--deploy-sources s3://store/run/" in job["containerProperties"]["command"][2]
