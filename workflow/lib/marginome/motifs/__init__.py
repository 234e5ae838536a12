"""Motif collections: from files of any common format to one checked list, and to a table and back."""

from __future__ import annotations

import difflib
import fnmatch
import logging
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from marginome.errors import MarginomeError, unknown_name
from marginome.motifs.formats import FORMATS, SUM_TOLERANCE, Motif, read_file, read_jaspar_release, read_modisco

__all__ = [
    "FORMATS",
    "SUM_TOLERANCE",
    "Motif",
    "collect_motifs",
    "find_motif",
    "motif_table",
    "motifs_from_table",
    "read_jaspar_release",
    "read_modisco",
    "read_motifs",
    "select_motifs",
]

log = logging.getLogger(__name__)

#: Keys of one motif collection of the config and their defaults; motifs.schema.yaml describes each.
DEFAULTS: dict[str, object] = {
    "files": [],
    "format": "auto",
    "jaspar": None,
    "include": [],
    "exclude": [],
    "min_information_bits": 0.0,
    "min_width": 1,
    "max_width": None,
    "modisco_trim": 0.3,
}


def read_motifs(
    files: str | os.PathLike | Iterable[str | os.PathLike], *, format: str = "auto", modisco_trim: float = 0.3
) -> list[Motif]:
    """Read motif files: as many motifs as they hold, or an error with file, line and remedy.

    Parameters
    ----------
    files : path or iterable of paths
        MEME (minimal or full text), JASPAR (labelled or raw), TRANSFAC, HOMER, TF-MoDISco HDF5, a TSV of
        names and sequences, or FASTA; gzip is unpacked. docs/formats.md has the details.
    format : str, default "auto"
        Format of all the files; recognised by content when "auto".
    modisco_trim : float, default 0.3
        See `read_modisco`.

    Returns
    -------
    list of Motif
        In the order of the files. An id that occurs again gets ``~2``, ``~3`` ... appended, so that no
        motif hides another.

    Raises
    ------
    MarginomeError
        A file that cannot be read in full.
    """
    paths = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    motifs = [motif for path in paths for motif in read_file(path, form=format, modisco_trim=modisco_trim)]
    return _keep_apart(motifs)


def _keep_apart(motifs: Sequence[Motif]) -> list[Motif]:
    """Append ~2, ~3 ... to ids that occurred before."""
    taken = {motif.motif_id for motif in motifs}
    seen: set[str] = set()
    kept = []
    for motif in motifs:
        motif_id, n = motif.motif_id, 1
        while motif_id in seen or (n > 1 and motif_id in taken):
            n += 1
            motif_id = f"{motif.motif_id}~{n}"
        seen.add(motif_id)
        if n > 1:
            log.warning("motif id '%s' occurs again (%s, line %d): kept as '%s'", motif.motif_id, motif.source,
                        motif.line, motif_id)  # fmt: skip
            motif = Motif(motif_id, motif.motif_name, motif.pwm, motif.source, motif.line, motif.format, motif.sequence)
        kept.append(motif)
    return kept


def select_motifs(
    motifs: Sequence[Motif],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    min_information_bits: float = 0.0,
    min_width: int = 1,
    max_width: int | None = None,
) -> list[Motif]:
    """Select motifs by id or name, information content and width.

    Parameters
    ----------
    motifs : sequence of Motif
    include, exclude : sequence of str
        Ids, names or shell patterns (``MA0139*``, ``*CTCF*``), compared without regard to case. Nothing
        to include means all. An entry of `include` that fits no motif is an error.
    min_information_bits : float, default 0
        Least information content of the whole motif (bits).
    min_width, max_width : int
        Width (bp), both inclusive.

    Returns
    -------
    list of Motif
        In the order given.
    """

    def fits(motif: Motif, pattern: str) -> bool:
        names = (motif.motif_id.lower(), motif.motif_name.lower())
        return pattern.lower() in names or any(fnmatch.fnmatchcase(name, pattern.lower()) for name in names)

    for pattern in include:
        if not any(fits(motif, pattern) for motif in motifs):
            names = sorted({name for motif in motifs for name in (motif.motif_id, motif.motif_name)})
            close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.5)
            raise MarginomeError(
                f"'{pattern}' fits no motif (of {len(motifs)})",
                where="include",
                remedy=f"Did you mean {' or '.join(close)}?" if close else "Give an id, a name or a pattern with *.",
            )
    chosen = [
        motif
        for motif in motifs
        if (not include or any(fits(motif, pattern) for pattern in include))
        and not any(fits(motif, pattern) for pattern in exclude)
        and motif.width >= min_width
        and (max_width is None or motif.width <= max_width)
        and motif.information_bits >= min_information_bits
    ]
    if not chosen:
        raise MarginomeError(
            f"no motif of {len(motifs)} is left after the selection",
            where="include, exclude, min_information_bits, min_width, max_width",
            remedy="Widen the selection.",
        )
    return chosen


def collect_motifs(settings: Mapping, *, name: str = "") -> list[Motif]:
    """Read and select the motifs of one collection of the config.

    Parameters
    ----------
    settings : mapping
        One entry of ``motifs:`` (keys of motifs.schema.yaml; defaults are filled in).
    name : str, optional
        The collection's name, for messages.

    Returns
    -------
    list of Motif
        Ids are unique.
    """
    where = f"motifs.{name}" if name else "motif collection"
    for key in settings:
        if key not in DEFAULTS:
            raise unknown_name("key", key, DEFAULTS, where=where)
    chosen = DEFAULTS | dict(settings)
    if not chosen["files"] and not chosen["jaspar"]:
        raise MarginomeError("neither files nor a JASPAR release", where=where, remedy="Give files: or jaspar:.")
    motifs: list[Motif] = []
    if chosen["jaspar"]:
        motifs += read_jaspar_release(**chosen["jaspar"])
    if chosen["files"]:
        motifs += read_motifs(chosen["files"], format=chosen["format"], modisco_trim=chosen["modisco_trim"])
    keys = ("include", "exclude", "min_information_bits", "min_width", "max_width")
    try:
        selected = select_motifs(_keep_apart(motifs), **{key: chosen[key] for key in keys})
    except MarginomeError as error:
        raise MarginomeError(error.what, where=f"{where}.{error.where}", remedy=error.remedy) from None
    log.info("%s: %d motifs read, %d selected", where, len(motifs), len(selected))
    return selected


def find_motif(motifs: Sequence[Motif], wanted: str, *, where: str | None = None) -> Motif:
    """Return the motif of that id, or else the only one of that name."""
    named = [motif for motif in motifs if motif.motif_id == wanted]
    named = named or [motif for motif in motifs if motif.motif_name.lower() == wanted.lower()]
    if not named:
        names = sorted({name for motif in motifs for name in (motif.motif_id, motif.motif_name)})
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
        raise MarginomeError(
            f"there is no motif '{wanted}' among {len(motifs)}",
            where=where,
            remedy=f"Did you mean {' or '.join(close)}?" if close else "Give an id or a name of the collection.",
        )
    if len(named) > 1:
        raise MarginomeError(
            f"{len(named)} motifs are named '{wanted}'",
            where=where,
            remedy=f"Give the id: {', '.join(motif.motif_id for motif in named[:10])}.",
        )
    return named[0]


# ------------------------------------------------------------------------------------------------ table
def motif_table(motifs: Sequence[Motif]) -> pd.DataFrame:
    """Return one row per motif, from which `motifs_from_table` makes the motifs again, bit for bit.

    Returns
    -------
    pandas.DataFrame
        ``motif_id, motif_name, width`` (bp)``, information_bits, consensus, sequence`` (null unless
        given)``, source, line, format, pwm`` (list of width x 4 probabilities, position by position).
    """
    return pd.DataFrame(
        {
            "motif_id": [m.motif_id for m in motifs],
            "motif_name": [m.motif_name for m in motifs],
            "width": np.array([m.width for m in motifs], dtype=np.int64),
            "information_bits": np.array([m.information_bits for m in motifs], dtype=np.float64),
            "consensus": [m.consensus for m in motifs],
            "sequence": pd.Series([m.sequence for m in motifs], dtype=object),
            "source": [m.source for m in motifs],
            "line": np.array([m.line for m in motifs], dtype=np.int64),
            "format": [m.format for m in motifs],
            "pwm": [m.pwm.ravel() for m in motifs],
        }
    )


def motifs_from_table(table: pd.DataFrame) -> list[Motif]:
    """Make the motifs of a table of `motif_table` again."""
    return [
        Motif(
            row.motif_id,
            row.motif_name,
            np.asarray(row.pwm, dtype=np.float64).reshape(-1, 4),
            row.source,
            int(row.line),
            row.format,
            row.sequence if isinstance(row.sequence, str) else None,
        )
        for row in table.itertuples(index=False)
    ]
