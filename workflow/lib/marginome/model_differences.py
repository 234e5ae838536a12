"""What a motif does differently in two models, or in two kinds of model.

docs/differences.md gives the reasons and the measured error rates. NumPy and SciPy only; float64 throughout.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from marginome.controls import composition
from marginome.errors import MarginomeError
from marginome.insert_nulls import InsertNull, score_effects
from marginome.nulls import as_columns

#: From this many models a side they are replicates, from whose spread p follows.
LEAST_REPLICATES = 3
#: Models of a side are copies of one where their effects correlate with 1 but for this: they agree to a thousandth of
#: their standard deviation. Models that were trained apart do not (0.3 of it, docs/differences.md). Of fewer inserts
#: than that many nothing is said.
_COPIES, _ENOUGH = 5e-7, 10
#: What rounding in float32 leaves of an effect: a side that varies less does not vary.
_ROUNDING = 1e-6
#: An insert does nothing in a model where its effect is no more than this share of the effects' standard deviation.
_NOTHING = 1e-4
#: Tukey's constant: 95 % efficient where errors are normal.
_BISQUARE = 4.685
_STEPS = 50
#: Logarithms of the slopes that the axis is looked for from, beside those of the interquartile ranges.
_STARTS = (0.0, -0.7, -0.45, -0.2, 0.2, 0.45, 0.7)


class Alignment(NamedTuple):
    """Effects of several models on one scale.

    Attributes
    ----------
    factors : numpy.ndarray
        What the effects of each model are multiplied by, float64, shape (m,); their geometric mean is 1.
    weights : numpy.ndarray
        How much each insert counted, from 0 (the sides differ in it) to 1, float64, shape (n,). 1 for one that does
        nothing in any model, too.
    correlation : float
        Weighted correlation of the two sides' mean effects.
    """

    factors: np.ndarray
    weights: np.ndarray
    correlation: float


def align_scales(first: np.ndarray, second: np.ndarray, names: Sequence[str] | None = None) -> Alignment:
    """Find the scale of each model by regressing over all inserts and controls.

    Parameters
    ----------
    first, second : numpy.ndarray
        Effects of the same inserts and controls in the models of either side, shape (n, a) and (n, b).
    names : sequence of str, optional
        Of the models, those of the first side first: for messages. By default they are numbered from 1.

    Returns
    -------
    Alignment

    Raises
    ------
    MarginomeError
        If shapes do not match or a value is not finite, a model has the same effect for all, two models of a side are
        copies of one, or the sides do not agree at all: then there is no common scale.

    Notes
    -----
    Both variables have errors, and no model is the measure of the others. So the regression is the standardised major
    axis (reduced major axis; Warton et al. 2006, Biol. Rev. 81:259), whose slope is the ratio of the standard
    deviations. Least squares would make the slope of either on the other too flat. The axis is the same whichever model
    is called x, goes from one model over a second to a third without a difference, and does not ask for the error
    variances, which are mostly not of the backgrounds, but of the training. It takes them as proportional to the
    models' own variances.

    What the sides differ in must not set the scale. The deviation of an insert is the difference of the sides' mean
    standard scores, divided by ``sqrt(1 + mean score^2)``, since large effects differ by more; the axis is fitted again
    with Tukey's bisquare weights of it (c = 4.685 normalised median absolute deviations) until they settle. It starts
    from the models' interquartile ranges, and from up to twice and half as steep ones; of the axes found the one with
    the least sum of Tukey's losses is taken. Inserts that do nothing in any model (most, where an output is rectified)
    say nothing of the scale and are left out: by them the median deviation would be 0.
    """
    pair = _pair(first, second, "effects")
    values, n_first = np.concatenate(pair, axis=1), pair[0].shape[1]
    side = np.arange(values.shape[1]) >= n_first
    names = [str(i + 1) for i in range(len(side))] if names is None else names
    for dead in np.flatnonzero(np.ptp(values, axis=0) == 0):
        raise MarginomeError(f"model '{names[dead]}' has the same effect for every insert", where="align_scales",
                             remedy="Its output does not depend on the inserted bases: leave it out.")  # fmt: skip
    for one, other in itertools.combinations(range(len(side)), 2):
        if side[one] == side[other] and _are_copies(values[:, [one, other]]):
            raise MarginomeError(
                f"models '{names[one]}' and '{names[other]}' have the same effects: "
                "copies of a model are no replicates",
                where="align_scales", remedy="Leave one of them out.",
            )  # fmt: skip
    weights = np.ones(len(values))
    acts = (np.abs(values) > _NOTHING * values.std(0)).any(axis=1)
    if (np.ptp(values[acts], axis=0) == 0).any():  # in one of the models they all do the same
        acts[:] = True
    values = values[acts]
    # The start is that of the many: were it that of all, the few strong inserts that differ could set the scale.
    start = stats.iqr(values, axis=0)
    start = np.where(start > 0, start, values.std(0))
    start = start * np.exp(np.log(values.std(0) / start).mean())  # in proportion to them, and in size as later ones
    found = (_settled(values, side, start * np.exp(np.where(side, shift, 0))) for shift in _STARTS)
    axes = [axis for axis in found if axis is not None]
    unit = min((axis.unit for axis in axes), default=np.nan)
    best = min(axes, key=lambda axis: (1 - _bisquare(axis.deviation, unit) ** 1.5).mean(), default=None)
    correlation = np.nan
    if best is not None:
        covariance = np.cov(best.x, best.y, aweights=best.weights)
        correlation = float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    if not correlation > 0:
        raise MarginomeError(
            f"the effects of the two sides are not alike (correlation {correlation:.2g}): there is no common scale",
            where="align_scales", remedy="Compare models of one measure and of outputs that mean the same.",
        )  # fmt: skip
    weights[acts] = best.weights
    return Alignment(np.exp(np.log(best.spread).mean()) / best.spread, weights, correlation)


def _are_copies(pair: np.ndarray) -> bool:
    """Say whether the effects (n, 2) are those of one model; the strongest tenth counts for no more than the next."""
    values = np.abs(centred := pair - np.median(pair, axis=0))
    bound = np.quantile(values, 0.9, axis=0)
    if (np.minimum(values, bound) > 0).all(axis=1).sum() < _ENOUGH:
        return False
    return float(np.corrcoef(np.clip(centred, -bound, bound).T)[0, 1]) > 1 - _COPIES


class _Axis(NamedTuple):
    """A major axis: spread of each model, mean scores of the sides, deviations from it, their unit, weights."""

    spread: np.ndarray
    x: np.ndarray
    y: np.ndarray
    deviation: np.ndarray
    unit: float
    weights: np.ndarray


def _settled(values: np.ndarray, second: np.ndarray, spread: np.ndarray) -> _Axis | None:
    """Fit the axis again and again with the weights that it gives, from some spreads on, until they settle.

    None where the weights leave inserts alone that do the same in a model: there is no scale in these.
    """
    centre, axis = np.median(values, axis=0), None
    for _ in range(_STEPS):
        if axis is not None:
            centre = np.average(values, axis=0, weights=axis.weights)
            spread = np.sqrt(np.average((values - centre) ** 2, axis=0, weights=axis.weights))
            if not (spread > 0).all():
                return None
        scores = (values - centre) / spread
        x, y = scores[:, ~second].mean(1), scores[:, second].mean(1)
        deviation = (x - y) / np.sqrt(1 + ((x + y) / 2) ** 2)
        deviation = np.abs(deviation - np.median(deviation))
        unit = 1.4826 * float(np.median(deviation))
        new = _Axis(spread, x, y, deviation, unit, _bisquare(deviation, unit))
        settled = axis is not None and np.abs(new.weights - axis.weights).max() < 1e-6
        axis = new
        if settled:
            break
    return axis


def _bisquare(deviation: np.ndarray, unit: float) -> np.ndarray:
    """Return Tukey's weights; where more than half agree to the last digit, those that do have 1 and others 0."""
    return np.clip(1 - (deviation / max(_BISQUARE * unit, 1e-9)) ** 2, 0, None) ** 2


def _pair(first: np.ndarray, second: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    first = as_columns(first, len(first), name)
    return first, as_columns(second, len(first), name)


class Differences(NamedTuple):
    """What inserts do differently in two sides of models; arrays are float64 of shape (n,).

    Attributes
    ----------
    first_mean, second_mean : numpy.ndarray
        Mean effect over the models of a side, on the common scale.
    difference : numpy.ndarray
        ``first_mean - second_mean``.
    control_mean, control_sd : numpy.ndarray
        The same difference of meaningless inserts of this width and GC: its location and spread.
    z, p_controls : numpy.ndarray
        The difference against those of the controls (`marginome.insert_nulls.score_effects`), two-sided.
    t, df, p_models : numpy.ndarray
        Welch's test with the models as replicates; NaN with fewer than three a side.
    p : numpy.ndarray
        The larger of `p_controls` and `p_models`; `p_controls` where there are no replicates.
    n_controls : int
    p_resolution : float
        The least p that so many controls can show.
    """

    first_mean: np.ndarray
    second_mean: np.ndarray
    difference: np.ndarray
    control_mean: np.ndarray
    control_sd: np.ndarray
    z: np.ndarray
    p_controls: np.ndarray
    t: np.ndarray
    df: np.ndarray
    p_models: np.ndarray
    p: np.ndarray
    n_controls: int
    p_resolution: float


def claim_of(n_first: int, n_second: int) -> str:
    """Return what a difference between so many models a side is a claim about.

    "models like these" with at least three a side, which are replicates; "these two models" with one a side; "these
    models" otherwise.
    """
    if min(n_first, n_second) >= LEAST_REPLICATES:
        return "models like these"
    return "these two models" if n_first == n_second == 1 else "these models"


def model_differences(
    first: np.ndarray,
    second: np.ndarray,
    sequences: Sequence[str],
    first_controls: np.ndarray,
    second_controls: np.ndarray,
    control_sequences: Sequence[str],
) -> Differences:
    """Compare what inserts do in two models, or in two kinds of model.

    Parameters
    ----------
    first, second : numpy.ndarray
        Mean effects over the same backgrounds of n inserts in the models of either side, aligned (`align_scales`),
        shape (n, a) and (n, b).
    sequences : sequence of str
        The inserts (A, C, G, T, N), for their width and GC.
    first_controls, second_controls : numpy.ndarray
        The same of the controls at the same position, shape (m, a) and (m, b).
    control_sequences : sequence of str
        The controls.

    Returns
    -------
    Differences

    Raises
    ------
    MarginomeError
        If shapes do not match, a value is not finite or there are too few controls.

    Notes
    -----
    *Against controls.* Two networks differ in what any insert does to them. A motif's difference counts as far as it is
    rarer than those of its controls: z and p are those of an effect, of the differences in place of effects. That is
    a claim about these models, whatever their number.

    *Between models.* With three or more models a side (folds, seeds, experiments), they are the unit of replication. Of
    each model's effect what meaningless inserts of this width and GC do in that model is taken off, and Welch's t test
    compares the two sides: their variances need not be equal, as where a motif does nothing on one side. Effects in
    more backgrounds are known better, but are no more models: they enter as means alone.

    *Both.* Then p is the larger of the two: that of the hypothesis that the sides do not differ, or by no more than in
    what means nothing (an intersection-union test; Berger 1982, Technometrics 24:295).
    """
    first, second = _pair(first, second, "effects")
    controls = _pair(first_controls, second_controls, "control effects")
    means = [side.mean(1) for side in (first, second)]
    apart = means[0] - means[1]
    scores = score_effects(apart, sequences, controls[0].mean(1) - controls[1].mean(1), control_sequences)
    p_controls = scores.p[:, 0]
    t = df = p_models = np.full(len(apart), np.nan)
    p = p_controls
    if min(first.shape[1], second.shape[1]) >= LEAST_REPLICATES:
        traits, control_traits = composition(sequences), composition(control_sequences)
        beyond = [
            side - np.stack([InsertNull(column, *control_traits).location(*traits) for column in theirs.T], axis=1)
            for side, theirs in zip((first, second), controls)
        ]
        t, df, p_models = welch(*beyond)
        p = np.maximum(p_controls, p_models)
    return Differences(
        *means, apart, scores.control_mean[:, 0], scores.control_sd[:, 0], scores.z[:, 0], p_controls, t, df, p_models,
        p, scores.n_controls, scores.p_resolution,
    )  # fmt: skip


def welch(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Welch's t, degrees of freedom and two-sided p of each row; NaN where neither side varies beyond rounding.

    Parameters
    ----------
    first, second : numpy.ndarray
        Shape (n, a) and (n, b), at least two columns each.
    """
    parts = [side.var(axis=1, ddof=1) / side.shape[1] for side in (first, second)]
    total = parts[0] + parts[1]
    size = np.maximum(np.abs(first).max(1), np.abs(second).max(1))
    total = np.where(total > (_ROUNDING * size) ** 2, total, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(total > 0, (first.mean(1) - second.mean(1)) / np.sqrt(total), np.nan)
        below = sum(part**2 / (side.shape[1] - 1) for part, side in zip(parts, (first, second)))
        df = np.where(total > 0, total**2 / below, np.nan)
    return t, df, 2 * stats.t.sf(np.abs(t), df)
