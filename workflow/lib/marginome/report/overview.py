"""Plain pages: titles, sentences, tables and figures; the overview of all results is one of them."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd

from marginome.errors import MarginomeError
from marginome.report.page import asset, document, escape, save
from marginome.report.screen import commands_html, provenance_html
from marginome.storage import sound

_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


class Link(NamedTuple):
    """A table cell or item that leads to another file, by its path relative to the page."""

    text: str
    href: str


class Badge(NamedTuple):
    """A table cell that says whether a check passed; the words say it, the colour only helps."""

    text: str
    good: bool


class Scored(NamedTuple):
    """A table cell with an effect and its q: what is not significant is pale, and its q says so without the colour."""

    effect: float
    q: float | None
    significant: bool


class Section(NamedTuple):
    """A part of a page.

    Attributes
    ----------
    title : str
    text : str
        Plain text; an empty line starts a paragraph.
    table : pandas.DataFrame, optional
        Cells are text, numbers, `Link` or `Badge`.
    figures : sequence of (path, str)
        SVG or PNG files that become part of the page, with captions.
    links : sequence of Link
    most_rows : int, default 200
        Rows of the table that are shown; the page says how many there are.
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = None
    figures: Sequence[tuple[str | os.PathLike, str]] = ()
    links: Sequence[Link] = ()
    most_rows: int = 200


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


def write_page(
    path: str | os.PathLike,
    *,
    title: str,
    sections: Sequence[Section],
    subtitle: str = "",
    overview: str | None = None,
    provenance: Mapping | None = None,
    commands: Sequence[str] = (),
) -> int:
    """Write a plain page (a model's check, seqlets, patterns, anything with a table) as one HTML file.

    Parameters
    ----------
    path : path
        The file to write.
    title, subtitle : str
        Plain text.
    sections : sequence of Section
        In order.
    overview : str, optional
        Relative link to the overview page.
    provenance : mapping, optional
        Shown folded at the foot.
    commands : sequence of str, optional
        Shell commands that make the results again.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    MarginomeError
        When a figure is missing or neither SVG nor PNG.
    """
    body = [_header(title, subtitle, overview), '<main class="page">']
    body += [_section(section) for section in sections]
    body += ["</main>", _foot(provenance, commands)]
    save(path, document(title=title, body="\n".join(body), scripts=[asset("common.js")]))
    return os.path.getsize(path)


def write_overview(
    path: str | os.PathLike,
    *,
    title: str,
    screens: Sequence[ScreenEntry],
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
    backgrounds, models, attributions : sequence of Entry
        Parts without entries are left out.
    provenance : mapping, optional
        Versions, seeds, digests: shown at the foot.
    commands : sequence of str, optional
        Shell commands that make everything again.

    Returns
    -------
    int
        Bytes written.
    """
    body = [_header(title, intro, None), '<main class="page">']
    body += [_screen(entry) for entry in screens]
    for heading, text, entries in (
        ("Backgrounds", "The sequences that motifs were put into, beside what they stand for.", backgrounds),
        ("Models", "What each model is, and whether it behaved when it was checked before the screens.", models),
        ("Attributions, seqlets and patterns", "What the model itself points to in real sequences.", attributions),
    ):
        if entries:
            body.append(_entries(heading, text, entries))
    body += ["</main>", _foot(provenance, commands, opened=True)]
    save(path, document(title=title, body="\n".join(body), scripts=[asset("common.js")]))
    return os.path.getsize(path)


# ---------------------------------------------------------------------------------------------- pieces
def _header(title: str, subtitle: str, overview: str | None) -> str:
    back = f'<a class="back" href="{_href(overview)}">All results</a>' if overview else ""
    return (
        '<header class="top page"><div class="brand">' + asset("mark.svg") + f"<div><h1>{escape(title)}</h1>"
        f'<p class="muted">{escape(subtitle)}</p></div></div><nav class="actions" aria-label="Page">{back}'
        '<button type="button" id="theme" class="icon" aria-label="Light or dark">'
        '<span aria-hidden="true">◐</span></button></nav></header>'
    )


def _foot(provenance: Mapping | None, commands: Sequence[str], opened: bool = False) -> str:
    if not provenance and not commands:
        return ""
    opening = " open" if opened else ""
    made = f"<summary>How to make this again</summary>{commands_html(commands)}</details>"
    record = f"<summary>What it was made from</summary>{provenance_html(provenance or {})}</details>"
    made = f'<details class="foot"{opening}>{made}' if commands else ""
    record = f'<details class="foot">{record}' if provenance else ""
    return f'<footer class="page">{made}{record}</footer>'


def _href(target: str) -> str:
    """Return a relative path as a link; no scheme can come out of it."""
    return escape(quote(str(target), safe="/.-_~#"))


def _section(section: Section) -> str:
    parts = [f'<section class="card"><h2>{escape(section.title)}</h2>']
    parts += [f"<p>{escape(text)}</p>" for text in section.text.split("\n\n") if text.strip()]
    if section.links:
        parts.append(_links(section.links))
    if section.table is not None:
        parts.append(table_html(section.table, section.most_rows))
    parts += [_figure(path, caption) for path, caption in section.figures]
    return "".join(parts) + "</section>"


def _links(links: Sequence[Link]) -> str:
    return '<p class="links">' + " · ".join(f'<a href="{_href(h)}">{escape(t)}</a>' for t, h in links) + "</p>"


def _figure(path: str | os.PathLike, caption: str) -> str:
    kind = _KINDS.get(Path(path).suffix)
    if kind is None:
        raise MarginomeError("only SVG and PNG can be shown on a page", where=str(path))
    sound(path)
    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:{kind};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def cell_html(value: object) -> str:
    """Return a value of a table as HTML: numbers to four digits, missing ones empty, everything else as text."""
    if isinstance(value, Link):
        return f'<a href="{_href(value.href)}">{escape(value.text)}</a>'
    if isinstance(value, Badge):
        return f'<span class="badge {"good" if value.good else "bad"}">{escape(value.text)}</span>'
    if isinstance(value, Scored):
        if pd.isna(value.effect):
            return ""
        q = "" if value.q is None or pd.isna(value.q) else f"{value.q:.2g}".replace("-", "\u2212")
        q = q and f' <span class="q">q {q}</span>'
        effect = f"{value.effect:+.3g}".replace("-", "\u2212")
        return f'<span class="{"strong" if value.significant else "pale"}">{effect}</span>{q}'
    if value is None or (np.isscalar(value) and pd.isna(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return escape(f"{value:.4g}".replace("-", "\u2212"))
    if isinstance(value, int | np.integer):
        return escape(f"{value:,}" if abs(value) >= 10000 else str(value)).replace("-", "\u2212")
    return escape(value)


def table_html(table: pd.DataFrame, most_rows: int = 200) -> str:
    """Return a frame as an HTML table; its index is not shown."""
    numeric = [pd.api.types.is_numeric_dtype(table[c]) for c in table]
    head = "".join(
        f'<th scope="col" class="plain{" num" if n else ""}">{escape(c)}</th>' for c, n in zip(table.columns, numeric)
    )
    rows = []
    for row in table.head(most_rows).itertuples(index=False, name=None):
        cells = (f"<td{' class=num' if n else ''}>{cell_html(v)}</td>" for v, n in zip(row, numeric))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    more = f'<p class="muted">The first {most_rows:,} of {len(table):,} rows.</p>' if len(table) > most_rows else ""
    named = any(str(c).strip() for c in table.columns)  # or it is a list of what is what
    top = f"<thead><tr>{head}</tr></thead>" if named else ""
    body = f"<table>{top}<tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="plain-table" tabindex="0">{body}</div>{more}'


def _entries(heading: str, text: str, entries: Sequence[Entry]) -> str:
    parts = [f'<section class="card"><h2>{escape(heading)}</h2><p class="muted">{escape(text)}</p><div class="cards">']
    for entry in entries:
        facts = "".join(
            f'<div class="leaf"><dt>{escape(k)}</dt><dd>{cell_html(v)}</dd></div>' for k, v in entry.facts.items()
        )
        parts.append(
            f'<div><h3>{escape(entry.name)}</h3><dl class="tree">{facts}</dl>'
            + (_links(entry.links) if entry.links else "")
            + (_figure(entry.figure, entry.caption or entry.name) if entry.figure else "")
            + "</div>"
        )
    return "".join(parts) + "</div></section>"


def _screen(entry: ScreenEntry) -> str:
    said, table = screen_summary(entry.effects)
    return (
        f'<section class="card"><div class="card-head"><h2>{escape(entry.name)}</h2>'
        f'<a class="button" href="{_href(entry.page)}">Explore all motifs</a></div><p>{escape(said)}</p>'
        + table_html(table)
        + (_figure(entry.figure, entry.caption or f"Figure of {entry.name}") if entry.figure else "")
        + (_links(entry.links) if entry.links else "")
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
    keys = list(dict.fromkeys([name, "motif_id", "orientation", *[c for c in ("start", "draw", "gap") if c in rows]]))
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
