"""Agreement of background sets against SciPy and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from marginome.agreements import agreement, agreements, consensus
from marginome.errors import MarginomeError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def three_sets(rng):
    shared = rng.normal(size=50)
    rows = []
    for name, noise in (("gc", 0.1), ("shuffled", 0.1), ("odd", 0.1)):
        for i in range(50):
            effect = shared[i] + noise * rng.normal()
            if i == 7:
                effect = 30.0 if name == "odd" else 0.01
            if i == 3:
                effect = 10.0
            rows.append(("c", f"m{i}", "+", 5, name, effect, 0.001 if i == 3 else 0.5))
    columns = ["collection", "motif_id", "orientation", "start", "background", "effect", "q"]
    table = pd.DataFrame(rows, columns=columns)
    table.loc[(table.motif_id == "m3") & (table.background == "odd"), "q"] = 0.2
    return table.sample(frac=1, random_state=0)


def test_agreement_equals_scipy(three_sets):
    found = agreement(three_sets, "background").set_index(["first", "second"])
    wide = three_sets.pivot(index="motif_id", columns="background", values="effect")
    assert len(found) == 3
    for (a, b), row in found.iterrows():
        assert row["n"] == 50
        assert row["spearman"] == pytest.approx(stats.spearmanr(wide[a], wide[b]).statistic)
        assert row["pearson"] == pytest.approx(stats.pearsonr(wide[a], wide[b]).statistic)
        assert row["sign_agreement"] == pytest.approx((np.sign(wide[a]) == np.sign(wide[b])).mean())
        top = [set(wide[x].abs().nlargest(20).index) for x in (a, b)]
        assert row["top_overlap"] == len(top[0] & top[1]) / 20


def test_agreements_come_in_parts_of_at_least_so_many_rows(rng):
    wide = pd.DataFrame(rng.normal(size=(30, 5)), columns=list("abcde"))
    parts = list(agreements(wide, rows=3))
    assert list(parts[0])[:3] == ["first", "second", "n"]
    assert list(zip(parts[1]["first"], parts[1]["second"])) == [("b", "c"), ("b", "d"), ("b", "e")]
    assert [len(part) for part in parts] == [4, 3, 3]  # a against four, b against three, c and d against the rest
    assert parts[2].index.tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), next(agreements(wide)))


def test_effects_whose_squares_are_0_are_compared_too(three_sets):
    found = agreement(three_sets.assign(effect=1e-200 * three_sets["effect"]), "background")
    known = agreement(three_sets, "background")
    pd.testing.assert_frame_equal(found, known, rtol=1e-9)


def test_consensus_shows_what_hangs_on_one_background(three_sets):
    found = consensus(three_sets, "background").set_index("motif_id")
    wide = three_sets.pivot(index="motif_id", columns="background", values="effect")
    np.testing.assert_allclose(found.loc[wide.index, "mean"], wide.mean(axis=1))
    np.testing.assert_allclose(found.loc[wide.index, "spread"], wide.std(axis=1))
    assert found.index[0] == "m3" and found.loc["m3", "consensus_rank"] == 1
    assert found.loc["m3", "q_max"] == 0.2  # one background does not find it
    odd = found.loc["m7"]
    assert odd["highest"] == 30 and odd["worst_rank"] > 40 and odd["consensus_rank"] > 10
    ranks = wide.abs().rank(ascending=False)
    np.testing.assert_allclose(found.loc[wide.index, "mean_rank"], ranks.mean(axis=1))


def test_agreement_with_missing_members(three_sets):
    part = three_sets[~((three_sets.motif_id == "m0") & (three_sets.background == "gc"))]
    found = agreement(part, "background").set_index(["first", "second"])
    assert found.loc[("gc", "odd"), "n"] == 49 and found.loc[("odd", "shuffled"), "n"] == 50
    together = consensus(part, "background").set_index("motif_id")
    assert together.loc["m0", "n_sets"] == 2 and np.isnan(together.loc["m0", "q_max"])


def test_agreement_refuses_repeated_inserts(three_sets):
    twice = three_sets.iloc[[4, 9]]
    with pytest.raises(
        MarginomeError, match=f"2 rows repeat an insert within one background.*{twice['motif_id'].iloc[0]}'"
    ):
        agreement(pd.concat([three_sets, twice]), "background")


def by_hand(table, a, b):
    """What two members say of the inserts that both have, by loops."""
    of = {m: dict(zip(t["motif_id"], t["effect"])) for m, t in table.groupby("background")}
    both = sorted(of[a].keys() & of[b].keys())
    x, y = ([of[m][i] for i in both] for m in (a, b))
    top = [set(sorted(both, key=lambda i: -abs(of[m][i]))[:20]) for m in (a, b)]
    same = sum(np.sign(u) == np.sign(v) for u, v in zip(x, y))
    return len(both), same / len(both), len(top[0] & top[1]) / min(20, len(both))


@pytest.mark.parametrize("n", [1, 2, 5, 19, 21, 45])
def test_agreement_of_few_inserts(rng, n):
    rows = [("c", f"m{i}", "+", 5, name, rng.normal()) for name in "ab" for i in range(n + (name == "b"))]
    table = pd.DataFrame(rows, columns=["collection", "motif_id", "orientation", "start", "background", "effect"])
    (found,) = agreement(table, "background").to_dict("records")
    assert (found["n"], found["sign_agreement"], found["top_overlap"]) == pytest.approx(by_hand(table, "a", "b"))
    assert np.isnan(found["spearman"]) == np.isnan(found["pearson"]) == (n == 1)
    wide = table.pivot(index="motif_id", columns="background", values="effect").dropna()
    for sign in (1, -1) if n > 1 else ():
        a, b = wide["a"], sign * wide["b"]
        (turned,) = agreement(
            table.assign(effect=table["effect"].where(table["background"] == "a", sign * table["effect"])), "background"
        ).to_dict("records")
        assert turned["pearson"] == pytest.approx(np.corrcoef(a, b)[0, 1])
        assert turned["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic)
    for member in "ab":  # one that always says the same has no correlation, but signs
        table.loc[table["background"] == member, "effect"] = 1.0
        (found,) = agreement(table, "background").to_dict("records")
        assert np.isnan([found["spearman"], found["pearson"]]).all() and found["sign_agreement"] >= 0


def test_each_pair_of_members_is_compared_on_what_both_have(rng):
    """Five members of which two have the same inserts and each other one lacks others."""
    rows = [("c", f"m{i}", "+", 5, name, rng.normal()) for name in "abcde" for i in range(40)]
    table = pd.DataFrame(rows, columns=["collection", "motif_id", "orientation", "start", "background", "effect"])
    number = table["motif_id"].str[1:].astype(int)
    for name, lacks in (("a", number % 7 == 0), ("c", number > 30), ("d", number < 6), ("e", number > 30)):
        table = table[~((table["background"] == name) & lacks.reindex(table.index))]
    found = agreement(table, "background")
    assert len(found) == 10 and found.index.is_unique
    for row in found.to_dict("records"):
        a, b = row["first"], row["second"]
        assert (row["n"], row["sign_agreement"], row["top_overlap"]) == pytest.approx(by_hand(table, a, b))
        wide = table[table["background"].isin([a, b])].pivot(index="motif_id", columns="background", values="effect")
        wide = wide.dropna()
        assert row["pearson"] == pytest.approx(np.corrcoef(wide[a], wide[b])[0, 1])
        assert row["spearman"] == pytest.approx(stats.spearmanr(wide[a], wide[b]).statistic)


def test_members_that_share_nothing():
    rows = [("c", m, "+", 5, name, 1.0) for name, m in (("a", "m0"), ("b", "m1"))]
    table = pd.DataFrame(rows, columns=["collection", "motif_id", "orientation", "start", "background", "effect"])
    (found,) = agreement(table, "background").to_dict("records")
    assert found["n"] == 0 and np.isnan([v for k, v in found.items() if k not in ("first", "second", "n")]).all()


def test_consensus_by_hand(rng):
    """Four inserts, of which one is missing once, one ties and one is zero in a member."""
    effects = {"a": [3.0, -1.0, 0.0, 2.0], "b": [2.0, -1.0, 4.0, None], "c": [-1.0, -1.0, 0.5, 3.0]}
    rows = [("c", f"m{i}", "+", 5, n, e) for n, found in effects.items() for i, e in enumerate(found) if e is not None]
    table = pd.DataFrame(rows, columns=["collection", "motif_id", "orientation", "start", "background", "effect"])
    found = consensus(table, "background").set_index("motif_id")
    ranks = {"m0": [1, 2, 2.5], "m1": [3, 3, 2.5], "m2": [4, 1, 4], "m3": [2, 1]}
    signs = {"m0": 2 / 3, "m1": 1.0, "m2": 2 / 3, "m3": 1.0}
    assert "q_max" not in found and list(found.index) == ["m3", "m0", "m1", "m2"]
    for i, (name, rank) in enumerate(ranks.items()):
        given = [e[i] for e in effects.values() if e[i] is not None]
        row = found.loc[name]
        assert (row["n_sets"], row["lowest"], row["highest"]) == (len(given), min(given), max(given))
        assert row["mean"] == pytest.approx(np.mean(given)) and row["spread"] == pytest.approx(np.std(given, ddof=1))
        assert row["sign_agreement"] == pytest.approx(signs[name])
        assert row["mean_rank"] == pytest.approx(np.mean(rank)) and row["worst_rank"] == max(rank)
    assert found["consensus_rank"].tolist() == [1, 2, 3, 4]
    tied = table.assign(effect=1.0, q=0.5)
    assert consensus(tied, "background")["consensus_rank"].tolist() == [1, 1, 1, 4]
