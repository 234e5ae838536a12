"""The frame around every job: its log, its threads, its progress, and one clear line when it fails."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from marginome.errors import MarginomeError

log = logging.getLogger("marginome")


@contextmanager
def job(log_file: str | os.PathLike, *, threads: int | None = None) -> Iterator[logging.Logger]:
    """Run a job with its log file; a user's mistake ends it with one clear line instead of a traceback.

    Parameters
    ----------
    log_file : path
        Gets everything that is logged, with times; the terminal gets it too. Its last line is the
        reason for a failure.
    threads : int, optional
        Threads for PyTorch, BLAS and numba in this process. Kernels round differently at another
        number, so rules that run a model pass a fixed one.

    Yields
    ------
    logging.Logger
    """
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    handlers = [logging.FileHandler(log_file, mode="w", encoding="utf-8"), logging.StreamHandler(sys.stderr)]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers, log.propagate = handlers, False
    log.setLevel(logging.INFO)
    logging.captureWarnings(True)
    warnings_log = logging.getLogger("py.warnings")
    warnings_log.handlers, warnings_log.propagate = handlers, False
    if threads:
        _set_threads(threads)
    started = time.monotonic()
    # Python ends at once on SIGTERM: no reason in the log, temporary files left behind.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield log
    except MarginomeError as error:
        log.error("ERROR: %s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("ERROR: interrupted; the same command goes on from here")
        sys.exit(130)
    except _StoppedError:
        log.error("ERROR: stopped from outside (SIGTERM): cancelled, out of its time, or its node goes down; the same "
                  "command goes on from here")  # fmt: skip
        sys.exit(143)
    except Exception as error:
        if _memory_ran_out(error):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            log.error("ERROR: memory ran out: %s. Give the job more (mem_mb of its rule, or a GPU that has more), or "
                      "set a smaller memory_mb in the config", reason.rstrip("."))  # fmt: skip
            sys.exit(1)
        log.error("%s", traceback.format_exc())
        log.error("ERROR: %s: %s (an error in marginome or a library, not in your input as far as is known)",
                  type(error).__name__, str(error).strip() or "no message")  # fmt: skip
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
    log.info("done in %.1f s", time.monotonic() - started)


class _StoppedError(BaseException):
    """Not an Exception: nothing that handles errors may take it for one."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise _StoppedError


def _memory_ran_out(error: Exception) -> bool:
    if "torch" not in sys.modules:  # a bad moment to import it
        return isinstance(error, MemoryError)
    from marginome.devices import is_out_of_memory

    return is_out_of_memory(error)


def _set_threads(threads: int) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:  # else it reads them if a job that has no model imports it after all
        sys.modules["torch"].set_num_threads(threads)


class Progress:
    """Log how far a long computation is, how fast, and when it will end; at most one line every few seconds.

    Parameters
    ----------
    total : int
        Units of work.
    unit : str
        What is counted, e.g. ``"inserts"``.
    every : float, default 10
        Least seconds between two lines.
    """

    def __init__(self, total: int, unit: str, *, every: float = 10.0):
        self.total, self.unit, self.every = total, unit, every
        self.done = 0
        self.started = self.last = time.monotonic()

    def update(self, amount: int) -> None:
        """Count `amount` more units as done."""
        self.done += amount
        now = time.monotonic()
        if self.done >= self.total or now - self.last >= self.every:
            self.last = now
            rate = self.done / max(now - self.started, 1e-9)
            left = (self.total - self.done) / rate if rate else float("inf")
            log.info(
                "%s of %s %s (%.0f %%), %s %s/s, %s left",
                f"{self.done:,}", f"{self.total:,}", self.unit, 100 * self.done / max(self.total, 1),
                f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}", self.unit, _duration(left),
            )  # fmt: skip


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
