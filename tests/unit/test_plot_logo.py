"""`plot_logo`: what is drawn is read back from the figure."""

from __future__ import annotations

import io
import time

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection, PathCollection

from marginome import MarginomeError, plot_logo, recursive_seqlets


@pytest.fixture
def ax():
    figure, ax = plt.subplots(figsize=(10, 3))
    yield ax
    plt.close(figure)


def letters(ax) -> list[tuple[float, float, float, float]]:
    """Left, right, bottom and top of every drawn letter, by position."""
    boxes = []
    for collection in ax.collections:
        if type(collection) is not PathCollection:
            continue
        for path in collection.get_paths():
            starts = np.flatnonzero(path.codes == 1)
            for part in np.split(path.vertices, starts[1:]):
                part = part[np.isfinite(part).all(axis=1)]
                boxes.append((part[:-1, 0].min(), part[:-1, 0].max(), part[:-1, 1].min(), part[:-1, 1].max()))
    return sorted(boxes)


def colors(ax) -> set[str]:
    drawn = [c for c in ax.collections if type(c) is PathCollection]
    return {matplotlib.colors.to_hex(c) for collection in drawn for c in collection.get_facecolors()}


def test_letters_stand_where_and_as_high_as_they_should(ax):
    # C, G and T have one outline each; A has a hole.
    X = torch.zeros(4, 6)
    X[1, 0], X[2, 2], X[3, 2], X[1, 5], X[3, 5], X[2, 5] = 2.0, 1.0, 0.5, -1.5, -0.25, 0.75
    assert plot_logo(X, ax=ax) is ax
    expected = sorted([(0, 0.0, 2.0), (2, 0.0, 0.5), (2, 0.5, 1.5), (5, -0.25, 0.0), (5, -1.75, -0.25), (5, 0.0, 0.75)])
    drawn = sorted((round((left + right) / 2), low, high) for left, right, low, high in letters(ax))
    np.testing.assert_allclose(drawn, expected, atol=1e-6)
    assert all(0.9 < right - left <= 1 for left, right, _, _ in letters(ax))
    assert ax.get_ylim() == (-1.75, 2.0)
    assert ax.get_xlim() == pytest.approx((-0.6, 5.6))


def test_a_part_keeps_its_coordinates(ax):
    X = np.zeros((4, 100))
    X[1, [10, 40, 60]] = 1, 5, 1
    plot_logo(X, ax=ax, start=35, end=61)
    assert [round((left + right) / 2) for left, right, _, _ in letters(ax)] == [40, 60]
    assert ax.get_xlim() == pytest.approx((34.4, 60.6))


def test_colors(ax):
    X = np.eye(4)
    plot_logo(X, ax=ax, color="#123456")
    assert colors(ax) == {"#123456"}
    other = plt.figure().gca()
    plot_logo(X, ax=other, color={"A": "#000001", "C": "#000002", "G": "#000003", "T": "#000004"})
    assert colors(other) == {f"#00000{i}" for i in range(1, 5)}
    third = plt.figure().gca()
    assert plot_logo(X) is third and len(colors(third)) == 4
    plt.close("all")


def test_annotations_of_seqlets(ax):
    random = np.random.RandomState(0)
    X = np.zeros((4, 500))
    X[0] = random.laplace(scale=0.01, size=500)
    X[0, 100:110] += 1
    X[0, 150:158] -= 1
    seqlets = recursive_seqlets(X.sum(axis=0)[None])
    plot_logo(X, ax=ax, start=90, end=200, annotations=seqlets, score_key="attribution")
    plt.sca(ax)
    plt.ylim(-0.5, 0.5)  # as the tutorial does afterwards: bars stay at the foot of the axes
    (bars,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    spans = sorted((s[0][0] + 0.5, s[1][0] + 0.5) for s in bars.get_segments())
    inside = seqlets[(seqlets["end"] > 90) & (seqlets["start"] < 200)]
    assert (
        spans == sorted((max(s, 90), min(e, 200)) for s, e in zip(inside["start"], inside["end"])) and len(spans) >= 2
    )
    assert {t.get_text() for t in ax.texts} <= {f"{a:.3g}" for a in inside["attribution"]}
    heights = [y for segment in bars.get_segments() for y in segment[:, 1]]
    assert 0 < min(heights) and max(heights) < 1


def test_annotations_that_overlap_get_tracks_of_their_own(ax):
    table = pd.DataFrame({"name": list("abcdef"), "start": [0, 5, 10, 15, 18, 60], "end": [30, 30, 30, 30, 30, 70]})
    plot_logo(np.eye(4)[:, [0, 1, 2, 3] * 25], ax=ax, annotations=table, show_score=False, n_tracks=3)
    (bars,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    tracks = [segment[0, 1] for segment in bars.get_segments()]
    assert len(set(tracks[:3])) == 3 and tracks[5] == tracks[0] and len(set(tracks)) == 3
    assert [t.get_text() for t in ax.texts] == ["a", "b", "c", "f"]
    assert ax.get_ylim()[0] < 0  # room for them


def test_colours_by_position(ax):
    X = np.eye(4)[:, [0, 1, 2, 3] * 3] * [[1.0], [0.5], [1.0], [1.0]]
    numbers = np.arange(12.0)
    plot_logo(X, ax=ax, color=numbers, color_cmap="magma", color_vmax=20, start=2, end=9)
    want = {matplotlib.colors.to_hex(matplotlib.colormaps["magma"](v / 20)) for v in numbers[2:9]}
    assert colors(ax) == want
    ax.clear()
    plot_logo(X, ax=ax, color=["red"] * 6 + ["#0000ff"] * 6)
    assert colors(ax) == {"#ff0000", "#0000ff"}
    reds = [box for c in ax.collections for p, f in zip(c.get_paths(), c.get_facecolors()) if f[0] == 1 for box in [p]]
    assert max(path.vertices[:, 0].max() for path in reds) < 6
    ax.clear()
    plot_logo(X, ax=ax, min_height_pct=0.6)
    assert {round((left + right) / 2) % 4 for left, right, _, _ in letters(ax)} == {0, 2, 3}  # C is half as high


def test_rows_of_annotations(ax):
    table = pd.DataFrame({"name": list("abc"), "start": [0, 0, 0], "end": [30, 30, 30]})
    X = np.eye(4)[:, [0, 1, 2, 3] * 25]
    plot_logo(X, ax=ax, annotations=table, show_score=False, n_tracks=2, show_extra=False, annot_cmap=["r", "b"])
    (bars,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert len(bars.get_segments()) == 2
    assert [matplotlib.colors.to_hex(c) for c in bars.get_colors()] == ["#ff0000", "#0000ff"]
    assert [t.get_color() for t in ax.texts] == ["r", "b"]
    ax.clear()
    table = pd.DataFrame({"name": list("abc"), "start": [0, 0, 40], "end": [30, 30, 60]})  # no room for b, but for c
    plot_logo(X, ax=ax, annotations=table, show_score=False, n_tracks=1, show_extra=False)
    assert [t.get_text() for t in ax.texts] == ["a", "c"]
    for spacing, rows in ((0, 1), (5, 2)):  # neighbours
        ax.clear()
        near = pd.DataFrame({"name": ["", ""], "start": [0, 30], "end": [30, 60]})
        plot_logo(X, ax=ax, annotations=near, show_score=False, spacing=spacing, annot_cmap="Set1")
        (bars,) = [c for c in ax.collections if isinstance(c, LineCollection)]
        assert len({segment[0, 1] for segment in bars.get_segments()}) == rows


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_two_thousand_positions_are_fast(ax, kind):
    X = np.random.RandomState(0).normal(size=(4, 2000))
    plot_logo(X[:, :10], ax=ax)  # fonts are loaded once
    began = time.process_time()
    figure, fresh = plt.subplots(figsize=(12, 2))
    plot_logo(X, ax=fresh)
    out = io.BytesIO()
    figure.savefig(out, format=kind)
    assert time.process_time() - began < 10
    if kind == "svg":
        assert b"<image" not in out.getvalue()  # vectors
    plt.close(figure)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, t: plot_logo(X[None]), r"X_attr\[0\]"),
        (lambda X, t: plot_logo(X.T), r"expected \(4, length\), found \(20, 4\)"),
        (lambda X, t: plot_logo(X * np.nan), "NaN"),
        (lambda X, t: plot_logo(X, start=5, end=5), "no span from 5 to 5"),
        (lambda X, t: plot_logo(X, end=21), "0 to 21 in 20 positions"),
        (lambda X, t: plot_logo(X, annotations=t), r"no column score \(found start, end\).*show_score=False"),
        (lambda X, t: plot_logo(X, annotations=t[["end"]], show_score=False), "no column start"),
        (lambda X, t: plot_logo(X, color=np.arange(19)), "19 colours for 20 positions"),
        (lambda X, t: plot_logo(X, color="no such"), "not a colour"),
        (lambda X, t: plot_logo(X, color={"A": "red"}), "not a colour: 'C'"),
        (lambda X, t: plot_logo(X, color=np.arange(20), color_cmap="none"), "not a colour"),
        (lambda X, t: plot_logo(X, annotations=t, show_score=False, annot_cmap="viridis_x"), "no colour map"),
    ],
)
def test_bad_input(call, message, ax):
    with pytest.raises(MarginomeError, match=message):
        call(np.ones((4, 20)), pd.DataFrame({"start": [1], "end": [3]}))
