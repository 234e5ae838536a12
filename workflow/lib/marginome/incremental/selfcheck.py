"""Is the incremental path right, and how precise is it? Asked of every model, and of every width, before it is used."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from marginome.batches import largest
from marginome.sequences import random_one_hot

from .capture import Graph
from .confirm import EXACT, difference, effect_sizes, tolerance_of
from .double import FewOutputs
from .edits import Edits
from .paths import END, Incremental, tensors
from .whole import Full

__all__ = ["Checked", "SelfCheck", "sample_edits"]

# Largest error of an effect relative to the largest effect, where the full pass in the same precision does better.
EFFECT_TOLERANCE = {"float32": 1e-2, "tf32": 5e-2, "bfloat16": 2e-1, "float64": 1e-6}
# Widths up to the first are checked at once, those up to each further one when the first such plan is made.
WIDTHS = (16, 64, 256, 1024, 4096, 16384, 65536)
# Backgrounds in the sample, and spans that are tried for the one that matters most to a background.
ROWS, SPANS = 2, 6


class Checked(NamedTuple):
    """What a comparison found.

    Attributes
    ----------
    check_error : float
        Incremental against full pass of the same graph, both in float64, relative to the largest effect: whether the
        rules are right.
    precision_error, effect_error : float
        The path as it will run against the full pass in float64: relative to the largest output, and, for the
        effect, to the largest effect.
    reason : str
        Why the path must not be used; empty if it may.
    """

    check_error: float
    precision_error: float
    effect_error: float
    reason: str


class SelfCheck:
    """Comparisons of the incremental path with the full pass, on the most extreme backgrounds.

    Those with the highest and the lowest outputs, and that with the most extreme activation where something grows
    exponentially. Edits lie at both ends, in the middle, where they change the outputs of a background most, and where
    that activation is: where a strong site is destroyed, sums of exponentials cancel, and the outputs need not show it.

    Parameters
    ----------
    full, path
        The two paths on the same backgrounds.
    """

    def __init__(self, full: Full, path: Incremental):
        self.full, self.path = full, path
        rows = extreme_backgrounds(path.before(), len(path.X))
        strongest = path.strongest()
        if strongest is not None and strongest[0] not in rows:
            rows.append(strongest[0])
        self.rows = torch.tensor(rows)
        self._site = None if strongest is None else round(strongest[1] * (path.X.shape[-1] - 1))
        here = self.rows.to(path.device)
        self.X, self.args = path.X[here], tuple(a[here] for a in path.args)
        self.length = self.X.shape[-1]
        self.memory = path.memory_bytes // 4
        self._batch = max(1, path.batch // 2)  # sequences at a time in float64
        self._verified: dict[tuple[int, bool], str] = {}
        self._places: list[int] | None = None

    def first(self) -> Checked:
        """Check the model, and narrow edits."""
        width = min(WIDTHS[0], self.length)
        narrow = sample_edits(self.length)
        found = self._compare(self._edits(width, list(narrow.one_hot), narrow.starts.tolist()), with_model=True)
        self._verified[width, False] = found.reason
        return found

    def of_width(self, width: int, with_hole: bool) -> str:
        """Return what speaks against plans of a width; the first time that one so wide is asked for, it is tried.

        Of plans whose ends are computed apart, with edits that set nothing between bases at their ends.
        """
        width = min(next((w for w in WIDTHS if w >= width), self.length), self.length)
        if (width, with_hole) not in self._verified:
            starts = [0, self.length - width, (self.length - width) // 2]
            inserts = list(random_one_hot((len(starts), 4, width), random_state=width))
            edits = self._edits(width, inserts, starts)
            if with_hole:
                end = min(END, width // 3)  # narrow edits have a hole too, or nothing would be tried
                edits.one_hot[:, :, end : width - end] = 0
            self._verified[width, with_hole] = self._compare(edits, with_model=False, apart=with_hole).reason
        return self._verified[width, with_hole]

    def _edits(self, width: int, inserts: list[torch.Tensor], starts: list[int]) -> Edits:
        """Add edits of a width where it matters, and one that sets nothing."""
        places = [max(0, min(place - width // 2, self.length - width)) for place in self._matters()]
        more = list(random_one_hot((len(places), 4, width), random_state=0))
        return Edits.stack([*inserts, *more, torch.zeros(4, 1, dtype=torch.int8)], [*starts, *places, 0])

    def _matters(self) -> list[int]:
        """Return the position in each background where an edit changes the outputs most."""
        if self._places is None:
            width = max(1, self.length // SPANS)
            starts = sorted({round(i * (self.length - width) / (SPANS - 1)) for i in range(SPANS)})
            edits = Edits.stack(list(random_one_hot((len(starts), 4, width), random_state=7)), starts)
            few = self._few(self.path.graph, self.args, self.path.precision)
            found = torch.zeros(len(starts), len(self.X))
            for a, b in zip(self._products(few, edits), tensors(few.before())):
                if a.numel():
                    sizes = effect_sizes(a, lambda i, j, b=b: b, 2).view(len(starts), -1).cpu().double()
                    sizes = sizes.nan_to_num(torch.inf, torch.inf)
                    scale = largest(sizes)
                    found = torch.maximum(found, (sizes / scale if scale > 0 else sizes).float())
            site = set() if self._site is None else {self._site}
            self._places = sorted({starts[i] + width // 2 for i in found.argmax(0).tolist()} | site)
        return self._places

    def _few(self, graph: Graph, args: tuple[torch.Tensor, ...], precision: str, *, apart: bool = False) -> Incremental:
        """Return a path on the sample alone, with rearranged weights of its own, which go with it."""
        few = Incremental(graph, self.X, args, self.path.device, precision, self.memory, batch=self._batch)
        few.always_apart = apart
        return few

    def _products(self, path: Incremental, edits: Edits) -> list[torch.Tensor]:
        """Return outputs ``(m, b, ...)``, one edit at a time: none shares a plan with another, or is held with it."""
        outputs = []
        for i in range(len(edits.starts)):
            outputs.append(tensors(path.product(edits.take(slice(i, i + 1)), slice(0, len(self.X)))))
            path.forget_plans()
        return [torch.cat(parts) for parts in zip(*outputs)]

    @torch.no_grad()
    def _compare(self, edits: Edits, *, with_model: bool, apart: bool = False) -> Checked:
        """Compare both paths on edits, the last of which sets nothing; the model itself where wanted.

        `apart`: of edits with a hole, the ends are computed apart, whether or not that is worth it.
        """
        double = self.path.graph.to_dtype(torch.float64)
        args64 = tuple(a.double() if a.is_floating_point() else a for a in self.args)
        m, b, n = len(edits.starts), len(self.X), self._batch
        given = [(i, tuple(a[i : i + n] for a in args64)) for i in range(0, b, n)]
        edited = (edits.take(torch.full((b,), i)).apply(self.X).double() for i in range(m))
        runs = []
        few = self._few(double, args64, "float32", apart=apart)
        # Of the full pass and the backgrounds alone: what an edit changes is computed by convolutions of its own.
        with FewOutputs():
            for x in edited:
                pieces = [tensors(double.nest(double.run(x[i : i + n], some)[0])) for i, some in given]
                runs.append([torch.cat(parts) for parts in zip(*pieces)])
            few.before()
        truth = [torch.stack(parts) for parts in zip(*runs)]
        effects = [t - t[-1:] if _has_difference(t) else t for t in truth]
        # An effect that is itself rounding is no scale.
        scales = [max(largest(e), 1e-6 * largest(t)) for e, t in zip(effects, truth)]
        wrong = difference(self._products(few, edits), truth, scales)
        if not wrong <= EXACT:
            reason = f"it differs from the full pass by {wrong:.1e} of the largest effect (float64)"
            return Checked(wrong, math.nan, math.nan, reason)
        precision = self.path.precision
        after = self._products(self._few(self.path.graph, self.args, precision, apart=apart), edits)
        error = difference(after, truth)
        effect_error = difference(_changes(after), effects, scales)
        tolerance = tolerance_of(precision, self.path.graph.dtype)
        reason = ""
        if not error <= tolerance:
            reason = f"in {precision} it differs from float64 by {error:.1e} of the largest output"
        elif with_model or not effect_error <= EFFECT_TOLERANCE[precision]:
            pairs = edits.take(torch.arange(m).repeat_interleave(b)), self.rows.repeat(m)
            model = [t.unflatten(0, (m, b)) for t in tensors(self.full.pairs(*pairs))]
            captured = difference(model, truth)
            theirs = difference(_changes(model), effects, scales)
            if not captured <= tolerance_of(precision, self.full.dtype):
                reason = f"the captured graph differs from the model by {captured:.1e} of the largest output"
            elif not effect_error <= max(EFFECT_TOLERANCE[precision], theirs):
                reason = (
                    f"in {precision} its effects are off by {effect_error:.1e} of the largest (float64), those of the "
                    f"full pass by {theirs:.1e}"
                )
        return Checked(wrong, error, effect_error, reason)


def extreme_backgrounds(before: Any, n: int) -> list[int]:
    """Return the backgrounds with the highest and the lowest outputs, of up to n."""
    high, low = [], []
    for t in tensors(before):
        if t.is_floating_point() and t.numel():
            flat = t.reshape(len(t), -1)
            high.append(flat.amax(1).cpu().double())
            low.append(-flat.amin(1).cpu().double())
    chosen: dict[int, None] = {}
    for columns in (high, low):
        if columns:
            table = torch.stack(columns, 1).nan_to_num(1e30, 1e30, -1e30)
            spread = table.std(0, correction=0)
            table = (table - table.mean(0)) / torch.where(spread > 0, spread, 1)
            order = table.amax(1).argsort(descending=True).tolist()
            chosen[next((i for i in order if i not in chosen), order[0])] = None
    for i in range(min(n, ROWS)):
        if len(chosen) < min(n, ROWS):
            chosen[i] = None
    return list(chosen)


def sample_edits(length: int) -> Edits:
    """Return edits at both ends and in the middle, of several widths."""
    widths = [min(w, length) for w in (1, 7, 12)]
    starts = [0, length - widths[1], length // 2 - widths[2] // 2]
    inserts = [random_one_hot((1, 4, w), random_state=i)[0] for i, w in enumerate(widths)]
    return Edits.stack(inserts, starts)


def _has_difference(t: torch.Tensor) -> bool:
    return t.is_floating_point() or t.is_complex()


def _changes(outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return differences from the last row, in float64, of what has any."""
    return [
        (t.to(torch.complex128) if t.is_complex() else t.double()) - t[-1:] if _has_difference(t) else t
        for t in outputs
    ]
