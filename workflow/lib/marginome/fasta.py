"""FASTA files: read by position, whole, or some of their sequences, checked either way."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import logging
import os
import re
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from marginome.bounded import GZIP, SEQUENCES, check_file, check_packed_fasta
from marginome.errors import MarginomeError
from marginome.storage import check_bgzip, damaged
from marginome.textfiles import numbered_lines, read_text

log = logging.getLogger(__name__)


class Genome:
    """A FASTA file with random access.

    Parameters
    ----------
    path : path
        Plain FASTA, or block-gzipped (bgzip) with a name that ends in ``.gz`` or ``.bgz``.
    index : tuple of path, optional
        Its ``.fai`` and ``.gzi`` as `write_index` made them. By default those beside the file, made where they are
        missing or no longer fit.

    Attributes
    ----------
    path : Path
    contigs : dict of str to int
        Length (bp) of every sequence, in the file's order.

    Raises
    ------
    MarginomeError
        Missing, gzip instead of bgzip, not FASTA, a contig twice, lines of unequal length.
    """

    def __init__(self, path: str | os.PathLike, *, index: tuple[str | os.PathLike, ...] | None = None):
        import pyfaidx

        self.path = Path(path)
        check_compression(self.path)
        fai, gzi = index_fasta(self.path) if index is None else _given_index(self.path, *map(Path, index))
        with _explained(self.path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # which file is older; whether they fit is known
            self._faidx = pyfaidx.Faidx(
                str(self.path), indexname=str(fai), gzi_indexname=str(gzi) if gzi else None, rebuild=False, as_raw=True
            )
        self.contigs = {name: record.rlen for name, record in self._faidx.index.items()}
        if not self.contigs:
            raise MarginomeError("there is no sequence in it", where=str(path), remedy="Check where it comes from.")

    def fetch(self, chrom: str, start: int, end: int) -> str:
        """Return the bases of [start, end) (0-based) as they are in the file, lower case included."""
        if not 0 <= start < end <= self.contigs[chrom]:
            raise MarginomeError(
                f"{chrom}:{start}-{end} is not within the contig of {self.contigs[chrom]} bp", where=str(self.path)
            )
        with _explained(self.path):
            sequence = str(self._faidx.fetch(chrom, start + 1, end))  # pyfaidx counts from 1
        if len(sequence) != end - start:
            raise MarginomeError(
                f"{chrom}:{start}-{end} gave {len(sequence)} bases: file or index is damaged",
                where=str(self.path),
                remedy=f"Delete {self.path}.fai (and .gzi) and run again; if that does not help, copy the FASTA again.",
            )
        return sequence

    def close(self) -> None:
        """Close the file."""
        self._faidx.close()

    def __enter__(self) -> Genome:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def check_compression(path: Path) -> None:
    """Refuse what cannot be read by position, with the command that mends it."""
    check_file(path)
    with open(path, "rb") as handle:
        head = handle.read(18)
    if not head:
        raise MarginomeError("the file is empty", where=str(path), remedy="Copy or download it again.")
    compressed, named = head[:2] == GZIP, path.name.lower().endswith((".gz", ".bgz"))
    plain = path.name.removesuffix(".gz")
    if compressed and not (len(head) >= 14 and head[3] & 4 and head[12:14] == b"BC"):
        raise MarginomeError(
            "the FASTA file is gzip, which cannot be read by position; wanted plain FASTA or bgzip",
            where=str(path),
            remedy=f"Unpack it: gunzip -k {path} (then name {plain}), or recompress it with htslib's bgzip: "
            f"gunzip -c {path} | bgzip > {path.with_name('bgzip.' + path.name)}",
        )
    if compressed and not named:
        raise MarginomeError(
            "the file is bgzip but its name does not end in .gz", where=str(path), remedy=f"mv {path} {path}.gz"
        )
    if named and not compressed:
        raise MarginomeError(
            "the name ends in .gz but the file is not compressed", where=str(path), remedy=f"mv {path} {plain}"
        )
    if not compressed and head.lstrip()[:1] not in (b">", b";"):
        what = "this is a .2bit file" if head[:4] in (b"\x43\x27\x41\x1a", b"\x1a\x41\x27\x43") else "this is not FASTA"
        raise MarginomeError(
            f"{what}: it begins with {head[:10]!r}, wanted '>'",
            where=str(path),
            remedy="For a .2bit file: twoBitToFa genome.2bit genome.fa",
        )


def index_fasta(path: str | os.PathLike) -> tuple[Path, Path | None]:
    """Return the paths of a FASTA file's index (``.fai``, and ``.gzi`` if it is bgzip), made when needed.

    An index is made when there is none, when it is older than the FASTA file, or when it does not fit the file (its
    offsets do not fall on the sequences). It is written under another name and renamed, behind a lock, so that jobs
    that start together neither read half an index nor make it more than once. Where the folder
    cannot be written to, the index is kept in the temporary folder of this machine.
    """
    path = Path(path)
    fai = path.with_name(path.name + ".fai")
    gzi = path.with_name(path.name + ".gzi") if _is_packed(path) else None
    if _current(path, fai, gzi):
        return fai, gzi
    if not os.access(path.parent, os.W_OK):
        stat = path.stat()
        token = hashlib.blake2b(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode(), digest_size=8)
        folder = Path(tempfile.gettempdir()) / f"marginome-{os.getuid()}-{token.hexdigest()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        fai, gzi = folder / fai.name, folder / gzi.name if gzi else None
        log.info("%s: its folder cannot be written to, the index is kept in %s", path, folder)
    with _locked(fai.with_name(fai.name + ".lock")):
        if not _current(path, fai, gzi):  # another job may have made it while this one waited
            log.info("%s: making the index", path)
            _build_index(path, fai, gzi)
    return fai, gzi


def write_index(path: str | os.PathLike, fai: str | os.PathLike, gzi: str | os.PathLike) -> None:
    """Write the index of a FASTA file to other places than beside it.

    Parameters
    ----------
    path : path
        See `Genome`.
    fai, gzi : path
        To write; `gzi` is empty for plain FASTA.

    Raises
    ------
    MarginomeError
        As of `Genome`.
    """
    path, packed = Path(path), _is_packed(path)
    check_compression(path)
    _build_index(path, Path(fai), Path(gzi) if packed else None)
    if not packed:
        Path(gzi).touch()


def _is_packed(path: str | os.PathLike) -> bool:
    return str(path).lower().endswith((".gz", ".bgz"))


def _given_index(path: Path, fai: Path, gzi: Path) -> tuple[Path, Path | None]:
    """Return the index that another job made, unless it does not fit the file: then it is removed and named."""
    found = fai, gzi if _is_packed(path) else None
    if not _fits(path, *found):
        raise damaged(fai, f"it is not the index of {path}")
    return found


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Hold an advisory lock; where the file system has none, go on (the rename is atomic, work is only done twice)."""
    with open(lock, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            log.info("%s: no locks on this file system", lock)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _build_index(path: Path, fai: Path, gzi: Path | None) -> None:
    import pyfaidx

    new_fai = fai.with_name(f".{os.getpid()}.{fai.name}")
    new_gzi = gzi.with_name(f".{os.getpid()}.{gzi.name}") if gzi else None
    try:
        if gzi:
            check_packed_fasta(path)
        with _explained(path):
            pyfaidx.Faidx(str(path), indexname=str(new_fai), gzi_indexname=str(new_gzi) if new_gzi else None).close()
        if gzi:
            os.replace(new_gzi, gzi)
        os.replace(new_fai, fai)  # last: it is what says that the index is there
    finally:
        for made in (new_fai, new_gzi):
            if made:
                made.unlink(missing_ok=True)


def _current(path: Path, fai: Path, gzi: Path | None) -> bool:
    """Say whether an index is there, no older than the file, and fits it."""
    try:
        made = path.stat().st_mtime
        old = fai.stat().st_mtime < made or (gzi is not None and gzi.stat().st_mtime < made)
    except FileNotFoundError:
        return False
    if old:
        log.info("%s: the index is older than the file and is made anew", path)
    return not old and _fits(path, fai, gzi)


def _fits(path: Path, fai: Path, gzi: Path | None) -> bool:
    """Say whether an index is there and points at sequences."""
    try:
        rows = [line.split("\t") for line in fai.read_text().splitlines()]
        records = [(row[0], *map(int, row[1:5])) for row in rows]
        if not records:
            return False
        size = _unpacked_size(path, gzi) if gzi else path.stat().st_size
        _, length, offset, bases, width = max(records, key=lambda record: record[2])
        end = offset + length + (length // bases if bases else 0) * (width - bases)
        fits = end - (width - bases) <= size <= end + 1024  # blank lines may follow
        # each sequence begins after its header; in a packed file only the first is looked at, as to seek is to unpack
        with open(path, "rb") if gzi is None else gzip.open(path) as handle:
            for name, _, offset, _, _ in records if gzi is None else records[:1]:
                handle.seek(max(offset - 4096, 0))
                header = handle.read(min(offset, 4096)).rstrip(b"\r\n").rpartition(b"\n")[2]
                fits = fits and header.startswith(b">") and header[1:].split()[:1] == [name.encode()]
        if not fits:
            log.info("%s: the index does not fit the file and is made anew", path)
        return fits
    except FileNotFoundError:
        return False
    except (OSError, ValueError, IndexError, EOFError, zlib.error, struct.error) as error:
        log.info("%s: the index is damaged (%s) and is made anew", path, error)
        return False


def _unpacked_size(path: Path, gzi: Path) -> int:
    """Return the size (bytes) of what a bgzip file holds, by its index and the blocks after the last one listed."""
    listed = np.frombuffer(gzi.read_bytes(), dtype="<u8")
    if not len(listed) or len(listed) != 1 + 2 * int(listed[0]):
        raise ValueError("the .gzi is cut off")
    at, total = (int(listed[-2]), int(listed[-1])) if listed[0] else (0, 0)
    with open(path, "rb") as handle:
        while True:
            handle.seek(at)
            head = handle.read(18)
            if not head:
                return total
            if len(head) < 18 or head[:2] != GZIP or head[12:14] != b"BC":
                raise ValueError("the .gzi points between blocks")
            at += int.from_bytes(head[16:18], "little") + 1
            handle.seek(at - 4)
            total += int.from_bytes(handle.read(4), "little")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn pyfaidx's errors into ones that name the file and the remedy."""
    import pyfaidx

    try:
        yield
    except (
        pyfaidx.FastaIndexingError,
        pyfaidx.FetchError,
        pyfaidx.UnsupportedCompressionFormat,
        pyfaidx.IndexNotFoundError,
        RuntimeError,  # what pyfaidx raises for ragged lines it did not foresee
    ) as error:
        raise MarginomeError(
            f"the FASTA file cannot be indexed or read ({' '.join(str(error).split())})",
            where=str(path),
            remedy="Lines of one sequence must be equally long: rewrap it, e.g. seqkit seq -w 60 in.fa > out.fa",
        ) from None
    except ValueError as error:
        if isinstance(error, MarginomeError):
            raise
        what = "two sequences have one name" if "uplicate key" in str(error) else "the FASTA file cannot be read"
        raise MarginomeError(
            f"{what} ({' '.join(str(error).split())})", where=str(path), remedy="Mend the file, or copy it again."
        ) from None
    except (zlib.error, EOFError, struct.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the file
            raise
        raise MarginomeError(
            f"the compressed file is damaged or cut off ({error})", where=str(path), remedy="Copy it again."
        ) from None


def read_fasta(path: str | os.PathLike) -> tuple[list[str], list[str]]:
    """Read all sequences of a FASTA file (plain, gzip or bgzip) into memory.

    Returns
    -------
    ids, sequences : list of str
        First word of each header; bases as they are in the file.

    Raises
    ------
    MarginomeError
        Not FASTA, a name missing or twice, an empty sequence, a character that is no base.
    """
    ids: list[str] = []
    lines: list[int] = []
    parts: list[list[str]] = []
    for number, line in numbered_lines(read_text(path, SEQUENCES)):
        line = line.strip()
        if not line or line.startswith(";"):
            continue
        if line.startswith(">"):
            words = line[1:].split()
            if not words:
                raise MarginomeError("a sequence without a name", where=f"{path}, line {number}", remedy="Name it.")
            ids.append(words[0])
            lines.append(number)
            parts.append([])
        elif not ids:
            raise MarginomeError(
                f"found '{line[:30]}' before the first '>'", where=f"{path}, line {number}", remedy="Give a FASTA file."
            )
        else:
            if not re.fullmatch(r"[A-Za-z]+", line):
                wrong = re.sub(r"[A-Za-z]", "", line)[0]
                raise MarginomeError(
                    f"found {wrong!r} in sequence '{ids[-1]}'",
                    where=f"{path}, line {number}",
                    remedy="Bases are A, C, G, T and N; alignments with gaps are not read.",
                )
            parts[-1].append(line)
    sequences = ["".join(part) for part in parts]
    if not ids:
        raise MarginomeError("there is no sequence in it", where=str(path), remedy="Give a FASTA file.")
    for i, (name, sequence) in enumerate(zip(ids, sequences)):
        if not sequence:
            raise MarginomeError(
                f"sequence '{name}' is empty",
                where=f"{path}, line {lines[i]}",
                remedy="The file may have been cut off.",
            )
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next((i for i, name in enumerate(ids) if name in seen or seen.add(name)), 0)
        raise MarginomeError(
            f"two sequences are named '{ids[twice]}'", where=f"{path}, line {lines[twice]}", remedy="Rename one."
        )
    return ids, sequences


def read_background(fasta: str | os.PathLike) -> tuple[list[str], list[str]]:
    """Read ids and sequences of a background set that `write_background` wrote; a damaged file is removed and named."""
    if str(fasta).endswith(".gz"):
        check_bgzip(fasta)
    return read_fasta(fasta)


def read_some(fasta: str | os.PathLike, start: int, stop: int) -> Iterator[tuple[str, str]]:
    """Yield (id, sequence) of the sequences start to stop of a FASTA file with one line per sequence.

    Memory is one sequence: a shard of a large set does not read all of it.
    """
    check_bgzip(fasta)
    with gzip.open(fasta, "rt", encoding="utf-8") as handle:
        number = -1
        name = ""
        for line in handle:
            if line.startswith(">"):
                number += 1
                if number >= stop:
                    return
                name = line[1:].split()[0]
            elif number >= start:
                yield name, line.strip()


def count_sequences(fasta: str | os.PathLike) -> int:
    """Return the number of sequences of a FASTA file."""
    check_bgzip(fasta)
    with gzip.open(fasta, "rb") as handle:
        return sum(line.startswith(b">") for line in handle)
