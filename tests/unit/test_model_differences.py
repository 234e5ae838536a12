"""Differences between models: scales, the two tests, and their error rates where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from marginome.controls import composition
from marginome.errors import MarginomeError
from marginome.insert_nulls import InsertNull, score_effects
from marginome.model_differences import align_scales, claim_of, model_differences, welch
from simulated_models import NULLS, simulate

#: A start of the search that collapses is left out, not divided by.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

INSERTS = 300


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def compared(models):
    """The differences of simulated models, their scales aligned."""
    first, second = models.first.mean(0), models.second.mean(0)
    aligned = align_scales(first, second)
    first, second = first * aligned.factors[: first.shape[1]], second * aligned.factors[first.shape[1] :]
    s = models.sequences
    return model_differences(
        first[:INSERTS], second[:INSERTS], s[:INSERTS], first[INSERTS:], second[INSERTS:], s[INSERTS:]
    )


# ------------------------------------------------------------------------------------------------ scales
def test_the_axis_is_between_the_two_least_squares_lines(rng):
    """Both variables have errors: least squares is too flat either way, the ratio of deviations is right."""
    true = rng.normal(size=4000)
    x, y = true + 0.5 * rng.normal(size=4000), 3 * (true + 0.5 * rng.normal(size=4000))
    flat, steep = stats.linregress(x, y).slope, 1 / stats.linregress(y, x).slope
    factors = align_scales(x, y).factors
    slope = factors[0] / factors[1]
    assert flat < 2.5 < 2.9 < slope < 3.1 < 3.5 < steep
    assert math.prod(factors) == pytest.approx(1)
    swapped = align_scales(y, x).factors
    np.testing.assert_allclose(swapped, factors[::-1], rtol=1e-4)


def test_what_differs_does_not_set_the_scale(rng):
    """A tenth of the inserts are strong on one side alone; the scale is that of all others, strong ones among them."""
    for side in (0, 1):
        true = np.concatenate([rng.normal(size=1700), rng.uniform(5, 20, 100)])
        both = np.stack([true, true]) * (1 + 0.05 * rng.normal(size=(2, 1800))) + 0.3 * rng.normal(size=(2, 1800))
        both[side, :170] += rng.uniform(5, 20, 170)
        found = align_scales(both[0], 2 * both[1])
        assert found.factors[0] / found.factors[1] == pytest.approx(2, rel=0.03)
        plain = 2 * both[1].std() / both[0].std()
        assert abs(plain / 2 - 1) > 0.2  # what they would say without weights
        assert found.weights[:170].mean() < 0.05 and found.weights[-100:].mean() > 0.7
        assert found.correlation > 0.8


def test_scales_of_many_models(rng):
    models = simulate(rng, 3, 4)
    found = align_scales(models.first.mean(0), models.second.mean(0))
    log = np.log(found.factors * models.scales)
    assert np.abs(log - log.mean()).max() < 0.1 < np.abs(np.log(models.scales)).max()


def test_the_axis_is_that_of_its_own_weights(rng):
    """The definition, by loops: the weights found give the spreads, these the deviations, and these the weights."""
    models = simulate(rng, 3, 4, different=20, apart=5.0)
    values = np.concatenate([models.first.mean(0), models.second.mean(0)], axis=1)
    found = align_scales(values[:, :3], values[:, 3:])
    total = found.weights.sum()
    spread, scores = [], []
    for column in values.T:
        centred = column - (column * found.weights).sum() / total
        spread.append(math.sqrt((centred**2 * found.weights).sum() / total))
        scores.append(centred / spread[-1])
    np.testing.assert_allclose(found.factors, stats.gmean(spread) / np.array(spread), rtol=1e-4)
    x, y = np.mean(scores[:3], axis=0), np.mean(scores[3:], axis=0)
    apart = np.array([(a - b) / math.hypot(1, (a + b) / 2) for a, b in zip(x, y)])
    deviation = np.abs(apart - np.median(apart)) / stats.median_abs_deviation(apart, scale="normal")
    weights = [(1 - (d / 4.685) ** 2) ** 2 if d < 4.685 else 0 for d in deviation]
    np.testing.assert_allclose(found.weights, weights, atol=1e-3)
    both = np.cov(x, y, aweights=found.weights)
    assert found.correlation == pytest.approx(both[0, 1] / math.sqrt(both[0, 0] * both[1, 1]), rel=1e-4)


def test_half_of_the_strong_inserts_differ():
    """Most of them in one direction now and then: the scale is still that of the other half and of the many."""
    rng = np.random.default_rng(1)
    for i in range(20):
        models = simulate(rng, 3, 6, null=NULLS[i % 2], different=30, apart=5.0)
        log = np.log(align_scales(models.first.mean(0), models.second.mean(0)).factors * models.scales)
        assert abs(log[:3].mean() - log[3:].mean()) < 0.1, i


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("share", "ratio"), [(0.4, 1.8), (0.45, 3), (0.45, 6)])
def test_the_scale_is_that_of_most_wherever_the_search_begins(share, ratio, turned):
    """A share of the inserts is another so many times as strong in one model: an axis in between fits neither. From the
    interquartile ranges alone, weights settle there."""
    rng = np.random.default_rng(1)
    strong = np.where(np.arange(1000) < 1000 * share, ratio, 1)
    true = rng.normal(size=1000)
    x, y = true + 0.02 * rng.normal(size=1000), true * strong + 0.02 * rng.normal(size=1000)
    factors = align_scales(y, x).factors if turned else align_scales(x, y).factors
    assert factors[0] / factors[1] == pytest.approx(1, abs=0.02)


def test_models_that_agree_to_the_last_digit(rng):
    x = rng.normal(size=500)
    np.testing.assert_allclose(align_scales(x, 4 * x + 1).factors, [2, 0.5])
    y = x.copy()
    y[:10] += 50
    np.testing.assert_allclose(align_scales(x, 4 * y).factors, [2, 0.5])
    x[100:] = 7.0  # the interquartile range is 0
    np.testing.assert_allclose(align_scales(x, 4 * x).factors, [2, 0.5])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_what_does_nothing_in_any_model_says_nothing_of_the_scale(rng, share, noise):
    """A rectified output: the scale is that of the other inserts by themselves, whose effects agree but roughly."""
    true = rng.normal(size=2000)
    both = np.stack([true, 4 * true], axis=1) * (1 + 0.1 * rng.normal(size=(2000, 2)))
    acts = np.arange(2000) >= share * 2000
    both[~acts] = noise * rng.normal(size=((~acts).sum(), 2))
    found, alone = align_scales(both[:, 0], both[:, 1]), align_scales(both[acts, 0], both[acts, 1])
    np.testing.assert_allclose(found.factors, alone.factors, rtol=1e-3)
    assert found.factors[0] / found.factors[1] == pytest.approx(4, rel=0.05)
    assert (found.weights[~acts] == 1).all() and found.weights[acts].mean() > 0.5
    # all others do the same in one of the models
    alike = np.where(acts, 3.0, 0.0)
    np.testing.assert_allclose(align_scales(alike, 2 * alike).factors, np.sqrt([2, 0.5]))


def test_models_without_a_common_scale(rng):
    x = rng.normal(size=500)
    with pytest.raises(MarginomeError, match=r"not alike .correlation -1.*no common scale"):
        align_scales(x, -x)
    with pytest.raises(MarginomeError, match="model '2' has the same effect for every insert"):
        align_scales(x, np.zeros(500))
    with pytest.raises(MarginomeError, match="model 'dead' has the same effect"):
        align_scales(x, np.zeros(500), names=["alive", "dead"])
    with pytest.raises(MarginomeError):
        align_scales(x, x[:10])
    with pytest.raises(MarginomeError):
        align_scales(x, np.where(x > 2, np.nan, x))


def test_copies_of_a_model_are_no_replicates(rng):
    """Also in another unit and with float32's rounding; models of one kind are none, however alike."""
    models = simulate(rng, 3, 3, between=0.02, share=0.01)
    first, second = models.first.mean(0), models.second.mean(0)
    align_scales(first, second)
    copied = np.column_stack([second, (7 * second[:, 1] - 2).astype(np.float32)])
    with pytest.raises(MarginomeError, match="models 'e' and 'g' have the same effects"):
        align_scales(first, copied, names=list("abcdefg"))
    align_scales(second[:, :1], copied[:, 3:])  # one a side: no one counts them


def test_models_that_agree_in_one_insert_are_no_copies(rng):
    weak = 0.003 * rng.normal(size=(2000, 4))
    weak[7] = 500, 600, 700, 650  # correlations of 1 - 1e-9
    assert (np.corrcoef(weak.T) > 1 - 5e-7).all()
    align_scales(weak[:, :2], weak[:, 2:])


@pytest.mark.parametrize(("known", "copies"), [(9, False), (10, True)])
def test_copies_are_told_by_ten_inserts_at_least(rng, known, copies):
    """All other inserts do nothing in either model, to the last bit."""
    some = np.zeros((60, 1))
    some[:known, 0] = rng.normal(size=known)
    twice, other = np.repeat(some, 2, axis=1), some + 0.1 * rng.normal(size=(60, 1))
    if copies:
        with pytest.raises(MarginomeError, match="models '1' and '2' have the same effects"):
            align_scales(twice, other)
    else:
        align_scales(twice, other)


# ------------------------------------------------------------------------------------------------ the tests
def test_welch_equals_scipy(rng):
    first, second = rng.normal(size=(50, 3)), 3 * rng.normal(size=(50, 7))
    second[0], first[0] = 1.0, 2.0
    t, df, p = welch(first, second)
    wanted = stats.ttest_ind(first[1:], second[1:], axis=1, equal_var=False)
    np.testing.assert_allclose(t[1:], wanted.statistic)
    np.testing.assert_allclose(p[1:], wanted.pvalue)
    np.testing.assert_allclose(df[1:], wanted.df)
    assert np.isnan([t[0], df[0], p[0]]).all()


def test_rounding_is_no_variance(rng):
    """Three values that differ in their last digits a side say nothing of how such values vary."""
    side = np.repeat(rng.normal(size=(50, 1)), 3, axis=1)
    for size in (1e-12, 1.0, 1e6):
        noise = [size * side * (1 + eps * rng.normal(size=side.shape)) for eps in (1e-8, 1e-15)]
        assert np.isnan(welch(noise[0] + size, noise[1])).all()
        assert not np.isnan(welch(size * side * (1 + 1e-3 * rng.normal(size=side.shape)), noise[1])).any()


def test_one_model_a_side_is_scored_as_an_effect_is(rng):
    models = simulate(rng, 1, 1)
    a, b = (side.mean(0) for side in (models.first, models.second))
    s = models.sequences
    found = model_differences(a[:INSERTS], b[:INSERTS], s[:INSERTS], a[INSERTS:], b[INSERTS:], s[INSERTS:])
    wanted = score_effects((a - b)[:INSERTS], s[:INSERTS], (a - b)[INSERTS:], s[INSERTS:])
    np.testing.assert_array_equal(found.p, wanted.p[:, 0])
    np.testing.assert_array_equal(found.z, wanted.z[:, 0])
    assert np.isnan(found.p_models).all() and found.n_controls == 600
    np.testing.assert_allclose(found.difference, (a - b)[:INSERTS, 0])


def test_replicates_by_loops(rng):
    """Off each model's effect comes what meaningless inserts do there; p is the larger of the two."""
    models = simulate(rng, 3, 4, different=20)
    a, b = (side.mean(0) for side in (models.first, models.second))
    s = models.sequences
    found = model_differences(a[:INSERTS], b[:INSERTS], s[:INSERTS], a[INSERTS:], b[INSERTS:], s[INSERTS:])
    off = []
    for side in (a, b):
        nulls = [InsertNull(side[INSERTS:, k], *composition(s[INSERTS:])) for k in range(side.shape[1])]
        off.append([[side[i, k] - null.location(*composition(s[i : i + 1]))[0] for k, null in enumerate(nulls)]
                    for i in range(0, INSERTS, 29)])  # fmt: skip
    wanted = stats.ttest_ind(np.array(off[0]), np.array(off[1]), axis=1, equal_var=False)
    np.testing.assert_allclose(found.p_models[::29], wanted.pvalue)
    np.testing.assert_array_equal(found.p, np.maximum(found.p_models, found.p_controls))


@pytest.mark.parametrize(
    ("sides", "claim"),
    [((1, 1), "these two models"), ((1, 9), "these models"), ((2, 2), "these models"), ((3, 3), "models like these")],
)
def test_what_is_claimed(rng, sides, claim):
    assert claim_of(*sides) == claim
    found = compared(simulate(rng, *sides, inserts=INSERTS, controls=200))
    assert np.isnan(found.p_models).all() == (claim != "models like these")


# ------------------------------------------------------------------------------------------------ error rates
def called(sides, level, *, draws, rows=slice(0, INSERTS), **options):
    """How often p is at most a level, over draws of models."""
    rng = np.random.default_rng(3)
    return np.mean([(compared(simulate(rng, *sides, **options)).p[rows] <= level).mean() for _ in range(draws)])


@pytest.mark.parametrize(("sides", "null"), [((3, 3), NULLS[0]), ((3, 6), NULLS[1])])
def test_no_difference_is_called_as_often_as_p_says_or_less(null, sides):
    rng = np.random.default_rng(3)
    p = np.stack([compared(simulate(rng, *sides, null=null)).p for _ in range(10)])
    assert (p <= 0.05).mean() <= 1.25 * 0.05 and (p <= 0.01).mean() <= 1.6 * 0.01
    assert 0.2 * 0.05 < (p[:, :60] <= 0.05).mean() <= 1.4 * 0.05  # of the motifs alone, which vary most


def test_backgrounds_are_no_replication():
    """Twice the backgrounds: the same errors. A test over backgrounds would call nearly all of the motifs."""
    rates = [called((3, 3), 0.05, draws=10, rows=slice(0, 60), backgrounds=n) for n in (8, 16)]
    assert max(rates) <= 1.3 * 0.05 and abs(rates[0] - rates[1]) < 0.025  # of 600 inserts, 3 standard errors
    rng, wrong = np.random.default_rng(3), []
    for n in (8, 16):
        models = simulate(rng, 3, 3, backgrounds=n)
        each = [(side / scales).transpose(1, 0, 2).reshape(900, -1)[:60] for side, scales in
                ((models.first, models.scales[:3]), (models.second, models.scales[3:]))]  # fmt: skip
        wrong.append((stats.ttest_ind(*each, axis=1).pvalue <= 0.05).mean())
    assert wrong[0] > 0.3 and wrong[1] >= wrong[0]


def test_a_background_given_twice_changes_nothing(rng):
    models = simulate(rng, 3, 3)
    twice = models._replace(first=np.tile(models.first, (2, 1, 1)), second=np.tile(models.second, (2, 1, 1)))
    np.testing.assert_allclose(compared(twice).p, compared(models).p, rtol=1e-6)


def test_two_models_alone_say_nothing_of_their_kind():
    """Of one model a side nearly every motif differs, without a difference of kinds: hence the claim in the table."""
    assert called((1, 1), 0.01, draws=3, rows=slice(0, 60)) > 20 * 0.01


def test_real_differences_are_found():
    """By ten standard deviations between models: with three a side half at 0.01, with six nearly all."""
    three, six = (
        called(sides, 0.01, draws=4, rows=slice(0, 30), different=30, apart=10.0) for sides in ((3, 3), (6, 6))
    )
    assert three > 0.5 and six > 0.9
