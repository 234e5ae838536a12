"""Whether background sets, models or folds say the same of an insert.

Not agreement.py: `marginome.agreement` is the function.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from marginome.columns import check_columns
from marginome.errors import MarginomeError

#: Columns that name an insert at a place.
INSERT = ("collection", "motif_id", "orientation", "start")


def agreement(table: pd.DataFrame, across: str, *, value: str = "effect", of: Sequence[str] = INSERT) -> pd.DataFrame:
    """Compare the effects of the same inserts between every two background sets, models or folds.

    Parameters
    ----------
    table : pandas.DataFrame
        One row for each insert and member of `across`; other things (output, model) must be one and the same, so call
        it per group.
    across : str
        The column whose values are compared: "background", "model", "fold".
    value : str, default "effect"
        The compared column.
    of : sequence of str, default ("collection", "motif_id", "orientation", "start")
        The columns that name an insert.

    Returns
    -------
    pandas.DataFrame
        One row for each pair: `first, second, n` (inserts both have), `spearman` (rank correlation), `pearson`,
        `sign_agreement` (share of inserts with the same sign), `top_overlap` (share of the 20 largest absolute values
        of one that are among the 20 of the other; of all, if there are fewer than 20). NaN where it is not defined.

    Raises
    ------
    MarginomeError
        If a column is missing or an insert occurs twice in one member.
    """
    wide = _widen(table, across, value, of)
    rows = []
    for i, first in enumerate(wide.columns):
        for second in wide.columns[i + 1 :]:
            both = wide[[first, second]].dropna()
            a, b = both[first].to_numpy(), both[second].to_numpy()
            varied = len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0
            top = min(20, len(a))
            largest = [set(np.argsort(-np.abs(x), kind="stable")[:top]) for x in (a, b)]
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "n": len(a),
                    "spearman": stats.spearmanr(a, b).statistic if varied else np.nan,
                    "pearson": stats.pearsonr(a, b).statistic if varied else np.nan,
                    "sign_agreement": (np.sign(a) == np.sign(b)).mean() if len(a) else np.nan,
                    "top_overlap": len(largest[0] & largest[1]) / top if top else np.nan,
                }
            )
    columns = ["first", "second", "n", "spearman", "pearson", "sign_agreement", "top_overlap"]
    return pd.DataFrame(rows, columns=columns)


def consensus(table: pd.DataFrame, across: str, *, value: str = "effect", of: Sequence[str] = INSERT) -> pd.DataFrame:
    """Say for each insert what all background sets, models or folds say together.

    Parameters
    ----------
    table, across, value, of
        As for `agreement`. With columns `p` and `q` in the table, the largest q is given too.

    Returns
    -------
    pandas.DataFrame
        One row for each insert, best first: the columns of `of`, `n_sets` (members that have it), `mean`, `spread`
        (standard deviation between members, n - 1), `lowest`, `highest`, `sign_agreement` (share of members with the
        sign of the mean), `mean_rank` (of the absolute value, 1 the largest, averaged over members),
        `worst_rank`, `consensus_rank` (rank of the mean rank; ties share the smallest) and, if the table has `q`,
        `q_max`: below x only if every member finds the insert at x. A finding that hangs on one member has a low
        `sign_agreement`, a large `worst_rank` or a large `q_max`.

    Raises
    ------
    MarginomeError
        As `agreement`.
    """
    q = _widen(table, across, "q", of) if "q" in table.columns else None
    return consensus_of(_widen(table, across, value, of), q).reset_index()


def consensus_of(wide: pd.DataFrame, q: pd.DataFrame | None = None) -> pd.DataFrame:
    """As `consensus`, of a frame that has a row for each insert and a column for each member.

    Parameters
    ----------
    wide : pandas.DataFrame
        The compared values; NaN where a member does not have an insert.
    q : pandas.DataFrame, optional
        Their q, in the same rows and columns.

    Returns
    -------
    pandas.DataFrame
        Rows of `wide`, best first, with the columns that `consensus` adds.
    """
    ranks = wide.abs().rank(ascending=False, method="average")
    mean = wide.mean(axis=1)
    same = np.sign(wide).eq(np.sign(mean), axis=0).where(wide.notna())
    out = pd.DataFrame(
        {
            "n_sets": wide.notna().sum(axis=1),
            "mean": mean,
            "spread": wide.std(axis=1, ddof=1),
            "lowest": wide.min(axis=1),
            "highest": wide.max(axis=1),
            "sign_agreement": same.astype(float).mean(axis=1),
            "mean_rank": ranks.mean(axis=1),
            "worst_rank": ranks.max(axis=1),
        }
    )
    out["consensus_rank"] = out["mean_rank"].rank(method="min")
    if q is not None:
        out["q_max"] = q.max(axis=1, skipna=False)
    return out.sort_values("mean_rank", kind="stable")


def _widen(table: pd.DataFrame, across: str, value: str, of: Sequence[str]) -> pd.DataFrame:
    """Return `value` with a row for each insert and a column for each member of `across`."""
    check_columns(table, [*of, across, value], "agreement")
    keys = [*of, across]
    repeated = table.duplicated(keys)
    if repeated.any():
        example = dict(table.loc[repeated, keys].iloc[0])
        raise MarginomeError(
            f"{int(repeated.sum())} rows repeat an insert within one {across}, e.g. {example}",
            where="agreement",
            remedy="Select one output (and one model) first.",
        )
    return table.set_index(keys)[value].astype(float).unstack(across)
