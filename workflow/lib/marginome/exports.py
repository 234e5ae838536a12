"""An entry's results in the formats of other programs: bigWig, BED, MEME, and arrays for TF-MoDISco and Fi-NeMo."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from marginome.arrays import dataset, fill
from marginome.attribution_file import AttributionFile
from marginome.errors import MarginomeError
from marginome.storage import atomic

#: Loci that are held at a time.
_ROWS = 64


class Piece(NamedTuple):
    """The part of a locus that stands for its bases of the genome: locus, contig, first base, one after the last."""

    locus: int
    chrom: str
    start: int
    end: int


def pieces(regions: pd.DataFrame) -> list[Piece]:
    """Return which locus stands for which bases of the genome, where loci of one length overlap.

    A base is given the attribution of the locus whose middle is nearest, of two as near the one before it: what a
    model says of a base is said with most of the sequence on either side, and no two contexts are mixed.

    Parameters
    ----------
    regions : pandas.DataFrame
        ``chrom, start, end`` (0-based, half-open, bp), all of one length, no two alike.

    Returns
    -------
    list of Piece
        By contig and position; they do not overlap.
    """
    found = []
    for chrom, part in sorted(regions.groupby("chrom", sort=False), key=lambda group: group[0]):
        part = part.sort_values("start", kind="stable")
        starts, ends = part["start"].to_numpy(np.int64), part["end"].to_numpy(np.int64)
        twice = starts + ends - 1  # the middle base, doubled
        first_of_next = (twice[:-1] + twice[1:]) // 4 + 1
        begin = np.maximum(starts, np.concatenate([starts[:1], first_of_next]))
        until = np.minimum(ends, np.concatenate([first_of_next, ends[-1:]]))
        kept = begin < until
        rows = zip(part.index.to_numpy()[kept], begin[kept], until[kept])
        found += [Piece(int(locus), chrom, int(a), int(b)) for locus, a, b in rows]
    return found


def write_bigwig(
    path: str | os.PathLike, found: AttributionFile, sizes: Mapping[str, int], *, base: str | None = None
) -> None:
    """Write the attributions of loci as a bigWig file of the genome's forward strand.

    Parameters
    ----------
    path : path
        To write.
    found : AttributionFile
        Of loci with coordinates.
    sizes : mapping of str to int
        Lengths of contigs (bp).
    base : {"A", "C", "G", "T"}, optional
        The attribution of this base as if it were there, everywhere; by default that of the base that is there, 0 where
        it is unknown. Bases outside the loci have no value. `pieces` says which locus stands for a base that several
        hold.

    Raises
    ------
    MarginomeError
        Loci without coordinates.
    """
    import pyBigWig

    if found.regions is None:
        raise MarginomeError("the loci have no coordinates", where=str(path))
    listed = pieces(found.regions)
    named = {piece.chrom for piece in listed}
    with atomic(path) as temporary:
        with pyBigWig.open(str(temporary), "w") as handle:
            handle.addHeader([(chrom, size) for chrom, size in sorted(sizes.items()) if chrom in named])
            for piece in listed:
                first = int(found.regions["start"].iat[piece.locus])
                values = found.track(piece.locus, piece.start - first, piece.end - first, base)
                handle.addEntries(piece.chrom, piece.start, values=values, span=1, step=1)


def write_elements_bed(path: str | os.PathLike, table: pd.DataFrame, effects: pd.DataFrame | None) -> None:
    """Write seqlets as BED6+4: name (of the motif, else of the seqlet), score, strand; effect, q, attribution, seqlet.

    The score is the attribution's size, 1000 the largest. The strand is the motif's. Effect and q are of the isolated
    seqlet, ``.`` where there are none; a first line says of which output and background set. Without coordinates the
    first column is the locus.

    Parameters
    ----------
    path : path
        To write.
    table : pandas.DataFrame
        Seqlets, with or without matches.
    effects : pandas.DataFrame or None
        Effects of one output and background set, by ``motif_id``.
    """
    alone = {} if effects is None else effects.set_index("motif_id").to_dict("index")
    lines: list[tuple] = []
    if effects is not None and len(effects):
        first = effects.iloc[0]
        lines.append((f"# effect ({first['unit']}) and q of {first['output']} in {first['background']}",))
    for row, score in zip(table.to_dict("records"), _scores(table)):
        name, strand = row.get("match_name"), row.get("match_strand")
        own = alone.get(row["seqlet_id"], {})
        lines.append((
            *_place(row), name if isinstance(name, str) else row["seqlet_id"],
            score, strand if isinstance(strand, str) else ".",
            *(_number(own.get(column)) for column in ("effect", "q")), _number(row["attribution"]), row["seqlet_id"],
        ))  # fmt: skip
    _write_bed(path, lines)


def write_instances_bed(path: str | os.PathLike, members: pd.DataFrame, patterns: pd.DataFrame) -> None:
    """Write the seqlets of patterns as BED6+2: the pattern's match or name, score, strand; attribution, pattern.

    Parameters
    ----------
    path : path
        To write.
    members : pandas.DataFrame
        Seqlets of patterns.
    patterns : pandas.DataFrame
        With or without matches.
    """
    matched = patterns.set_index("pattern_id").get("match_name", pd.Series(dtype=object)).dropna()
    _write_bed(path, [
        (*_place(row), matched.get(row["pattern_id"], row["pattern_id"]), score, row["strand"],
         _number(row["attribution"]), row["pattern_id"])
        for row, score in zip(members.to_dict("records"), _scores(members))
    ])  # fmt: skip


def write_meme(path: str | os.PathLike, patterns: pd.DataFrame) -> None:
    """Write patterns as motifs in MEME's minimal format (version 4), background uniform.

    Parameters
    ----------
    path : path
        To write.
    patterns : pandas.DataFrame
        With or without matches: ``pattern_id, n_seqlets, pwm``. A motif's second name is that of the match, else the
        consensus.
    """
    lines = ["MEME version 4", "", "ALPHABET= ACGT", "", "strands: + -", "", "Background letter frequencies",
             "A 0.25 C 0.25 G 0.25 T 0.25", ""]  # fmt: skip
    for row in patterns.to_dict("records"):
        name = row.get("match_name")
        name = "_".join((name if isinstance(name, str) else row["consensus"]).split())
        pwm = np.asarray(row["pwm"], dtype=np.float64).reshape(-1, 4)
        lines += [f"MOTIF {row['pattern_id']} {name}",
                  f"letter-probability matrix: alength= 4 w= {len(pwm)} nsites= {row['n_seqlets']} E= 0",
                  *(" ".join(f"{p:.6f}" for p in position) for position in pwm), ""]  # fmt: skip
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def write_npz(path: str | os.PathLike, found: AttributionFile, name: str) -> None:
    """Write an array of all loci as a compressed .npz, as TF-MoDISco and Fi-NeMo read it; memory is a few loci.

    Parameters
    ----------
    path : path
        To write: ``arr_0`` (loci, 4, length), alphabet A C G T.
    found : AttributionFile
    name : {"sequences", "hypothetical"}
        One-hot (int8), or attribution of every base as if it were there (as stored).
    """
    source = found.dataset(name)
    header = {"descr": np.lib.format.dtype_to_descr(source.dtype), "fortran_order": False, "shape": source.shape}
    # a fixed date: the same array is the same file
    entry = zipfile.ZipInfo("arr_0.npy", date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(entry, "w", force_zip64=True) as handle:
            np.lib.format.write_array_header_2_0(handle, header)
            for _, block in _blocks(source):
                handle.write(np.ascontiguousarray(block).tobytes())


def write_shap_h5(path: str | os.PathLike, found: AttributionFile) -> None:
    """Write sequences and attributions as HDF5 in ChromBPNet's layout, which TF-MoDISco and Fi-NeMo read.

    Parameters
    ----------
    path : path
        To write: ``raw/seq`` (one-hot), ``shap/seq`` (hypothetical), ``projected_shap/seq`` (of the bases that are
        there), all (loci, 4, length).
    found : AttributionFile
    """
    sequences, hypothetical = found.dataset("sequences"), found.dataset("hypothetical")
    with atomic(path) as temporary, h5py.File(temporary, "w") as handle:
        made = {
            name: dataset(handle, f"{name}/seq", shape=source.shape, dtype=source.dtype)
            for name, source in (("raw", sequences), ("shap", hypothetical), ("projected_shap", hypothetical))
        }
        for (rows, one_hot), (_, values) in zip(_blocks(sequences), _blocks(hypothetical)):
            for name, block in (("raw", one_hot), ("shap", values), ("projected_shap", one_hot * values)):
                fill(made[name], rows, block)


def write_narrowpeak(path: str | os.PathLike, found: AttributionFile) -> None:
    """Write the loci as narrowPeak with the summit at their middle, in the order of the arrays (Fi-NeMo's ``-p``)."""
    half = found.length // 2
    rows = []
    for i, name in enumerate(found.ids):
        region = (name, 0, found.length) if found.regions is None else tuple(found.regions.iloc[i])
        rows.append((*region, name, 0, ".", 0, -1, -1, half))
    _write_bed(path, rows)


def _blocks(source: h5py.Dataset) -> Iterator[tuple[slice, np.ndarray]]:
    for row in range(0, source.shape[0], _ROWS):
        rows = slice(row, min(row + _ROWS, source.shape[0]))
        yield rows, source[rows]


def _place(row: Mapping) -> tuple:
    """Where a seqlet is: in the genome, else in its locus."""
    if pd.isna(row["genome_start"]):
        return row["sequence_id"], row["start"], row["end"]
    return row["chrom"], int(row["genome_start"]), int(row["genome_end"])


def _scores(table: pd.DataFrame) -> list[int]:
    """Return BED's scores: the size of the attributions, 1000 the largest; 0 where all are 0."""
    size = table["attribution"].abs()
    return (1000 * size / (size.max() or 1.0)).round().astype(int).tolist()


def _number(value: object) -> str:
    return "." if value is None or pd.isna(value) else f"{value:.6g}"


def _write_bed(path: str | os.PathLike, rows: Sequence[tuple]) -> None:
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for row in rows:
            handle.write("\t".join(str(value).replace("\t", " ") for value in row) + "\n")
