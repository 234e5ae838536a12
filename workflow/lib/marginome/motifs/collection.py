"""Motif collections: files of any common format read, odd motifs refused or left out, and a selection made."""

from __future__ import annotations

import difflib
import fnmatch
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from marginome.errors import MarginomeError, unknown_name
from marginome.motifs import databases
from marginome.motifs.formats import read_file
from marginome.motifs.motif import Motif, OddMotif
from marginome.textfiles import expand_files

log = logging.getLogger(__name__)


#: Keys of one motif collection of the config and their defaults; motifs.schema.yaml describes each.
DEFAULTS: dict[str, object] = {
    "files": [],
    "format": "auto",
    "jaspar": None,
    "odd_motifs": "error",
    "include": [],
    "exclude": [],
    "min_information_bits": 0.0,
    "min_width": 1,
    "max_width": None,
    "modisco_trim": 0.3,
}


def read_motifs(
    files: str | os.PathLike | Mapping[str, str] | Iterable[str | os.PathLike | Mapping[str, str]],
    *,
    format: str = "auto",
    modisco_trim: float = 0.3,
    odd_motifs: str = "error",
    exclude: Sequence[str] = (),
) -> list[Motif]:
    """Read motif files: as many motifs as they hold, or an error with file, line and remedy.

    Parameters
    ----------
    files : path, or iterable of paths and mappings
        MEME (minimal or full text), JASPAR (labelled or raw), TRANSFAC and its kin, HOMER, UniPROBE, TF-MoDISco HDF5,
        names and sequences, or FASTA; gzip is unpacked. A path may be a folder or a pattern (``pwms/*.txt``). A
        mapping ``{"file": ..., "format": ...}`` gives a file a format of its own. docs/formats.md has the details.
    format : str, default "auto"
        Format of the other files; recognised by content when "auto".
    modisco_trim : float, default 0.3
        See `read_modisco`.
    odd_motifs : {"error", "skip"}, default "error"
        What becomes of a motif that cannot be used (no matrix, a position of zeros, log-odds ...); skipped ones are
        counted in the log.
    exclude : sequence of str
        Odd motifs of these ids, names or patterns are left out without a word. (Good ones are not: see
        `select_motifs`.)

    Returns
    -------
    list of Motif
        In the order of the files. An id that occurs again gets ``~2``, ``~3`` ... appended, so that no
        motif hides another.

    Raises
    ------
    MarginomeError
        A file that cannot be read in full; an odd motif.
    """
    found = [
        motif
        for file, form in _named_files(files, format)
        for motif in read_file(file, form=form, modisco_trim=modisco_trim)
    ]
    return _keep_apart(_without_odd(found, odd_motifs, exclude))


def _named_files(files: object, form: str) -> Iterator[tuple[str, str]]:
    """Yield (file, format), folders and patterns expanded; what they name again is read once."""
    entries = [named if isinstance(named, Mapping) else {"file": named} for named in _listed(files)]
    expanded = [expand_files(entry["file"]) for entry in entries]
    explicit = [found == [os.fspath(entry["file"])] for entry, found in zip(entries, expanded)]
    seen = {os.path.normpath(found[0]) for found, is_one in zip(expanded, explicit) if is_one}
    for entry, found, is_one in zip(entries, expanded, explicit):
        for file in found:
            if is_one or os.path.normpath(file) not in seen:
                yield file, entry.get("format", form)
            seen.add(os.path.normpath(file))


def _listed(files: object) -> list:
    return [files] if isinstance(files, (str, os.PathLike, Mapping)) else list(files)


def _without_odd(found: Sequence[Motif | OddMotif], odd_motifs: str, exclude: Sequence[str]) -> list[Motif]:
    """Return the motifs; refuse the odd ones among them, or skip and count them."""
    if odd_motifs not in ("error", "skip"):
        raise unknown_name("choice", odd_motifs, ("error", "skip"), where="odd_motifs")
    excluded = _Names(exclude)
    good = [motif for motif in found if isinstance(motif, Motif)]
    odd = [motif for motif in found if isinstance(motif, OddMotif) and not excluded.fit(motif)]
    if odd and (odd_motifs == "error" or not good):
        first = odd[0].error
        what = first.what if len(odd) == 1 else f"{first.what} ({len(odd)} of {len(found)} motifs are odd: the first)"
        ways = [f"exclude: ['{odd[0].motif_id}']"] * (len(odd) == 1 and bool(odd[0].motif_id))
        ways += ["odd_motifs: skip"] * bool(good)
        remedy = f"{first.remedy or ''} Or leave {'it' if len(odd) == 1 else 'them'} out: {' or '.join(ways)}."
        raise MarginomeError(what, where=first.where, remedy=remedy.strip() if good and ways else first.remedy)
    if odd:
        log.warning("%d of %d motifs are odd and skipped: %s", len(odd), len(found), ", ".join(m.motif_id for m in odd))
        for motif in odd[:20]:
            log.info("skipped: %s", motif.error)
    return good


def _keep_apart(motifs: Sequence[Motif]) -> list[Motif]:
    """Append ~2, ~3 ... to ids that occurred before."""
    taken = {motif.motif_id for motif in motifs}
    seen: set[str] = set()
    last: dict[str, int] = {}  # the number given last to an id, so that a thousand of one id are not tried anew each
    kept = []
    for motif in motifs:
        motif_id, n = motif.motif_id, last.get(motif.motif_id, 1)
        while motif_id in seen or (n > 1 and motif_id in taken):
            n += 1
            motif_id = f"{motif.motif_id}~{n}"
        seen.add(motif_id)
        last[motif.motif_id] = n
        if motif_id != motif.motif_id:
            log.warning("motif id '%s' occurs again (%s, line %d): kept as '%s'", motif.motif_id, motif.source,
                        motif.line, motif_id)  # fmt: skip
            motif = replace(motif, motif_id=motif_id)
        kept.append(motif)
    return kept


class _Names:
    """Ids, names and shell patterns that a motif may fit, without regard to case."""

    def __init__(self, wanted: Sequence[str]):
        lowered = [name.lower() for name in wanted]
        self._exact = set(lowered)
        self._patterns = [re.compile(fnmatch.translate(name)) for name in lowered if set("*?[") & set(name)]

    def fit(self, motif: Motif | OddMotif) -> bool:
        """Say whether a motif's id or name is one of them."""
        names = {motif.motif_id.lower(), motif.motif_name.lower()}
        return not names.isdisjoint(self._exact) or any(p.match(name) for p in self._patterns for name in names)


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
    names = {name for motif in motifs for name in (motif.motif_id, motif.motif_name)}
    lowered = {name.lower() for name in names}
    for pattern in include:
        if pattern.lower() not in lowered and not any(_Names([pattern]).fit(motif) for motif in motifs):
            close = difflib.get_close_matches(pattern, sorted(names), n=3, cutoff=0.5)
            raise MarginomeError(
                f"'{pattern}' fits no motif (of {len(motifs)})",
                where="include",
                remedy=f"Did you mean {' or '.join(close)}?" if close else "Give an id, a name or a pattern with *.",
            )
    included, excluded = _Names(include), _Names(exclude)
    chosen = [
        motif
        for motif in motifs
        if (not include or included.fit(motif))
        and not excluded.fit(motif)
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
    found = _databases_and_files(chosen)
    motifs = _keep_apart(_without_odd(found, chosen["odd_motifs"], chosen["exclude"]))
    keys = ("include", "exclude", "min_information_bits", "min_width", "max_width")
    try:
        selected = select_motifs(motifs, **{key: chosen[key] for key in keys})
    except MarginomeError as error:
        raise MarginomeError(error.what, where=f"{where}.{error.where}", remedy=error.remedy) from None
    log.info("%s: %d motifs read, %d odd, %d selected", where, len(found), len(found) - len(motifs), len(selected))
    return selected


def _databases_and_files(chosen: Mapping) -> list[Motif | OddMotif]:
    found: list[Motif | OddMotif] = list(databases.read_jaspar_release(**chosen["jaspar"])) if chosen["jaspar"] else []
    for file, form in _named_files(chosen["files"], chosen["format"]):
        found += read_file(file, form=form, modisco_trim=chosen["modisco_trim"])
    return found


def read_modisco(path: str | os.PathLike, *, trim: float = 0.3) -> list[Motif]:
    """Read the patterns of a TF-MoDISco HDF5 file, as `databases.read_modisco` does; refuse an odd one."""
    return _without_odd(databases.read_modisco(path, trim=trim), "error", ())


def read_jaspar_release(
    release: str | int, *, collection: str = "CORE", tax_group: list[str] | str = (), odd_motifs: str = "error"
) -> list[Motif]:
    """Read a JASPAR release from the installed pyjaspar, which carries the databases: no network.

    Parameters
    ----------
    release, collection, tax_group :
        As in `marginome.motifs.databases.read_jaspar_release`.
    odd_motifs : {"error", "skip"}, default "error"
        As in `read_motifs`.

    Returns
    -------
    list of Motif
        The newest version of every matrix, sorted by id.
    """
    found = databases.read_jaspar_release(release, collection=collection, tax_group=tax_group)
    return _without_odd(found, odd_motifs, ())
