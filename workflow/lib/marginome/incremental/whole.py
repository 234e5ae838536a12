"""The full pass: every edited sequence through the whole model."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

from marginome.devices import free_memory, is_out_of_memory, precision_context
from marginome.footprint import sequences_at_once
from marginome.prediction import map_structure, run_model

from .edits import Edits

log = logging.getLogger(__name__)

# Sequences at a time of a full pass: few stay in a CPU's cache, many fill a GPU.
FULL_BATCH = {"cpu": 32, "cuda": 512}


class Full:
    """The full pass: every edited sequence through the whole model."""

    def __init__(self, model, X, args, dtype, device, precision, memory_bytes: int):
        self.model, self.X, self.args, self.dtype = model, X, args, dtype
        self.device, self.precision = device, precision
        self.memory_bytes = memory_bytes
        self.backgrounds_cached = len(X)
        self.notes: list[str] = []

    def before(self) -> Any:
        """Return the outputs on the backgrounds."""
        return self._batches(len(self.X), lambda s: self.X[s], lambda s: s)

    def product(self, edits: Edits, backgrounds: slice) -> Any:
        """Return ``(m, b, ...)`` for every edit in every background of a slice."""
        index = torch.arange(backgrounds.start, backgrounds.stop)
        m, b = len(edits.starts), len(index)
        each = edits.take(torch.arange(m).repeat_interleave(b))
        return map_structure(lambda y: y.unflatten(0, (m, b)), self.pairs(each, index.repeat(m)))

    def pairs(self, edits: Edits, index: torch.Tensor) -> Any:
        """Return ``(m, ...)`` for edit i in background ``index[i]``."""
        index = index.to(self.X.device)
        return self._batches(len(index), lambda s: edits.take(s).apply(self.X[index[s]]), lambda s: index[s])

    def run(self, X: torch.Tensor, args: tuple[torch.Tensor, ...]) -> Any:
        """Run the model on one batch, on copies: a model may write into what it is given."""
        with precision_context(self.precision, self.device):
            return run_model(self.model, X.to(self.dtype, copy=True), [a.clone() for a in args])

    @functools.cached_property
    def batch(self) -> int:
        """Sequences at a time: a quarter of the memory is for their activations."""
        most = FULL_BATCH[self.device.type]
        return sequences_at_once(self.run, self.X, self.args, memory_bytes=self.memory_bytes / 4, most=most)

    def _batches(self, n: int, sequences: Callable, rows: Callable) -> Any:
        """Run the model over n sequences in batches and concatenate what it returns."""
        parts = []
        start = 0
        while start < n:
            s = slice(start, min(start + self.batch, n))
            try:
                parts.append(self.run(sequences(s), tuple(a[rows(s)] for a in self.args)))
                start = s.stop
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.batch == 1:
                    raise
            self.batch //= 2
            note(self.notes, f"memory ran out: {self.batch} sequences at a time from then on", self.device)
        return map_structure(lambda *t: torch.cat(t), parts[0], *parts[1:])


def note(notes: list[str], text: str, device: torch.device) -> None:
    """Log what is done otherwise than planned, keep it for the records, and give unused memory back."""
    log.warning(text)
    notes.append(text)
    free_memory(device)
