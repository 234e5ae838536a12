"""The small demo on a real Slurm: munge, slurmctld and slurmd with two nodes and two stand-in GPU devices.

Compute stays on the CPU (the devices are null devices); what is tested is what Slurm is asked for and gives.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from workspace import ROOT, Workspace, need, small_config

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
FOLDER = Path("/var/lib/marginome-slurm")
GPU_RULES = ("check_model", "predict_baseline", "marginalize")
# This cluster keeps no accounts, so job states come from squeue; GPUs are asked for although the config says cpu.
SITE = [
    "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5",
    "--slurm-keep-successful-logs",
    "--set-resources", *[f"{rule}:gpu=1" for rule in GPU_RULES], *[f"{rule}:slurm_partition=gpu" for rule in GPU_RULES],
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    """A running cluster; its record of finished jobs is read by the tests."""
    need("slurmctld", "slurm-wlm")
    need("munged", "munge")
    if os.geteuid() != 0:
        pytest.skip("starting a Slurm cluster needs root")
    running = subprocess.run(["sinfo"], capture_output=True).returncode == 0
    subprocess.run([HERE / "slurm-up"], check=True)
    yield FOLDER
    if not running:  # what was up before the tests stays up
        subprocess.run([HERE / "slurm-down"], check=False)


def _space(folder: Path) -> Workspace:
    config = small_config()
    config["screens"]["ctcf_jaspar"]["shards"] = 2  # 4 marginalize jobs for 2 GPUs
    return Workspace(folder, config)


def _start(space: Workspace, profile: str, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start a run as a user on a cluster does: a profile and no --cores."""
    space.write()
    command = ["snakemake", "--profile", profile, "--directory", str(space.folder), "--configfile",
               str(space.folder / "config.yaml"), "--nocolor", *SITE, *arguments]  # fmt: skip
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


def _records(cluster: Path, since: int) -> list[dict[str, str]]:
    """Slurm's own record of the jobs that ended after the first `since`."""
    lines = (cluster / "log" / "jobcomp.log").read_text().splitlines()[since:]
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]


def _count(cluster: Path) -> int:
    log = cluster / "log" / "jobcomp.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def _check_gpu_jobs(records: list[dict[str, str]]) -> None:
    gpu = [r for r in records if r["Partition"] == "gpu"]
    assert len(gpu) >= 7, [r["Partition"] for r in records]  # 1 check, 2 baselines, 4 shards
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


def test_the_shipped_profile_runs_the_screen_and_each_gpu_job_gets_one_gpu(cluster, tmp_path, finished):
    space = _space(tmp_path)
    before = _count(cluster)
    _run(space, "profiles/slurm")
    _check_gpu_jobs(_records(cluster, before))
    table = pd.read_parquet(space.path("results/screens/ctcf_jaspar/effects.parquet"))
    local = pd.read_parquet(finished.path("results/screens/ctcf_jaspar/effects.parquet"))
    pd.testing.assert_frame_equal(table, local)  # another number of shards, another executor, the same bits


def test_a_sites_own_profile_named_slurm_is_not_shadowed(cluster, tmp_path):
    """`snakemake --profile slurm` from the repository's root finds the user's profile and its settings hold."""
    home = tmp_path / "xdg"
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())
    profile |= {"slurm-logdir": str(tmp_path / "site_logs")}
    (home / "snakemake" / "slurm").mkdir(parents=True)
    (home / "snakemake" / "slurm" / "profile.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / "work").mkdir()
    space = _space(tmp_path / "work")
    before = _count(cluster)
    _run(space, "slurm", XDG_CONFIG_HOME=str(home))
    records = _records(cluster, before)
    _check_gpu_jobs(records)
    assert len(list((tmp_path / "site_logs").rglob("*.log"))) >= len(records) > 7  # the site's setting was in force
    assert space.path("results/screens/ctcf_jaspar/effects.parquet").exists()


TABLE = "results/screens/ctcf_jaspar/effects.parquet"


@pytest.fixture
def half_done(cluster, finished, tmp_path) -> Workspace:
    """A run of which the shards and tables are still to be made."""
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    space = Workspace(tmp_path / "work", small_config())
    shutil.rmtree(space.path("results/screens/ctcf_jaspar/shards"))
    for name in ("effects.parquet", "effects.tsv.gz", "effects.h5", "profiles.h5", "agreement.parquet",
                 "consensus.parquet"):  # fmt: skip
        space.path("results/screens/ctcf_jaspar", name).unlink()
    return space


def _running_gpu_job(process: subprocess.Popen) -> str:
    """Wait until a GPU job runs and return its number."""
    for _ in range(240):
        found = subprocess.run(["squeue", "-h", "-p", "gpu", "-t", "R", "-o", "%A"], capture_output=True, text=True)
        if found.stdout.split():
            return found.stdout.split()[0]
        assert process.poll() is None, process.stdout.read()[-4000:]
        time.sleep(0.5)
    raise AssertionError("no GPU job was started")


def _finish_and_compare(process: subprocess.Popen, space: Workspace, finished: Workspace) -> None:
    process.communicate(timeout=900)  # with its retry it may have got over the fault, or not
    _run(space, "profiles/slurm", TABLE)
    pd.testing.assert_frame_equal(
        pd.read_parquet(space.path(TABLE)), pd.read_parquet(finished.path(TABLE)), check_exact=True
    )


def test_a_cancelled_job(half_done, finished):
    process = _start(half_done, "profiles/slurm", TABLE)
    subprocess.run(["scancel", _running_gpu_job(process)], check=True)
    _finish_and_compare(process, half_done, finished)


def test_a_node_set_down(half_done, finished):
    process = _start(half_done, "profiles/slurm", TABLE)
    _running_gpu_job(process)
    subprocess.run(["scontrol", "update", "nodename=gpu01", "state=down", "reason=test"], check=True)
    time.sleep(3)
    subprocess.run(["scontrol", "update", "nodename=gpu01", "state=resume"], check=True)
    _finish_and_compare(process, half_done, finished)


def test_a_job_that_needs_more_memory_gets_it_in_its_next_attempt(half_done, finished, cluster):
    """Slurm kills it at the limit; the second attempt asks for more."""
    before = _count(cluster)
    arguments = ["--set-resources", "marginalize:gpu=1", "marginalize:slurm_partition=gpu",
                 "marginalize:mem_mb=attempt*attempt*500"]  # fmt: skip
    _run(half_done, "profiles/slurm", TABLE, *arguments, "--retries", "2")
    states = [(r["JobState"], r["Tres"]) for r in _records(cluster, before) if r["Partition"] == "gpu"]
    assert any(state == "FAILED" and "mem=500M" in tres for state, tres in states), states
    assert any(state == "COMPLETED" and ("mem=2000M" in tres or "mem=4500M" in tres) for state, tres in states), states
    pd.testing.assert_frame_equal(pd.read_parquet(half_done.path(TABLE)), pd.read_parquet(finished.path(TABLE)))
