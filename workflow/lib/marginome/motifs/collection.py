"""A motif collection from its files: odd motifs refused or left out, ids kept apart, a selection made."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from marginome.config_schema import complete_entry
from marginome.errors import MarginomeError, unknown_name
from marginome.motifs.motif import Motif, OddMotif
from marginome.motifs.reading import named_files, read_with

log = logging.getLogger(__name__)


def without_odd(found: Sequence[Motif | OddMotif], odd_motifs: str, exclude: Sequence[str]) -> list[Motif]:
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


def keep_apart(motifs: Sequence[Motif]) -> list[Motif]:
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


def collect(settings: Mapping, *, name: str = "", readers: Mapping[str, str]) -> list[Motif]:
    """Read and select the motifs of one collection of the config; `formats.collect_motifs` finds the readers itself.

    Parameters
    ----------
    settings : mapping
        One entry of ``motifs:`` (keys of motifs.schema.yaml; defaults are filled in).
    name : str, optional
        The collection's name, for messages.
    readers : mapping
        The reader of each of its files (`formats.readers_of`).

    Returns
    -------
    list of Motif
        Ids are unique.
    """
    where = f"motifs.{name}" if name else "motif collection"
    chosen = complete_entry("motifs", settings, where=where)
    if not chosen["files"] and not chosen["jaspar"]:
        raise MarginomeError("neither files nor a JASPAR release", where=where, remedy="Give files: or jaspar:.")
    found: list[Motif | OddMotif] = []
    if chosen["jaspar"]:
        found += importlib.import_module("marginome.motifs.databases").read_jaspar_release(**chosen["jaspar"])
    for file, _ in named_files(chosen["files"] or [], chosen["format"]):
        found += read_with(readers[file], file, modisco_trim=chosen["modisco_trim"])
    motifs = keep_apart(without_odd(found, chosen["odd_motifs"], chosen["exclude"]))
    keys = ("include", "exclude", "min_information_bits", "min_width", "max_width")
    try:
        selected = select_motifs(motifs, **{key: chosen[key] for key in keys})
    except MarginomeError as error:
        raise MarginomeError(error.what, where=f"{where}.{error.where}", remedy=error.remedy) from None
    log.info("%s: %d motifs read, %d odd, %d selected", where, len(found), len(found) - len(motifs), len(selected))
    return selected
