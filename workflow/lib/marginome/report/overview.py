"""The page that leads to every result of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from marginome.report.page import asset, document, escape, save
from marginome.report.parts import Link, Scored, cell_html, figure_html, foot, header, href_of, links_html, table_html


class Entry(NamedTuple):
    """A background set, a model or a set of attributions on the overview page.

    Attributes
    ----------
    name : str
    facts : mapping
        What to say about it: label -> text, number, `Link` or `Badge`.
    links : sequence of Link
        Its pages and files.
    figure : path, optional
        SVG or PNG that becomes part of the page.
    caption : str
    """

    name: str
    facts: Mapping[str, object] = {}
    links: Sequence[Link] = ()
    figure: str | os.PathLike | None = None
    caption: str = ""


class ScreenEntry(NamedTuple):
    """A screen on the overview page.

    Attributes
    ----------
    name : str
    page : str
        Path of its interactive page, relative to the overview.
    effects : pandas.DataFrame
        Its effect table.
    links : sequence of Link
        Its files.
    figure : path, optional
        A figure to show, e.g. the heatmap.
    caption : str
    """

    name: str
    page: str
    effects: pd.DataFrame
    links: Sequence[Link] = ()
    figure: str | os.PathLike | None = None
    caption: str = ""


def write_overview(
    path: str | os.PathLike,
    *,
    title: str,
    screens: Sequence[ScreenEntry],
    atlases: Sequence[Entry] = (),
    backgrounds: Sequence[Entry] = (),
    models: Sequence[Entry] = (),
    attributions: Sequence[Entry] = (),
    provenance: Mapping | None = None,
    commands: Sequence[str] = (),
    intro: str = "",
) -> int:
    """Write the page that leads to every result of a run.

    Parameters
    ----------
    path : path
        The file to write; links are relative to it.
    title, intro : str
        Plain text.
    screens : sequence of ScreenEntry
        Each with its strongest motifs, a figure and links.
    atlases, backgrounds, models, attributions : sequence of Entry
        Screens of sheets of models, and the rest. Parts without entries are left out.
    provenance : mapping, optional
        Versions, seeds, digests: shown at the foot.
    commands : sequence of str, optional
        Shell commands that make everything again.

    Returns
    -------
    int
        Bytes written.
    """
    body = [header(title, intro, None), '<main class="page">']
    body += [_screen(entry) for entry in screens]
    for heading, text, entries in (
        ("Screens of many models", "Their rows are a file for each batch of models, named in the manifest.", atlases),
        ("Backgrounds", "The sequences that motifs were put into, beside what they stand for.", backgrounds),
        ("Models", "What each model is, and whether it behaved when it was checked before the screens.", models),
        ("Attributions, seqlets and patterns", "What the model itself points to in real sequences.", attributions),
    ):
        if entries:
            body.append(_entries(heading, text, entries))
    body += ["</main>", foot(provenance, commands, opened=True)]
    save(path, document(title=title, body="\n".join(body), scripts=[asset("common.js")]))
    return os.path.getsize(path)


def _entries(heading: str, text: str, entries: Sequence[Entry]) -> str:
    parts = [f'<section class="card"><h2>{escape(heading)}</h2><p class="muted">{escape(text)}</p><div class="cards">']
    for entry in entries:
        facts = "".join(
            f'<div class="leaf"><dt>{escape(k)}</dt><dd>{cell_html(v)}</dd></div>' for k, v in entry.facts.items()
        )
        parts.append(
            f'<div><h3>{escape(entry.name)}</h3><dl class="tree">{facts}</dl>'
            + (links_html(entry.links) if entry.links else "")
            + (figure_html(entry.figure, entry.caption or entry.name) if entry.figure else "")
            + "</div>"
        )
    return "".join(parts) + "</div></section>"


def _screen(entry: ScreenEntry) -> str:
    said, table = screen_summary(entry.effects)
    return (
        f'<section class="card"><div class="card-head"><h2>{escape(entry.name)}</h2>'
        f'<a class="button" href="{href_of(entry.page)}">Explore all motifs</a></div><p>{escape(said)}</p>'
        + table_html(table)
        + (figure_html(entry.figure, entry.caption or f"Figure of {entry.name}") if entry.figure else "")
        + (links_html(entry.links) if entry.links else "")
        + "</section>"
    )


def screen_summary(effects: pd.DataFrame, top: int = 8, q: float = 0.05) -> tuple[str, pd.DataFrame]:
    """Say in a sentence and a small table what a screen found.

    Parameters
    ----------
    effects : pandas.DataFrame
        The effect table.
    top : int, default 8
        Motifs listed: the largest effects on the first model's first output, one row per motif.
    q : float, default 0.05
        Where a row counts as significant.

    Returns
    -------
    (str, pandas.DataFrame)
    """
    rows = effects[(effects["model"] == effects["model"].iat[0]) & (effects["output"] == effects["output"].iat[0])]
    n_motifs, n_sets = effects["motif_id"].nunique(), effects["background"].nunique()
    said = (
        f"{n_motifs:,} motifs in {n_sets} background set{'s' if n_sets > 1 else ''}, {effects['output'].nunique()} "
        f"output{'s' if effects['output'].nunique() > 1 else ''} of {effects['model'].nunique()} "
        f"model{'s' if effects['model'].nunique() > 1 else ''}."
    )
    if "q" in rows and rows["q"].notna().any():
        some = rows[rows["q"] <= q]
        everywhere = some.groupby("motif_id")["background"].nunique().eq(n_sets).sum()
        said += (
            f" On {rows['output'].iat[0]}, {some['motif_id'].nunique():,} motifs do more than their controls "
            f"(q \u2264 {q:g}) in some background set, {int(everywhere):,} in every one."
        )
    unit = rows["unit"].iat[0] if "unit" in rows and pd.notna(rows["unit"].iat[0]) else ""
    name = "motif_name" if "motif_name" in rows else "motif_id"
    keys = list(dict.fromkeys([name, "motif_id", "orientation", *[c for c in ("start", "sample", "gap") if c in rows]]))
    scored = "q" in rows and rows["q"].notna().any()
    values = ["effect", "q"] if scored else ["effect"]
    wide = rows.pivot_table(index=keys, columns="background", values=values, aggfunc="mean", dropna=False, sort=False)
    wide = wide[wide["effect"].notna().any(axis=1)]
    wide = wide.loc[wide["effect"].mean(axis=1).abs().sort_values(ascending=False, kind="stable").index]
    wide = wide[~wide.index.get_level_values("motif_id").duplicated()].head(top)
    shown = wide.index.to_frame(index=False)[list(dict.fromkeys([name, "motif_id", "orientation"]))].rename(
        columns={"motif_name": "Motif", "motif_id": "Identifier", "orientation": "Strand"}
    )
    shown["Strand"] = shown["Strand"].str.replace("-", "\u2212")
    said += f" The largest effects on {rows['output'].iat[0]}{f', in {unit}' if unit else ''}, by background set"
    said += f"; pale where q is above {q:g}:" if scored else ":"
    for background in rows["background"].drop_duplicates():
        effects_of = wide["effect"][background]
        q_of = wide["q"][background] if scored else [None] * len(wide)
        shown[str(background)] = [
            Scored(e, v, not scored or bool(v <= q)) for e, v in zip(effects_of, q_of, strict=True)
        ]
    return said, shown
