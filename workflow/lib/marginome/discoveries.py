"""Which inserts are findings: false discovery rates over all that was tested."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from marginome.columns import check_columns
from marginome.errors import MarginomeError
from marginome.tails import resolution

#: Columns whose values together name one test set: the tests are the inserts (motifs in both orientations).
TEST_SET = ("model", "output", "background", "position")


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return Benjamini-Hochberg adjusted p-values (q-values).

    Parameters
    ----------
    p : numpy.ndarray
        P-values of one test set, shape (n,). NaN is not a test: it stays NaN and is not counted.

    Returns
    -------
    numpy.ndarray
        Float64, shape (n,). Calling all with q <= x discoveries keeps the expected share of false ones at most x, for
        independent or positively dependent tests (Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001).
    """
    p = np.asarray(p, dtype=np.float64)
    q = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        from scipy import stats  # takes a second to import

        q[tested] = stats.false_discovery_control(p[tested], method="bh")
    return q


def add_q(table: pd.DataFrame, test_set: Sequence[str] = TEST_SET, *, test: str | None = "insert") -> pd.DataFrame:
    """Return a table with its column `q`: Benjamini-Hochberg within each test set.

    Where the table says how far its controls reach (column `p_resolution`), q is made of the larger of that and p:
    what lies below is an extrapolation, and no number of findings may rest on it.

    Parameters
    ----------
    table : pandas.DataFrame
        Has the column `p` and those of `test_set`; with `p_resolution` see above.
    test_set : sequence of str, default ("model", "output", "background", "position")
        Rows that agree in these columns are tested together: with the default those of one null. What is tested are
        inserts, in both orientations. A position is that of the config: at the centre, all widths share it.
    test : str or None, default "insert"
        Rows of a test set with the same value in this column are one test, which is counted once: motifs with the same
        consensus (1,019 JASPAR motifs in both orientations are 2,038 rows but 1,437 sequences), and both orientations
        of a palindrome. None, or a column the table does not have: each row is a test.

    Returns
    -------
    pandas.DataFrame
        A copy, rows in their order, index kept.

    Raises
    ------
    MarginomeError
        If a column is missing.
    """
    check_columns(table, [*test_set, "p"], "add_q", remedy="Name the columns to test within: test_set.")
    keys = table[list(test_set)].assign(**{"": 0})  # one test set if no column is named
    number = keys.groupby(list(keys.columns), dropna=False, sort=False).ngroup().to_numpy()
    name = table[test].to_numpy() if test is not None and test in table.columns else np.arange(len(table))
    p = table["p"].to_numpy(dtype=float)
    if "p_resolution" in table.columns:
        p = np.maximum(p, table["p_resolution"].to_numpy(dtype=float))  # NaN, no test, stays NaN
    tests = pd.DataFrame({"set": number, "test": name, "p": p})
    # The largest p of a test's rows: they are equal, but for rounding where blocks of work differ.
    once = tests.groupby(["set", "test"], sort=False, dropna=False)["p"].max()
    q = once.groupby(level="set", sort=False).transform(benjamini_hochberg)
    out = table.copy()
    out["q"] = q.reindex(pd.MultiIndex.from_frame(tests[["set", "test"]])).to_numpy()
    return out


def controls_needed(tests: int, findings: int = 1, *, q: float = 0.05, alternative: str = "two-sided") -> int:
    """Tell how many controls a screen needs for its findings to be told from chance.

    Parameters
    ----------
    tests : int
        Distinct inserts that are tested together: 1,437 for JASPAR 2026's vertebrates in both orientations.
    findings : int, default 1
        Distinct inserts that are expected to do more than every control, both orientations counted. 1 is an insert
        that stands alone.
    q : float, default 0.05
        The false discovery rate they are to have.
    alternative : str, default "two-sided"
        As for `score_effects`: distances, which cannot be negative, are tested one-sided and need half as many.

    Returns
    -------
    int
        The smallest n with ``tests * resolution(n, alternative) / findings <= q`` (Benjamini-Hochberg), at least 1.

    Raises
    ------
    MarginomeError
        If a number is not above 0, or there are more findings than tests.

    Examples
    --------
    >>> controls_needed(1437), controls_needed(1437, 6)
    (57479, 9579)
    """
    if not 1 <= findings <= tests or not 0 < q <= 1:
        raise MarginomeError(
            f"{findings} findings of {tests} tests at q {q}, wanted at least 1, at most all, and q between 0 and 1",
            where="controls_needed",
        )
    return max(1, math.ceil(round(tests * 2 * resolution(1, alternative) / (findings * q), 9)) - 1)


def findings_needed(tests: int, p_resolution: float, *, q: float = 0.05) -> int:
    """Tell how many inserts have to do more than every control before any of them has a q as low.

    Parameters
    ----------
    tests : int
        Distinct inserts that are tested together.
    p_resolution : float
        What the controls can show (`Scores.p_resolution`).
    q : float, default 0.05
        The false discovery rate.

    Returns
    -------
    int
        At least 1; more than `tests` where there are too few controls for any finding.
    """
    return max(1, math.ceil(round(tests * p_resolution / q, 9)))
