"""Which edits are computed on one span: the cheapest of all divisions, found by trying them all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from marginome.incremental import grouping
from marginome.incremental.grouping import Costs, Holes, cheapest_groups


def cost_of(groups, spans, holes, backgrounds, costs):
    """What a division costs, group by group."""
    total = 0.0
    for rows in groups:
        pairs, width = len(rows) * backgrounds, max(spans[i][1] for i in rows) - min(spans[i][0] for i in rows)
        batches = max(1.0, pairs / costs.pairs_at_a_time)
        total += pairs * (costs.per_pair + costs.per_bp * width) + costs.per_batch * batches + costs.per_group
        hole = min(holes[i][1] for i in rows) - max(holes[i][0] for i in rows)
        if costs.holes is not None and hole > 0:
            each, batch, group = (np.interp(hole, [0, *costs.holes[0]], [0, *of]) for of in costs.holes[1:])
            total -= max(0.0, pairs * each - batches * batch - group)
    return total


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_no_division_in_the_order_of_spans_is_cheaper(seed, with_holes, most, monkeypatch):
    """Of those with no more different spans in a group than are looked for."""
    if most:
        monkeypatch.setattr(grouping, "MOST", most)
    generator = np.random.default_rng(seed)
    m = 9
    lo = generator.integers(0, 30, m)
    spans = np.stack([lo, lo + generator.integers(1, 12, m)], axis=1)
    spans[3] = spans[0]  # edits of one span
    costs = Costs(*generator.uniform([0, 0.01, 0, 0, 1], [1, 0.2, 20, 5, 30]))
    backgrounds = int(generator.integers(1, 8))
    holes = np.sort(generator.integers(spans[:, :1], spans[:, 1:] + 1, (m, 2)), axis=1)
    if with_holes:
        costs = costs._replace(holes=Holes(np.array([2, 6]), np.array([0.2, 1.5]), np.ones(2), np.array([0.0, 1.0])))
    found = cheapest_groups(spans, holes, backgrounds, costs)
    assert sorted(i for group in found for i in group.rows.tolist()) == list(range(m))
    for rows, first, last, hole in found:
        assert first == min(spans[i][0] for i in rows) and last == max(spans[i][1] for i in rows)
        common = max(holes[i][0] for i in rows), min(holes[i][1] for i in rows)
        apart, whole = ([cost_of([rows.tolist()], spans, holes, backgrounds, costs._replace(holes=of))]
                        for of in (costs.holes, None))  # fmt: skip
        assert hole == (common if apart < whole else None)
    # All divisions of the spans in their order; edits of one span stay together.
    places = sorted({tuple(span) for span in spans.tolist()})
    by_place = [[i for i in range(m) if tuple(spans[i]) == place] for place in places]
    costs_of_all = []
    for cuts in itertools.product([False, True], repeat=len(places) - 1):
        groups, sizes = [list(by_place[0])], [1]
        for cut, rows in zip(cuts, by_place[1:]):
            if cut:
                groups.append([])
                sizes.append(0)
            groups[-1].extend(rows)
            sizes[-1] += 1
        if max(sizes) <= (most or len(places)):
            costs_of_all.append(cost_of(groups, spans, holes, backgrounds, costs))
    mine = cost_of([group.rows.tolist() for group in found], spans, holes, backgrounds, costs)
    assert mine == pytest.approx(min(costs_of_all), rel=1e-12)
