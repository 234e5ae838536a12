"""Reading of users' files within bounds: what a file unpacks to is counted while it is read, never taken from the file.

A packed file tells a size of its own making (gzip's is even modulo 2^32), and a few MB can unpack to many GB. So every
kind of input has a bound far above any real file of its kind, and reading stops there with one line.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np

from marginome.errors import MarginomeError

GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_FOLDER = 0x10  # of the attributes of a member, as MS-DOS has them


class Kind(NamedTuple):
    """A kind of input: its name in messages, and the most bytes of it, unpacked, that are read."""

    name: str
    most: int


# What the largest real files of each kind hold is a tenth of these or less; docs/formats.md lists them.
MOTIFS = Kind("a file of motifs", 256 << 20)  # all of CIS-BP: 30 MB
TABLE = Kind("a table", 256 << 20)
ARCHITECTURE = Kind("an architecture in JSON", 64 << 20)  # large published Keras models: 1 MB
REGIONS = Kind("a file of regions", 512 << 20)  # a narrowPeak of 300,000 peaks: 25 MB
SEQUENCES = Kind("a FASTA file of sequences", 1 << 30)  # held in memory whole; genomes are not
GENOME = Kind("a genome", 256 << 30)  # read in pieces; the largest that is known has some 160 Gb
#: The longest line (bytes) of a packed genome: indexing holds one line in memory.
GENOME_LINE = 512 << 20
#: Most memory (bytes) that the index of a packed genome may take: some six million sequences.
GENOME_INDEX = 4 << 30


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
    try:
        unfetched_file = unfetched(path, where)
    except OSError as error:
        what = "no permission to read it" if error.errno == errno.EACCES else f"it cannot be read ({error.strerror})"
        raise MarginomeError(what, where=where, remedy="Check its mode.") from None
    if unfetched_file:
        raise unfetched_file


def unfetched(path: str | os.PathLike, where: str) -> MarginomeError | None:
    """Return what to do about a file in whose place there is a pointer of Git LFS or a web page, None for another."""
    with open(path, "rb") as handle:
        start = handle.read(64)
    if start.startswith(b"version https://git-lfs"):
        remedy = "Fetch the file itself: git lfs pull, in the folder of its repository."
        return MarginomeError("this is a pointer of Git LFS, in place of the file", where=where, remedy=remedy)
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        remedy = "Download it again, and look at what its address gives."
        return MarginomeError("this is a web page, in place of the file", where=where, remedy=remedy)
    return None


def is_archive(path: str | os.PathLike) -> bool:
    """Whether a file is a tar archive, or packed by gzip (which may hold a tar); told by its content."""
    try:
        with open(path, "rb") as handle:
            start = handle.read(512)
    except OSError:
        return False
    return start[:2] == GZIP or start[257:262] == b"ustar"


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


def check_packed_fasta(path: str | os.PathLike) -> None:
    """Refuse a packed FASTA file whose index could not be made in a bounded memory, before it is made.

    Indexing holds one line, a record for each sequence and one for each line of another length than its sequence's
    first; a small packed file can hold lines of many GB and sequences without end.

    Raises
    ------
    MarginomeError
        More than `GENOME` bytes, a line above `GENOME_LINE`, or an index above `GENOME_INDEX`.
    """
    rest, width, index = bytearray(), 0, 0
    with opened(path, GENOME) as handle:
        while piece := handle.read(_PIECE):
            last = piece.rfind(b"\n") + 1
            whole = len(rest) + last if last else 0
            rest += piece
            if len(rest) - whole > GENOME_LINE:
                raise MarginomeError(
                    f"a line of it is longer than {GENOME_LINE >> 20:,} MB",
                    where=str(path),
                    remedy="Wrap its lines: seqkit seq -w 60 in.fa.gz | bgzip > out.fa.gz",
                )
            if not whole:
                continue
            text = np.frombuffer(bytes(rest[:whole]), dtype=np.uint8)
            del rest[:whole]
            ends = np.flatnonzero(text == ord("\n"))
            starts = np.append(0, ends[:-1] + 1)
            lengths = ends + 1 - starts
            header = text[starts] == ord(">")
            if not width and not header[0]:
                width = int(lengths[0])
            # what each line is compared with: the first line of its sequence, which may be in a piece before
            firsts = np.append(width, np.append(lengths, 0)[np.flatnonzero(header) + 1])
            odd = ~header & ((lengths != firsts[np.cumsum(header)]) | (lengths == 1))
            width = int(firsts[-1])
            index += 600 * int(header.sum()) + int(lengths[header].sum()) + 100 * int(odd.sum())
            if index > GENOME_INDEX:
                raise MarginomeError(
                    f"its sequences, or its lines of unequal length, are so many that indexing takes more than "
                    f"{GENOME_INDEX >> 30} GB",
                    where=str(path),
                    remedy="Check where the file is from; lines of one sequence must be equally long.",
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
    check_members(path)


def check_members(path: str | os.PathLike) -> None:
    """Raise ``zipfile.BadZipFile`` when a member of an archive is not what its checksum says: torch does not look.

    Nor does torch read what is marked as a folder: its tensors are then whatever lies in memory.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size and member.external_attr & _FOLDER:
                raise zipfile.BadZipFile(f"{member.filename} is marked as a folder, but has content")
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
