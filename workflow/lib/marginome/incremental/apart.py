"""Edits with a hole: what their two ends change is computed apart, up to where it meets.

Two motifs of 12 bp, 200 bp apart, change 2 x 32 positions of a first layer of width 21, not the 244 between their outer
ends. An operation whose result at no position depends on both ends gives two changes, each by the rule of the operation
as if the other end were not there. From the first operation on whose changes touch, there is one: the difference on the
span of both, 0 between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import fx

from .changes import Change, NeedsEverythingError, Register
from .layout import zeros_like_layout

if TYPE_CHECKING:
    from .plan import Plan


class Ends:
    """What each end of edits changes, of the nodes where the two do not touch.

    Parameters
    ----------
    plan : Plan
        For edits inside ``[lo, hi)``, of which its input is the difference.
    lo, hi : int
    hole : tuple of int
        From and to which position, inside ``[lo, hi)``, no edit sets anything.
    """

    def __init__(self, plan: Plan, lo: int, hi: int, hole: tuple[int, int]):
        self._plan = plan
        # Of each end, what plan.changes and plan._made are for the whole.
        self._views: list[tuple[dict, dict]] = []
        for first, last in ((lo, hole[0]), (hole[1], hi)):

            def cut(at=first - lo, width=last - first) -> Register:
                return plan.step(lambda s, d: d.narrow(2, at, width), plan.input)

            x = plan.graph.x
            self._views.append(({x: Change(2, first, last, plan.graph.shape[x], {"delta": cut})}, {}))

    def change(self, node: fx.Node) -> Change | None:
        """Return a node's change where it is two, made of them when somebody asks; None where it has to be one."""
        plan = self._plan
        changed = [n for n in node.all_input_nodes if plan.changes.get(n) is not None]
        if node not in plan.graph.shape or not plan.is_floating(node):  # several tensors, or no difference
            return None
        if not all(n in changes for n in changed for changes, _ in self._views):
            return None
        bases, plan.bases = plan.bases, set()
        found = self._by_ends(node)
        if found is not None:
            bases |= plan.bases
        plan.bases = bases
        return found

    def _by_ends(self, node: fx.Node) -> Change | None:
        found = []
        for view in self._views:
            with self._as(view):
                try:
                    found.append(self._plan.change_by_rule(node))
                except NeedsEverythingError:
                    return None
        if any(c is None or c.axis is None or c.width <= 0 for c in found):
            return None
        one, other = sorted(found, key=lambda c: c.lo)
        if (one.axis, one.inner) != (other.axis, other.inner) or one.hi > other.lo:
            return None
        for (changes, _), c in zip(self._views, found):
            changes[node] = c
        return Change(one.axis, one.lo, other.hi, one.inner, {"delta": lambda: self._together(node)})

    @contextmanager
    def _as(self, view: tuple[dict, dict]) -> Iterator[None]:
        """Let the plan, and the rules that it is given to, see the changes of one end."""
        plan = self._plan
        before = plan.changes, plan._made
        plan.changes, plan._made = view
        try:
            yield
        finally:
            plan.changes, plan._made = before

    def _together(self, node: fx.Node) -> Register:
        """Emit the difference on the span of both ends."""
        plan, places, registers = self._plan, [], []
        for changes, made in self._views:
            with self._as((changes, made)):
                registers.append(plan.delta(node))
            places.append((changes[node].lo, changes[node].width))
        whole = plan.changes[node]
        axis, lo, width = whole.axis, whole.lo, whole.width
        plan.count(elements=plan.elements(whole) + sum(2 * plan.elements(whole, w) for _, w in places))

        def place(s, *parts):
            shape = list(parts[0].shape)
            shape[axis] = width
            out = zeros_like_layout(parts[0], shape)
            for part, (at, wide) in zip(parts, places):
                out.narrow(axis, at - lo, wide).copy_(part)
            return out

        return plan.step(place, *registers)
