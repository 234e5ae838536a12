"""One GPU per job on a machine with several: a lease by file lock, for jobs that no scheduler placed."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("marginome")


@contextmanager
def lease(names: Sequence[str], *, folder: str | os.PathLike | None = None, poll: float = 0.5) -> Iterator[int]:
    """Hold one of several devices for the length of a block; wait while all are held.

    Snakemake counts GPUs but does not say which job gets which, and every process starts on device 0. The
    lease is an exclusive `flock` on a file per device: the kernel drops it when the process ends in any
    way, SIGKILL and crashes included, so there is no stale lease to recover.

    Parameters
    ----------
    names : sequence of str
        What identifies the devices on this machine, whatever CUDA_VISIBLE_DEVICES makes of their numbers
        (the UUIDs of GPUs).
    folder : path, optional
        Of the lock files; local to the machine, shared by all its users' processes of this user.
    poll : float, default 0.5
        Seconds between two looks while all are held.

    Yields
    ------
    int
        Index into `names`.
    """
    base = Path(folder or Path(tempfile.gettempdir()) / f"marginome-gpus-{os.getuid()}")
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    handles = [open(base / f"{name.replace('/', '_')}.lock", "a+", encoding="utf-8") for name in names]
    started, told = time.monotonic(), False
    held = None
    try:
        while held is None:
            for index, handle in enumerate(handles):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                held = index
                break
            else:
                if not told:
                    log.info("all %d GPUs of this machine are taken: waiting for one", len(names))
                    told = True
                time.sleep(poll)
        if told:
            log.info("got GPU %d after %.0f s", held, time.monotonic() - started)
        yield held
    finally:
        for handle in handles:
            handle.close()  # closing drops the lock


@contextmanager
def leased_device(device: str) -> Iterator[str]:
    """Give the device that a job computes on: ``cpu`` as it is, ``cuda`` as one leased ``cuda:<index>``.

    Only devices that CUDA_VISIBLE_DEVICES shows are candidates; with one (a scheduler's allocation) it is that.

    Raises
    ------
    MarginomeError
        ``cuda`` without a CUDA device: nothing falls back to the CPU silently.
    """
    if device != "cuda":
        yield device
        return
    import torch

    from marginome.devices import resolve_device

    resolve_device(device)  # fails at once where there is none
    names = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
    with lease(names) as index:
        torch.cuda.set_device(index)
        log.info("GPU %d of %d: %s (%s)", index, len(names), torch.cuda.get_device_name(index), names[index])
        yield f"cuda:{index}"
