"""How well a mean effect over backgrounds is known: interval, standard error, how many backgrounds it takes.

Not whether the insert does more than a meaningless one (`marginome.nulls`): docs/statistics.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from marginome.errors import MarginomeError


class EffectSummary(NamedTuple):
    """Effects summarised over backgrounds; every field but `n` is float64 of shape (n_inserts, k).

    Attributes
    ----------
    mean, sd, se : numpy.ndarray
        Mean over backgrounds, standard deviation (n - 1), standard error of the mean.
    ci_low, ci_high : numpy.ndarray
        Student-t interval of the mean.
    sign_consistency : numpy.ndarray
        Fraction of the backgrounds whose effect has the sign of the mean.
    n : int
        Number of backgrounds.
    """

    mean: np.ndarray
    sd: np.ndarray
    se: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    sign_consistency: np.ndarray
    n: int


def summarize_effects(effects: np.ndarray, *, confidence: float = 0.95) -> EffectSummary:
    """Summarise the effects of inserts over backgrounds.

    Parameters
    ----------
    effects : numpy.ndarray
        Shape (n_inserts, n_backgrounds) or (n_inserts, n_backgrounds, k): one effect per insert, background and target.
    confidence : float, default 0.95
        Coverage of the interval.

    Returns
    -------
    EffectSummary
        Arrays of shape (n_inserts, k) (k = 1 for two-dimensional effects). With one background, `sd`, `se` and the
        interval are NaN.

    Raises
    ------
    MarginomeError
        If the shape is another one, there are no backgrounds, or an effect is not finite.

    Notes
    -----
    The interval treats the backgrounds as a random sample; it says how well the mean effect over such backgrounds is
    known, not whether the motif does more than a random insert (that is `score_effects`).
    """
    effects = np.asarray(effects, dtype=np.float64)
    if effects.ndim == 2:
        effects = effects[:, :, None]
    if effects.ndim != 3 or effects.shape[1] == 0:
        raise MarginomeError(
            f"effects have shape {effects.shape}, wanted (n_inserts, n_backgrounds, k) with at least one background",
            where="effects",
        )
    check_finite(effects, "effects")
    n = effects.shape[1]
    mean = effects.mean(axis=1)
    sd = effects.std(axis=1, ddof=1) if n > 1 else np.full(mean.shape, np.nan)
    consistency = (np.sign(effects) == np.sign(mean)[:, None]).mean(axis=1)
    return EffectSummary(mean, sd, *mean_interval(mean, sd, n, confidence=confidence), consistency, n)


def mean_interval(
    mean: np.ndarray, sd: np.ndarray, n: int, *, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the standard error and the t interval of means over backgrounds.

    Parameters
    ----------
    mean, sd : numpy.ndarray, any shape
        Mean and standard deviation (n - 1 degrees of freedom) of effects over backgrounds.
    n : int
        Backgrounds.
    confidence : float, default 0.95
        Coverage of the interval.

    Returns
    -------
    se, low, high : numpy.ndarray
        ``sd / sqrt(n)`` and ``mean -/+ t(n - 1) * se``; NaN where `sd` is, as it is with one background.
    """
    se = sd / math.sqrt(n)
    half = special.stdtrit(n - 1, 0.5 + confidence / 2) * se if n > 1 else se
    return se, mean - half, mean + half


def backgrounds_needed(effect_sd: np.ndarray, half_width: float, *, confidence: float = 0.95) -> np.ndarray:
    """Tell how many backgrounds make the interval of a mean effect as narrow as is wanted.

    Parameters
    ----------
    effect_sd : array_like, any shape
        Standard deviation of effects over backgrounds, in the effect's unit: column ``effect_sd`` of an effect table.
    half_width : float
        Wanted half width of the interval, in the same unit, above 0.
    confidence : float, default 0.95
        Coverage of the interval.

    Returns
    -------
    numpy.ndarray of int64, the same shape
        The smallest n, at least 2, with ``t(n - 1) * effect_sd / sqrt(n) <= half_width``.

    Raises
    ------
    MarginomeError
        If a number is not finite, a standard deviation negative, or the width not above 0.

    Notes
    -----
    The standard deviation is itself an estimate: from 16 backgrounds it is known to about a fifth. More backgrounds
    narrow the interval; they do not lower p or q, which ask what other inserts do in the same backgrounds.

    Examples
    --------
    >>> backgrounds_needed([0.1, 0.2, 0.4], 0.05).tolist()
    [18, 64, 249]
    """
    sd = np.asarray(effect_sd, dtype=np.float64)
    check_finite(sd, "effect_sd")
    if (sd < 0).any():
        raise MarginomeError("a standard deviation is negative", where="effect_sd")
    if not (0 < half_width < math.inf):
        raise MarginomeError(f"expected a number above 0, found {half_width}", where="half_width")
    if not 0 < confidence < 1:
        raise MarginomeError(f"expected a number between 0 and 1, found {confidence}", where="confidence")

    def quantile(n: np.ndarray) -> np.ndarray:
        return special.stdtrit(n - 1, 0.5 + confidence / 2)

    # the normal quantile is a lower bound, a t quantile of that n an upper one; bisection in between
    low = np.maximum(2, np.floor((quantile(math.inf) * sd / half_width) ** 2)).astype(np.int64)
    high = np.maximum(low, np.ceil((quantile(low) * sd / half_width) ** 2).astype(np.int64))
    while (low < high).any():
        middle = (low + high) // 2
        enough = quantile(middle) * sd <= half_width * np.sqrt(middle)
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return high


def check_finite(values: np.ndarray, name: str) -> None:
    """Refuse NaN and infinities, with the first row that has one.

    Parameters
    ----------
    values : numpy.ndarray
        Float, any shape with at least one axis.
    name : str
        What they are, for the message.

    Raises
    ------
    MarginomeError
        If a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise MarginomeError(f"row {row} holds a value that is not finite", where=name)
