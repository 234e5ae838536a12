"""Devices, precision switches and what counts as running out of memory."""

from __future__ import annotations

import pytest
import torch

from marginome.devices import (
    available_memory,
    is_out_of_memory,
    peak_memory,
    precision_context,
    resolve_device,
)
from marginome.errors import MarginomeError


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_device_fails_at_once():
    with pytest.raises(MarginomeError, match="no CUDA device is visible here"):
        resolve_device("cuda")


def test_a_cuda_number_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1").index == 1
    with pytest.raises(MarginomeError, match="there are 2 CUDA devices"):
        resolve_device("cuda:2")


def test_names_that_are_no_device():
    with pytest.raises(MarginomeError, match="'gpu' is not a device"):
        resolve_device("gpu")


def test_precision_is_set_and_restored_also_after_an_error():
    cpu = torch.device("cpu")
    state = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    x = torch.ones(3, 3, requires_grad=True)
    with precision_context("float32", cpu):
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        assert not (x @ x).requires_grad
    with precision_context("tf32", cpu):
        assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    with precision_context("bfloat16", cpu):
        assert (x @ x).dtype == torch.bfloat16
    with precision_context("bfloat16", cpu, autocast=False):
        assert (x @ x).dtype == torch.float32
    with pytest.raises(KeyError), precision_context("tf32", cpu):
        raise KeyError
    assert state == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    with pytest.raises(MarginomeError, match="there is no precision 'half'"), precision_context("half", cpu):
        pass


def test_out_of_memory_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.float32)  # more than any machine has
    assert is_out_of_memory(caught.value)


def test_memory_is_counted():
    cpu = torch.device("cpu")
    assert available_memory(cpu) > 0
    before = peak_memory(cpu)
    block = torch.ones(int(2e7))
    assert peak_memory(cpu) >= before > 0
    assert len(block)
