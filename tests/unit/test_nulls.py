"""Nulls of anything: fitted traits against brute force; what an interaction and an ablation get by the same code."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.robust import norms
from statsmodels.robust.robust_linear_model import RLM

from marginome.discoveries import add_q
from marginome.errors import MarginomeError
from marginome.nulls import Null, as_columns, score_values


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def no_terms(n):
    return np.empty((n, 0))


def test_a_controls_own_z_is_against_a_null_fitted_without_it(rng):
    """Brute force: the null fitted anew without each control. In groups of two a control draws its offset after it."""
    groups = np.concatenate([np.repeat(np.arange(30), 2), np.full(60, 30)])
    values = rng.normal(size=31)[groups] + rng.normal(size=120)
    own = np.empty(120)
    for i in range(120):
        others = np.arange(120) != i
        null = Null(values[others], no_terms(119), groups[others])
        own[i] = ((values[i] - null.location(no_terms(1), groups[[i]])) / null.scale(no_terms(1)))[0]
    np.testing.assert_allclose(Null(values, no_terms(120), groups).z, np.sort(own), atol=0.12)


@pytest.mark.parametrize("between", [0.0, 0.15, 0.35, 1.5])
def test_the_spread_of_offsets_is_that_of_the_least_error_on_a_control_left_out(rng, between):
    """Brute force: ridge of groups of 10 without each control in turn, for each spread; the fitted offsets tell which
    one was taken."""
    candidates, m = np.array([0.0, 0.1, 0.2, 0.4, 0.8]), 10
    groups = np.repeat(np.arange(60), m)
    values = between * rng.normal(size=60)[groups] + rng.normal(size=600)
    error = np.zeros(len(candidates))
    for k, spread in enumerate(candidates):
        for i in range(600):
            others = np.arange(600) != i
            mean = values[others].mean()
            mine = others & (groups == groups[i])
            shrink = mine.sum() * spread**2 / (1 + mine.sum() * spread**2)
            error[k] += (values[i] - mean - shrink * (values[mine] - mean).mean()) ** 2
    offsets = Null(values, no_terms(600), groups).location(no_terms(60), np.arange(60)) - values.mean()
    plain = values.reshape(60, m).mean(axis=1) - values.mean()
    shrunk = (offsets @ plain) / (plain @ plain)  # slope: how much of a group's mean is believed
    off = np.abs(m * candidates**2 / (1 + m * candidates**2) - shrunk)
    assert off.argmin() == error.argmin() and off.min() < 0.02, (shrunk, error)


def saturating(additive):
    """A readout that two strong motifs saturate, without any cooperation."""
    return 3 * np.tanh(additive / 3)


def pairs(rng, n, gain=0.0):
    """Strengths of both motifs alone, as the readout has them, and the interaction of n pairs."""
    a, b = rng.uniform(0.2, 2.5, size=(2, n))
    noise = 0.01 * stats.t.rvs(4, size=n, random_state=rng)  # what a seam or a flank does
    joint = saturating(a + b) + gain + noise
    return saturating(a), saturating(b), joint - saturating(a) - saturating(b)


def strength_terms(a, b):
    """A symmetric polynomial in the two strengths, of what cooperation beyond strength is not."""
    s, d = a * b, a + b
    return np.stack([s, s * d, s * d * d, s * s, d, d * d, d**3, s * s * d, d**4], axis=1)


def test_interactions_are_scored_by_the_same_code(rng):
    """A readout that saturates: pairs of real strength that do not cooperate are the null, given both strengths."""
    first, second, null = pairs(rng, 2000)
    control_terms = strength_terms(first, second)
    a, b, alone = pairs(rng, 4000)
    strong = np.minimum(a, b) > np.quantile(np.minimum(a, b), 0.8)
    rates = {}
    for name, given in {"strengths": {"terms": strength_terms(a, b), "control_terms": control_terms}, "no": {}}.items():
        p = score_values(alone, null, **given).p[:, 0]
        rates[name] = [(p[some] <= 0.02).mean() / 0.02 for some in (slice(None), strong)]
    assert 0.7 < rates["strengths"][0] < 1.35 and 0.4 < rates["strengths"][1] < 1.8, rates
    assert rates["no"][1] > 4, rates  # strong pairs, where their strength is not taken off

    c, d, gained = pairs(rng, 40, gain=0.3)  # a tenth of these cooperates; the largest noise of 2,000 is some 0.1
    scores = score_values(
        np.concatenate([gained, alone[:360]]),
        null,
        terms=np.concatenate([strength_terms(c, d), strength_terms(a, b)[:360]]),
        control_terms=control_terms,
    )
    assert scores.n_controls == 2000 and scores.p_resolution == 2 / 2001
    table = add_q(pd.DataFrame({"p": scores.p[:, 0], "p_resolution": scores.p_resolution}), [], test=None)
    found = table["q"] <= 0.05
    assert found[:40].all() and found[40:].sum() <= 6
    assert table["q"].min() >= scores.p_resolution  # q rests on ranks here too


def test_losses_by_ablation_are_scored_by_the_same_code(rng):
    """Chance spans of the same loci are the null: wider ones lose more, and loci differ."""

    def losses(n):
        locus, width = rng.integers(12, size=n), rng.integers(5, 31, size=n)
        each = rng.standard_gamma(width) * 0.02  # every base matters a little, a few much more
        return each + 0.05 * np.sin(locus), np.stack([width, width**2], axis=1), locus

    controls, control_terms, control_groups = losses(1500)
    chance, terms, groups = losses(6000)
    scores = score_values(chance, controls, terms=terms, control_terms=control_terms,
                          groups=groups, control_groups=control_groups)  # fmt: skip
    for level in (0.1, 0.02):
        assert 0.75 < (scores.p <= level).mean() / level < 1.3, level
    element = score_values(chance[:20] + 1.0, controls, terms=terms[:20], control_terms=control_terms,
                           groups=groups[:20], control_groups=control_groups)  # fmt: skip
    assert (element.p <= element.p_resolution).all()
    wide = terms[:, 0] > 25
    rates = [(score.p[wide] <= 0.05).mean() / 0.05 for score in (scores, score_values(chance, controls))]
    assert 0.6 < rates[0] < 1.5 and rates[1] > 1.6, rates  # wide spans, where width is not taken off


def test_without_terms_p_is_the_rank_and_targets_are_apart(rng):
    controls, values = rng.standard_t(3, size=(400, 2)), rng.standard_t(3, size=(30, 2))
    found = score_values(values, controls)
    for j in range(2):
        more = (controls[:, j] >= values[:, [j]]).sum(axis=1), (controls[:, j] <= values[:, [j]]).sum(axis=1)
        p = np.minimum(1, 2 * (1 + np.minimum(*more)) / 401)
        inside = np.minimum(*more) > 0
        # a control's own z is against a location without it: a rank may move by a few
        np.testing.assert_allclose(found.p[inside, j], p[inside], atol=6 / 401)
        assert (found.p[~inside, j] <= 4 / 401).all()
    one = score_values(values[:, 0], controls[:, 0], alternative="greater")
    assert one.p.shape == (30, 1) and one.p_resolution == 1 / 401


def test_an_output_that_nothing_reaches_leaves_the_others_as_they_are(rng):
    values, controls = rng.normal(size=(6, 3)), rng.normal(size=(60, 3))
    controls[:, 0] = 0.25
    found = score_values(values, controls)
    assert (found.control_mean[:, 0] == 0.25).all() and np.isnan(found.p[:, 0]).all() and np.isnan(found.z[:, 0]).all()
    for j in (1, 2):
        alone = score_values(values[:, j], controls[:, j])
        for name in ("control_mean", "control_sd", "z", "p"):
            np.testing.assert_array_equal(getattr(found, name)[:, j], getattr(alone, name)[:, 0])


def test_mistakes():
    values, controls = np.arange(3.0), np.arange(50.0)
    with pytest.raises(MarginomeError, match=r"^terms: given for the values or the controls alone"):
        score_values(values, controls, terms=values)
    with pytest.raises(MarginomeError, match=r"control_groups: shape \(49, 1\), wanted \(50, k\)"):
        score_values(values, controls, groups=values, control_groups=np.arange(49))
    with pytest.raises(MarginomeError, match=r"terms: shape \(4, 1\), wanted \(3, k\)"):
        score_values(values, controls, terms=np.arange(4), control_terms=np.ones((50, 1)))
    with pytest.raises(MarginomeError, match=r"terms: 2 for the values, 1 for the controls"):
        score_values(values, controls, terms=np.ones((3, 2)), control_terms=np.ones((50, 1)))
    with pytest.raises(MarginomeError, match="39 controls are too few"):
        score_values(values, controls[:39])
    with pytest.raises(MarginomeError, match="row 1 holds a value that is not finite"):
        score_values([0.0, np.nan], controls)
    with pytest.raises(MarginomeError, match="'less', wanted"):
        score_values(values, controls, alternative="less")


def test_a_null_is_sparse_from_a_fifth_of_one_value_on(rng):
    """One value is to 1e-4 of the standard deviation; then p is the rank, and the location the median, everywhere."""
    for same, sparse in ((20, True), (19, False)):
        values = np.concatenate([np.zeros(same), rng.normal(size=100 - same) + np.arange(100 - same) / 10])
        assert Null(values, no_terms(100)).sparse is sparse
    others = rng.normal(size=70) + np.arange(70) / 10
    for width, sparse in ((0.9e-4, True), (1.1e-4, False)):
        near = np.repeat([0.0, width * np.concatenate([np.zeros(30), others]).std()], 15)
        assert Null(np.concatenate([near, others]), no_terms(100)).sparse is sparse
    values = np.concatenate([np.zeros(30), others])
    null = Null(values, rng.normal(size=(100, 2)))
    np.testing.assert_allclose(null.location(rng.normal(size=(3, 2))), np.median(values))
    np.testing.assert_allclose(null.scale(rng.normal(size=(3, 2))), values.std())
    assert null.n == 100 and null.p(np.array([1e9])) == 2 / 101


def test_where_the_middle_half_is_nearly_a_point_the_scale_is_that_of_all(rng):
    """By the quartiles the few controls that do something would be a thousand standard deviations away."""
    values = np.concatenate([2e-4 * rng.normal(size=170), rng.normal(size=30)])
    null = Null(values, no_terms(200))
    assert not null.sparse and null.z.std() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(("n", "used"), [(40, 1), (79, 1), (80, 2), (119, 2), (120, 3), (400, 3)])
def test_each_term_wants_forty_controls(rng, n, used):
    """The constant is counted; a term that says nothing new is passed over, and costs none."""
    terms = rng.normal(size=(n, 3))
    terms[:, 1] = 2 * terms[:, 0] - 1
    null = Null(rng.normal(size=n) + terms @ [3.0, 0.0, 3.0], terms)
    at = np.zeros((4, 3))
    at[1, 0] = at[2, 1] = at[3, 2] = 1.0
    moved = np.abs(null.location(at)[1:] - null.location(at)[0]) > 1e-9
    assert moved.tolist() == [used > 1, False, used > 2]


def test_targets_without_spread_want_as_many_controls():
    scores = score_values(np.array([1.0, 2.0]), np.full(40, 3.0))
    assert (scores.control_mean == 3).all() and (scores.control_sd == 0).all() and np.isnan(scores.p).all()
    with pytest.raises(MarginomeError, match="39 controls are too few"):
        score_values(np.array([1.0, 2.0]), np.full(39, 3.0))
    with pytest.raises(MarginomeError, match="all 40 controls have the effect 3"):
        Null(np.full(40, 3.0), no_terms(40))


@pytest.mark.parametrize("scale_terms", [None, 1])
def test_the_scale_follows_its_own_terms_alone(rng, scale_terms):
    terms = rng.uniform(-1, 1, size=(4000, 2))
    null = Null(rng.normal(size=4000) * np.exp(0.5 * terms[:, 0] + 0.7 * terms[:, 1]), terms, scale_terms=scale_terms)
    at = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    ratio = np.log(null.scale(at)[1:] / null.scale(at)[0])
    np.testing.assert_allclose(ratio, [0.5, 0.0 if scale_terms else 0.7], atol=0.1)


@pytest.mark.parametrize("degrees", [1.5, 4])
def test_the_location_is_hubers_and_the_controls_own_z_have_the_middle_of_a_normal(rng, degrees):
    """statsmodels' robust regression, with weights from two robust standard deviations on."""
    terms = rng.normal(size=(300, 1))
    values = rng.standard_t(degrees, size=300) + 2 * terms[:, 0]
    null = Null(values, terms, scale_terms=0)
    fitted = RLM(values, np.column_stack([np.ones(300), terms]), M=norms.HuberT(t=2.0)).fit(maxiter=500, tol=1e-12)
    at = np.array([[0.0], [1.0]])
    np.testing.assert_allclose(null.location(at), fitted.params @ [[1, 1], [0, 1]], atol=2e-3)
    assert np.subtract(*np.percentile(null.z, [75, 25])) == pytest.approx(1.349, rel=1e-9)


@pytest.mark.parametrize("values", [np.float64(1.0), np.ones((2, 3, 4)), np.ones((3, 2))])
def test_columns_of_another_shape_are_refused(values):
    with pytest.raises(MarginomeError, match="wanted \\(2, k\\)"):
        as_columns(values, 2, "effects")
