"""What several rules share: the forms that a change is held in, and how an operation's numbers are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ..changes import Base, NeedsEverythingError, Register
from ..plan import Plan


def at_least(plan: Plan, register: Register, floor: Base | None) -> Register:
    """Emit the maximum with background values, if there are any."""
    if floor is None:
        return register
    plan.count(elements=2 * math.prod(floor.inner) // floor.inner[floor.axis - 1] * (floor.hi - floor.lo))

    def rectify(s, d, owned):
        d = s.split(d)
        return torch.maximum(d, s.bases[floor], out=d if owned else None).flatten(0, 1)

    return plan.step(rectify, register, steals=0)


def value_of(plan: Plan, source: fx.Node) -> Register:
    """Return the changed values of a node, computed at once with the background where it is linear."""
    c = plan.changes[source]
    if c.linear is not None and plan.only_use(source):
        return c.linear(plan.base(source, c.lo, c.hi), None)
    return plan.value(source)


def forms_of(plan: Plan, node: fx.Node, linear: Callable) -> dict[str, Callable]:
    """Return both forms of a linear operation."""

    def value() -> Register:
        c = plan.changes[node]
        return linear(plan.base(node, c.lo, c.hi), None)

    return {"delta": lambda: linear(None, None), "value": value}


def per_axis(value: Any, n: int) -> list[int]:
    """Return one number per spatial axis."""
    found = [value] * n if isinstance(value, int) else list(value)
    found = found * n if len(found) == 1 else found
    if any(not isinstance(v, int) for v in found):
        raise NeedsEverythingError
    return found
