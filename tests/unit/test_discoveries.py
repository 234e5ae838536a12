"""False discovery rates against statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from marginome.discoveries import add_q, benjamini_hochberg, controls_needed, findings_needed
from marginome.errors import MarginomeError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_q_equals_statsmodels(rng):
    p = np.concatenate([rng.uniform(size=300), rng.uniform(size=20) * 1e-4, [0.5, 0.5, 1.0]])
    np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], rtol=1e-12)
    with_gaps = np.concatenate([[np.nan], p, [np.nan]])
    found = benjamini_hochberg(with_gaps)
    assert np.isnan(found[[0, -1]]).all()
    np.testing.assert_allclose(found[1:-1], multipletests(p, method="fdr_bh")[1], rtol=1e-12)


def test_add_q_is_per_test_set(rng):
    table = pd.DataFrame(
        {
            "model": np.repeat(["a", "b"], 60),
            "output": np.tile(["x", "y"], 60),
            "background": "gc",
            "position": np.tile(np.repeat([0, 1], 2), 30),
            "start": rng.integers(10, 20, 120),  # of one position, by the width: no test set of its own
            "p": rng.uniform(size=120) ** 3,
        },
        index=rng.permutation(120),
    )
    found = add_q(table)
    assert "q" not in table.columns and list(found.index) == list(table.index)
    for _, part in found.groupby(["model", "output", "background", "position"]):
        np.testing.assert_allclose(part["q"], multipletests(part["p"], method="fdr_bh")[1], rtol=1e-12)
    assert not np.allclose(found["q"], multipletests(found["p"], method="fdr_bh")[1])
    np.testing.assert_allclose(add_q(table, [])["q"], multipletests(table["p"], method="fdr_bh")[1], rtol=1e-12)
    with pytest.raises(MarginomeError, match="no column fold"):
        add_q(table, ["fold"])
    with pytest.raises(MarginomeError, match=r"no column position; it has .*Name the columns to test within: test_set"):
        add_q(table.drop(columns="position"))  # of an earlier version


def test_q_is_made_of_no_smaller_p_than_controls_can_show(rng):
    p = rng.uniform(size=200) ** 5
    table = pd.DataFrame({"output": np.repeat(["x", "y"], 100), "p": p, "p_resolution": np.repeat([0.01, 1e-4], 100)})
    found = add_q(table, ["output"])
    for part, r in ((slice(0, 100), 0.01), (slice(100, 200), 1e-4)):
        assert (p[part] < r).any()
        expected = multipletests(np.maximum(p[part], r), method="fdr_bh")[1]
        np.testing.assert_allclose(found["q"][part], expected, rtol=1e-12)
    alone = add_q(pd.DataFrame({"p": [1e-30, np.nan, *rng.uniform(0.2, 1, 98)], "p_resolution": 1e-3}), [])
    assert alone["q"][0] == pytest.approx(0.099) and np.isnan(alone["q"][1])


def test_the_same_insert_is_tested_once(rng):
    """Motifs of one consensus, and both orientations of a palindrome, share a p-value and are one hypothesis."""
    p = rng.uniform(size=30) ** 4
    copies = rng.integers(1, 5, size=30)
    rows = pd.DataFrame(
        {"output": "x", "insert": np.repeat([f"s{i}" for i in range(30)], copies), "p": p.repeat(copies)}
    )
    rows = pd.concat([rows, rows.assign(output="y", p=rows["p"] / 2)]).sample(frac=1, random_state=1)
    found = add_q(rows, ["output"])
    for factor, output in ((1, "x"), (2, "y")):
        expected = dict(zip((f"s{i}" for i in range(30)), multipletests(p / factor, method="fdr_bh")[1]))
        part = found[found.output == output]
        np.testing.assert_allclose(part["q"], [expected[s] for s in part["insert"]], rtol=1e-12)
    each = add_q(rows[rows.output == "x"], ["output"], test=None)
    np.testing.assert_allclose(each["q"], multipletests(each["p"], method="fdr_bh")[1], rtol=1e-12)
    gap = add_q(pd.DataFrame({"insert": ["a", "b"], "p": [np.nan, 0.01]}), [])
    assert np.isnan(gap["q"][0]) and gap["q"][1] == 0.01


@pytest.mark.parametrize(("tests", "findings"), [(1437, 1), (1437, 6), (24, 6), (100, 100), (1, 1)])
def test_controls_needed_is_the_least_that_is_enough(tests, findings):
    """By q itself: some inserts beyond every control, the rest without effect."""

    def q_of_findings(n, found=findings):
        p = np.full(tests, 1.0)
        p[:found] = 1e-12
        return add_q(pd.DataFrame({"p": p, "p_resolution": 2 / (n + 1)}), [])["q"].iloc[0]

    n = controls_needed(tests, findings)
    assert q_of_findings(n) <= 0.05 * (1 + 1e-12)
    assert n == 1 or q_of_findings(n - 1) > 0.05
    assert controls_needed(tests, findings, alternative="greater") == max(1, (n + 2) // 2 - 1)
    for n in (40, 1000, 5000):
        least = findings_needed(tests, 2 / (n + 1))
        assert least > tests or q_of_findings(n, least) <= 0.05 * (1 + 1e-12)
        assert least == 1 or least > tests + 1 or q_of_findings(n, least - 1) > 0.05
    for bad in ({"findings": 0}, {"findings": tests + 1}, {"q": 0.0}):
        with pytest.raises(MarginomeError, match="findings of"):
            controls_needed(**({"tests": tests} | bad))


def test_a_missing_name_is_a_name():
    """Rows without a background are tested together, and rows without an insert are one test of their set."""
    p = np.array([0.01, 0.02, 0.03, 0.04, 0.5, 0.5])
    table = pd.DataFrame({"background": ["a", None, "a", None, None, None], "p": p, "insert": [*"xyzw", None, None]})
    found = add_q(table, ["background"])["q"].to_numpy()
    np.testing.assert_allclose(found[[0, 2]], multipletests(p[[0, 2]], method="fdr_bh")[1], rtol=1e-12)
    once = multipletests(p[[1, 3, 4]], method="fdr_bh")[1]
    np.testing.assert_allclose(found[[1, 3, 4, 5]], [*once, once[-1]], rtol=1e-12)


def test_the_largest_p_of_a_test_counts():
    """Rows of one insert that rounding tells apart."""
    table = pd.DataFrame({"insert": ["a", "a", "b"], "p": [0.01, 0.011, 0.5]})
    np.testing.assert_allclose(add_q(table, [])["q"], [0.022, 0.022, 0.5], rtol=1e-12)


def test_no_tests_and_the_bounds_of_q():
    assert np.isnan(benjamini_hochberg(np.array([np.nan, np.nan]))).all() and benjamini_hochberg(np.array([])).size == 0
    assert controls_needed(10, 10, q=1.0) == 1 and findings_needed(10, 0.5, q=1.0) == 5
    with pytest.raises(MarginomeError, match="findings of"):
        controls_needed(10, q=1.01)
