"""Agreement of background sets against SciPy and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from marginome.agreements import agreement, consensus
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
    with pytest.raises(MarginomeError, match="repeat an insert within one background"):
        agreement(pd.concat([three_sets, three_sets.iloc[:1]]), "background")
