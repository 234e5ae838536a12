"""Sets of pairs: what goes into a batch of them, and where what comes out of it is written."""

from __future__ import annotations

import threading
from typing import Any

import torch

from marginome.devices import send

from .capture import Graph
from .plan import Plan


class Outputs:
    """Outputs of a set of pairs, filled part by part."""

    def __init__(
        self, graph: Graph, before: list[torch.Tensor | None], leading: tuple[int, ...],
        backgrounds: slice | torch.Tensor,
    ):  # fmt: skip
        self.graph = graph
        self.leading = leading
        self.before = [None if b is None else b[backgrounds] for b in before]
        self.tensors: list[torch.Tensor | None] = [None] * len(self.before)
        self._lock = threading.Lock()

    def write(self, plan: Plan, where: tuple, values: list[torch.Tensor | None]) -> None:
        """Write the registers of a run, ``(m, b, ...)``, to their rows."""
        for i, ((how, change, _), value) in enumerate(zip(plan.outputs, values)):
            if how == "same":
                continue
            target = self._tensor(i)
            at = _rows(where, target.device)
            if how == "whole":
                target[at] = value.to(target.dtype)
                continue
            span = target.view(*self.leading, *change.inner).narrow(
                len(self.leading) + change.axis - 1, change.lo, change.width
            )
            if all(isinstance(a, slice) for a in at):
                span[at].add_(value)
            else:
                span[at] = span[at] + value

    def _tensor(self, i: int) -> torch.Tensor:
        with self._lock:
            if self.tensors[i] is None:
                before = self.before[i]
                shape = (*self.leading, *before.shape[1:])
                # Starts as the background's outputs: edits may reach only a part of them.
                self.tensors[i] = before.expand(shape).clone(memory_format=torch.contiguous_format)
            return self.tensors[i]

    def nest(self) -> Any:
        """Return the outputs as the model nests them."""
        flat = []
        for i, before in enumerate(self.before):
            if before is None:
                flat.append(None)
            elif self.tensors[i] is None:
                flat.append(before.expand(*self.leading, *before.shape[1:]))
            else:
                flat.append(self.tensors[i])
        return self.graph.nest(flat)


def by_background(rows: torch.Tensor, index: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Divide pairs into batches of about `size`: (pairs as edits x backgrounds, the latter fastest; backgrounds).

    Where every background has as many pairs, those of one background come together, so that its values are read once
    for all of them; else each pair brings its own.
    """
    rows = rows[torch.argsort(index[rows], stable=True)]
    which, counts = index[rows].unique_consecutive(return_counts=True)
    each = int(counts[0])
    if each > 1 and bool((counts == each).all()):
        grid = rows.view(len(which), each)
        b = max(1, size // each)
        return [(grid[i : i + b].t().flatten(), which[i : i + b]) for i in range(0, len(which), b)]
    return [(rows[i : i + size], index[rows[i : i + size]]) for i in range(0, len(rows), size)]


def _rows(where: tuple, device: torch.device) -> tuple:
    """Return an index of rows ``(edits, backgrounds)`` or ``(pairs,)``: slices where they are consecutive."""
    rows = where[0]
    first = int(rows.flatten()[0])
    if rows.ndim == 1 and torch.equal(rows, torch.arange(first, first + len(rows))):
        return (slice(first, first + len(rows)), *where[1:])
    if len(where) == 1:
        return (send(rows, device),)
    return send(rows[:, None], device), torch.arange(where[1].start, where[1].stop, device=device)[None]


def cut_out(inserts: torch.Tensor, starts: torch.Tensor, rows: torch.Tensor, lo: int, hi: int) -> torch.Tensor:
    """Return inserts as they lie in ``[lo, hi)``: ``(rows, 4, hi - lo)``, all-zero columns around them."""
    width, device = inserts.shape[-1], inserts.device
    starts, rows = send(starts[rows], device), send(rows, device)
    places = torch.arange(lo, hi, device=device)[None] - starts[:, None]  # column of the insert at each position
    inside = (places >= 0) & (places < width)
    cut = inserts[rows].gather(2, places.clamp(0, width - 1)[:, None].expand(-1, 4, -1))
    return cut * inside[:, None]
