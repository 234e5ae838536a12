"""The small demo on a real Slurm: munge, slurmctld and slurmd with two nodes and two stand-in GPU devices.

Compute stays on the CPU (the devices are null devices); what is tested is what Slurm is asked for and gives.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from filelock import FileLock

from workspace import ROOT, Workspace, need, small_config

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
FOLDER = Path("/var/lib/marginome-slurm")
STARTED = Path(tempfile.gettempdir()) / "marginome-slurm.started"
GPU_RULES = ("check_model", "predict_baseline", "marginalize")
# This cluster keeps no accounts, so job states come from squeue; GPUs are asked for although the config says cpu.
SITE = [
    "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5",
    "--slurm-keep-successful-logs",
    "--set-resources", *[f"{rule}:gpu=1" for rule in GPU_RULES], *[f"{rule}:slurm_partition=gpu" for rule in GPU_RULES],
]  # fmt: skip


@pytest.fixture
def cluster():
    """A running cluster, for one test at a time: its record of finished jobs is read by them."""
    need("slurmctld", "slurm-wlm")
    need("munged", "munge")
    if os.geteuid() != 0:
        pytest.skip("starting a Slurm cluster needs root")
    with FileLock(str(Path(tempfile.gettempdir()) / "marginome-slurm.lock"), timeout=1500):
        if subprocess.run(["sinfo"], capture_output=True).returncode:
            STARTED.touch()  # by us: taken down when all tests are done (tests/conftest.py)
        subprocess.run([HERE / "slurm-up"], check=True)
        yield FOLDER


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
    assert len(list((tmp_path / "site_logs").rglob("*.log"))) > 7  # the site's setting was in force
    assert space.path("results/screens/ctcf_jaspar/effects.parquet").exists()
