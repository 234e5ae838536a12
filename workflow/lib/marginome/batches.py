"""Does what a model says of a sequence depend on the sequences beside it? Then no number of it can be relied on."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from marginome.errors import MarginomeError
from marginome.nested import check_same, first_tensor, leaves, map_structure
from marginome.sequences import random_one_hot

log = logging.getLogger(__name__)

# Largest difference, relative to the largest value of an output, between a sequence's numbers in two batches. Rounding
# in another order gives about 1e-6 in float32; a model that mixes the sequences of a batch is off by far more.
BATCH_TOLERANCE = 1e-3
# The same where the factors of products are rounded to 7 to 10 bits.
COARSE_TOLERANCE = 5e-2
# Differences that are rounding: relative to the spread between sequences, and to the largest output. A model that
# mixes a batch is off by a part of the spread.
SPREAD, OUTPUT = 1e-3, 1e-5
ROUGH_SPREAD, ROUGH_OUTPUT = 5e-2, 1e-2  # weights of 16 bits

# Modules that `predict` has looked at, and those that the engine has, which looks closer.
_seen: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
_checked: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


def check_batches_are_independent(
    model: torch.nn.Module, run: Callable[[torch.Tensor], Any], output: Any, *, coarse: bool = False
) -> None:
    """Raise when a model's numbers for a sequence depend on the other sequences of its batch.

    The first and the last sequence of a batch are run again by themselves, once in the life of a module.
    This costs `predict` two sequences of the batch that it runs anyway, in the precision that it runs in, and works for
    any shape of input. The incremental engine, whose batches hold other sequences than the user's, asks more before
    it starts: `check_batches`.

    Parameters
    ----------
    model : torch.nn.Module
        Asked once as long as it lives.
    run : callable
        ``run(rows)`` runs the model on some sequences of the batch, int64 ``(k,)`` with repeats.
    output : nested tensors, (n, ...)
        What the model returned for the whole batch.
    coarse : bool, default False
        Whether TF32, float16 or bfloat16 are at work, whose rounding is allowed for.

    Raises
    ------
    MarginomeError
        When the numbers differ by more than `BATCH_TOLERANCE` of the largest value of the output. A model that
        draws random numbers, which differ from call to call, is a warning in the log.
    """
    n = len(first_tensor(output))
    if n < 2 or model in _seen:
        return
    some = torch.tensor([0, n - 1] if n > 2 else [0])
    try:
        again = run(some)
    except MarginomeError:  # it takes batches of one size only: the others become copies of the first
        rows = torch.arange(n)
        rows[:-1] = 0
        again = map_structure(lambda y: y[some], run(rows))
    tolerance = COARSE_TOLERANCE if coarse else BATCH_TOLERANCE
    off = largest_difference(again, map_structure(lambda y: y[some], output), output)
    if off <= tolerance:
        _seen.add(model)
        return
    if not largest_difference(run(torch.arange(n)), output) <= tolerance:
        log.warning(
            "the model gives other numbers for the same sequences in a second run: it draws random numbers, e.g. in a "
            "dropout that is active"
        )
        _seen.add(model)  # it has been said
        return
    raise MarginomeError(
        f"what it gives for a sequence depends on the other sequences of its batch (relative difference {off:.2g})",
        where="model",
        remedy="Look for a batch normalisation without running statistics (track_running_stats=False, or "
        "training=True in forward), or another step over axis 0.",
    )


def largest_difference(a: Any, b: Any, scales: Any = None) -> float:
    """Return the largest difference over the outputs of two runs, relative to the largest value of each output.

    Parameters
    ----------
    a, b : nested tensors
        Of one structure.
    scales : nested tensors, optional
        Of the same structure: where the largest value is looked for; `b` by default.

    Returns
    -------
    float
        Infinite where one of the two is infinite or NaN and the other is not; where both are, they do not differ.
    """
    found: list[float] = []

    def compare(x: torch.Tensor, y: torch.Tensor, scale: torch.Tensor) -> None:
        check_same(x, y)
        if not x.numel():
            return
        found.append(gap(x, y) / (largest(scale) or 1.0))

    map_structure(compare, a, b, b if scales is None else scales)
    return max(found, default=0.0)


def gap(x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the largest difference of two tensors' numbers, in 64 bits.

    0 where both are infinite alike or NaN; infinite where one is and the other is not.
    """
    if not x.numel():
        return 0.0
    kind = torch.complex128 if x.is_complex() or y.is_complex() else torch.float64
    x, y = x.detach().to(kind), y.detach().to(kind)
    apart = float(torch.where((x == y) | (x.isnan() & y.isnan()), 0.0, (x - y).abs()).max())
    return apart if apart == apart else torch.inf


def largest(t: torch.Tensor) -> float:
    """Return the largest finite value of a tensor, without its sign; 0 if there is none."""
    return float(torch.where(t.isfinite(), t, 0).detach().abs().max()) if t.numel() else 0.0


@torch.no_grad()
def check_batches(
    model: torch.nn.Module,
    run: Callable[[torch.Tensor, tuple[torch.Tensor, ...]], Any],
    X: torch.Tensor,
    args: Sequence[torch.Tensor] = (),
) -> None:
    """Raise if what a sequence gives depends on the others of its batch, or on chance; once per model.

    Three sequences are run together, then two of them in the other order: a batch norm on its batch's own statistics, a
    softmax or mean over the first axis, sums along it from either end all change what the two give.

    Why a second check beside `check_batches_are_independent`: that one looks at a batch of the user's
    after it was run, with room for the rounding of any precision. The engine's batches are of edits, whose effects are
    small beside the outputs: differences are measured by the spread between sequences, before anything is run.

    Parameters
    ----------
    model : torch.nn.Module
        Asked once as long as it lives.
    run : callable
        ``run(X, args)`` returns the model's nested outputs, in the precision of its weights.
    X : torch.Tensor, shape (n, 4, length)
        One-hot; the first is taken, two random ones beside it.
    args : sequence of torch.Tensor
        The model's further inputs, n entries each.

    Raises
    ------
    MarginomeError
        If it mixes them, or draws random numbers.
    """
    if model in _checked:
        return
    others = random_one_hot((2, X.shape[1], X.shape[2]), random_state=0)
    three = torch.cat([X[:1].to(torch.int8), others.to(X.device)])
    order = torch.tensor([1, 0], device=X.device)
    given = tuple(torch.cat([a[:1]] * 3) for a in args)
    together = run(three, given)
    values = [*model.parameters(), *(t for _, t in leaves(together))]
    rough = any(t.itemsize < 4 for t in values if t.is_floating_point())
    apart = _apart(together, run(three[order], tuple(a[:2] for a in given)), order, rough)
    if not apart <= 1:
        again = _apart(together, run(three, given), torch.arange(3, device=X.device), rough)
        if not again <= 1:
            raise MarginomeError(
                "the same sequences give other numbers the second time: the model draws random numbers",
                where="model",
                remedy="Look for a dropout that is active in evaluation mode.",
            )
        raise MarginomeError(
            "what a sequence gives depends on the other sequences of its batch",
            where="model",
            remedy="Look for a batch norm on its batch's own statistics (track_running_stats=False, training=True) and "
            "for a mean, softmax or sum over axis 0. Normalise with running statistics, or over a sequence's own axes.",
        )
    _checked.add(model)
    _seen.add(model)


def _apart(all_: Any, some: Any, rows: torch.Tensor, rough: bool) -> float:
    """Return the largest difference between rows of one run and another, in units of what rounding may do."""
    worst = 0.0
    for (_, t), (_, s) in zip(leaves(all_), leaves(some)):
        t = t.to(torch.complex128 if t.is_complex() else torch.float64)
        spread = largest(torch.stack([t[0] - t[1], t[1] - t[2], t[0] - t[2]]))
        allowed = (ROUGH_SPREAD if rough else SPREAD) * spread + (ROUGH_OUTPUT if rough else OUTPUT) * largest(t)
        off = gap(t[rows.to(t.device)], s)
        if off > 0:
            worst = max(worst, off / allowed if allowed > 0 else torch.inf)
    return worst
