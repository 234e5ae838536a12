"""FASTA files and regions: opened safely, checked, and scanned at the scale of a whole genome in little memory."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import logging
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.bounded import GENOME, REGIONS, SEQUENCES, check_file, check_packed_fasta, opened
from marginome.errors import MarginomeError
from marginome.motifs.formats import read_text

log = logging.getLogger(__name__)

_GZIP = b"\x1f\x8b"
_LONGEST_HEADER = 1 << 20  # bytes


# ------------------------------------------------------------------------------------------------ FASTA
class Genome:
    """A FASTA file with random access; the index is made when it is missing or no longer fits.

    Parameters
    ----------
    path : path
        Plain FASTA, or block-gzipped (bgzip) with a name that ends in ``.gz`` or ``.bgz``.

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

    def __init__(self, path: str | os.PathLike):
        import pyfaidx

        self.path = Path(path)
        check_compression(self.path)
        fai, gzi = index_fasta(self.path)
        with _explained(self.path):
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
    compressed, named = head[:2] == _GZIP, path.name.lower().endswith((".gz", ".bgz"))
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
    gzi = path.with_name(path.name + ".gzi") if path.name.lower().endswith((".gz", ".bgz")) else None
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
    """Say whether an index is there, no older than the file, and points at sequences."""
    try:
        made = path.stat().st_mtime
        if fai.stat().st_mtime < made or (gzi and gzi.stat().st_mtime < made):
            log.info("%s: the index is older than the file and is made anew", path)
            return False
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
    except (OSError, ValueError, IndexError, EOFError, zlib.error) as error:
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
            if len(head) < 18 or head[:2] != _GZIP or head[12:14] != b"BC":
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
    except (zlib.error, EOFError) as error:
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
    for number, line in enumerate(re.split(r"\r\n|\r|\n", read_text(path, SEQUENCES)), start=1):
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


# ------------------------------------------------------------------------------------------------ regions
def read_regions(path: str | os.PathLike) -> pd.DataFrame:
    """Read BED or narrowPeak (gzip or plain): every line becomes a row, or an error names it.

    Parameters
    ----------
    path : path
        Three columns at least, separated by tabs (or blanks); ``track``, ``browser``, ``#`` lines and a header are
        skipped. Ten columns whose tenth is a whole number are narrowPeak, whose summit is used.

    Returns
    -------
    pandas.DataFrame
        ``chrom, start, end`` (0-based, half-open, bp), ``name``, ``summit`` (bp, of the chromosome; -1 where
        there is none), ``line``.
    """
    rows = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", read_text(path, REGIONS)), start=1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        fields = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        where = f"{path}, line {number}"
        if len(fields) < 3:
            raise MarginomeError(
                f"the line has {len(fields)} columns, wanted chrom, start and end",
                where=where,
                remedy="Separate columns by tabs.",
            )
        if not rows and fields[1].lower() in ("start", "chromstart", "begin"):
            continue  # a header
        if not re.fullmatch(r"-?\d+", fields[1]) or not re.fullmatch(r"-?\d+", fields[2]) or not fields[0]:
            hint = "This looks like GFF: convert it to BED. " if len(fields) >= 8 and fields[3].isdigit() else ""
            raise MarginomeError(
                f"found '{fields[0]}', '{fields[1]}', '{fields[2]}'; wanted chrom and two whole numbers",
                where=where,
                remedy=f"{hint}Give BED or narrowPeak.",
            )
        start, end = int(fields[1]), int(fields[2])
        if not 0 <= start < end:
            raise MarginomeError(
                f"the region {fields[0]}:{start}-{end} is empty or negative",
                where=where,
                remedy="start counts from 0 and is smaller than end.",
            )
        summit = -1
        if len(fields) == 10 and re.fullmatch(r"-?\d+", fields[9]) and int(fields[9]) >= 0:
            summit = start + int(fields[9])
            if summit >= end:
                raise MarginomeError(
                    f"the summit, {fields[9]} bp from the start, lies outside of the peak of {end - start} bp",
                    where=where,
                    remedy="Column 10 of narrowPeak counts from start; -1 where there is no summit.",
                )
        name = fields[3] if len(fields) > 3 and fields[3] not in ("", ".") else f"{fields[0]}:{start}-{end}"
        rows.append((fields[0], start, end, name, summit, number))
    if not rows:
        raise MarginomeError("there is no region in it", where=str(path), remedy="Give BED or narrowPeak.")
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "name", "summit", "line"])


class Placed(NamedTuple):
    """Regions brought to one length within their contigs, and how many were left out."""

    regions: pd.DataFrame
    """``chrom, start, end, name, line``."""
    off_edge: int
    """Regions dropped because they would reach over the end of a contig."""
    unknown_contig: int
    """Regions dropped because the FASTA file has no such contig."""


def place_regions(
    regions: pd.DataFrame,
    length: int | None,
    contigs: Mapping[str, int],
    *,
    off_edge: str = "drop",
    unknown_contigs: str = "error",
    where: str = "regions",
    genome: str = "the FASTA file",
) -> Placed:
    """Resize regions around their summits (or middles) and check that they lie within the contigs.

    Parameters
    ----------
    regions : pandas.DataFrame
        Of `read_regions`.
    length : int or None
        Wanted length (bp): from ``centre - length // 2``. None keeps the regions as they are.
    contigs : mapping of str to int
        Lengths (bp).
    off_edge : {"drop", "error"}, default "drop"
        What becomes of regions that reach over the end of a contig.
    unknown_contigs : {"error", "drop"}, default "error"
        What becomes of regions on contigs that are not in `contigs`. All of them unknown is an error always.
    where, genome : str
        For messages: the file of the regions and the FASTA file.

    Returns
    -------
    Placed
    """
    known = regions["chrom"].isin(list(contigs)).to_numpy()
    if not known.all() and (unknown_contigs == "error" or not known.any()):
        raise unknown_contigs_error(regions[~known], len(regions), contigs, where, genome)
    placed = regions[known].copy()
    if length is not None:
        centre = np.where(placed["summit"] >= 0, placed["summit"], (placed["start"] + placed["end"]) // 2)
        placed["start"] = centre - length // 2
        placed["end"] = placed["start"] + length
    limits = placed["chrom"].map(contigs).to_numpy()
    inside = (placed["start"].to_numpy() >= 0) & (placed["end"].to_numpy() <= limits)
    if not inside.all() and (off_edge == "error" or not inside.any()):
        row = placed[~inside].iloc[0]
        raise MarginomeError(
            f"{(~inside).sum()} of {len(placed)} regions reach over the end of their contig, first "
            f"{row['chrom']}:{row['start']}-{row['end']} of {contigs[row['chrom']]} bp",
            where=f"{where}, line {row['line']}",
            remedy="Leave them out with off_edge: drop, or use shorter sequences."
            if inside.any()
            else "Use shorter sequences, or check that regions and FASTA belong to one assembly.",
        )
    dropped = int((~inside).sum())
    if dropped or not known.all():
        log.info("%s: %d regions reach over an edge and %d lie on unknown contigs: left out", where, dropped,
                 int((~known).sum()))  # fmt: skip
    kept = placed[inside].reset_index(drop=True)[["chrom", "start", "end", "name", "line"]]
    return Placed(kept, dropped, int((~known).sum()))


def unknown_contigs_error(
    unknown: pd.DataFrame, total: int, contigs: Mapping[str, int], where: str, genome: str
) -> MarginomeError:
    """Build the error for regions on contigs that a FASTA file lacks; says both spellings of chr1 and 1."""
    names = list(dict.fromkeys(unknown["chrom"]))

    def swapped(name: str) -> str:
        return name[3:] if name.startswith("chr") else f"chr{name}"

    line = unknown["line"].iloc[0]
    first = f"{where}, line {line}" if line else where
    some = f"'{names[0]}'" if len(names) == 1 else f"{', '.join(map(repr, names[:3]))}" + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )  # fmt: skip
    mended = [name for name in names if swapped(name) in contigs]
    if mended:
        old, new = mended[0], swapped(mended[0])
        return MarginomeError(
            f"the regions say '{old}' where {genome} says '{new}'",
            where=first,
            remedy="Use one spelling in both, e.g. "
            + (f"zcat -f {where} | sed 's/^chr//'" if old.startswith("chr") else f"zcat -f {where} | sed 's/^/chr/'"),
        )
    have = list(contigs)
    return MarginomeError(
        f"{len(unknown)} of {total} regions lie on {some}, which {genome} does not have (it has "
        f"{', '.join(have[:5])}{', ...' if len(have) > 5 else ''})",
        where=first,
        remedy="Check that both belong to one assembly"
        + (", or leave such regions out with unknown_contigs: drop." if len(unknown) < total else "."),
    )


# ------------------------------------------------------------------------------------------------ scanning
def iterate_contigs(path: str | os.PathLike, *, chunk_bytes: int = 1 << 23) -> Iterator[tuple[str, np.ndarray]]:
    """Read a FASTA file from beginning to end in pieces.

    Parameters
    ----------
    path : path
        Plain or (b)gzip.
    chunk_bytes : int, default 8 MiB
        Bytes of text per piece.

    Yields
    ------
    name : str
        First word of the header.
    bases : numpy.ndarray, uint8
        The next bases of that contig as ASCII codes, without line ends. A contig comes in several pieces.
    """
    name = None
    with opened(path, GENOME) as handle:
        rest = b""
        while True:
            block = handle.read(chunk_bytes)
            text = rest + block
            if not block and not text:
                return
            position, rest = 0, b""
            while position < len(text):
                if text[position : position + 1] == b">":
                    end = text.find(b"\n", position)
                    if end < 0 and block:  # the header goes on in the next piece
                        rest = text[position:]
                        if len(rest) > _LONGEST_HEADER:
                            raise MarginomeError("a header line does not end", where=str(path))
                        break
                    end = len(text) if end < 0 else end
                    words = text[position + 1 : end].split()
                    name = words[0].decode(errors="replace") if words else ""
                    position = end + 1
                    yield name, np.empty(0, dtype=np.uint8)
                    continue
                end = text.find(b">", position)
                end = len(text) if end < 0 else end
                bases = text[position:end].translate(None, b"\r\n \t")
                if name is not None and bases:
                    yield name, np.frombuffer(bases, dtype=np.uint8)
                position = end
            if not block:
                return


class Windows(NamedTuple):
    """Composition of the windows of one contig; window i begins at ``i * stride``."""

    chrom: str
    gc: np.ndarray
    """int32: G and C of each window."""
    unknown: np.ndarray
    """int32: characters other than A, C, G and T."""
    masked: np.ndarray
    """int32: lower-case bases (soft-masked repeats)."""


_IS_GC, _IS_UNKNOWN, _IS_LOWER = (np.zeros(256, dtype=np.uint8) for _ in range(3))
_IS_GC[list(b"GCgc")] = 1
_IS_UNKNOWN[:] = 1
_IS_UNKNOWN[list(b"ACGTacgt")] = 0
_IS_LOWER[list(b"acgtn")] = 1


def scan_windows(
    path: str | os.PathLike,
    length: int,
    stride: int,
    *,
    contigs: Sequence[str] | None = None,
    chunk_bytes: int = 1 << 23,
) -> Iterator[Windows]:
    """Count GC, unknown and soft-masked bases of all windows of a genome in one pass over the file.

    Memory is a few pieces of the file plus 12 bytes per window of one contig, by prefix sums over each
    piece and what the windows that straddle two pieces need of the one before.

    Parameters
    ----------
    path : path
        FASTA, plain or (b)gzip.
    length, stride : int
        Of the windows (bp).
    contigs : sequence of str, optional
        Only these.
    chunk_bytes : int, default 8 MiB

    Yields
    ------
    Windows
        One per contig that has a window.
    """
    wanted = None if contigs is None else set(contigs)
    tables = (_IS_GC, _IS_UNKNOWN, _IS_LOWER)

    def finish(name: str | None, counts: list[list[np.ndarray]]) -> Iterator[Windows]:
        if name is not None and counts[0]:
            yield Windows(name, *(np.concatenate(part) for part in counts))

    current, counts = None, [[], [], []]
    held, first, following = np.empty(0, dtype=np.uint8), 0, 0  # bases held, where they begin, next window's start
    for name, bases in iterate_contigs(path, chunk_bytes=chunk_bytes):
        if name != current or not len(bases):
            yield from finish(current, counts)
            current, counts = name, [[], [], []]
            held, first, following = np.empty(0, dtype=np.uint8), 0, 0
        if wanted is not None and name not in wanted:
            continue
        held = np.concatenate([held, bases])
        starts = np.arange(following, first + len(held) - length + 1, stride) - first
        if not len(starts):
            continue
        for table, part in zip(tables, counts):
            total = np.zeros(len(held) + 1, dtype=np.int32)
            np.cumsum(table[held], dtype=np.int32, out=total[1:])
            part.append(total[starts + length] - total[starts])
        following = first + int(starts[-1]) + stride
        drop = min(following - first, len(held))
        held, first = held[drop:], first + drop
    yield from finish(current, counts)


def merged_intervals(
    intervals: pd.DataFrame, contigs: Mapping[str, int], *, flank: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Widen intervals by a flank, cut them at the contigs' ends and merge those that meet (bedtools slop, merge).

    Parameters
    ----------
    intervals : pandas.DataFrame
        ``chrom, start, end``. Those on contigs that are not in `contigs` are left out.
    contigs : mapping of str to int
        Lengths (bp).
    flank : int, default 0
        Added on both sides (bp).

    Returns
    -------
    dict of str to (starts, ends)
        Sorted int64 arrays per contig.
    """
    known = intervals[intervals["chrom"].isin(list(contigs))]
    if not len(known):
        return {}
    import pybedtools

    with tempfile.TemporaryDirectory() as folder, bedtools_in(folder):
        sizes = Path(folder) / "sizes"
        sizes.write_text("".join(f"{name}\t{size}\n" for name, size in contigs.items()))
        tool = pybedtools.BedTool.from_dataframe(known[["chrom", "start", "end"]])
        merged = tool.slop(b=flank, g=str(sizes)).sort().merge()
        table = pd.read_csv(merged.fn, sep="\t", names=["chrom", "start", "end"], dtype={"chrom": str})
    return {
        str(chrom): (part["start"].to_numpy(np.int64), part["end"].to_numpy(np.int64))
        for chrom, part in table.groupby("chrom", sort=False)
    }


@contextmanager
def bedtools_in(folder: str) -> Iterator[None]:
    """Let pybedtools keep its temporary files in a folder, and say what to do when bedtools is missing."""
    import pybedtools

    before = tempfile.tempdir
    try:
        pybedtools.helpers.set_tempdir(folder)
        yield
    except (pybedtools.helpers.BEDToolsError, NotImplementedError, OSError) as error:
        if isinstance(error, pybedtools.helpers.BEDToolsError):
            raise MarginomeError(f"bedtools failed ({' '.join(str(error).split())[:300]})") from None
        raise MarginomeError(
            f"bedtools cannot be run ({' '.join(str(error).split())[:200]})",
            remedy="Install it: apt-get install bedtools, or conda install -c bioconda bedtools.",
        ) from None
    finally:
        tempfile.tempdir = before


def overlaps(starts: np.ndarray, length: int, merged: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Say which windows [start, start + length) meet any of the merged intervals; bool, one per window."""
    if merged is None or not len(merged[0]):
        return np.zeros(len(starts), dtype=bool)
    begins, ends = merged
    first = np.searchsorted(ends, starts, side="right")  # first interval that ends after the window's start
    return (first < len(begins)) & (begins[np.minimum(first, len(begins) - 1)] < starts + length)
