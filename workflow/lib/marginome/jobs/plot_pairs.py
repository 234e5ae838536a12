"""The figures of a screen of pairs that were judged: interaction against gap, pairs by outputs, single backgrounds."""

from __future__ import annotations

import os
from collections.abc import Sequence

from marginome.figures.pairs import interaction_figure, pair_backgrounds_figure, pairs_figure
from marginome.plots import save_figure
from marginome.storage import read_table


def plot_pairs(
    *,
    pairs: str | os.PathLike,
    arrangements: str | os.PathLike,
    backgrounds: str | os.PathLike,
    top: int,
    interactions: Sequence[str | os.PathLike],
    heatmap: Sequence[str | os.PathLike],
    strips: Sequence[str | os.PathLike],
) -> None:
    """Draw what `score_screen_pairs` wrote.

    Parameters
    ----------
    pairs, arrangements, backgrounds : path
        Its tables.
    top : int
        Pairs shown.
    interactions, heatmap, strips : sequence of path
        SVG and PDF to write.
    """
    table = read_table(pairs)
    for figure, paths in (
        (interaction_figure(table, read_table(arrangements), top=min(top, 6)), interactions),
        (pairs_figure(table, top=top), heatmap),
        (pair_backgrounds_figure(table, read_table(backgrounds), top=min(top, 6)), strips),
    ):
        for path in paths:
            save_figure(figure, path)
