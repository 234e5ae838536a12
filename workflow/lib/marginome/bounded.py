"""Reading of users' files within bounds: what a file unpacks to is counted while it is read, never taken from the file.

A packed file tells a size of its own making (gzip's is even modulo 2^32), and a few MB can unpack to many GB. So every
kind of input has a bound far above any real file of its kind, and reading stops there with one line.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from marginome.errors import MarginomeError

if TYPE_CHECKING:
    import h5py
    import numpy as np

GZIP = b"\x1f\x8b"
_PIECE = 1 << 20


class Kind(NamedTuple):
    """A kind of input: its name in messages, and the most bytes of it, unpacked, that are read."""

    name: str
    most: int


# What the largest real files of each kind hold is a tenth of these or less; docs/formats.md lists them.
MOTIFS = Kind("a file of motifs", 256 << 20)  # all of CIS-BP: 30 MB
TABLE = Kind("a table", 256 << 20)
REGIONS = Kind("a file of regions", 512 << 20)  # a narrowPeak of 300,000 peaks: 25 MB
SEQUENCES = Kind("a FASTA file of sequences", 1 << 30)  # held in memory whole; genomes are not
GENOME = Kind("a genome", 256 << 30)  # read in pieces; the largest that is known has some 160 Gb
ARRAY = Kind("an HDF5 dataset", 1 << 30)
#: The longest line (bytes) of a packed genome: indexing holds one line in memory.
GENOME_LINE = 512 << 20


def check_file(path: str | os.PathLike, *, where: str | None = None) -> None:
    """Refuse what is not a file that can be read: a pipe or a device may never end.

    Parameters
    ----------
    path : path
    where : str, optional
        For messages; the path by default.

    Raises
    ------
    MarginomeError
    """
    where = str(path) if where is None else where
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise MarginomeError(
            "there is no such file", where=where, remedy="Paths are relative to the folder you run in."
        ) from None
    except (OSError, ValueError) as error:  # no permission for the folder, a loop of links, a name with a zero byte
        raise MarginomeError(f"the file cannot be read ({getattr(error, 'strerror', None) or error})", where=where,
                             remedy="Check its path and mode.") from None  # fmt: skip
    if stat.S_ISDIR(mode):
        raise MarginomeError("this is a folder", where=where, remedy="Name the files in it.")
    if not stat.S_ISREG(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "device or socket"
        raise MarginomeError(
            f"this is a {kind}, not a file", where=where, remedy="Write what it gives to a file first."
        )
    if not os.access(path, os.R_OK):
        raise MarginomeError("no permission to read it", where=where, remedy="Check its mode.")


class _Counted(io.RawIOBase):
    """A binary stream that ends with an error once it has given more bytes than its kind may hold."""

    def __init__(self, source: BinaryIO, kind: Kind, where: str):
        self.source, self.kind, self.where, self.given = source, kind, where, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        count = self.source.readinto(buffer)
        self.given += count
        if self.given > self.kind.most:
            raise MarginomeError(
                f"it holds more than {self.kind.most >> 20:,} MB (unpacked), the most that is read of {self.kind.name}",
                where=self.where,
                remedy="Check where the file is from, or split it.",
            )
        return count


@contextmanager
def opened(path: str | os.PathLike, kind: Kind) -> Iterator[BinaryIO]:
    """Open a file, unpacked if it is gzip or bgzip, for reading of at most ``kind.most`` bytes.

    Parameters
    ----------
    path : path
    kind : Kind

    Yields
    ------
    binary file
        Memory is what its reader asks for at a time.

    Raises
    ------
    MarginomeError
        No file, a pipe or device, no permission, a damaged gzip file, or more bytes than the kind has.
    """
    where = str(path)
    check_file(path)
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP
            raw.seek(0)
            source = gzip.GzipFile(fileobj=raw) if packed else raw
            yield io.BufferedReader(_Counted(source, kind, where), _PIECE)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MarginomeError(
            f"the gzip file is damaged or cut off ({error})", where=where, remedy="Copy or download it again."
        ) from None
    except OSError as error:
        raise MarginomeError(f"the file cannot be read ({error.strerror or error})", where=where) from error


def read_bytes(path: str | os.PathLike, kind: Kind) -> bytes:
    """Return what a file holds, unpacked if it is gzip; see `opened` for its errors."""
    pieces = []
    with opened(path, kind) as handle:
        while piece := handle.read(_PIECE):
            pieces.append(piece)
    return b"".join(pieces)


def read_text(path: str | os.PathLike, kind: Kind) -> str:
    """Return the text of a file, gzipped or not, in UTF-8 (with or without mark), UTF-16 with mark or Latin-1."""
    return decode(read_bytes(path, kind), str(path))


def decode(raw: bytes, where: str) -> str:
    """Return the text of a file's bytes; an error when they are none."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "latin-1")
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise MarginomeError("this is not text", where=where, remedy="See docs/formats.md for the formats read.")
    if "\x00" in text:
        raise MarginomeError("this is a binary file", where=where, remedy="See docs/formats.md for the formats read.")
    return text


def check_lines(path: str | os.PathLike, kind: Kind, longest: int) -> None:
    """Refuse a packed text file with more bytes than its kind, or a line above `longest` (bytes): before indexing."""
    line = 0
    with opened(path, kind) as handle:
        while piece := handle.read(_PIECE):
            first, last = piece.find(b"\n"), piece.rfind(b"\n")
            line = line + len(piece) if last < 0 else max(line + first, 0)
            if line > longest:
                raise MarginomeError(
                    f"a line of it is longer than {longest >> 20:,} MB",
                    where=str(path),
                    remedy="Wrap its lines: seqkit seq -w 60 in.fa.gz | bgzip > out.fa.gz",
                )
            line = len(piece) - last - 1 if last >= 0 else line


def read_array(dataset: h5py.Dataset, where: str, shape: tuple[int | None, ...] = ()) -> np.ndarray:
    """Read an HDF5 dataset whole, after its shape and the memory it takes were looked at.

    Parameters
    ----------
    dataset : h5py.Dataset
    where : str
        For messages.
    shape : tuple of int or None
        What it must have; None is any length. ``()``: not looked at.

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    MarginomeError
        Another shape, or more than 1 GB (or chunks of more): a dataset of zeros is packed a thousandfold.
    """
    check_array(dataset, where)
    if shape and (len(shape) != dataset.ndim or any(w not in (None, n) for w, n in zip(shape, dataset.shape))):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise MarginomeError(
            f"the dataset {dataset.name} has the shape {dataset.shape}, wanted ({wanted})", where=where
        )
    return dataset[()]


def check_array(dataset: h5py.Dataset, where: str, most: int = ARRAY.most) -> None:
    """Refuse an HDF5 dataset, or chunks of one, that take more than `most` bytes unpacked."""
    chunk = dataset.dtype.itemsize
    for n in dataset.chunks or ():
        chunk *= n
    if max(dataset.nbytes, chunk) > most:
        raise MarginomeError(
            f"the dataset {dataset.name} of shape {dataset.shape} takes more than {most >> 20:,} MB", where=where
        )


# ------------------------------------------------------------------------------------------------ zip archives
def check_archive(path: str | os.PathLike) -> None:
    """Refuse a zip archive of tensors that is damaged, or that takes more memory than its own size when it is read.

    ``torch.save`` stores the members as they are, each with a checksum that ``torch.load`` does not look at. So
    nothing may be packed, no two members may share their bytes, and every checksum must be right: then a reader
    gets what was written, and no more than the file holds.

    Parameters
    ----------
    path : path
        A zip file.

    Raises
    ------
    MarginomeError
    """
    where = str(path)
    size = os.path.getsize(path)
    _check_end(path, size)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        packed = next((m.filename for m in members if m.compress_type != zipfile.ZIP_STORED), None)
        if packed is not None or sum(member.file_size for member in members) > size:
            raise MarginomeError(
                f"{packed} in it is packed" if packed else "its members are larger than the file itself",
                where=where,
                remedy="torch.save never packs, and a packed file may take any amount of memory: where you trust it, "
                "load it and torch.save it again.",
            )
        if len({member.filename for member in members}) < len(members):
            raise zipfile.BadZipFile("two members have one name")
        for member in members:
            if member.CRC:  # 0: written without, by torch.serialization.set_crc32_options(False)
                with archive.open(member) as handle:
                    while handle.read(_PIECE):  # compares the checksum at the end
                        pass


def _check_end(path: str | os.PathLike, size: int) -> None:
    """Refuse an archive that does not end with its directory, in which two readers could see different members."""
    with open(path, "rb") as handle:
        handle.seek(max(size - 98, 0))
        end = handle.read()
    tail = end[-22:]
    if len(tail) < 22 or tail[:4] != b"PK\x05\x06" or tail[20:] != b"\0\0":
        raise zipfile.BadZipFile("the archive does not end with its directory")
    length, start = struct.unpack("<2L", tail[12:20])
    before = size - 22
    if end[-42:-38] == b"PK\x06\x07":  # the large form, which torch.save writes
        before = size - 98
        if end[:4] != b"PK\x06\x06" or struct.unpack("<Q", end[-34:-26])[0] != before:
            raise zipfile.BadZipFile("the archive does not end with its directory")
        length, start = struct.unpack("<2Q", end[40:56])
    if start + length != before:
        raise zipfile.BadZipFile("the directory of the archive is not where it says")
