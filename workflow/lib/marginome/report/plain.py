"""Plain pages: titles, sentences, tables and figures, as a model, a background set and an attribution entry have."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from marginome.report.page import asset, document, escape, save
from marginome.report.parts import Link, figure_html, foot, header, links_html, table_html


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
    body = [header(title, subtitle, overview), '<main class="page">']
    body += [_section(section) for section in sections]
    body += ["</main>", foot(provenance, commands)]
    save(path, document(title=title, body="\n".join(body), scripts=[asset("common.js")]))
    return os.path.getsize(path)


def _section(section: Section) -> str:
    parts = [f'<section class="card"><h2>{escape(section.title)}</h2>']
    parts += [f"<p>{escape(text)}</p>" for text in section.text.split("\n\n") if text.strip()]
    if section.links:
        parts.append(links_html(section.links))
    if section.table is not None:
        parts.append(table_html(section.table, section.most_rows))
    parts += [figure_html(path, caption) for path, caption in section.figures]
    return "".join(parts) + "</section>"
