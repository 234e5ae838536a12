"""Regions as users have them: BED and its kin, MACS's tables, data frames from R; what counts from 1 is converted."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from marginome.bounded import REGIONS
from marginome.errors import MarginomeError, unknown_name
from marginome.textfiles import at_line, numbered_lines, read_text

log = logging.getLogger(__name__)

ODD_ROWS = ("error", "skip")
COLUMNS = 200  # further ones are not looked at
SNIFFED = 1000  # rows that decide what the columns are

_Lines = Sequence[tuple[int, str]]  # number from 1, text

_WHOLE = re.compile(r"-?[0-9]{1,15}")  # more digits than any genome has overflow later
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_CHROM = ("chrom", "chr", "chromosome", "contig", "seqnames", "seqname", "seqid")
_START = ("start", "chromstart", "begin", "chr_start")
_END = ("end", "chromend", "stop", "chr_end")


def read_regions(path: str | os.PathLike, *, odd_rows: str = "error") -> pd.DataFrame:
    """Read regions: every line becomes a row, or is odd, which is an error or skipped and counted.

    Parameters
    ----------
    path : path
        BED (three columns or more, separated by tabs or blanks), narrowPeak (also with IDR's or other columns behind
        its ten), broadPeak, gappedPeak, MACS's ``peaks.xls``, a data frame of R's GRanges with its ``width``; gzip is
        unpacked. ``track``, ``browser`` and ``#`` lines and a header are skipped. docs/formats.md has the details.
    odd_rows : {"error", "skip"}, default "error"
        What becomes of a row that is no region: too few columns, a start that is not smaller than its end, something
        else than a whole number, a summit beyond the peak. Skipped ones are counted, in the log too.

    Returns
    -------
    pandas.DataFrame
        ``chrom, start, end`` (0-based, half-open, bp), ``name``, ``summit`` (bp, of the chromosome; -1 where
        there is none), ``line``. ``attrs`` has ``odd_rows`` (skipped) and ``summits_at_end`` (summits one behind the
        last base, as some of ENCODE's have them, which are taken to be the last base).

    Raises
    ------
    MarginomeError
        A file that is no table of regions or counts from 1 in another format (GFF, GTF, VCF, SAF ...); an odd row.
    """
    if odd_rows not in ODD_ROWS:
        raise unknown_name("choice", odd_rows, ODD_ROWS, where="odd_rows")
    source = str(path)
    lines = list(numbered_lines(read_text(path, REGIONS)))
    _refuse_other_formats(lines, source)
    columns = _columns(lines, source)
    rows, odd, at_end = [], [], 0
    for number, fields in _rows(lines):
        try:
            row, moved = _region(fields, columns, at_line(source, number))
        except MarginomeError as error:
            odd.append(error)
        else:
            rows.append((*row, number))
            at_end += moved
    if odd and (odd_rows == "error" or not rows):
        raise _with_odd_rows(odd, len(odd) + len(rows))
    if not rows:
        raise MarginomeError("there is no region in it", where=source, remedy="Give BED or narrowPeak.")
    log.info("%s: %d regions, read as %s", source, len(rows), columns.kind)
    if at_end:
        log.warning("%s: %d summits lie one behind the last base of their peak: the last base is taken", source, at_end)
    if odd:
        log.warning("%s: %d odd rows skipped, first: %s", source, len(odd), odd[0])
    table = pd.DataFrame(rows, columns=["chrom", "start", "end", "name", "summit", "line"])
    table.attrs.update(odd_rows=len(odd), summits_at_end=at_end)
    return table


def _with_odd_rows(odd: Sequence[MarginomeError], total: int) -> MarginomeError:
    """Return the error of the first odd row; it says how many there are and how to go on without them."""
    first, n = odd[0], len(odd)
    what = f"{first.what} ({n} of {total} rows are odd, this is the first)" if n > 1 else first.what
    remedy = first.remedy or ""
    if n < total:
        remedy = f"{remedy} To leave out and count such rows: odd_rows: skip.".strip()
    return MarginomeError(what, where=first.where, remedy=remedy)


# ------------------------------------------------------------------------------------------------ lines
def _rows(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, fields) of what is neither blank, comment, header nor a browser's line."""
    first = True
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = split_fields(line)
        if fields[0] in ("track", "browser") and not _is_region(fields):  # a contig may have that name
            continue
        if first and _named_columns(fields):
            first = False
            continue
        first = False
        yield number, fields


def split_fields(line: str) -> list[str]:
    """Split a line at tabs, else at blanks outside of quotation marks; take those off."""
    if "\t" in line:
        fields = line.split("\t", COLUMNS)
    elif '"' in line:
        fields = [found[0] for found in itertools.islice(re.finditer(r'"[^"]*"|[^\s"]+', line), COLUMNS)]
    else:
        fields = line.split(None, COLUMNS)
    return [field.strip().strip('"') for field in fields[:COLUMNS]] or [""]


def _is_region(fields: Sequence[str]) -> bool:
    return len(fields) >= 3 and bool(_WHOLE.fullmatch(fields[1])) and bool(_WHOLE.fullmatch(fields[2]))


def _named_columns(fields: Sequence[str]) -> dict[str, int]:
    """Return column numbers by the (lower-case) names of a header; nothing if the fields are no header."""
    names = [field.lstrip("#").strip().lower() for field in fields]
    numbers = {name: i for i, name in reversed(list(enumerate(names))) if name}
    wanted = (_CHROM, _START, _END) if fields[0].startswith("#") else (_START,)  # a comment may say "start" too
    if all({*known} & {*numbers} for known in wanted) and not any(_WHOLE.fullmatch(field) for field in fields[:5]):
        return numbers
    return {}


def _header(lines: _Lines) -> dict[str, int]:
    """Return the named columns of the header above the first row, which may be behind a ``#``."""
    for _, line in lines:
        fields = split_fields(line)
        if not line.strip() or (fields[0] in ("track", "browser") and not _is_region(fields)):
            continue
        found = _named_columns(fields)
        if found or not line.lstrip().startswith("#"):
            return found
    return {}


# ------------------------------------------------------------------------------------------------ what it is
@dataclass(frozen=True)
class _Columns:
    """Which column is what, and how its numbers are meant.

    Attributes
    ----------
    kind : str
        For the log.
    chrom, start, end : int
    first : int
        What the first base of a contig is called: 0 or 1.
    name, width, summit : int or None
        `width` is checked against start and end. The summit is an offset from start, or a coordinate.
    summit_is_offset : bool
    """

    kind: str
    chrom: int = 0
    start: int = 1
    end: int = 2
    first: int = 0
    name: int | None = 3
    width: int | None = None
    summit: int | None = None
    summit_is_offset: bool = True


def _refuse_other_formats(lines: _Lines, source: str) -> None:
    """Refuse, in words, what is a format of its own and would be misread."""
    for number, line in lines:
        if not line.strip():
            continue
        where, fields = at_line(source, number), split_fields(line)
        if line.startswith("##fileformat=VCF") or [f.upper() for f in fields[:2]] == ["#CHROM", "POS"]:
            raise _counts_from_one("VCF", where, "bcftools query -f '%CHROM\\t%POS0\\t%END\\n'")
        if line.startswith(("##gff-version", "##gtf")):
            raise _counts_from_one("GFF or GTF", where, "take columns 1, 4 (less 1) and 5")
        if line.startswith(("@HD\t", "@SQ\t")):
            raise _counts_from_one("SAM or Picard's interval list", where, "IntervalListToBed, bedtools bamtobed")
        names = [field.lstrip("#").strip().lower() for field in fields]
        if names[0].startswith(("geneid", "peakid")) and "start" in names:
            what = "SAF" if names[0].startswith("geneid") else "HOMER's peak file"
            raise _counts_from_one(what, where, "take columns 2, 3 (less 1) and 4")
        if line.lstrip().startswith("#") or names[0] in ("track", "browser") or _named_columns(fields):
            continue
        if other := _row_of_another_format(fields):
            raise _counts_from_one(other[0], where, other[1])
        return


def _row_of_another_format(fields: Sequence[str]) -> tuple[str, str] | None:
    """Return which format a row is of, if it is one that counts from 1, and how to convert it."""
    whole = [bool(_WHOLE.fullmatch(field)) for field in fields[:5]]
    if len(fields) >= 8 and whole[1:5] == [False, False, True, True]:
        return "GFF or GTF", "take columns 1, 4 (less 1) and 5"
    if whole[:4] == [False, False, True, True]:
        return "SAF or HOMER's peak file (a name before the contig)", "take columns 2, 3 (less 1) and 4"
    return None


def _counts_from_one(what: str, where: str, how: str) -> MarginomeError:
    return MarginomeError(
        f"this looks like {what}, whose positions count from 1", where=where, remedy=f"Convert it to BED: {how}."
    )


def _has_width_and_strand(fields: list[str]) -> bool:
    """Whether a row is of a data frame of R: BED has no strand in column 5; from 1 on a width is end - start + 1."""
    if len(fields) < 5 or fields[4] not in ("+", "-", "*"):
        return False
    numbers = [int(field) for field in fields[1:4] if field.isdecimal() and len(field) < 12]
    return len(numbers) == 3 and numbers[1] - numbers[0] + 1 == numbers[2]


def _columns(lines: _Lines, source: str) -> _Columns:
    header = _header(lines)
    sniffed = [fields for _, fields in itertools.islice(_rows(lines), SNIFFED)]
    chrom, start, end = (_first_named(header, names) for names in (_CHROM, _START, _END))
    if header and None in (chrom, start, end):
        names = ", ".join(name[:30] for name in sorted(header, key=header.__getitem__)[:8])
        raise MarginomeError(
            f"the header names the columns {names}; chrom, start and end are not all there",
            where=source,
            remedy="Give BED, whose first three columns are chrom, start and end.",
        )
    width = _first_named(header, ("width", "length"))
    if width is None:
        if "seqnames" in header:
            raise MarginomeError(
                "the header (seqnames) is that of a data frame of R, whose positions count from 1, not BED's",
                where=source,
                remedy="Write BED with rtracklayer::export.bed(), or write the column width too.",
            )
        if not header and sniffed and all(_has_width_and_strand(fields) for fields in sniffed):
            raise MarginomeError(
                "columns 4 and 5 are width and strand, as in a data frame of R: it counts from 1, BED from 0",
                where=source,
                remedy="Write BED with rtracklayer::export.bed(), or write the header too.",
            )
        if header and (chrom, start, end) != (0, 1, 2):
            return _Columns("a table with a header (from 0)", chrom, start, end, name=header.get("name"))
        summit = _summit_column(sniffed, source)
        return _Columns("BED" if summit is None else "narrowPeak (summits of column 10)", summit=summit)
    if "summit" in header and "abs_summit" not in header:
        raise MarginomeError(
            "this is the table of MACS 1, whose positions count from 1", where=source,
            remedy="Give its BED files, or the table of MACS 2 or 3.",
        )  # fmt: skip
    # R writes the names of rows without a name for their column
    shift = int(bool(sniffed) and all(len(fields) == len(header) + 1 for fields in sniffed))
    chrom, start, end, width = (column + shift for column in (chrom, start, end, width))
    first = _first_base(sniffed, (start, end, width), source)
    kind = "MACS's table" if "length" in header else "a data frame of R"
    summit = header.get("abs_summit")
    name = header.get("name")
    return _Columns(
        f"{kind} (from {first})",
        chrom,
        start,
        end,
        first,
        None if name is None else name + shift,
        width,
        None if summit is None else summit + shift,
        summit_is_offset=False,
    )


def _first_named(header: Mapping[str, int], names: Sequence[str]) -> int | None:
    return next((header[name] for name in names if name in header), None)


def _first_base(rows: Sequence[Sequence[str]], columns: tuple[int, int, int], source: str) -> int:
    """Tell by the widths whether positions count from 0 or from 1: most rows must agree."""
    differences = []
    for fields in rows:
        numbers = [fields[i] for i in columns if i < len(fields) and _WHOLE.fullmatch(fields[i])]
        if len(numbers) == 3:
            start, end, width = map(int, numbers)
            differences.append(width - (end - start))
    for first in (0, 1):
        if 2 * differences.count(first) > len(differences):
            return first
    raise MarginomeError(
        "the width of most rows fits neither positions from 0 nor from 1 (end - start, or that and 1)",
        where=source,
        remedy="Give BED, or mend the column.",
    )


def _summit_column(rows: Sequence[Sequence[str]], source: str) -> int | None:
    """Return 9 if most rows look like narrowPeak, whose tenth column is the summit."""
    wide = sum(len(fields) >= 10 for fields in rows)
    if 2 * wide <= len(rows):
        if wide:
            log.info("%s: column 10 is not used: most rows do not have it", source)
        return None
    named = re.search(r"\.narrowpeak(\.b?gz)?$", source, re.IGNORECASE)
    if 2 * sum(map(_is_narrow_peak, rows)) <= len(rows):
        log.info("%s: column 10 is no summit: columns 5 to 9 are not narrowPeak's", source)
        return None
    if not named and 2 * sum(map(_is_thick, rows)) > len(rows):
        log.info("%s: column 10 is no summit: columns 7 to 9 are BED's thickStart, thickEnd and colour", source)
        return None
    return 9


def _is_narrow_peak(fields: Sequence[str]) -> bool:
    numbers = [fields[4], *fields[6:9]] if len(fields) >= 10 else [""]
    return all(field == "." or _FLOAT.fullmatch(field) for field in numbers) and fields[5] in (".", "+", "-", "*", "")


def _is_thick(fields: Sequence[str]) -> bool:
    """Say whether columns 7 to 12 are those of BED9 or BED12."""
    if len(fields) >= 12 and all(re.fullmatch(r"([0-9]+,)*[0-9]+,?", fields[i]) for i in (10, 11)):
        return all(str(len(fields[i].rstrip(",").split(","))) == fields[9] for i in (10, 11))
    numbers = [fields[i] for i in (1, 6, 7, 2)] if len(fields) >= 10 else [""]
    if not all(_WHOLE.fullmatch(field) for field in numbers):
        return False
    return sorted(map(int, numbers)) == [*map(int, numbers)] and bool(
        re.fullmatch(r"[0-9]{1,3}(,[0-9]{1,3}){2}|0|\.", fields[8])
    )


# ------------------------------------------------------------------------------------------------ one row
def _region(fields: Sequence[str], columns: _Columns, where: str) -> tuple[tuple[str, int, int, str, int], bool]:
    """Return (chrom, start, end, name, summit) and whether the summit was one behind the end."""
    needed = max(columns.chrom, columns.start, columns.end, columns.width or 0) + 1
    if len(fields) < needed:
        others = "chrom, start and end" if needed == 3 else f"{needed} as the header"
        remedy = "Separate columns by tabs."
        if len(fields) == 1 and re.fullmatch(r".*([,;:]).*", fields[0]):
            remedy = "Separate columns by tabs, not by commas, colons or the like."
        raise MarginomeError(f"the line has {len(fields)} columns, wanted {others}", where=where, remedy=remedy)
    chrom, first, last = (fields[i] for i in (columns.chrom, columns.start, columns.end))
    if not chrom or not _WHOLE.fullmatch(first) or not _WHOLE.fullmatch(last):
        if other := _row_of_another_format(fields):
            raise _counts_from_one(other[0], where, other[1])
        remedy = "Give BED or narrowPeak."
        if any(_FLOAT.fullmatch(value) and not _WHOLE.fullmatch(value) for value in (first, last)):
            remedy = "Write positions as whole numbers (R: options(scipen = 100) before write.table)."
        raise MarginomeError(
            f"found '{chrom[:40]}', '{first[:40]}', '{last[:40]}'; wanted chrom and two whole numbers",
            where=where,
            remedy=remedy,
        )
    start, end = int(first) - columns.first, int(last)
    if not 0 <= start < end:
        raise MarginomeError(
            f"the region {chrom[:40]}:{first}-{last} is empty or negative",
            where=where,
            remedy=f"start counts from {columns.first} and is smaller than end.",
        )
    if columns.width is not None and fields[columns.width] != str(end - start):
        raise MarginomeError(
            f"the width of {chrom[:40]}:{first}-{last} is said to be {fields[columns.width][:40]}, it is {end - start}",
            where=where,
            remedy="Mend the row.",
        )
    summit, moved = -1, False
    if columns.summit is not None and len(fields) <= columns.summit:
        raise MarginomeError(
            f"the line has {len(fields)} columns, wanted {columns.summit + 1} as most rows have, with the summit",
            where=where,
            remedy="Mend the row; -1 where there is no summit.",
        )
    if columns.summit is not None and fields[columns.summit] not in (".", "", "-1"):
        summit, moved = _summit(fields[columns.summit], start, end, columns, where)
    named = fields[columns.name] if columns.name is not None and len(fields) > columns.name else ""
    return (chrom, start, end, named if named not in ("", ".") else f"{chrom}:{start}-{end}", summit), moved


def _summit(value: str, start: int, end: int, columns: _Columns, where: str) -> tuple[int, bool]:
    if not _WHOLE.fullmatch(value):
        raise MarginomeError(
            f"found '{value[:40]}' where the summit is wanted", where=where, remedy="Give a number, or -1 for none."
        )
    summit = start + int(value) if columns.summit_is_offset else int(value) - columns.first
    if summit == end:
        return end - 1, True
    if not start <= summit < end:
        found = f"{value} bp from the start" if columns.summit_is_offset else value
        raise MarginomeError(
            f"the summit, {found}, lies outside of the peak of {end - start} bp",
            where=where,
            remedy="Column 10 of narrowPeak counts from start; -1 where there is no summit.",
        )
    return summit, False
