"""Does what a model says of a sequence depend on the sequences beside it? Then no number of it can be relied on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from marginome.errors import MarginomeError
from marginome.prediction import leaves, model_dtype
from marginome.sequences import random_one_hot

# Differences that are rounding: relative to the spread between sequences, and to the largest output. A model that
# mixes a batch is off by a part of the spread.
SPREAD, OUTPUT = 1e-3, 1e-5
ROUGH_SPREAD, ROUGH_OUTPUT = 5e-2, 1e-2  # weights of 16 bits

_independent: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


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

    Why a second check beside `prediction.check_batches_are_independent`: that one looks at a batch of the user's
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
    if model in _independent:
        return
    others = random_one_hot((2, X.shape[1], X.shape[2]), random_state=0)
    three = torch.cat([X[:1].to(torch.int8), others.to(X.device)])
    order = torch.tensor([1, 0], device=X.device)
    given = tuple(torch.cat([a[:1]] * 3) for a in args)
    together = run(three, given)
    rough = model_dtype(model).itemsize < 4
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
    _independent.add(model)


def _apart(all_: Any, some: Any, rows: torch.Tensor, rough: bool) -> float:
    """Return the largest difference between rows of one run and another, in units of what rounding may do."""
    worst = 0.0
    for (_, t), (_, s) in zip(leaves(all_), leaves(some)):
        kind = torch.complex128 if t.is_complex() else torch.float64
        t, s = t.to(kind), s.to(kind)
        spread = torch.stack([t[0] - t[1], t[1] - t[2], t[0] - t[2]]).abs().nan_to_num(0, 0).max() if t.numel() else 0
        largest = t.abs().nan_to_num(0, 0).max() if t.numel() else 0
        allowed = (ROUGH_SPREAD if rough else SPREAD) * spread + (ROUGH_OUTPUT if rough else OUTPUT) * largest
        t = t[rows.to(t.device)]
        off = torch.where((t == s) | (t.isnan() & s.isnan()), 0.0, (t - s).abs())
        if off.numel() and not off.max() == 0:
            ratio = float(off.max() / allowed)
            worst = max(worst, ratio if ratio == ratio else torch.inf)
    return worst
