"""Shared by all tests: one thread per process, paths of the shipped data, and how a missing system package is met."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RESOURCES = ROOT / "resources"


def pytest_configure(config):
    import torch

    torch.set_num_threads(1)


def need(program: str, package: str) -> None:
    """Skip the calling test when a system program is missing; fail instead where MARGINOME_REQUIRE_ALL=1 (CI)."""
    if shutil.which(program) is None:
        message = f"{program} is not installed (Debian package {package})"
        if os.environ.get("MARGINOME_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def resources() -> Path:
    """The folder of shipped real data."""
    return RESOURCES
