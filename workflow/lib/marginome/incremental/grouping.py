"""Which edits are computed on one span: wider spans cost more per pair, more groups cost more batches and plans."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

# Different spans in a group at most: bounds the search, which among a hundred thousand would take half a minute.
MOST = 1024


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
    """

    per_pair: float
    per_bp: float
    per_batch: float
    per_group: float
    pairs_at_a_time: float

    def of(self, pairs: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Return what groups of so many pairs on spans of so many positions cost."""
        batches = np.maximum(1.0, pairs / max(1.0, self.pairs_at_a_time))
        return pairs * (self.per_pair + self.per_bp * width) + self.per_batch * batches + self.per_group


def cheapest_groups(spans: np.ndarray, backgrounds: int, costs: Costs) -> list[tuple[torch.Tensor, int, int]]:
    """Divide edits, in the order of their spans, so that the sum of what the groups cost is least.

    Parameters
    ----------
    spans : numpy.ndarray, shape (m, 2), int64
        From and to which position each edit sets bases, at least one.
    backgrounds : int
        In each of which every edit is made.
    costs : Costs

    Returns
    -------
    list of (rows, lo, hi)
        The edits of each group, as an index tensor, and their common span.
    """
    # Numbers in the order of the spans: as one column they are sorted ten times as fast as two.
    base = int(spans.max()) + 1
    found, which, counts = np.unique(spans[:, 0] * base + spans[:, 1], return_inverse=True, return_counts=True)
    lo, hi = np.divmod(found, base)
    until = np.concatenate([[0], np.cumsum(counts)])
    # least[j]: the cost of all spans before j, of which the last group begins at first[j].
    least, first = np.zeros(len(found) + 1), np.zeros(len(found) + 1, dtype=np.int64)
    ends = np.zeros(len(found), dtype=np.int64)  # of the group that begins at each span and goes on up to j
    for j in range(len(found)):
        back = slice(max(0, j + 1 - MOST), j + 1)
        ends[back] = np.maximum(ends[back], hi[j])
        cost = least[back] + costs.of((until[j + 1] - until[back]) * backgrounds, ends[back] - lo[back])
        first[j + 1] = back.start + cost.argmin()
        least[j + 1] = cost.min()
    rows = torch.from_numpy(np.argsort(which, kind="stable"))
    groups = []
    end = len(found)
    while end:
        begin = int(first[end])
        groups.append((rows[until[begin] : until[end]], int(lo[begin]), int(hi[begin:end].max())))
        end = begin
    return groups[::-1]
