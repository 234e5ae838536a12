"""The parts that pages share: head and foot, tables, figures, links, commands, records."""

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
from marginome.report.page import asset, escape
from marginome.storage import damaged, sound

# What they are, and how they end: nothing else asks whether a figure is whole that was cut off before its digest.
_KINDS = {".svg": ("image/svg+xml", b"</svg>"), ".png": ("image/png", b"IEND\xaeB`\x82")}


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


def header(title: str, subtitle: str, overview: str | None) -> str:
    """Return the head of a plain page; `overview` is a relative link to the page of all results."""
    back = f'<a class="back" href="{href_of(overview)}">All results</a>' if overview else ""
    return (
        '<header class="top page"><div class="brand">' + asset("mark.svg") + f"<div><h1>{escape(title)}</h1>"
        f'<p class="muted">{escape(subtitle)}</p></div></div><nav class="actions" aria-label="Page">{back}'
        '<button type="button" id="theme" class="icon" aria-label="Light or dark">'
        '<span aria-hidden="true">◐</span></button></nav></header>'
    )


def foot(provenance: Mapping | None, commands: Sequence[str], opened: bool = False) -> str:
    """Return the foot of a page: how to make it again (folded, or `opened`), and what it was made from."""
    if not provenance and not commands:
        return ""
    opening = " open" if opened else ""
    made = f"<summary>How to make this again</summary>{commands_html(commands)}</details>"
    record = f"<summary>What it was made from</summary>{provenance_html(provenance or {})}</details>"
    made = f'<details class="foot"{opening}>{made}' if commands else ""
    record = f'<details class="foot">{record}' if provenance else ""
    return f'<footer class="page">{made}{record}</footer>'


def href_of(target: str) -> str:
    """Return a relative path as a link; no scheme can come out of it."""
    return escape(quote(str(target), safe="/.-_~#"))


def links_html(links: Sequence[Link]) -> str:
    """Return links as one paragraph."""
    return '<p class="links">' + " · ".join(f'<a href="{href_of(h)}">{escape(t)}</a>' for t, h in links) + "</p>"


def figure_html(path: str | os.PathLike, caption: str) -> str:
    """Return an SVG or PNG file as a figure that is part of the page; MarginomeError for any other or a damaged one."""
    if Path(path).suffix not in _KINDS:
        raise MarginomeError("only SVG and PNG can be shown on a page", where=str(path))
    kind, end = _KINDS[Path(path).suffix]
    sound(path)
    content = Path(path).read_bytes()
    if not content.rstrip().endswith(end):
        raise damaged(path, "its end is cut off")
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:{kind};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def cell_html(value: object) -> str:
    """Return a value of a table as HTML: numbers to four digits, missing ones empty, everything else as text."""
    if isinstance(value, Link):
        return f'<a href="{href_of(value.href)}">{escape(value.text)}</a>'
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


def provenance_html(provenance: Mapping) -> str:
    """Return nested provenance as nested lists; every key and value is text."""
    if not provenance:
        return '<p class="muted">No record was given.</p>'
    return _nested(provenance)


def _nested(value: object) -> str:
    if isinstance(value, Mapping):
        rows = "".join(
            f"<details class='branch'><summary>{escape(k)}</summary>{_nested(v)}</details>"
            if isinstance(v, Mapping | list) and len(v) > 3
            else f"<div class='leaf'><dt>{escape(k)}</dt><dd>{_nested(v)}</dd></div>"
            for k, v in value.items()
        )
        return f"<dl class='tree'>{rows}</dl>"
    if isinstance(value, list | tuple):
        if all(not isinstance(v, Mapping | list | tuple) for v in value):
            return escape(", ".join(map(str, value)))
        return "<ul>" + "".join(f"<li>{_nested(v)}</li>" for v in value) + "</ul>"
    return escape("" if value is None else value)


def methods_html(text: str) -> str:
    """Return a paragraph for a paper, folded, with a button that copies it."""
    if not text:
        return ""
    return (
        '<details class="foot"><summary>For the methods section of a paper</summary><div class="commands">'
        '<button type="button" class="copy" data-copy="methods-text">Copy</button>'
        f'<p id="methods-text" class="prose">{escape(text)}</p></div></details>'
    )


def commands_html(commands: Sequence[str]) -> str:
    """Return shell commands as a block with a button that copies them."""
    if not commands:
        return ""
    text = escape("\n".join(commands))
    return (
        '<div class="commands"><button type="button" class="copy" data-copy="commands-text">Copy</button>'
        f'<pre id="commands-text" tabindex="0">{text}</pre></div>'
    )
