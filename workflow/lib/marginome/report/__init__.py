"""Pages to look at: one interactive page per screen, plain pages for checks and tables, and the overview.

Every page is one HTML file that opens from disk and asks for nothing else. Names are loaded when first used: the page
of a model is not made again because a figure of the screen's page has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginome.lazy import loader

# public name -> module that holds it
_PUBLIC = {
    "AttributionLogos": "screen",
    "Badge": "parts",
    "Entry": "overview",
    "Link": "parts",
    "Packed": "screen",
    "ScreenEntry": "overview",
    "Section": "plain",
    "methods_paragraph": "screen",
    "write_overview": "overview",
    "write_page": "plain",
    "write_report": "screen",
}

__all__ = sorted(_PUBLIC)

if not TYPE_CHECKING:
    __getattr__ = loader(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(__all__)
