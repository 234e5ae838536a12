"""The figure of a screen of pairs: effect against gap."""

from __future__ import annotations

import os

from marginome.figures.gaps import gap_figure
from marginome.plots import save_figure
from marginome.tables import read_effects


def plot_gaps(*, effects: str | os.PathLike, top: int, figure: str | os.PathLike) -> None:
    """Draw the effect of pairs against their gap.

    Parameters
    ----------
    effects : path
        Effect table of a screen of pairs.
    top : int
        Pairs shown.
    figure : path
        SVG to write.
    """
    save_figure(gap_figure(read_effects(effects), top=top), figure)
