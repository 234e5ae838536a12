"""What a plan is made of: changes of tensors, in one of two forms, and steps that compute them from background values.

A changed tensor is held in one of two forms, on its span only: ``delta``, the difference from the background, which is
all that linear operations need (no halo, no bias, no padding: outside the span the difference is 0), and ``value``,
which operations such as max pooling need. Either is made from the other with the cached background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import fx

from .layout import channels_back, channels_to_end


class NeedsEverythingError(Exception):
    """Raised by a rule that cannot confine a change: the operation is then computed on whole sequences."""


@dataclass(eq=False)
class Register:
    """A tensor of the running plan."""

    index: int


@dataclass
class Step:
    """One computation: ``run(state, *inputs)`` gives the tensor of `out`, which may share memory with any of them."""

    run: Callable
    inputs: tuple[Register, ...]
    out: Register
    # Position in `inputs` of the tensor that may be overwritten where nobody else holds its memory: `run` is then
    # called with owned=True. Whether that is so is looked up when the plan runs.
    steals: int | None = None
    drop: tuple[int, ...] = ()


@dataclass(frozen=True)
class Base:
    """A part of a node's background values, cut, transformed and laid out once per batch of backgrounds."""

    node: fx.Node
    inner: tuple[int, ...]
    axis: int | None
    lo: int
    hi: int
    transform: str
    low: bool


TRANSFORMS = {
    "as it is": lambda t: t,
    "negative part": lambda t: t.clamp_max(0),
    "minus positive part": lambda t: t.clamp_min(0).neg_(),
}


@dataclass
class Change:
    """How a node differs from its background values.

    Attributes
    ----------
    axis : int or None
        Axis of the positions (the batch is axis 0); None: the whole tensor may differ.
    lo, hi : int
        The span that may differ.
    inner : tuple of int
        The shape (without the batch) that `axis` counts in. It is the node's own, but for a tensor that was flattened
        over its positions, where it is the shape before.
    forms : dict of callables
        ``delta`` and/or ``value``: emits the steps and returns the register.
    linear : callable, optional
        ``linear(start, scale, floor=None)`` emits the steps of ``max(start + scale * delta, floor)`` at once; `start`
        and `floor` are a `Base` or None, `scale` a tensor per channel or None.
    """

    axis: int | None
    lo: int
    hi: int
    inner: tuple[int, ...]
    forms: dict[str, Callable[[], Register]] = field(default_factory=dict)
    linear: Callable[..., Register] | None = None

    @property
    def width(self) -> int:
        """Positions that may differ."""
        return self.hi - self.lo


@dataclass
class State:
    """What the steps of a plan run on: m edits x b backgrounds, and the prepared parts of those backgrounds."""

    m: int
    b: int
    bases: dict[Base, torch.Tensor]

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return self.m * self.b

    def split(self, t: torch.Tensor) -> torch.Tensor:
        """``(m * b, ...)`` as ``(m, b, ...)``, so that it broadcasts against background values ``(b, ...)``."""
        return t.unflatten(0, (self.m, self.b))

    def spread(self, base: Base) -> torch.Tensor:
        """Return a fresh ``(m * b, ...)`` copy of background values, in their memory layout."""
        t = channels_to_end(self.bases[base])
        t = t.expand(self.m, *t.shape).clone(memory_format=torch.contiguous_format).flatten(0, 1)
        return channels_back(t)
