"""The page of a screen of many models: families of motifs by models, and the way to each model's own page."""

from __future__ import annotations

from marginome.report.atlas.writing import write_atlas

__all__ = ["write_atlas"]
