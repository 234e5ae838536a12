"""Models in tar archives, as ENCODE publishes them: which folds one holds, and their files unpacked within bounds."""

from __future__ import annotations

import gzip
import logging
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from marginome.bounded import GZIP, Kind, is_archive, opened
from marginome.errors import MarginomeError
from marginome.models.kinds import saved_model

log = logging.getLogger("marginome")

#: What an archive may unpack to, archives within it counted again: five folds of ChromBPNet with all parts take 0.4 GB.
ARCHIVE = Kind("an archive of models", 8 << 30)
_MODELS = (".h5", ".hdf5", ".keras", ".torch", ".pt", ".pth", ".ckpt", ".safetensors")
_ARCHIVES = (".tar", ".tgz", ".gz")
_DEEPEST = 3  # archives within archives
_MOST_MEMBERS = 20_000
_MOST_READ = 1 << 24  # bytes that tarfile may ask for at once: long names and other notes on a member
_PIECE = 1 << 20
# Of ChromBPNet's three files of a fold, by their names; the first that fits counts.
_PARTS = (("accessibility", "nobias"), ("bias", "bias"), ("combined", "chrombpnet"))


class Member(NamedTuple):
    """A model in an archive: its path there, for people, and where its bytes are."""

    label: str
    tar: str | None  # a plain tar; None when `path` is a packed file that is the model itself
    path: str


class _Modest:
    """A file of which no reader takes much at once, whatever length a damaged header tells."""

    def __init__(self, handle: BinaryIO):
        self.handle, self.seek, self.tell = handle, handle.seek, handle.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_READ:
            raise tarfile.ReadError(f"a header says that {size} bytes belong to it")
        return self.handle.read(size)


class _Budget:
    """Bytes and members that may still be unpacked, of all archives within one."""

    def __init__(self, where: str):
        self.where, self.bytes, self.members = where, ARCHIVE.most, _MOST_MEMBERS

    def take(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise MarginomeError(
                f"it unpacks to more than {ARCHIVE.most >> 30} GB, the most that is read of {ARCHIVE.name}",
                where=self.where,
                remedy="Unpack it yourself, and give the models' files as weights.",
            )

    def count(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise MarginomeError(f"it has more than {_MOST_MEMBERS} members", where=self.where)


@contextmanager
def unpacked(files: Sequence[str], settings: Mapping[str, Any], where: str) -> Iterator[list[str]]:
    """Unpack the models of archives among some files into a folder that is removed at the end.

    Parameters
    ----------
    files : sequence of str
        Files of weights. One that is no archive is passed on as it is.
    settings : mapping
        The model's entry: its ``component`` says which of ChromBPNet's three files of a fold is meant.
    where : str
        For messages.

    Yields
    ------
    list of str
        Paths of the models' files, the folds of an archive in their order. What is unpacked lies in a temporary folder
        under names of our own, whatever paths the archive has: nothing is written elsewhere.

    Raises
    ------
    MarginomeError
        For an archive that is damaged, unpacks to too much, holds no model, or more than one model of a fold. In
        errors from within, the unpacked files are called by their place in the archive.
    """
    with tempfile.TemporaryDirectory(prefix="marginome-") as folder:
        labels: dict[str, str] = {}
        try:
            found = []
            for file in files:
                if not is_archive(file):
                    found.append(file)
                    continue
                here = f"{where}: {file}"
                with _one_line(here):
                    members = chosen(list_models(file, folder, here), settings.get("component"), here)
                    log.info("%s holds %s", here, ", ".join(member.label for member in members))
                    for member in members:
                        path = _written(member, folder)
                        labels[path] = f"{file}/{member.label}"
                        found.append(path)
            yield found
        except MarginomeError as error:
            raise MarginomeError(
                _named(error.what, labels), where=_named(error.where, labels), remedy=_named(error.remedy, labels)
            ) from error


def list_models(file: str, folder: str, where: str) -> list[Member]:
    """List the models in an archive, those in archives within it too.

    Parameters
    ----------
    file : path
        A tar, packed by gzip or not, whatever its name; or one model packed by gzip.
    folder : path
        For what has to be unpacked to be looked into.
    where : str
        For messages.

    Returns
    -------
    list of Member
        Regular files by their names' endings; links, devices and files with holes are passed over.
    """
    found = list(_models(file, "", Path(folder), _Budget(where), 0))
    models = [member for member in found if member.label.lower().endswith(_MODELS) or member.tar is None]
    if models:
        return models
    if any(os.path.basename(member.label) == "saved_model.pb" for member in found):
        raise saved_model(where)
    raise MarginomeError(
        "the archive holds no model",
        where=where,
        remedy=f"Looked for are files that end in {', '.join(_MODELS)}. Unpack it, and give what is meant as weights.",
    )


def chosen(members: Sequence[Member], component: str | None, where: str) -> list[Member]:
    """Choose one model for each fold, in the order of the folds.

    Parameters
    ----------
    members : sequence of Member
    component : {"accessibility", "bias", "combined"} or None
        Which of ChromBPNet's files of a fold. Where there is none of this part alone, the file with both is taken.
    where : str
        For messages.

    Returns
    -------
    list of Member
        The folds are told by ``fold_3`` or ``fold3`` in the paths; an archive without folds holds one model.
    """
    parts: dict[str, list[Member]] = {}
    for member in members:
        parts.setdefault(_part(member.label), []).append(member)
    if len(parts) > 1 and component is None:
        listed = "; ".join(f"{part or 'other'}: {', '.join(m.label for m in parts[part][:2])}" for part in parts)
        raise MarginomeError(
            f"the archive holds several models of a fold ({listed})",
            where=where,
            remedy="Say which with component: accessibility (the usual choice for motifs), bias or combined.",
        )
    taken = members
    if len(parts) > 1:
        taken = parts.get(component) or parts.get("combined")
        if not taken:
            raise MarginomeError(f"the archive holds no {component} model, only {', '.join(parts)}", where=where)
    folds: dict[int | None, Member] = {}
    for member in taken:
        fold = _fold(member.label)
        if fold in folds:
            which = "no fold is told in their names" if fold is None else f"both are of fold {fold}"
            raise MarginomeError(
                f"the archive holds {folds[fold].label} and {member.label}; {which}",
                where=where,
                remedy="Unpack it, and give the files that are meant as weights.",
            )
        folds[fold] = member
    return [folds[fold] for fold in sorted(folds, key=lambda fold: -1 if fold is None else fold)]


def _part(label: str) -> str:
    name = os.path.basename(label).lower()
    return next((part for part, word in _PARTS if word in name), "")


def _fold(label: str) -> int | None:
    found = re.findall(r"fold[_.-]?(\d{1,4})(?!\d)", label, re.IGNORECASE)
    return int(found[-1]) if found else None


def _models(file: str, label: str, folder: Path, budget: _Budget, depth: int) -> Iterator[Member]:
    """Every file in an archive, and in archives within it; of a gzip file that is no tar, the file in it."""
    tar = str(file)
    with open(file, "rb") as handle:
        packed = handle.read(2) == GZIP
    if packed:
        tar = _place(folder, "unpacked.tar")
        with opened(file, ARCHIVE) as source:
            _copy(source, tar, budget)
    if not tarfile.is_tarfile(tar):
        if not packed:
            raise tarfile.ReadError("its first header is no tar's")
        name = os.path.basename(label or file)
        yield Member(re.sub(r"\.gz\Z", "", name, flags=re.IGNORECASE), None, tar)
        return
    with open(tar, "rb") as handle, tarfile.open(fileobj=_Modest(handle), mode="r:") as archive:
        for info in archive:
            budget.count()
            if not info.isreg() or info.issparse() or os.path.basename(info.name).startswith("._"):  # of macOS' tar
                continue
            path = "/".join(part for part in (*label.split("/"), *info.name.split("/")) if part not in ("", "."))
            if not info.name.lower().endswith(_ARCHIVES):
                yield Member(path, tar, info.name)
            elif depth < _DEEPEST:
                inner = _place(folder, "inner")
                _copy(archive.extractfile(info), inner, budget)
                yield from _models(inner, path, folder, budget, depth + 1)
        # tarfile takes a damaged header, and the end of a file that was cut, for the end of the archive
        handle.seek(archive.offset)
        if handle.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it does not end with the mark of its end")


def _written(member: Member, folder: str) -> str:
    """A member's bytes in a file of its own name, in a folder of its own."""
    name = re.sub(r"[^\w.-]", "_", os.path.basename(member.label))[-200:] or "model"
    target = _place(Path(folder), name)
    if member.tar is None:
        os.rename(member.path, target)
        return target
    with open(member.tar, "rb") as handle, tarfile.open(fileobj=_Modest(handle), mode="r:") as archive:
        info = next(info for info in archive if info.name == member.path and info.isreg())
        _copy(archive.extractfile(info), target, _Budget(member.label))
    return target


def _place(folder: Path, name: str) -> str:
    """A new path for a file of this name."""
    return os.path.join(tempfile.mkdtemp(dir=folder), name)


def _copy(source: BinaryIO, target: str, budget: _Budget) -> None:
    with open(target, "wb") as out:
        while piece := source.read(_PIECE):
            budget.take(len(piece))
            out.write(piece)


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Say of whatever goes wrong in an archive that it is damaged."""
    try:
        yield
    except MarginomeError as error:
        raise MarginomeError(error.what, where=where, remedy=error.remedy) from error
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, StopIteration) as error:
        raise MarginomeError(
            f"the archive is damaged or cut off ({error or type(error).__name__})",
            where=where,
            remedy="Copy or download it again.",
        ) from error
    except OSError as error:
        raise MarginomeError(f"the archive cannot be unpacked ({error.strerror or error})", where=where) from error


def _named(text: str | None, labels: Mapping[str, str]) -> str | None:
    for path, label in labels.items():
        text = text.replace(path, label) if text else text
    return text
