"""Pages to look at: one interactive page per screen, plain pages for checks and tables, and the overview.

Every page is one HTML file that opens from disk and asks for nothing else. Charts are drawn by Apache ECharts 6.1.0
(Apache-2.0, assets/vendor), embedded in the page.
"""

from __future__ import annotations

from marginome.report.methods import methods_paragraph
from marginome.report.overview import Badge, Entry, Link, ScreenEntry, Section, write_overview, write_page
from marginome.report.screen import AttributionLogos, Packed, Profiles, write_report

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
