"""From what controls do to a p-value, and how far down they can say one.

Knows nothing of inserts: whatever is compared with controls of its own kind (effects, interactions, ablations), brought
to one location and scale, gets its p here. docs/statistics.md has the measured calibration. float64 throughout.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

ALTERNATIVES = ("two-sided", "greater")
#: Share of the controls in each fitted tail, and the least number of them.
TAIL_FRACTION, MIN_TAIL = 0.03, 20
# Prior of the tail's shape and the grid it is averaged over; see Tails.
_SHAPE_MEAN, _SHAPE_SD = 0.1, 0.15
_SHAPES = np.linspace(-0.5, 1.0, 46)
_LOG_SCALES = np.linspace(-1.6, 1.6, 49)


def resolution(n: int, alternative: str = "two-sided") -> float:
    """Return the smallest p that n controls can show: that of what does more than all of them.

    Parameters
    ----------
    n : int
        Number of controls.
    alternative : str, default "two-sided"
        As for `Tails.p`.

    Returns
    -------
    float
        2 / (n + 1), or 1 / (n + 1) for "greater".

    Notes
    -----
    What is tested is exchangeable with the controls if it means nothing. So the chance that it does more than all of
    them, in one direction, is 1 / (n + 1), whatever their distribution: also where a few inserts are of another kind
    (they hold a site) and none of those happens to be a control. Any smaller p rests on a tail that nobody has seen.
    The larger of p and its resolution is a rank among the controls and nothing else; Benjamini-Hochberg on such ranks
    keeps what it promises although all of them share their controls (Bates et al. 2023, Ann. Stat. 51:149).
    """
    return (1 if alternative == "greater" else 2) / (n + 1)


class Tails:
    """How rarely a control does as much: ranks, and a fitted tail beyond the last control on either side.

    Parameters
    ----------
    values : numpy.ndarray
        Of the controls, brought to one location and scale, shape (n,).
    ranks_only : bool, default False
        Whether to fit no tail: p is then by rank everywhere.

    Notes
    -----
    As far as controls reach, the tail probability is the rank among them, (b + 1) / (n + 1): exact for what is
    exchangeable with them, whatever their distribution, ties included. Beyond the last control it is the smaller of
    1 / (n + 1) and a fitted tail, which orders what lies there: a generalised Pareto distribution of the exceedances of
    the outermost 3 % (at least 20 controls; Pickands 1975; for tails of permutation nulls Knijnenburg et al. 2009,
    doi:10.1093/bioinformatics/btp211), each tail on its own. The fit is not plugged in: from 20 to 100 exceedances the
    maximum-likelihood tail is too short so often that p-values at 1e-4 come out five to ten times too small on average.
    Instead the tail probability is averaged over the posterior of shape and scale (prior: shape ~ normal(0.1, 0.15),
    from exponential to heavy; scale ~ 1 / scale). That is the predictive distribution of a new control (for extremes:
    Coles and Tawn 1996; Coles 2001, section 9.1).
    """

    def __init__(self, values: np.ndarray, *, ranks_only: bool = False):
        ascending = np.sort(np.asarray(values, dtype=np.float64))
        self._upper = _Tail(ascending, ranks_only=ranks_only)
        self._lower = _Tail(-ascending[::-1], ranks_only=ranks_only)

    def p(self, values: np.ndarray, alternative: str = "two-sided") -> np.ndarray:
        """Return the probability of a value at least as extreme.

        Parameters
        ----------
        values : numpy.ndarray
            On the scale of the controls', any shape.
        alternative : str, default "two-sided"
            "two-sided" is twice the smaller of the two tails (at most 1), which may differ much; "greater" the upper
            tail, for what cannot be negative.

        Returns
        -------
        numpy.ndarray
            As `values`. Below `resolution` it is an extrapolation.
        """
        upper = self._upper.survival(values)
        if alternative == "greater":
            return upper
        return np.minimum(1.0, 2 * np.minimum(upper, self._lower.survival(-values)))


class _Tail:
    """P(Z >= z) in one direction: ranks, and a predictive generalised Pareto tail beyond the last control."""

    def __init__(self, ascending: np.ndarray, *, ranks_only: bool = False):
        self.sample, self.fitted = ascending, False
        if ranks_only:
            self.threshold = math.inf
            return
        n = len(ascending)
        k = max(MIN_TAIL, round(TAIL_FRACTION * n))
        self.threshold = (ascending[-k] + ascending[-k - 1]) / 2
        self.share = (k + 1) / (n + 1)
        exceedances = ascending[-k:] - self.threshold
        # The grid of scales is laid around the median exceedance of an exponential: around the mean it would miss the
        # posterior when one control holds a strong site. Ties may put the median at the threshold.
        unit = float(np.median(exceedances)) / math.log(2) or float(exceedances.mean())
        self.fitted = unit > 0
        if not self.fitted:  # all of the tail is one value: nothing to extrapolate, ranks are all there is
            return
        shape, scale = (a.ravel() for a in np.meshgrid(_SHAPES, unit * np.exp(_LOG_SCALES), indexing="ij"))
        log_posterior = -0.5 * ((shape - _SHAPE_MEAN) / _SHAPE_SD) ** 2  # flat in log(scale): the prior 1 / scale
        log_posterior += stats.genpareto.logpdf(exceedances[:, None], shape, scale=scale).sum(axis=0)
        weight = np.exp(log_posterior - log_posterior.max())
        keep = weight > 1e-9
        self.shape, self.scale, self.weight = shape[keep], scale[keep], weight[keep] / weight[keep].sum()

    def survival(self, z: np.ndarray) -> np.ndarray:
        """Return P(Z >= z), shape of `z`."""
        z = np.asarray(z, dtype=np.float64)
        out = (len(self.sample) - np.searchsorted(self.sample, z, side="left") + 1) / (len(self.sample) + 1)
        beyond = z > self.sample[-1]
        if self.fitted and beyond.any():
            out[beyond] = np.minimum(out[beyond], self.predicted(z[beyond]))
        return out

    def predicted(self, z: np.ndarray) -> np.ndarray:
        """Return the fitted P(Z >= z) of values above the threshold, shape (m,)."""
        excess = z - self.threshold
        return self.share * (stats.genpareto.sf(excess[:, None], self.shape, scale=self.scale) @ self.weight)
