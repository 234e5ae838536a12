"""The effect of pairs of motifs against the bases between them."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from marginome.errors import MarginomeError
from marginome.figures.shared import one_output, styled, unit_of
from marginome.plots import GREY, SETS


@styled
def gap_figure(effects: pd.DataFrame, *, model: str | None = None, output: str | None = None, top: int = 6) -> Figure:
    """Effect of pairs of motifs against the bases between them, with 95 % intervals.

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
        A panel per pair; a line per arrangement of orientations, of the first background set.

    Raises
    ------
    MarginomeError
        When there are no pairs.
    """
    rows, model, output = one_output(effects.reset_index(drop=True), model, output)
    if "gap" not in rows or rows["gap"].isna().all():
        raise MarginomeError("there are no pairs of motifs in it", where="effects")
    rows = rows[rows["gap"].notna() & (rows["background"] == rows["background"].iat[0])]
    pair = [c for c in ("collection", "motif_id", "partner_id") if c in rows]
    order = rows["effect"].abs().groupby([rows[c] for c in pair], sort=False).max().sort_values(ascending=False).index
    shown = list(order[:top])
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.4, 2.1 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    arrange = [c for c in ("orientation", "partner_orientation", "order") if c in rows]
    styles = {key: i for i, key in enumerate(rows[arrange].drop_duplicates().itertuples(index=False, name=None))}
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    for ax, key in zip(axes, shown):
        part = rows[(rows[pair] == pd.Series(key, index=pair)).all(axis=1)]
        for arrangement, line in part.groupby(arrange, sort=False, dropna=False):
            line, i = line.sort_values("gap"), styles[tuple(arrangement)]
            text = " ".join(str(a) for a in arrangement if str(a) != "given").replace("-", "\u2212")
            ax.fill_between(line["gap"], line["ci_low"], line["ci_high"], color=SETS[i % 6], alpha=0.15, linewidth=0)
            ax.plot(
                line["gap"],
                line["effect"],
                color=SETS[i % 6],
                marker="os^Dv<>p"[i % 8],
                markersize=3,
                linewidth=1,
                label=text,
            )
        ax.axhline(0, color=GREY, linewidth=0.6)
        name = part["motif_name"].iat[0] if "motif_name" in part else part["motif_id"].iat[0]
        ax.set_title(f"{name} with {part['partner_id'].iat[0]}")
    axes[0].legend(title="orientations", ncols=2, title_fontsize=7)
    figure.supxlabel("bases between the two motifs", fontsize=8)
    figure.supylabel(f"effect on {output} ({unit_of(rows)})", fontsize=8)
    return figure
