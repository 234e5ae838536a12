"""Effect measures: what a motif changed, as a number per background (and target).

An effect measure is any function ``(before, after) -> effect`` on tensors whose first axis is the
background; its result keeps that axis. Pass your own wherever a measure of this module goes.

With ``batch_dims=2`` the first two axes are kept instead, e.g. ``(motif, background, ...)``. `before` and
`after` broadcast, so one ``(n, ...)`` before serves ``(motif, n, ...)`` afters.

Integers and booleans are compared in float64. No measure returns NaN: where there is no number (NaN or equal
infinities on both sides) it raises and says for which backgrounds. An infinite difference stays one.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from marginome.errors import MarginomeError, unknown_name
from marginome.sequences import name_some
from marginome.usercode import load_user_object

# What a measure computes: (before, after) -> effect.
Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# An output between 0 and 1 (or -1 and 1) is saturated where rounding takes more than this of its distance from the
# bound: effects smaller than the rounding are 0.
SATURATED = 1e-2


def difference(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return ``after - before``, elementwise: the measure for outputs on a logit or log scale.

    Parameters
    ----------
    before, after : torch.Tensor, shape (n, ...)
        Output without and with the motif.

    Returns
    -------
    torch.Tensor, shape (n, ...)
        In the unit of the output.
    """
    before, after = _comparable(before, after)
    return _numbers(after - before, "difference")


def log2_fold_change(before: torch.Tensor, after: torch.Tensor, pseudocount: float = 1.0) -> torch.Tensor:
    """Return ``log2((after + pseudocount) / (before + pseudocount))``, elementwise.

    For outputs on a linear scale, such as counts. Outputs on a log scale want `difference`.

    Parameters
    ----------
    before, after : torch.Tensor, shape (n, ...)
        At least 0.
    pseudocount : float, default 1.0
        In the unit of the output, finite and at least 0; keeps ratios of small values finite.

    Returns
    -------
    torch.Tensor, shape (n, ...)
        In doublings.

    Raises
    ------
    MarginomeError
        For negative values, NaN, or zeros with a pseudocount of 0; a pseudocount that is no finite number.
    """
    before, after = _comparable(before, after)
    if not isinstance(pseudocount, numbers.Real) or not math.isfinite(pseudocount):
        raise MarginomeError(f"expected a finite number, found {pseudocount!r}", where="pseudocount")
    lowest = torch.minimum(before.min(), after.min()).item()  # NaN if there is one, unlike Python's min
    if not (pseudocount >= 0 and lowest >= 0 and lowest + pseudocount > 0):
        raise MarginomeError(
            f"the lowest value is {lowest:g} and the pseudocount {pseudocount:g}; a fold change wants values of at "
            "least 0 and a sum above 0",
            where="log2_fold_change",
            remedy="Use difference for outputs on a log or logit scale.",
        )
    return _numbers(torch.log2(after + pseudocount) - torch.log2(before + pseudocount), "log2_fold_change")


def euclidean(before: torch.Tensor, after: torch.Tensor, *, batch_dims: int = 1) -> torch.Tensor:
    """Return the Euclidean distance between whole outputs, over everything but the backgrounds.

    Parameters
    ----------
    before, after : torch.Tensor, shape (n, ...)
        For example ``(n, targets)`` or ``(n, strands, length)``.
    batch_dims : int, default 1
        Leading axes to keep.

    Returns
    -------
    torch.Tensor, shape (n,)
        At least 0, in the unit of the output.
    """
    before, after = _comparable(before, after)
    change = after - before
    return _numbers(torch.linalg.vector_norm(change.reshape(*change.shape[:batch_dims], -1), dim=-1), "euclidean")


def jensen_shannon_distance(
    before: torch.Tensor, after: torch.Tensor, *, logits: bool = True, softmax: str = "both", batch_dims: int = 1
) -> torch.Tensor:
    """Return the Jensen-Shannon distance between profiles, base 2: 0 for equal ones, 1 for disjoint ones.

    The square root of the mean Kullback-Leibler divergence of the two profiles from their average
    (Lin 1991, IEEE Trans. Inf. Theory 37:145; Endres and Schindelin 2003, ibid. 49:1858). Computed in
    float64, since it is a small difference of large terms for similar profiles.

    Parameters
    ----------
    before, after : torch.Tensor, shape (n, strands, length) or (n, length)
        Profiles as the model returns them.
    logits : bool, default True
        Whether the values are logits; otherwise probabilities or any values of at least 0, which are
        divided by their sum.
    softmax : {"both", "strand"}, default "both"
        What one distribution is: all strands together (models of bpnet-lite), or each strand.
    batch_dims : int, default 1
        Leading axes to keep.

    Returns
    -------
    torch.Tensor, float64
        Shape ``(n,)`` for "both", ``(n, strands)`` for "strand".

    Raises
    ------
    MarginomeError
        Negative, infinite or all-zero profiles when `logits` is false; logits that are no distribution (NaN,
        +infinity, all of them -infinity); another word for `softmax`.
    """
    if softmax not in ("both", "strand"):
        raise unknown_name("choice", softmax, ("both", "strand"), where="softmax")
    before, after = _comparable(before, after)
    output_dims = max(before.ndim, after.ndim) - batch_dims

    def logarithms(name: str, profile: torch.Tensor) -> torch.Tensor:
        profile = profile.double()
        if softmax == "both":
            profile = profile.reshape(*profile.shape[: profile.ndim - output_dims], -1)
        if logits:
            return profile.log_softmax(dim=-1)
        total = profile.sum(dim=-1, keepdim=True)
        if not ((profile >= 0).all() and (total > 0).all() and total.isfinite().all()):
            raise MarginomeError(
                "a profile of probabilities has values of at least 0 and a finite sum above 0",
                where=name,
                remedy="Pass logits=True for logits.",
            )
        return (profile / total).log()

    # Of the backgrounds once, however many afters they are compared with; the divergence is the same either way round.
    few, many = sorted((("before", before), ("after", after)), key=lambda named: (named[1].ndim, len(named[1])))
    log_p = logarithms(*few)
    if not batch_dims:
        divergence = _divergence(log_p, logarithms(*many))
    else:
        rows = _rows_in_cache(many[1])
        parts = log_p.split(rows) if few[1].ndim == many[1].ndim and len(log_p) > 1 else itertools.repeat(log_p)
        divergence = torch.cat(
            [_divergence(p, logarithms(many[0], part)) for p, part in zip(parts, many[1].split(rows))]
        )
    return _numbers(divergence.clamp(0, 1).sqrt(), "jensen_shannon_distance")


# Numbers at a time on a CPU: temporary tensors that stay in its cache. Those of 16 MB take 3.5 times as long (2,000
# numbers are compared in 70 us, else in 20).
IN_CACHE = 2**17


def _rows_in_cache(t: torch.Tensor) -> int:
    """Return how many rows of a tensor to compute with at a time: all of them on a GPU."""
    return max(1, IN_CACHE * len(t) // max(1, t.numel())) if t.device.type == "cpu" else max(1, len(t))


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Return the Jensen-Shannon divergence, base 2, of distributions on the last axis, given by their logarithms."""
    log_m = torch.logaddexp(log_p, log_q)  # of twice the average
    p, q = log_p.exp(), log_q.exp()
    # 0 log 0 is 0, and NaN stays NaN; xlogy cannot be used, since the logarithms are what is known exactly.
    terms = torch.where(p == 0, 0.0, p * (log_p - log_m)) + torch.where(q == 0, 0.0, q * (log_q - log_m))
    return 1 + terms.sum(dim=-1) / (2 * torch.log(torch.tensor(2.0, dtype=torch.float64)))


def _numbers(effect: torch.Tensor, measure: str) -> torch.Tensor:
    """Return an effect after looking for NaN in it."""
    missing = effect.isnan()
    if missing.any():
        rows = missing.reshape(len(missing), -1).any(dim=1).nonzero().flatten().tolist() if missing.ndim else [0]
        raise MarginomeError(
            f"there is no effect for {len(rows)} of {len(missing) if missing.ndim else 1} backgrounds: number "
            f"{name_some(rows)}",
            where=measure,
            remedy="Before or after is NaN there, or infinite where it may not be: look at what the model returns.",
        )
    return effect


def _comparable(before: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return before and after as numbers that can be subtracted, after checking that they belong together."""
    for name, value in (("before", before), ("after", after)):
        if not isinstance(value, torch.Tensor):
            raise MarginomeError(
                f"expected a tensor, found {type(value).__name__}",
                where=name,
                remedy="Apply the measure to each output of a model with several.",
            )
    if before.device != after.device:
        raise MarginomeError(f"before is on {before.device}, after on {after.device}", where="before, after")
    try:
        torch.broadcast_shapes(before.shape, after.shape)
    except RuntimeError:
        raise MarginomeError(
            f"before is {tuple(before.shape)}, after is {tuple(after.shape)}", where="before, after"
        ) from None
    if not before.numel() or not after.numel():
        raise MarginomeError(
            f"there is nothing in it: before is {tuple(before.shape)}, after is {tuple(after.shape)}",
            where="before, after",
        )
    if before.is_complex() or after.is_complex():
        raise MarginomeError("complex numbers have no effect measure", where="before, after")
    # uint8 wraps around at 0, booleans have no difference.
    return tuple(y if y.is_floating_point() else y.double() for y in (before, after))


def saturated(values: np.ndarray, precision: str = "float32") -> str:
    """Say how many values of an output are too near a bound of its range for a precision to tell effects there.

    Parameters
    ----------
    values : numpy.ndarray
        An output, best in float64.
    precision : {"float32", "bfloat16", "float64"}, default "float32"
        What it is computed in.

    Returns
    -------
    str
        A sentence; empty where there are none, and for outputs that are not between 0 and 1 or -1 and 1.

    Notes
    -----
    Just below 1 float32 has a number every 6e-8. A probability of 1 - 1e-6 is known to some 6 % of its distance from 1
    then, and one of 1 - 1e-9 is 1: what a motif adds to it is 0. Near 0 a number as small as 1e-38 is as precise
    as any.
    """
    size = np.abs(values)
    if not (size <= 1).all() or not (size > 0).any():
        return ""
    limits = torch.finfo(getattr(torch, precision))
    near_one = 1 - size < limits.eps / 2 / SATURATED
    near_zero = (size < limits.tiny) & (values >= 0).all()
    count = int((near_one | near_zero).sum())
    # whole numbers are labels, not probabilities
    if not count or (np.isin(values, (-1, 0, 1)).all() and len(np.unique(values)) > 1):
        return ""
    other = "" if precision == "float64" else " or precision: float64"
    return (
        f"{count} of {values.size} values are so near 0 or 1 (the nearest to 1 by {(1 - size).min():.2g}) that "
        f"{precision} rounds away what an insert does to them; effects there are too small or 0: use logits{other}"
    )


# By the names that configurations and tables use; what is known of each is in `marginome.measures`.
FUNCTIONS: dict[str, Function] = {
    "difference": difference,
    "log2_fold_change": log2_fold_change,
    "euclidean": euclidean,
    "jensen_shannon_distance": jensen_shannon_distance,
}


def measure_of(output: Any, batch_dims: int = 1) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the function ``(before, after) -> effect`` of an output, settings bound.

    Pairs ``(pairs, ...)`` in and out; with ``batch_dims=2`` before ``(1, backgrounds, ...)`` and after ``(inserts,
    backgrounds, ...)``, so that what is made of the backgrounds is made once: for measures of this module only.
    A profile compared per strand is averaged over its strands, so that every output has one effect per pair.
    """
    name = output.measure
    if name == "log2_fold_change":
        return lambda before, after: log2_fold_change(before, after, output.pseudocount)
    if name == "euclidean":
        return lambda before, after: euclidean(before, after, batch_dims=batch_dims)
    if name == "jensen_shannon_distance":
        softmax = output.softmax or "both"
        return lambda before, after: (
            jensen_shannon_distance(before, after, softmax=softmax, batch_dims=batch_dims)
            .reshape(*after.shape[:batch_dims], -1)
            .mean(batch_dims)
        )
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if name.endswith(".py") or ".py:" in name:
        return load_user_object(name, where=f"measure of output '{output.name}'")
    raise unknown_name("measure", name, FUNCTIONS, where=f"output '{output.name}'")


def probabilities(logits: torch.Tensor, softmax: str | None) -> torch.Tensor:
    """Return profile probabilities (..., strands, length): softmax over each strand, or over both together."""
    logits = logits.double()
    if softmax == "strand":
        return logits.softmax(-1)
    return logits.flatten(-2).softmax(-1).reshape(logits.shape)


def summed_probabilities(logits: torch.Tensor, softmax: str | None) -> torch.Tensor:
    """Return the sum of `probabilities` over the backgrounds, which are axis 1 of (m, backgrounds, strands, length)."""
    return torch.cat([probabilities(part, softmax).sum(1) for part in logits.split(_rows_in_cache(logits))])
