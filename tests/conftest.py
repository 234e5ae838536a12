"""Shared by all tests: one thread per process, paths of the shipped data, and how a missing system package is met."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402

from oracles import PACKAGES, run_oracle  # noqa: E402
from workspace import (  # noqa: E402
    RESOURCES,
    ROOT,
    Workspace,
    slurm_lock,
    slurm_started,
    small_config,
    small_elements_config,
)


def pytest_configure(config):
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("MARGINOME_TESTS", str(os.getpid()))  # one name for all processes of a run of the tests


def pytest_collection_modifyitems(items):
    """Leave out what takes longest, unless asked for: `make test` is to end within a quarter of an hour.

    Two workers begin with one half of the list each and take from the end of the other's when they are done. So each
    half begins with half of the files of whole runs, and ends with tests of seconds: no worker is left with a long one.
    """
    left_out = not {"MARGINOME_LONG", "MARGINOME_REQUIRE_ALL"} & os.environ.keys()
    slow, quick = {}, []
    for item in items:
        long = item.get_closest_marker("long")
        if long and left_out:
            item.add_marker(pytest.mark.skip(reason="long: `make test LONG=1` runs it, and so does CI"))
        if (long and not left_out) or item.path.parent.name in ("slurm", "workflow"):
            slow.setdefault(item.path, []).append(item)
        else:
            quick.append(item)
    halves = [[item for file in list(slow)[start::2] for item in slow[file]] for start in (0, 1)]
    middle = max(0, len(items) // 2 - len(halves[0]))
    items[:] = halves[0] + quick[:middle] + halves[1] + quick[middle:]


def pytest_sessionfinish(session):
    """Take the Slurm cluster down that this run of the tests started, when nobody's test is using it."""
    if not hasattr(session.config, "workerinput") and slurm_started().exists():
        with slurm_lock():
            slurm_started().unlink()
            # with its configuration: Snakemake would ask the absent controller at every start, for 9 seconds
            subprocess.run([ROOT / "tests" / "slurm" / "slurm-down", "--purge"], check=False, capture_output=True)


def pytest_terminal_summary(terminalreporter):
    """Say how many tests of each folder ran and were skipped: that Slurm's and the browser's did is to be seen."""
    for folder in sorted(path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))):
        counts = [
            sum(f"tests/{folder}/" in report.nodeid for report in terminalreporter.stats.get(outcome, []))
            for outcome in ("passed", "failed", "skipped")
        ]
        if any(counts):
            terminalreporter.write_line("tests/{}: {} passed, {} failed, {} skipped".format(folder, *counts))


@pytest.fixture(autouse=True)
def plain_logging():
    """`job` takes the loggers of its process over, which here goes on: each test begins and ends without that."""

    def free() -> None:
        logging.captureWarnings(False)
        for log in map(logging.getLogger, ("marginome", "py.warnings")):
            log.handlers, log.propagate = [], True
            log.setLevel(logging.NOTSET)

    free()
    yield
    free()


@pytest.fixture(scope="session")
def resources() -> Path:
    """The folder of shipped real data."""
    return RESOURCES


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A fresh working directory."""
    return Workspace(tmp_path, small_config())


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workspace:
    """A working directory in which the small demo has run; read it, do not change it. Shared by all test processes."""
    return finished_run(tmp_path_factory, "finished", small_config())


@pytest.fixture(scope="session")
def elements(tmp_path_factory) -> Workspace:
    """The same of the chain from loci to isolated elements."""
    return finished_run(tmp_path_factory, "elements", small_elements_config(), "attributions")


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> Path:
    """A folder with the small models that other packages wrote (``oracles.PACKAGES``); read it, do not change it."""
    return made_once(tmp_path_factory, "packages", lambda folder: run_oracle(PACKAGES, folder, "flash_attn"))


def finished_run(tmp_path_factory, name: str, config: dict, *targets: str) -> Workspace:
    """A working directory in which a config was run, all of it or targets."""
    folder = made_once(tmp_path_factory, name, lambda folder: Workspace(folder, config).run(*targets, cores=2))
    return Workspace(folder, config)


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of all test processes that asks for it fills."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = base / name
    with FileLock(str(base / f"{name}.lock"), timeout=1800):
        folder.mkdir(exist_ok=True)
        if not (folder / "done").exists():
            make(folder)
            (folder / "done").touch()
    return folder
