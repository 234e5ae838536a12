"""The page of an attribution entry: its picture, its seqlets with what each does alone, its patterns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from marginome.report.parts import Link
from marginome.report.plain import Section, write_page
from marginome.storage import read_json, read_table


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
    named = read_table(seqlets)
    matched = int(named["match_id"].notna().sum()) if "match_id" in named else None
    said = f"{len(named)} seqlets" + ("" if matched is None else f", {matched} of them match a motif")
    files = [Link(text, os.path.relpath(path, os.path.dirname(page) or "."))
             for text, path in (("provenance.json", provenance), ("seqlets", seqlets), ("isolated effects", effects),
                                ("patterns", patterns), ("isolated effects of patterns", pattern_effects))
             if path is not None]  # fmt: skip
    sections = [
        Section(
            "The chain",
            f"A locus with its seqlets, what each seqlet does alone, and the patterns. {said}.",
            figures=[(figure, f"Above: attribution around the strongest seqlet. Below: every seqlet's effect by itself "
                      f"against what it was attributed in its locus, and the largest patterns. Entry {name}.")],
            links=files,
        ),
        _section("Seqlets", "Spans of high attribution, the strongest first, named where a motif holds. p is the "
                 "caller's, which ranks spans and is no error rate.", named,
                 _SEQLETS, "attribution"),
    ]  # fmt: skip
    for title, text, file, columns, by in (
        ("Seqlets in isolation", "Each seqlet put into the background sets by itself, the largest effects first.",
         effects, _EFFECTS, "effect"),
        ("Patterns", "Clusters of seqlets (TF-MoDISco), the largest first.", patterns, _PATTERNS, "n_seqlets"),
        ("Patterns in isolation", "Each pattern's consensus, and samples of its seqlets (numbered), by themselves.",
         pattern_effects, _EFFECTS, "effect"),
    ):  # fmt: skip
        if file is not None:
            sections.append(_section(title, text, read_table(file), columns, by))
    write_page(
        page,
        title=f"Elements of {name}",
        sections=sections,
        overview="../../index.html",
        provenance=record,
        commands=[record["command"]],
    )


def _section(
    title: str, text: str, table: pd.DataFrame, columns: Mapping[str, Callable[[pd.DataFrame], Any]], by: str
) -> Section:
    """A table in the order of the size of `by`, with the columns that can be made of it."""
    if not len(table):
        return Section(title, f"{text} There are none.")
    if "unit" in table and table["unit"].nunique() == 1:
        text += f" Effects are in {table['unit'].iloc[0]}."
    if len(table) > _MOST:
        text += f" The first {_MOST} of {len(table):,} rows; the file has all."
    table = table.loc[table[by].abs().sort_values(ascending=False, kind="stable").index].head(_MOST)
    made = {heading: make(table) for heading, make in columns.items()}
    return Section(title, text, pd.DataFrame({k: v for k, v in made.items() if v is not None}))


def _column(name: str) -> Callable[[pd.DataFrame], Any]:
    """A column as it is, where there is one with anything in it."""
    return lambda table: table[name] if name in table and table[name].notna().any() else None


def _place(identifier: str) -> Callable[[pd.DataFrame], Any]:
    """Where in the genome an element is, or its identifier where that is not known."""

    def places(table: pd.DataFrame) -> list[str]:
        if "genome_start" not in table:
            return table[identifier].astype(str).tolist()
        return [
            str(row[identifier])
            if pd.isna(row["genome_start"])
            else f"{row['chrom']}:{int(row['genome_start'])}-{int(row['genome_end'])}"
            for _, row in table.iterrows()
        ]

    return places


def _interval(table: pd.DataFrame) -> list[str]:
    return [
        "" if pd.isna(low) else f"{low:.3g} to {high:.3g}".replace("-", "\u2212")
        for low, high in zip(table["ci_low"], table["ci_high"])
    ]


def _signed(name: str) -> Callable[[pd.DataFrame], Any]:
    return lambda table: [f"{value:+.3g}".replace("-", "\u2212") for value in table[name]]


_MOST = 200
_MATCH = {"motif": _column("match_name"), "its identifier": _column("match_id"), "q of the match": _column("match_q")}
_SEQLETS = {
    "seqlet": _place("seqlet_id"), "attribution": _signed("attribution"), **_MATCH, "p": _column("p_value"),
    "sequence": _column("sequence"),
}  # fmt: skip
_EFFECTS = {
    "element": _place("motif_id"), "sample": _column("sample"), "motif": _column("match_name"),
    "background set": _column("background"), "output": _column("output"), "effect": _signed("effect"),
    "95 % interval": _interval, "unit": lambda table: table["unit"] if table["unit"].nunique() > 1 else None,
    "p": _column("p"), "q": _column("q"),
}  # fmt: skip
_PATTERNS = {
    "pattern": _column("pattern_id"), "seqlets": _column("n_seqlets"), "consensus": _column("consensus"),
    "mean attribution": _signed("attribution"), **_MATCH,
}  # fmt: skip
