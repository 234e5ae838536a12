"""How much of a long check there is time and memory for: what a part may take, what it took, what it left out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from marginome.devices import peak_memory
from marginome.operations import Following

log = logging.getLogger("marginome")

# Seconds that a part of the check may take. A part that would take longer on a slow model looks at less, and says so;
# the smallest that it can look at is done in any case.
BUDGET = {"batches": 60.0, "precision": 60.0, "engine": 60.0, "attribution": 90.0}
# Least sequences: to see whether outputs vary and whether batches matter, and to see rounding.
LEAST = {"batches": 4, "precision": 2}


class Cost(NamedTuple):
    """What one sequence costs.

    Attributes
    ----------
    seconds : float
        Of a forward pass.
    bytes : int
        Of all that the operations of a forward pass return: what there is at once if nothing is let go.
    peak : int
        Bytes of what there is of it at once.
    """

    seconds: float
    bytes: int
    peak: int


class Counting(Following):
    """Adds up the bytes of what operations return, views not counted."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            self.bytes += sum(y.numel() * y.element_size() for y in tree_leaves(out) if isinstance(y, Tensor))
        return out


class Parts:
    """The parts of the check: what each may take, what it took, and what it left out.

    ``with parts("engine") as part:`` times a part.
    """

    def __init__(self, memory_bytes: int, device: torch.device):
        self.memory_bytes, self.device, self.cost = memory_bytes, device, Cost(0.0, 0, 0)
        self.took: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[Part]:
        """Time a part, by its name in `BUDGET`, and log it."""
        part = Part(name, self)
        log.info("check, part %d of %d: %s (at most some %.0f s)", list(BUDGET).index(name) + 1, len(BUDGET), name,
                 BUDGET[name])  # fmt: skip
        try:
            yield part
        finally:
            took = {"seconds": round(part.seconds, 1), "budget_seconds": BUDGET[name], "left_out": part.left_out}
            self.took[name] = took
            log.info("check, %s: %.1f s%s; peak memory so far %.0f MB", name, part.seconds,
                     ", cut short" if part.left_out else "", peak_memory(self.device) / 2**20)  # fmt: skip


class Part:
    """One part of the check while it runs."""

    def __init__(self, name: str, parts: Parts):
        self.name, self.notes = name, parts.notes
        self.cost, self.memory_bytes = parts.cost, parts.memory_bytes
        self.left_out: list[str] = []
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._started

    @property
    def left(self) -> float:
        """Seconds of its budget that are left."""
        return BUDGET[self.name] - self.seconds

    def leave_out(self, what: str) -> None:
        """Say that something is not looked at, here and as a warning."""
        self.left_out.append(what)
        self.notes.append(f"the check was cut short to keep to its time and memory: {what}")

    def at_once(self, most: int, activations: float = 1.0) -> int:
        """Sequences that fit the memory together, each with some times its activations."""
        return max(1, min(most, int(self.memory_bytes / max(1.0, activations * self.cost.bytes))))

    def sequences(self, n: int, *, per_sequence: float, together: bool = True) -> int:
        """How many of n sequences to look at, with some passes each; says it when they are not all.

        `together` when they have to be in one batch.
        """
        in_time = int(self.left / max(1e-9, per_sequence * self.cost.seconds))
        least = min(n, LEAST[self.name])
        in_memory = max(2, self.at_once(n)) if together else n
        found = min(n, max(least, in_time), in_memory)
        if found < n:
            self.leave_out(f"{self.name} with {found} of {n} sequences")
        return found
