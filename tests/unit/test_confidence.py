"""Intervals over backgrounds against SciPy, statsmodels and brute force on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from marginome.confidence import backgrounds_needed, summarize_effects
from marginome.errors import MarginomeError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n", [2, 3, 12])
def test_summary_equals_scipy_and_statsmodels(rng, n):
    effects = rng.normal(0.3, 1, size=(5, n, 3)).astype(np.float32)
    found = summarize_effects(effects)
    for i in range(5):
        for j in range(3):
            sample = effects[i, :, j].astype(np.float64)
            low, high = DescrStatsW(sample).tconfint_mean(alpha=0.05)
            np.testing.assert_allclose([found.ci_low[i, j], found.ci_high[i, j]], [low, high], rtol=1e-12)
            np.testing.assert_allclose(found.se[i, j], stats.sem(sample), rtol=1e-12)
            np.testing.assert_allclose(found.sd[i, j], stats.tstd(sample), rtol=1e-12)
            assert found.sign_consistency[i, j] == np.mean(np.sign(sample) == np.sign(sample.mean()))
    assert found.n == n and all(a.dtype == np.float64 for a in found[:-1])


def test_interval_covers_the_mean(rng):
    found = summarize_effects(rng.normal(2.0, 1, size=(4000, 6)), confidence=0.9)
    covered = ((found.ci_low < 2) & (found.ci_high > 2)).mean()
    assert 0.885 < covered < 0.915


def test_one_background_has_no_interval():
    found = summarize_effects(np.array([[1.5], [-2.0]]))
    np.testing.assert_array_equal(found.mean[:, 0], [1.5, -2.0])
    assert np.isnan(found.sd).all() and np.isnan(found.ci_low).all()


def test_summary_mistakes():
    with pytest.raises(MarginomeError, match=r"effects.*row 1 holds a value that is not finite"):
        summarize_effects(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    for shape in ((3, 0, 2), (3,), (3, 2, 2, 2)):
        with pytest.raises(MarginomeError, match="at least one background"):
            summarize_effects(np.zeros(shape))


def test_backgrounds_needed_is_the_least_that_is_enough():
    sd, width = np.geomspace(1e-3, 2, 60), 0.05

    def half(n, s):
        return stats.t.ppf(0.975, n - 1) * s / np.sqrt(n)

    want = [next(n for n in range(2, 10**6) if half(n, s) <= width) for s in sd]
    assert backgrounds_needed(sd, width).tolist() == want
    assert backgrounds_needed([0.0], width).tolist() == [2]
    for bad in ({"half_width": 0.0}, {"half_width": np.nan}, {"effect_sd": [np.nan]}, {"effect_sd": [-1.0]},
                {"confidence": 1.0}, {"confidence": 0.0}, {"confidence": -0.5}, {"half_width": np.inf}):  # fmt: skip
        with pytest.raises(MarginomeError):
            backgrounds_needed(**({"effect_sd": [0.1], "half_width": 0.1} | bad))


@pytest.mark.parametrize("confidence", [0.5, 0.99])
def test_backgrounds_needed_at_other_confidences_and_ties(confidence):
    """Where the interval is exactly as wide as is wanted, that n is enough."""
    for n in (2, 3, 4, 17, 250):
        half = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) / np.sqrt(n)
        assert backgrounds_needed([1.0], half * (1 + 1e-12), confidence=confidence).tolist() == [n]
        assert backgrounds_needed([1.0], half * (1 - 1e-9), confidence=confidence).tolist() == [n + 1]
