"""Nulls of known law, so that how often a meaningless effect is called can be computed instead of counted."""

from __future__ import annotations

import numpy as np
from scipy import stats

from marginome.insert_nulls import InsertNull
from marginome.tails import resolution


class Mixture:
    """A law made of others, each with its share (None sits on 0), rounded to steps, shifted."""

    def __init__(self, *parts: tuple[float, object], round_to: float = 0.0, shift: float = 0.0):
        self.parts, self.round_to, self.shift = parts, round_to, shift

    def rvs(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Draw; the number of each kind is as random as it is for controls."""
        which = rng.choice(len(self.parts), p=[share for share, _ in self.parts], size=size)
        out = np.zeros(size)
        for i, (_, law) in enumerate(self.parts):
            if law is not None:
                out[which == i] = law.rvs(size=int((which == i).sum()), random_state=rng)
        return self.shift + (np.rint(out / self.round_to) * self.round_to if self.round_to else out)

    def at_least(self, x: float) -> float:
        """P(X >= x) of what does not sit on one value; not for rounded laws."""
        return sum(w * law.sf(x - self.shift) for w, law in self.parts if law is not None)

    def at_most(self, x: float) -> float:
        """P(X <= x) of what does not sit on one value; not for rounded laws."""
        return sum(w * law.cdf(x - self.shift) for w, law in self.parts if law is not None)

    def on_one_value(self) -> float:
        """P(X = shift): of what sits there."""
        return sum((w for w, law in self.parts if law is None), 0.0)

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of a rounded law, as far as they matter, and their chances."""
        step = np.arange(-5000, 5001)
        ends = (np.append(step, 5001) - 0.5) * self.round_to
        upper = ends[:-1] > 0  # differences of the smaller of sf and cdf: the far tail is not lost to rounding
        chance = sum(w * np.where(upper, -np.diff(law.sf(ends)), np.diff(law.cdf(ends))) for w, law in self.parts)
        return self.shift + step * self.round_to, chance


_NORMAL, _SITES = stats.norm(), stats.norm(50, 5)  # None is a kind that does nothing
LAWS = {
    "normal": Mixture((1, _NORMAL)),
    "normal, shifted by 1,000": Mixture((1, _NORMAL), shift=1000),
    "t, 3 degrees": Mixture((1, stats.t(3))),
    "lognormal (0.8)": Mixture((1, stats.lognorm(0.8))),
    "70 % zeros": Mixture((0.7, None), (0.3, stats.expon())),
    "97 % zeros": Mixture((0.97, None), (0.03, stats.expon())),
    "97 % noise of 1e-7": Mixture((0.97, stats.norm(0, 1e-7)), (0.03, stats.expon())),
    "10 % zeros": Mixture((0.1, None), (0.9, _NORMAL)),
    "discrete (normal in steps of 0.5)": Mixture((1, _NORMAL), round_to=0.5),
    "discrete (t, 3 degrees, in steps of 2)": Mixture((1, stats.t(3)), round_to=2),
    "1 % sites at 50": Mixture((0.99, _NORMAL), (0.01, _SITES)),
    "0.1 % sites at 50": Mixture((0.999, _NORMAL), (0.001, _SITES)),
    "0.02 % sites at 50": Mixture((0.9998, _NORMAL), (0.0002, _SITES)),
    "0.1 % at 50, 0.1 % at -50": Mixture((0.998, _NORMAL), (0.001, _SITES), (0.001, stats.norm(-50, 5))),
}


def call_rates(law: Mixture, n: int, levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw n controls; return the chance that a meaningless effect gets a p of at most each level, exactly."""
    null = InsertNull(law.rvs(n, rng), np.full(n, 12.0), np.full(n, 0.5))
    location, scale = (float(f(np.array([12.0]), np.array([0.5]))[0]) for f in (null.location, null.scale))
    if law.round_to:
        values, chance = law.steps()
        p = null.p((values - location) / scale)
        return np.array([chance[p <= level].sum() for level in levels])
    # Bounds are found to a digit or two less than a float has: what sits on a control's own value is asked itself.
    rate = law.on_one_value() * (null.p(np.array([(law.shift - location) / scale])) <= levels)
    for sign, chance in ((1, law.at_least), (-1, law.at_most)):
        inner, outer = np.zeros(len(levels)), np.full(len(levels), 1e9)  # not called, called
        for _ in range(60):
            middle = np.where(outer > 4, np.sqrt(np.maximum(inner, 1) * outer), (inner + outer) / 2)
            called = null.p(sign * middle) <= levels
            inner, outer = np.where(called, inner, middle), np.where(called, middle, outer)
        rate += [chance(location + sign * scale * z * (1 - 1e-9)) for z in outer]
    return rate


def main() -> None:
    """Print observed over expected calls, mean of draws of controls."""
    rng = np.random.default_rng(4)
    for name, law in LAWS.items():
        for n in (300, 1000):
            levels = np.array([1e-1, 1e-2, 1e-3, resolution(n)])
            found = np.mean([call_rates(law, n, levels, rng) for _ in range(40)], axis=0) / levels
            told = "".join(f" {x:8.2g}:{f:7.2f}" for x, f in zip(levels, found) if x >= resolution(n))
            print(f"{name:40} {n:5}{told}", flush=True)


if __name__ == "__main__":
    main()
