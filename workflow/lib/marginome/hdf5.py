"""Reading HDF5 files of others: in a process of its own, and only what lies in the file itself.

The HDF5 library follows links into other files, so that a file's content can change under an unchanged
checksum, and a damaged file can take the process down or never end. Every HDF5 file that a user gives is
therefore read here, and nowhere else; files that jobs of ours wrote are read by `arrays.read_hdf5`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marginome.errors import MarginomeError


@dataclass(frozen=True)
class Contents:
    """What an HDF5 file holds.

    Attributes
    ----------
    attributes : dict of str to dict
        Path of a group ("" is the root) to its attributes: text, numbers, or lists of them.
    arrays : dict of str to numpy.ndarray
        Path of a dataset to its values; only those that were asked for. Text comes as ``str``.
    shapes : dict of str to tuple of int
        Path of every dataset to its shape.
    """

    attributes: dict[str, dict[str, Any]]
    arrays: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]

    def names(self, group: str = "") -> list[str]:
        """Names of the groups and datasets in a group, sorted."""
        start = f"{group}/" if group else ""
        paths = [path for path in (*self.attributes, *self.shapes) if path and path.startswith(start)]
        return sorted({path.removeprefix(start).split("/")[0] for path in paths})


@dataclass(frozen=True)
class Request:
    """What to read of one file.

    Attributes
    ----------
    path : str
        The file.
    datasets : str, default ".*"
        Regular expression for the whole path of a dataset, e.g. ``"pos_patterns/[^/]+/sequence"``.
    rows : dict of str to list of int
        Dataset to the rows to read of it, increasing; all when it is not named.
    max_bytes : int, default 20 times the file and 64 MB
        Files whose datasets say that they hold more are refused: a few kB of HDF5 can say any size.
    seconds : int, default 20 and one for every 20 MB of the file
        Of processor time.
    """

    path: str
    datasets: str = ".*"
    rows: Mapping[str, Sequence[int]] = field(default_factory=dict)
    max_bytes: int | None = None
    seconds: int | None = None


def read_foreign_hdf5(request: Request, *, where: str | None = None) -> Contents:
    """Read an HDF5 file that a user gave.

    Parameters
    ----------
    request : Request
        The file and what to read of it.
    where : str, default the file's path
        For messages.

    Returns
    -------
    Contents

    Raises
    ------
    MarginomeError
        When the file is damaged, leads out of itself (soft, external and user-defined links, external
        storage, virtual datasets, references), or wants more memory or time than it may have.
    """
    if not Path(request.path).is_file():
        raise MarginomeError("there is no such file", where=where or request.path)
    (found,) = read_many([request])
    if isinstance(found, Contents):
        return found
    raise MarginomeError(found.what, where=where or request.path, remedy=found.remedy)


def read_many(requests: Sequence[Request]) -> list[Contents | MarginomeError]:
    """Read several files in one child process, each in a fork of it: an error in one leaves the others alone."""
    from marginome import hdf5_reader  # run by its path; imported, so that it counts as code that results depend on

    with tempfile.TemporaryDirectory(prefix="marginome-") as folder:
        asked = [asdict(request) | {"out": f"{folder}/{i}.npz"} for i, request in enumerate(requests)]
        # one thread: the child is forked for each file, and a pool of threads would count as its memory
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-P", str(hdf5_reader.__file__)],
            input=json.dumps(asked),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise MarginomeError(f"the process that reads HDF5 files failed: {last}", where=requests[0].path)
        answers = json.loads(done.stdout)
        return [_result(answer, wanted) for answer, wanted in zip(answers, asked)]


def _result(answer: Mapping[str, str], wanted: Mapping[str, Any]) -> Contents | MarginomeError:
    if "refused" in answer:
        return MarginomeError(
            answer["refused"], where=wanted["path"], remedy="Write the data into one file, as plain datasets."
        )
    if "damaged" in answer:
        return MarginomeError(
            f"the file cannot be read: it is damaged, cut short, or no HDF5 file ({answer['damaged']})",
            where=wanted["path"],
            remedy="Copy or download it again and compare its size and checksum with the source.",
        )
    with np.load(wanted["out"], allow_pickle=False) as saved:
        header = json.loads(saved["header"].tobytes())
        arrays = {path: saved[str(i)] for i, path in enumerate(header["arrays"])}
    return Contents(header["attributes"], arrays, {path: tuple(shape) for path, shape in header["shapes"].items()})
