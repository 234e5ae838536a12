"""The `.keras` archives of Keras 3: a zip of the architecture in JSON and of an HDF5 file of weights."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

from marginome.bounded import ARCHITECTURE
from marginome.errors import MarginomeError
from marginome.hdf5 import Contents, Request, read_foreign_hdf5

_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
_PIECE = 1 << 20
# Keras stores the members as they are; a packed one may be this much larger than the file and as many bytes more.
_TIMES, _SLACK = 20, 64 << 20


class Archive(NamedTuple):
    """What is in a `.keras` archive: the architecture as JSON, the weights, and the version of Keras where it tells."""

    text: str
    contents: Contents
    version: str | None


def read_archive(file: str, folder: str, where: str) -> Archive:
    """Read a `.keras` archive as data; nothing in it is executed.

    Parameters
    ----------
    file : path
    folder : path
        Where the HDF5 file in it may be put for a while.
    where : str
        For messages.

    Raises
    ------
    MarginomeError
        For a member that is missing, damaged (their checksums are compared), or larger than the archive may hold.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            missing = [name for name in _MEMBERS if names.count(name) != 1]
            if missing:
                raise zipfile.BadZipFile(f"it has {names.count(missing[0]) or 'no'} {missing[0]}")
            text = _read(archive, "config.json", ARCHITECTURE.most).decode()
            metadata = json.loads(_read(archive, "metadata.json", _PIECE))
            weights = Path(folder) / "model.weights.h5"
            with open(weights, "wb") as out:
                most = _TIMES * os.path.getsize(file) + _SLACK
                with archive.open("model.weights.h5") as source:
                    while piece := source.read(_PIECE):
                        most -= len(piece)
                        if most < 0:
                            raise zipfile.BadZipFile("its weights are larger than a file of its size may hold")
                        out.write(piece)
    except MemoryError:
        raise
    except Exception as error:  # zipfile meets damage in many ways
        raise MarginomeError(
            f"the archive is damaged, cut short, or none of Keras ({error or type(error).__name__})",
            where=where,
            remedy="Copy or download it again and compare its size and checksum with the source.",
        ) from error
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return Archive(text, read_foreign_hdf5(Request(str(weights)), where=where), version)


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    with archive.open(name) as source:
        content = source.read(most + 1)
    if len(content) > most:
        raise zipfile.BadZipFile(f"{name} in it is larger than {most >> 20} MB")
    return content
