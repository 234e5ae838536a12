"""Leases: as many at once as there are devices, each its own, and free again however a holder ends."""

from __future__ import annotations

import select
import signal
import subprocess
import sys

import pytest

from marginome.errors import MarginomeError
from marginome.leases import lease, leased_device

HOLDER = """
import sys, time
from marginome.leases import lease
with lease(["gpu-a", "gpu-b"], folder=sys.argv[1], poll=0.05) as index:
    print(index, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def _hold(folder, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_each_holder_has_its_own_and_the_third_waits(tmp_path):
    first, second = _hold(tmp_path, 30), _hold(tmp_path, 30)
    try:
        assert {first.stdout.readline().strip(), second.stdout.readline().strip()} == {"0", "1"}
        third = _hold(tmp_path, 0)
        assert not select.select([third.stdout], [], [], 3)[0]  # it waits and says nothing
        second.send_signal(signal.SIGKILL)  # no clean-up can run
        assert third.wait(timeout=20) == 0
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_a_lease_ends_with_its_block(tmp_path):
    for _ in range(3):
        with lease(["only"], folder=tmp_path) as index:
            assert index == 0
    with pytest.raises(RuntimeError), lease(["only"], folder=tmp_path):
        raise RuntimeError
    with lease(["only"], folder=tmp_path) as index:
        assert index == 0


def test_the_cpu_needs_no_lease():
    with leased_device("cpu") as device:
        assert device == "cpu"


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="this machine has a GPU")
def test_cuda_without_a_device_fails_at_once():
    with pytest.raises(MarginomeError, match="no CUDA device"), leased_device("cuda"):
        pass
