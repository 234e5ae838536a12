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
    """Totals of a bigWig file.

    Parameters
    ----------
    path : path

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

    def __init__(self, path: str | os.PathLike):
        self.path = str(path)
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
        try:
            print(json.dumps([chrom, start, min(end, self.contigs[chrom])]), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # the answer says so
        return self._answer(f"the signal of {chrom}:{start}-{end} cannot be read", "The file may be damaged: copy it.")

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

    def _answer(self, what: str, remedy: str) -> Any:
        line = self._process.stdout.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = {"error": "its reader stopped: the file is damaged"}
        if isinstance(answer, dict) and "error" in answer:
            raise MarginomeError(f"{what} ({answer['error']})", where=self.path, remedy=remedy)
        return answer["value"]


def _serve(path: str) -> None:
    """Answer questions from standard input about one file: its contigs first, then a total for each line."""
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
        try:
            found = handle.stats(*json.loads(line), type="sum", exact=True)[0] or 0.0
            say(**({"value": found} if math.isfinite(found) else {"error": f"the sum is {found}"}))
        except (RuntimeError, OSError, ValueError, MemoryError) as error:
            say(error=str(error))


if __name__ == "__main__":
    _serve(sys.argv[1])
