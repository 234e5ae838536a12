"""Confirmation: of every unit of work, the largest effects and some pairs at random go through the whole model too.

A unit is what `Engine.run` yields at a time (or a call of `Engine.pairs`). Sharding never divides it, so what becomes
of it, and its numbers, do not depend on how many shards there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from marginome.batches import gap, largest

# One pair in so many is confirmed, and of every unit at least so many.
ONE_IN, AT_LEAST = 500, 2
# More pairs that are not finite than this (and than are confirmed anyway): the whole unit goes through the model.
NOT_FINITE = 8
# Numbers compared at a time: bounds the memory beside the outputs, and stays in a CPU's cache (0.6 in place of 7.9 us
# for 2,000 numbers).
NUMBERS = {"cpu": 2**19, "cuda": 2**24}
# In float64 the two paths differ by rounding alone.
EXACT = 1e-8
# Largest difference from the full pass, relative to the largest output, that a precision may have.
TOLERANCE = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 1e-1, "float64": EXACT}
# The precision that a full pass with weights of so many bits has: float16 has as many digits as TF32.
ROUGH = {torch.float16: "tf32", torch.bfloat16: "bfloat16"}


class Confirmation(NamedTuple):
    """What became of a unit.

    Attributes
    ----------
    pairs : int
        How many were run through the whole model.
    error : float
        Largest difference, relative to the largest output.
    reason : str
        Why the unit cannot be taken; empty if it can.
    """

    pairs: int
    error: float
    reason: str


def tolerance_of(precision: str, dtype: torch.dtype) -> float:
    """Return the largest difference from the full pass that outputs may have, relative to the largest output.

    `dtype` is that of the weights: with 16 bits it is the full pass that rounds.
    """
    if dtype in ROUGH:
        return max(TOLERANCE[precision], TOLERANCE[ROUGH[dtype]])
    return EXACT if precision == "float32" and dtype == torch.float64 else TOLERANCE[precision]


def confirm(
    after: list[torch.Tensor],
    before: list[Callable[[int, int], torch.Tensor]],
    whole: Callable[[torch.Tensor], list[torch.Tensor]],
    *,
    leading: int,
    seed: int,
    tolerance: float,
) -> Confirmation:
    """Compare some pairs of a unit with the full pass.

    Parameters
    ----------
    after : list of torch.Tensor
        Outputs of the unit, ``(m, b, ...)`` or ``(m, ...)``.
    before : list of callables
        ``(i, j)`` gives the background's outputs that rows i to j of `after` are compared with, to broadcast.
    whole : callable
        Runs some pairs (numbers of rows, counted over all leading axes) through the whole model.
    leading : int
        Axes of `after` that count pairs.
    seed : int
        Of the pairs drawn at random: of the unit's content.
    tolerance : float
        Relative to the largest output.
    """
    sizes = [effect_sizes(a, b, leading).cpu() for a, b in zip(after, before) if a.numel()]
    if not sizes:
        return Confirmation(0, 0.0, "")
    odd = (~torch.stack([s.isfinite() for s in sizes]).all(0)).nonzero().flatten().tolist()
    pairs = len(sizes[0])
    count = min(pairs, max(AT_LEAST, round(pairs / ONE_IN)))
    if len(odd) > max(count, NOT_FINITE):
        return Confirmation(0, torch.inf, f"{len(odd)} of {pairs} pairs are not finite")
    rows = torch.tensor(_choose(sizes, odd, count, seed))
    found = [a.flatten(0, leading - 1)[rows.to(a.device)] for a in after]
    error = difference(found, whole(rows))
    if error <= tolerance:
        return Confirmation(len(rows), error, "")
    return Confirmation(
        len(rows), error, f"of {len(rows)} pairs one differs from the full pass by {error:.1e} of the largest output"
    )


def effect_sizes(after: torch.Tensor, before: Callable[[int, int], torch.Tensor], leading: int) -> torch.Tensor:
    """Return the largest change of an output per pair, (pairs,); NaN or infinite where an output is not finite."""
    at_a_time = max(1, NUMBERS[after.device.type] // max(1, after[0].numel()))
    parts = []
    for i in range(0, len(after), at_a_time):
        a, b = after[i : i + at_a_time], before(i, min(i + at_a_time, len(after)))
        change = (a - b).abs() if a.is_floating_point() or a.is_complex() else (a != b).float()
        parts.append(change.reshape(*a.shape[:leading], -1).amax(-1).flatten())
    return torch.cat(parts)


def _choose(sizes: list[torch.Tensor], odd: list[int], count: int, seed: int) -> list[int]:
    """Return which pairs to confirm: all that are not finite, the largest effects of each output, others at random."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(sizes), generator=generator).tolist()
    largest = [sizes[i].nan_to_num(0, 0).topk(count).indices.tolist() for i in order]
    chosen = dict.fromkeys(odd)
    ranked = dict.fromkeys(pair for rank in zip(*largest) for pair in rank)
    for pair in list(ranked)[: max(1, count // 2)]:
        chosen[pair] = None
    for pair in torch.randperm(len(sizes[0]), generator=generator)[: count + len(chosen)].tolist():
        if len(chosen) >= count + len(odd):
            break
        chosen[pair] = None
    return list(chosen)


def difference(found: list[torch.Tensor], truth: list[torch.Tensor], scales: list[float] | None = None) -> float:
    """Return the largest difference over all outputs, each relative to its largest value (or to a scale of its own).

    Numbers that are not finite have to be the same. Of whole numbers and truth values it is the part that differs.
    """
    worst = 0.0
    for i, (f, t) in enumerate(zip(found, truth)):
        if not t.numel():
            continue
        if t.is_floating_point() or t.is_complex():
            scale = largest(t) if scales is None else scales[i]
            apart = gap(f, t) / (scale or 1.0)
        else:
            apart = float((f != t).double().mean())
        worst = max(worst, apart)
    return worst
