"""What the figures of a screen share: their style, what they show of a table, and words on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from marginome.errors import MarginomeError
from marginome.plots import STYLE
from marginome.tables import INSERT_KEYS

MINUS = "\u2212"


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the style of all figures, ticks included (they are made when a figure is first laid out)."""

    @wraps(draw)
    def in_style(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
        return figure

    return in_style


def strongest(effects: pd.DataFrame, top: int, *, lowest: int | None = None) -> pd.DataFrame:
    """Choose the inserts to show: the largest mean effects over background sets, then the lowest.

    Of each motif only the stronger orientation (position, sample) is taken.

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


def one_output(effects: pd.DataFrame, model: str | None, output: str | None) -> tuple[pd.DataFrame, str, str]:
    """Restrict a table to one model and output, by default the first that has effects."""
    model = effects["model"].iat[0] if model is None else model
    rows = effects[effects["model"] == model]
    output = rows["output"].iat[0] if output is None else output
    rows = rows[rows["output"] == output]
    if rows.empty:
        raise MarginomeError(f"there are no rows of model '{model}' and output '{output}'", where="effects")
    return rows, model, output


def aligned(rows: pd.DataFrame, chosen: pd.DataFrame) -> dict[str, np.ndarray]:
    """Background set -> position in the full table of each chosen insert's row (-1 where it has none)."""
    keys = [c for c in chosen if c in rows and c not in ("effect", "label")]
    found = {}
    for background, part in rows.groupby("background", sort=False):
        place = part[keys].assign(_row=part.index).merge(chosen[keys].assign(_at=range(len(chosen))), on=keys)
        at = np.full(len(chosen), -1)
        at[place["_at"]] = place["_row"]
        found[str(background)] = at
    return found


def unit_of(rows: pd.DataFrame) -> str:
    """Return the unit of the effects of one output; the measure's name where it has none."""
    unit, measure = rows["unit"].iat[0], rows["measure"].iat[0]
    return str(unit) if pd.notna(unit) and str(unit) else str(measure).replace("_", " ")


def position_label(step: int) -> str:
    """Return what positions along a profile are, of `step` bases a value (0: not known)."""
    return (
        "position in the sequence (bp)" if step else "number of the value (its bases are not known: bin of the output)"
    )


def signed(value: float) -> str:
    """Return an effect as text, with its sign."""
    return f"{value:+.3g}".replace("-", "\u2212")


def nothing(text: str) -> Figure:
    """Return a figure that says why there is nothing to show."""
    figure = Figure(figsize=(5, 0.6))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
