"""P-values of effects: what an insert does, beside what meaningless inserts do in the same backgrounds.

What a p-value here answers: *does this insert do more, in these backgrounds, than inserts of its width and composition
that mean nothing?* The spread of an effect over backgrounds (`effect_se`) does not answer it: a random insert has an
effect of its own, the same in every background, often many standard errors from zero. So the null is the distribution
of the effects of control inserts (`marginome.controls`) in the same backgrounds.

docs/statistics.md gives the reasons and the measured calibration. NumPy and SciPy only; float64 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marginome.confidence import check_finite
from marginome.controls import MIN_CONTROLS, composition
from marginome.errors import MarginomeError
from marginome.tails import ALTERNATIVES, Tails, resolution

_HUBER = 2.0
_SCALE_TERMS = 5  # of the smooth terms, the first so many describe the scale too
# From this share of controls with one and the same effect (to 1e-4 of their standard deviation) a null is sparse.
_SPARSE_SHARE, _SPARSE_WIDTH = 0.2, 1e-4


class Null:
    """The distribution of the effect of meaningless inserts, given their width and GC content; one target.

    Parameters
    ----------
    effects : numpy.ndarray
        Mean effects over the backgrounds of the control inserts, shape (n_controls,).
    widths : numpy.ndarray
        Letters each control substitutes (N columns not counted), shape (n_controls,).
    gc : numpy.ndarray
        Their GC fraction, shape (n_controls,).

    Attributes
    ----------
    z : numpy.ndarray
        The controls' own studentised effects, each against a location fitted without it, ascending.
    n : int
        Number of controls.
    sparse : bool
        Whether many controls have one and the same effect, so that p is by rank alone; see the notes.

    Raises
    ------
    MarginomeError
        If there are fewer than `MIN_CONTROLS` controls, or they all have the same effect.

    Notes
    -----
    *Location and scale.* The location is quadratic in GC and linear in log width (with their interactions), plus an
    offset for each width: inserts of one width overwrite the same bases of the same backgrounds, and with 8 to 32
    backgrounds what they destroy does not average out. Offsets are shrunk (ridge) by the amount that gives the
    smallest leave-one-out error. Huber weights keep controls that happen to hold a site from moving it. The log of the
    scale is linear in log width and quadratic in GC, fitted to the log of the absolute residuals, and normalised to the
    standard deviation of the central half of the controls (interquartile range / 1.349), for the same reason.

    *P.* The studentised controls are pooled; p is that of `marginome.tails.Tails`.

    *Sparse nulls.* Where a fifth of the controls or more have one and the same effect, to 1e-4 of their standard
    deviation (a scanner with a threshold, a rectified output: most inserts do nothing, a few do something), there is no
    spread of the many to measure the few by. Then location and scale are the controls' median and standard deviation at
    every width and GC, and p is the rank everywhere, down to 2 / (n + 1): nothing is extrapolated (`sparse`).
    """

    def __init__(self, effects: np.ndarray, widths: np.ndarray, gc: np.ndarray):
        effects, widths, gc = (np.asarray(a, dtype=np.float64) for a in (effects, widths, gc))
        if len(effects) < MIN_CONTROLS:
            raise MarginomeError(
                f"{len(effects)} controls are too few for a null, at least {MIN_CONTROLS} are needed",
                where="controls",
                remedy="Ask for more controls (a few hundred), or switch them off.",
            )
        if np.ptp(effects) == 0:
            raise MarginomeError(
                f"all {len(effects)} controls have the effect {effects[0]:g}",
                where="controls",
                remedy="The output does not depend on the inserted bases: check the output and the insert's position.",
            )
        self.n = len(effects)
        self._width_mean = float(np.log(widths).mean())
        self._widths = np.unique(widths)
        # About 40 controls a coefficient, so that a small or uniform set does not get a wild surface.
        smooth = self._smooth(widths, gc)
        rank = [0]
        for j in range(1, smooth.shape[1]):
            if len(rank) < max(1, self.n // 40) and np.linalg.matrix_rank(smooth[:, [*rank, j]]) > len(rank):
                rank.append(j)
        self._columns = np.array(rank)
        self._scale_columns = self._columns[self._columns < _SCALE_TERMS]
        self._factor = 1.0
        self.sparse = _is_sparse(effects)
        # The fit is around the median: what is added to all effects must change nothing, in the last digits either.
        self._centre = float(np.median(effects))
        if self.sparse:
            self._columns = self._scale_columns = np.array([0])
            self._beta, self._log_scale = np.zeros(1 + len(self._widths)), np.array([math.log(effects.std())])
            self.z = np.sort(
                (effects - self.location(widths, gc)) / self.scale(widths, gc)
            )  # as an insert's: ties stay
        else:
            self.z = np.sort(self._fit(effects - self._centre, widths, gc))
        self._tails = Tails(self.z, ranks_only=self.sparse)

    def _smooth(self, widths: np.ndarray, gc: np.ndarray) -> np.ndarray:
        """Return the smooth terms in width and GC, shape (n, 7), most useful first."""
        g, v = gc - 0.5, np.log(widths) - self._width_mean
        return np.stack([np.ones_like(g), v, g, g * g, v * v, v * g, v * g * g], axis=1)

    def _terms(self, widths: np.ndarray, gc: np.ndarray) -> np.ndarray:
        """Return the design matrix: smooth terms, then an indicator of each width among the controls."""
        return np.hstack([self._smooth(widths, gc)[:, self._columns], widths[:, None] == self._widths])

    def _fit(self, effects: np.ndarray, widths: np.ndarray, gc: np.ndarray) -> np.ndarray:
        """Fit location and scale; return the controls' studentised leave-one-out residuals."""
        design = self._terms(widths, gc)
        offsets = np.arange(design.shape[1]) >= len(self._columns)
        scale_terms = self._smooth(widths, gc)[:, self._scale_columns]
        scale = np.full(self.n, effects.std())
        weights = np.ones(self.n)
        spread = 0.3  # of the offsets, in units of the scale
        for step in range(10):
            precision = weights / scale**2
            # The offsets' spread is chosen once, when weights and scale have settled; 0 leaves the offsets out.
            candidates = (0.0, 0.1, 0.2, 0.4, 0.8) if step == 5 else (spread,)
            best = None
            for candidate in candidates:
                used = ~offsets if candidate == 0 else np.ones_like(offsets)
                penalty = np.where(offsets, (max(candidate, 1e-9) * np.median(scale)) ** -2.0, 0.0)[used]
                part = design[:, used]
                inverse = np.linalg.pinv((part.T * precision) @ part + np.diag(penalty), hermitian=True)
                beta = np.zeros(design.shape[1])
                beta[used] = inverse @ (part.T @ (precision * effects))
                leverage = precision * np.einsum("ij,jk,ik->i", part, inverse, part)
                left_out = (effects - design @ beta) / np.maximum(1 - leverage, 0.05)
                error = (precision * left_out**2).sum()
                if best is None or error < best[0]:
                    best = (error, candidate, beta, left_out)
            _, spread, self._beta, residuals = best
            size = np.abs(residuals)
            # The floor keeps controls of (nearly) no effect at all from dragging the logarithm down.
            floor = max(1e-2 * np.median(size), 1e-3 * size.mean())
            self._log_scale = np.linalg.lstsq(scale_terms, np.log(size + floor), rcond=None)[0]
            scale = np.exp(scale_terms @ self._log_scale)
            standard = size / (scale * max(np.median(size / scale) * 1.4826, 1e-3))
            weights = np.minimum(1.0, _HUBER / np.maximum(standard, 1e-9))
        z = residuals / scale
        middle = np.subtract(*np.percentile(z, [75, 25])) / 1.349
        self._factor = middle if middle > 1e-3 * z.std() else z.std()
        return z / self._factor

    def location(self, widths: np.ndarray, gc: np.ndarray) -> np.ndarray:
        """Return the expected effect of a meaningless insert.

        Parameters
        ----------
        widths, gc : numpy.ndarray
            Substituted letters and GC fraction of inserts, shape (n,).

        Returns
        -------
        numpy.ndarray
            Shape (n,), in the effect's unit.
        """
        return self._centre + self._terms(np.asarray(widths, float), np.asarray(gc, float)) @ self._beta

    def scale(self, widths: np.ndarray, gc: np.ndarray) -> np.ndarray:
        """Return the spread of the effects of meaningless inserts.

        Parameters
        ----------
        widths, gc : numpy.ndarray
            As for `location`.

        Returns
        -------
        numpy.ndarray
                Shape (n,), in the effect's unit: the standard deviation of the normal distribution with the controls'
            interquartile range; their tails are heavier.
        """
        terms = self._smooth(np.asarray(widths, float), np.asarray(gc, float))[:, self._scale_columns]
        return self._factor * np.exp(terms @ self._log_scale)

    def p(self, z: np.ndarray, alternative: str = "two-sided") -> np.ndarray:
        """Return the probability of a studentised effect at least as extreme under the null.

        Parameters
        ----------
        z : numpy.ndarray
            (effect - location) / scale, any shape.
        alternative : str, default "two-sided"
            As for `Tails.p`.

        Returns
        -------
        numpy.ndarray
            As `z`.
        """
        return self._tails.p(z, alternative)


def _is_sparse(effects: np.ndarray) -> bool:
    """Whether at least a fifth of the effects are one and the same, to 1e-4 of their standard deviation."""
    ordered = np.sort(effects)
    last = np.searchsorted(ordered, ordered + _SPARSE_WIDTH * effects.std(), side="right")
    return bool((last - np.arange(len(ordered))).max() >= _SPARSE_SHARE * len(ordered))


class Scores(NamedTuple):
    """Effects against their null; arrays are float64 of shape (n_inserts, k).

    Attributes
    ----------
    control_mean, control_sd : numpy.ndarray
        Location and scale of the effects of control inserts of this width and GC (`Null.location`, `Null.scale`).
    z : numpy.ndarray
        (effect - control_mean) / control_sd. NaN where the controls have no spread.
    p : numpy.ndarray
        See `Null.p`. NaN where the controls have no spread.
    n_controls : int
        Number of control inserts in the null.
    p_resolution : float
        How far the controls reach, see `marginome.tails.resolution`. Below it p is an extrapolation that orders the
        inserts, no more; q is made of the larger of the two (`add_q`).
    """

    control_mean: np.ndarray
    control_sd: np.ndarray
    z: np.ndarray
    p: np.ndarray
    n_controls: int
    p_resolution: float


def score_effects(
    effects: np.ndarray,
    sequences: Sequence[str],
    control_effects: np.ndarray,
    control_sequences: Sequence[str],
    *,
    alternative: str = "two-sided",
) -> Scores:
    """Compare mean effects of inserts with those of control inserts at the same start in the same backgrounds.

    Parameters
    ----------
    effects : numpy.ndarray
        Mean effect over the backgrounds (`summarize_effects(...).mean`), shape (n_inserts, k) or (n_inserts,).
    sequences : sequence of str
        The inserts (A, C, G, T, N), for their width and GC.
    control_effects : numpy.ndarray
        The same of the controls, shape (n_controls, k) or (n_controls,).
    control_sequences : sequence of str
        The controls, `ControlSet.sequences`.
    alternative : str, default "two-sided"
        "two-sided", or "greater" for measures that cannot be negative (Euclidean, Jensen-Shannon distance).

    Returns
    -------
    Scores
        Arrays of shape (n_inserts, k).

    Raises
    ------
    MarginomeError
        If shapes do not match, a value is not finite, the alternative is unknown or there are too few controls.

    Notes
    -----
    One call is one null: call it for each model, background set and start; targets are fitted one by one. The method is
    described at `Null`. An insert and its reverse complement are compared with the same null, because controls are
    put in in either orientation by chance (`marginome.controls.draw_controls`).
    """
    if alternative not in ALTERNATIVES:
        raise MarginomeError(f"'{alternative}', wanted 'two-sided' or 'greater'", where="alternative")
    effects, control_effects = (
        _as_table(effects, sequences, "effects"),
        _as_table(control_effects, control_sequences, "control_effects"),
    )
    if effects.shape[1] != control_effects.shape[1]:
        raise MarginomeError(
            f"{effects.shape[1]} targets for the inserts, {control_effects.shape[1]} for the controls", where="effects"
        )
    widths, gc = composition(sequences)
    control_widths, control_gc = composition(control_sequences)
    mean, sd, p = (np.empty(effects.shape) for _ in range(3))
    for j in range(effects.shape[1]):
        column = control_effects[:, j]
        if len(column) >= MIN_CONTROLS and np.ptp(column) == 0:  # an output that no insert reaches
            mean[:, j], sd[:, j], p[:, j] = column[0], 0.0, np.nan
            continue
        null = Null(column, control_widths, control_gc)
        mean[:, j], sd[:, j] = null.location(widths, gc), null.scale(widths, gc)
        p[:, j] = null.p((effects[:, j] - mean[:, j]) / sd[:, j], alternative)
    z = np.divide(effects - mean, sd, out=np.full(effects.shape, np.nan), where=sd > 0)
    n = len(control_effects)
    return Scores(mean, sd, z, p, n, resolution(n, alternative))


def _as_table(values: np.ndarray, sequences: Sequence[str], name: str) -> np.ndarray:
    """Return finite float64 values of shape (n, k), one row for each sequence."""
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != len(sequences):
        raise MarginomeError(f"shape {values.shape} for {len(sequences)} sequences, wanted (n, k)", where=name)
    check_finite(values, name)
    return values
