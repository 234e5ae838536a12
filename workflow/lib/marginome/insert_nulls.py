"""P-values of effects: what an insert does, beside what meaningless inserts do in the same backgrounds.

What a p-value here answers: *does this insert do more, in these backgrounds, than inserts of its width and composition
that mean nothing?* The spread of an effect over backgrounds (`effect_se`) does not answer it: a random insert has an
effect of its own, the same in every background, often many standard errors from zero. So the null is the distribution
of the effects of control inserts (`marginome.controls`) in the same backgrounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from marginome.controls import composition
from marginome.nulls import Null, Scores, as_columns, score_targets

_SCALE_TERMS = 4  # of the terms, the first so many describe the scale too


class InsertNull:
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
    null : Null
        The null itself.

    Raises
    ------
    MarginomeError
        As `Null`.

    Notes
    -----
    The location is quadratic in GC and in log width, with the interactions of log width with GC and its square, plus an
    offset for each width: inserts of one width overwrite the same bases of the same backgrounds, and with 8 to 32
    backgrounds what they destroy does not average out. The log of the scale is quadratic in GC and in log width,
    without interactions. How they are fitted, and p, are those of `Null`.
    """

    def __init__(self, effects: np.ndarray, widths: np.ndarray, gc: np.ndarray):
        widths, gc = np.asarray(widths, dtype=np.float64), np.asarray(gc, dtype=np.float64)
        self._width_mean = float(np.log(widths).mean())
        self.null = Null(effects, self._terms(widths, gc), widths, scale_terms=_SCALE_TERMS)

    def _terms(self, widths: np.ndarray, gc: np.ndarray) -> np.ndarray:
        """Return the smooth terms in width and GC, shape (n, 6), most useful first."""
        widths, gc = np.asarray(widths, dtype=np.float64), np.asarray(gc, dtype=np.float64)
        g, v = gc - 0.5, np.log(widths) - self._width_mean
        return np.stack([v, g, g * g, v * v, v * g, v * g * g], axis=1)

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
        return self.null.location(self._terms(widths, gc), widths)

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
        return self.null.scale(self._terms(widths, gc))

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
        return self.null.p(z, alternative)


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
    described at `Null` and `InsertNull`. An insert and its reverse complement are compared with the same null, because
    controls are put in in either orientation by chance (`marginome.controls.draw_controls`).
    """
    effects = as_columns(effects, len(sequences), "effects")
    control_effects = as_columns(control_effects, len(control_sequences), "control_effects")
    traits = composition(control_sequences)
    return score_targets(effects, control_effects, lambda column: InsertNull(column, *traits), composition(sequences),
                         alternative=alternative)  # fmt: skip
