"""The page of an attribution entry: its picture, its seqlets with what each does alone, its patterns."""

from __future__ import annotations

import os

import pandas as pd

from marginome.report import Section, write_page
from marginome.storage import read_json, read_table

_SEQLETS = [
    "seqlet_id", "chrom", "genome_start", "genome_end", "sign", "attribution", "p_value", "match_name", "match_id",
    "match_q", "sequence",
]  # fmt: skip
_EFFECTS = ["motif_id", "background", "output", "effect", "effect_se", "ci_low", "ci_high", "p", "q"]


def report_elements(
    name: str,
    *,
    seqlets: str | os.PathLike,
    effects: str | os.PathLike | None,
    patterns: str | os.PathLike | None,
    pattern_effects: str | os.PathLike | None,
    figure: str | os.PathLike,
    provenance: str | os.PathLike,
    page: str | os.PathLike,
) -> None:
    """Write the page of one attribution entry.

    Parameters
    ----------
    name : str
        Of the entry.
    seqlets, patterns : path
        Tables with or without matches; None where there are no patterns asked for.
    effects, pattern_effects : path or None
        Isolated effects.
    figure : path
        SVG that becomes part of the page.
    provenance : path
        The entry's record.
    page : path
        HTML to write.
    """
    record = read_json(provenance)
    sections = [
        Section("The chain", "A locus with its seqlets, what each seqlet does alone, and the patterns.",
                figures=[(figure, f"Elements of {name}")]),
        _section("Seqlets", "Spans of high attribution, named where a motif holds.", seqlets, _SEQLETS),
    ]  # fmt: skip
    for title, text, file, columns in (
        ("Seqlets in isolation", "Each seqlet put into the background sets by itself.", effects, _EFFECTS),
        ("Patterns", "Clusters of seqlets (TF-MoDISco).", patterns, None),
        ("Patterns in isolation", "Each pattern's consensus and samples of its seqlets.", pattern_effects, _EFFECTS),
    ):
        if file is not None:
            sections.append(_section(title, text, file, columns))
    write_page(
        page,
        title=f"Elements of {name}",
        sections=sections,
        overview="../../index.html",
        provenance=record,
        commands=[record["command"]],
    )


def _section(title: str, text: str, file: str | os.PathLike, columns: list[str] | None) -> Section:
    table = read_table(file)
    shown = [c for c in (columns or _plain(table)) if c in table]
    by = next((c for c in ("attribution", "effect", "n_seqlets") if c in table), None)
    if by is not None and len(table):
        table = table.reindex(table[by].abs().sort_values(ascending=False, kind="stable").index)
    if not len(table):
        return Section(title, f"{text} There are none.")
    return Section(title, text, table[shown])


def _plain(table: pd.DataFrame) -> list[str]:
    """Columns of single values: matrices are left to the files."""
    return [
        c
        for c in table
        if not table[c].map(lambda value: hasattr(value, "__len__") and not isinstance(value, str)).any()
    ]
