"""Pairs of motifs: what they do together against the bases between them, and which of them cooperate where."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage

from marginome.errors import MarginomeError
from marginome.figures.shared import MINUS, nothing, one_output, styled
from marginome.plots import GREY, SETS


@styled
def interaction_figure(
    pairs: pd.DataFrame,
    arrangements: pd.DataFrame,
    *,
    model: str | None = None,
    output: str | None = None,
    top: int = 6,
) -> Figure:
    """Interaction of pairs of motifs against the bases between them, beside what is expected of pairs that do not care.

    Parameters
    ----------
    pairs, arrangements : pandas.DataFrame
        The tables of a screen of pairs (`marginome.pair_tables`).
    model, output : str, optional
        By default the first ones of the table.
    top : int, default 6
        Pairs shown: those with the smallest ``cooperation_p``, or the largest interaction where none was judged.

    Returns
    -------
    matplotlib.figure.Figure
        A row a pair at one position, a panel an arrangement of orientations, of the first background set: the
        interaction (line), the expected one (dashed), and the band of twice what meaningless neighbours do around it.
        Hollow: a seam. Of an ensemble bars are the standard deviation of the interaction between its members (folds).

    Raises
    ------
    MarginomeError
        When there are no pairs.
    """
    if arrangements.empty:
        raise MarginomeError("there are no pairs of motifs in it", where="arrangements")
    rows, model, output = one_output(arrangements, model, output)
    rows = rows[rows["background"] == rows["background"].iat[0]]
    key = ["collection", "motif_id", "partner_id", "position"]
    judged = pairs[(pairs["model"] == model) & (pairs["output"] == output)]
    judged = judged[judged["background"] == rows["background"].iat[0]]
    size = rows["interaction"].abs().groupby([rows[c] for c in key], sort=False).max().rename("size")
    ranked = judged.merge(size.reset_index(), on=key)
    by = ["cooperation_p", "size"] if "cooperation_p" in ranked else ["size"]
    ranked = ranked.sort_values(by, ascending=[len(by) > 1, False][-len(by) :], kind="stable")
    shown = ranked.drop_duplicates(key).head(top)
    kinds = rows[["orientation", "partner_orientation", "order"]].drop_duplicates()
    kinds = list(kinds.itertuples(index=False, name=None))
    figure = Figure(figsize=(1.9 * len(kinds) + 1.2, 1.45 * len(shown) + 0.7), layout="constrained")
    axes = figure.subplots(len(shown), len(kinds), squeeze=False, sharex=True, sharey="row")
    for line, (_, pair) in zip(axes, shown.iterrows()):
        mine = rows[(rows[key] == pair[key]).all(axis=1)]
        for ax, kind in zip(line, kinds):
            part = mine[(mine[["orientation", "partner_orientation", "order"]] == list(kind)).all(axis=1)]
            _draw_arrangements(ax, part.sort_values("gap"))
        word = f"{pair['motif_name']}\n{pair['partner_name']}"
        if rows["position"].nunique() > 1:
            word += f"\nposition {pair['position']}"
        if pd.notna(pair.get("cooperation_q")):
            word += f"\nq {pair['cooperation_q']:.2g}"
        line[0].set_ylabel(word, fontsize=7)
    for ax, (first, second, order) in zip(axes[0], kinds):
        arrows = [f"A{first}", f"B{second}"]
        ax.set_title(" ".join(arrows[::-1] if order == "swapped" else arrows).replace("-", MINUS), fontsize=7)
    figure.supxlabel("bases between the two motifs (bp)", fontsize=8)
    figure.supylabel(f"interaction on {output} ({rows['unit'].iat[0]})", fontsize=8)
    return figure


def _draw_arrangements(ax, part: pd.DataFrame) -> None:
    """One panel: the interaction of one pair in one arrangement of orientations."""
    ax.axhline(0, color=GREY, linewidth=0.6)
    if part.empty:
        return
    if "expected" in part and part["expected"].notna().any():
        low, high = (part["expected"] + side * 2 * part["beyond_sd"] for side in (-1, 1))
        ax.fill_between(part["gap"], low, high, color=GREY, alpha=0.25, linewidth=0)
        ax.plot(part["gap"], part["expected"], color=GREY, linewidth=0.8, linestyle="--")
    seam = part["seam"].notna().to_numpy() if "seam" in part else np.zeros(len(part), dtype=bool)
    folds = part.get("interaction_fold_sd")
    ax.errorbar(
        part["gap"], part["interaction"], folds if folds is not None and folds.notna().any() else None, color=SETS[0],
        linewidth=0.9, elinewidth=0.6,
    )  # fmt: skip
    ax.plot(part["gap"][~seam], part["interaction"][~seam], "o", color=SETS[0], markersize=2.2)
    ax.plot(part["gap"][seam], part["interaction"][seam], "o", color=SETS[0], markersize=2.6, markerfacecolor="none")


@styled
def pairs_figure(pairs: pd.DataFrame, *, top: int = 30, q: float = 0.05) -> Figure:
    """Pairs by models, background sets and outputs: what the best arrangement does beyond what is expected.

    Parameters
    ----------
    pairs : pandas.DataFrame
        Table of a screen of pairs (`marginome.pair_tables.PAIRS`).
    top : int, default 30
        Pairs shown (at each position), those with the smallest ``cooperation_p`` anywhere.
    q : float, default 0.05
        From which ``cooperation_q`` on a cell is marked; ``syntax_q`` likewise.

    Returns
    -------
    matplotlib.figure.Figure
        Colour: interaction - expected as a share of the largest of its column; rows clustered. A dot: the pair
        cooperates; a ring: its arrangement matters.

    Raises
    ------
    MarginomeError
        When there are no pairs.
    """
    if pairs.empty:
        raise MarginomeError("there are no pairs of motifs in it", where="pairs")
    table = pairs.assign(
        label=pairs["motif_name"] + " + " + pairs["partner_name"],
        column=pairs["model"] + ", " + pairs["output"] + "\n" + pairs["background"],
    )
    if table["position"].nunique() > 1:
        table["label"] += ", position " + table["position"].astype(str)
    for name in ("interaction", "expected", "cooperation_p", "cooperation_q", "syntax_q"):
        table[name] = table[name].astype(float) if name in table else np.nan
    table["beyond"] = table["interaction"] - table["expected"].fillna(0)
    key = ["collection", "motif_id", "partner_id", "position"]
    least = table.assign(cooperation_p=table["cooperation_p"].fillna(1)).groupby(key)["cooperation_p"].min()
    shown = list(least.sort_values(kind="stable").index[:top])
    columns = list(dict.fromkeys(table["column"]))
    wide = {
        name: table.pivot_table(index=key, columns="column", values=name, aggfunc="first", dropna=False)
        .reindex(index=pd.MultiIndex.from_tuples(shown, names=key), columns=columns)
        .to_numpy(dtype=float)
        for name in ("beyond", "cooperation_q", "syntax_q")
    }
    largest = np.nanmax(np.abs(np.where(np.isfinite(wide["beyond"]), wide["beyond"], 0)), axis=0)
    share = wide["beyond"] / np.where(largest > 0, largest, 1)
    order = list(range(len(shown)))
    if len(shown) > 2:
        order = leaves_list(linkage(np.nan_to_num(share), "average")).tolist()
    names = table.drop_duplicates(key).set_index(key)["label"]
    figure = Figure(figsize=(0.4 * len(columns) + 2.8, 0.17 * len(shown) + 2.2), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(share[order], cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for i, row in enumerate(order):
        for j in range(len(columns)):
            if wide["cooperation_q"][row, j] <= q:
                ax.plot(j, i, ".", color="black", markersize=4)
            if wide["syntax_q"][row, j] <= q:
                ax.plot(j, i, "o", color="black", markersize=6, markerfacecolor="none", markeredgewidth=0.6)
    ax.set_xticks(range(len(columns)), columns, fontsize=6, rotation=90)
    ax.set_yticks(range(len(shown)), [names[shown[i]] for i in order], fontsize=6)
    bar = figure.colorbar(image, ax=ax, shrink=0.6)
    bar.set_label("beyond what is expected,\nshare of the column's largest", fontsize=6)
    ax.set_title(f"dot: cooperates, ring: arrangement matters (q \u2264 {q:g})", fontsize=7)
    return figure


@styled
def pair_backgrounds_figure(
    pairs: pd.DataFrame,
    backgrounds: pd.DataFrame,
    *,
    model: str | None = None,
    output: str | None = None,
    top: int = 6,
) -> Figure:
    """Both motifs together and each alone, in every background, at the best arrangement of pairs.

    Parameters
    ----------
    pairs, backgrounds : pandas.DataFrame
        The tables of a screen of pairs (`marginome.pair_tables`: PAIRS, PAIR_BACKGROUNDS).
    model, output : str, optional
        By default the first ones of the table.
    top : int, default 6
        Pairs shown: those with the smallest ``cooperation_p``.

    Returns
    -------
    matplotlib.figure.Figure
        A panel a pair, of the first background set: a dot a background, a bar their mean. A line joins the sum of the
        two alone with the two together in one background. Where there is nothing to show the figure says so.
    """
    if backgrounds.empty:
        return nothing("No pair has a best arrangement whose effects in single backgrounds were kept.")
    rows, model, output = one_output(backgrounds, model, output)
    rows = rows[rows["background"] == rows["background"].iat[0]]
    key = ["collection", "motif_id", "partner_id", "position"]
    judged = pairs[(pairs["model"] == model) & (pairs["output"] == output)]
    judged = judged[(judged["background"] == rows["background"].iat[0]) & judged["gap"].notna()]
    of = dict(list(rows.groupby(key, sort=False)))  # an insert list that is large kept none
    judged = judged[[one in of for one in judged[key].itertuples(index=False, name=None)]]
    shown = judged.sort_values("cooperation_p", kind="stable").head(top)
    across = min(3, len(shown))
    lines = -(-len(shown) // across)
    figure = Figure(figsize=(2.6 * across + 0.4, 2.3 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, across, squeeze=False).ravel()
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    for ax, (_, pair) in zip(axes, shown.iterrows()):
        mine = of[tuple(pair[key])]
        alone = mine[["effect", "effect_partner"]].to_numpy()
        values = np.column_stack([alone, alone.sum(axis=1), mine["effect_pair"]])
        ax.axhline(0, color=GREY, linewidth=0.6)
        ax.plot([2, 3], values[:, 2:].T, color=GREY, linewidth=0.5, alpha=0.6)
        for place, column in enumerate(values.T):
            ax.plot(np.full(len(column), place), column, "o", color=SETS[0], markersize=2.6, alpha=0.55,
                    markeredgewidth=0)  # fmt: skip
            ax.plot([place - 0.28, place + 0.28], [column.mean()] * 2, color="black", linewidth=1.4)
        two = [f"{pair['motif_name']}{pair['orientation']}", f"{pair['partner_name']}{pair['partner_orientation']}"]
        two = two[::-1] if pair["order"] == "swapped" else two
        beyond = f"interaction {pair['interaction']:+.2g}, expected {pair['expected']:+.2g}"
        ax.set_title(f"{two[0]} {int(pair['gap'])} bp {two[1]}\n{beyond}".replace("-", MINUS), fontsize=6.5)
        names = [name if len(name) < 13 else f"{name[:11]}\u2026" for name in pair[["motif_name", "partner_name"]]]
        ax.set_xticks(range(4), [*names, "sum", "together"], fontsize=6.5)
        ax.set_xlim(-0.5, 3.5)
    figure.supylabel(f"effect on {output} ({rows['unit'].iat[0]})", fontsize=8)
    figure.supxlabel(
        f"each motif alone, the sum, and both; a dot a background of {rows['background'].iat[0]}", fontsize=7
    )
    return figure
