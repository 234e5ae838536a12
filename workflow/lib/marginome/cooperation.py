"""Whether two motifs cooperate beyond their strength, and whether their arrangement matters; docs/grammar.md.

The interaction of a pair is I = E(AB) - E(A) - E(B). Two strong motifs have one in any model that saturates, and any
two sequences side by side disturb each other a little, one motif more easily than another. So an interaction is
compared, by one code for both questions, with *mismatched pairs*: one motif of a pair beside a control of the other, in
the same arrangements and the same backgrounds.

1. **Cooperation**: what is left of I after `Expectation`, a smooth function of the two strengths that all pairs share
   far apart, in units of what a meaningless neighbour does to either motif.
2. **Syntax**: the same, from which the pair's own mean far apart is taken off: strength cancels.

Each takes its largest value over the arrangements; p is its rank among the largest values of whole mismatched pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.columns import check_columns
from marginome.confidence import check_finite
from marginome.errors import MarginomeError
from marginome.gaps import LEAST_GAP, MIN_MISMATCHED, far_apart
from marginome.interactions import motifs_alone
from marginome.tails import MIN_TAIL, Tails, resolution

#: Base pairs of a turn of the double helix.
TURN = 10.5
#: What a pair of two controls keeps.
NOTHING = ""
_HUBER = 2.0
#: What a neighbour does is taken to be at least this share of the largest effect: float32 rounds off less.
_LEAST_UNIT = 1e-5
#: What it does at a gap is taken to be at least this share of what it does at the gap where it does most.
_LEAST_SHARE = 0.1
_RESAMPLES = 400


class Cooperation(NamedTuple):
    """What `score_pairs` found.

    Attributes
    ----------
    arrangements : pandas.DataFrame
        The index of the rows given; ``expected`` (what two motifs of this strength do to each other, unit of the
        effect), ``beyond`` (interaction - expected), ``beyond_sd`` (what meaningless neighbours do in this
        arrangement), ``beyond_z``, ``eligible`` (whether it may be a pair's best arrangement).
    pairs : pandas.DataFrame
        A row for each pair that is no mismatched one, by its ``pair``: ``best`` (index of the row with the largest
        ``beyond_z`` either way; null where no arrangement is eligible), ``cooperation_z``, ``cooperation_p``,
        ``cooperation_p_low``, ``cooperation_p_high`` (95 % interval of p over resampled motifs), ``syntax_best``,
        ``syntax_z``, ``syntax_p``, ``hard_share`` (share of the interaction's mean square that depends on the
        arrangement), ``period_share``, ``period_p`` (see `periodicity`), ``n_arrangements``, ``n_mismatched``,
        ``p_resolution``, ``far`` (bp).
    terms : int
        Of the expectation, see `Expectation`.
    """

    arrangements: pd.DataFrame
    pairs: pd.DataFrame
    terms: int


_NEEDED = ("pair", "kept", "first", "second", "arrangement", "gap", "effect_first", "effect_second", "interaction",
           "seam")  # fmt: skip


class Expectation:
    """The interaction of two motifs that is owed to their strength alone: f(E_A, E_B), 0 where either is 0.

    Parameters
    ----------
    first, second : numpy.ndarray
        Effects of the two alone, shape (n,).
    interaction : numpy.ndarray
        Of pairs that are taken not to cooperate, since they are far apart; shape (n,).

    Attributes
    ----------
    terms : int
        How many terms the data bear: 0 (an additive model) to 4.
    misfit : float
        What is left of the interactions by a fit without each, as a share of |E_A E_B| / unit.

    Notes
    -----
    A model that adds up sites and then bends the sum (saturation, a threshold, a logarithm) has an interaction that is
    a symmetric function of the two strengths. Here f = E_A E_B (c1 + c2 (E_A + E_B) + c3 E_A E_B + c4 (E_A^2 + E_B^2)),
    the beginning of its Taylor series; as many terms as give the least leave-one-out error, at most one for five pairs,
    with Huber's weights, so that the few pairs that do cooperate far apart do not bend it. Of fewer than five pairs
    their own first term is taken: what they do far apart is then what is expected of them.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray, interaction: np.ndarray):
        first, second, y = (np.asarray(a, dtype=np.float64) for a in (first, second, interaction))
        self._unit = float(np.sqrt(np.mean(first**2 + second**2) / 2)) or 1.0
        design = self._design(first, second)
        most = min(design.shape[1], max(1, len(y) // 5))
        # The fullest fit says which pairs stand out. By a smaller one the strongest pairs would, which carry the curve.
        weights = _fit(design[:, :most], y)[2]
        found = [(np.zeros(0), y)] + [_fit(design[:, :terms], y, weights)[:2] for terms in range(1, most + 1)]
        errors = [float(np.sqrt(np.average(np.square(left_out), weights=weights))) for _, left_out in found]
        self.terms = 1 if len(y) < 5 else 0
        for terms in range(1, most + 1) if errors[0] > _LEAST_UNIT * self._unit else ():
            if errors[terms] < 0.98 * errors[self.terms]:  # a term that buys nothing stays out
                self.terms = terms
        self._beta, left_out = found[self.terms]
        product = np.square(design[:, 0])
        size = np.sum(weights * np.square(left_out))
        self.misfit = float(np.sqrt(size / np.sum(weights * product))) if product.any() else 0.0

    def _design(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        a, b = first / self._unit, second / self._unit
        product = a * b
        return np.stack([product, product * (a + b), product * product, product * (a * a + b * b)], axis=1)

    def uncertainty(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return by how much the expected interaction is typically wrong, shape (n,), in the unit of the effects."""
        return self.misfit * np.abs(self._design(first, second)[:, 0])

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the expected interaction, shape (n,), in the unit of the effects."""
        first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
        return self._design(first, second)[:, : self.terms] @ self._beta


def _fit(design: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Least squares, with Huber's weights unless some are given.

    Returns coefficients, what is left of each value by a fit without it, and the weights.
    """
    given = weights is not None
    weights = weights if given else np.ones(len(y))
    for _ in range(1 if given else 20):
        weighted = design * weights[:, None]
        inverse = np.linalg.pinv(weighted.T @ design, hermitian=True)
        beta = inverse @ (weighted.T @ y)
        leverage = weights * np.einsum("ij,jk,ik->i", design, inverse, design)
        left_out = (y - design @ beta) / np.maximum(1 - leverage, 0.05)
        if not given:
            scale = 1.4826 * np.median(np.abs(left_out)) or np.abs(left_out).mean() or 1.0
            weights = np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(left_out), 1e-300))
    return beta, left_out, weights


def score_pairs(rows: pd.DataFrame, *, far: int | None = None) -> Cooperation:
    """Compare pairs of motifs with mismatched pairs, of one model, output and background set.

    Parameters
    ----------
    rows : pandas.DataFrame
        A row an arrangement of a pair: ``pair`` (any name of it), ``kept`` (of a mismatched pair the motif that it
        keeps; "" of a pair of two controls; null of a real pair), ``first``, ``second`` (motifs), ``arrangement``
        (orientations and order, any name), ``gap`` (bp), ``effect_first``, ``effect_second``, ``interaction`` (means
        over the same backgrounds, on a scale on which motifs that do not know of each other add up), ``seam`` (bool:
        the junction holds a site that neither half holds; such a row is never the best).
    far : int, optional
        Gaps of at least so many bp are far apart: there no pair is taken to cooperate beyond its strength, and they are
        never chosen. By default the largest quarter of the gaps.

    Returns
    -------
    Cooperation

    Raises
    ------
    MarginomeError
        A column is missing, a value is not finite, fewer than 40 mismatched pairs, fewer than two gaps.

    Notes
    -----
    *Unit.* s_A, what a meaningless neighbour does to motif A and A to it, is the typical ``|beyond|`` of the
    mismatched pairs that keep A, as a share of what is typical at that gap; of few such pairs it is drawn towards what
    is usual for A's strength (empirical Bayes on the logarithm). s_0 is that of two controls. In a real pair both
    motifs are disturbed and no control is: its unit is the root of s_A^2 + s_B^2 - s_0^2, at least the larger of s_A
    and s_B; without pairs of two controls nothing is taken off. That of a mismatched pair is made without itself.

    *P.* The largest ``|z|`` over a pair's eligible arrangements, its rank among those of the mismatched pairs
    (`marginome.tails.Tails`): the choice of the best is paid for, because the mismatched pairs choose too.
    Mismatched pairs that keep one motif are not independent; the interval of p is over resampled motifs.
    """
    check_columns(rows, _NEEDED, "score_pairs")
    check_finite(rows[["effect_first", "effect_second", "interaction"]].to_numpy(dtype=np.float64), "rows")
    gap = rows["gap"].to_numpy(dtype=np.int64)
    gaps = np.unique(gap)
    if len(gaps) < 2:
        raise MarginomeError(
            f"all arrangements have the gap {gaps.tolist()}",
            where="pairs",
            remedy="Ask for several gaps, some of them far apart.",
        )
    if far is None:
        far = far_apart(gaps.tolist())
    pair, names = pd.factorize(rows["pair"])
    kept = rows.groupby(pair)["kept"].first()
    mismatched = kept.notna().to_numpy()
    n_null = int((mismatched & (kept != NOTHING)).sum())
    if n_null < MIN_MISMATCHED:
        raise MarginomeError(
            f"{n_null} mismatched pairs are too few for a null, at least {MIN_MISMATCHED} are needed",
            where="pairs",
            remedy="Ask for more (pairs.mismatched), or switch them off.",
        )
    distant = gap >= far
    seam = rows["seam"].to_numpy(dtype=bool)
    eligible = ~distant & ~seam & (gap >= LEAST_GAP)
    E = rows[["effect_first", "effect_second"]].to_numpy(dtype=np.float64)
    I = rows["interaction"].to_numpy(dtype=np.float64)  # noqa: E741 - its name in the field

    reference = distant & ~seam
    if not (reference & ~mismatched[pair]).any():
        raise MarginomeError(f"no arrangement without a seam is {far} bp apart or more", where="pairs")
    means = pd.DataFrame({"pair": pair, "a": E[:, 0], "b": E[:, 1], "i": I})[reference].groupby("pair").mean()
    strong = means[~mismatched[means.index]]  # a control is weak: of what two strong motifs do it says nothing
    expectation = Expectation(*(strong[name].to_numpy() for name in ("a", "b", "i")))
    expected = expectation(E[:, 0], E[:, 1])
    pairs = _Pairs(rows, pair, kept.to_numpy(dtype=object), mismatched)
    beyond = I - expected
    own_far = means.index.to_series().map(pd.Series(beyond[reference]).groupby(pair[reference]).mean())
    centred = beyond - pd.Series(pair).map(own_far).to_numpy()  # NaN of a pair without a far arrangement

    unit = np.hypot(_units(beyond, eligible, gap, pairs, E), expectation.uncertainty(E[:, 0], E[:, 1]))
    own_unit = _units(np.nan_to_num(centred), eligible, gap, pairs, E)
    z, syntax = beyond / unit, centred / own_unit
    table = pd.DataFrame(
        {"expected": expected, "beyond": beyond, "beyond_sd": unit, "beyond_z": z, "eligible": eligible},
        index=rows.index,
    )
    found: dict[str, np.ndarray] = {}
    best, largest = _largest(z, eligible, pair, len(names))
    found |= {"best": best, "cooperation_z": np.where(best < 0, np.nan, z[best])}
    p, low, high = _ranked(largest, pairs)
    found |= {"cooperation_p": p, "cooperation_p_low": low, "cooperation_p_high": high}
    best, largest = _largest(syntax, eligible, pair, len(names))
    found |= {"syntax_best": best, "syntax_z": np.where(best < 0, np.nan, syntax[best])}
    found["syntax_p"] = _ranked(largest, pairs)[0]
    found["hard_share"] = _hard_share(I, eligible, pair, len(names))
    arrangement, able = rows["arrangement"].to_numpy(dtype=object), np.flatnonzero(eligible)
    able = able[np.argsort(pair[able], kind="stable")]
    of_pairs = np.split(able, np.searchsorted(pair[able], np.arange(1, len(names))))
    share = np.array([periodicity(beyond[mine], gap[mine], arrangement[mine]) for mine in of_pairs])
    found |= {"period_share": share, "period_p": _ranked(share, pairs)[0]}
    found["n_arrangements"] = np.bincount(pair[eligible], minlength=len(names))
    result = pd.DataFrame(found, index=pd.Index(names, name="pair"))[~mismatched]
    for column in ("best", "syntax_best"):
        labels = [rows.index[i] if i >= 0 else None for i in result[column]]
        result[column] = pd.Series(labels, index=result.index, dtype=object)  # or a label would be a fraction
    n = int(np.isfinite(largest[pairs.null]).sum())
    return Cooperation(
        table, result.assign(n_mismatched=n, p_resolution=resolution(n, "greater"), far=far), expectation.terms
    )


def pair_rows(table: pd.DataFrame, seam: np.ndarray | None = None) -> pd.DataFrame:
    """Return the arrangements of pairs as `score_pairs` takes them.

    Parameters
    ----------
    table : pandas.DataFrame
        An insert list with ``role`` and the ``effect`` of each insert: pairs, mismatched pairs and motifs alone, of one
        model, output and background set.
    seam : numpy.ndarray, optional
        Whether the junction of a row makes a site, bool, shape (rows,); by default none does.

    Returns
    -------
    pandas.DataFrame
        A row a pair and arrangement, with the index of `table`.
    """
    alone = motifs_alone(table)
    pairs = np.flatnonzero(alone[:, 0] >= 0)
    effect = table["effect"].to_numpy(dtype=np.float64)
    some = table.iloc[pairs]
    controls = set(table.loc[(table["role"] == "mismatched") & table["partner_id"].isna(), "motif_id"])
    kept = some["motif_id"].where(~some["motif_id"].isin(controls), some["partner_id"])
    kept = kept.where(~kept.isin(controls), NOTHING)
    named = pd.DataFrame(
        {
            "first": some["motif_id"],
            "second": some["partner_id"],
            "kept": kept.where(some["role"] == "mismatched", None),
            "arrangement": some["orientation"] + some["partner_orientation"] + " " + some["order"],
            "gap": some["gap"].astype(np.int64),
            "effect_first": effect[alone[pairs, 0]],
            "effect_second": effect[alone[pairs, 1]],
            "interaction": effect[pairs] - effect[alone[pairs]].sum(axis=1),
            "seam": np.zeros(len(pairs), dtype=bool) if seam is None else seam[pairs],
        }
    )
    return named.assign(pair=list(zip(named["first"], named["second"])))


class _Pairs:
    """Who the pairs are: the motifs of each by number, and which are mismatched."""

    def __init__(self, rows: pd.DataFrame, pair: np.ndarray, kept: np.ndarray, mismatched: np.ndarray):
        at = pd.Series(np.arange(len(rows))).groupby(pair).first().to_numpy()
        self.row_pair, self.mismatched, self.null = pair, mismatched, mismatched & (kept != NOTHING)
        first, second = rows["first"].to_numpy(object)[at], rows["second"].to_numpy(object)[at]
        self.motifs = sorted({*first[~mismatched], *second[~mismatched], *kept[mismatched]})
        number = {motif: i for i, motif in enumerate(self.motifs)}
        #: Of a real pair both motifs; of a mismatched one the kept motif twice.
        self.members = np.array(
            [
                (number[k], number[k]) if own else (number[a], number[b])
                for k, a, b, own in zip(kept, first, second, mismatched)
            ]
        )


def _units(beyond: np.ndarray, eligible: np.ndarray, gap: np.ndarray, pairs: _Pairs, E: np.ndarray) -> np.ndarray:
    """Return what meaningless neighbours do to the motifs of each row's pair, in its arrangement."""
    pair, mismatched = pairs.row_pair, pairs.mismatched
    null = mismatched[pair]
    size = np.abs(beyond)
    of_pair = np.ones(len(mismatched))
    # Out of a model's sight a neighbour does nothing: what is left there is rounding, and no unit to measure by.
    floor = _LEAST_UNIT * (np.abs(E).max() or 1.0)
    for _ in range(3):  # the typical size by gap, and by pair as a share of it
        relative = pd.Series(size / of_pair[pair])
        smooth = relative[null].groupby(gap[null]).median().rolling(3, center=True, min_periods=1).mean()
        chosen = smooth.reindex(np.unique(gap[null & eligible]))
        least = max(_LEAST_SHARE * chosen.max(), floor)
        raw = pd.Series(gap).map(smooth).to_numpy()
        profile = np.maximum(raw, least)
        used = null & eligible & (raw >= least)  # how much one pair is disturbed shows where pairs are disturbed
        typical = pd.Series(size[used] / profile[used]).groupby(pair[used]).median()
        usual_pair = typical.median() if used.any() else 1.0  # where nothing is above the floor, it is the unit of all
        of_pair = np.maximum(typical.reindex(range(len(mismatched))).fillna(usual_pair).to_numpy(), 1e-3)
    log_size = np.log(of_pair)
    keeps = pairs.members[:, 0]
    strength = np.zeros(len(pairs.motifs))
    alone = pd.Series(np.abs(E).max(axis=1)).groupby(pair).median().to_numpy()
    for motif in range(len(pairs.motifs)):
        strength[motif] = alone[mismatched & (keeps == motif)].mean() if (mismatched & (keeps == motif)).any() else 0
    own = np.flatnonzero(mismatched)
    design = np.stack([np.ones(len(own)), np.log(strength[keeps[own]] + 0.05 * strength.max() + floor)], axis=1)
    beta = np.linalg.lstsq(design, log_size[own], rcond=None)[0]
    usual = beta[0] + beta[1] * np.log(strength + 0.05 * strength.max() + floor)
    left = log_size[own] - usual[keeps[own]]
    count = np.bincount(keeps[own], minlength=len(usual))
    total = np.bincount(keeps[own], weights=left, minlength=len(usual))
    mean = total / np.maximum(count, 1)
    within = max(np.sum((left - mean[keeps[own]]) ** 2) / max(len(left) - np.count_nonzero(count), 1), 1e-4)
    between = max(np.sum(total * mean - count * within / np.maximum(count, 1)) / max(len(left), 1), 1e-4)

    def shrunk(total: np.ndarray, count: np.ndarray) -> np.ndarray:
        return total / (count + within / between)

    of_motif = np.exp(usual + shrunk(total, count))
    two = of_motif[pairs.members]
    of_controls = of_motif[pairs.motifs.index(NOTHING)] if NOTHING in pairs.motifs else 0.0
    unit = np.sqrt(np.maximum(np.square(two).sum(axis=1) - of_controls**2, np.square(two).max(axis=1)))
    without = shrunk(total[keeps[own]] - left, count[keeps[own]] - 1)
    unit[own] = np.exp(usual[keeps[own]] + without)
    return unit[pair] * profile


def _largest(z: np.ndarray, eligible: np.ndarray, pair: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Per pair the row (-1: none) and the size of its largest |z| among the eligible."""
    rows = np.flatnonzero(eligible & np.isfinite(z))
    size = pd.Series(np.abs(z[rows]), index=rows)
    at = size.groupby(pair[rows]).idxmax().reindex(range(n))
    best = at.fillna(-1).to_numpy(dtype=np.int64)
    return best, np.where(best < 0, np.nan, np.abs(z[best]))


def _ranked(values: np.ndarray, pairs: _Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P of each pair's value among those of the mismatched pairs, and its 95 % interval over resampled motifs."""
    null = pairs.null & np.isfinite(values)
    p, low, high = (np.full(len(values), np.nan) for _ in range(3))
    tested = np.isfinite(values)
    if null.sum() <= MIN_TAIL:
        return p, low, high
    sample = values[null]
    p[tested] = Tails(sample).p(values[tested], "greater")
    # Whole motifs are drawn anew: the mismatched pairs that keep one of them come and go together.
    member = np.unique(pairs.members[null, 0], return_inverse=True)[1]
    rng = np.random.default_rng(0)
    times = rng.multinomial(member.max() + 1, np.full(member.max() + 1, 1 / (member.max() + 1)), size=_RESAMPLES)
    weight = times[:, member].astype(np.float64)
    order = np.argsort(sample)
    above = np.cumsum(weight[:, order][:, ::-1], axis=1)[:, ::-1]
    above = np.concatenate([above, np.zeros((_RESAMPLES, 1))], axis=1)
    at = np.searchsorted(sample[order], values[tested], side="left")
    shares = (above[:, at] + 1) / (weight.sum(axis=1)[:, None] + 1)
    low[tested], high[tested] = np.quantile(shares, [0.025, 0.975], axis=0)
    return p, low, high


def _hard_share(I: np.ndarray, eligible: np.ndarray, pair: np.ndarray, n: int) -> np.ndarray:  # noqa: E741
    """Share of the mean square of I over arrangements that is not the square of its mean."""
    some = pd.Series(I[eligible]).groupby(pair[eligible])
    mean, square = some.mean(), pd.Series(I[eligible] ** 2).groupby(pair[eligible]).mean()
    return (1 - mean**2 / square.where(square > 0)).reindex(range(n)).to_numpy()


def periodicity(beyond: np.ndarray, gap: np.ndarray, arrangement: np.ndarray, *, turn: float = TURN) -> float:
    """Return the share of what depends on the gap that a wave of one turn of the helix explains.

    Parameters
    ----------
    beyond : numpy.ndarray
        Interactions of one pair, shape (n,).
    gap : numpy.ndarray
        Bases between the two (bp), shape (n,).
    arrangement : numpy.ndarray
        Orientations and order; a wave is fitted to each by itself, shape (n,).
    turn : float, default 10.5
        Its length (bp).

    Returns
    -------
    float
        The largest share of any arrangement, between 0 and 1, beside a parabola in the gap. NaN where no arrangement
        has eight gaps over two turns, four a turn.
    """
    best = np.nan
    for name in pd.unique(arrangement):
        mine = arrangement == name
        x, y = gap[mine].astype(np.float64), beyond[mine]
        if np.ptp(x) < 2 * turn or len(x) < 4 * np.ptp(x) / turn:
            continue
        u = (x - x.mean()) / np.ptp(x)
        trend = np.stack([np.ones_like(u), u, u * u], axis=1)
        wave = np.stack([np.cos(2 * np.pi * x / turn), np.sin(2 * np.pi * x / turn)], axis=1)
        left = [y - d @ np.linalg.lstsq(d, y, rcond=None)[0] for d in (trend, np.hstack([trend, wave]))]
        total = float(left[0] @ left[0])
        share = 1 - float(left[1] @ left[1]) / total if total > 0 else 0.0
        best = share if np.isnan(best) else max(best, share)
    return best
