"""Whatever ends a job, the last line of its log is the reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch

from marginome.errors import MarginomeError
from marginome.jobs.runner import job

WAITING = """
import sys, time
from marginome.jobs.runner import job
from marginome.storage import atomic
with job(sys.argv[1]), atomic(sys.argv[2]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def _last_line(log):
    return log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "reason", "traceback"),
    [
        (MarginomeError("no such motif", where="m.meme"), "ERROR: m.meme: no such motif", False),
        (ZeroDivisionError("by zero"), "ERROR: ZeroDivisionError: by zero", True),
        (KeyboardInterrupt(), "ERROR: interrupted", False),
        (MemoryError("Unable to allocate 9 GiB"), "ERROR: memory ran out: Unable to allocate 9 GiB.", False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "ERROR: memory ran out: CUDA out of memory", False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "ERROR: memory ran out: Default", False),
    ],
)  # fmt: skip
def test_the_log_ends_in_the_reason(tmp_path, error, reason, traceback):
    with pytest.raises(SystemExit) as stopped, job(tmp_path / "job.log"):
        raise error
    assert stopped.value.code
    assert reason in _last_line(tmp_path / "job.log")
    assert ("Traceback" in (tmp_path / "job.log").read_text()) == traceback


@pytest.mark.parametrize("loaded", ["", "import torch", "import numpy"])
def test_a_job_uses_its_threads_whatever_it_has_loaded(tmp_path, loaded):
    """Results depend on how many there are."""
    code = f"""{loaded}
from marginome.jobs.runner import job
with job({str(tmp_path / "job.log")!r}, threads=2):
    import torch, numba
    print(torch.get_num_threads(), numba.get_num_threads())
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "5"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "2"], done.stderr


def test_a_job_that_is_cancelled_says_so_and_tidies_up(tmp_path):
    """SIGTERM is what Slurm sends first when a job is cancelled or its time is over."""
    command = [sys.executable, "-c", WAITING, str(tmp_path / "job.log"), str(tmp_path / "result")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert "ERROR: stopped from outside" in _last_line(tmp_path / "job.log")
    assert [p.name for p in tmp_path.iterdir()] == ["job.log"]


def test_sigterm_is_as_before_after_a_job(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with job(tmp_path / "job.log"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
