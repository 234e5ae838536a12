"""The registry of rules, by operation: under the plan, which looks them up; the rules (`rules`) fill it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import fx


class Rule(NamedTuple):
    """How a plan treats an operation.

    Attributes
    ----------
    make : callable
        ``make(plan, node)`` returns the node's `Change`, or None if the change does not reach it.
    moves : bool
        It only moves values about: a model in which nothing else is confined gains nothing.
    any_dtype : bool
        It needs no difference of what it is applied to: also for masks and indices.
    reads : callable, optional
        ``reads(node, lo, hi)`` returns the positions of a changed argument ``(n, channels, positions)`` that positions
        ``[lo, hi)`` of a result of that shape depend on, possibly beyond its ends; None, or without it: all.
    """

    make: Callable[..., Any]
    moves: bool
    any_dtype: bool
    reads: Callable[[fx.Node, int, int], tuple[int, int] | None] | None = None


RULES: dict[str, Rule] = {}


def rule(names: str, *, moves: bool = False, any_dtype: bool = False, reads: Callable | None = None) -> Callable:
    """Register a rule under operations' names, with blanks between them and without overloads (see `Rule`)."""

    def register(function: Callable) -> Callable:
        for name in names.split():
            RULES[name] = Rule(function, moves, any_dtype, reads)
        return function

    return register


def in_place(node: fx.Node, lo: int, hi: int) -> tuple[int, int]:
    """Say of a rule that a result at a position depends on the arguments at that position (`Rule.reads`)."""
    return lo, hi
