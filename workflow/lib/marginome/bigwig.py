"""bigWig files, read in a process of their own: the C library that reads them does not survive every damaged one."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from marginome.errors import MarginomeError

_MEMORY = 4 << 30  # bytes that the reader may ask for: damaged sizes must not take the machine down


class BigWig:
    """Values of a bigWig file, and their totals.

    Parameters
    ----------
    path : path
    where : str, default the path
        For messages.

    Attributes
    ----------
    path : str
    contigs : dict of str to int
        Lengths (bp).

    Raises
    ------
    MarginomeError
        A file that is no bigWig, or is damaged.
    """

    def __init__(self, path: str | os.PathLike, *, where: str | None = None):
        self.path = str(path)
        self._where = self.path if where is None else where
        package = str(Path(__file__).resolve().parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "marginome.bigwig", self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.contigs: dict[str, int] = self._answer("the bigWig file cannot be read", "Check where it comes from.")

    def total(self, chrom: str, start: int, end: int) -> float:
        """Return the sum of the values of [start, end) (0-based); 0 where there are none or no such contig."""
        if start >= self.contigs.get(chrom, 0):
            return 0.0
        return self._ask("total", chrom, start, min(end, self.contigs[chrom]))

    def values(self, chrom: str, start: int, end: int) -> list[float | None]:
        """Return the value of each base of [start, end) (0-based, within a contig); None where there is none."""
        return self._ask("values", chrom, start, end)

    def close(self) -> None:
        """End the reading process."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self._process.wait()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def _ask(self, what: str, chrom: str, start: int, end: int) -> Any:
        try:
            print(json.dumps([what, chrom, start, end]), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # the answer says so
        return self._answer(f"the signal of {chrom}:{start}-{end} cannot be read", "The file may be damaged: copy it.")

    def _answer(self, what: str, remedy: str) -> Any:
        line = self._process.stdout.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = {"error": "its reader stopped: the file is damaged"}
        if isinstance(answer, dict) and "error" in answer:
            raise MarginomeError(f"{what} ({answer['error']})", where=self._where, remedy=remedy)
        return answer["value"]


def _serve(path: str) -> None:
    """Answer questions from standard input about one file: its contigs first, then an answer for each line."""
    import math

    import pyBigWig

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def say(**answer: object) -> None:
        print(json.dumps(answer), flush=True)

    try:
        handle = pyBigWig.open(path)
        if not handle.isBigWig():
            raise RuntimeError("it is no bigWig file")
        contigs = handle.chroms()
        if not contigs:
            raise RuntimeError("it names no contig")
        say(value=contigs)
    except (RuntimeError, OSError, ValueError, MemoryError, TypeError) as error:
        say(error=str(error))
        return
    for line in sys.stdin:
        what, *span = json.loads(line)
        try:
            if what == "values":
                say(value=[None if math.isnan(value) else value for value in handle.values(*span)])
                continue
            found = handle.stats(*span, type="sum", exact=True)[0] or 0.0
            say(**({"value": found} if math.isfinite(found) else {"error": f"the sum is {found}"}))
        except (RuntimeError, OSError, ValueError, MemoryError) as error:
            say(error=str(error))


if __name__ == "__main__":
    _serve(sys.argv[1])
