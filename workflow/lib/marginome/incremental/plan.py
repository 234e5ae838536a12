"""A plan: for edits inside one span of positions, which span of every tensor changes, and the steps that compute it.

A plan is made once per span and used for every batch of edits inside it. Making it has two halves. First every node
of the graph gets, in order, a `Change` by the rule of its operation (`marginome.incremental.rules`): the span that can
differ from the background, and how to compute it there. Then the outputs ask for what they need, backwards, and only
that becomes steps.

Tensors of a batch of pairs have one row per pair, m edits x b backgrounds, backgrounds fastest. Feature maps are kept
with the channels last in memory (their logical shape stays the model's): a window is then one block of memory per
pair, and a convolution's taps are matrix products.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from .apart import Ends
from .capture import BACKGROUND, CONSTANT, SUMS, SYMBOL, Graph
from .changes import TRANSFORMS, Base, Change, NeedsEverythingError, Register, State, Step
from .layout import channels_back, channels_to_end, zeros_like_layout
from .needs import LAST_AXIS, needed_spans
from .nodes import name_of
from .registry import RULES

FRAMES = 20  # calls that an operation makes at most until it asks for what it is computed from


class Plan:
    """The steps for edits inside ``[lo, hi)``.

    Parameters
    ----------
    graph : Graph
    lo, hi : int
        Positions that edits may set.
    hole : tuple of int, optional
        Positions among them, from and to, that they do not set: their ends are computed apart (`marginome.incremental.
        apart`).
    low : torch.dtype, optional
        The dtype of differences and of the weights they meet (bfloat16); the graph's own by default. Background
        values, and what is not held as a difference, stay in the graph's dtype.
    statics : dict, optional
        Rearranged weights, shared by the plans of a graph.
    differentiable : bool, default False
        Emit steps that autograd can follow: nothing that is kept is overwritten, and maxima are the model's own.
    fused : bool, default False
        Compute convolutions by `marginome.incremental.fused` where that is worthwhile.

    Attributes
    ----------
    bases : set of Base
        The background values that the steps read; their nodes are what has to be cached.
    whole : list of str
        Operations that are computed on whole sequences although a span of their input changed.
    confined : list of str
        Operations, other than moving values about, that are computed on what changed of their input only.
    flops, bytes, weights : int
        Rough work and memory traffic per pair, and bytes of weights read per batch of pairs, for choosing how much
        to do at a time.
    """

    def __init__(
        self,
        graph: Graph,
        lo: int,
        hi: int,
        *,
        hole: tuple[int, int] | None = None,
        low: torch.dtype | None = None,
        statics: dict | None = None,
        differentiable: bool = False,
        fused: bool = False,
    ):
        self.graph = graph
        self.low = low or graph.dtype
        self.differentiable = differentiable
        self.fused = fused and not differentiable
        self.statics = {} if statics is None else statics
        self.steps: list[Step] = []
        self.bases: set[Base] = set()
        self.whole: list[str] = []
        self.confined: list[str] = []
        self.flops = 0
        self.bytes = 0
        self.weights = 0
        self.changes: dict[fx.Node, Change | None] = {}
        self._made: dict[tuple, Register] = {}
        self._registers = 0
        self._users = _sequence_users(graph)
        self._needed = self.static(("needed",), lambda: needed_spans(graph))

        self.input = self._register()
        given = self.input
        self.changes[graph.x] = Change(2, lo, hi, graph.shape[graph.x], {"delta": lambda: given})
        ends = None if hole is None else Ends(self, lo, hi, hole)
        for node in graph.nodes:
            if node is graph.x or graph.kind[node] in (SYMBOL, BACKGROUND):
                self.changes.setdefault(node, None)
                continue
            if all(self.changes.get(n) is None for n in node.all_input_nodes):
                self.changes[node] = None
                continue
            try:
                self.changes[node] = (ends and ends.change(node)) or self.change_by_rule(node)
                if not RULES[name_of(node)].moves and any(self._is_confined(n) for n in node.all_input_nodes):
                    self.confined.append(name_of(node))
            except NeedsEverythingError:
                self.changes[node] = self._everything(node)
        with _recursion(FRAMES * len(graph.nodes)):
            self.outputs = [self._output(o) for o in graph.outputs]
        self._finish()

    # ---- what rules use ------------------------------------------------------------------------------------------

    def change(self, node: Any) -> Change | None:
        """Return how an argument changed; None if it did not (or is no node)."""
        return self.changes.get(node) if isinstance(node, fx.Node) else None

    def window(self, node: fx.Node) -> Change:
        """Return the change of a node that is confined to a span; raise NeedsEverythingError if it is not."""
        change = self.change(node)
        if change is None or change.axis is None:
            raise NeedsEverythingError
        return change

    def unflattened_window(self, node: fx.Node) -> Change:
        """Return `window(node)` if the positions are an axis of the node itself (not flattened away)."""
        change = self.window(node)
        if change.inner != self.graph.shape[node]:
            raise NeedsEverythingError
        return change

    def length(self, node: fx.Node) -> int:
        """Return the number of positions of a confined node."""
        change = self.window(node)
        return change.inner[change.axis - 1]

    def reached(self, node: fx.Node, axis: int, lo: int, hi: int) -> tuple[int, int]:
        """Return the part of the positions that a change reaches which an output depends on; an empty span if none."""
        first, last = self._needed.get(node, (lo, hi)) if axis == LAST_AXIS else (lo, hi)
        return max(lo, first), max(min(hi, last), lo, first)

    def only_use(self, node: fx.Node) -> bool:
        """Whether one operation alone reads a node, so that the two can be computed as one."""
        return self._users.get(node, 0) == 1

    def is_floating(self, node: fx.Node) -> bool:
        """Whether a node and what changed of its arguments are floating-point numbers, which have differences."""
        nodes = [n for n in node.all_input_nodes if self.change(n) is not None] + [node]
        values = [n.meta.get("val") for n in nodes]
        return all(not isinstance(v, torch.Tensor) or v.is_floating_point() for v in values)

    def dtype(self, node: fx.Node) -> torch.dtype:
        """Return the dtype that a node has in this graph."""
        found = node.meta["val"].dtype
        return self.graph.dtype if found in self.graph.retyped else found

    def constant(self, node: Any) -> Any:
        """Return the value of a constant argument; raise NeedsEverythingError if it depends on an input."""
        if not isinstance(node, fx.Node):
            return node
        if self.graph.kind[node] != CONSTANT:
            raise NeedsEverythingError
        return self.graph.constant[node]

    def static(self, key: tuple, make: Callable[[], Any]) -> Any:
        """Return weights in the arrangement that a step wants, made once per graph."""
        if key not in self.statics:
            self.statics[key] = make()
        return self.statics[key]

    def base(
        self, node: fx.Node, lo: int | None = None, hi: int | None = None, *, transform="as it is", low=False
    ) -> Base:
        """Ask for background values of a node: on ``[lo, hi)`` of its positions, or whole."""
        change = self.changes.get(node)
        if lo is None or change is None or change.axis is None:
            base = Base(node, self.graph.shape[node], None, 0, 0, transform, low)
        else:
            base = Base(node, change.inner, change.axis, lo, hi, transform, low)
        self.bases.add(base)
        return base

    def base_at(self, node: fx.Node, axis: int, lo: int, hi: int) -> Base:
        """Ask for background values of an unchanged node on ``[lo, hi)`` of an axis."""
        base = Base(node, self.graph.shape[node], axis, lo, hi, "as it is", False)
        self.bases.add(base)
        return base

    def step(self, run: Callable, *inputs: Register, steals: int | None = None) -> Register:
        """Add a step; `steals` says which input it can overwrite."""
        out = self._register()
        self.steps.append(Step(run, inputs, out, steals))
        return out

    def count(self, flops: float = 0, elements: float = 0, *, fixed: float = 0) -> None:
        """Account for work and elements read or written per pair, and for weights read once per batch of pairs."""
        self.flops += int(flops)
        self.bytes += int(elements * self.low.itemsize)
        self.weights += int(fixed * self.low.itemsize)

    def elements(self, change: Change, width: int | None = None) -> int:
        """Return how many elements of a changed tensor one pair has on its span."""
        rest = math.prod(change.inner)
        if change.axis is None:
            return rest
        return rest // max(1, change.inner[change.axis - 1]) * (change.width if width is None else width)

    def delta(self, node: fx.Node) -> Register:
        """Return the difference from the background on the node's span."""
        return self._once(node, "delta", "value", self._to_delta)

    def value(self, node: fx.Node) -> Register:
        """Return the changed values on the node's span."""
        return self._once(node, "value", "delta", self._to_value)

    def delta_on(self, node: fx.Node, lo: int, hi: int) -> Register:
        """Return the difference on any span: 0 where nothing changed or where there are no positions."""
        change = self.changes[node]
        d = self.delta(node)
        if (lo, hi) == (change.lo, change.hi):
            return d
        axis, at, width = change.axis, change.lo, hi - lo
        first, last = max(lo, at), max(min(hi, change.hi), max(lo, at))
        if (lo, hi) == (first, last):
            return self.step(lambda s, d: d.narrow(axis, first - at, last - first), d)
        self.count(elements=2 * self.elements(change, width))

        def pad(s, d):
            shape = list(d.shape)
            shape[axis] = width
            out = zeros_like_layout(d, shape)
            out.narrow(axis, first - lo, last - first).copy_(d.narrow(axis, first - at, last - first))
            return out

        return self.step(pad, d)

    def value_on(self, node: fx.Node, lo: int, hi: int, fill: float = 0.0) -> Register:
        """Return changed values on any span: background around the change, `fill` where there are no positions."""
        change = self.changes[node]
        if (lo, hi) == (change.lo, change.hi):
            return self.value(node)
        v = self.value(node)
        axis, length = change.axis, change.inner[change.axis - 1]
        first, last = max(lo, change.lo), max(min(hi, change.hi), max(lo, change.lo))
        if (lo, hi) == (first, last):
            return self.step(lambda s, v: v.narrow(axis, first - change.lo, last - first), v)
        inside_lo, inside_hi = max(lo, 0), min(hi, length)
        base = self.base(node, inside_lo, inside_hi)
        self.count(elements=2 * self.elements(change, hi - lo))

        def surround(s, v):
            around = s.spread(base)
            if (inside_lo, inside_hi) != (lo, hi):
                shape = list(around.shape)
                shape[axis] = hi - lo
                wide = zeros_like_layout(around, shape, fill)
                wide.narrow(axis, inside_lo - lo, inside_hi - inside_lo).copy_(around)
                around = wide
            if last > first:
                around.narrow(axis, first - lo, last - first).copy_(v.narrow(axis, first - change.lo, last - first))
            return around

        return self.step(surround, v)

    def full(self, node: Any) -> Register | Any:
        """Return a whole argument for the batch of pairs: a register, or a plain value for what is no tensor of it."""
        if not isinstance(node, fx.Node):
            return node
        if self.graph.kind[node] == CONSTANT:
            return self.graph.constant[node]
        key = (node, "full")
        if key not in self._made:
            self._made[key] = self._make_full(node)
        return self._made[key]

    def change_by_rule(self, node: fx.Node) -> Change | None:
        """Return how a node changes by its operation's rule; raise NeedsEverythingError where it has to be whole."""
        graph, rule = self.graph, RULES.get(name_of(node))
        if rule is None or (node not in graph.shape and not _several(node)):
            raise NeedsEverythingError
        if any(n not in graph.shape for n in node.all_input_nodes if self.changes.get(n) is not None):
            if name_of(node) != "getitem":
                raise NeedsEverythingError
        if not rule.any_dtype and not self.is_floating(node):
            raise NeedsEverythingError
        if node in graph.cancelling and name_of(node) in SUMS - {"sum", "mean"}:
            raise NeedsEverythingError
        return rule.make(self, node)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _register(self) -> Register:
        self._registers += 1
        return Register(self._registers - 1)

    def _is_confined(self, node: fx.Node) -> bool:
        change = self.changes.get(node)
        return change is not None and change.axis is not None

    def _once(self, node: fx.Node, form: str, other: str, convert: Callable) -> Register:
        if (node, form) not in self._made:
            forms = self.changes[node].forms
            # A form that is there already is converted; else the operation makes the form that is asked for.
            if form in forms and ((node, other) not in self._made or node is self.graph.x):
                self._made[node, form] = forms[form]()
            else:
                self._made[node, form] = convert(node)
        return self._made[node, form]

    def _to_value(self, node: fx.Node) -> Register:
        change = self.changes[node]
        base = self.base(node, change.lo, change.hi)
        self.count(elements=3 * self.elements(change))
        return self.step(lambda s, d: (s.split(d) + s.bases[base]).flatten(0, 1), self.delta(node))

    def _to_delta(self, node: fx.Node) -> Register:
        change = self.changes[node]
        if node not in self.graph.shape:
            raise NeedsEverythingError
        base = self.base(node, change.lo, change.hi)
        low = self.low
        self.count(elements=3 * self.elements(change))
        return self.step(lambda s, v: (s.split(v) - s.bases[base]).flatten(0, 1).to(low), self.value(node))

    def _everything(self, node: fx.Node) -> Change:
        """Return the change of a node that is computed on whole sequences."""
        confined = any(self._is_confined(n) for n in node.all_input_nodes)

        def value() -> Register:
            if confined:
                self.whole.append(name_of(node))
            return self._call(node)

        return Change(None, 0, 0, self.graph.shape.get(node, ()), {"value": value})

    def _call(self, node: fx.Node) -> Register:
        """Run an operation as the model does, on whole tensors."""
        nodes = list(dict.fromkeys(n for n in node.all_input_nodes if self.graph.kind[n] != CONSTANT))
        given = [self.full(n) for n in nodes]
        graph = self.graph
        if node in graph.shape:
            self.count(elements=2 * math.prod(graph.shape[node]))
        return self.step(lambda s, *values: graph.call(node, dict(zip(nodes, values)).__getitem__), *given)

    def _make_full(self, node: fx.Node) -> Register:
        graph = self.graph
        if graph.kind[node] == SYMBOL:
            if name_of(node) == "sym_size":
                size = node.meta["val"]
                # The only free size of a tensor that is cached is the number of sequences.
                source = node.args[0]
                if source in graph.shape or source in (graph.x, *graph.args):
                    fixed = None if node.args[1] == 0 else int(size)
                    return self.step(lambda s: s.pairs if fixed is None else fixed)
            return self._call(node)
        change = self.changes[node]
        if change is None or (_several(node) and change.axis is not None):
            if node not in graph.shape:
                return self._call(node)
            base = self.base(node)
            return self.step(lambda s: s.spread(base))
        if change.axis is None:
            return self.value(node)
        shape = graph.shape[node]
        v = self.value_on(node, 0, change.inner[change.axis - 1])
        if shape == change.inner:
            return v
        return self.step(lambda s, v: v.reshape(-1, *shape), v)

    def _output(self, output: Any) -> tuple[str, Any, Any]:
        """Return (how, change, register) of an output: 'same', 'window' (difference) or 'whole' (values)."""
        if not isinstance(output, fx.Node) or self.graph.kind[output] == CONSTANT or self.changes[output] is None:
            return "same", None, None
        change = self.changes[output]
        if change.axis is not None and self.is_floating(output):
            return "window", change, self.delta(output)
        return "whole", change, self.full(output)

    def _finish(self) -> None:
        """Work out after which step each tensor is dropped."""
        kept = {register.index for _, _, register in self.outputs if register is not None}
        last = {register.index: i for i, step in enumerate(self.steps) for register in (step.out, *step.inputs)}
        for i, step in enumerate(self.steps):
            read = {register.index for register in (step.out, *step.inputs)}
            step.drop = tuple(index for index in read if last[index] == i and index not in kept)

    def run(self, state: State, delta: torch.Tensor) -> list[torch.Tensor | None]:
        """Run the steps on the difference of the sequences ``(pairs, 4, hi - lo)``; return the outputs' registers."""
        values: dict[int, Any] = {self.input.index: delta}
        fixed = self.graph.memory | {memory_of(t) for t in state.bases.values()}
        for step in self.steps:
            inputs = [values[r.index] for r in step.inputs]
            if step.steals is None:
                values[step.out.index] = step.run(state, *inputs)
            else:
                index = step.inputs[step.steals].index
                owned = not self.differentiable and index in step.drop and _is_alone(values, index, fixed)
                values[step.out.index] = step.run(state, *inputs, owned=owned)
            del inputs
            for index in step.drop:
                values.pop(index, None)
        return [None if register is None else values[register.index] for _, _, register in self.outputs]

    def prepare(
        self, cached: dict[fx.Node, torch.Tensor], rows: slice | torch.Tensor, firsts: dict[fx.Node, int] | None = None
    ) -> dict[Base, torch.Tensor]:
        """Cut what the steps read out of the cached backgrounds, for some of them (a slice, or one per pair).

        Of nodes in `firsts` only a span is cached, which begins at that position.
        """
        bases = {}
        for base in self.bases:
            t = cached[base.node]
            first = None if firsts is None else firsts.get(base.node)
            if first is None and base.inner != tuple(t.shape[1:]):
                t = t.view(-1, *base.inner)
            if base.axis is not None:
                t = t.narrow(base.axis, base.lo - (first or 0), base.hi - base.lo)
            t = channels_to_end(t)  # as it lies in memory
            t = t[rows] if isinstance(rows, slice) else t.index_select(0, rows)
            if base.transform != "as it is":
                t = TRANSFORMS[base.transform](t)
            if base.low:
                t = t.to(self.low)
            bases[base] = channels_back(t.contiguous())
        return bases


@contextmanager
def _recursion(frames: int) -> Iterator[None]:
    """Let Python call itself deeper by some frames: outputs ask backwards, through as many operations as there are."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def memory_of(t: torch.Tensor) -> int:
    """Return where the memory is that a tensor, or a view of it, lies in."""
    return t.untyped_storage().data_ptr()


def _is_alone(values: dict[int, Any], index: int, fixed: set[int]) -> bool:
    """Whether a value may be overwritten: no other value that is held, no background and no weight has its memory.

    Looked up in the tensors themselves: which operation returns a view depends on layouts, and a list has holes.
    """
    value = values[index]
    memory = memory_of(value)
    dense = value.is_contiguous() or channels_to_end(value).is_contiguous()  # no element of it is another one as well
    return (
        dense
        and memory not in fixed
        and all(memory != memory_of(t) for i, other in values.items() if i != index for t in _tensors_in(other))
    )


def _tensors_in(value: Any) -> Iterable[torch.Tensor]:
    """Return the tensors of what an operation returned: one, several or a number."""
    if isinstance(value, torch.Tensor):
        return (value,)
    return (t for v in value for t in _tensors_in(v)) if isinstance(value, list | tuple) else ()


def _several(node: fx.Node) -> bool:
    """Whether an operation returns several tensors, which getitem takes apart."""
    return isinstance(node.meta.get("val"), list | tuple)


def _sequence_users(graph: Graph) -> dict[fx.Node, int]:
    """Count the operations (and outputs) that read each node."""
    users: dict[fx.Node, int] = {}
    for node in graph.nodes:
        for used in node.all_input_nodes:
            if graph.kind[node] != SYMBOL:
                users[used] = users.get(used, 0) + 1
    for output in graph.outputs:
        if isinstance(output, fx.Node):
            users[output] = users.get(output, 0) + 1
    return users
