"""Effects of made-up models that differ as networks of other seeds or of other tissues do. Nothing here is a result.

What meaningless inserts do is measured (`tests/control_effects.py`); motifs, models and their spread are drawn.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

import control_effects
from marginome.controls import gc_fraction

NULLS = ("bpnet gc_matched", "mpra gc_matched")


_measured = functools.cache(control_effects.load)


class Models(NamedTuple):
    """Effects of two sides of models; the first rows are inserts, the others controls.

    Attributes
    ----------
    first, second : numpy.ndarray
        Shape (backgrounds, inserts + controls, models).
    sequences : numpy.ndarray of str
        All of them.
    scales : numpy.ndarray
        Unit of each model's effects.
    apart : numpy.ndarray
        Of each insert: by how many of its own standard deviations between models the sides differ.
    """

    first: np.ndarray
    second: np.ndarray
    sequences: np.ndarray
    scales: np.ndarray
    apart: np.ndarray


def simulate(
    rng: np.random.Generator,
    n_first: int,
    n_second: int,
    *,
    null: str = NULLS[0],
    inserts: int = 300,
    controls: int = 600,
    motifs: int = 60,
    different: int = 0,
    apart: float = 10.0,
    backgrounds: int = 8,
    between: float = 0.3,
    share: float = 0.15,
) -> Models:
    """Draw models. Unit: the standard deviation of what meaningless inserts do.

    Of `inserts`, `motifs` do 3 to 30, up or down; the others are meaningless. Trained again, a
    model deviates by `between` and by `share` of the effect, likes G and C more or less, and has a scale of its own.
    The first `different` inserts differ between the sides by `apart` of their standard deviation between models.
    Single backgrounds deviate by 1.
    """
    table = _measured()
    measured = table[null].astype(float)
    chosen = rng.permutation(len(measured))[: inserts + controls]
    sequences = table["sequences"][chosen]
    true = measured[chosen] / measured.std()
    true[:motifs] += rng.choice([-1, 1], motifs) * rng.uniform(3, 30, motifs)
    models = n_first + n_second
    spread = np.hypot(between, share * true)
    effects = true[:, None] + spread[:, None] * rng.normal(size=(len(true), models))
    shift = np.zeros(len(true))
    shift[:different] = apart
    effects[:, :n_first] += (shift * spread * rng.choice([-1, 1], len(true)))[:, None]
    gc = np.array([gc_fraction(s) for s in sequences])
    effects += (gc - 0.5)[:, None] * rng.normal(size=models)
    scales = np.exp(rng.normal(0, 0.4, models))
    single = (effects + rng.normal(size=(backgrounds, *effects.shape))) * scales
    return Models(single[..., :n_first], single[..., n_first:], sequences, scales, shift[:inserts])
