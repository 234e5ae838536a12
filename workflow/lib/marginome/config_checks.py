"""What a schema cannot tell of a config: names, lengths, places and outputs fit each other. Imports no PyTorch."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from marginome.errors import MarginomeError, shown, unknown_name
from marginome.gaps import LEAST_GAP, far_apart, gaps_of, may_be_best

#: What is known of a model's outputs: names of the targets by output; None where they are not known (yet).
Outputs = Mapping[str, Iterable[str] | None]

#: What a background set of a kind may start from.
SOURCES = {
    "composition": "fasta, or genome and regions, or probabilities",
    "dinucleotide_shuffle": "fasta, or genome and regions",
}


def entry_problems(config: Mapping, told: Mapping[str, int] | None = None) -> Iterator[MarginomeError]:
    """Find entries that do not fit each other, from the config alone.

    Parameters
    ----------
    config : mapping
        Valid by the schema, with its defaults.
    told : mapping of str to int, optional
        input_length (bp) of models whose entry does not state it but whose file does.

    Yields
    ------
    MarginomeError
        Each names the key and what to write.
    """
    for name, entry in config["motifs"].items():
        if entry["min_width"] > entry.get("max_width", entry["min_width"]):
            yield MarginomeError(
                f"min_width {entry['min_width']} is more than max_width {entry['max_width']}",
                where=f"config: motifs.{name}",
                remedy="No motif is left: raise max_width.",
            )
    for name, entry in config["backgrounds"].items():
        if problem := background_problem(entry, where=f"config: backgrounds.{name}"):
            yield problem
    lengths = dict(told or {}) | {
        name: entry["input_length"] for name, entry in config["models"].items() if entry.get("input_length")
    }
    for name, entry in config["screens"].items():
        yield from _screen_problems(config, entry, lengths, f"config: screens.{name}")
    for name, entry in config["attributions"].items():
        yield from _attribution_problems(config, entry, lengths, f"config: attributions.{name}")
    if config["device"] == "cpu" and config["precision"] == "tf32":
        yield MarginomeError(
            "tf32 exists on CUDA only", where="config: precision", remedy="Use float32 on the CPU, or device: cuda."
        )


def background_problem(entry: Mapping[str, Any], *, where: str) -> MarginomeError | None:
    """Say what is wrong with what a background set starts from, if anything is.

    Parameters
    ----------
    entry : mapping
        ``kind``, and ``probabilities``, ``fasta``, ``genome``, ``regions`` where they are given.
    where : str
        For the message.
    """
    probabilities, fasta, genome, regions = (entry.get(key) for key in ("probabilities", "fasta", "genome", "regions"))
    if entry["kind"] in SOURCES:
        given = [probabilities is not None, fasta is not None, genome is not None and regions is not None]
        if sum(given) != 1 or (genome is None) != (regions is None):
            return MarginomeError(
                "what to start from is not clear", where=where, remedy=f"Give one of: {SOURCES[entry['kind']]}."
            )
    if probabilities is not None and not _are_probabilities(probabilities):
        return MarginomeError(
            f"found {shown(probabilities)}, wanted four probabilities of A, C, G, T that sum to 1",
            where=f"{where}.probabilities",
            remedy="For example [0.3, 0.2, 0.2, 0.3].",
        )
    return None


def _are_probabilities(given: Any) -> bool:
    if isinstance(given, Mapping):
        given = [given.get(base, math.nan) for base in "ACGT"]
    try:
        values = [float(value) for value in given]
    except (TypeError, ValueError):
        return False
    return len(values) == 4 and all(0 <= value <= 1 for value in values) and abs(sum(values) - 1) <= 1e-6


def whole_number(value: Any, *, where: str) -> int:
    """Return a whole number as an integer, 4.0 as 4; anything else is refused."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not value % 1 == 0:
        raise MarginomeError(f"found {shown(value)}, wanted a whole number", where=where, remedy="Write it as 4.")
    return int(value)


def _unknown_entries(config: Mapping, section: str, noun: str, names: Iterable[str], where: str) -> Iterator:
    for name in names:
        if name not in config[section]:
            yield unknown_name(noun, name, config[section], where=where)


# ------------------------------------------------------------------------------------------------ screens
def _screen_problems(config: Mapping, entry: Mapping, lengths: Mapping[str, int], where: str) -> Iterator:
    for section, noun in (("models", "model"), ("motifs", "motif collection"), ("backgrounds", "background set")):
        yield from _unknown_entries(config, section, noun, entry[section], f"{where}.{section}")
    controls = entry["controls"] or {}
    yield from _unknown_lists(entry["shards"], entry["motifs"], f"{where}.shards")
    yield from _unknown_lists(controls.get("pool"), entry["motifs"], f"{where}.controls.pool")
    yield from _comparison_problems(config, entry, f"{where}.comparisons")
    flanks = entry.get("flanks") or {}
    for i, pair in enumerate(entry.get("pairs") or ()):
        yield from _pair_problems(entry, pair, f"{where}.pairs[{i}]")
    for i, composite in enumerate(entry.get("composites") or ()):
        yield from _composite_problems(composite, f"{where}.composites[{i}]")
    if entry.get("pairs") and entry.get("composites"):
        yield MarginomeError("pairs and composites are both there", where=where, remedy="Make two screens of it.")
    arranged = next((key for key in ("pairs", "composites") if entry.get(key)), None)
    if arranged and any(flanks.values()):
        yield MarginomeError(
            f"flanks and {arranged} cannot be combined", where=f"{where}.flanks", remedy="Leave one out."
        )
        return
    stated = {
        f"background set '{name}'": config["backgrounds"].get(name, {}).get("length") for name in entry["backgrounds"]
    } | {f"model '{name}'": lengths.get(name) for name in entry["models"]}
    stated = {what: length for what, length in stated.items() if length is not None}
    if len(set(stated.values())) > 1:
        yield MarginomeError(
            "lengths differ: " + ", ".join(f"{what} has {length} bp" for what, length in stated.items()),
            where=where,
            remedy="Give the background set the model's input_length, or make one set per length.",
        )
    elif stated:
        yield from _position_problems(entry, next(iter(stated.values())), _least_width(config, entry), where)


def _comparison_problems(config: Mapping, entry: Mapping, where: str) -> Iterator[MarginomeError]:
    for name, sides in entry["comparisons"].items():
        for side, models in sides.items():
            seen: dict[str, str] = {}
            for model in models:
                if model not in entry["models"]:
                    yield unknown_name("model of the screen", model, entry["models"], where=f"{where}.{name}.{side}")
                same = seen.setdefault(json.dumps(config["models"].get(model, model), sort_keys=True), model)
                if same != model:
                    yield MarginomeError(
                        f"{shown(same)} and {shown(model)} have equal entries: copies of a model are no replicates",
                        where=f"{where}.{name}.{side}",
                        remedy="Leave one of them out.",
                    )
        both = [model for model in sides["first"] if model in sides["second"]]
        if both:
            yield MarginomeError(f"{shown(both[0])} is on both sides", where=f"{where}.{name}", remedy="Leave it out.")
    if entry["comparisons"] and (entry["controls"] is False or entry.get("pairs") or entry.get("composites")):
        yield MarginomeError(
            "a difference is compared with those of controls, and there are none",
            where=where,
            remedy="Leave out controls: false; screens of pairs and composites have none.",
        )


def _pair_problems(entry: Mapping, pair: Mapping, where: str) -> Iterator[MarginomeError]:
    named = [key for key in ("motifs", "among", "between") if pair.get(key)]
    if len(named) != 1:
        yield MarginomeError(
            f"it has {' and '.join(named) or 'none'} of motifs, among and between", where=where, remedy="Give one."
        )
    gaps = gaps_of(pair["gaps"])
    if not gaps:
        yield MarginomeError("the grid is empty", where=f"{where}.gaps", remedy="stop must be larger than start.")
    elif pair.get("mismatched") and not may_be_best(gaps):
        yield MarginomeError(
            f"none may be the best: from {far_apart(gaps)} bp on (the largest quarter) motifs are far apart, and below "
            f"{LEAST_GAP} bp their seam may make a site",
            where=f"{where}.gaps",
            remedy="Ask for gaps between those, or leave mismatched out: then nothing is judged.",
        )
    if pair.get("mismatched") and entry["inserts"] == "sample":
        yield MarginomeError(
            "mismatched pairs are made of consensus sequences",
            where=f"{where}.mismatched",
            remedy="Leave it out, or use inserts: consensus.",
        )
    if pair.get("mismatched") and entry["controls"] is False:
        yield MarginomeError("controls are false", where=f"{where}.mismatched", remedy="Leave one of the two out.")


def _composite_problems(entry: Mapping, where: str) -> Iterator[MarginomeError]:
    n, copies = len(entry["motifs"]), entry.get("copies")
    if copies and n > 1:
        yield MarginomeError(f"{n} motifs are named", where=f"{where}.copies", remedy="Copies are of one motif.")
        return
    most = max(copies or [n])
    if most > 1 and not entry.get("gaps"):
        yield MarginomeError("gaps are missing", where=where, remedy="Say how many bases there are between motifs.")
        return
    gaps = gaps_of(entry["gaps"]) if entry.get("gaps") else []
    if most > 1 and not gaps:
        yield MarginomeError("the grid is empty", where=f"{where}.gaps", remedy="stop must be larger than start.")
    for of, each in (("gaps", [] if isinstance(gaps, range) else [g for g in gaps if not isinstance(g, int)]),
                     ("orientations", [s for s in entry.get("orientations") or () if len(s) > 1])):  # fmt: skip
        wanted = n - 1 if of == "gaps" else n
        for row in each:
            if copies or len(row) != wanted:
                remedy = "Of copies, give one for all." if copies else f"Give one for all, or {wanted}."
                yield MarginomeError(f"found {len(row)} {of} in {row!r}", where=f"{where}.{of}", remedy=remedy)


def _composite_width(entry: Mapping, motif: int) -> int:
    """The least that an entry's widest composite can measure (bp), of motifs of at least `motif` bp."""
    n = max(entry.get("copies") or [len(entry["motifs"])])
    gaps = gaps_of(entry["gaps"]) if entry.get("gaps") and n > 1 else []
    if isinstance(gaps, range):
        return n * motif + (n - 1) * _largest(gaps)
    return n * motif + max(((n - 1) * g if isinstance(g, int) else sum(g) for g in gaps), default=0)


def _largest(gaps: Sequence[int]) -> int:
    """The largest of some gaps; a grid may have any length, and is not gone through."""
    return (gaps[-1] if isinstance(gaps, range) else max(gaps)) if gaps else 0


def _unknown_lists(setting: Any, lists: Iterable[str], where: str) -> Iterator[MarginomeError]:
    """Find names of insert lists that there are not, in a setting that may have a value for each."""
    for name in setting if isinstance(setting, Mapping) else ():
        if name not in lists:
            yield unknown_name("insert list", name, lists, where=where)


def _least_width(config: Mapping, entry: Mapping) -> int:
    """The least that a screen's widest insert can measure (bp); how wide the motifs are is known when they are read."""
    motif = min((config["motifs"].get(name, {}).get("min_width", 1) for name in entry["motifs"]), default=1)
    if entry.get("pairs"):
        return 2 * motif + max((_largest(gaps_of(pair["gaps"])) for pair in entry["pairs"]), default=0)
    if entry.get("composites"):
        return max(_composite_width(composite, motif) for composite in entry["composites"])
    return motif + sum(len(flank) for flank in (entry.get("flanks") or {}).values())


def _position_problems(entry: Mapping, length: int, width: int, where: str) -> Iterator[MarginomeError]:
    positions = entry["positions"]
    if width > length:
        yield MarginomeError(
            f"inserts of at least {width} bp (motif, flanks or gap) do not fit into {length} bp",
            where=f"{where}.{next((key for key in ('pairs', 'composites', 'flanks') if entry.get(key)), 'motifs')}",
            remedy="Make gaps or flanks shorter, or use longer backgrounds.",
        )
        return
    if isinstance(positions, Mapping):
        grid = range(positions["start"], positions["stop"], positions["step"])  # may have any length: not listed
        if not grid:
            yield MarginomeError(
                f"the grid is empty: start {positions['start']}, stop {positions['stop']}",
                where=f"{where}.positions",
                remedy="stop must be larger than start.",
            )
            return
        starts = [grid[-1]]
    else:
        starts = [] if positions == "centre" else [positions] if isinstance(positions, int) else positions
    for start in starts:
        if start + width > length:
            what = (
                f"start {start} is outside the sequence of {length} bp"
                if start >= length
                else f"start {start} leaves {length - start} of {length} bp for inserts of at least {width} bp"
            )
            yield MarginomeError(
                what, where=f"{where}.positions", remedy=f"Starts run from 0 to {length} less the insert's width."
            )


# ------------------------------------------------------------------------------------------------ attributions
def _attribution_problems(config: Mapping, entry: Mapping, lengths: Mapping[str, int], where: str) -> Iterator:
    loci, references = entry["loci"], entry["references"]
    annotate, marginalize = entry.get("annotate") or {}, entry.get("marginalize") or {}
    insert = loci.get("insert") or {}
    sets = {
        "loci.background": [loci[key] for key in ("background",) if key in loci],
        "references.background": [references[key] for key in ("background",) if key in references],
        "marginalize.backgrounds": marginalize.get("backgrounds", []),
    }
    pool = (marginalize.get("controls") or {}).get("pool")
    yield from _unknown_lists(pool, ("seqlets", "patterns"), f"{where}.marginalize.controls.pool")
    yield from _unknown_entries(config, "models", "model", [entry["model"]], f"{where}.model")
    for key, names in sets.items():
        yield from _unknown_entries(config, "backgrounds", "background set", names, f"{where}.{key}")
    collections = {"annotate.motifs": annotate.get("motifs", [])}
    collections["loci.insert.collection"] = [insert[key] for key in ("collection",) if key in insert]
    for key, names in collections.items():
        yield from _unknown_entries(config, "motifs", "motif collection", names, f"{where}.{key}")
    if insert and ("sequence" in insert) == ("motif" in insert and "collection" in insert):
        yield MarginomeError(
            "what to put in is not clear",
            where=f"{where}.loci.insert",
            remedy="Give sequence, or collection and motif.",
        )
    length = lengths.get(entry["model"])
    for key, names in sets.items():
        for name in names:
            found = config["backgrounds"].get(name, {}).get("length")
            if length is not None and found is not None and length != found:
                yield MarginomeError(
                    f"lengths differ: background set '{name}' has {found} bp, model '{entry['model']}' {length} bp",
                    where=f"{where}.{key}",
                    remedy="Give the background set the model's input_length.",
                )
    if insert and length is not None:
        width, start = len(insert.get("sequence", "N")), insert.get("start", 0)
        if start + width > length:
            yield MarginomeError(
                f"an insert of at least {width} bp at {start} does not lie within {length} bp",
                where=f"{where}.loci.insert",
                remedy="Give a smaller start or a shorter sequence.",
            )
    seqlets = entry["seqlets"]
    if seqlets["min_length"] > seqlets["max_length"]:
        yield MarginomeError(
            f"min_length {seqlets['min_length']} is more than max_length {seqlets['max_length']}",
            where=f"{where}.seqlets",
            remedy="Raise max_length.",
        )
    if seqlets["caller"] == "tfmodisco" and length is not None and seqlets["window"] > length:
        yield MarginomeError(
            f"window {seqlets['window']} is more than the {length} bp of the loci",
            where=f"{where}.seqlets.window",
            remedy="Give a smaller window; the default is 21.",
        )


# ------------------------------------------------------------------------------------------------ outputs
def output_problems(screens: Mapping, attributions: Mapping, known: Mapping[str, Outputs | None]) -> Iterator:
    """Find screens and attributions that ask for outputs or targets that their models do not have.

    Parameters
    ----------
    screens, attributions : mapping
        Entries of the config: of a screen ``models`` and ``outputs``; of an attribution ``model``, ``output``,
        ``target`` and ``marginalize``.
    known : mapping
        By model, the targets' names of each output (None where they are not known); None for a model of which
        nothing is known.

    Yields
    ------
    MarginomeError
    """
    for name, entry in screens.items():
        for model in entry["models"]:
            yield from _unknown_outputs(entry.get("outputs"), known[model], f"screens.{name}.outputs", model)
    for name, entry in attributions.items():
        where, model = f"attributions.{name}", entry["model"]
        marginalize = entry.get("marginalize") or {}
        yield from _unknown_outputs(marginalize.get("outputs"), known[model], f"{where}.marginalize.outputs", model)
        outputs, output, target = known[model], entry.get("output"), entry.get("target")
        if outputs is None:
            continue
        if output is None and len(outputs) > 1:
            yield MarginomeError(
                f"model '{model}' has {len(outputs)} outputs",
                where=f"config: {where}",
                remedy=f"Give output: one of {', '.join(outputs)}.",
            )
            continue
        yield from _unknown_outputs([output] if output else None, outputs, f"{where}.output", model)
        names = outputs.get(output or next(iter(outputs)))
        names = None if names is None else list(names)
        if names and target is None and len(names) > 1:
            yield MarginomeError(
                f"the output has {len(names)} targets",
                where=f"config: {where}.target",
                remedy=f"Give one of {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}.",
            )
        elif names and isinstance(target, int) and target >= len(names):
            yield MarginomeError(
                f"found {target}, but there are {len(names)} targets",
                where=f"config: {where}.target",
                remedy="They are numbered from 0.",
            )
        elif names and isinstance(target, str) and target not in names:
            yield unknown_name("target", target, names, where=f"config: {where}.target")


def _unknown_outputs(names: Iterable[str] | None, outputs: Outputs | None, key: str, model: str) -> Iterator:
    for name in names or []:
        if outputs is not None and name not in outputs:
            yield unknown_name("output", name, outputs, where=f"config: {key}, model '{model}'")
