"""Do pairs that do not cooperate get p-values that keep what they promise, and do pairs that do come out?

Two sources: interactions drawn from distributions that are known, motif by motif and gap by gap, by the thousand; and
networks made by hand (`handmade_pairs`) through insert lists, seams and scores. `tests/benchmarks/bench_cooperation.py`
does the latter at length, for docs/grammar.md.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import handmade_pairs
from marginome import MarginomeError
from marginome.cooperation import NOTHING, Expectation, pair_rows, periodicity, score_pairs

GAPS = [0, 1, *range(3, 40, 4), 60, 70, 80, 90]
KINDS = ["++ given", "+- given"]


def drawn(seed, *, motifs=8, mismatched=200, readout=None, planted=None, alike=False):
    """Rows of pairs as a model would give them: strengths, a readout, and neighbours that disturb by motif and gap."""
    rng = np.random.default_rng(seed)
    names = [f"m{i}" for i in range(motifs)]
    strength = dict(zip(names, rng.uniform(0.1, 2, motifs)))
    # by a neighbour: eightfold between motifs, and controls hardly; or all alike, controls too
    disturbed = dict(zip(names, np.full(motifs, 0.02) if alike else rng.lognormal(-4, 0.8, motifs)))
    of_controls = 0.02 if alike else 0.001
    pairs = [(a, b, None) for i, a in enumerate(names) for b in names[i:]]
    for k in range(mismatched):
        a, b, _ = pairs[k % (motifs * (motifs + 1) // 2)]
        pairs.append((a, f"c{k}", a) if k // 36 % 2 else (f"c{k}", b, b))
    pairs += [(f"c{k}", f"d{k}", NOTHING) for k in range(mismatched, mismatched + mismatched // 5)]
    readout = readout or (lambda x: x)
    table = pd.DataFrame(pairs, columns=["first", "second", "kept"])
    for side in ("first", "second"):
        known = table[side].map(strength)
        table[f"alone_{side}"] = known.where(known.notna(), 0.05 * rng.normal(size=len(table)))
    spread = np.hypot(*(table[side].map(disturbed).fillna(of_controls) for side in ("first", "second")))
    places = pd.DataFrame([(kind, gap) for kind in KINDS for gap in GAPS], columns=["arrangement", "gap"])
    table = table.assign(spread=spread).merge(places, how="cross")
    columns = (table[name] for name in ("first", "second", "arrangement", "gap"))
    gain = np.array([planted(*row) for row in zip(*columns)]) if planted else 0.0
    a, b = table["alone_first"], table["alone_second"]
    left = table["spread"] * np.exp(-table["gap"] / 15) * rng.standard_t(4, size=len(table))
    table["effect_first"], table["effect_second"] = readout(a), readout(b)
    table["interaction"] = readout(a + b + gain) - readout(a) - readout(b) + left
    table["pair"] = list(zip(table["first"], table["second"]))
    return table.assign(seam=False)


def saturates(x):
    return 3 * np.tanh(x / 3)


@pytest.mark.parametrize("alike", [False, True], ids=["disturbed eightfold", "disturbed alike"])
@pytest.mark.parametrize("readout", [None, saturates], ids=["additive", "saturating"])
def test_pairs_that_do_not_cooperate_are_called_as_often_as_promised(readout, alike):
    """Over 15 draws of 36 pairs; pairs of a draw share a null and motifs, so the draws are what is independent."""
    shares = {level: [] for level in (0.05, 0.2)}
    syntax = {level: [] for level in shares}
    for seed in range(15):
        found = score_pairs(drawn(seed, readout=readout, alike=alike)).pairs
        for level in shares:
            shares[level].append((found["cooperation_p"] <= level).mean())
            syntax[level].append((found["syntax_p"] <= level).mean())
    for question in (shares, syntax):
        for level, values in question.items():
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            assert np.mean(values) <= 1.35 * level + 3 * error, (level, np.mean(values), error)
            assert np.mean(values) >= 0.2 * level, (level, np.mean(values))


def test_without_the_expectation_every_strong_pair_would_be_called():
    """What the null of controls alone says of a readout that saturates: most pairs; with it, few."""
    rows = drawn(1, readout=saturates)
    found = score_pairs(rows)
    real = rows["kept"].isna()
    raw = rows["interaction"].abs().groupby(rows["pair"]).max()
    null = raw[rows.drop_duplicates("pair").set_index("pair")["kept"].notna()]
    naive = np.mean([(null >= raw[pair]).mean() <= 0.01 for pair in found.pairs.index])
    assert naive > 0.5 and (found.pairs["cooperation_p"] <= 0.01).mean() < 0.1
    far = real & (rows["gap"] >= found.pairs["far"].iat[0])
    assert found.arrangements["beyond"][far].std() < 0.02 * rows["interaction"][far].std()


def test_what_is_planted_comes_out_where_it_is_and_nothing_else():
    def planted(first, second, kind, gap):
        return 0.4 * ((first, second) == ("m1", "m4") and kind == "++ given" and 7 <= gap <= 15)

    for seed in range(3):
        rows = drawn(seed, planted=planted)
        found = score_pairs(rows).pairs
        best = found.loc[[("m1", "m4")]].iloc[0]
        row = rows.loc[best["best"]]
        assert best["cooperation_p"] <= 0.02 and best["syntax_p"] <= 0.02 and best["cooperation_z"] > 0
        assert row["arrangement"] == "++ given" and 7 <= row["gap"] <= 15
        others = found.drop(index=[("m1", "m4")])
        assert (others["cooperation_p"] <= 0.02).sum() <= 3


def test_a_pair_that_cooperates_everywhere_is_found_and_has_no_syntax():
    def planted(first, second, kind, gap):
        return 0.5 * ((first, second) == ("m0", "m5"))

    found = score_pairs(drawn(3, planted=planted)).pairs
    best = found.loc[[("m0", "m5")]].iloc[0]
    assert best["cooperation_p"] <= 0.02 < 0.1 < best["syntax_p"] and best["hard_share"] < 0.1


def test_seams_and_near_gaps_are_reported_and_never_the_best():
    rows = drawn(4)
    mine = (rows["pair"] == ("m2", "m3")) & (rows["arrangement"] == KINDS[0])
    rows.loc[mine & (rows["gap"] == 1), "interaction"] = 50.0
    rows.loc[mine & (rows["gap"] == 7), ["interaction", "seam"]] = [80.0, True]
    found = score_pairs(rows)
    assert not found.arrangements["eligible"][mine & rows["gap"].isin([0, 1, 7, 80])].any()
    assert found.arrangements["beyond_z"][mine & rows["gap"].isin([1, 7])].min() > 100
    best = rows.loc[found.pairs.loc[[("m2", "m3")], "best"].iat[0]]
    assert best["gap"] not in (0, 1, 7) and best["gap"] < 70
    assert found.pairs.loc[[("m2", "m3")], "cooperation_p"].iat[0] > 0.005
    rows.loc[rows["pair"] == ("m2", "m3"), "seam"] = True  # nothing is left to choose from
    left = score_pairs(rows).pairs.loc[[("m2", "m3")]].iloc[0]
    assert pd.isna(left["best"]) and np.isnan(left["cooperation_p"]) and left["n_arrangements"] == 0


def test_a_model_that_sees_a_few_bases_only():
    """Beyond its sight everything is exactly 0; units come from where something happens, and none is missing."""
    shares = []
    for seed in range(8):
        rows = drawn(seed)
        alone = rows["gap"] > 8
        rows.loc[alone, "interaction"] = 0.0
        fresh = rows[rows["kept"].notna() & (rows["kept"] != NOTHING)]
        halves = pd.unique(fresh["pair"])[::2]
        rows.loc[rows["pair"].isin(list(halves)), "kept"] = None  # tested as if they were real
        found = score_pairs(rows)
        assert found.pairs["cooperation_p"].notna().all() and found.arrangements["beyond_sd"].gt(0).all()
        assert not (found.arrangements["beyond_z"][alone] != 0).any()
        shares.append((found.pairs.loc[list(halves), "cooperation_p"] <= 0.1).mean())
    assert 0.03 < np.mean(shares) < 0.15


def test_the_order_of_rows_and_the_unit_of_the_effect_change_nothing():
    rows = drawn(5, readout=saturates)
    known = score_pairs(rows).pairs
    shuffled = score_pairs(rows.sample(frac=1, random_state=1)).pairs.loc[known.index]
    scaled = rows.copy()
    scaled[["effect_first", "effect_second", "interaction"]] *= 1e3
    for other in (shuffled, score_pairs(scaled).pairs):
        for column in ("cooperation_p", "syntax_p", "cooperation_p_high", "hard_share"):
            np.testing.assert_allclose(other[column], known[column], rtol=1e-6)


def test_p_is_the_rank_among_the_largest_of_whole_mismatched_pairs():
    rows = drawn(6, mismatched=60)
    found = score_pairs(rows)
    z = found.arrangements["beyond_z"].abs().where(found.arrangements["eligible"])
    largest = z.groupby(rows["pair"]).max()
    kept = rows.drop_duplicates("pair").set_index("pair")["kept"]
    null = largest[kept.notna() & (kept != NOTHING)].to_numpy()
    assert len(null) == 60 and found.pairs["n_mismatched"].eq(60).all()
    assert found.pairs["p_resolution"].eq(1 / 61).all()
    for pair, row in found.pairs.iterrows():
        assert abs(row["cooperation_z"]) == pytest.approx(largest[[pair]].iat[0])
        if largest[[pair]].iat[0] <= null.max():
            assert row["cooperation_p"] == pytest.approx(((null >= largest[[pair]].iat[0]).sum() + 1) / 61)
        assert row["cooperation_p_low"] <= max(row["cooperation_p"], row["p_resolution"]) <= row["cooperation_p_high"]


def test_an_expectation_is_the_readout_that_all_pairs_share():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 3, (2, 60))
    bilinear = Expectation(a, b, -0.2 * a * b)
    np.testing.assert_allclose(bilinear(a, b), -0.2 * a * b, atol=1e-9)
    assert bilinear.terms == 1 and bilinear.misfit < 1e-9
    exact = saturates(a + b) - saturates(a) - saturates(b)
    found = Expectation(saturates(a), saturates(b), exact)
    assert found.terms >= 3 and np.abs(found(saturates(a), saturates(b)) - exact).max() < 0.05 * np.abs(exact).max()
    additive = Expectation(a, b, 0.01 * rng.normal(size=60))
    assert np.abs(additive(a, b)).max() < 0.02
    outlier = exact.copy()
    outlier[:3] += 2.0  # pairs that do cooperate
    held = Expectation(saturates(a), saturates(b), outlier)
    assert np.abs(held(saturates(a), saturates(b)) - exact)[3:].max() < 0.1 * np.abs(exact).max()
    one = Expectation(np.array([1.0]), np.array([2.0]), np.array([0.3]))
    assert one.terms == 1 and one(np.array([1.0]), np.array([2.0]))[0] == pytest.approx(0.3)
    assert additive(np.zeros(1), np.ones(1))[0] == 0, "a motif that does nothing has no interaction to expect"


def test_a_wave_of_a_turn_of_the_helix():
    gap = np.arange(3, 45)
    kind = np.full(len(gap), "++ given")
    trend = 0.5 - 0.01 * gap + 1e-4 * gap**2
    assert periodicity(trend + np.cos(2 * np.pi * (gap - 4) / 10.5), gap, kind) == pytest.approx(1, abs=1e-9)
    assert periodicity(np.cos(2 * np.pi * gap / 6), gap, kind) < 0.05
    noise = [periodicity(np.random.default_rng(i).normal(size=len(gap)), gap, kind) for i in range(200)]
    # two of the n - 3 degrees of freedom that the parabola leaves
    expected = stats.beta(1, (len(gap) - 5) / 2)
    assert stats.kstest(noise, expected.cdf).pvalue > 1e-3
    assert np.isnan(periodicity(trend[::5], gap[::5], kind[::5])), "too few gaps a turn"
    assert np.isnan(periodicity(trend[:15], gap[:15], kind[:15])), "not two turns"


def test_a_period_is_found_where_gaps_are_dense_near_and_sparse_far(monkeypatch):
    """Far gaps are not looked at: with them there were too few gaps a turn, and no p."""
    monkeypatch.setitem(globals(), "GAPS", [*range(3, 53, 2), 70, 90, 110, 130, 150, 170, 190, 200])

    def wave(first, second, arrangement, gap):
        return 0.3 * np.cos(2 * np.pi * gap / 10.5) * ((first, second, arrangement) == ("m2", "m3", KINDS[0]))

    found = score_pairs(drawn(1, planted=wave)).pairs
    assert found["far"].iat[0] > 52 and found["period_p"].notna().all()
    planted = found.loc[[("m2", "m3")]].iloc[0]
    assert planted["period_share"] > 0.8 and planted["period_p"] < 0.01
    others = found.drop(index=[("m2", "m3")])["period_p"]
    assert stats.binom.sf((others <= 0.1).sum() - 1, len(others), 0.1) > 1e-3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.drop(columns="seam"), "seam"),
        (lambda rows: rows.assign(interaction=rows["interaction"].where(rows.index != 7)), "row 7"),
        (lambda rows: rows[rows["kept"].isna() | rows["second"].isin([f"c{i}" for i in range(90)])], "too few"),
        (lambda rows: rows[rows["gap"] == 3], "all arrangements have the gap"),
        (lambda rows: rows.assign(seam=rows["gap"] > 50), "without a seam"),
        (lambda rows: rows.assign(seam=(rows["gap"] > 50) & rows["kept"].isna()), "without a seam"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, told):
    with pytest.raises(MarginomeError, match=told):
        score_pairs(change(drawn(0)))


PAIRS = [{"among": ["MA0139.2", "MA0527.2", "MA0099.4", "MA0062.4"], "gaps": [0, *range(3, 24, 3), 60, 80, 100],
          "orientations": ["++", "+-"], "mismatched": 60}]  # fmt: skip


@functools.cache
def handmade(kind, n_backgrounds, seed=1):
    table = handmade_pairs.listed(PAIRS, seed=seed)
    model = handmade_pairs.HandmadePairs(kind).eval()
    return table.assign(effect=handmade_pairs.effects(model, table, n_backgrounds=n_backgrounds))


@pytest.mark.parametrize(("kind", "sign"), [("saturating", 0), ("cooperative", 1), ("repressive", -1)])
def test_networks_made_by_hand(kind, sign):
    table = handmade(kind, 8)
    rows = pair_rows(table)
    found = score_pairs(rows)
    others = found.pairs
    if sign:
        best = others.loc[[handmade_pairs.TOGETHER]].iloc[0]
        row = rows.loc[best["best"]]
        assert best["cooperation_p"] <= 0.05 and np.sign(best["cooperation_z"]) == sign
        assert row["arrangement"] == "++ given" and row["gap"] <= (12 if sign > 0 else 30)
        others = others.drop(index=[handmade_pairs.TOGETHER])
    assert (others["cooperation_p"] <= 0.05).sum() <= 1 and len(others) >= 9
    far = rows["kept"].isna() & (rows["gap"] >= found.pairs["far"].iat[0])
    assert found.arrangements["beyond"][far].std() < 0.2 * rows["interaction"][far].std()


def test_more_backgrounds_do_not_make_more_calls():
    """Mismatched pairs of another seed, tested as if they were real: twice the backgrounds, the same share of calls."""
    calls, tests = {}, 0
    for n_backgrounds in (4, 8):
        rows = pair_rows(handmade("saturating", n_backgrounds))
        fresh = pair_rows(handmade("saturating", n_backgrounds, seed=2))
        fresh = fresh[fresh["kept"].notna() & (fresh["kept"] != NOTHING)].assign(kept=None)
        fresh.index += len(rows) * 10
        for side in ("first", "second"):  # another control than that of the same number in the null
            fresh[side] = fresh[side].str.replace("control_", "fresh_")
        fresh["pair"] = list(zip(fresh["first"], fresh["second"]))
        found = score_pairs(pd.concat([rows, fresh])).pairs
        fresh_pairs = found[[any("fresh" in motif for motif in pair) for pair in found.index]]
        calls[n_backgrounds], tests = (fresh_pairs["cooperation_p"] <= 0.1).sum(), len(fresh_pairs)
    assert tests == 60
    assert all(count <= stats.binom.ppf(0.999, tests, 0.1) for count in calls.values()), calls
