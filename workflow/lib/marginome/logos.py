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

from marginome.bases import BASES
from marginome.errors import MarginomeError

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
    color: str | Mapping[str, str] | np.ndarray | Sequence | None = None,
    color_cmap: str = "viridis",
    color_vmin: float | None = None,
    color_vmax: float | None = None,
    annotations: pd.DataFrame | None = None,
    start: int | None = None,
    end: int | None = None,
    ylim: float | tuple[float, float] | None = None,
    spacing: float = 0,
    n_tracks: int = 4,
    alphabet: Sequence[str] = tuple(BASES),
    min_height_pct: float = INVISIBLE,
    score_key: str = "score",
    show_extra: bool = True,
    show_score: bool = True,
    annot_cmap: str | Sequence | None = None,
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
    color : str, mapping or array, optional
        One colour; one per letter; or one per position of `X_attr` (before `start` and `end`): numbers, which are
        coloured by `color_cmap`, or names, hex codes, (length, 3 or 4) RGB(A).
    color_cmap, color_vmin, color_vmax : str and float, optional
        Colour map of numbers, and what its ends stand for; by default the least and the largest of them.
    annotations : pandas.DataFrame, optional
        Spans of this sequence, drawn as bars at the foot of the axes: columns ``start`` and ``end`` (from
        0, end not included). A label is the column ``motif_name`` or ``name``, or else the first column if it
        holds text. Those outside what is drawn are left out.
    start, end : int, optional
        The part to draw; all of it by default.
    ylim : float or (float, float), optional
        Limits of the y axis; one number y is (-y, y). By default what the letters take, and room for the
        annotations below.
    spacing : float, default 0
        Positions kept free between two annotations in a row.
    n_tracks : int, default 4
        Rows of annotations at most.
    alphabet : sequence of str, default A, C, G, T
        The letter of each row.
    min_height_pct : float, default 0.001
        Letters below this fraction of the tallest are left out.
    score_key : str, default "score"
        Column of `annotations` to show behind the label, where there is one.
    show_extra : bool, default True
        Whether annotations that find no room are drawn all the same, on the last row without a label.
    show_score : bool, default True
        Whether to show the score.
    annot_cmap : str or sequence of colours, optional
        Colours of the rows of annotations: a qualitative colour map of matplotlib or a list; grey by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MarginomeError
        Wrong shape, NaN, a span outside the sequence, annotations without start and end, a missing score column.
    """
    if hasattr(X_attr, "detach"):
        from marginome.sequences import refuse_meta  # with PyTorch, 2 s of a job that draws arrays

        refuse_meta(X_attr, "X_attr")
        X_attr = X_attr.detach().cpu()
    values = np.asarray(X_attr)
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

    colors = _letter_colors(color, alphabet, length, color_cmap, color_vmin, color_vmax)
    low, high = _draw_letters(ax, values, first, alphabet, [c[first:last] for c in colors], min_height_pct)
    ax.set_xlim(first - 0.6, last - 0.4)

    tracks = 0
    if annotations is not None:
        rows = _row_colors(annot_cmap, n_tracks)
        score = score_key if show_score else None
        tracks = _draw_annotations(ax, annotations, first, last, rows, score, spacing, show_extra)
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


def _letter_colors(
    color: object, alphabet: Sequence[str], length: int, cmap: str, low: float | None, high: float | None
) -> list[np.ndarray]:
    """Return the RGBA of each letter at each position, one array (length, 4) per letter."""
    import matplotlib
    from matplotlib.colors import Normalize, to_rgba, to_rgba_array

    try:
        if color is None or isinstance(color, str | Mapping):
            usual = {letter: BASE_COLORS.get(letter, "0.5") for letter in alphabet}
            one = {letter: color for letter in alphabet} if isinstance(color, str) else color or usual
            return [np.tile(to_rgba(one[letter]), (length, 1)) for letter in alphabet]
        each = np.asarray(color)
        if each.ndim == 1 and each.dtype.kind in "fiub":
            ends = Normalize(each.min() if low is None else low, each.max() if high is None else high)
            each = matplotlib.colormaps[cmap](ends(each.astype(np.float64)))
        each = to_rgba_array(each)
    except (KeyError, ValueError, TypeError) as error:
        raise MarginomeError(f"not a colour: {error}", where="color, color_cmap") from error
    if len(each) != length:
        raise MarginomeError(f"{len(each)} colours for {length} positions", where="color")
    return [each] * len(alphabet)


def _row_colors(annot_cmap: str | Sequence | None, n_tracks: int) -> list:
    """Return a colour per row of annotations."""
    import matplotlib

    if annot_cmap is None:
        return ["0.3"] * n_tracks
    if isinstance(annot_cmap, str):
        if annot_cmap not in matplotlib.colormaps:
            raise MarginomeError(f"matplotlib has no colour map '{annot_cmap}'", where="annot_cmap")
        annot_cmap = matplotlib.colormaps[annot_cmap]
    given = list(getattr(annot_cmap, "colors", annot_cmap if isinstance(annot_cmap, list | tuple) else []))
    if not given:
        raise MarginomeError(
            "expected a qualitative colour map (such as Set1) or a list of colours", where="annot_cmap"
        )
    return [given[i % len(given)] for i in range(n_tracks)]


def _draw_letters(
    ax: Axes, values: np.ndarray, first: int, alphabet: Sequence[str], colors: Sequence[np.ndarray], least: float
) -> tuple[float, float]:
    """Draw all letters; return the lowest and the highest point of the stacks."""
    smallest = least * np.abs(values).max()
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
            paths, faces = [], []
            for at in _of_one_color(shown, colors[row]):
                x = (vertices[:, 0] - 0.5) * LETTER_WIDTH + (at + first)[:, None]
                y = sign * (vertices[:, 1] * sizes[row, at][:, None] + feet[row, at][:, None])
                paths.append(Path(np.stack([x, y], axis=2).reshape(-1, 2), np.tile(codes, len(at))))
                faces.append(colors[row][at[0]])
            if len(shown):
                ax.add_collection(PathCollection(paths, facecolors=faces, edgecolors="none", linewidths=0))
    return reach[1], reach[0]


def _of_one_color(shown: np.ndarray, colors: np.ndarray) -> list[np.ndarray]:
    """Divide positions into runs of one colour, none longer than a path may be."""
    if not len(shown):
        return []
    changes = np.flatnonzero((np.diff(colors[shown], axis=0) != 0).any(axis=1)) + 1
    runs = np.split(shown, changes)
    return [part for run in runs for part in np.split(run, range(LETTERS_PER_PATH, len(run), LETTERS_PER_PATH))]


def _draw_annotations(
    ax: Axes,
    annotations: pd.DataFrame,
    first: int,
    last: int,
    rows: Sequence,
    score_key: str | None,
    spacing: float,
    show_extra: bool,
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
    n_tracks = len(rows)
    taken = [-np.inf] * n_tracks
    bars, used = [], 0
    transform = ax.get_xaxis_transform()  # x in positions, y as a fraction of the axes, whatever their limits become
    for left, right, label in zip(shown["start"], shown["end"], labels):
        left, right = max(left, first) - 0.5, min(right, last) - 0.5
        track = next((t for t in range(n_tracks) if taken[t] <= left), None)
        if track is None:
            if not show_extra:
                continue
            track, label = n_tracks - 1, ""
        used = max(used, track + 1)
        taken[track] = max(right, left + (len(label) + 1) * positions_per_letter) + spacing
        bars.append((track, left, right))
        if label:
            y = (track + 0.78) * TRACK_HEIGHT
            color = "black" if rows[track] == "0.3" else rows[track]
            ax.text(left, y, label, fontsize=LABEL_SIZE, color=color, transform=transform, va="top", clip_on=True)
    lines = [
        [(left, (track + 0.9) * TRACK_HEIGHT), (right, (track + 0.9) * TRACK_HEIGHT)] for track, left, right in bars
    ]
    colors = [rows[track] for track, _, _ in bars]
    ax.add_collection(LineCollection(lines, colors=colors, linewidths=2, transform=transform), autolim=False)
    return used
