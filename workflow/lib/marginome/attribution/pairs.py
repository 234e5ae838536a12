"""The same call of an operation on sequences and on their references: what a rule of DeepLIFT is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

Tensors = list["torch.Tensor | None"]


class RepeatSequence(Exception):
    """The sequence's values cannot be matched with its references' by their first axis: repeat the sequence."""


@dataclass
class Call:
    """One call of an ATen operation, as it was seen in a forward pass."""

    name: str  # of the operation without in-place underscore, e.g. "relu"
    args: tuple
    kwargs: dict
    outputs: Any = None  # kept only where the rule needs them


@dataclass
class Pair:
    """The same call on a group of sequences and on their references, shaped so that the two broadcast.

    Values on the sequences are (sequences, 1, ...), on the references (sequences, references, ...); where there
    is as many of one as of the other, both are (sequences, ...). Axes therefore have to be counted from the end.
    """

    x: Call
    r: Call
    grads: Tensors  # with respect to the outputs, shaped like the references' values
    plain: Tensors  # what autograd found for the inputs: the derivative on the reference times `grads`
    rank: int  # number of axes of the first input before the references got an axis of their own
    by_differences: bool = False  # values are sums of background and change: equal ones are equal up to rounding

    def axis(self, axis: int) -> int:
        """Return an axis counted from the end."""
        return axis if axis < 0 else axis - self.rank

    @property
    def grad(self) -> torch.Tensor:
        """The gradient with respect to the (first) output."""
        return self.grads[0]


def make_pair(x: Call, r: Call, grad_outputs: Sequence, grad_inputs: Sequence, n: int, n_refs: int) -> Pair:
    """Give the references an axis of their own wherever they are stacked on the first one.

    Parameters
    ----------
    x, r : Call
        The call on `n` sequences and on their ``n * n_refs`` references, references of a sequence adjacent.
    grad_outputs, grad_inputs : sequence of torch.Tensor or None
        As an autograd node's hook gets them, on the references.
    n, n_refs : int
        Sequences, and references of each.

    Raises
    ------
    RepeatSequence
        When the values of a sequence are not on the first axis, so that they cannot be matched.
    """

    def match(a: Any, b: Any) -> tuple[Any, Any]:
        if isinstance(b, tuple | list):
            both = [match(u, v) for u, v in zip(a, b)]
            return [u for u, _ in both], [v for _, v in both]
        if not isinstance(b, torch.Tensor) or a.shape == b.shape:
            return a, b
        if a.ndim == b.ndim and a.shape[0] == n and b.shape[0] == n * n_refs and a.shape[1:] == b.shape[1:]:
            return a.unsqueeze(1), b.unflatten(0, (n, n_refs))
        raise RepeatSequence(f"{r.name}: {tuple(a.shape)} on the sequences, {tuple(b.shape)} on the references")

    def split(t: torch.Tensor | None) -> torch.Tensor | None:
        return t if t is None or n_refs == 1 else t.unflatten(0, (n, n_refs))

    matched = [match(a, b) for a, b in zip(x.args, r.args)]
    outputs = match(x.outputs, r.outputs)
    given = next(g for g in grad_inputs if g is not None)
    if n_refs > 1:
        for t in (*grad_outputs, *grad_inputs):
            if t is not None and (t.ndim == 0 or t.shape[0] != n * n_refs):
                raise RepeatSequence(f"{r.name}: gradient of shape {tuple(t.shape)}")
    return Pair(
        x=Call(x.name, tuple(a for a, _ in matched), x.kwargs, outputs[0]),
        r=Call(r.name, tuple(b for _, b in matched), r.kwargs, outputs[1]),
        grads=[split(g) for g in grad_outputs],
        plain=[split(g) for g in grad_inputs],
        rank=given.ndim,
    )


def wide(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Return half-precision tensors as float32: their differences would be mostly rounding."""
    return [t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors]


def only(pair: Pair, gradient: torch.Tensor) -> Tensors:
    """Return the gradients with that of the one input which depends on the sequence replaced."""
    return [None if g is None else gradient for g in pair.plain]


def to_shape_of(pair: Pair, gradients: Sequence[torch.Tensor | None]) -> Tensors:
    """Sum gradients over the axes along which an input was broadcast."""
    return [None if p is None or g is None else g.sum_to_size(p.shape) for p, g in zip(pair.plain, gradients)]


def same_rank(pair: Pair, n: int = 2) -> None:
    """Refuse operands of different rank where the references have an axis of their own (it would be misplaced)."""
    both = [(a, b) for a, b in zip(pair.x.args[:n], pair.r.args[:n]) if isinstance(b, torch.Tensor)]
    if len({b.ndim for _, b in both}) > 1 and any(a.shape != b.shape for a, b in both):
        raise RepeatSequence(f"{pair.r.name} of operands of different rank")


def unsqueeze(t: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """Put back axes that a reduction took away (counted from the end, ascending)."""
    for a in reversed(axes):
        t = t.unsqueeze(a)
    return t
