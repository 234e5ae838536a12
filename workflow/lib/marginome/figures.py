"""Figures of a screen for papers: one style, colours that colour-blind readers tell apart, the same bytes every time.

Every function takes the frames and arrays that the screen's files hold and returns a matplotlib `Figure`;
`marginome.plots.save_figure` writes it as SVG or PDF. Names come from users' files and are drawn as they are, never
read as mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from marginome.errors import MarginomeError
from marginome.plots import BASES, DOWN, GREY, SETS, STYLE, UP
from marginome.tables import INSERT_KEYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from marginome.results import Profiles

MINUS = "\u2212"
DIVERGING = LinearSegmentedColormap.from_list(
    "marginome", ["#083a68", "#4b8cc4", "#f7f7f5", "#dd8a4e", "#7d2c02"]
).with_extremes(bad="#dfe4ea")


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in this module's style, ticks included (they are made when a figure is first laid out)."""

    @wraps(draw)
    def styled(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
        return figure

    return styled


def strongest(effects: pd.DataFrame, top: int, *, lowest: int | None = None) -> pd.DataFrame:
    """Choose the inserts to show: the largest mean effects over background sets, then the lowest.

    Of each motif only the stronger orientation (position, draw) is taken.

    Parameters
    ----------
    effects : pandas.DataFrame
        Rows of one model and one output.
    top : int
        How many from the top.
    lowest : int, optional
        How many from the bottom; a third of `top` by default. They never overlap with the top.

    Returns
    -------
    pandas.DataFrame
        One row per insert, from the largest effect to the lowest, with the insert's key columns, ``effect`` (mean
        over background sets) and ``label``.
    """
    keys = [c for c in (*INSERT_KEYS, "motif_name") if c in effects]
    mean = effects.groupby(keys, dropna=False, sort=False)["effect"].mean().reset_index().dropna(subset="effect")
    mean = mean.loc[mean["effect"].abs().sort_values(ascending=False, kind="stable").index]
    mean = mean.drop_duplicates(["collection", "motif_id"] if "collection" in mean else ["motif_id"])
    mean = mean.sort_values("effect", ascending=False, kind="stable").reset_index(drop=True)
    lowest = top // 3 if lowest is None else lowest
    head = mean.iloc[:top]
    tail = mean.iloc[max(top, len(mean) - lowest) :]
    chosen = pd.concat([head, tail[tail["effect"] < 0]])
    names = chosen["motif_name"] if "motif_name" in chosen else chosen["motif_id"]
    repeated = names.duplicated(keep=False)
    names = names.where(~repeated, names + " " + chosen["motif_id"])
    strand = chosen["orientation"].str.replace("-", MINUS)
    return chosen.assign(label=names + " (" + strand + ")").reset_index(drop=True)


def _one(effects: pd.DataFrame, model: str | None, output: str | None) -> tuple[pd.DataFrame, str, str]:
    """Restrict a table to one model and output, by default the first that has effects."""
    model = effects["model"].iat[0] if model is None else model
    rows = effects[effects["model"] == model]
    output = rows["output"].iat[0] if output is None else output
    rows = rows[rows["output"] == output]
    if rows.empty:
        raise MarginomeError(f"there are no rows of model '{model}' and output '{output}'", where="effects")
    return rows, model, output


def _aligned(rows: pd.DataFrame, chosen: pd.DataFrame) -> dict[str, np.ndarray]:
    """Background set -> position in the full table of each chosen insert's row (-1 where it has none)."""
    keys = [c for c in chosen if c in rows and c not in ("effect", "label")]
    found = {}
    for background, part in rows.groupby("background", sort=False):
        place = part[keys].assign(_row=part.index).merge(chosen[keys].assign(_at=range(len(chosen))), on=keys)
        at = np.full(len(chosen), -1)
        at[place["_at"]] = place["_row"]
        found[str(background)] = at
    return found


def _unit(rows: pd.DataFrame) -> str:
    unit, measure = rows["unit"].iat[0], rows["measure"].iat[0]
    return str(unit) if pd.notna(unit) and str(unit) else str(measure).replace("_", " ")


# ------------------------------------------------------------------------------------------- heatmaps
@_styled
def heatmap_figure(
    effects: pd.DataFrame,
    per_background: np.ndarray | None = None,
    *,
    model: str | None = None,
    output: str | None = None,
    top: int = 15,
) -> Figure:
    """Effects of the strongest and the lowest motifs: in every single background, and in every output.

    Parameters
    ----------
    effects : pandas.DataFrame
        The effect table, with an index of 0, 1, 2, ...
    per_background : numpy.ndarray, optional
        Effect in every background, (rows of `effects`, backgrounds), NaN for none. Without it each set is one column.
    model, output : str, optional
        By default the first ones of the table.
    top : int, default 15
        Motifs from the top; a third as many from the bottom.

    Returns
    -------
    matplotlib.figure.Figure
        Left, one block per background set with a column per background, each sorted by its mean; right (for models
        with several outputs), mean effects in every output relative to the largest of that output among all motifs.
        The colours are centred on zero.
    """
    effects = effects.reset_index(drop=True)
    rows, model, output = _one(effects, model, output)
    chosen = strongest(rows, top)
    blocks = []
    for background, at in _aligned(rows, chosen).items():
        if per_background is None:
            values = np.where(at >= 0, effects["effect"].to_numpy()[at], np.nan)[:, None]
        else:
            values = np.array([per_background[i] if i >= 0 else np.full(per_background.shape[1], np.nan) for i in at])
            values = values[:, ~np.isnan(values).all(0)] if len(values) else values
            values = values[:, np.argsort(-np.nan_to_num(values).mean(0), kind="stable")]
        blocks.append((background, values))
    outputs = effects.loc[effects["model"] == model, "output"].drop_duplicates().tolist()
    ratios = [max(v.shape[1], 4) for _, v in blocks]
    if len(outputs) > 1:
        ratios.append(max(0.25 * sum(ratios), 0.8 * len(outputs) * sum(ratios) / 40))
    # colour bars need room for their labels however few motifs there are; names of outputs stand below the panel
    height = max(3.2, 1.1 + 0.17 * len(chosen)) + (0.055 * max(map(len, outputs)) if len(outputs) > 1 else 0)
    width = 7.2 + (min(5.0, 0.22 * len(outputs)) if len(outputs) > 1 else 0)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    most = max((float(np.nanmax(np.abs(v), initial=0)) for _, v in blocks), default=0) or 1.0
    for ax, (background, values) in zip(axes, blocks):
        image = _heat(ax, values, most)
        ax.set_title(background)
        ax.set_xlabel(f"{values.shape[1]} backgrounds" if per_background is not None else "mean")
        ax.set_yticks([])
    axes[0].set_yticks(range(len(chosen)), chosen["label"])
    figure.colorbar(image, ax=axes[: len(blocks)], label=f"effect on {output} ({_unit(rows)})", aspect=30, pad=0.01)
    if len(outputs) > 1:
        _outputs_panel(figure, axes[-1], effects[effects["model"] == model], chosen, outputs)
    return figure


def _outputs_panel(
    figure: Figure, ax: Axes, effects: pd.DataFrame, chosen: pd.DataFrame, outputs: Sequence[str]
) -> None:
    columns = []
    for name in outputs:
        some = effects[effects["output"] == name]
        means = np.full(len(chosen), np.nan)
        stack = [
            np.where(at >= 0, effects["effect"].reindex(at).to_numpy(), np.nan)
            for at in _aligned(some, chosen).values()
        ]
        means = np.mean(stack, axis=0)
        columns.append(means / (some["effect"].abs().max() or 1.0))
    image = _heat(ax, np.array(columns).T, 1.0)
    ax.set_title("every output")
    ax.set_yticks([])
    shown = range(0, len(outputs), max(1, len(outputs) // 40))
    ax.set_xticks(list(shown), [outputs[i] for i in shown], rotation=90)
    figure.colorbar(image, ax=ax, label="share of the output's largest effect", aspect=30, pad=0.02)


def _heat(ax: Axes, values: np.ndarray, most: float):
    image = ax.imshow(values, aspect="auto", cmap=DIVERGING, vmin=-most, vmax=most, interpolation="nearest")
    ax.tick_params(length=0)
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    return image


# ------------------------------------------------------------------------------------- before and after
@_styled
def before_after_figure(
    effects: pd.DataFrame,
    per_background: np.ndarray | None = None,
    baseline: Mapping[tuple[str, str, str], np.ndarray] | None = None,
    *,
    model: str | None = None,
    output: str | None = None,
    top: int = 6,
) -> Figure:
    """Output without an insert against output with it; on the diagonal the insert does nothing.

    Parameters
    ----------
    effects, per_background, model, output
        As in `heatmap_figure`.
    baseline : mapping, optional
        (model, background, output) -> outputs of the backgrounds without an insert, (backgrounds,). With it and
        `per_background`, and where the effect is the difference, every background is a point; without, every
        output and background set is one (its mean).
    top : int, default 6
        Motifs shown, strongest first.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per motif, one colour per background set.
    """
    effects = effects.reset_index(drop=True)
    rows, model, output = _one(effects, model, output)
    chosen = strongest(rows, max(len(rows), 1), lowest=0)
    order = chosen["effect"].abs().sort_values(ascending=False, kind="stable").index[:top]
    chosen = chosen.loc[order].reset_index(drop=True)
    single = per_background is not None and baseline and (rows["measure"] == "difference").all()
    sets = list(dict.fromkeys(effects["background"]))
    points: list[list[tuple[str, np.ndarray, np.ndarray]]] = [[] for _ in range(len(chosen))]
    source = rows if single else effects[effects["model"] == model]
    groups = [(None, source)] if single else source.groupby("output", sort=False)
    for _, part in groups:
        for background, at in _aligned(part, chosen).items():
            for panel, row in enumerate(at):
                if row < 0:
                    continue
                if single and (model, background, output) in baseline:
                    before = np.ravel(baseline[model, background, output])
                    points[panel].append((background, before, before + per_background[row][: len(before)]))
                elif not single:
                    points[panel].append(
                        (background, effects["before_mean"].to_numpy()[[row]], effects["after_mean"].to_numpy()[[row]])
                    )
    columns = min(3, max(len(chosen), 1))
    lines = -(-max(len(chosen), 1) // columns)
    figure = Figure(figsize=(2.35 * columns + 0.4, 2.3 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    every = [v for panel in points for _, b, a in panel for v in (*b, *a) if np.isfinite(v)]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    pad = 0.05 * (high - low or 1.0)
    for panel, ax in enumerate(axes):
        if panel >= len(chosen):
            ax.set_visible(False)
            continue
        ax.axline((low, low), slope=1, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        for name in sets:
            b = np.concatenate([p[1] for p in points[panel] if p[0] == name] or [np.zeros(0)])
            a = np.concatenate([p[2] for p in points[panel] if p[0] == name] or [np.zeros(0)])
            ax.scatter(b, a, s=13, color=SETS[sets.index(name) % len(SETS)], alpha=0.75, linewidth=0, label=name)
        ax.set_title(f"{chosen['label'][panel]}  effect {_signed(chosen['effect'][panel])}")
        ax.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
    if len(sets) > 1:
        axes[0].legend(loc="lower right", handletextpad=0.1)
    figure.supxlabel(f"{output} before ({_unit(rows)})" if single else "mean output before", fontsize=8)
    figure.supylabel("after", fontsize=8)
    return figure


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\u2212")


# -------------------------------------------------------------------------------------------- profiles
@_styled
def profiles_figure(profiles: Sequence[Profiles], effects: pd.DataFrame, *, top: int = 6) -> Figure:
    """Mean profiles on both strands before and after the strongest inserts.

    Parameters
    ----------
    profiles : sequence of marginome.results.Profiles
        One per model, background set and output; those of the first model and output are drawn.
    effects : pandas.DataFrame
        The effect table that the profiles' rows count in.
    top : int, default 6
        Inserts shown, one per motif: those whose profile changes most in the first background set.

    Returns
    -------
    matplotlib.figure.Figure
        A row per insert, a column per background set. The minus strand points down; the shaded place is the insert.
        Without profiles (models whose outputs are scalars) the figure says so.
    """
    effects = effects.reset_index(drop=True)
    if not profiles:
        return _nothing("There are no profiles in this screen.")
    first = effects.loc[profiles[0].rows[0]]
    blocks = [
        block
        for block in profiles
        if block.output == profiles[0].output and effects.loc[block.rows[0], "model"] == first["model"]
    ][:3]
    rows = np.asarray(blocks[0].rows)
    change = np.concatenate(  # in pieces: the profiles of all inserts together may not fit in memory
        [
            np.abs(blocks[0].after[i : i + 256] - np.asarray(blocks[0].before)).sum(axis=(1, 2))
            for i in range(0, len(rows), 256)
        ]
    )
    chosen, seen = [], set()
    for i in np.argsort(-change, kind="stable"):
        motif = tuple(effects.loc[rows[i], [c for c in ("collection", "motif_id") if c in effects]])
        if motif not in seen:
            seen.add(motif)
            chosen.append(i)
        if len(chosen) == top:
            break
    keys = [c for c in INSERT_KEYS if c in effects]
    figure = Figure(figsize=(min(9.5, 1.2 + 3.4 * len(blocks)), 0.9 + 1.25 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(blocks), squeeze=False, sharex=True, sharey=True)
    for column, block in enumerate(blocks):
        # NaN keys do not equal themselves, so they are compared as text
        where = {tuple(map(str, key)): i for i, key in enumerate(effects.loc[block.rows, keys].itertuples(index=False))}
        x = block.first + np.arange(block.before.shape[-1]) * block.step
        for line, i in enumerate(chosen):
            ax, row = axes[line, column], effects.loc[rows[i]]
            at = where.get(tuple(map(str, row[keys])))
            if at is not None:
                _profile(ax, x, np.asarray(block.before), np.asarray(block.after[at]))
            if "start" in effects and "insert" in effects:
                ax.axvspan(row["start"], row["start"] + len(row["insert"]), color=SETS[3], alpha=0.25, linewidth=0)
            if column == 0:
                name = row["motif_name"] if "motif_name" in effects else row["motif_id"]
                ax.set_ylabel(f"{name} {row['orientation']}".replace("-", "\u2212"))
            if line == 0:
                ax.set_title(str(effects.loc[block.rows[0], "background"]))
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper right", ncols=4)
    figure.supxlabel("position in the sequence (bp)", fontsize=8)
    figure.supylabel(f"mean probability, {blocks[0].output}", fontsize=8)
    return figure


def _profile(ax: Axes, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
    strands = len(before)
    for s in range(strands):
        sign = -1 if strands == 2 and s == 1 else 1
        name = ("+", "\u2212")[s] if strands == 2 else ("" if strands == 1 else f"track {s + 1}")
        ax.plot(x, sign * before[s], color=(GREY, "#5a6776")[s % 2], linewidth=0.7, label=f"before {name}".strip())
        ax.plot(x, sign * after[s], color=(UP, DOWN)[s % 2], linewidth=0.9, label=f"after {name}".strip())
    ax.axhline(0, color="#5a6776", linewidth=0.5)
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    ax.margins(x=0)


# ----------------------------------------------------------------------------------------------- logos
@_styled
def logos_figure(effects: pd.DataFrame, motifs: pd.DataFrame, *, model: str | None = None,
                 output: str | None = None, top: int = 15) -> Figure:  # fmt: skip
    """Logos of the strongest motifs, in the orientation that acts most, over the bases that were put in.

    Parameters
    ----------
    effects : pandas.DataFrame
        The effect table.
    motifs : pandas.DataFrame
        ``motif_id``, ``pwm`` ((4, w) probabilities in the order A C G T) and, where there are several collections,
        ``collection``. A motif without a row is drawn from its insert.
    model, output : str, optional
        By default the first ones of the table.
    top : int, default 15
        Motifs from the top; a third as many from the bottom.

    Returns
    -------
    matplotlib.figure.Figure
        Letters are as high as their information, 0 to 2 bits.
    """
    from marginome.logos import plot_logo

    rows, model, output = _one(effects.reset_index(drop=True), model, output)
    chosen = strongest(rows, top)
    keys = [c for c in ("collection", "motif_id") if c in motifs and c in chosen]
    given = {tuple(map(str, key)): pwm for *key, pwm in motifs[[*keys, "pwm"]].itertuples(index=False)}
    columns = 3 if len(chosen) > 6 else 2 if len(chosen) > 3 else 1
    lines = -(-len(chosen) // columns)
    figure = Figure(figsize=(3.1 * columns, 1.05 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).T.ravel()
    widest = max((len(str(text)) for text in chosen["insert"]), default=1)
    for ax in axes[len(chosen) :]:
        ax.set_visible(False)
    for ax, row in zip(axes, chosen.itertuples(index=False)):
        insert = str(row.insert)
        pwm = given.get(tuple(str(getattr(row, k)) for k in keys))
        pwm = np.array([[float(b == base) for b in insert] for base in "ACGT"]) if pwm is None else np.stack(list(pwm))
        if row.orientation == "-" and given.get(tuple(str(getattr(row, k)) for k in keys)) is not None:
            pwm = pwm[::-1, ::-1]
        plot_logo(information(pwm), ax=ax, color=BASES, ylim=(0, 2))
        ax.set_xlim(-0.6, max(widest, 8) - 0.4)
        ax.set_yticks([0, 2])
        ax.set_xticks([])
        ax.set_title(f"{row.label}  effect {_signed(row.effect)}", pad=2)
        if len(insert) == pwm.shape[1]:
            for i, base in enumerate(insert):
                ax.text(i, -0.12, base if base in BASES else "\u00b7", color=BASES.get(base, GREY), fontsize=6,
                        ha="center", va="top", family="monospace")  # fmt: skip
    figure.supylabel("bits", fontsize=7)
    return figure


def information(pwm: np.ndarray) -> np.ndarray:
    """Return letter heights of a logo in bits: p times (2 - entropy), (4, w); columns of zeros stay zero."""
    total = pwm.sum(0)
    p = pwm / np.where(total > 0, total, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(p > 0, p * np.log2(p), 0), axis=0)
    return p * np.where(total > 0, 2 - entropy, 0)


@_styled
def attributions_figure(
    inserts: pd.DataFrame, before: np.ndarray, after: np.ndarray, *, what: str = "attribution", unit: str = ""
) -> Figure:
    """Mean attributions around inserts, without them and with them, on one scale per insert.

    Parameters
    ----------
    inserts : pandas.DataFrame
        ``motif_name``, ``orientation``, ``start``, ``insert`` and ``effect``, in the order to draw.
    before, after : numpy.ndarray
        (inserts, 4, window); the middle of the insert is at column ``window // 2``. NaN beyond the sequence's ends.
    what, unit : str
        What was attributed, and its unit.

    Returns
    -------
    matplotlib.figure.Figure
        A row per insert, before at the left and after at the right, positions counted from the insert's first base
        (shaded). Without inserts the figure says so.
    """
    from marginome.logos import plot_logo

    if not len(inserts):
        return _nothing("There are no attributions to show.")
    window = before.shape[2]
    figure = Figure(figsize=(9, 1.15 * len(inserts) + 0.7), layout="constrained")
    axes = figure.subplots(len(inserts), 2, squeeze=False)
    for line, row in enumerate(inserts.itertuples(index=False)):
        both = [np.nan_to_num(values[line]) for values in (before, after)]
        highest = max(1e-12, *(np.maximum(v, 0).sum(0).max() for v in both))
        lowest = min(0.0, *(np.minimum(v, 0).sum(0).min() for v in both))
        width = len(row.insert)
        at = window // 2 - width // 2  # column of the insert's first base
        for ax, values in zip(axes[line], both):
            ax.axvspan(at - 0.5, at + width - 0.5, color="#eef1f4", linewidth=0, zorder=0)
            plot_logo(values, ax=ax, color=BASES, ylim=(1.05 * lowest, 1.05 * highest))
            ticks = [t for t in range(-(at // 10) * 10, window - at, 10) if t % 20 == 0]
            ax.set_xticks([at + t for t in ticks], [f"{t}".replace("-", "\u2212") for t in ticks])
            ax.locator_params(axis="y", nbins=4)
        axes[line][0].set_title(f"{row.motif_name} ({row.orientation.replace('-', MINUS)}), before")
        axes[line][1].set_title(f"after, effect {_signed(row.effect)}")
    for ax in axes[:-1].ravel():
        ax.tick_params(labelbottom=False)
    figure.supxlabel("position from the insert's first base (bp)", fontsize=8)
    figure.supylabel(f"{what} ({unit})" if unit else what, fontsize=8)
    return figure


def _nothing(text: str) -> Figure:
    figure = Figure(figsize=(5, 0.6))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


# --------------------------------------------------------------------------------- ranks, nulls, spacing


@_styled
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
    rows, model, output = _one(effects.reset_index(drop=True), model, output)
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
    figure.supylabel(f"effect on {output} ({_unit(rows)})", fontsize=8)
    return figure
