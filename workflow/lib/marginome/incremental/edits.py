"""Edits: what is put into a background, and where; and how they are grouped into windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from marginome.errors import MarginomeError


class Edits(NamedTuple):
    """Edits of one batch, each to be made in every background (or in one of them).

    Attributes
    ----------
    one_hot : torch.Tensor, shape (m, 4, w), int8
        What goes in. An all-zero column keeps the base of the background, which is also how inserts of several
        widths share one tensor; such columns may stick out of the sequence, others may not.
    starts : torch.Tensor, shape (m,), int64
        The position of each edit's first column, from 0.
    """

    one_hot: torch.Tensor
    starts: torch.Tensor

    @classmethod
    def stack(cls, inserts: Sequence[torch.Tensor], starts: Sequence[int]) -> Edits:
        """Bring inserts of shape ``(4, w)``, of any widths, to one width with all-zero columns at their ends."""
        width = max(insert.shape[-1] for insert in inserts)
        one_hot = torch.zeros(len(inserts), 4, width, dtype=torch.int8)
        for row, insert in zip(one_hot, inserts):
            row[:, : insert.shape[-1]] = insert
        return cls(one_hot, torch.as_tensor(list(starts), dtype=torch.int64))

    def take(self, rows: slice | torch.Tensor) -> Edits:
        """Return the edits of a slice or an index tensor."""
        return Edits(self.one_hot[rows], self.starts[rows])

    def spans(self) -> torch.Tensor:
        """Return ``(m, 2)``: the first position each edit sets and the one after its last; equal where it sets none."""
        set_ = (self.one_hot != 0).any(1)
        width = set_.shape[1]
        first = set_.to(torch.int8).argmax(1)
        last = width - set_.flip(1).to(torch.int8).argmax(1)
        some = set_.any(1)
        return torch.stack([self.starts + torch.where(some, first, 0), self.starts + torch.where(some, last, 0)], dim=1)

    def holes(self) -> torch.Tensor:
        """Return ``(m, 2)``: the widest gap between positions that each edit sets, from and to; equal where none is."""
        set_ = (self.one_hot != 0).any(1)
        columns = torch.arange(set_.shape[1]).expand_as(set_)
        last = torch.where(set_, columns, -1).cummax(1).values  # up to and with each column
        before = torch.nn.functional.pad(last[:, :-1], (1, 0), value=-1)
        gap = torch.where(set_ & (before >= 0), columns - before - 1, 0)
        width, to = gap.max(1)
        return torch.stack([self.starts + to - width, self.starts + to], dim=1)

    def check(self, length: int) -> None:
        """Raise MarginomeError unless shapes agree and every base falls inside a sequence of `length`."""
        if self.one_hot.ndim != 3 or self.one_hot.shape[1] != 4 or len(self.one_hot) == 0:
            raise MarginomeError(f"expected (m, 4, w), found {tuple(self.one_hot.shape)}", where="edits")
        if self.starts.shape != (len(self.one_hot),):
            raise MarginomeError(
                f"expected {len(self.one_hot)} starts, found shape {tuple(self.starts.shape)}", where="edits"
            )
        spans = self.spans()
        out = ((spans[:, 0] < 0) | (spans[:, 1] > length) | (self.starts > length)).nonzero().flatten().tolist()
        if out:
            first, last = spans[out[0]].tolist()
            raise MarginomeError(
                f"edit {out[0]} covers {first} to {last}, outside a background of {length} bp", where="edits"
            )

    def apply(self, X: torch.Tensor) -> torch.Tensor:
        """Make edit i in sequence i: ``(m, 4, length)`` in, a new tensor of the same kind out."""
        m, _, width = self.one_hot.shape
        length = X.shape[-1]
        positions = (self.starts[:, None] + torch.arange(width)).to(X.device)[:, None].expand(m, 4, width)
        new = self.one_hot.to(X.device, X.dtype)
        # Room at both ends for the all-zero columns that stick out.
        room = torch.nn.functional.pad(X, (width, width))
        old = room.gather(2, positions + width)
        room.scatter_(2, positions + width, torch.where((new != 0).any(1, keepdim=True), new, old))
        return room[:, :, width : width + length]
