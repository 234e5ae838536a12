"""Intervals on contigs: regions brought to one length, read off names, merged, tested for overlap."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.errors import MarginomeError

log = logging.getLogger(__name__)


class Placed(NamedTuple):
    """Regions brought to one length within their contigs, and how many were left out."""

    regions: pd.DataFrame
    """``chrom, start, end, name, line``."""
    off_edge: int
    """Regions dropped because they would reach over the end of a contig."""
    unknown_contig: int
    """Regions dropped because the FASTA file has no such contig."""
    odd_rows: int = 0
    """Rows of their file that `read_regions` skipped."""


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
    return Placed(kept, dropped, int((~known).sum()), int(regions.attrs.get("odd_rows", 0)))


def regions_of(ids: Sequence[str]) -> pd.DataFrame | None:
    """Read coordinates off ids of the form chrom:start-end; None unless all have it."""
    parts = pd.Series(list(ids), dtype=object).str.extract(r"^(?P<chrom>.+):(?P<start>\d+)-(?P<end>\d+)$")
    if parts.isna().any(axis=None):
        return None
    return parts.astype({"start": np.int64, "end": np.int64})


def unknown_contigs_error(
    unknown: pd.DataFrame, total: int, contigs: Mapping[str, int], where: str, genome: str
) -> MarginomeError:
    """Build the error for regions on contigs that a FASTA file lacks; says both spellings of chr1 and 1."""
    names = list(dict.fromkeys(unknown["chrom"]))
    alike = {_bare(contig): contig for contig in reversed(list(contigs))}
    line = unknown["line"].iloc[0]
    first = f"{where}, line {line}" if line else where
    shown = [repr(name[:60]) for name in names[:3]]
    some = ", ".join(shown) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )  # fmt: skip
    mended = [name for name in names if _bare(name) in alike]
    if mended:
        old, new = mended[0], alike[_bare(mended[0])]
        remedy = "Use one spelling in both"
        if old in (f"chr{new}", new.removeprefix("chr")):
            command = "s/^chr//" if old.startswith("chr") else "s/^/chr/"
            remedy += f", e.g. zcat -f {where} | sed '{command}'"
        return MarginomeError(f"the regions say '{old}' where {genome} says '{new}'", where=first, remedy=f"{remedy}.")
    have = list(contigs)
    return MarginomeError(
        f"{len(unknown)} of {total} regions lie on {some}, which {genome} does not have (it has "
        f"{', '.join(have[:5])}{', ...' if len(have) > 5 else ''})",
        where=first,
        remedy="Check that both belong to one assembly"
        + (", or leave such regions out with unknown_contigs: drop." if len(unknown) < total else "."),
    )


def _bare(contig: str) -> str:
    """Return what chr1, Chr1 and 1 (or chrM and MT) have in common."""
    name = contig.lower().removeprefix("chr")
    return "mt" if name == "m" else name


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
