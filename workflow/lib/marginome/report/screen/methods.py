"""The paragraph that a paper's methods section needs, from the record of a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from marginome.gaps import MIN_MISMATCHED, gaps_of, may_be_best

_KINDS = {
    "uniform": "{n} random sequences of equally frequent bases",
    "composition": "{n} random sequences with base frequencies {probabilities}",
    "gc_matched": "{n} genomic windows matched in GC content to the peaks of {peaks} (genome {genome})",
    "dinucleotide_shuffle": "{n} dinucleotide-preserving shuffles of {source}",
    "fasta": "the sequences of {fasta}",
    "bed": "the regions of {regions} (genome {genome})",
}


def methods_paragraph(record: Mapping[str, Any]) -> str:
    """Say in prose what a screen did: models, motifs, backgrounds, controls, statistics, software.

    Parameters
    ----------
    record : mapping
        A screen's ``provenance.json``.

    Returns
    -------
    str
        Plain text. It says what was computed, not what it means; files are named with the first eight digits of their
        SHA-256. What the record does not hold is left out.
    """
    config = record["config"]
    ((name, screen),) = config["screen"].items()
    sums = record.get("input_sha256", {})

    def file(path: object) -> str:
        text = str(path).rsplit("/", 1)[-1]
        return f"{text} (SHA-256 {sums[path][:8]}...)" if path in sums else text

    versions = record.get("versions", {})
    code = record.get("code", {}).get("digest", "unknown")
    parts = [
        f"In-silico marginalization (screen '{name}') was done with marginome {versions.get('marginome', '')} "
        f"(code {code}; PyTorch {versions.get('torch', 'unknown')}, Snakemake {versions.get('snakemake', 'unknown')}) "
        f"in {config.get('precision', 'float32')}, seed {config.get('seed', 0)}.",
        *(_model(model, config["models"][model], record, file) for model in screen["models"]),
        _motifs([config["motifs"][c] for c in screen.get("motifs", [])], screen, file),
        *(_background(b, config["backgrounds"][b], file) for b in screen["backgrounds"]),
        "Outputs were predicted for every background without and with each insert; the effect of an insert is the mean "
        "of the change over backgrounds, with a 95 % Student t interval over backgrounds.",
        _arranged(screen) if screen.get("pairs") or screen.get("composites") else _controls(screen.get("controls")),
    ]
    return " ".join(part for part in parts if part)


def _list(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _model(name: str, entry: Mapping[str, Any], record: Mapping[str, Any], file: Any) -> str:
    weights = entry.get("weights", [])
    files = _list([file(w) for w in ([weights] if isinstance(weights, str) else weights)])
    check = record.get("models", {}).get(name, {})
    outputs = [f"{o['name']} ({o['measure'].replace('_', ' ')})" for o in check.get("outputs", [])]
    said = f"Model '{name}' was read from {files}" if files else f"Model '{name}' was made by code of the user"
    if "input_length" in check:
        said += f", input {check['input_length']:,} bp"
    if outputs:
        said += f"; outputs and effect measures: {_list(outputs)}"
    return said + ("; predictions of both strands were averaged." if entry.get("average_strands") else ".")


def _motifs(collections: Sequence[Mapping[str, Any]], screen: Mapping[str, Any], file: Any) -> str:
    if not collections:
        return ""
    sources = []
    for entry in collections:
        if "jaspar" in entry:
            sources.append(f"JASPAR {entry['jaspar'].get('release', '')}".strip())
        sources += [file(path["file"] if isinstance(path, Mapping) else path) for path in entry.get("files", [])]
    sampled = screen.get("inserts") == "sample"
    inserted = f"each of {screen.get('draws')} samples per matrix" if sampled else "the consensus of each"
    orientations = {"+": "the given orientation", "-": "reverse complement"}.get(
        screen.get("orientations"), "both orientations"
    )
    what = next((kind for kind in ("pairs", "composites") if screen.get(kind)), None)
    if what:
        return (
            f"Of the motifs of {_list(sources)}, {inserted} was put in: {what} at the spacings and orientations of the "
            f"config, {_placed(screen)}, and each of their motifs alone at its place."
        )
    return f"Of the motifs of {_list(sources)}, {inserted} was put in, in {orientations}, {_placed(screen)}."


def _placed(screen: Mapping[str, Any]) -> str:
    where, flanks = screen.get("positions", "centre"), screen.get("flanks") or {}
    if where == "centre":
        placed = "in the centre of every background"
    elif isinstance(where, Mapping):
        placed = f"at every {where['step']} bp from {where['start']} up to {where['stop']} of every background"
    else:
        starts = [str(start) for start in (where if isinstance(where, list) else [where])]
        placed = f"at position{'s' if len(starts) > 1 else ''} {_list(starts)} (from 0) of every background"
    sides = {"left": "before", "right": "after"}
    around = [f"{flanks[side]} {place} it" for side, place in sides.items() if flanks.get(side)]
    return placed + (f", with {_list(around)}" if around else "")


def _background(name: str, entry: Mapping[str, Any], file: Any) -> str:
    values = {key: file(value) if isinstance(value, str) else value for key, value in entry.items()}
    source = values.get("regions") or values.get("peaks") or values.get("fasta") or "sequences"
    values |= {"source": f"the regions of {source}" if "genome" in entry else source}
    kind = str(entry["kind"])
    form = _KINDS.get(kind, f"sequences of kind {kind}")
    if kind == "composition" and "probabilities" not in entry:
        form = "{n} random sequences with the base frequencies of {source}"
    length = f" of {entry['length']:,} bp" if "length" in entry else ""
    try:
        made = form.format(**values)
    except KeyError:  # a kind with keys of its own
        made = f"sequences of kind {kind}"
    return f"Background set '{name}': {made}{length and f', each{length}'}."


def _arranged(screen: Mapping[str, Any]) -> str:
    if screen.get("composites"):
        return (
            "The effect of a composite was compared with the sum of the effects of its motifs alone. The standard "
            "error of the difference is over backgrounds; no p was computed."
        )
    said = "The interaction of a pair is its effect minus those of its two motifs alone"
    judged = any(may_be_best(gaps_of(pair["gaps"])) for pair in screen["pairs"])
    if screen.get("controls") is False or screen.get("inserts") == "sample" or not judged:
        return f"{said}; no p was computed."
    return (
        f"{said}. What two motifs of their strength do to each other far apart was taken off. The largest value over "
        "arrangements was ranked among those of mismatched pairs (one motif beside a shuffled version of the other) in "
        f"the same arrangements and backgrounds, where there were at least {MIN_MISMATCHED}. q is Benjamini-Hochberg "
        "over pairs, of no smaller p than so many mismatched pairs can show."
    )


def _controls(controls: Any) -> str:
    if not isinstance(controls, Mapping):
        return "No controls were asked for, so no p was computed."
    pool, each = controls.get("pool"), controls.get("per_insert")
    if each:
        many = f"{each:,} for every insert"
    elif isinstance(pool, Mapping):
        many = f"{_list([f'{n:,} for {name}' for name, n in pool.items()])}, each collection with its own"
    elif pool:
        many = f"a pool of {pool:,} for each collection"
    else:
        many = (
            "for each collection 40 for each distinct insert, at least 300 and at most 1,000, or 20 for three of more "
            "than 150"
        )
    return (
        f"The null is the effects of shuffled inserts ({many}) in the same backgrounds, standardised by insert width "
        "and GC content. p is the rank of an effect among them, two-sided (one-sided for distances). Beyond the "
        "largest of them p comes from a generalised Pareto tail, averaged over the shapes and scales that fit, and "
        "only orders the inserts. q is Benjamini-Hochberg over distinct inserts within model, background set, output "
        "and position, of no smaller p than so many controls can show."
    )
