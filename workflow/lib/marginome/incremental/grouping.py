"""Which edits are computed on one span: wider spans cost more per pair, more groups cost more batches and plans."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

# Different spans in a group at most: bounds the search, which among a hundred thousand would take half a minute.
MOST = 1024


class Holes(NamedTuple):
    """What it saves to compute the ends of edits apart, by the width of the hole between them.

    Attributes
    ----------
    widths : numpy.ndarray
        Ascending; between them lines are drawn, from 0 at width 0 on.
    per_pair, per_batch, per_group : numpy.ndarray
        Seconds of a rough machine: saved of a pair, and spent on a batch and on a plan.
    """

    widths: np.ndarray
    per_pair: np.ndarray
    per_batch: np.ndarray
    per_group: np.ndarray

    def saved(self, pairs: np.ndarray, batches: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Return what groups save by holes of so many positions; below 0 where computing them at once is cheaper."""
        each, batch, group = (np.interp(width, [0, *self.widths], [0, *of]) for of in self[1:])
        return np.where(width > 0, pairs * each - batches * batch - group, 0.0)


class Costs(NamedTuple):
    """What a group of edits costs, in seconds of a rough machine.

    Attributes
    ----------
    per_pair, per_bp : float
        Of a pair: a line in the width of the group's span.
    per_batch, per_group : float
        Of a batch of pairs, and of a group: its plan has to be made.
    pairs_at_a_time : float
        Pairs of a batch.
    holes : Holes, optional
        What holes save; nothing without.
    """

    per_pair: float
    per_bp: float
    per_batch: float
    per_group: float
    pairs_at_a_time: float
    holes: Holes | None = None

    def of(self, pairs: np.ndarray, width: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """Return what groups of so many pairs cost, on spans and with holes of so many positions."""
        batches = np.maximum(1.0, pairs / max(1.0, self.pairs_at_a_time))
        cost = pairs * (self.per_pair + self.per_bp * width) + self.per_batch * batches + self.per_group
        return cost if self.holes is None else cost - np.maximum(0.0, self.holes.saved(pairs, batches, hole))

    def is_apart(self, pairs: int, hole: int) -> bool:
        """Whether the ends of a group of pairs are computed apart."""
        batches = max(1.0, pairs / max(1.0, self.pairs_at_a_time))
        return self.holes is not None and bool(self.holes.saved(pairs, batches, hole) > 0)


class Group(NamedTuple):
    """Edits that are computed on one span.

    Attributes
    ----------
    rows : torch.Tensor, int64
        Which edits.
    lo, hi : int
        Their span.
    hole : tuple of int or None
        Positions of the span, from and to, that none of them sets, where their ends are computed apart.
    """

    rows: torch.Tensor
    lo: int
    hi: int
    hole: tuple[int, int] | None


def cheapest_groups(spans: np.ndarray, holes: np.ndarray, backgrounds: int, costs: Costs) -> list[Group]:
    """Divide edits, in the order of their spans, so that the sum of what the groups cost is least.

    Parameters
    ----------
    spans : numpy.ndarray, shape (m, 2), int64
        From and to which position each edit sets bases, at least one.
    holes : numpy.ndarray, shape (m, 2), int64
        From and to which position of its span each sets none; of an edit without a hole the two are equal.
    backgrounds : int
        In each of which every edit is made.
    costs : Costs

    Returns
    -------
    list of Group
    """
    # Numbers in the order of the spans: as one column they are sorted ten times as fast as two.
    base = int(spans.max()) + 1
    found, which, counts = np.unique(spans[:, 0] * base + spans[:, 1], return_inverse=True, return_counts=True)
    lo, hi = np.divmod(found, base)
    until = np.concatenate([[0], np.cumsum(counts)])
    order = np.argsort(which, kind="stable")
    # What the edits of one span have in common of their holes.
    after, before = np.maximum.reduceat(holes[order, 0], until[:-1]), np.minimum.reduceat(holes[order, 1], until[:-1])
    # least[j]: the cost of all spans before j, of which the last group begins at first[j].
    least, first = np.zeros(len(found) + 1), np.zeros(len(found) + 1, dtype=np.int64)
    # Of the group that begins at each span and goes on up to j: where it ends, and its hole.
    ends, froms, tos = np.zeros(len(found), dtype=np.int64), after.copy(), before.copy()
    for j in range(len(found)):
        back = slice(max(0, j + 1 - MOST), j + 1)
        ends[back] = np.maximum(ends[back], hi[j])
        froms[back], tos[back] = np.maximum(froms[back], after[j]), np.minimum(tos[back], before[j])
        pairs = (until[j + 1] - until[back]) * backgrounds
        cost = least[back] + costs.of(pairs, ends[back] - lo[back], tos[back] - froms[back])
        first[j + 1] = back.start + cost.argmin()
        least[j + 1] = cost.min()
    rows = torch.from_numpy(order)
    groups = []
    end = len(found)
    while end:
        begin = int(first[end])
        hole = int(after[begin:end].max()), int(before[begin:end].min())
        apart = costs.is_apart((until[end] - until[begin]) * backgrounds, hole[1] - hole[0])
        span = int(lo[begin]), int(hi[begin:end].max())
        groups.append(Group(rows[until[begin] : until[end]], *span, hole if apart else None))
        end = begin
    return groups[::-1]
