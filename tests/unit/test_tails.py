"""Tails and resolution: against brute force, and against laws of which the chance of a call is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import laws
from marginome.discoveries import benjamini_hochberg
from marginome.tails import Tails, _Tail, resolution


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("sites", [[], [100.0], [50.0, 60.0, 1000.0], [*np.linspace(20, 40, 14)]])
def test_tail_is_the_average_over_its_parameters(rng, sites):
    """Against brute force: the posterior of shape and scale by importance sampling instead of a grid.

    Controls that hold a site, far from all others, included: the mean exceedance is then far from the scale.
    """
    sample = np.sort(np.concatenate([stats.t.rvs(4, size=1000 - len(sites), random_state=rng), sites]))
    tail = _Tail(sample)
    k = 30
    threshold = (sample[-k] + sample[-k - 1]) / 2
    exceedances = sample[-k:] - threshold
    shape = rng.uniform(-0.5, 1.0, size=200_000)
    scale = np.exp(rng.uniform(np.log(exceedances.mean()) - 6, np.log(exceedances.mean()) + 2, size=200_000))
    log_weight = stats.norm.logpdf(shape, 0.1, 0.15)
    for x in exceedances:
        log_weight += stats.genpareto.logpdf(x, shape, scale=scale)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    z = threshold + np.array([0.2, 2.0, 8.0, 30.0])
    expected = [31 / 1001 * (weight @ stats.genpareto.sf(x - threshold, shape, scale=scale)) for x in z]
    np.testing.assert_allclose(tail.predicted(z), expected, rtol=0.05)


@pytest.mark.parametrize("degrees", [1, 4, 100])
def test_the_prior_of_the_tail_is_the_one_that_is_told(rng, degrees):
    """The same average over a finer and wider grid of scales, by the density written out: equal to a thousandth."""
    sample = np.sort(stats.t.rvs(degrees, size=400, random_state=rng))
    threshold = (sample[-20] + sample[-21]) / 2
    x = sample[-20:] - threshold
    shape = np.linspace(-0.5, 1, 301)[:, None]
    scale = np.exp(np.linspace(np.log(x.mean()) - 6, np.log(x.mean()) + 2, 400))
    shape = np.where(np.abs(shape) < 1e-12, 1e-9, shape)

    def inside(value):
        return 1 + shape * value / scale

    log_weight = -0.5 * ((shape - 0.1) / 0.15) ** 2 - 20 * np.log(scale)
    for value in x:
        y = inside(value)
        log_weight = log_weight + np.where(y > 0, -(1 + 1 / shape) * np.log(np.maximum(y, 1e-300)), -np.inf)
    weight = np.exp(log_weight - log_weight.max())
    weight[[0, -1]] /= 2  # trapezoids
    z = threshold + np.array([1.0, 3.0, 10.0]) * x.max()
    expected = [
        21 / 401 * (weight * np.maximum(inside(v), 0) ** (-1 / shape)).sum() / weight.sum() for v in z - threshold
    ]
    np.testing.assert_allclose(_Tail(sample).predicted(z), expected, rtol=1e-3)


def test_a_tail_of_one_value_is_not_extrapolated():
    controls = np.array([0.0] * 60 + [1.0] * 40)
    assert Tails(controls).p(np.array([1.0, 1.5, 1e6])).tolist() == [2 * 41 / 101, 2 / 101, 2 / 101]


@pytest.mark.parametrize(("n", "k"), [(40, 20), (300, 20), (1000, 30), (10_000, 300)])
def test_the_fitted_tail_begins_as_the_rank_there(rng, n, k):
    """Its share is counted: of the outermost 3 %, at least 20, and one more, as ranks count what is tested."""
    tail = _Tail(np.sort(rng.normal(size=n)))
    assert (tail.sample > tail.threshold).sum() == k
    start = np.array([tail.threshold])
    np.testing.assert_allclose(tail.predicted(start), (k + 1) / (n + 1), rtol=1e-12)
    np.testing.assert_allclose(tail.predicted(start), tail.survival(start), rtol=1e-12)


def test_ranks_and_ties_against_counting(rng):
    controls = np.round(rng.normal(size=300), 1)
    tails, x = Tails(controls), np.round(rng.normal(size=50) * 1.5, 1)
    x = x[(x >= controls.min()) & (x <= controls.max())]
    up = np.array([(1 + (controls >= v).sum()) / 301 for v in x])
    down = np.array([(1 + (controls <= v).sum()) / 301 for v in x])
    np.testing.assert_allclose(tails.p(x, "greater"), up, rtol=1e-12)
    np.testing.assert_allclose(tails.p(x), np.minimum(1, 2 * np.minimum(up, down)), rtol=1e-12)
    ranks = Tails(controls, ranks_only=True).p(np.array([100.0, -100.0]))
    np.testing.assert_allclose(ranks, 2 / 301)
    assert (Tails(controls).p(np.array([100.0, -100.0])) < resolution(300)).all()


@pytest.mark.parametrize("name", laws.LAWS)
def test_no_law_is_called_more_often_than_p_says_down_to_the_resolution(name):
    """Means over draws of controls; the chance that a meaningless effect is called is computed, not counted."""
    n, sets = 500, 24
    levels = np.array([0.1, 0.02, 0.01, 4 / (n + 1), resolution(n)])
    rates = np.array([call_rates(laws.LAWS[name], n, levels, i) for i in range(sets)])
    excess = rates.mean(axis=0) / levels
    error = rates.std(axis=0, ddof=1) / np.sqrt(sets) / levels
    assert (excess <= 1.1 + 3 * error).all(), (name, excess, error)
    assert excess[0] > 0.25, (name, excess)  # not by calling nothing


def call_rates(law, n, levels, seed):
    return laws.call_rates(law, n, levels, np.random.default_rng(seed))


@pytest.mark.parametrize("n", [300, 1000, 45000])
def test_findings_among_nothing_are_as_rare_as_q_says(n):
    """1,000 tests of t with 3 degrees of freedom: runs with any q below 0.05, of which one in twenty is right.

    45,000 controls are enough for a finding that stands alone.
    """
    rng, runs, old, new = np.random.default_rng(5), 60, 0, 0
    for _ in range(runs):
        p = Tails(rng.standard_t(3, size=n), ranks_only=n > 1000).p(rng.standard_t(3, size=1000))
        old += (benjamini_hochberg(p) <= 0.05).any()
        new += (benjamini_hochberg(np.maximum(p, resolution(n))) <= 0.05).any()
    assert new <= stats.binom.ppf(0.99, runs, 0.05)
    if n <= 1000:
        assert old > stats.binom.ppf(0.99, runs, 0.05)  # what q was made of before
    else:
        assert new > 0


def test_no_fit_reaches_q(rng):
    """The larger of p and its resolution is the rank, whatever is fitted."""
    controls = np.concatenate([rng.standard_t(2, size=400), [90.0, -70.0]])
    x = np.concatenate([rng.standard_t(2, size=300), [95.0, 1e6, -80.0]])
    for alternative in ("two-sided", "greater"):
        least = resolution(402, alternative)
        p = [Tails(controls, ranks_only=ranks).p(x, alternative) for ranks in (False, True)]
        np.testing.assert_array_equal(np.maximum(p[0], least), p[1])
        assert p[1].min() == least and p[0].min() < least


def test_what_does_as_much_as_the_last_control_is_counted_and_not_fitted(rng):
    """One control does as much, so the rank is the second: the fitted tail would say less."""
    for n in (40, 300):
        controls = np.concatenate([[-90.0], rng.normal(size=n - 2), [90.0]])
        tails, ends = Tails(controls), controls[[0, -1]]
        np.testing.assert_allclose(tails.p(ends, "greater"), [1.0, 2 / (n + 1)], rtol=1e-12)
        np.testing.assert_allclose(tails.p(ends), 4 / (n + 1), rtol=1e-12)
        assert (tails._upper.predicted(ends[1:]) < 2 / (n + 1)).all()
