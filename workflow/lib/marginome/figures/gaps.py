"""The effect of pairs of motifs, and their profile, against the bases between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from marginome.errors import MarginomeError
from marginome.figures.shared import MINUS, nothing, one_output, position_label, styled, unit_of
from marginome.plots import GREY, SETS

if TYPE_CHECKING:
    from marginome.results import Profiles

#: Bases beside the widest pair that are drawn of a profile.
_AROUND = 100
_ARRANGEMENT = ["orientation", "partner_orientation", "order"]


@styled
def gap_figure(effects: pd.DataFrame, *, model: str | None = None, output: str | None = None, top: int = 6) -> Figure:
    """Effect of pairs of motifs against the bases between them, with 95 % intervals over backgrounds.

    Parameters
    ----------
    effects : pandas.DataFrame
        The effect table of a screen with pairs (columns ``partner_id``, ``partner_orientation``, ``gap``).
    model, output : str, optional
        By default the first ones of the table.
    top : int, default 6
        Pairs shown, those with the largest effect first.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per pair and position; a line per arrangement of orientations, of the first background set. Of an
        ensemble bars are the standard deviation between its members (folds).

    Raises
    ------
    MarginomeError
        When there are no pairs.
    """
    rows, model, output = one_output(effects.reset_index(drop=True), model, output)
    if "gap" not in rows or rows["gap"].isna().all():
        raise MarginomeError("there are no pairs of motifs in it", where="effects")
    rows = rows[rows["gap"].notna() & (rows["background"] == rows["background"].iat[0])]
    pair = [c for c in ("collection", "motif_id", "partner_id", "position") if c in rows]
    several = "position" in rows and rows["position"].nunique() > 1
    order = rows["effect"].abs().groupby([rows[c] for c in pair], sort=False).max().sort_values(ascending=False).index
    shown = list(order[:top])
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.4, 2.1 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    arrange = [c for c in ("orientation", "partner_orientation", "order") if c in rows]
    styles = {key: i for i, key in enumerate(sorted(set(rows[arrange].itertuples(index=False, name=None))))}
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    for ax, key in zip(axes, shown):
        part = rows[(rows[pair] == pd.Series(key, index=pair)).all(axis=1)]
        for arrangement, line in part.groupby(arrange):
            line, i = line.sort_values("gap"), styles[tuple(arrangement)]
            text = " ".join(str(a) for a in arrangement if str(a) != "given").replace("-", "\u2212")
            ax.fill_between(line["gap"], line["ci_low"], line["ci_high"], color=SETS[i % 6], alpha=0.15, linewidth=0)
            folds = line.get("effect_fold_sd")
            ax.errorbar(
                line["gap"],
                line["effect"],
                folds if folds is not None and folds.notna().any() else None,
                elinewidth=0.7,
                color=SETS[i % 6],
                marker="os^Dv<>p"[i % 8],
                markersize=3,
                linewidth=1,
                label=text,
            )
        ax.axhline(0, color=GREY, linewidth=0.6)
        name = part["motif_name"].iat[0] if "motif_name" in part else part["motif_id"].iat[0]
        place = f", position {part['position'].iat[0]}" if several else ""
        ax.set_title(f"{name} with {part['partner_id'].iat[0]}{place}")
    axes[0].legend(title="orientations", ncols=2, title_fontsize=7)
    figure.supxlabel("bases between the two motifs (bp)", fontsize=8)
    figure.supylabel(f"effect on {output} ({unit_of(rows)})", fontsize=8)
    return figure


@styled
def gap_profiles_figure(profiles: Sequence[Profiles], effects: pd.DataFrame, *, top: int = 3) -> Figure:
    """What pairs of motifs do to the mean profile, gap by gap.

    Parameters
    ----------
    profiles : sequence of marginome.results.Profiles
        One per model, background set and output; the first is drawn.
    effects : pandas.DataFrame
        The effect table that the profiles' rows count in.
    top : int, default 3
        Pairs shown, those with the largest effect on that profile first.

    Returns
    -------
    matplotlib.figure.Figure
        A row a pair, a column an arrangement of orientations; in each gaps by positions. Colour: mean probability
        after - before, both strands together. Black lines: where the two motifs stand. Of pairs outside the profile all
        of it is drawn. Where the bases of a value are not known all values are drawn, counted, and no lines. Without
        profiles the figure says so.

    Raises
    ------
    MarginomeError
        When there are no pairs.
    """
    if "gap" not in effects or effects["gap"].isna().all():
        raise MarginomeError("there are no pairs of motifs in it", where="effects")
    if not profiles:
        return nothing("There are no profiles in this screen.")
    block, effects = profiles[0], effects.reset_index(drop=True)
    rows = effects.loc[block.rows].assign(at=np.arange(len(block.rows)))
    motif = ["collection", "motif_id"]  # another collection may have the id for a motif of another width
    alone = rows[rows["partner_id"].isna()].drop_duplicates(motif).set_index(motif)
    widths = alone["insert"].str.len()
    rows = rows[rows["partner_id"].notna()]
    key = ["collection", "motif_id", "partner_id", "position"]
    size = rows["effect"].abs().groupby([rows[c] for c in key], sort=False).max().sort_values(ascending=False)
    shown = list(size.index[:top])
    kinds = sorted(set(rows[_ARRANGEMENT].itertuples(index=False, name=None)))
    before = np.asarray(block.before).sum(axis=0)
    figure = Figure(figsize=(2.3 * len(kinds) + 1.3, 2.1 * len(shown) + 0.5), layout="constrained")
    axes = figure.subplots(len(shown), len(kinds), squeeze=False)
    for i, (line, name) in enumerate(zip(axes, shown)):
        mine = rows[(rows[key] == pd.Series(name, index=key)).all(axis=1)]
        two = (name[0], name[1]), (name[0], name[2])
        ends = (mine["start"].min() - _AROUND, (mine["start"] + mine["insert"].str.len()).max() + _AROUND)
        part = _window(block, *(int(end) for end in ends))
        change = {row.Index: np.asarray(block.after[row.at]).sum(axis=0)[part] - before[part]
                  for row in mine.itertuples()}  # fmt: skip
        limit = max(float(np.abs(values).max()) for values in change.values()) or 1.0
        x = (block.first if block.step else 0) + (block.step or 1) * np.arange(part.start, part.stop + 1)
        for ax, kind in zip(line, kinds):
            some = mine[(mine[_ARRANGEMENT] == list(kind)).all(axis=1)].sort_values("gap")
            if some.empty:
                ax.set_visible(False)
                continue
            image = ax.pcolormesh(x, np.arange(len(some) + 1) - 0.5, np.stack([change[k] for k in some.index]),
                                  cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True)  # fmt: skip
            left, right = (widths[one] for one in (two[::-1] if kind[2] == "swapped" else two))
            for y, row in enumerate(some.itertuples() if block.step else ()):
                for start, width in ((row.start, left), (row.start + left + row.gap, right)):
                    ax.plot([start, start + width], [y, y], color="black", linewidth=0.8, solid_capstyle="butt")
            step = -(-len(some) // 8)
            ax.set_yticks(range(0, len(some), step), some["gap"].astype(int).iloc[::step])
            ax.set_xlim(x[0], x[-1])
            ax.locator_params(axis="x", nbins=4)
            if i == 0:
                arrows = [f"A{kind[0]}", f"B{kind[1]}"]
                ax.set_title(" ".join(arrows[::-1] if kind[2] == "swapped" else arrows).replace("-", MINUS))
        partner = alone.loc[two[1], "motif_name"]
        line[0].set_ylabel(f"{mine['motif_name'].iat[0]} (A) with\n{partner} (B)", fontsize=7)
        bar = figure.colorbar(image, ax=list(line), shrink=0.9)
        bar.set_label(f"change of probability, {block.output}", fontsize=7)
    figure.supxlabel(position_label(block.step), fontsize=8)
    figure.supylabel("bases between the two motifs (bp)", fontsize=8)
    return figure


def _window(block: Profiles, first: int, last: int) -> slice:
    """The values of a profile that are of the bases from `first` to before `last`; all if none is or it is unknown."""
    n = block.before.shape[-1]
    if not block.step:
        return slice(0, n)
    part = slice(max(0, (first - block.first) // block.step), min(n, -(-(last - block.first) // block.step)))
    return part if part.start < part.stop else slice(0, n)
