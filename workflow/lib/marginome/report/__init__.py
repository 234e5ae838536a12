"""Pages to look at: one interactive page per screen, plain pages for checks and tables, and the overview.

Every page is one HTML file that opens from disk and asks for nothing else. Names are loaded when first used: the page
of a model is not made again because a figure of the screen's page has changed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

# public name -> module that holds it
_PUBLIC = {
    "AttributionLogos": "report.screen",
    "Badge": "report.parts",
    "Entry": "report.overview",
    "Link": "report.parts",
    "Packed": "report.screen",
    "Profiles": "results",
    "ScreenEntry": "report.overview",
    "Section": "report.plain",
    "methods_paragraph": "report.screen",
    "write_overview": "report.overview",
    "write_page": "report.plain",
    "write_report": "report.screen",
}

__all__ = sorted(_PUBLIC)

if not TYPE_CHECKING:

    def __getattr__(name: str):
        """Import the module that holds a public name when the name is first used."""
        if name not in _PUBLIC:
            raise AttributeError(f"module 'marginome.report' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"marginome.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
