"""The incremental path: backgrounds once, with what edits need of them kept; then only what edits change."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx

from marginome.devices import is_out_of_memory, precision_context, send
from marginome.footprint import Live
from marginome.prediction import map_structure

from . import fused
from .capture import GROWING, SEQUENCE, Graph
from .changes import State
from .edits import Edits
from .grouping import Costs, Group, Holes, cheapest_groups
from .layout import channels_last
from .nodes import CannotCaptureError, name_of
from .pairs import Outputs, by_background, cut_out
from .plan import Plan
from .whole import FULL_BATCH, note

# Memory traffic of one batch of pairs, in bytes: a CPU's batch should stay in its cache, a GPU's should fill it.
BATCH_BYTES = {"cpu": 96e6, "cuda": 16e9}


class Machine(NamedTuple):
    """A rough machine for deciding what to compute together: only the ratios matter."""

    flops: float
    bytes_per_second: float
    seconds_per_step: float

    def seconds(self, plan: Plan) -> float:
        """Return what a plan takes per pair."""
        return plan.flops / self.flops + plan.bytes / self.bytes_per_second


# Seconds per step are those of Python and of launches, which a GPU waits for. They are as much as thousands of its
# pairs (on a core, two), so that there it pays to compute motifs of different widths on one span.
MACHINES = {"cpu": Machine(1e11, 2e10, 4e-5), "cuda": Machine(1e14, 3e12, 2e-4)}
# Widths of the holes that what they save is looked up at, and of the ends beside them.
HOLES, END = (16, 32, 64, 128, 256, 512, 1024), 12
# Plans that are kept; each holds little besides its list of steps. Making one takes seconds per step of it.
PLANS, PLANNING = 256, 6e-5


def middle(length: int, width: int) -> tuple[int, int]:
    """Return the span of a width in the middle of a sequence."""
    width = min(width, length)
    start = length // 2 - width // 2
    return start, start + width


def tensors(nested: Any) -> list[torch.Tensor]:
    """Return the tensors of a nested structure in order."""
    found: list[torch.Tensor] = []
    map_structure(found.append, nested)
    return found


class Span(NamedTuple):
    """Which part of a node's value is kept of each background.

    Attributes
    ----------
    inner : torch.Size
        The shape of one sequence's value that the axis is counted in.
    axis : int
        Of positions; the batch is axis 0.
    lo, hi : int
        From and to which position.
    """

    inner: tuple[int, ...]
    axis: int
    lo: int
    hi: int

    def cut(self, value: torch.Tensor) -> torch.Tensor:
        """Return a copy of this part of a node's value, which keeps no more in memory than it has."""
        value = value.reshape(-1, *self.inner) if tuple(value.shape[1:]) != self.inner else value
        return value.narrow(self.axis, self.lo, self.hi - self.lo).clone()


def joined(one: Span | None, other: Span | None) -> Span | None:
    """Return what has both of two parts of a node's value; None is all of it."""
    if one is None or other is None or (one.inner, one.axis) != (other.inner, other.axis):
        return None
    return one._replace(lo=min(one.lo, other.lo), hi=max(one.hi, other.hi))


class Incremental:
    """The incremental path: the backgrounds once, with what edits need of them kept; then only what edits change.

    Backgrounds are always run in the graph's own dtype without TF32; the precision is that of the changes.
    """

    differentiable = False  # whether plans are made to be differentiated (`marginome.attribution.edited`)

    def __init__(
        self,
        graph: Graph,
        X,
        args,
        device: torch.device,
        precision: str,
        memory_bytes: int,
        statics=None,
        kernels: bool = True,
        batch: int | None = None,
    ):
        self.graph, self.X, self.args = graph, X, args
        self.device, self.precision = device, precision
        self.low = torch.bfloat16 if precision == "bfloat16" else graph.dtype
        self.memory_bytes = memory_bytes
        self.notes: list[str] = []
        self.statics: dict = {} if statics is None else statics
        self.fused = kernels and not self.differentiable and fused.is_usable(device)
        self.batch = batch or FULL_BATCH[device.type]  # sequences that go through the whole model together
        self._plans: OrderedDict[tuple, Plan] = OrderedDict()
        self._cached: dict[fx.Node, torch.Tensor] = {}
        self._cached_rows = slice(0, 0)
        self._shrink = 1
        self._share: float | None = None  # of a plan's traffic, what is in memory at once
        # Asked before a plan is made: what speaks against plans of a width, with a hole or without, if anything does.
        self.verify: Callable[[int, bool], str] | None = None
        self.always_apart = False  # whether ends of edits are computed apart wherever there is a hole between them
        length = X.shape[-1]
        narrow, wide = self._samples = self.plan(*middle(length, 1)), self.plan(*middle(length, 33))
        self._machine = machine = MACHINES[device.type]
        per_bp = (machine.seconds(wide) - machine.seconds(narrow)) / max(1, min(33, length) - 1)
        per_pair = machine.seconds(narrow) - per_bp
        self._costs = Costs(
            per_pair=per_pair,
            per_bp=per_bp,
            per_batch=machine.seconds_per_step * (len(narrow.steps) + 1) + narrow.weights / machine.bytes_per_second,
            per_group=PLANNING * len(narrow.steps),
            pairs_at_a_time=BATCH_BYTES[device.type] / machine.bytes_per_second / max(1e-9, per_pair),
        )
        # Where a few positions can outweigh all others, so that sums cancel when one of them changes.
        self._growing = [
            n for n in graph.nodes if name_of(n) in GROWING and n in graph.shape and graph.kind[n] == SEQUENCE
        ]
        # What is kept of one background: whole values, so that edits may be anywhere. Where half of the memory has no
        # room for them, the spans that edits need, which are computed again for edits in other places.
        self._keep = self._needed([narrow, wide], spans=False)
        self._spans = self._size(self._keep) > memory_bytes // 2
        if self._spans:
            self._keep = self._needed([narrow, wide])
        self.bytes_per_background = max(1, self._size(self._keep))
        self.backgrounds_cached = 1 if self._spans else min(len(X), memory_bytes // 2 // self.bytes_per_background)
        self._before: list | None = None
        self._largest: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}  # by first background

    def plan(self, lo: int, hi: int, hole: tuple[int, int] | None = None) -> Plan:
        """Return the plan for edits inside a span, and outside of a hole in it, made once."""
        key = lo, hi, hole
        if key in self._plans:
            self._plans.move_to_end(key)
        else:
            reason = self.verify(hi - lo, hole is not None) if self.verify is not None else ""
            if reason and hole is not None:
                text = f"ends of inserts are not computed apart: {reason}, for edits of {hi - lo} bp with a hole"
                if text not in self.notes:
                    note(self.notes, text, self.device)
                return self.plan(lo, hi)
            if reason:
                raise CannotCaptureError(f"{reason}, for edits of {hi - lo} bp")
            self._plans[key] = Plan(
                self.graph, lo, hi, hole=hole, low=self.low, statics=self.statics, differentiable=self.differentiable,
                fused=self.fused,
            )  # fmt: skip
            if len(self._plans) > PLANS:
                self._plans.popitem(last=False)
        return self._plans[key]

    def forget_plans(self) -> None:
        """Drop all plans, and with them the weights that some hold rearranged for their span."""
        self._plans.clear()

    def saves(self) -> bool:
        """Whether any operation is computed on a span."""
        return bool(self.plan(*middle(self.X.shape[-1], 8)).confined)

    def first_operation(self) -> str:
        """Return the name of the first operation on the sequence."""
        found = (n for n in self.graph.nodes if self.graph.kind[n] == SEQUENCE and n is not self.graph.x)
        return next((name_of(n) for n in found), "none")

    def before(self) -> Any:
        """Return the outputs on the backgrounds; the first ones stay cached."""
        if self._before is None:
            parts = [
                self._cache(slice(i, min(i + self.backgrounds_cached, len(self.X))))
                for i in reversed(range(0, len(self.X), self.backgrounds_cached))
            ]
            parts.reverse()
            self._before = [None if values[0] is None else torch.cat(values) for values in zip(*parts)]
        return self.graph.nest(self._before)

    def strongest(self) -> tuple[int, float] | None:
        """Return the background with the most extreme activation, and where that is, as a fraction of the sequence.

        Of what grows exponentially in the model (`GROWING`), channel by channel, relative to the other backgrounds;
        None if there is nothing of the kind.
        """
        self.before()
        found = None
        for parts in zip(*(self._largest[start] for start in sorted(self._largest))):
            sizes, places = (torch.cat(part) for part in zip(*parts))
            ratios = (sizes.log() - sizes.log().median(0).values).nan_to_num(torch.inf, torch.inf, -torch.inf)
            row, channel = divmod(int(ratios.argmax()), ratios.shape[1])
            if found is None or ratios[row, channel] > found[0]:
                found = float(ratios[row, channel]), row, float(places[row, channel])
        return None if found is None else found[1:]

    def product(self, edits: Edits, backgrounds: slice) -> Any:
        """Return ``(m, b, ...)`` for every edit in every background of a slice (no more than are cached)."""
        self.before()
        m, b = len(edits.starts), backgrounds.stop - backgrounds.start
        out = Outputs(self.graph, self._before, (m, b), backgrounds)
        inserts = send(edits.one_hot, self.device)
        groups = self._groups(edits, b)
        plans = [self.plan(*group[1:]) for group in groups]
        self._measure_share([(plan, len(group.rows) * b) for group, plan in zip(groups, plans)])
        self._ensure(plans, backgrounds)
        tasks = []
        for (rows, lo, hi, _), plan in zip(groups, plans):
            cut = cut_out(inserts, edits.starts, rows, lo, hi)
            size = self._pairs_at_a_time(plan)
            per = self._edits_at_a_time(len(rows), size, plan)
            for b0 in range(backgrounds.start, backgrounds.stop, max(1, size // per)):
                some = slice(b0, min(b0 + max(1, size // per), backgrounds.stop))
                here = slice(some.start - backgrounds.start, some.stop - backgrounds.start)

                def task(plan=plan, cut=cut, old=self.X[some, :, lo:hi], some=some, per=per, rows=rows, here=here):
                    for part, y in self._run(plan, cut[:, None], old[None], some, per):
                        out.write(plan, (rows[part], here), y)

                tasks.append(task)
        self._each(tasks)
        return out.nest()

    def pairs(self, edits: Edits, index: torch.Tensor) -> Any:
        """Return ``(m, ...)`` for edit i in background ``index[i]``."""
        self.before()
        out = Outputs(self.graph, self._before, (len(index),), send(index, self.device))
        for tasks in self._tasks_of_pairs(edits, index, lambda plan, rows, y: out.write(plan, (rows,), y)):
            self._each(tasks)
        return out.nest()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _tasks_of_pairs(
        self, edits: Edits, index: torch.Tensor, write: Callable[[Plan, torch.Tensor, list], None]
    ) -> Iterator[list[Callable[[], None]]]:
        """Yield, for one part of the backgrounds after the other, tasks that compute pairs and `write` them.

        ``write(plan, rows, y)`` gets what a plan gives for the pairs `rows`, ``(edits, backgrounds)``.
        """
        inserts = send(edits.one_hot, self.device)
        for first in range(0, len(self.X), self.backgrounds_cached):
            block = slice(first, min(first + self.backgrounds_cached, len(self.X)))
            inside = ((index >= block.start) & (index < block.stop)).nonzero().flatten()
            if len(inside) == 0:
                continue
            groups = [group._replace(rows=inside[group.rows]) for group in self._groups(edits.take(inside), 1)]
            plans = [self.plan(*group[1:]) for group in groups]
            self._measure_share([(plan, len(group.rows)) for group, plan in zip(groups, plans)])
            self._ensure(plans, block)
            tasks = []
            for (rows, lo, hi, _), plan in zip(groups, plans):
                size = self._pairs_at_a_time(plan)
                for some, backgrounds in by_background(rows, index, size):
                    m, b = len(some) // len(backgrounds), len(backgrounds)
                    cut = cut_out(inserts, edits.starts, some, lo, hi).unflatten(0, (m, b))
                    old = self.X[send(backgrounds, self.device), :, lo:hi]
                    per, grid = max(1, size // b), some.view(m, b)

                    def task(plan=plan, cut=cut, old=old, of=backgrounds, per=per, grid=grid):
                        for part, y in self._run(plan, cut, old[None], of, per):
                            write(plan, grid[part], y)

                    tasks.append(task)
            yield tasks

    def _each(self, tasks: list[Callable[[], None]]) -> None:
        """Run independent tasks: on a CPU side by side, one thread each.

        The steps of a plan are too short to be worth dividing: threads would mostly wait for each other. It also makes
        the numbers independent of how many threads there are.
        """
        threads = torch.get_num_threads()
        with precision_context(self.precision, self.device, autocast=False):
            if self.device.type != "cpu" or threads == 1:
                for task in tasks:
                    task()
                return
            torch.set_num_threads(1)
            try:
                with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                    for future in [pool.submit(task) for task in tasks]:
                        future.result()
            finally:
                torch.set_num_threads(threads)

    @torch.no_grad()
    def _run(
        self, plan: Plan, inserts: torch.Tensor, old: torch.Tensor, backgrounds: slice | torch.Tensor, per: int
    ) -> Iterator[tuple[slice, list]]:
        """Run a plan on inserts ``(m, b or 1, 4, w)`` in backgrounds ``(1, b, 4, w)``, `per` rows at a time."""
        offset = self._cached_rows.start
        if isinstance(backgrounds, slice):
            within: slice | torch.Tensor = slice(backgrounds.start - offset, backgrounds.stop - offset)
        else:
            within = send(backgrounds - offset, self.device)
        bases = None
        start = 0
        while start < len(inserts):
            part = slice(start, min(start + per, len(inserts)))
            try:
                if bases is None:
                    bases = plan.prepare(
                        self._cached, within, {n: s.lo for n, s in self._keep.items() if s is not None}
                    )
                new = inserts[part]
                delta = torch.where((new != 0).any(2, keepdim=True), new - old, 0).to(self.low)
                state = State(len(delta), delta.shape[1], bases)
                y = self._compute(plan, state, channels_last(delta.flatten(0, 1)))
                yield part, [None if t is None else t.unflatten(0, (state.m, state.b)) for t in y]
                start = part.stop
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or per == 1:
                    raise
            per //= 2
            self._shrink *= 2
            note(self.notes, f"memory ran out: batches of pairs {self._shrink} times smaller from then on", self.device)

    def _compute(self, plan: Plan, state: State, delta: torch.Tensor) -> list[torch.Tensor | None]:
        """Return what is wanted of a batch of pairs: the outputs."""
        return plan.run(state, delta)

    def _pairs_at_a_time(self, plan: Plan) -> int:
        """Return how many pairs a batch has: from the plans alone, so that numbers do not depend on the load."""
        # Weights that are read once per batch want enough pairs to be worth it.
        floor = plan.weights / self._machine.bytes_per_second / max(1e-9, self._machine.seconds(plan))
        size = max(BATCH_BYTES[self.device.type] / max(1, plan.bytes), min(floor, 256), 1)
        room = self.memory_bytes / 4
        if size * plan.bytes > room:  # of what moves only a part is there at a time
            size = min(size, room / max(1.0, plan.bytes * (self._share or 1.0)))
        return max(1, int(size) // self._shrink)

    def _edits_at_a_time(self, edits: int, size: int, plan: Plan) -> int:
        """Return how many of a group's edits a batch of some `size` pairs has: half as many again for fewer batches."""
        more = size * 3 // 2
        if more * plan.bytes <= self.memory_bytes / 4 and self._shrink == 1:
            size = more
        return math.ceil(edits / math.ceil(edits / size))

    def _measure_share(self, plans: list[tuple[Plan, int]]) -> None:
        """Measure the share, where a quarter of the memory may be too small for so many pairs of some plan.

        Of narrow and wide edits in the middle of the first background, so that it does not matter when it is measured.
        """
        if self._share is not None or all(plan.bytes * pairs <= self.memory_bytes / 4 for plan, pairs in plans):
            return
        self._share = 1.0
        if self.differentiable or 2 * max(plan.bytes for plan in self._samples) > self.memory_bytes:
            return
        self._ensure(list(self._samples), slice(0, 1))
        shares = [self._share_of(plan) for plan in self._samples]
        if self._shrink == 1:  # else memory ran out meanwhile, and peaks are not of what was asked for
            self._share = min(1.0, max(shares))

    def _share_of(self, plan: Plan) -> float:
        """Measure on two pairs and on one: the difference is a pair's own, without weights and background values."""
        change, peaks = plan.changes[self.graph.x], []
        old = self.X[None, :1, :, change.lo : change.hi]
        for pairs in (1, 2):
            edits = old.roll(1, 2).expand(pairs, -1, -1, -1)
            with precision_context(self.precision, self.device, autocast=False), Live() as live:
                for _ in self._run(plan, edits, old, slice(0, 1), pairs):
                    pass
            peaks.append(live.peak)
        return max(1, peaks[1] - peaks[0]) / max(1, plan.bytes)

    def _groups(self, edits: Edits, backgrounds: int) -> list[Group]:
        """Put edits together on common spans: depends on the edits (and the model) only, never on timing."""
        spans, holes = edits.spans(), edits.holes()
        changing = spans[:, 1] > spans[:, 0]
        spans[~changing, 1] = spans[~changing, 0] + 1  # sets nothing, but has its row in the outputs
        length = self.X.shape[-1]
        spans.clamp_(max=length)
        spans[:, 0].clamp_(max=length - 1)
        costs = self._costs
        if self.always_apart:
            costs = costs._replace(holes=Holes(np.array([1]), np.array([1e9]), np.zeros(1), np.zeros(1)))
        elif costs.holes is None and not self.differentiable and (holes[:, 1] - holes[:, 0] >= HOLES[0]).any():
            self._costs = costs = costs._replace(holes=self._holes())
        return cheapest_groups(spans.numpy(), holes.numpy(), backgrounds, costs)

    def _holes(self) -> Holes:
        """Compare plans of spans in the middle, with a hole in them and without."""
        widths, saved, steps = [w for w in HOLES if w + 2 * END <= self.X.shape[-1]], [], []
        for width in widths:
            lo, hi = middle(self.X.shape[-1], width + 2 * END)
            made = [Plan(self.graph, lo, hi, hole=hole, low=self.low, statics=self.statics, fused=self.fused)
                    for hole in (None, (lo + END, hi - END))]  # fmt: skip
            seconds = [self._machine.seconds(plan) for plan in made]
            saved.append(seconds[0] - seconds[1])
            steps.append(len(made[1].steps) - len(made[0].steps))
        more = np.array(steps, dtype=float)
        return Holes(np.array(widths), np.array(saved), self._machine.seconds_per_step * more, PLANNING * more)

    def _ensure(self, plans: list[Plan], backgrounds: slice) -> None:
        """See to it that what plans read is cached for these backgrounds."""
        needed = self._needed(plans)
        here = self._cached_rows.start <= backgrounds.start and backgrounds.stop <= self._cached_rows.stop
        if here and all(n in self._cached and joined(s, self._keep[n]) == self._keep[n] for n, s in needed.items()):
            return
        # A span at an edge may need what one in the middle does not.
        more = self._keep | {n: joined(span, self._keep.get(n, span)) for n, span in needed.items()}
        self._keep = needed if self._spans and self._size(more) > self.memory_bytes // 2 else more
        first = backgrounds.start // self.backgrounds_cached * self.backgrounds_cached
        rows = slice(first, min(first + self.backgrounds_cached, len(self.X)))
        if backgrounds.stop > rows.stop:
            rows = backgrounds
        self._cache(rows)

    def _needed(self, plans: list[Plan], *, spans: bool | None = None) -> dict[fx.Node, Span | None]:
        """Return the nodes that plans read, and of each the span: all of it (None) for every node without `spans`."""
        found: dict[fx.Node, Span | None] = {}
        spans = self._spans if spans is None else spans
        for base in (base for plan in plans for base in plan.bases):
            some = spans and base.axis is not None and base.node not in self._growing
            span = Span(tuple(base.inner), base.axis, base.lo, base.hi) if some else None
            found[base.node] = joined(span, found.get(base.node, span))
        return found

    def _size(self, keep: dict[fx.Node, Span | None]) -> int:
        """Return the bytes that are kept of one background."""
        size = 0
        for node, span in keep.items():
            elements = math.prod(self.graph.shape[node])
            if span is not None:
                elements = elements // max(1, span.inner[span.axis - 1]) * (span.hi - span.lo)
            size += elements * self.graph.dtype.itemsize
        return size

    def _cache(self, rows: slice) -> list:
        """Run backgrounds through the graph, keep what edits need, and return the outputs."""
        self._cached = {}
        batch = self.batch
        pieces: dict[fx.Node, list[torch.Tensor]] = {node: [] for node in self._keep}
        whole = [node for node, span in self._keep.items() if span is None]
        cut = {node: span.cut for node, span in self._keep.items() if span is not None}
        outputs = []
        with precision_context("float32", self.device):
            for start in range(rows.start, rows.stop, batch):
                s = slice(start, min(start + batch, rows.stop))
                keep = [*whole, *self._growing] if self._before is None else whole
                args = tuple(a[s] for a in self.args)
                y, kept = self.graph.run(self.X[s].to(self.graph.dtype), args, keep, cut)
                outputs.append(y)
                if self._before is None and self._growing:
                    self._largest[start] = [_largest_of(kept[node]) for node in self._growing]
                for node in self._keep:
                    pieces[node].append(channels_last(kept[node]))
                del kept
        for node in list(pieces):
            # One node after the other, so that no more than one is there twice.
            self._cached[node] = channels_last(torch.cat(pieces.pop(node)))
        self._cached_rows = rows
        return [None if values[0] is None else torch.cat(values) for values in zip(*outputs)]


def _largest_of(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest size in each channel (n, channels), and where it is on the last axis, from 0 to 1; float64."""
    sizes = (
        value.abs().reshape(len(value), value.shape[1], -1)
        if value.ndim > 2
        else value.abs().reshape(len(value), 1, -1)
    )
    largest, at = sizes.nan_to_num(torch.inf, torch.inf).max(-1)
    return largest.double().clamp(min=1e-300).cpu(), (at.double() / max(1, sizes.shape[-1] - 1)).cpu()
