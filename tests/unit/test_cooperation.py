"""Do pairs that do not cooperate get p-values that keep what they promise, and do pairs that do come out?

Two sources: interactions drawn from distributions that are known, motif by motif and gap by gap, by the thousand; and
networks made by hand (`handmade_pairs`) through insert lists, seams and scores. `tests/benchmarks/bench_cooperation.py`
does the latter at length, for docs/pairs_measured.md.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

import handmade_pairs
from marginome import MarginomeError
from marginome.cooperation import NOTHING, Expectation, pair_rows, periodicity, score_pairs
from marginome.tails import Tails

GAPS = [0, 1, *range(3, 40, 4), 60, 70, 80, 90]
KINDS = ["++ given", "+- given"]


def drawn(seed, *, motifs=8, mismatched=200, readout=None, planted=None, alike=False, gaps=None):
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
    places = pd.DataFrame([(kind, gap) for kind in KINDS for gap in gaps or GAPS], columns=["arrangement", "gap"])
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


def left_out_by_hand(x, y, weights):
    """What is left of each value by a weighted fit to the others, one fit each."""
    left = []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        root = np.sqrt(weights[others])
        left.append(y[i] - x[i] @ np.linalg.lstsq(x[others] * root[:, None], y[others] * root, rcond=None)[0])
    return np.array(left)


def expectation_by_hand(a, b, y):
    """(f, misfit over |E_A E_B|): the number of terms by fits without each pair, weights from the fullest."""
    terms = lambda u, v: np.stack([u * v, u * v * (u + v), (u * v) ** 2, u * v * (u**2 + v**2)], axis=1)  # noqa: E731
    x, weights = terms(a, b)[:, : min(4, len(y) // 5)], np.ones(len(y))
    for _ in range(20):
        left = np.abs(left_out_by_hand(x, y, weights))
        weights = np.minimum(1, 2 * 1.4826 * (np.median(left) or 1) / np.maximum(left, 1e-300))
    errors = [np.average(y**2, weights=weights) ** 0.5]
    errors += [np.average(left_out_by_hand(x[:, :k], y, weights) ** 2, weights=weights) ** 0.5
               for k in range(1, x.shape[1] + 1)]  # fmt: skip
    best = 0
    for k in range(1, len(errors)):
        best = k if errors[k] < 0.98 * errors[best] else best
    root = np.sqrt(weights)
    beta = np.linalg.lstsq(x[:, :best] * root[:, None], y * root, rcond=None)[0]
    misfit = errors[best] * (weights.sum() / (weights @ (a * b) ** 2)) ** 0.5
    return (lambda u, v: terms(u, v)[:, :best] @ beta), misfit, best


def units_by_hand(size, eligible, rows):
    """What meaningless neighbours do to the pair of each row: plain loops over dicts, after `score_pairs`."""
    cells = list(zip(rows["pair"], rows["gap"], size, eligible))
    kept = {pair: k for pair, k in zip(rows["pair"], rows["kept"]) if not pd.isna(k)}
    alone = {pair: [] for pair in rows["pair"]}
    for pair, a, b in zip(rows["pair"], rows["effect_first"], rows["effect_second"]):
        alone[pair].append(max(abs(a), abs(b)))
    floor = 1e-5 * max(map(max, alone.values()))
    of_pair = dict.fromkeys(kept, 1.0)
    gaps = sorted(set(rows["gap"]))
    for _ in range(3):
        at = [np.median([s / of_pair[p] for p, g, s, _ in cells if p in kept and g == gap]) for gap in gaps]
        smooth = {gap: np.mean(at[max(i - 1, 0) : i + 2]) for i, gap in enumerate(gaps)}
        least = max(0.1 * max(smooth[g] for p, g, _, fit in cells if fit and p in kept), floor)
        profile = {gap: max(value, least) for gap, value in smooth.items()}
        shares = {pair: [] for pair in kept}
        for p, g, s, fit in cells:
            if p in kept and fit and smooth[g] >= least:
                shares[p].append(s / profile[g])
        typical = {pair: np.median(values) for pair, values in shares.items() if values}
        usual = np.median([*typical.values()])
        of_pair = {pair: max(typical.get(pair, usual), 1e-3) for pair in kept}
    groups = {motif: [pair for pair in kept if kept[pair] == motif] for motif in set(kept.values())}
    known = {motif for pair in set(rows["pair"]) - set(kept) for motif in pair}
    strength = {m: np.mean([np.median(alone[p]) for p in groups[m]]) if m in groups else 0 for m in known | set(groups)}
    scale = {m: math.log(s + 0.05 * max(strength.values()) + floor) for m, s in strength.items()}
    line = np.polyfit([scale[kept[p]] for p in kept], [math.log(of_pair[p]) for p in kept], 1)
    usual = {m: np.polyval(line, x) for m, x in scale.items()}
    left = {p: math.log(of_pair[p]) - usual[kept[p]] for p in kept}
    own = {m: [left[p] for p in some] for m, some in groups.items()}
    within = max(sum(np.var(v) * len(v) for v in own.values()) / max(len(kept) - len(own), 1), 1e-4)
    between = max(sum(len(v) * np.mean(v) ** 2 - within for v in own.values()) / len(kept), 1e-4)

    def motif(name, without=()):
        values = own.get(name, [])
        return math.exp(usual[name] + (sum(values) - sum(without)) / (len(values) - len(without) + within / between))

    s = {}
    for pair in set(rows["pair"]):
        if pair in kept:
            s[pair] = motif(kept[pair], [left[pair]])
        else:
            a, b = (motif(name) ** 2 for name in pair)
            s[pair] = max(a + b - (motif(NOTHING) ** 2 if NOTHING in groups else 0), a, b) ** 0.5
    return np.array([s[pair] * profile[gap] for pair, gap in zip(rows["pair"], rows["gap"])])


def judged_by_hand(rows, z, eligible):
    """{pair: (index of the largest |z|, z, p, low, high)}; p by rank, its interval by repeating values."""
    kept, best = {}, {}
    for i, pair, k, value, fit in zip(rows.index, rows["pair"], rows["kept"], z, eligible):
        kept[pair] = k
        if fit and np.isfinite(value) and abs(value) > abs(best.get(pair, (0, 0))[1]):
            best[pair] = (i, value)
    null = {pair: abs(best[pair][1]) for pair, k in kept.items() if not pd.isna(k) and k != NOTHING and pair in best}
    motifs = sorted({kept[pair] for pair in null})
    times = np.random.default_rng(0).multinomial(len(motifs), [1 / len(motifs)] * len(motifs), size=400)
    times = times[:, [motifs.index(kept[pair]) for pair in null]]
    sample, found = np.array([*null.values()]), {}
    for pair in kept:
        if pd.isna(kept[pair]) and pair in best:
            size = abs(best[pair][1])
            shares = [(np.sum(drawn >= size) + 1) / (len(drawn) + 1) for drawn in (np.repeat(sample, t) for t in times)]
            p = Tails(sample).p(np.array([size]), "greater")[0]
            assert size > max(sample) or p == pytest.approx((np.sum(sample >= size) + 1) / (len(sample) + 1))
            found[pair] = (*best[pair], p, *np.quantile(shares, [0.025, 0.975]))
    return found


def nothing_is_left_out(rows):
    return rows


def blind_far_away(rows):
    return rows.assign(interaction=rows["interaction"].where(rows["gap"] < 12, 0.0))


def no_pairs_of_two_controls(rows):
    return rows[rows["kept"] != NOTHING]


def motifs_kept_by_none_and_by_one(rows):
    of_m1 = rows.loc[rows["kept"] == "m1", "pair"].unique()
    return rows[(rows["kept"] != "m0") & ~rows["pair"].isin(list(of_m1[1:]))]


def half_are_seams(rows):
    first = rows["pair"] == rows["pair"].iat[0]
    rng = np.random.default_rng(0)
    return rows.assign(seam=(rng.random(len(rows)) < 0.5) | first & (rows["gap"] >= 60))


@pytest.mark.parametrize("alike", [False, True], ids=["disturbed eightfold", "disturbed alike"])
@pytest.mark.parametrize("changed", [nothing_is_left_out, blind_far_away, no_pairs_of_two_controls,
                                     motifs_kept_by_none_and_by_one, half_are_seams])  # fmt: skip
def test_every_number_of_a_screen_of_pairs_by_hand(changed, alike):
    gaps = [0, 1, *range(3, 28, 2), 60, 70, 80, 90]  # dense enough for a period
    rows = changed(drawn(11, motifs=4, mismatched=80, readout=saturates, alike=alike, gaps=gaps))
    rows = rows.sample(frac=1, random_state=0).rename(index=lambda i: i + 5000)  # their order and names say nothing
    found = score_pairs(rows, far=60)
    real, seam, gap = rows["kept"].isna().to_numpy(), rows["seam"].to_numpy(), rows["gap"].to_numpy()
    eligible = ~seam & (gap >= 3) & (gap < 60)
    reference = ~seam & (gap >= 60)
    means = rows[real & reference].groupby("pair")[["effect_first", "effect_second", "interaction"]].mean()
    f, misfit, terms = expectation_by_hand(*means.to_numpy().T)
    a, b, interaction = (rows[name].to_numpy() for name in ("effect_first", "effect_second", "interaction"))
    beyond = interaction - f(a, b)
    unit = np.hypot(units_by_hand(np.abs(beyond), eligible, rows), misfit * np.abs(a * b))
    own_far = pd.Series(beyond[reference]).groupby(rows["pair"].to_numpy()[reference]).mean()
    centred = beyond - rows["pair"].map(own_far).to_numpy()
    own_unit = units_by_hand(np.abs(np.nan_to_num(centred)), eligible, rows)
    assert found.terms == terms and (terms == 0) == (changed is blind_far_away)
    told = found.arrangements
    assert told.index.equals(rows.index) and told["eligible"].equals(pd.Series(eligible, rows.index))
    known = {"expected": f(a, b), "beyond": beyond, "beyond_sd": unit, "beyond_z": beyond / unit}
    for column, values in known.items():
        np.testing.assert_allclose(told[column], values, rtol=1e-7, atol=1e-12, err_msg=column)

    pairs = found.pairs
    assert set(pairs.index) == set(rows["pair"][real]) and pairs["far"].eq(60).all()
    for z, names in [
        (beyond / unit, ["best", "cooperation_z", "cooperation_p", "cooperation_p_low", "cooperation_p_high"]),
        (centred / own_unit, ["syntax_best", "syntax_z", "syntax_p"]),
    ]:
        judged = judged_by_hand(rows, z, eligible)
        for pair in pairs.index:
            expected = judged.get(pair, (None, *[np.nan] * 4))[: len(names)]
            mine = pairs.loc[[pair], names].iloc[0].tolist()
            assert mine[0] == expected[0] or (pair not in judged and pd.isna(mine[0]))
            assert mine[1:] == pytest.approx(expected[1:], rel=1e-7, nan_ok=True), (pair, names)
    waves = rows.assign(beyond=beyond)[eligible].groupby("pair")[["beyond", "gap", "arrangement"]]
    share = waves.apply(lambda mine: periodicity(*(mine[name].to_numpy() for name in mine)))
    share = share.reindex(rows["pair"].unique())
    null = share[rows.drop_duplicates("pair").set_index("pair")["kept"].fillna(NOTHING) != NOTHING].dropna()
    assert share.notna().mean() > (0 if changed is half_are_seams else 0.99)
    np.testing.assert_allclose(pairs["period_share"], share[pairs.index], rtol=1e-9)
    known = Tails(null.to_numpy()).p(pairs["period_share"].to_numpy(), "greater") if len(null) > 20 else np.nan
    np.testing.assert_allclose(pairs["period_p"], known, rtol=1e-9)
    some = rows[eligible & real].groupby("pair")["interaction"]
    np.testing.assert_allclose(
        pairs["hard_share"], (some.var(ddof=0) / some.apply(lambda v: (v**2).mean()))[pairs.index]
    )
    assert pairs["n_arrangements"].equals(some.size()[pairs.index].rename("n_arrangements"))


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


@pytest.mark.parametrize("n", [2, 7, 8, 12])
def test_the_largest_quarter_of_the_gaps_is_far_apart(n):
    rows = drawn(2, motifs=3, mismatched=40, gaps=GAPS[-n:])
    assert score_pairs(rows).pairs["far"].eq(sorted(GAPS)[-max(1, n // 4)]).all()


def test_where_counts_begin():
    """The fewest mismatched pairs, the fewest that a p is ranked among, the nearest gap that may be the best."""
    rows = drawn(2, motifs=3, mismatched=40)
    one = rows["pair"] == rows.loc[rows["kept"].notna(), "pair"].iat[0]
    with pytest.raises(MarginomeError, match="39 mismatched pairs are too few for a null, at least 40"):
        score_pairs(rows[~one])
    fresh = rows["kept"].notna() & (rows["kept"] != NOTHING)
    for left in (20, 21):  # of the mismatched pairs so many have an arrangement that is no seam
        hidden = rows["pair"].isin(rows.loc[fresh, "pair"].unique()[left:])
        pairs = score_pairs(rows.assign(seam=hidden & (rows["gap"] < 60))).pairs
        assert pairs[["cooperation_p", "syntax_p", "cooperation_p_low"]].notna().all(axis=None) == (left == 21)
        assert pairs["n_mismatched"].eq(left).all() and pairs["p_resolution"].eq(1 / (left + 1)).all()
    for least in (2, 3):
        moved = rows.assign(gap=rows["gap"].where(rows["gap"] != 7, least))
        moved = moved[~moved["gap"].isin([0, 1, 3]) | (rows["gap"] == 7)]
        assert score_pairs(moved).arrangements["eligible"][moved["gap"] == least].eq(least == 3).all()


def test_the_best_arrangement_may_be_the_first_row():
    rows = drawn(2, motifs=3, mismatched=40)
    known = score_pairs(rows).pairs
    first = known["best"].iat[1]
    found = score_pairs(rows.loc[[first, *rows.index.drop(first)]]).pairs.loc[known.index]
    assert found["best"].iat[1] == first
    np.testing.assert_allclose(found[["cooperation_z", "cooperation_p"]], known[["cooperation_z", "cooperation_p"]])


def test_the_best_arrangement_is_named_by_its_label_beside_pairs_that_have_none():
    rows = drawn(2, motifs=3, mismatched=40)
    hidden = (rows["pair"] == ("m0", "m1")) & (rows["gap"] < 60)
    best = score_pairs(rows.assign(seam=hidden)).pairs[["best", "syntax_best"]]
    none = best.index == ("m0", "m1")
    assert best[none].isna().all(axis=None) and all(isinstance(label, int) for label in best[~none].to_numpy().ravel())


def test_a_model_that_adds_up_to_rounding():
    """All interactions are 0, or what float32 rounds off: p is a rank, and none is missing."""
    rows = drawn(2, motifs=3, mismatched=40).assign(interaction=0.0)
    none = score_pairs(rows)
    assert none.terms == 0 and none.pairs["hard_share"].isna().all()
    for found in (none, score_pairs(rows.assign(effect_first=0.0, effect_second=0.0))):
        assert found.pairs[["cooperation_p", "syntax_p"]].eq(1).all(axis=None)
        assert found.arrangements["beyond_z"].eq(0).all()
    largest = rows[["effect_first", "effect_second"]].abs().max(axis=None)
    assert Expectation(*np.zeros((3, 9))).misfit == 0
    np.testing.assert_allclose(none.arrangements["beyond_sd"], 1e-5 * largest)
    rounded = score_pairs(rows.assign(interaction=1e-7 * np.random.default_rng(0).normal(size=len(rows))))
    assert rounded.pairs[["cooperation_p", "syntax_p"]].notna().all(axis=None)
    assert rounded.arrangements["beyond_z"].abs().max() < 0.1


@pytest.mark.parametrize("n", [2, 4, 5, 9, 10, 19, 20, 40])
def test_an_expectation_by_fits_without_each_pair(n):
    rng = np.random.default_rng(n)
    a, b = rng.uniform(-2, 3, (2, n))
    y = saturates(a + b) - saturates(a) - saturates(b) + 0.02 * rng.standard_t(3, size=n)
    found, (u, v) = Expectation(a, b, y), rng.uniform(-2, 3, (2, 7))
    if n < 5:
        alike = np.array([1.0, -1.0] * 2)[:n]  # here the term does not help
        assert found.terms == 1 == Expectation(np.ones(n), np.ones(n), alike).terms
        return
    f, misfit, terms = expectation_by_hand(a, b, y)
    assert found.terms == terms <= n // 5
    np.testing.assert_allclose(found(u, v), f(u, v), rtol=1e-7)
    np.testing.assert_allclose(found.uncertainty(u, v), misfit * np.abs(u * v), rtol=1e-7)
    scaled = Expectation(1e3 * a, 1e3 * b, 1e3 * y)
    np.testing.assert_allclose(scaled(1e3 * u, 1e3 * v), 1e3 * f(u, v), rtol=1e-7)
    assert Expectation(1e-3 * a, 1e-3 * b, 1e-6 * a * b).terms == 1 and Expectation(a, b, 1e-7 * a * b).terms == 0


def test_a_pair_that_alone_decides_a_fit_is_not_taken_to_fit_itself():
    """The one pair of strong motifs: a fit without it says nothing of it, and nothing is divided by 0."""
    a, b = np.array([100.0, *[1e-3] * 9]), np.array([100.0, *[1e-3] * 9])
    y = np.array([1.0, *[1e-3] * 9])
    found = Expectation(a, b, y)
    assert np.isfinite(found(a, b)).all() and np.isfinite(found.misfit)


@pytest.mark.parametrize("kinds", [["++ given"], ["++ given", "+- given"]])
def test_a_wave_beside_a_parabola_by_least_squares(kinds):
    rng = np.random.default_rng(0)
    for turn in (10.5, 8.0):
        gap, kind = np.tile(np.arange(3, 45), len(kinds)), np.repeat(kinds, 42)
        y = rng.normal(size=len(gap)) + np.cos(2 * np.pi * gap / turn)
        shares = []
        for name in kinds:
            x, z = gap[kind == name].astype(float), y[kind == name]
            parabola = np.stack([x**0, x, x**2], axis=1)
            wave = np.stack([np.cos(2 * np.pi * x / turn), np.sin(2 * np.pi * x / turn)], axis=1)
            shares.append(1 - OLS(z, np.hstack([parabola, wave])).fit().ssr / OLS(z, parabola).fit().ssr)
        assert periodicity(y, gap, kind, turn=turn) == pytest.approx(max(shares), rel=1e-9)
    assert periodicity(y, gap, kind) == periodicity(y, gap, kind, turn=10.5)


def test_where_a_period_is_looked_for():
    """Eight gaps over two turns, four a turn: all three just so, and each of them missed."""

    def share(gap):
        gap = np.asarray(gap)
        return periodicity(np.cos(2 * np.pi * gap / 10.5), gap, np.full(len(gap), "++ given"))

    just = np.arange(0, 22, 3)
    assert len(just) == 8 and np.ptp(just) == 21 and share(just) == pytest.approx(1)
    assert np.isnan(share([0, 3, 6, 9, 15, 18, 21])), "seven gaps"
    assert np.isnan(share([0, 3, 6, 9, 12, 15, 18, 20])), "less than two turns"
    assert np.isnan(share([0, 3, 6, 9, 12, 15, 18, 22])), "fewer than four a turn"
    both = np.concatenate([just[:3], just, just[:3]])
    kinds = np.repeat(["+- given", "++ given", "-+ given"], [3, 8, 3])
    assert periodicity(np.cos(2 * np.pi * both / 10.5), both, kinds) == pytest.approx(1), "one arrangement has them"
    assert periodicity(1e-3 * np.cos(2 * np.pi * just / 10.5), just, kinds[3:11]) == pytest.approx(1)
    assert periodicity(np.zeros(8), just, kinds[3:11]) == 0


def test_rows_of_pairs_from_an_insert_list():
    """Eight rows written out: a pair in two orders, mismatched pairs of either side, a pair of two controls."""
    columns = "role motif_id orientation start insert partner_id partner_orientation gap order effect".split()
    made_of = "first second kept arrangement gap effect_first effect_second interaction seam pair".split()
    alone = [None] * 4
    table = pd.DataFrame(
        [
            ["motif", "A", "+", 0, "AAA", *alone, 1.0],
            ["motif", "B", "-", 4, "CC", *alone, 2.0],
            ["pair", "A", "+", 0, "AAAnCC", "B", "-", 1, "given", 3.5],
            ["motif", "B", "-", 0, "CC", *alone, 2.2],
            ["motif", "A", "+", 3, "AAA", *alone, 1.3],
            ["pair", "A", "+", 0, "CCnAAA", "B", "-", 1, "swapped", 4.0],
            ["mismatched", "c", "-", 4, "GG", *alone, 0.1],
            ["mismatched", "A", "+", 0, "AAAnGG", "c", "-", 1, "given", 1.2],
            ["mismatched", "d", "+", 0, "TTT", *alone, 0.3],
            ["mismatched", "d", "+", 0, "TTTnCC", "B", "-", 1, "given", 2.0],
            ["mismatched", "d", "+", 0, "TTTnGG", "c", "-", 1, "given", 0.9],
            ["control", "A", "+", 0, "GAG", *alone, 0.2],
        ],
        columns=columns, index=range(20, 32),
    )  # fmt: skip
    made = pair_rows(table, seam=np.arange(12) == 5)
    known = pd.DataFrame(
        [
            ["A", "B", None, "+- given", 1, 1.0, 2.0, 0.5, False, ("A", "B")],
            ["A", "B", None, "+- swapped", 1, 1.3, 2.2, 0.5, True, ("A", "B")],
            ["A", "c", "A", "+- given", 1, 1.0, 0.1, 0.1, False, ("A", "c")],
            ["d", "B", "B", "+- given", 1, 0.3, 2.0, -0.3, False, ("d", "B")],
            ["d", "c", NOTHING, "+- given", 1, 0.3, 0.1, 0.5, False, ("d", "c")],
        ],
        columns=made_of, index=[22, 25, 27, 29, 30],
    )  # fmt: skip
    pd.testing.assert_frame_equal(made, known, check_dtype=False)
    assert not pair_rows(table)["seam"].any()


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
