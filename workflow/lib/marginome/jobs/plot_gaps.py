"""The figures of a screen of pairs: effect and profile against gap."""

from __future__ import annotations

import os

from marginome.arrays import read_hdf5
from marginome.figures.gaps import gap_figure, gap_profiles_figure
from marginome.plots import save_figure
from marginome.results import read_profiles
from marginome.tables import read_effects


def plot_gaps(
    *,
    effects: str | os.PathLike,
    profiles: str | os.PathLike,
    top: int,
    figure: str | os.PathLike,
    profiles_figure: str | os.PathLike,
) -> None:
    """Draw the effect of pairs, and what they do to the profile, against their gap.

    Parameters
    ----------
    effects, profiles : path
        Effect table and mean profiles of a screen of pairs.
    top : int
        Pairs shown; of profiles at most 3.
    figure, profiles_figure : path
        SVG to write.
    """
    table = read_effects(effects)
    save_figure(gap_figure(table, top=top), figure)
    with read_hdf5(profiles) as handle:
        save_figure(gap_profiles_figure(read_profiles(handle, table), table, top=min(top, 3)), profiles_figure)
