"""What an entry of ``attributions:`` asks for: which other entries and files, which elements, which results.

For the rules, which ask it of a config; nothing here knows Snakemake or PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]


def used_entries(entry: Entry) -> dict[str, list[str]]:
    """Return the names in other sections that an entry uses, sorted, by section: models, motifs, backgrounds."""
    loci, annotate, marginalize = (entry.get(key) or {} for key in ("loci", "annotate", "marginalize"))
    motifs = [*annotate.get("motifs", []), (loci.get("insert") or {}).get("collection")]
    backgrounds = [loci.get("background"), (entry.get("references") or {}).get("background")]
    named = {"models": [entry["model"]], "motifs": motifs}
    named["backgrounds"] = [*backgrounds, *marginalize.get("backgrounds", [])]
    return {section: sorted({name for name in names if name}) for section, names in named.items()}


def part_of(entry: Entry, path: tuple[str, ...]) -> Any:
    """Return what stands at a path of keys in an entry; None where a key of it is not there or is null."""
    found: Any = entry
    for key in path:
        found = (found or {}).get(key)
    return found


def element_kinds(entry: Entry) -> list[str]:
    """Return the kinds of elements that an entry finds: seqlets, and patterns where it asks for them."""
    return ["seqlets", *(["patterns"] if entry.get("patterns") is not None else [])]


def element_screen(entry: Entry, *keys: str) -> dict[str, Any]:
    """Return keys of ``marginalize``, which stands for the entry of a screen of the elements; None for ``outputs``."""
    settings = entry["marginalize"]
    return {"outputs": settings.get("outputs")} | {key: settings[key] for key in keys}


def element_settings(entry: Entry) -> dict[str, Any]:
    """Return how elements are put into backgrounds, without how many shards."""
    used = ("outputs", "annotations", "flank", "samples", "controls")
    return {key: entry["marginalize"][key] for key in used if key in entry["marginalize"]}


def element_functions(entry: Entry) -> bool:
    """Say whether more than predictions is asked for of isolated elements."""
    settings = entry.get("marginalize") or {}
    return any(function != "predict" for function in settings.get("functions", []))


def export_files(entry: Entry) -> list[str]:
    """Return the arrays of an entry in other programs' formats: the observed attributions always, others on request.

    bigWig wants coordinates, which are known before a run where the loci are regions of a genome.
    """
    asked, placed = entry.get("export") or [], entry["loci"].get("kind") == "bed"
    files = ["export/observed.bw"] if placed else []
    if placed and "hypothetical" in asked:
        files += [f"export/hypothetical_{base}.bw" for base in "ACGT"]
    if "npz" in asked:
        files += ["export/sequences.npz", "export/hypothetical.npz", "export/loci.narrowPeak"]
    return [*files, *(["export/attributions.shap.h5"] if "h5" in asked else [])]


def result_files(entry: Entry) -> list[str]:
    """Return what a reader gets of an entry, by name in its folder."""
    files = [
        "attributions.h5",
        "seqlets.parquet",
        "seqlets.bed",
        "export/elements.bed",
        *export_files(entry),
        "figures/elements.svg",
        "report.html",
        "provenance.json",
    ]
    kinds = element_kinds(entry)
    if entry.get("annotate"):
        files.append("annotations.parquet")
    if "patterns" in kinds:
        files += ["patterns.h5", "patterns.parquet", "export/patterns.meme", "export/pattern_seqlets.bed"]
        if entry.get("annotate"):
            files.append("pattern_matches.parquet")
    if entry.get("marginalize"):
        files += [f"{kind}/effects.parquet" for kind in kinds]
        if element_functions(entry):
            files += [f"{kind}/functions.{suffix}" for kind in kinds for suffix in ("h5", "svg")]
    return files
