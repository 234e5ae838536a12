"""Are p-values of meaningless inserts uniform, on the shipped models and both kinds of background?

`tests/control_effects.py` made the table of 19,356 effects on each of four nulls; here a part of it is recomputed on
the models, and the p-values are checked. Stated bounds: the controls of JASPAR are split into disjoint sets of 1,000;
each gives a null, and all other inserts are scored with it. The number of calls at a level, averaged over the sets,
is compared with the 99.8 % interval of a binomial count of half as many inserts as there are (half, because the null
is itself estimated from inserts of the same kind).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import control_effects
import demo_effects
import handmade
import many_effects
from marginome.bases import reverse_complement_text
from marginome.controls import composition, list_controls
from marginome.discoveries import benjamini_hochberg, controls_needed
from marginome.insert_nulls import InsertNull, score_effects
from marginome.tails import resolution

NULLS = [f"{model} {kind}" for model in control_effects.MODELS for kind in control_effects.KINDS]
LEVELS = (1e-2, 1e-3, 1e-4)


@pytest.fixture(scope="module")
def table():
    return control_effects.load()


@pytest.mark.parametrize("kind", control_effects.KINDS)
@pytest.mark.parametrize("model", control_effects.MODELS)
def test_the_table_is_what_the_model_says(table, model, kind):
    some = np.random.default_rng(1).choice(len(table["sequences"]), size=12, replace=False)
    found = control_effects.effects(model, kind, list(table["sequences"][some])).mean(axis=1)
    expected = table[f"{model} {kind}"][some]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_many_effects_are_what_the_model_says():
    known = many_effects.load()
    assert len(known) == many_effects.N
    first = int(np.random.default_rng(2).integers(many_effects.N - 40))
    np.testing.assert_allclose(
        many_effects.effects(many_effects.inserts(first, first + 40)), known[first : first + 40], atol=2e-6
    )


def test_the_demos_effects_are_what_the_model_says():
    known, demo = demo_effects.load(), demo_effects.Demo()
    assert list(known["readouts"]) == list(demo.readouts)
    for kind in demo_effects.SETS:
        some = demo_effects.controls(2)[500:504]
        np.testing.assert_allclose(demo.effects(kind, some), known[f"controls 2 {kind}"][500:504], atol=2e-5)


@pytest.mark.parametrize("n", [1000, 10_000])
def test_what_does_more_than_all_controls_is_as_rare_as_the_resolution_says(n):
    """100,000 meaningless inserts: those that get the smallest p that q is made of, over ten draws of controls.

    Bounds: a Poisson count of what is expected of one draw (the same few are called in every draw), at 1e-3.
    """
    effects = many_effects.load()[:100_000].astype(float)
    widths, gc = composition(many_effects.inserts(0, len(effects)))
    rng, calls = np.random.default_rng(3), []
    for _ in range(10):
        controls = rng.choice(len(effects), size=n, replace=False)
        null = InsertNull(effects[controls], widths[controls], gc[controls])
        fresh = np.setdiff1d(np.arange(len(effects)), controls)
        location, scale = (f(widths[fresh], gc[fresh]) for f in (null.location, null.scale))
        calls.append((null.p((effects[fresh] - location) / scale) <= resolution(n)).sum())
    expected = resolution(n) * (len(effects) - n)
    assert stats.poisson.ppf(5e-4, expected) <= np.mean(calls) <= stats.poisson.ppf(1 - 5e-4, expected), calls


@pytest.mark.parametrize("kind", control_effects.KINDS)
def test_ctcf_is_found_with_as_many_controls_as_its_matrices_need(table, kind):
    """Three matrices, both ways round: six inserts that do more than every one of 9,579 controls, over five draws."""
    core = [control_effects.consensuses()[name] for name in ("MA0139.2", "MA1929.2", "MA1930.2")]
    six = [s for sequence in core for s in (sequence, reverse_complement_text(sequence))]
    effects = control_effects.effects("bpnet", kind, six).mean(axis=1)
    rng, n = np.random.default_rng(4), controls_needed(1437, 6)
    for _ in range(5):
        some = rng.choice(np.flatnonzero(table["ladder"]), size=n, replace=False)
        found = score_effects(effects, six, table[f"bpnet {kind}"][some], list(table["sequences"][some]))
        assert (found.p[:, 0] <= found.p_resolution).all(), found.p
        least = np.full(1437, 1.0)
        least[:6] = np.maximum(found.p[:, 0], found.p_resolution)
        assert (benjamini_hochberg(least)[:6] <= 0.05 + 1e-12).all()


@pytest.mark.parametrize("kind", handmade.KINDS)
def test_a_planted_motif_is_found_with_as_many_controls_as_it_needs(kind):
    """And nothing else of 200 inserts, by one draw of `list_controls` (docs/statistics.md has 20, of three motifs)."""
    jaspar = [(s, s) for s in demo_effects.inserts()]
    core = control_effects.consensuses()["MA0139.2"]
    sequences = [core, reverse_complement_text(core), *list_controls(jaspar, n=198, seed=1).sequences[:198]]
    assert handmade.means_something("MA0139.2", sequences).sum() == 2
    effects, n = handmade.effects("MA0139.2", kind, sequences), controls_needed(200, 2)
    controls = list(list_controls(jaspar, n=n, seed=2).sequences)
    scores = score_effects(effects, sequences, handmade.effects("MA0139.2", kind, controls), controls)
    called = benjamini_hochberg(np.maximum(scores.p[:, 0], scores.p_resolution)) <= 0.05
    assert called[:2].all() and not called[2:].any()


def p_values(table, name, method):
    """Score all inserts with the null of each disjoint set of 1,000 controls; one array of p-values per set and kind.

    `method(null, z)` turns studentised effects into p-values.
    """
    widths, gc = composition(table["sequences"])
    effects = table[name].astype(float)
    ladder = np.flatnonzero(table["ladder"])
    order = np.random.default_rng(2).permutation(ladder)
    for controls in (order[i : i + 1000] for i in range(0, len(order) - 999, 1000)):
        null = InsertNull(effects[controls], widths[controls], gc[controls])
        fresh = np.ones(len(effects), dtype=bool)
        fresh[controls] = False
        z = (effects - null.location(widths, gc)) / null.scale(widths, gc)
        yield method(null, z[fresh & table["ladder"]]), method(null, z[fresh & ~table["ladder"]])


def within(calls, tests, level):
    """Whether a mean number of calls lies in the binomial interval of half the tests, scaled to all of them."""
    low, high = stats.binom.interval(0.998, tests // 2, level)
    return low <= calls / 2 <= max(high, 1)


def verdicts(table, method, names=NULLS):
    """For each null and for all together: calls over expectation, and whether they are within the bounds."""
    out, total = {}, {level: [0.0, 0] for level in LEVELS}
    for name in names:
        sets = [np.concatenate(pair) for pair in p_values(table, name, method)]
        tests = len(sets[0])
        for level in LEVELS:
            calls = np.mean([(p <= level).sum() for p in sets])
            out[name, level] = (calls / (tests * level), within(calls, tests, level))
            total[level][0] += calls
            total[level][1] += tests
    for level, (calls, tests) in total.items():
        out["all", level] = (calls / (tests * level), within(calls, tests, level))
    return out


def test_p_values_are_uniform(table):
    found = verdicts(table, InsertNull.p)
    assert all(good for _, good in found.values()), found


@pytest.mark.parametrize("name", NULLS)
def test_the_whole_distribution_is_uniform(table, name):
    """Kolmogorov-Smirnov: a null from 1,000 controls may be off by what two samples differ in, at 1e-4 for each set."""
    for ladder, drawn in p_values(table, name, InsertNull.p):
        for p in (ladder, drawn):
            distance = stats.kstest(p, "uniform").statistic
            assert distance < np.sqrt(-np.log(0.5e-4) / 2 * (1 / 1000 + 1 / len(p))), name


@pytest.mark.parametrize(
    ("wrong", "method"),
    [
        ("normal tails", lambda null, z: 2 * stats.norm.sf(np.abs(z))),
        ("maximum-likelihood Pareto tails", lambda null, z: plug_in(null, z)),
        ("a scale a third too small", lambda null, z: null.p(z * 1.5)),
    ],
)
def test_a_null_that_is_too_narrow_is_found_out(table, wrong, method):
    found = verdicts(table, method)
    assert not all(good for _, good in found.values()), (wrong, found)
    assert found["all", 1e-4][0] > 2


def plug_in(null, z):
    """The usual generalised Pareto tail: fitted to the largest tenth and used as if it were known."""

    def upper(sample, z):
        k = len(sample) // 10
        threshold = (sample[-k] + sample[-k - 1]) / 2
        shape, _, scale = stats.genpareto.fit(sample[-k:] - threshold, floc=0)
        ranks = (len(sample) - np.searchsorted(sample, z) + 1) / (len(sample) + 1)
        return np.where(z > threshold, k / len(sample) * stats.genpareto.sf(z - threshold, shape, scale=scale), ranks)

    return np.minimum(1, 2 * np.minimum(upper(null.null.z, z), upper(-null.null.z[::-1], -z)))


@pytest.mark.parametrize("name", NULLS)
def test_a_small_list_is_calibrated_by_its_own_controls(table, name):
    """Five inserts of one width with 300 controls of their own, 30 lists (docs/statistics.md has 150).

    Bounds: on the cautious side at 0.01, within a quarter at 0.1. With fewer controls p only grows there.
    """
    (widths, gc), effects = composition(table["sequences"]), table[name].astype(float)
    rng, calls = np.random.default_rng(8), []
    for _ in range(30):
        controls, fresh = control_effects.small_list(table, 300, rng)
        null = InsertNull(effects[controls], widths[controls], gc[controls])
        z = (effects[fresh] - null.location(widths[fresh], gc[fresh])) / null.scale(widths[fresh], gc[fresh])
        calls.append([(null.p(z) <= level).mean() / level for level in (0.1, 0.01)])
    tenth, hundredth = np.mean(calls, axis=0)
    assert 0.75 < tenth < 1.25 and 0.3 < hundredth < 1.3, (tenth, hundredth)
