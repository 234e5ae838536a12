"""What breaks runs in real life. After each, the same command completes, and the tables equal an undisturbed run's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from workspace import ROOT, Workspace, rules_run, script_processes, small_config

pytestmark = [pytest.mark.workflow, pytest.mark.long]
TABLE = "results/screens/ctcf_jaspar/effects.parquet"
SHARD = "results/screens/ctcf_jaspar/shards/bpnet_ctcf/gc_matched/jaspar/1-of-1.h5"
SUMMARY = "results/screens/ctcf_jaspar/effects/bpnet_ctcf.parquet"
LOG = "logs/marginalize/ctcf_jaspar/bpnet_ctcf/gc_matched/jaspar/1-of-1.log"


@pytest.fixture
def disturbed(finished, tmp_path):
    """A copy of a finished run, to be damaged."""
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    return Workspace(tmp_path / "work", small_config())


def _same_as(finished, workspace) -> None:
    pd.testing.assert_frame_equal(
        pd.read_parquet(workspace.path(TABLE)), pd.read_parquet(finished.path(TABLE)), check_exact=True
    )


def _without_a_shard(workspace) -> None:
    """Remove the table and one of its two shards, so that they are computed again."""
    for file in (TABLE, SUMMARY, SHARD, LOG):
        workspace.path(file).unlink()


def _start(workspace, *arguments: str) -> subprocess.Popen:
    workspace.write()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory",
               str(workspace.folder), "--configfile", str(workspace.path("config.yaml")), "--cores", "1", "--nocolor",
               TABLE, *arguments]  # fmt: skip
    # A test runner may ignore SIGINT; a terminal's Ctrl-C reaches the whole process group.
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def _wait_for(process: subprocess.Popen, text: str = "engine:", seconds: float = 240) -> None:
    """Return when a run has said something; by default, when a marginalize job has begun its work."""
    end = time.monotonic() + seconds
    for line in process.stdout:
        if text in line:
            return
        if time.monotonic() > end:
            break
    raise AssertionError(f"'{text}' was not said")


def _wait_until_it_writes(workspace) -> None:
    """Return when the shard's file is being written, under a new temporary name beside its own."""
    end = time.monotonic() + 240
    folder = workspace.path(SHARD).parent  # alone: to look through all results takes a core
    left = set(folder.glob(".tmp-*"))  # by a writer that was killed
    while not set(folder.glob(".tmp-*-1-of-1.h5")) - left:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ctrl_c_a_crash_and_a_killed_shard(finished, disturbed):
    _without_a_shard(disturbed)
    process = _start(disturbed)
    _wait_for(process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode != 0 and not disturbed.path(SHARD).exists()
    assert "ERROR: interrupted" in disturbed.path(LOG).read_text().splitlines()[-1]

    # The shard alone is killed while it is being written, and tried again; then all is, as when the machine goes down.
    process = _start(disturbed, "--retries", "1")
    _wait_until_it_writes(disturbed)
    (shard,) = script_processes(disturbed.folder, "marginalize")
    os.kill(shard, signal.SIGKILL)
    _wait_for(process, "Error in rule marginalize")
    assert not disturbed.path(SHARD).exists()
    _wait_until_it_writes(disturbed)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert not disturbed.path(SHARD).exists()
    told = disturbed.run(TABLE, check=False)
    assert told.returncode != 0 and "--unlock" in told.stdout
    disturbed.run("--unlock")

    disturbed.run(TABLE)
    _same_as(finished, disturbed)
    assert not list(disturbed.path("results").rglob(".tmp-*"))


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_shard_is_named_and_made_again(finished, disturbed, how):
    shard = next(disturbed.path("results/screens/ctcf_jaspar/shards").rglob("*.h5"))
    raw = bytearray(shard.read_bytes())
    stamp = shard.stat()
    if how == "truncated":
        del raw[len(raw) // 2 :]
    else:
        for i in range(len(raw) // 3, 2 * len(raw) // 3, 37):
            raw[i] ^= 0xFF
    shard.write_bytes(raw)
    os.utime(shard, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # Snakemake sees nothing
    disturbed.path(TABLE).unlink()
    disturbed.path(SUMMARY).unlink()
    first = disturbed.run(TABLE, check=False)
    assert first.returncode != 0 and "damaged" in first.stdout and shard.name in first.stdout
    assert "Traceback" not in first.stdout
    disturbed.run(TABLE)
    _same_as(finished, disturbed)


def test_a_deleted_intermediate_is_made_again(finished, disturbed):
    disturbed.path("results/baselines/bpnet_ctcf/gc_matched.h5").unlink()
    disturbed.path(SUMMARY).unlink()
    disturbed.path(TABLE).unlink()
    output = disturbed.run(TABLE)
    assert "predict_baseline" in rules_run(output.stdout)
    _same_as(finished, disturbed)


def test_two_runs_on_one_folder(finished, disturbed):
    """The second is told that the folder is locked; the first ends well."""
    _without_a_shard(disturbed)
    process = _start(disturbed)
    _wait_for(process, "Select jobs to execute")
    second = disturbed.run(TABLE, check=False)
    assert second.returncode != 0 and "lock" in second.stdout.lower()
    process.communicate(timeout=600)
    assert process.returncode == 0
    _same_as(finished, disturbed)
