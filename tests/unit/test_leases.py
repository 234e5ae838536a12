"""Leases: as many at once as there are devices, each its own, and free again however a holder ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest

from marginome.errors import MarginomeError
from marginome.leases import lease, leased_device

HOLDER = """
import signal, sys, time
from marginome.leases import lease
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test runner may ignore it
with lease(["gpu-a", "gpu-b", "gpu-c", "gpu-d"], folder=sys.argv[1], poll=0.05) as index:
    print(index, flush=True)
    time.sleep(float(sys.argv[2]))
    if len(sys.argv) > 3:
        raise SystemExit(sys.argv[3])
"""


def _hold(folder, seconds, *message):
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(seconds), *message],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def _waits(process):
    return not select.select([process.stdout], [], [], 2)[0]  # has said nothing


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_four_jobs_have_a_device_each_and_the_fifth_waits_until_one_ends(tmp_path, number):
    holders = [_hold(tmp_path, 60) for _ in range(4)]
    fifth = None
    try:
        indices = [process.stdout.readline().strip() for process in holders]
        assert sorted(indices) == ["0", "1", "2", "3"]
        fifth = _hold(tmp_path, 0)
        assert _waits(fifth)
        holders[2].send_signal(number)  # SIGKILL: no clean-up can run
        assert fifth.communicate(timeout=20)[0].strip() == indices[2]  # the very device that became free
        assert fifth.returncode == 0 and holders[2].wait(timeout=20) != 0
    finally:
        for process in [*holders, *([fifth] if fifth else [])]:
            process.kill()
            process.communicate()


def test_an_error_or_an_exit_frees_the_device_too(tmp_path):
    for _ in range(5):  # one more than there are devices
        process = _hold(tmp_path, 0, "failed")
        assert process.communicate(timeout=20)[0].strip() == "0"
        assert process.returncode == 1


def test_lock_files_that_were_left_behind_are_no_leases(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.lock").write_text("4711\n")
    with lease(["a", "b"], folder=tmp_path) as first, lease(["a", "b"], folder=tmp_path) as second:
        assert (first, second) == (0, 1)


@pytest.fixture
def four_gpus(monkeypatch, tmp_path):
    """A stand-in for CUDA on a machine with four GPUs: as it does, it numbers what CUDA_VISIBLE_DEVICES shows anew."""
    import torch

    seen = []

    def visible():
        return os.environ["CUDA_VISIBLE_DEVICES"].split(",")

    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(visible()))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid=f"GPU-{visible()[i]}"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "stand-in")
    monkeypatch.setattr(torch.cuda, "set_device", lambda i: seen.append(visible()[i]))
    return lambda shown: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown), seen


def test_only_visible_devices_are_leased_and_numbers_do_not_mislead(four_gpus):
    """Jobs that see different devices under the same numbers get different devices all the same."""
    show, seen = four_gpus
    show("2,3")
    with leased_device("cuda") as one:
        show("3,2")
        with leased_device("cuda") as two:
            show("0,1,2,3")
            with leased_device("cuda") as three, leased_device("cuda") as four:
                assert (one, two, three, four) == ("cuda:0", "cuda:0", "cuda:0", "cuda:1")
    assert seen == ["2", "3", "0", "1"]


def test_one_visible_device_is_the_one(four_gpus):
    """What a scheduler allocates."""
    show, seen = four_gpus
    show("3")
    with leased_device("cuda") as device:
        assert device == "cuda:0" and seen == ["3"]


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
