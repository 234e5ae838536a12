"""The small demo on a real Slurm: munge, slurmctld and slurmd with two nodes and two stand-in GPU devices.

Compute stays on the CPU (the devices are null devices); what is tested is what Slurm is asked for and gives.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml

from marginome.discoveries import add_q
from workspace import ROOT, Workspace, cannot_run, need, script_processes, slurm_lock, slurm_started, small_config

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
FOLDER = Path("/var/lib/marginome-slurm")
TABLE = "results/screens/ctcf_jaspar/effects.parquet"
SHARD = "results/screens/ctcf_jaspar/shards/bpnet_ctcf/gc_matched/jaspar/1-of-1.h5"
SUMMARY = "results/screens/ctcf_jaspar/effects/bpnet_ctcf.parquet"
LOG = "logs/marginalize/ctcf_jaspar/bpnet_ctcf/gc_matched/jaspar/1-of-1.log"
GPU_RULES = ("check_model", "predict_baseline", "marginalize")
# This cluster keeps no accounts, so job states come from squeue; GPUs are asked for although the config says cpu.
SITE = [
    "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5",
    "--slurm-keep-successful-logs",
    "--set-resources", *[f"{rule}:gpu=1" for rule in GPU_RULES], *[f"{rule}:slurm_partition=gpu" for rule in GPU_RULES],
]  # fmt: skip
# The plugin waits 10 s longer whenever nothing has ended since it last asked: most of a run of jobs this small.
SNAKEMAKE = """
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)
from snakemake.cli import main
main()
"""


@pytest.fixture
def cluster():
    """A running cluster, for one test at a time: its record of finished jobs is read by them."""
    need("slurmctld", "slurm-wlm")
    need("munged", "munge")
    if os.geteuid() != 0:
        cannot_run("starting a Slurm cluster needs root")
    with slurm_lock():
        if subprocess.run(["sinfo"], capture_output=True).returncode:
            slurm_started().touch()  # by us: taken down when all tests are done (tests/conftest.py)
        subprocess.run([HERE / "slurm-up"], check=True)
        try:
            yield FOLDER
        finally:
            subprocess.run(["scancel", "--user", "root"], check=False)
            subprocess.run([HERE / "slurm-up"], check=True)  # the nodes are up for the next one


def _config(shards: int) -> dict:
    """The small demo with one background set: fewer jobs of each kind, each of which starts Snakemake twice."""
    config = small_config()
    del config["backgrounds"]["shuffled_peaks"]
    config["screens"]["ctcf_jaspar"] |= {"backgrounds": ["gc_matched"], "shards": shards}
    return config


def _wanted(finished: Workspace) -> pd.DataFrame:
    """The finished run's rows of that set, with their q among themselves."""
    table = pd.read_parquet(finished.path(TABLE))
    rows = table[table["background"] == "gc_matched"].reset_index(drop=True)
    return add_q(rows.drop(columns="q"))[list(table.columns)]


def _start(space: Workspace, profile: str, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start a run as a user on a cluster does: a profile and no --cores."""
    space.write()
    command = [sys.executable, "-c", SNAKEMAKE, *arguments, "--profile", profile, "--directory", str(space.folder),
               "--configfile", str(space.folder / "config.yaml"), "--nocolor", *SITE]  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PATH": path, **environment}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def _run(space: Workspace, profile: str, *arguments: str, **environment: str) -> str:
    """Run to a good end."""
    process = _start(space, profile, *arguments, **environment)
    output, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, output[-5000:]
    return output


def _records(cluster: Path, since: int, space: Workspace) -> list[dict[str, str]]:
    """Slurm's own record of a run's jobs that ended after the first `since` of all."""
    lines = (cluster / "log" / "jobcomp.log").read_text().splitlines()[since:]
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
    return [record for record in found if record["WorkDir"] == str(space.folder)]


def _count(cluster: Path) -> int:
    log = cluster / "log" / "jobcomp.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def _check_gpu_jobs(records: list[dict[str, str]], shards: int) -> None:
    gpu = [r for r in records if r["Partition"] == "gpu"]
    assert len(gpu) == 1 + 1 + shards, [r["Partition"] for r in records]  # check, baseline, shards
    assert all(r["JobState"] == "COMPLETED" and "gpu01" in r["NodeList"] for r in gpu)
    for r in records:
        # what was asked for and what was given: the job-completion log does not say, the controller does
        shown = subprocess.run(
            ["scontrol", "-d", "show", "job", r["JobId"]], capture_output=True, text=True, check=True
        )
        asked, given = (re.search(rf"{key}=(\S*)", shown.stdout) for key in ("TresPerJob", "JOB_GRES"))
        if r["Partition"] == "gpu":
            assert asked and asked[1] == "gres:gpu:1" and given and given[1] == "gpu:fake:1", shown.stdout
        else:
            assert not asked and not (given and "gpu" in given[1]), shown.stdout
    events = sorted([(r["StartTime"], 1) for r in gpu] + [(r["EndTime"], -1) for r in gpu], key=lambda e: (e[0], e[1]))
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    assert 1 <= most <= 2  # three never ran at once on two


def test_a_sites_copy_of_the_profile_runs_the_screen_and_each_gpu_job_gets_one_gpu(cluster, tmp_path, finished):
    """`snakemake --profile slurm` from the repository's root finds the user's copy, and its settings hold."""
    home = tmp_path / "xdg"
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())
    profile |= {"slurm-logdir": str(tmp_path / "site_logs")}
    (home / "snakemake" / "slurm").mkdir(parents=True)
    (home / "snakemake" / "slurm" / "profile.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / "work").mkdir()
    space = Workspace(tmp_path / "work", _config(shards=3))  # 3 jobs for 2 GPUs
    before = _count(cluster)
    _run(space, "slurm", XDG_CONFIG_HOME=str(home))
    records = _records(cluster, before, space)
    _check_gpu_jobs(records, shards=3)
    # the genome's index; the background set with its page; motifs, inserts; the batch's table; table, figures, record
    # and page in one; overview
    assert len([r for r in records if r["Partition"] == "cpu"]) == 7
    assert len(list((tmp_path / "site_logs").rglob("*.log"))) == len(records)  # the site's setting was in force
    found = pd.read_parquet(space.path(TABLE))  # another number of shards, another executor, the same bits
    pd.testing.assert_frame_equal(found, _wanted(finished), check_exact=True)


def test_an_atlas_is_one_job_of_each_rule_and_batch(cluster, tmp_path, finished):
    """Two models of a sheet: a check, a baseline, a shard, as for one; with what has no model from a finished run."""
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    space = Workspace(tmp_path / "work", _config(shards=1))
    (model,) = space.config.pop("models").values()
    rows = [f"{name}\t{model['loader']}\t{model['weights']}\t2114\t{name}\tK562" for name in ("first", "second")]
    space.path("models.tsv").write_text("\n".join(["name\tloader\tweights\tinput_length\tdonor\tcell", *rows]) + "\n")
    space.config["sheets"] = ["models.tsv"]
    donors = {"first": {"donor": "first"}, "second": {"donor": "second"}}
    space.config["screens"]["ctcf_jaspar"] |= {"models": {"cell": "K562"}, "comparisons": {"donors": donors}}
    before = _count(cluster)
    _run(space, "profiles/slurm")
    folder = space.path("results/screens/ctcf_jaspar")
    records = _records(cluster, before, space)
    _check_gpu_jobs(records, shards=1)
    # the batch's table and its pages; what is made of all batches is one Slurm job with the record; overview
    assert len([r for r in records if r["Partition"] == "cpu"]) == 4, records
    (file,) = pd.read_parquet(folder / "manifest.parquet")["file"].unique()
    found = pd.read_parquet(folder / file)
    wanted = _wanted(finished)
    assert found["model"].drop_duplicates().tolist() == ["first", "second"]
    for _, rows in found.groupby("model"):
        for column in ("effect", "effect_sd", "p", "q"):
            assert (rows[column].to_numpy() == wanted[column].to_numpy()).all(), column
    assert pd.read_parquet(folder / "models.parquet")["cell"].tolist() == ["K562", "K562"]
    differences = pd.read_parquet(folder / "comparisons" / "donors.parquet")["difference"]
    assert len(differences) and (differences.abs() < 1e-9).all()  # one model twice
    assert (folder / "atlas.html").exists() and len(list((folder / "pages").rglob("*.html"))) == 2


@pytest.fixture
def without_a_shard(finished, tmp_path):
    """A copy of a finished run without one shard and the tables: one GPU job and the batch's table are left to do."""
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    space = Workspace(tmp_path / "work", small_config())
    for file in (SHARD, LOG, SUMMARY, TABLE):
        space.path(file).unlink()
    yield space
    # Without cgroups Slurm may lose sight of a process of a job whose node went down.
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(space.folder).encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def _hold(space: Workspace, process: subprocess.Popen) -> None:
    """Wait until the shard's job, under Slurm, has begun its work, and hold it there."""
    while process.poll() is None:
        if space.path(LOG).exists() and "shard 1-of-1" in space.path(LOG).read_text():
            (pid,) = script_processes(space.folder, "marginalize")
            os.kill(pid, signal.SIGSTOP)
            return
        time.sleep(0.1)
    raise AssertionError(process.communicate()[0][-5000:])


def _slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# Read by Python at its start: the shard's process holds 3.7 GB besides its own, too much for the 4 GB of the first
# attempt and not for the 8 GB of the second, and waits until Slurm has looked.
BALLAST = """
import sys, time
if sys.argv[0].endswith(".marginalize.py"):
    ballast = b"1" * 3_700_000_000
    import torch
    time.sleep(8)
"""


def test_what_is_stopped_from_outside_or_out_of_memory_is_tried_again(cluster, without_a_shard, finished, tmp_path):
    """Slurm starts a lost node's job again, the profile a cancelled one, once; then the same command goes on.

    In that run a job is killed for memory, and gets more.
    """
    before = _count(cluster)
    process = _start(without_a_shard, "profiles/slurm", SUMMARY)
    _hold(without_a_shard, process)
    _slurm("scontrol", "update", "nodename=gpu01", "state=down", "reason=test")
    while script_processes(without_a_shard.folder, "marginalize"):  # killed with its node
        assert process.poll() is None
        time.sleep(0.1)
    without_a_shard.path(LOG).unlink()
    _slurm(str(HERE / "slurm-up"))  # and up again
    for _ in range(2):
        _hold(without_a_shard, process)
        _slurm("scancel", *_slurm("squeue", "-h", "-p", "gpu", "-t", "running", "-o", "%A").split())
        while script_processes(without_a_shard.folder, "marginalize"):
            time.sleep(0.1)
        log = without_a_shard.path(LOG)
        assert "ERROR: stopped from outside" in log.read_text().splitlines()[-1]
        log.unlink()
    output, _ = process.communicate(timeout=600)
    assert process.returncode != 0 and not without_a_shard.path(SHARD).exists(), output[-5000:]
    records = [r for r in _records(cluster, before, without_a_shard) if r["Partition"] == "gpu"]
    assert [r["JobState"] for r in records] == ["NODE_FAIL", "CANCELLED", "CANCELLED"]
    assert records[0]["JobId"] == records[1]["JobId"] != records[2]["JobId"]

    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(BALLAST)
    path = os.pathsep.join([str(tmp_path / "python"), *filter(None, [os.environ.get("PYTHONPATH")])])
    before = _count(cluster)
    _run(without_a_shard, "profiles/slurm", SUMMARY, PYTHONPATH=path)
    gpu = [r for r in _records(cluster, before, without_a_shard) if r["Partition"] == "gpu"]
    assert [r["JobState"] for r in gpu] == ["FAILED", "COMPLETED"]
    assert ["mem=4000M" in gpu[0]["Tres"], "mem=8000M" in gpu[1]["Tres"]] == [True, True], gpu
    (said,) = without_a_shard.path(".snakemake/slurm_logs").rglob(f"{gpu[0]['JobId']}.log")
    assert "exceeded memory limit" in said.read_text()
    assert "Trying to restart" not in said.read_text()  # in the same allocation, where it would be killed again
    found, wanted = (pd.read_parquet(space.path(SUMMARY)) for space in (without_a_shard, finished))
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
