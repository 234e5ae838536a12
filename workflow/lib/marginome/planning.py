"""What the process that plans a run found in the user's files, for jobs on machines that do not have them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from marginome.errors import MarginomeError
from marginome.provenance import with_imported


class Planned:
    """Answers of functions of names that look at files; a job that is told them does not look.

    Parameters
    ----------
    path : path
        JSON file of the answers.
    read : bool
        Whether it is there: in a job whose machine got the workflow's sources.
    """

    def __init__(self, path: str | os.PathLike, *, read: bool):
        self._path = Path(path)
        self._told: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8")) if read else {}
        self._found: dict[str, Any] = {}

    def asks(self, function: Callable) -> Callable:
        """Make a function of texts look once for each, or not at all where its answer, of plain values, was told."""

        @functools.cache
        def answer(*names: str) -> Any:
            key = json.dumps([function.__name__, *names])
            if key not in self._told:
                self._found[key] = function(*names)
            return self._told.get(key, self._found.get(key))

        return answer

    def write(self) -> str:
        """Write what was found so far and return the file's path."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._found), encoding="utf-8")
        return str(self._path)


def check_shipped(code: Sequence[str]) -> None:
    """Refuse code of the user's that jobs without a shared file system would not get: Snakemake ships what git knows.

    Parameters
    ----------
    code : sequence of path
        Python files that a config names; what they import from their own folders counts too.

    Raises
    ------
    MarginomeError
        A file outside of the working directory, or one that git does not know there.
    """
    if not code:
        return
    done = subprocess.run(["git", "ls-files", "-z", "--", "."], capture_output=True, text=True, check=False)
    known = {os.path.normpath(file) for file in done.stdout.split("\0") if file}
    for file in with_imported(code):
        if os.path.normpath(os.path.relpath(file)) not in known:
            raise MarginomeError(
                "jobs without a shared file system get the code that git knows in the working directory, and it does "
                "not know this file",
                where=file,
                remedy=f"Copy it below {os.getcwd()} if it is not there, and: git add {file}",
            )
