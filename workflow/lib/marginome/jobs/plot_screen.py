"""The figures of a screen as SVG, for papers and for Snakemake's own report."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd

from marginome import figures
from marginome.arrays import read_hdf5
from marginome.plots import save_figure
from marginome.results import read_baselines, read_motif_matrices, read_profiles, single_effects
from marginome.tables import read_effects


def plot_screen(
    *,
    effects: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    baselines: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    top: int,
    heatmap: str | os.PathLike,
    before_after: str | os.PathLike,
    profile_figure: str | os.PathLike,
    logos: str | os.PathLike,
) -> None:
    """Draw what a reader looks at first: heatmap, before against after, profiles, and what was put in.

    Parameters
    ----------
    effects, backgrounds, profiles : path
        Tables of `summarize_screen`.
    baselines : sequence of path
        Predictions on the backgrounds.
    motifs : sequence of path
        Tables of the collections.
    top : int
        Motifs shown.
    heatmap, before_after, profile_figure, logos : path
        SVG to write.
    """
    table = read_effects(effects)
    singles = single_effects(backgrounds, table)
    matrices = pd.concat([read_motif_matrices(path) for path in motifs], ignore_index=True)
    save_figure(figures.heatmap_figure(table, singles, top=top), heatmap)
    save_figure(figures.before_after_figure(table, singles, read_baselines(baselines)), before_after)
    save_figure(figures.logos_figure(table, matrices, top=top), logos)
    with read_hdf5(profiles) as handle:
        save_figure(figures.profiles_figure(read_profiles(handle, table), table), profile_figure)
