"""Whether background sets, models or folds say the same of an insert.

Not agreement.py: `marginome.agreement` is the function.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

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
    return pd.concat([_no_pairs(), *agreements(_widen(table, across, value, of))], ignore_index=True)


def agreements(wide: pd.DataFrame, *, rows: int = 200_000) -> Iterator[pd.DataFrame]:
    """Yield the rows of `agreement` in parts: of thousands of models there are millions.

    Parameters
    ----------
    wide : pandas.DataFrame
        A row for each insert and a column for each member; NaN where a member has no such insert.
    rows : int, default 200,000
        Of a part, about.

    Yields
    ------
    pandas.DataFrame
        Pairs in the order of the columns.
    """
    values = wide.to_numpy(np.float64)
    given = ~np.isnan(values)
    patterns, pattern_of = np.unique(given, axis=1, return_inverse=True)

    @functools.lru_cache(maxsize=16)  # members that have the same inserts are compared at once
    def prepared(one: int, other: int) -> _Prepared:
        both = patterns[:, one] & patterns[:, other]
        mine = np.isin(pattern_of, (one, other))
        return _Prepared(values[np.ix_(both, mine)], np.flatnonzero(mine))

    parts: list[pd.DataFrame] = []
    for i in range(len(wide.columns) - 1):
        later = np.arange(i + 1, len(wide.columns))
        found = np.full((len(later), len(_STATED)), np.nan)
        for other in np.unique(pattern_of[later]):
            some = pattern_of[later] == other
            found[some] = prepared(*sorted((int(pattern_of[i]), int(other)))).compare(i, later[some])
        part = pd.DataFrame(found, columns=list(_STATED)).astype({"n": np.int64})
        part.insert(0, "first", wide.columns[i])
        part.insert(1, "second", wide.columns[later])
        parts.append(part)
        if sum(map(len, parts)) >= rows:
            yield pd.concat(parts, ignore_index=True)
            parts = []
    if parts:
        yield pd.concat(parts, ignore_index=True)


_STATED = ("n", "spearman", "pearson", "sign_agreement", "top_overlap")


def _no_pairs() -> pd.DataFrame:
    return pd.DataFrame(columns=["first", "second", *_STATED])


class _Prepared:
    """Members over the inserts that all of them have: what comparing any two of them takes.

    Parameters
    ----------
    values : numpy.ndarray
        Effects, float64 (inserts, members).
    members : numpy.ndarray
        Their numbers, sorted.
    """

    def __init__(self, values: np.ndarray, members: np.ndarray):
        self.n, self.members = len(values), members
        self.top = min(20, self.n)
        self.signs = np.sign(values)
        self.largest = np.zeros_like(values)
        np.put_along_axis(self.largest, np.argsort(-np.abs(values), axis=0, kind="stable")[: self.top], 1, axis=0)
        self.varied = np.ptp(values, axis=0) > 0 if self.n > 1 else np.zeros(len(members), dtype=bool)
        self.values = _standardized(values, self.varied)
        self.ranks = _standardized(pd.DataFrame(values).rank().to_numpy(), self.varied)

    def compare(self, one: int, others: np.ndarray) -> np.ndarray:
        """Return what `agreement` says of one member and each of others, (others, columns)."""
        found = np.full((len(others), len(_STATED)), np.nan)
        found[:, 0] = self.n
        if not self.n:
            return found
        i, j = np.searchsorted(self.members, one), np.searchsorted(self.members, others)
        found[:, 1] = self.ranks[:, i] @ self.ranks[:, j]
        found[:, 2] = self.values[:, i] @ self.values[:, j]
        found[:, 1:3] = np.where((self.varied[i] & self.varied[j])[:, None], found[:, 1:3].clip(-1, 1), np.nan)
        found[:, 3] = (self.signs[:, [i]] == self.signs[:, j]).mean(0)
        found[:, 4] = self.largest[:, i] @ self.largest[:, j] / self.top
        return found


def _standardized(values: np.ndarray, varied: np.ndarray) -> np.ndarray:
    """Return columns with mean 0 and sum of squares 1, so that a product of two is their correlation; 0 if constant."""
    centred = values - values.mean(0) if len(values) else values
    scale = np.abs(centred).max(0, initial=0)  # squares of tiny effects would be 0
    centred = centred / np.where(varied & (scale > 0), scale, 1)
    return np.where(varied, centred / np.where(varied, np.sqrt((centred**2).sum(0)), 1), 0)


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
