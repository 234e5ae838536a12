"""DeepLIFT of edited backgrounds with the backgrounds themselves as references, on what an edit changes only."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

from marginome.attribution.attaching import attach_rules
from marginome.attribution.deep_lift_shap import deep_lift_shap
from marginome.attribution.differentiating import target_of
from marginome.attribution.pairs import Call, Pair, RepeatSequence
from marginome.attribution.recording import Recorder
from marginome.devices import check_precision, precision_context, resolve_device
from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.incremental.architecture import captured
from marginome.incremental.capture import Graph
from marginome.incremental.changes import State
from marginome.incremental.confirm import EXACT, TOLERANCE
from marginome.incremental.edits import Edits
from marginome.incremental.engine import ENGINES, evaluating_copy, memory_to_keep_to
from marginome.incremental.layout import channels_last
from marginome.incremental.nodes import CannotCaptureError
from marginome.incremental.paths import Incremental
from marginome.incremental.plan import Plan
from marginome.incremental.selfcheck import sample_edits
from marginome.prediction import cast_argument, check_args, model_dtype
from marginome.sequences import random_one_hot, validate_one_hot

log = logging.getLogger(__name__)

DOUBTFUL = 16  # pairs that are compared when something has no rule


class EditAttributions(NamedTuple):
    """Attributions of edits, and how far they are from adding up.

    Attributes
    ----------
    attributions : torch.Tensor, shape (m, 4, w)
        On the columns that an edit sets. In others, all-zero ones of the edit among them, sequence and reference are
        the same: attributions are 0, and hypothetical ones are not computed (0 as well).
    deltas : torch.Tensor, shape (m,), float32
        Convergence deltas: absolute difference between the sum of the attributions and that of the outputs.
    """

    attributions: torch.Tensor
    deltas: torch.Tensor


class EditAttributor:
    """Attribute what edits do to a model's output, with the background of each edit as its reference.

    Outside the edit, sequence and reference are the same. The differences of all layers are then confined to the span
    that the edit reaches, and so are the multipliers that an attribution of the edit's own bases needs: both passes are
    run on that span, from the backgrounds' activations. What cannot be confined is computed on whole sequences. The
    multipliers are those of `deep_lift_shap`, by the same rules; on a sample the two are compared before use, and again
    where an edit shows an operation that has no rule.

    Parameters
    ----------
    model : torch.nn.Module
        Returns (n, targets), trailing axes of 1 allowed.
    X : torch.Tensor, shape (n, 4, length)
        One-hot backgrounds.
    args : sequence of torch.Tensor, optional
        The model's further inputs, n entries each: background i goes with entry i, edited or not.
    device : str or torch.device, default "cpu"
        Where to run.
    precision : str, default "float32"
        ``float32``, ``tf32``, ``bfloat16`` or ``float64``, as in `marginome.incremental.Engine`.
    engine : str, default "auto"
        ``full``: `deep_lift_shap` of every edited sequence. ``incremental``: an error if the model does not allow
        it. ``auto``: incremental where the model allows it.
    memory_bytes : int, optional
        To keep to, as in `marginome.incremental.Engine`.

    Attributes
    ----------
    reason : str
        Why every edited sequence goes through `deep_lift_shap`; empty if it does not.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        X: torch.Tensor,
        args: Sequence[torch.Tensor] | None = None,
        *,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        engine: str = "auto",
        memory_bytes: int | None = None,
    ):
        if engine not in ENGINES:
            raise unknown_name("engine", engine, ENGINES, where="engine")
        validate_one_hot(X, "X")
        self.device = resolve_device(device)
        self.precision, self.engine = check_precision(precision), engine
        self.model = evaluating_copy(model, self.device, precision)
        self.X, self.args = X, check_args(args, len(X))
        self.memory_bytes = memory_bytes or memory_to_keep_to(self.device)
        self.reason = "asked for" if engine == "full" else ""
        self._path: _Multipliers | None = None
        self._checked: set[int] = set()
        self._told: set[str] = set()
        if engine != "full":
            dtype = model_dtype(self.model)
            given = tuple(cast_argument(a, dtype, self.device) for a in self.args)
            here = X.to(self.device)
            try:
                graph = captured(self.model, here, given)
                self._path = _Multipliers(graph, here, given, self.device, self.precision, self.memory_bytes)
                if not self._path.saves():
                    raise CannotCaptureError("no operation on the sequence can be confined to a span")
            except CannotCaptureError as error:
                self._go_without(str(error))
            except Exception as error:  # whole sequences need nothing of what failed
                self._go_without(first_line(error))

    def __call__(
        self, edits: Edits, background_index: torch.Tensor, target: int = 0, *, hypothetical: bool = False
    ) -> EditAttributions:
        """Attribute edit i in background ``background_index[i]``.

        Parameters
        ----------
        edits : Edits
            m edits of up to w columns.
        background_index : torch.Tensor, shape (m,), int64
            The background of each, which is also its reference.
        target : int, default 0
            Which of the model's outputs.
        hypothetical : bool, default False
            Attributions of all four bases, as if each were there.

        Returns
        -------
        EditAttributions
            On the CPU, in the dtype of the model.
        """
        edits.check(self.X.shape[-1])
        if background_index.shape != edits.starts.shape:
            raise MarginomeError(
                f"expected one background per edit, found {tuple(background_index.shape)} for {len(edits.starts)}",
                where="background_index",
            )
        if self._path is not None and target not in self._checked:
            reason = self._check(target)
            self._checked.add(target)
            if reason:
                self._go_without(reason)
        if self._path is None:
            return self._whole(edits, background_index, target, hypothetical)
        before = _take_columns(self.X[background_index].cpu(), edits)
        found = _attributions(*self._path.multipliers(edits, background_index, target), edits, before, hypothetical)
        if self._path.named - self._told:
            log.warning("no DeepLIFT rule for %s: look at the deltas", ", ".join(sorted(self._path.named)))
            self._told |= self._path.named
            # A derivative is not the same on the edited sequence as on the background: compare where it was used most.
            most = found.deltas.topk(min(DOUBTFUL, len(found.deltas))).indices
            reason, _ = self._compare(edits.take(most), background_index[most], target)
            if reason:
                self._go_without(reason)
                return self._whole(edits, background_index, target, hypothetical)
        return found

    def _go_without(self, reason: str) -> None:
        self._path, self.reason = None, reason
        if self.engine == "incremental":
            raise MarginomeError(
                f"edits cannot be attributed incrementally: {reason}", where="engine", remedy="Use 'auto' or 'full'."
            )
        log.warning("every edited sequence is attributed as a whole, because %s", reason)

    def _whole(
        self, edits: Edits, index: torch.Tensor, target: int, hypothetical: bool, dtype: torch.dtype | None = None
    ) -> EditAttributions:
        """Attribute by `deep_lift_shap`."""
        references = self.X[index]
        if self.precision == "bfloat16" and dtype is None:
            dtype = torch.bfloat16
        found = deep_lift_shap(
            self.model, edits.apply(references), args=[a[index] for a in self.args], target=target,
            references=references.unsqueeze(1), hypothetical=hypothetical, return_deltas=True, device=self.device,
            dtype=dtype, allow_tf32=self.precision == "tf32", warning_threshold=torch.inf,
            memory_bytes=self.memory_bytes / 4,
        )  # fmt: skip
        set_ = (edits.one_hot != 0).any(1, keepdim=True)
        return EditAttributions(_take_columns(found.attributions, edits) * set_, found.deltas[:, 0])

    def _check(self, target: int) -> str:
        """Compare with `deep_lift_shap` at both ends and in the middle; return what speaks against the short way."""
        b, length = min(2, len(self.X)), self.X.shape[-1]
        narrow = sample_edits(length)
        # The last one is there for models that see little of a sequence: nothing is compared where nothing changes.
        for edits in (narrow, Edits.stack([random_one_hot((1, 4, length), random_state=0)[0]], [0])):
            m = len(edits.starts)
            pairs = edits.take(torch.arange(m).repeat_interleave(b)), torch.arange(b).repeat(m)
            reason, compared = self._compare(*pairs, target)
            if reason or compared:
                break
        return reason

    def _compare(self, edits: Edits, index: torch.Tensor, target: int) -> tuple[str, bool]:
        """Compare with `deep_lift_shap` in float64; return how they differ, and whether any attribution is not 0."""
        rows, at = index.cpu().unique(return_inverse=True)
        few, before = self.X[rows], _take_columns(self.X[index].cpu(), edits)
        path = self._path
        assert path is not None

        def attributions(graph: Graph, precision: str) -> torch.Tensor:
            here = rows.to(self.device)
            args = tuple(a[here].to(graph.dtype) if a.is_floating_point() else a[here] for a in path.args)
            small = _Multipliers(graph, few.to(self.device), args, self.device, precision, path.memory_bytes)
            return _attributions(*small.multipliers(edits, at, target), edits, before, True).attributions.double()

        try:
            truth = self._whole(edits, index, target, True, torch.float64).attributions
            exact = attributions(path.graph.to_dtype(torch.float64), "float32")
            run = attributions(path.graph, self.precision)
        except (CannotCaptureError, RepeatSequence) as error:
            return str(error), False
        except Exception as error:  # whatever it is, the check did not pass
            return first_line(error), False
        largest = float(truth.abs().max())
        wrong, error = (float((found - truth).abs().max()) / max(largest, 1e-300) for found in (exact, run))
        if not wrong <= EXACT:
            return f"it differs from deep_lift_shap by {wrong:.1e} of the largest attribution (float64)", True
        if not error <= TOLERANCE[self.precision]:
            return f"in {self.precision} it differs from float64 by {error:.1e} of the largest attribution", True
        log.info(
            "attributions of edits on what they change only; errors: %.1e (logic, float64), %.1e of the largest (%s)",
            wrong, error, self.precision,
        )  # fmt: skip
        return "", largest > 0


@dataclass
class _Before:
    """What the pass over the backgrounds of a batch left: its calls and outputs."""

    bases: dict
    recorder: Recorder
    y: torch.Tensor


class _Multipliers(Incremental):
    """The incremental path, differentiated: for pairs, the multipliers on the span of their edits."""

    differentiable = True
    _target = 0
    _before_pass: _Before | None = None

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._unseen: WeakKeyDictionary[Plan, dict] = WeakKeyDictionary()  # by plan
        self.named: set[str] = set()  # what has no rule

    def multipliers(self, edits: Edits, index: torch.Tensor, target: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return multipliers (m, 4, w) on the edits' own columns and the change of the output (m,), on the CPU."""
        self.before()
        self._target = target
        width = edits.one_hot.shape[-1]
        found = torch.zeros(len(index), 4, width, dtype=self.graph.dtype)
        change = torch.zeros(len(index), dtype=torch.float64)

        def write(plan: Plan, rows: torch.Tensor, values: list[Any]) -> None:
            spans, changes = values
            span = plan.changes[self.graph.x]
            rows = rows.flatten()
            places = (edits.starts[rows] - span.lo)[:, None] + torch.arange(width)
            inside = (places >= 0) & (places < span.width)
            at = places.clamp(0, span.width - 1)[:, None].expand(-1, 4, -1)
            found[rows] = spans.flatten(0, 1).cpu().gather(2, at) * inside[:, None]
            change[rows] = changes.flatten().double().cpu()

        with precision_context(self.precision, self.device, autocast=False):
            for tasks in self._tasks_of_pairs(edits, index, write):
                for task in tasks:
                    task()
        self._before_pass = None
        return found, change

    def _compute(self, plan: Plan, state: State, delta: torch.Tensor) -> list[torch.Tensor | None]:
        """Return the multipliers of a batch of pairs and the change of the target."""
        if plan.outputs[0][0] == "same":  # too close to an end of the sequence for the model to see it
            return [torch.zeros_like(delta), delta.new_zeros(state.pairs)]
        if self._before_pass is None or self._before_pass.bases is not state.bases:
            none = channels_last(delta.new_zeros(state.b, *delta.shape[1:]))
            recorder, y = self._record(plan, State(1, state.b, state.bases), none)
            recorder.forget_graph()
            self._before_pass = _Before(state.bases, recorder, y.detach())
        before = self._before_pass
        recorder, y = self._record(plan, state, delta)
        if recorder.operations != before.recorder.operations:
            raise CannotCaptureError("the steps cannot be differentiated")
        pair = functools.partial(pair_with_background, m=state.m, b=state.b)
        with torch.enable_grad():
            attach_rules(before.recorder, recorder, y, pair, self.named)
            (multipliers,) = torch.autograd.grad(y.sum(), delta)
        return [multipliers, y.detach() - before.y.repeat(state.m)]

    def _record(self, plan: Plan, state: State, delta: torch.Tensor) -> tuple[Recorder, torch.Tensor]:
        """Run a plan under a recorder; return it and the target of every pair."""
        if len(plan.outputs) != 1 or plan.outputs[0][0] != "whole":
            raise CannotCaptureError("the output is not one row of targets")
        with torch.enable_grad():
            delta.requires_grad_()
            unseen = self._unseen.get(plan)
            recorder = Recorder(unseen=unseen, trace=unseen is None)
            with recorder:
                (y,) = plan.run(state, delta)
                recorder.finish()
            assert y is not None
            if unseen is None:
                self._unseen[plan] = recorder.unseen
                self.named.update(recorder.without_rule(y))
                recorder.forget_trace()
            return recorder, target_of(y, self._target, state.pairs)


def pair_with_background(
    background: Call, edited: Call, grad_outputs: Sequence, grad_inputs: Sequence, *, m: int, b: int
) -> Pair:
    """Shape a call on ``m * b`` edited sequences and the same on the `b` backgrounds, so that the two broadcast.

    Backgrounds are fastest, and steps of a plan come with both axes, ``(m, b, ...)``, or with one, ``(m * b, ...)``.
    As everywhere in the rules x is the sequence, r the reference; the gradients are on the sequences here.
    """
    one_axis = False

    def match(x: Any, r: Any) -> tuple[Any, Any]:
        nonlocal one_axis
        if not isinstance(x, torch.Tensor) or x.shape == r.shape:
            return x, r
        if x.ndim == r.ndim and x.shape[1:] == r.shape[1:] and (len(x), len(r)) == (m * b, b):
            one_axis = True
            return x.unflatten(0, (m, b)), r.unsqueeze(0)
        if x.ndim == r.ndim and x.shape[1:] == r.shape[1:] and (len(x), len(r)) == (m, 1):
            return x, r
        raise RepeatSequence(f"{edited.name}: {tuple(x.shape)} edited, {tuple(r.shape)} before")

    def several(x: Any, r: Any) -> tuple[Any, Any]:
        if isinstance(x, tuple | list):
            both = [match(a, c) for a, c in zip(x, r)]
            return [a for a, _ in both], [c for _, c in both]
        return match(x, r)

    matched = [several(x, r) for x, r in zip(edited.args, background.args)]
    x_outputs, r_outputs = several(edited.outputs, background.outputs)
    rank = next(g for g in grad_inputs if g is not None).ndim

    def split(t: torch.Tensor | None) -> torch.Tensor | None:
        return t if t is None or not one_axis else t.unflatten(0, (m, b))

    return Pair(
        x=Call(edited.name, tuple(x for x, _ in matched), edited.kwargs, x_outputs),
        r=Call(background.name, tuple(r for _, r in matched), background.kwargs, r_outputs),
        grads=[split(g) for g in grad_outputs],
        plain=[split(g) for g in grad_inputs],
        rank=rank,
        by_differences=True,
    )


def _take_columns(t: torch.Tensor, edits: Edits) -> torch.Tensor:
    """Return what is under the edits' columns, (m, 4, w) of (m, 4, length); 0 where there are no positions."""
    length, width = t.shape[-1], edits.one_hot.shape[-1]
    places = edits.starts[:, None] + torch.arange(width)
    inside = (places >= 0) & (places < length)
    return t.gather(2, places.clamp(0, length - 1)[:, None].expand(-1, 4, -1)) * inside[:, None].to(t.dtype)


def _attributions(
    multipliers: torch.Tensor, change: torch.Tensor, edits: Edits, before: torch.Tensor, hypothetical: bool
) -> EditAttributions:
    """Return attributions and convergence deltas of multipliers; `before` are the bases under the edits' columns."""
    before = before.to(multipliers.dtype)
    set_ = (edits.one_hot != 0).any(1, keepdim=True)
    after = torch.where(set_, edits.one_hot.to(before.dtype), before)
    explained = ((after - before) * multipliers).sum(dim=(1, 2), dtype=torch.float64)
    attributions = (multipliers - (multipliers * before).sum(1, keepdim=True)) * set_
    if not hypothetical:
        attributions = attributions * after
    return EditAttributions(attributions, (change - explained).abs().float())
