"""The page of an attribution entry: its loci, their seqlets with what each does alone, their patterns."""

from __future__ import annotations

import logging
import os

import numpy as np
import pandas as pd

from marginome.attribution_file import open_attributions
from marginome.columns import conform
from marginome.element_tables import PATTERN_SEQLETS
from marginome.report.parts import Link
from marginome.report.plain import Section, write_page
from marginome.report.screen.loci import Loci
from marginome.report.screen.writing import write_report
from marginome.results import unsigned_measures
from marginome.storage import read_json, read_table

log = logging.getLogger("marginome")


def report_elements(
    name: str,
    *,
    attributions: str | os.PathLike,
    seqlets: str | os.PathLike,
    effects: str | os.PathLike | None,
    backgrounds: str | os.PathLike | None,
    patterns: str | os.PathLike | None,
    members: str | os.PathLike | None,
    pattern_effects: str | os.PathLike | None,
    figure: str | os.PathLike,
    provenance: str | os.PathLike,
    page: str | os.PathLike,
) -> None:
    """Write the interactive page of one attribution entry; a plain one where nothing was found.

    Parameters
    ----------
    name : str
        Of the entry.
    attributions : path
        HDF5 of `merge_attributions`.
    seqlets, patterns : path
        Tables with or without matches; None where there are no patterns asked for.
    members : path or None
        Seqlets of the patterns.
    effects, pattern_effects : path or None
        Isolated effects.
    backgrounds : path or None
        Isolated effects of the seqlets in single backgrounds, which know what their measures are.
    figure : path
        SVG that the page links to.
    provenance : path
        The entry's record.
    page : path
        HTML to write.
    """
    record = read_json(provenance)
    links = [Link(text, os.path.relpath(path, os.path.dirname(page) or "."))
             for text, path in (("provenance.json", provenance), ("figure", figure), ("attributions", attributions),
                                ("seqlets", seqlets), ("isolated effects", effects), ("patterns", patterns),
                                ("isolated effects of patterns", pattern_effects)) if path is not None]  # fmt: skip
    found = pd.DataFrame() if patterns is None else read_table(patterns)
    with open_attributions(attributions) as opened:
        model, output = opened.metadata["model"], opened.metadata["output"]
        if effects is None:
            table = _not_isolated(read_table(seqlets), found, model=model, output=output, unit=opened.metadata["unit"])
        else:
            parts = [read_table(path) for path in (effects, pattern_effects) if path is not None]
            parts = [part for part in parts if len(part)]
            if len(parts) == 2:  # a family is one of its kind
                parts[1]["family"] += parts[0]["family"].max() + 1
            table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        if not len(table):
            said = f"There are no seqlets and no patterns in the {len(opened):,} loci of {name}."
            write_page(
                page, title=f"Elements of {name}", sections=[Section("Nothing was found", said, links=links)],
                overview="../../index.html", provenance=record, commands=[record["command"]],
            )  # fmt: skip
            return
        # the attributed output first: it is what the page opens with
        table = table.sort_values("output", key=lambda names: names.ne(output), kind="stable", ignore_index=True)
        packed = write_report(
            page,
            effects=table,
            motifs=_matrices(found),
            loci=Loci(
                opened,
                conform(pd.DataFrame(), PATTERN_SEQLETS).to_pandas() if members is None else read_table(members),
                {row.pattern_id: np.reshape(row.contributions, (-1, 4)) for row in found.itertuples()},
            ),
            unsigned=() if backgrounds is None else unsigned_measures(backgrounds),
            links=links,
            provenance=record,
            commands=[record["command"]],
            title=f"Elements of {name}",
            name=name,
            overview="../../index.html",
        )
    log.info("%s: %.1f MB, %d rows", page, packed.bytes / 1e6, packed.rows)


def _not_isolated(seqlets: pd.DataFrame, patterns: pd.DataFrame, *, model: str, output: str, unit: str) -> pd.DataFrame:
    """Return seqlets and patterns as rows of a page, where they were put into no background."""
    parts = []
    for kind, table, renamed in (
        ("seqlets", seqlets, {"seqlet_id": "motif_id", "start": "seqlet_start", "end": "seqlet_end",
                              "p_value": "seqlet_p", "sequence": "insert"}),
        ("patterns", patterns, {"pattern_id": "motif_id", "width": "pattern_width", "consensus": "insert"}),
    ):  # fmt: skip
        if not len(table):
            continue
        left = ("example_idx", "caller", "pwm", "contributions")
        part = table.rename(columns=renamed).drop(columns=[c for c in left if c in table])
        named = part.get("match_name", pd.Series(index=part.index, dtype=object))
        parts.append(part.assign(collection=kind, motif_name=named.where(named.notna(), part["motif_id"])))
    if not parts:
        return pd.DataFrame()
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(model=model, background="", orientation="+", output=output, unit=unit, effect=np.nan)


def _matrices(patterns: pd.DataFrame) -> pd.DataFrame:
    """Return the frequencies of patterns as the page takes matrices: (4, width), by collection and identifier."""
    rows = [("patterns", row.pattern_id, np.reshape(row.pwm, (-1, 4)).T) for row in patterns.itertuples()]
    return pd.DataFrame(rows, columns=["collection", "motif_id", "pwm"])
