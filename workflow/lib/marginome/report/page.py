"""One HTML file that needs nothing else: how text, data, style and scripts are put into it safely."""

from __future__ import annotations

import base64
import hashlib
import html
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from marginome.storage import atomic, to_json

log = logging.getLogger("marginome")

#: What a page may have at most: browsers take larger ones slowly, and mail refuses them.
PAGE_BYTES = 30_000_000
#: Runs before the first paint, so that a reader of a dark page never sees a white flash.
_THEME = """
(() => {
  let kept = null;
  try { kept = localStorage.getItem('marginome-theme'); } catch (e) { /* storage is off for files from disk */ }
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = kept || (dark ? 'dark' : 'light');
})();
"""


def asset(name: str, package: str = "marginome.report") -> str:
    """Return the text of a file of a package's ``assets`` folder."""
    return resources.files(package).joinpath("assets", name).read_text(encoding="utf-8")


def joined(scripts: Iterable[str]) -> str:
    """Return scripts as one: a function of its own, in which they share their names."""
    return "\n".join(["'use strict';", "(async () => {", *scripts, "})();", ""])


def escape(text: object) -> str:
    """Return `text` for use between tags or in a quoted attribute: markup in it is shown, never followed."""
    return html.escape(str(text), quote=True)


def json_island(identifier: str, value: object) -> str:
    """Return a script element that holds `value` as JSON and cannot be left from inside.

    Everything that could end the element or start another (``<``, ``>``, ``&``) is written as an escape
    that JSON reads back as the same character. Not-a-number and infinity, which JSON lacks, become null.
    """
    text = to_json(value, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{escape(identifier)}">{text}</script>'


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with every ``[[name]]`` replaced by its HTML, in one pass: values are not searched again."""
    return re.sub(r"\[\[(\w+)\]\]", lambda match: values[match[1]], template)


def document(*, title: str, body: str, islands: Sequence[str] = (), scripts: Sequence[str] = ()) -> str:
    """Return a whole HTML page that reaches for nothing outside itself.

    The content security policy allows the scripts given here by their SHA-256 and no other; no connection,
    frame, font or picture from elsewhere. So even a name that slipped through unescaped could not run.

    Parameters
    ----------
    title : str
        Plain text.
    body : str
        HTML, already escaped.
    islands : sequence of str
        What `json_island` and `Arrays.island` return; put after the body, so that it is painted first.
    scripts : sequence of str
        JavaScript sources, run in this order at the end.

    Returns
    -------
    str
    """
    scripts = [s.replace("\r\n", "\n") for s in (_THEME, *scripts)]
    for source in scripts:
        if "</script" in source.lower() or "<!--" in source:
            raise ValueError("a script holds text that would end its own element")
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    theme, *rest = [f"<script>{s}</script>" for s in scripts]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="generator" content="marginome">',
            f"<title>{escape(title)}</title>",
            f"<style>{asset('style.css')}</style>",
            theme,
            "</head>",
            "<body>",
            body,
            *islands,
            *rest,
            "</body>",
            "</html>",
            "",
        ]
    )


def save(path: str | os.PathLike, page: str) -> None:
    """Write a page atomically as UTF-8; text that Unicode cannot hold (lone surrogates) is replaced."""
    data = page.encode("utf-8", errors="replace")
    if len(data) > PAGE_BYTES:
        log.warning("%s is %.0f MB, which a browser opens slowly: look at its figures", path, len(data) / 1e6)
    with atomic(path) as temporary:
        temporary.write_bytes(data)
