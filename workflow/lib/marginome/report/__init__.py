"""Pages to look at: one interactive page per screen, plain pages for checks and tables, and the overview.

Every page is one HTML file that opens from disk and asks for nothing else. Charts are drawn by Apache ECharts 6.1.0
(Apache-2.0, assets/vendor), embedded in the page.
"""

from __future__ import annotations

from marginome.report.methods import methods_paragraph
from marginome.report.overview import Entry, ScreenEntry, write_overview
from marginome.report.packing import AttributionLogos
from marginome.report.parts import Badge, Link
from marginome.report.plain import Section, write_page
from marginome.report.screen import Packed, write_report
from marginome.results import Profiles

__all__ = [
    "AttributionLogos",
    "Badge",
    "Entry",
    "Link",
    "Packed",
    "Profiles",
    "ScreenEntry",
    "Section",
    "methods_paragraph",
    "write_overview",
    "write_page",
    "write_report",
]
