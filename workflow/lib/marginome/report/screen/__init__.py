"""The interactive page of one screen: what goes into it, its words, its scripts. Charts are Apache ECharts' 6.1.0.

ECharts (Apache-2.0, assets/vendor) is embedded in the page, so that it opens from disk and asks for nothing.
"""

from __future__ import annotations

from marginome.report.screen.methods import methods_paragraph
from marginome.report.screen.packing import AttributionLogos
from marginome.report.screen.pairs import JudgedPairs
from marginome.report.screen.writing import Packed, write_report

__all__ = ["AttributionLogos", "JudgedPairs", "Packed", "methods_paragraph", "write_report"]
