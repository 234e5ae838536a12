"""Figures of a screen for papers: one style, colours that colour-blind readers tell apart, the same bytes every time.

Every function takes the frames and arrays that the screen's files hold and returns a matplotlib `Figure`;
`marginome.plots.save_figure` writes it as SVG or PDF. Names come from users' files and are drawn as they are, never
read as mathematics. Names are loaded when first used: a job depends on the figures that it draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginome.lazy import loader

_PUBLIC = {
    "attributions_figure": "logos",
    "before_after_figure": "before_after",
    "gap_figure": "gaps",
    "heatmap_figure": "heatmap",
    "information": "logos",
    "logos_figure": "logos",
    "profiles_figure": "profiles",
    "strongest": "shared",
}

__all__ = [
    "attributions_figure",
    "before_after_figure",
    "gap_figure",
    "heatmap_figure",
    "information",
    "logos_figure",
    "profiles_figure",
    "strongest",
]

if TYPE_CHECKING:
    from marginome.figures.before_after import before_after_figure
    from marginome.figures.gaps import gap_figure
    from marginome.figures.heatmap import heatmap_figure
    from marginome.figures.logos import attributions_figure, information, logos_figure
    from marginome.figures.profiles import profiles_figure
    from marginome.figures.shared import strongest
else:
    __getattr__ = loader(__name__, _PUBLIC)
