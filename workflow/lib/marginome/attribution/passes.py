"""The two passes of DeepLIFT: sequences, each once, then their references with multipliers in place of derivatives."""

from __future__ import annotations

import contextlib
import functools
import logging
from dataclasses import dataclass, field
from typing import Any

import torch

from marginome.attribution.attaching import attach_rules
from marginome.attribution.dependence import Unseen
from marginome.attribution.differentiating import differentiable, target_of
from marginome.attribution.kernels import Backward
from marginome.attribution.module_rules import ModuleRules
from marginome.attribution.pairs import RepeatSequence, make_pair
from marginome.attribution.recording import Recorder, named_modules_of
from marginome.prediction import run_model

log = logging.getLogger(__name__)


@dataclass
class OnSequence:
    """What a pass over sequences left: its calls and outputs; whether each sequence is there once per reference."""

    recorder: Recorder
    own: list
    output: torch.Tensor
    repeated: int


@dataclass
class Passes:
    """The two passes of a model, and what was learnt about it on the first batch."""

    model: torch.nn.Module
    dtype: torch.dtype
    autocast: torch.dtype | None
    device: torch.device
    target: int
    own: ModuleRules
    sizes: list[torch.Tensor] = field(default_factory=list)  # of outputs: what rounding is relative to
    operations: list | None = None  # in order, from the first pass
    unused: set[int] = field(default_factory=set)  # calls that the target does not need
    without_rule: list[str] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    unseen: dict[tuple[str, int], Unseen] = field(default_factory=dict)  # calls that autograd does not see all of
    repeat: bool = False  # run a sequence once per reference: its values cannot be matched otherwise
    copy: bool = False  # the model overwrites values that autograd needs for derivatives
    unchecked: list[tuple[torch.Tensor, str, int]] = field(default_factory=list)  # outputs that may be NaN

    def outputs_to_check(self) -> list[tuple[torch.Tensor, str, int]]:
        """Hand over the outputs that came since the last call: (output, what it is, number of its first sequence).

        Looking for NaN waits for a GPU, so it is done when the next passes are queued.
        """
        found, self.unchecked = self.unchecked, []
        return found

    def multipliers(
        self, x: torch.Tensor, r: torch.Tensor, args: list[torch.Tensor], on_sequence: OnSequence | None, first: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, OnSequence]:
        """Return multipliers (n, n_refs, 4, length), outputs (n, 1) and (n, n_refs), and the sequences' pass."""
        n, n_refs = r.shape[:2]
        while True:
            times = n_refs if self.repeat else 1
            if on_sequence is None or on_sequence.repeated != times:
                on_sequence = self.on_sequences(x, args, times, first)
            flat = r.flatten(0, 1).requires_grad_()
            recorder = Recorder(self.operations, self.unused, self.unseen)
            own, y = self.run(flat, [a.repeat_interleave(n_refs, dim=0) for a in args], recorder)
            self.unchecked.append(
                (y.detach().clone(), f"output on the references of sequences {first} to {first + n - 1}", 0)
            )
            groups = (n * n_refs, 1) if self.repeat else (n, n_refs)
            self.own.pair(on_sequence.own, own, n_refs // times)
            pair = functools.partial(make_pair, n=groups[0], n_refs=groups[1])
            relu_is_ruled = attach_rules(on_sequence.recorder, recorder, y, pair, self.notes)
            try:
                with differentiable(), Backward(relu_is_ruled):
                    (gradient,) = torch.autograd.grad(y.sum(), flat)
            except RepeatSequence as reason:
                log.info("each sequence is run once per reference: %s", reason)
                self.repeat, on_sequence = True, None
                continue
            except RuntimeError as error:
                if self.copy or "modified by an inplace operation" not in str(error):
                    raise
                log.info("what autograd keeps is copied, because the model overwrites it")
                self.copy = True
                continue
            yx = on_sequence.output.view(n, times)[:, :1]
            return gradient.unflatten(0, (n, n_refs)), yx, y.detach().view(n, n_refs), on_sequence

    def on_sequences(self, x: torch.Tensor, args: list[torch.Tensor], times: int, first: int) -> OnSequence:
        """Run the model on sequences, each `times` times; the first time, learn what it consists of."""
        x, args = x.repeat_interleave(times, dim=0), [a.repeat_interleave(times, dim=0) for a in args]
        learn = self.operations is None
        recorder = Recorder(self.operations, self.unused, self.unseen, trace=learn)
        with named_modules_of(self.model, recorder) if learn else contextlib.nullcontext():
            own, y = self.run(x.detach().requires_grad_(), args, recorder)
        self.unchecked.append((y.detach().clone(), "output", first))
        if learn:
            self.operations, self.unseen = recorder.operations, recorder.unseen
            self.unused = recorder.unused_by(y)
            self.without_rule = recorder.without_rule(y)
        recorder.forget_graph()
        return OnSequence(recorder, own, y.detach(), times)

    def run(self, X: torch.Tensor, args: list[torch.Tensor], recorder: Recorder) -> tuple[list, torch.Tensor]:
        """Run the model under a recorder; return the calls of modules with rules of their own and the target."""
        # A new autocast block for each pass: it keeps cast weights, and passes have to make the same calls.
        with (
            torch.autocast(self.device.type, self.autocast) if self.autocast else contextlib.nullcontext(),
            torch.autograd.graph.saved_tensors_hooks(torch.clone, _same) if self.copy else contextlib.nullcontext(),
            differentiable(),
        ):
            self.own.begin()
            with recorder:
                # A copy: models may change their input in place, which autograd allows of what was computed only.
                y = target_of(run_model(self._forward, X.clone(), args), self.target, len(X))
                recorder.finish()
        return self.own.end(), y

    def _forward(self, X: torch.Tensor, *args: torch.Tensor) -> Any:
        with differentiable():  # here, before it counts as a failure of the model's own
            return self.model(X, *args)


def _same(t: torch.Tensor) -> torch.Tensor:
    return t
