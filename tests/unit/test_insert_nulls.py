"""Nulls of inserts and p-values against known laws and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from marginome import nulls
from marginome.errors import MarginomeError
from marginome.insert_nulls import InsertNull, score_effects


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def simulated(rng, n, offsets):
    """Controls with a location and scale that depend on width and GC, and heavy tails."""
    widths = rng.integers(6, 20, size=n).astype(float)
    gc = rng.uniform(0.1, 0.9, size=n)
    location = 0.3 * (gc - 0.5) ** 2 + 0.02 * np.log(widths) * (gc - 0.5) + offsets[widths.astype(int)]
    scale = 0.02 * (widths / 10) ** 0.8 * np.exp(gc - 0.5)
    return location + scale * stats.t.rvs(4, size=n, random_state=rng), widths, gc, location, scale


def test_null_finds_location_and_scale(rng):
    offsets = np.zeros(40)
    offsets[6:20] = rng.normal(0, 0.02, size=14)
    effects, widths, gc, location, scale = simulated(rng, 3000, offsets)
    null = InsertNull(effects, widths, gc)
    assert np.abs(null.location(widths, gc) - location).mean() < 0.15 * scale.mean()
    assert np.corrcoef(null.location(widths, gc), location)[0, 1] > 0.97
    robust = scale * np.subtract(*stats.t.ppf([0.75, 0.25], 4)) / 1.349
    np.testing.assert_allclose(null.scale(widths, gc), robust, rtol=0.15)


def test_null_is_uniform_on_fresh_draws_of_the_same_law(rng):
    """Where the truth is known: how often a fresh effect is called at 1e-2, 1e-3 and 1e-4, averaged over nulls.

    The bounds are asymmetric on purpose: light tails get p-values that are too large at 1e-4, never too small ones.
    """
    laws = {"normal": stats.norm(), "t4": stats.t(4), "skewed": stats.gamma(1.0), "heavy": stats.lognorm(0.8)}
    z = np.concatenate([np.arange(-30, -6, 0.1), np.arange(-6, 12, 0.01), np.arange(12, 120, 0.1)])
    for name, law in laws.items():
        called = np.zeros(3)
        for _ in range(8):
            widths, gc = rng.integers(6, 20, size=2000).astype(float), rng.uniform(0.2, 0.8, size=2000)
            null = InsertNull(law.rvs(size=1000, random_state=rng), widths[:1000], gc[:1000])
            location, scale = null.location(widths[1000:], gc[1000:]), null.scale(widths[1000:], gc[1000:])
            p = null.p(z)
            for i, level in enumerate((1e-2, 1e-3, 1e-4)):
                low, high = z[(p > level).argmax()], z[len(p) - 1 - (p > level)[::-1].argmax()]
                chance = law.cdf(location + scale * low) + law.sf(location + scale * high)
                called[i] += chance.mean() / level / 8
        assert 0.7 < called[0] < 1.5, (name, called)
        assert 0.3 < called[1] < 2.0, (name, called)
        assert 0.01 < called[2] < 3.0, (name, called)


@pytest.mark.parametrize("effects", [[0.0] * 90 + list(range(1, 11)), [0.0] * 60 + [1.0] * 40, [0.0] * 99 + [5.0]])
def test_a_tail_of_ties_is_the_rank(effects):
    """Controls of one width and GC, most of which do exactly nothing: no p-value is 0, or below 1 / (n + 1)."""
    null = InsertNull(np.array(effects), np.full(100, 10.0), np.full(100, 0.5))
    width, gc = np.full(3, 10.0), np.full(3, 0.5)
    below = (np.array([-30.0, -3.0, -0.1]) - null.location(width, gc)) / null.scale(width, gc)
    np.testing.assert_allclose(null.p(below), 2 / 101)
    if len(set(effects)) == 2 and effects.count(1.0):
        above = (np.array([2.0, 20.0, 200.0]) - null.location(width, gc)) / null.scale(width, gc)
        np.testing.assert_allclose(null.p(above), 2 / 101)


def test_p_is_the_rank_as_far_as_controls_reach_and_falls_with_z(rng):
    effects, widths, gc, *_ = simulated(rng, 500, np.zeros(40))
    null = InsertNull(effects, widths, gc)
    z = np.linspace(-40, 40, 2001)
    upper, two = null.p(z, "greater"), null.p(z)
    assert (np.diff(upper) <= 1e-15).all() and (upper > 0).all() and two.max() <= 1
    reached = (z > null.null.z[0]) & (z < null.null.z[-1])
    assert 50 < reached.sum() < 1900
    at_least = np.array([(1 + (null.null.z >= x).sum()) / 501 for x in z])
    at_most = np.array([(1 + (null.null.z <= x).sum()) / 501 for x in z])
    np.testing.assert_allclose(upper[reached], at_least[reached], rtol=1e-12)
    np.testing.assert_allclose(two[reached], np.minimum(1, 2 * np.minimum(at_least, at_most))[reached], rtol=1e-12)
    assert (upper[z > null.null.z[-1]] < 1 / 501 + 1e-15).all() and upper[-1] < 0.1 / 501


def test_units_and_sign_do_not_matter(rng):
    effects, widths, gc, *_ = simulated(rng, 400, np.zeros(40))
    fresh = np.linspace(-0.5, 0.8, 50)

    def p(factor, shift):
        null = InsertNull(effects * factor + shift, widths, gc)
        location, scale = null.location(widths[:50], gc[:50]), null.scale(widths[:50], gc[:50])
        return null.p((fresh * factor + shift - location) / scale)

    np.testing.assert_allclose(p(1e4, 0), p(1, 0), rtol=1e-5)
    np.testing.assert_allclose(p(-1, 0), p(1, 0), rtol=1e-5)
    np.testing.assert_allclose(p(1, 3.0), p(1, 0), rtol=1e-5)


def test_controls_that_hold_a_site_widen_the_tail_but_not_the_middle(rng):
    effects, widths, gc, location, _ = simulated(rng, 1000, np.zeros(40))
    with_sites = effects.copy()
    with_sites[::50] += 1.0
    clean, mixed = InsertNull(effects, widths, gc), InsertNull(with_sites, widths, gc)
    shift = np.abs(mixed.location(widths, gc) - clean.location(widths, gc)) / clean.scale(widths, gc)
    assert np.median(shift) < 0.1
    assert np.median(mixed.scale(widths, gc) / clean.scale(widths, gc)) < 1.25
    z = (0.8 - location[:5]) / mixed.scale(widths[:5], gc[:5])
    assert (mixed.p(z) > 5e-3).all() and (clean.p(z) < 1e-3).all()


@pytest.mark.parametrize("n", [40, 60, 150])
def test_few_or_uniform_controls(rng, n):
    """One width and one GC content (the controls of a single motif), or a few of each."""
    one = InsertNull(rng.normal(size=n), np.full(n, 12.0), np.full(n, 0.5))
    assert abs(one.location(np.array([12.0]), np.array([0.5]))[0]) < 0.6
    assert 0.5 < one.scale(np.array([12.0]), np.array([0.5]))[0] < 1.6
    some = InsertNull(rng.normal(size=n), rng.choice([8.0, 15.0], size=n), rng.choice([0.25, 0.5], size=n))
    far = some.p((5 - some.location(np.array([30.0]), np.array([1.0]))) / some.scale(np.array([30.0]), np.array([1.0])))
    assert np.isfinite(far).all()


def test_many_controls_without_any_effect(rng):
    """An output behind a ReLU: most inserts do exactly nothing."""
    effects = np.where(rng.random(1000) < 0.7, 0.0, rng.exponential(1, 1000))
    null = InsertNull(effects, rng.integers(6, 15, 1000).astype(float), rng.uniform(0.2, 0.8, 1000))
    p = null.p((np.array([0.0, 3.0, 20.0]) - null.location(np.full(3, 10.0), np.full(3, 0.5))) / null.scale(
        np.full(3, 10.0), np.full(3, 0.5)))  # fmt: skip
    assert p[0] > 0.05 and 0.001 < p[1] < 0.1 and p[2] < 0.01


def test_score_effects(rng):
    letters = np.array(list("ACGT"))
    controls = ["".join(rng.choice(letters, size=rng.integers(8, 16))) for _ in range(600)]
    control_effects = rng.normal(size=(600, 2)) * [1.0, 3.0] + [0.0, 5.0]
    control_effects[:, 1] += [len(c) for c in controls]
    inserts = ["".join(rng.choice(letters, size=11)) for _ in range(4)]
    effects = np.array([[0.0, 16.0], [9.0, 16.0], [0.0, 50.0], [-9.0, -20.0]])
    found = score_effects(effects, inserts, control_effects, controls)
    assert found.z.shape == found.p.shape == (4, 2) and found.n_controls == 600
    np.testing.assert_allclose(found.z, (effects - found.control_mean) / found.control_sd)
    np.testing.assert_allclose(found.control_mean[:, 1], 16, atol=0.8)
    np.testing.assert_allclose(found.control_sd, [[1, 3]] * 4, rtol=0.25)
    assert (found.p[[0, 0, 1, 2], [0, 1, 1, 0]] > 0.05).all()
    assert (found.p[[1, 2, 3, 3], [0, 1, 0, 1]] < 1e-3).all()
    assert found.p_resolution == 2 / 601
    greater = score_effects(effects, inserts, control_effects, controls, alternative="greater")
    assert (greater.p[3] > 0.99).all() and greater.p_resolution == 1 / 601
    np.testing.assert_allclose(2 * greater.p[1, 0], found.p[1, 0])
    shuffled = rng.permutation(600)
    again = score_effects(effects[::-1], inserts[::-1], control_effects[shuffled], [controls[i] for i in shuffled])
    np.testing.assert_allclose(again.p[::-1], found.p, rtol=1e-9)


def test_an_output_no_insert_reaches_has_no_p(rng):
    sequences = ["ACGTACGT"] * 50
    found = score_effects(np.zeros((2, 1)), sequences[:2], np.zeros((50, 1)), sequences)
    assert np.isnan(found.p).all() and np.isnan(found.z).all() and (found.control_sd == 0).all()


def test_score_mistakes():
    sequences = ["ACGTACGT"] * 50
    with pytest.raises(MarginomeError, match="39 controls are too few"):
        score_effects(np.zeros((2, 1)), sequences[:2], np.arange(39.0), sequences[:39])
    with pytest.raises(MarginomeError, match=r"control_effects.*shape .*49.*wanted .50, k."):
        score_effects(np.zeros((2, 1)), sequences[:2], np.arange(49.0), sequences)
    with pytest.raises(MarginomeError, match=r"alternative.*'less'"):
        score_effects(np.zeros((2, 1)), sequences[:2], np.arange(50.0), sequences, alternative="less")
    with pytest.raises(MarginomeError, match="2 targets for what is tested, 1 for the controls"):
        score_effects(np.zeros((2, 2)), sequences[:2], np.arange(50.0), sequences)


def _inserts(random, n):
    return ["".join(random.choice(list("ACGT"), k)) for k in random.integers(6, 25, n)]


@pytest.mark.parametrize(
    ("zeros", "noise", "n"),
    [(0.7, 0, 50), (0.7, 0, 300), (0.95, 0, 300), (0.97, 0, 1000), (0.97, 1e-7, 1000), (0.8, 0, 300)],
)
def test_meaningless_inserts_are_not_called_by_a_sparse_null(zeros, noise, n):
    """A scanner with a threshold: most inserts do nothing, a few do. p is never below what ranks can say."""
    random = np.random.default_rng(int(1000 * zeros) + n)

    def effects(m):
        return np.where(random.random(m) < zeros, noise * random.normal(size=m), random.exponential(1.0, m))

    called = []
    for _ in range(4):
        scores = score_effects(effects(1000), _inserts(random, 1000), controls := effects(n), _inserts(random, n))
        assert scores.p.min() >= 1 / (n + 1)
        called.append((scores.p <= 0.01).mean())
    assert np.mean(called) <= 0.015
    # brute force: how many controls reach an effect
    found = score_effects(np.array([0.5, 2.0]), ["ACGT", "AAAAAA"], controls, _inserts(random, n)).p[:, 0]
    wanted = [2 * ((controls >= x).sum() + 1) / (n + 1) for x in (0.5, 2.0)]
    np.testing.assert_allclose(found, np.minimum(wanted, 1), rtol=1e-12)


def test_an_effect_that_eight_of_fifteen_controls_reach_is_no_finding():
    controls = np.zeros(300)
    controls[:15] = np.linspace(0.3, 1.7, 15)
    random = np.random.default_rng(0)
    p = score_effects([1.0], ["ACGTACGT"], controls, _inserts(random, 300)).p[0, 0]
    assert p == pytest.approx(2 * 9 / 301)


@pytest.mark.parametrize("n", [50, 500, 1000])
def test_adding_a_constant_changes_nothing(n):
    random = np.random.default_rng(n)
    controls, effects = 0.01 * random.normal(size=n), 0.02 * random.normal(size=200)
    inserts, drawn = _inserts(random, 200), _inserts(random, n)
    plain = score_effects(effects, inserts, controls, drawn)
    for constant in (1.0, -7.0, 1000.0):
        moved = score_effects(effects + constant, inserts, controls + constant, drawn)
        np.testing.assert_allclose(moved.p, plain.p, rtol=1e-7)
        np.testing.assert_allclose(moved.control_mean, plain.control_mean + constant, rtol=1e-9)
    for unit in (1e-9, 1e6):
        np.testing.assert_allclose(score_effects(effects * unit, inserts, controls * unit, drawn).p, plain.p, rtol=1e-9)


TERMS = {
    "log width": lambda v, g: v,
    "GC": lambda v, g: g,
    "its square": lambda v, g: 4 * g * g,
    "square of log width": lambda v, g: v * v,
    "product": lambda v, g: 2 * v * g,
    "product with its square": lambda v, g: 4 * v * g * g,
}


def of_even_widths(rng, n):
    """Widths 6, 8, ... 30 and GC, with what is between -1 and 1 of them: log width and GC."""
    widths, gc = 2.0 * rng.integers(3, 16, size=n), rng.uniform(0, 1, size=n)
    return widths, gc, 2 * np.log(widths / np.sqrt(6 * 30)) / np.log(5), 2 * gc - 1


@pytest.mark.parametrize("name", TERMS)
def test_the_location_has_each_of_its_terms(rng, name):
    """At widths that no control has, which have no offset; to half of the noise."""
    widths, gc, v, g = of_even_widths(rng, 1200)
    null = InsertNull(TERMS[name](v, g) + 0.1 * rng.normal(size=1200), widths, gc)
    widths, gc = np.repeat([7.0, 15.0, 29.0], 3), np.tile([0.1, 0.5, 0.9], 3)
    v, g = 2 * np.log(widths / np.sqrt(6 * 30)) / np.log(5), 2 * gc - 1
    np.testing.assert_allclose(null.location(widths, gc), TERMS[name](v, g), atol=0.05)


@pytest.mark.parametrize("name", TERMS)
def test_the_log_of_the_scale_is_quadratic_without_interactions(rng, name):
    widths, gc, v, g = of_even_widths(rng, 4000)
    null = InsertNull(np.exp(TERMS[name](v, g)) * rng.normal(size=4000), widths, gc)
    corners = np.array([7.0, 7.0, 29.0, 29.0]), np.array([0.1, 0.9, 0.1, 0.9])
    log = np.log(null.scale(*corners))
    assert abs(log[0] - log[1] - log[2] + log[3]) < 1e-9  # a sum of a function of width and one of GC
    if "product" not in name:
        at = np.repeat([7.0, 15.0, 29.0], 3), np.tile([0.1, 0.5, 0.9], 3)
        v, g = 2 * np.log(at[0] / np.sqrt(6 * 30)) / np.log(5), 2 * at[1] - 1
        np.testing.assert_allclose(np.log(null.scale(*at)), TERMS[name](v, g), atol=0.2)


@pytest.mark.parametrize("n", [60, 300, 1000])
def test_more_rounds_of_the_fit_change_nothing_that_counts(monkeypatch, n):
    """Of heavy tails, offsets of widths and a scale by GC: in four times as many rounds by a fiftieth of the scale."""
    found = []
    for rounds in (1, 4):
        monkeypatch.setattr(nulls, "range", lambda *a, r=rounds: range(*a) if a[1:] else range(r * a[0]), raising=False)
        for seed in range(5):
            rng = np.random.default_rng(seed)
            widths, gc = rng.integers(6, 25, n).astype(float), rng.uniform(0.1, 0.9, n)
            noise = stats.t.rvs(3, size=n, random_state=rng) * np.exp(gc)
            null = InsertNull(rng.normal(0, 0.5, 40)[widths.astype(int)] + noise, widths, gc)
            found.append((null.location(widths, gc), null.scale(widths, gc)))
    for (location, scale), (settled, scale_then) in zip(found[:5], found[5:]):
        np.testing.assert_allclose((location - settled) / scale, 0, atol=0.02)
        np.testing.assert_allclose(scale, scale_then, rtol=0.02)
