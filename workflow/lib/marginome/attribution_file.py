"""The file of an entry's attributions, as the jobs that come after read it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
import pandas as pd

from marginome.arrays import read_hdf5
from marginome.errors import MarginomeError
from marginome.intervals import regions_of

#: Size of a chunk of its datasets, before compression.
CHUNK_BYTES = 1 << 17


class AttributionFile:
    """What the later stages read of an attributions file; arrays are read when asked for."""

    def __init__(self, handle: h5py.File):
        self._handle = handle
        self.metadata: dict[str, Any] = json.loads(handle.attrs["marginome"])
        self.ids = [name.decode() for name in handle["ids"][...]]
        self.length = int(handle["sequences"].shape[2])
        self.regions = regions_of(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def observed(self) -> np.ndarray:
        """Return attributions of the bases that are there, float32 (loci, length)."""
        return self._handle["observed"][...].astype(np.float32)

    def dataset(self, name: str) -> h5py.Dataset:
        """Return ``sequences`` or ``hypothetical`` as they are stored, (loci, 4, length)."""
        return self._handle[name]

    def track(self, row: int, start: int, end: int, base: str | None = None) -> np.ndarray:
        """Return attributions of a part of one locus, float32: of the bases there, or of one base everywhere."""
        if base is None:
            return self._handle["observed"][row, start:end].astype(np.float32)
        return self._handle["hypothetical"][row, "ACGT".index(base), start:end].astype(np.float32)

    def part(self, name: str, row: int, start: int = 0, end: int | None = None) -> np.ndarray:
        """Return positions start to end of one locus of ``sequences`` or ``hypothetical``, (4, end - start)."""
        return self._handle[name][row, :, start:end]

    def central(self, name: str, start: int, end: int) -> np.ndarray:
        """Return positions start to end of all loci, float32 (loci, 4, end - start)."""
        source = self._handle[name]
        made = np.empty((len(self), 4, end - start), dtype=np.float32)
        for row in range(0, len(self), 256):
            made[row : row + 256] = source[row : row + 256, :, start:end]
        return made

    def spans(self, name: str, rows: pd.DataFrame, flank: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yield (4, width) arrays of spans with flanks cut at the ends, and where the first column is.

        One locus is read once for all its spans, in the order of `rows`, which is sorted by locus for speed.
        """
        held, values = -1, None
        for index, start, end in rows[["example_idx", "start", "end"]].itertuples(index=False):
            if index != held:
                held, values = index, self._handle[name][index]
            begin = max(0, start - flank)
            yield values[:, begin : min(self.length, end + flank)], begin


@contextmanager
def open_attributions(path: str | os.PathLike, digests: Mapping[str, str] | None = None) -> Iterator[AttributionFile]:
    """Open an attributions file; it must have been made with these model files, if they are given.

    Parameters
    ----------
    path : path
        Written by `merge_attributions`.
    digests : mapping, optional
        SHA-256 of the files of the model that the config names, by path.

    Yields
    ------
    AttributionFile

    Raises
    ------
    MarginomeError
        A damaged file (it is removed), another kind of file, or attributions of another model.
    """
    with read_hdf5(path) as handle:
        missing = [name for name in ("ids", "sequences", "hypothetical", "observed", "deltas") if name not in handle]
        if missing:
            raise MarginomeError(
                f"this is no attributions file: {', '.join(missing)} missing",
                where=str(path),
                remedy="Delete it and run the same command again.",
            )
        found = AttributionFile(handle)
        if digests is not None and not _same_files(found.metadata["model_files"], digests):
            raise MarginomeError(
                f"the attributions are of other model files ({', '.join(found.metadata['model_files'])}) than the "
                f"config names ({', '.join(digests)}): checksums differ",
                where=str(path),
                remedy="Delete this file and run the same command again.",
            )
        yield found


def _same_files(opened: Mapping[str, str], digests: Mapping[str, str]) -> bool:
    """Say whether a job opened files of these digests; what a server says of a file cannot be compared."""
    unknown = {name for name, digest in digests.items() if not re.fullmatch("[0-9a-f]{64}", digest)}
    one, other = (sorted(d for name, d in given.items() if name not in unknown) for given in (opened, digests))
    return one == other
