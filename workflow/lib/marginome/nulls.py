"""P-values of whatever is compared with controls of its own kind: effects, interactions, ablations.

What such a p answers: *does this do more than what means nothing does, where both are alike in the traits that matter
by themselves?* Which traits those are differs: of an insert its width and GC (`marginome.insert_nulls`). How location
and scale are fitted on them, how p follows and how far it reaches is the same for all, and is here.

docs/statistics.md gives the reasons and the measured calibration. NumPy and SciPy only; float64 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from marginome.confidence import check_finite
from marginome.controls import MIN_CONTROLS
from marginome.errors import MarginomeError
from marginome.tails import ALTERNATIVES, Tails, resolution

_HUBER = 2.0
# From this share of controls with one and the same value (to 1e-4 of their standard deviation) a null is sparse.
_SPARSE_SHARE, _SPARSE_WIDTH = 0.2, 1e-4


class Null:
    """The distribution of the values of controls, given their traits; one target.

    Parameters
    ----------
    values : numpy.ndarray
        Of the controls, e.g. mean effects over the backgrounds, shape (n_controls,).
    terms : numpy.ndarray
        What location and scale may depend on: shape (n_controls, t), without the constant, most useful first. t may be
        0. Few controls use the first ones only: one for each 40 controls, the constant counted.
    groups : numpy.ndarray, optional
        Number of the group that a control belongs to, shape (n_controls,): each has an offset of the location.
    scale_terms : int, optional
        How many of the terms describe the scale too; by default all.

    Attributes
    ----------
    z : numpy.ndarray
        The controls' own studentised values, each against a location fitted without it, ascending.
    n : int
        Number of controls.
    sparse : bool
        Whether many controls have one and the same value, so that p is by rank alone; see the notes.

    Raises
    ------
    MarginomeError
        If there are fewer than `MIN_CONTROLS` controls, or they all have the same value.

    Notes
    -----
    *Location and scale.* The location is linear in the terms, plus an offset for each group. Offsets are shrunk (ridge)
    by the amount that gives the smallest leave-one-out error. Huber weights keep controls that happen to mean something
    from moving it. The log of the scale is linear in its terms, fitted to the log of the absolute residuals, and
    normalised to the standard deviation of the central half of the controls (interquartile range / 1.349), for the same
    reason.

    *P.* The studentised controls are pooled; p is that of `marginome.tails.Tails`.

    *Sparse nulls.* Where a fifth of the controls or more have one and the same value, to 1e-4 of their standard
    deviation (a scanner with a threshold, a rectified output: most inserts do nothing, a few do something), there is no
    spread of the many to measure the few by. Then location and scale are the controls' median and standard deviation
    everywhere, and p is the rank, down to 2 / (n + 1): nothing is extrapolated (`sparse`).
    """

    def __init__(
        self,
        values: np.ndarray,
        terms: np.ndarray,
        groups: np.ndarray | None = None,
        *,
        scale_terms: int | None = None,
    ):
        values = np.asarray(values, dtype=np.float64)
        smooth = _with_constant(terms)
        if len(values) < MIN_CONTROLS:
            raise MarginomeError(
                f"{len(values)} controls are too few for a null, at least {MIN_CONTROLS} are needed",
                where="controls",
                remedy="Ask for more controls (a few hundred), or switch them off.",
            )
        if np.ptp(values) == 0:
            raise MarginomeError(
                f"all {len(values)} controls have the effect {values[0]:g}",
                where="controls",
                remedy="The output does not depend on the inserted bases: check the output and the insert's position.",
            )
        self.n = len(values)
        self._groups = np.unique(groups) if groups is not None else np.empty(0)
        # About 40 controls a coefficient, so that a small or uniform set does not get a wild surface.
        rank = [0]
        for j in range(1, smooth.shape[1]):
            if len(rank) < max(1, self.n // 40) and np.linalg.matrix_rank(smooth[:, [*rank, j]]) > len(rank):
                rank.append(j)
        self._columns = np.array(rank)
        last = smooth.shape[1] if scale_terms is None else 1 + scale_terms
        self._scale_columns = self._columns[self._columns < last]
        self._factor = 1.0
        self.sparse = _is_sparse(values)
        # The fit is around the median: what is added to all values must change nothing, in the last digits either.
        self._centre = float(np.median(values))
        if self.sparse:
            self._columns = self._scale_columns = np.array([0])
            self._beta, self._log_scale = np.zeros(1 + len(self._groups)), np.array([math.log(values.std())])
            self.z = np.sort((values - self.location(terms, groups)) / self.scale(terms))  # as others': ties stay
        else:
            self.z = np.sort(self._fit(values - self._centre, smooth, groups))
        self._tails = Tails(self.z, ranks_only=self.sparse)

    def _design(self, smooth: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """Return the design matrix: smooth terms, then an indicator of each group among the controls."""
        if groups is None:
            return smooth[:, self._columns]
        return np.hstack([smooth[:, self._columns], np.asarray(groups)[:, None] == self._groups])

    def _fit(self, values: np.ndarray, smooth: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """Fit location and scale; return the controls' studentised leave-one-out residuals."""
        design = self._design(smooth, groups)
        offsets = np.arange(design.shape[1]) >= len(self._columns)
        scale_terms = smooth[:, self._scale_columns]
        scale = np.full(self.n, values.std())
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
                beta[used] = inverse @ (part.T @ (precision * values))
                leverage = precision * np.einsum("ij,jk,ik->i", part, inverse, part)
                left_out = (values - design @ beta) / np.maximum(1 - leverage, 0.05)
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

    def location(self, terms: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Return the expected value of what means nothing.

        Parameters
        ----------
        terms : numpy.ndarray
            As of the controls, shape (n, t).
        groups : numpy.ndarray, optional
            Likewise, shape (n,); a group that no control has gets no offset.

        Returns
        -------
        numpy.ndarray
            Shape (n,), in the values' unit.
        """
        return self._centre + self._design(_with_constant(terms), groups) @ self._beta

    def scale(self, terms: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Return the spread of the values of what means nothing.

        Parameters
        ----------
        terms : numpy.ndarray
            As of the controls, shape (n, t).
        groups : numpy.ndarray, optional
            Not looked at: all groups have one scale.

        Returns
        -------
        numpy.ndarray
            Shape (n,), in the values' unit: the standard deviation of the normal distribution with the controls'
            interquartile range; their tails are heavier.
        """
        return self._factor * np.exp(_with_constant(terms)[:, self._scale_columns] @ self._log_scale)

    def p(self, z: np.ndarray, alternative: str = "two-sided") -> np.ndarray:
        """Return the probability of a studentised value at least as extreme under the null.

        Parameters
        ----------
        z : numpy.ndarray
            (value - location) / scale, any shape.
        alternative : str, default "two-sided"
            As for `Tails.p`.

        Returns
        -------
        numpy.ndarray
            As `z`.
        """
        return self._tails.p(z, alternative)


def _with_constant(terms: np.ndarray) -> np.ndarray:
    """Return the terms behind a column of ones, float64, shape (n, 1 + t)."""
    terms = np.asarray(terms, dtype=np.float64)
    return np.column_stack([np.ones(len(terms)), terms])


def _is_sparse(values: np.ndarray) -> bool:
    """Whether at least a fifth of the values are one and the same, to 1e-4 of their standard deviation."""
    ordered = np.sort(values)
    last = np.searchsorted(ordered, ordered + _SPARSE_WIDTH * values.std(), side="right")
    return bool((last - np.arange(len(ordered))).max() >= _SPARSE_SHARE * len(ordered))


class Scores(NamedTuple):
    """Values against their null; arrays are float64 of shape (n, k).

    Attributes
    ----------
    control_mean, control_sd : numpy.ndarray
        Location and scale of the values of controls of these traits (`Null.location`, `Null.scale`).
    z : numpy.ndarray
        (value - control_mean) / control_sd. NaN where the controls have no spread.
    p : numpy.ndarray
        See `Null.p`. NaN where the controls have no spread.
    n_controls : int
        Number of controls in the null.
    p_resolution : float
        How far the controls reach, see `marginome.tails.resolution`. Below it p is an extrapolation that orders the
        rows, no more; q is made of the larger of the two (`add_q`).
    """

    control_mean: np.ndarray
    control_sd: np.ndarray
    z: np.ndarray
    p: np.ndarray
    n_controls: int
    p_resolution: float


def score_values(
    values: np.ndarray,
    controls: np.ndarray,
    *,
    terms: np.ndarray | None = None,
    control_terms: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    control_groups: np.ndarray | None = None,
    alternative: str = "two-sided",
) -> Scores:
    """Compare values of any kind with those of controls of the same kind: interactions, losses by ablation.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n, k) or (n,).
    controls : numpy.ndarray
        Of what means nothing, shape (m, k) or (m,), at least 40 (`MIN_CONTROLS`).
    terms, control_terms : numpy.ndarray, optional
        What location and scale of meaningless values depend on, shape (n, t) and (m, t), most useful first; none by
        default. For interactions the strengths of the two motifs alone, say, as a polynomial.
    groups, control_groups : numpy.ndarray, optional
        Groups with an offset of their own, shape (n,) and (m,), as numbers.
    alternative : str, default "two-sided"
        "two-sided", or "greater" for what cannot be negative.

    Returns
    -------
    Scores
        Arrays of shape (n, k). p, p_resolution and, by `add_q`, q mean what they mean for effects.

    Raises
    ------
    MarginomeError
        If shapes do not match, a value is not finite, the alternative is unknown or there are too few controls.

    Notes
    -----
    A p is right where a value that means nothing is exchangeable with the controls' once terms and groups are taken
    off. No code can see to that: controls have to be made as what is tested is (the same backgrounds, as strong motifs,
    the best of as many arrangements).
    """
    n, m = len(values), len(controls)
    given = {"terms": [terms, control_terms], "groups": [groups, control_groups]}
    for name, pair in given.items():
        if (pair[0] is None) != (pair[1] is None):
            raise MarginomeError("given for the values or the controls alone", where=name, remedy="Give both or none.")
        if pair[0] is not None:
            pair[:] = as_columns(pair[0], n, name), as_columns(pair[1], m, f"control_{name}")
        elif name == "terms":
            pair[:] = np.empty((n, 0)), np.empty((m, 0))
    terms, control_terms = given["terms"]
    groups, control_groups = (None if g is None else g[:, 0] for g in given["groups"])
    if terms.shape[1] != control_terms.shape[1]:
        raise MarginomeError(
            f"{terms.shape[1]} for the values, {control_terms.shape[1]} for the controls", where="terms"
        )
    return score_targets(values, controls, lambda column: Null(column, control_terms, control_groups), (terms, groups),
                         alternative=alternative)  # fmt: skip


def score_targets(
    values: np.ndarray,
    controls: np.ndarray,
    null_of: Callable[[np.ndarray], Any],
    traits: tuple,
    *,
    alternative: str,
) -> Scores:
    """Score values target by target, each with the null of its own controls.

    Parameters
    ----------
    values, controls : numpy.ndarray
        Shape (n, k) or (n,), and (m, k) or (m,).
    null_of : callable
        Makes a null (`location`, `scale` and `p`, as `Null` has them) of one target's controls, shape (m,).
    traits : tuple
        What `location` and `scale` take to say where values like these lie.
    alternative : str
        As `score_values` takes it.

    Returns
    -------
    Scores

    Raises
    ------
    MarginomeError
        As `score_values`.
    """
    if alternative not in ALTERNATIVES:
        raise MarginomeError(f"'{alternative}', wanted 'two-sided' or 'greater'", where="alternative")
    values, controls = as_columns(values, len(values), "values"), as_columns(controls, len(controls), "controls")
    if values.shape[1] != controls.shape[1]:
        raise MarginomeError(
            f"{values.shape[1]} targets for what is tested, {controls.shape[1]} for the controls", where="values"
        )
    mean, sd, p = (np.empty(values.shape) for _ in range(3))
    for j in range(values.shape[1]):
        column = controls[:, j]
        if len(column) >= MIN_CONTROLS and np.ptp(column) == 0:  # an output that nothing reaches
            mean[:, j], sd[:, j], p[:, j] = column[0], 0.0, np.nan
            continue
        null = null_of(column)
        mean[:, j], sd[:, j] = null.location(*traits), null.scale(*traits)
        p[:, j] = null.p((values[:, j] - mean[:, j]) / sd[:, j], alternative)
    z = np.divide(values - mean, sd, out=np.full(values.shape, np.nan), where=sd > 0)
    n = len(controls)
    return Scores(mean, sd, z, p, n, resolution(n, alternative))


def as_columns(values: np.ndarray, n: int, name: str) -> np.ndarray:
    """Return finite float64 values of shape (n, k); one target may come as (n,).

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n, k) or (n,).
    n : int
        How many rows there have to be.
    name : str
        What they are, for the message.

    Returns
    -------
    numpy.ndarray
        Float64, shape (n, k).

    Raises
    ------
    MarginomeError
        If the shape is another one or a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != n:
        raise MarginomeError(f"shape {values.shape}, wanted ({n}, k)", where=name)
    check_finite(values, name)
    return values
