"""The figures of a screen as SVG, for papers and for Snakemake's own report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from marginome.arrays import read_hdf5
from marginome.figures.before_after import before_after_figure
from marginome.figures.heatmap import heatmap_figure
from marginome.figures.logos import logos_figure
from marginome.figures.profiles import profiles_figure
from marginome.plots import save_figure
from marginome.results import Profiles, read_baselines, read_motif_matrices, read_profiles, single_effects
from marginome.tables import read_effects


class _Screen(NamedTuple):
    """What the figures of a screen are drawn from."""

    table: pd.DataFrame
    singles: np.ndarray | None
    baselines: Mapping[tuple[str, str, str], np.ndarray]
    matrices: pd.DataFrame
    profiles: Sequence[Profiles]


#: Figures of `marginome.figure_names.SCREEN_FIGURES`: (screen, motifs shown) -> figure.
FIGURES: dict[str, Callable[[_Screen, int], Figure]] = {
    "heatmap": lambda screen, top: heatmap_figure(screen.table, screen.singles, top=top),
    "before_after": lambda screen, _: before_after_figure(screen.table, screen.singles, screen.baselines),
    "profiles": lambda screen, _: profiles_figure(screen.profiles, screen.table),
    "logos": lambda screen, top: logos_figure(screen.table, screen.matrices, top=top),
}


def plot_screen(
    *,
    effects: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    baselines: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    top: int,
    files: Mapping[str, str | os.PathLike],
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
    files : mapping of name to path
        SVG to write, by the name of the figure in `FIGURES`.
    """
    table = read_effects(effects)
    matrices = pd.concat([read_motif_matrices(path) for path in motifs], ignore_index=True)
    with read_hdf5(profiles) as handle:
        screen = _Screen(
            table, single_effects(backgrounds, table), read_baselines(baselines), matrices,
            read_profiles(handle, table),
        )  # fmt: skip
        for name, path in files.items():
            save_figure(FIGURES[name](screen, top), path)
