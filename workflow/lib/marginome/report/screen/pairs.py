"""What the page of a screen of pairs holds beside its table: judged pairs, their arrangements, single backgrounds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.pair_tables import ARRANGEMENTS, PAIR_BACKGROUNDS, PAIRS
from marginome.report.page import json_island
from marginome.report.screen.packing import Arrays, pack_column

#: Rows of a page: pairs (by model, background set and output), arrangements of the first of them, and backgrounds.
MOST_PAIRS, MOST_ARRANGEMENTS, MOST_BACKGROUNDS = 5_000, 200_000, 200_000
#: What names the rows of a pair.
_KEY = ["model", "background", "output", "collection", "motif_id", "partner_id", "position"]
_KIND = ["orientation", "partner_orientation", "order"]
_PAIR_COLUMNS = (*_KEY, "unit", "motif_name", "partner_name", "effect", "effect_partner", *_KIND, "gap",
                 "interaction", "expected", "cooperation_p", "cooperation_q", "syntax_p", "syntax_q", "period_p",
                 "p_resolution")  # fmt: skip
_CURVE_COLUMNS = ("kind", "gap", "interaction", "interaction_fold_sd", "expected", "beyond_sd", "seam")
_SINGLE_COLUMNS = ("pair", "effect", "effect_partner", "effect_pair")


class JudgedPairs(NamedTuple):
    """The tables of a screen of pairs (`marginome.pair_tables`)."""

    pairs: pd.DataFrame
    arrangements: pd.DataFrame
    backgrounds: pd.DataFrame


def pair_islands(judged: JudgedPairs, *, share: float = 1.0) -> list[str]:
    """Return what a page gets of judged pairs: a description and three blocks of arrays.

    Pairs are in the order of ``cooperation_p``, those that were not judged by the size of their largest interaction.
    Those that do not fit are left out from the end; of arrangements and single backgrounds, all of a pair or none.

    Parameters
    ----------
    judged : JudgedPairs
        The tables of a screen, or of a model.
    share : float, default 1
        Of the arrangements and backgrounds that a page holds at most, for pages of which there are many.
    """
    pairs, arrangements = judged.pairs.reset_index(drop=True), judged.arrangements
    size = arrangements["interaction"].abs().groupby([arrangements[key] for key in _KEY]).max()
    p = pairs.get("cooperation_p", pd.Series(np.nan, index=pairs.index)).astype(float).fillna(2)
    largest = size.reindex(pd.MultiIndex.from_frame(pairs[_KEY])).to_numpy()
    order = np.lexsort((-largest, p.to_numpy()))[:MOST_PAIRS]
    shown = pairs.iloc[order].reset_index(drop=True)
    shown["pair"] = shown.groupby(_KEY, sort=False).ngroup()

    kept = arrangements.merge(shown[[*_KEY, "pair"]].drop_duplicates(), on=_KEY)
    kept["kind"] = kept["orientation"] + " " + kept["partner_orientation"] + " " + kept["order"]
    kept = kept.drop_duplicates(["pair", "kind", "gap"]).sort_values(["pair", "kind", "gap"])
    kept = _whole_pairs(kept, share * MOST_ARRANGEMENTS)
    singles = judged.backgrounds.merge(shown[[*_KEY, "pair"]].drop_duplicates(), on=_KEY)
    singles = _whole_pairs(singles.sort_values(["pair", "sequence"]), share * MOST_BACKGROUNDS)
    first, curves, strips = Arrays(), Arrays(), Arrays()
    names = [name for name in ("pair", *_PAIR_COLUMNS) if name in shown]
    described = {
        "columns": [pack_column(first, shown, name) for name in names],
        "curves": [pack_column(curves, kept, name) for name in ("pair", *_CURVE_COLUMNS) if name in kept],
        "singles": [pack_column(strips, singles, name) for name in _SINGLE_COLUMNS],
        "arrays": first.directory,
        "curve_arrays": curves.directory,
        "single_arrays": strips.directory,
        "n": len(shown),
        "of": len(pairs),
        "help": {c.name: c.description for c in (*ARRANGEMENTS, *PAIR_BACKGROUNDS, *PAIRS)},
    }
    blocks = {"pairs-data": first, "curves-data": curves, "strips-data": strips}
    return [json_island("pairs", described), *(block.island(name) for name, block in blocks.items())]


def _whole_pairs(rows: pd.DataFrame, most: float) -> pd.DataFrame:
    """The rows of the first pairs, all of a pair or none, at most so many."""
    ends = rows["pair"].value_counts().sort_index().cumsum()
    return rows[rows["pair"].isin(ends.index[ends <= most])]
