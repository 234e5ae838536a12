"""Composites of motifs against the sum of their motifs: by the number of copies, by position, or by arrangement."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from marginome.errors import MarginomeError
from marginome.figures.shared import MINUS, one_output, styled
from marginome.plots import GREY, SETS

#: Lines of a panel, and panels.
_LINES, _PANELS = 6, 9


@styled
def composite_figure(composites: pd.DataFrame, *, model: str | None = None, output: str | None = None) -> Figure:
    """Effect of composites (line) and the sum of the effects of their motifs alone (dashed).

    Parameters
    ----------
    composites : pandas.DataFrame
        The table of a screen of composites (`marginome.pair_tables.COMPOSITES`).
    model, output : str, optional
        By default the first ones of the table.

    Returns
    -------
    matplotlib.figure.Figure
        A panel an entry of the config (nine at most), of the first background set. Along x stands what varies: how
        many motifs (at the first position), else where they are, else the one gap of all, else the arrangement. Bars:
        twice the standard error over backgrounds. Hollow: a seam. The title says if there are more curves than six.

    Raises
    ------
    MarginomeError
        When there are no composites.
    """
    if composites.empty:
        raise MarginomeError("there are no composites in it", where="composites")
    rows, model, output = one_output(composites, model, output)
    rows = rows[(rows["background"] == rows["background"].iat[0]) & (rows["sample"].fillna(0) == 0)]
    panels = [part for _, part in rows.groupby(["collection", "entry"], sort=False)][:_PANELS]
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * lines + 0.3), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, part in zip(axes, panels):
        _draw_entry(ax, part)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    figure.supylabel(f"effect on {output} ({rows['unit'].iat[0]})\ndashed: sum of the motifs alone", fontsize=7)
    return figure


def _draw_entry(ax, part: pd.DataFrame) -> None:
    """One panel: the composites of one entry."""
    gaps = [str(gaps).split(",") if pd.notna(gaps) else [""] for gaps in part["gaps"]]
    one_gap = all(len(set(some)) == 1 for some in gaps)
    spacing = pd.Series([some[0] for some in gaps], index=part.index)
    if part["n_motifs"].nunique() > 1:
        x, label, line = part["n_motifs"], "copies", "gap " + spacing + ", " + part["orientations"].str[0]
        part = part[part["position"] == part["position"].min()]
    elif part["position"].nunique() > 1:
        # The name of a composite has its orientations, that of a motif alone has not.
        single = part["n_motifs"] == 1
        x, label = part["start"], "first base (bp)"
        line = part["motif_name"] + part["orientations"].where(single, "")
    elif one_gap and spacing.nunique() > 1:
        x, label, line = spacing.astype(int), "bases between neighbours", part["orientations"]
    else:
        x, label, line = pd.Series(range(len(part)), index=part.index), "", pd.Series("", index=part.index)
        ax.set_xticks(x, part["motif_name"].str.replace("-", MINUS), rotation=30, ha="right", fontsize=5)
    part = part.assign(x=x, line=line)
    alone = part[part["n_motifs"] == 1] if label == "copies" else part[:0]
    curves = list(part.drop(alone.index).groupby("line", sort=False))
    for i, (name, some) in enumerate(curves[:_LINES]):
        # a motif alone is the first of every curve of its copies
        some = pd.concat([some, alone[alone["orientations"] == str(name)[-1:]]]).sort_values("x")
        style = "none" if label == "" else "-"
        ax.errorbar(some["x"], some["effect"], 2 * some["effect_se"], color=SETS[i], linewidth=0.9, linestyle=style,
                    elinewidth=0.6, label=str(name).strip().replace("-", MINUS))  # fmt: skip
        ax.plot(some["x"], some["additive"], color=SETS[i], linewidth=0.8, linestyle="--" if label else "none",
                marker="" if label else "_", markersize=9)  # fmt: skip
        for seam, fill in ((False, SETS[i]), (True, "white")):
            mine = some[some["seam"].notna() == seam]
            ax.plot(mine["x"], mine["effect"], "o", color=SETS[i], markersize=2.6, markerfacecolor=fill)
    ax.axhline(0, color=GREY, linewidth=0.6)
    ax.set_xlabel(label, fontsize=7)
    title = part["motif_name"].iat[0].replace("-", MINUS) if label else ""
    title += " and so on" if label == "bases between neighbours" else ""
    if len(curves) > _LINES:
        title += f"\nthe first {_LINES} of {len(curves)} curves"
    ax.set_title(title, fontsize=6)
    if label and len(ax.lines) > 3:
        ax.legend(fontsize=5)
