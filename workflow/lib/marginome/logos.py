"""Sequence logos, drawn with matplotlib as vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from marginome.errors import MarginomeError
from marginome.sequences import DNA

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

BASE_COLORS = {"A": "#109648", "C": "#255c99", "G": "#f7b32b", "T": "#d62839"}


LETTER_WIDTH = 0.95  # of a position
LETTERS_PER_PATH = 250  # few paths make small files; Agg cannot fill one of very many vertices
INVISIBLE = 0.001  # of the tallest letter
TRACK_HEIGHT = 0.11  # of the axes, for a bar and its label
LABEL_SIZE = 7  # points


def plot_logo(
    X_attr: torch.Tensor | np.ndarray,
    ax: Axes | None = None,
    color: str | Mapping[str, str] | None = None,
    *,
    annotations: pd.DataFrame | None = None,
    start: int | None = None,
    end: int | None = None,
    ylim: float | tuple[float, float] | None = None,
    n_tracks: int = 4,
    alphabet: Sequence[str] = DNA,
    score_key: str = "score",
    show_score: bool = True,
) -> Axes:
    """Draw values per base and position as a logo: letters as high as their values.

    Letters of a position are stacked outwards from 0 in rising size, negative ones downwards and upside
    down. The x axis counts positions of the whole sequence, also when only a part is drawn; a letter is
    centred on its position.

    Parameters
    ----------
    X_attr : torch.Tensor or numpy.ndarray, shape (4, length)
        Attributions of one sequence, of the bases that are there or hypothetical, or any other weights.
    ax : matplotlib.axes.Axes, optional
        Where to draw; pyplot's current axes by default.
    color : str or mapping, optional
        One colour, or one per letter.
    annotations : pandas.DataFrame, optional
        Spans of this sequence, drawn as bars at the foot of the axes: columns ``start`` and ``end`` (from
        0, end not included). A label is the column ``motif_name`` or ``name``, or else the first column if it
        holds text. Those outside what is drawn are left out.
    start, end : int, optional
        The part to draw; all of it by default.
    ylim : float or (float, float), optional
        Limits of the y axis; one number y is (-y, y). By default what the letters take, and room for the
        annotations below.
    n_tracks : int, default 4
        Rows of annotations at most; those that find no room are drawn on the last without a label.
    alphabet : sequence of str, default A, C, G, T
        The letter of each row.
    score_key : str, default "score"
        Column of `annotations` to show behind the label, where there is one.
    show_score : bool, default True
        Whether to show it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MarginomeError
        Wrong shape, NaN, a span outside the sequence, annotations without start and end, a missing score column.
    """
    values = X_attr.detach().cpu().numpy() if hasattr(X_attr, "detach") else np.asarray(X_attr)
    if values.ndim != 2 or values.shape[0] != len(alphabet) or values.shape[1] == 0:
        remedy = "Choose one sequence, e.g. X_attr[0]." if values.ndim == 3 else None
        raise MarginomeError(f"expected ({len(alphabet)}, length), found {values.shape}", where="X_attr", remedy=remedy)
    length = values.shape[1]
    first, last = 0 if start is None else int(start), length if end is None else int(end)
    if not 0 <= first < last <= length:
        raise MarginomeError(f"there is no span from {first} to {last} in {length} positions", where="start, end")
    values = np.asarray(values[:, first:last], dtype=np.float64)
    if not np.isfinite(values).all():
        raise MarginomeError("there are NaN or infinite values in it", where="X_attr")
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.gca()

    if color is None:
        colors = {letter: BASE_COLORS.get(letter, "0.5") for letter in alphabet}
    else:
        colors = {letter: color if isinstance(color, str) else color[letter] for letter in alphabet}
    low, high = _draw_letters(ax, values, first, alphabet, colors)
    ax.set_xlim(first - 0.6, last - 0.4)

    tracks = 0
    if annotations is not None:
        tracks = _draw_annotations(ax, annotations, first, last, n_tracks, score_key if show_score else None)
    if ylim is not None:
        ax.set_ylim(*((-ylim, ylim) if np.isscalar(ylim) else ylim))
    elif high > low:
        room = min(0.6, tracks * TRACK_HEIGHT)
        ax.set_ylim(low - (high - low) * room / (1 - room), high)
    ax.axhline(0, color="0.3", linewidth=0.5, zorder=0.5)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    return ax


@lru_cache(maxsize=64)
def _glyph(letter: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a letter's outline scaled to the unit square, as vertices and path codes.

    The font is the one that comes with matplotlib, so that figures are alike everywhere.
    """
    outline = TextPath((0, 0), letter, size=100, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = outline.get_extents()
    return (outline.vertices - [box.x0, box.y0]) / [box.width, box.height], outline.codes


def _draw_letters(
    ax: Axes, values: np.ndarray, first: int, alphabet: Sequence[str], colors: Mapping[str, str]
) -> tuple[float, float]:
    """Draw all letters; return the lowest and the highest point of the stacks."""
    smallest = INVISIBLE * np.abs(values).max()
    reach = []
    for sign in (1, -1):
        sizes = np.clip(sign * values, 0, None)
        order = np.argsort(sizes, axis=0, kind="stable")
        stacked = np.take_along_axis(sizes, order, axis=0)
        feet = np.empty_like(sizes)
        np.put_along_axis(feet, order, np.cumsum(stacked, axis=0) - stacked, axis=0)
        reach.append(sign * stacked.sum(axis=0).max())
        for row, letter in enumerate(alphabet):
            vertices, codes = _glyph(letter)
            shown = np.flatnonzero(sizes[row] > smallest)
            paths = []
            for at in np.split(shown, range(LETTERS_PER_PATH, len(shown), LETTERS_PER_PATH)):
                x = (vertices[:, 0] - 0.5) * LETTER_WIDTH + (at + first)[:, None]
                y = sign * (vertices[:, 1] * sizes[row, at][:, None] + feet[row, at][:, None])
                paths.append(Path(np.stack([x, y], axis=2).reshape(-1, 2), np.tile(codes, len(at))))
            if len(shown):
                ax.add_collection(PathCollection(paths, facecolors=colors[letter], edgecolors="none", linewidths=0))
    return reach[1], reach[0]


def _draw_annotations(
    ax: Axes, annotations: pd.DataFrame, first: int, last: int, n_tracks: int, score_key: str | None
) -> int:
    """Draw bars with labels at the foot of the axes; return how many rows they take."""
    missing = [name for name in ("start", "end", score_key) if name and name not in annotations.columns]
    if missing:
        raise MarginomeError(
            f"there is no column {', '.join(missing)} (found {', '.join(map(str, annotations.columns))})",
            where="annotations",
            remedy="Name the column of scores by score_key, or use show_score=False." if score_key in missing else None,
        )
    shown = annotations[(annotations["end"] > first) & (annotations["start"] < last)].sort_values("start")
    if shown.empty:
        return 0
    name = next((c for c in ("motif_name", "name") if c in shown.columns), shown.columns[0])
    names = [str(v) for v in shown[name]] if not pd.api.types.is_numeric_dtype(shown[name]) else [""] * len(shown)
    scores = [f"{v:.3g}" for v in shown[score_key]] if score_key else [""] * len(shown)
    labels = [f"{n} ({s})" if n and s else n or s for n, s in zip(names, scores)]

    # Widths of labels are estimated (a digit is 0.64 of the size), so that nothing has to be drawn to place them.
    inches = ax.get_position().width * ax.figure.get_size_inches()[0]
    positions_per_letter = 0.64 * LABEL_SIZE / 72 / inches * (last - first)
    taken = [-np.inf] * n_tracks
    bars, used = [], 0
    transform = ax.get_xaxis_transform()  # x in positions, y as a fraction of the axes, whatever their limits become
    for left, right, label in zip(shown["start"], shown["end"], labels):
        left, right = max(left, first) - 0.5, min(right, last) - 0.5
        track = next((t for t in range(n_tracks) if taken[t] <= left), None)
        if track is None:
            track, label = n_tracks - 1, ""
        used = max(used, track + 1)
        taken[track] = max(right, left + (len(label) + 1) * positions_per_letter)
        bars.append((track, left, right))
        if label:
            y = (track + 0.78) * TRACK_HEIGHT
            ax.text(left, y, label, fontsize=LABEL_SIZE, transform=transform, va="top", clip_on=True)
    lines = [
        [(left, (track + 0.9) * TRACK_HEIGHT), (right, (track + 0.9) * TRACK_HEIGHT)] for track, left, right in bars
    ]
    ax.add_collection(LineCollection(lines, colors="0.3", linewidths=2, transform=transform), autolim=False)
    return used
