"""The engine: a model on many edits of the same backgrounds, in bounded memory, incremental where it can be."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from marginome.devices import available_memory, check_precision, peak_memory, precision_context, resolve_device
from marginome.errors import MarginomeError, unknown_name
from marginome.prediction import cast_argument, check_args, map_structure, model_dtype
from marginome.sequences import validate_one_hot

from .edits import Edits

log = logging.getLogger(__name__)

ENGINES = ("auto", "incremental", "full")
# Sequences at a time of a full pass: few stay in a CPU's cache, many fill a GPU.
FULL_BATCH = {"cpu": 32, "cuda": 512}
# Edits that are computed together. What an edit's numbers may depend on, in the last digits, is its block.
EDIT_BLOCK = {"cpu": 64, "cuda": 64}


@dataclass
class EngineInfo:
    """How the numbers of an engine were made; goes into logs and the metadata of results.

    Attributes
    ----------
    path : str
        ``"incremental"`` or ``"full"``.
    reason : str
        Why the full pass is used; empty for the incremental path.
    device, precision : str
        Where and in which precision edits are computed.
    block : int
        Edits that are computed together.
    full_operations : tuple of str
        Operations of the model that are computed on whole sequences although only a part of their input changed.
    check_error : float or None
        Largest difference between incremental and full pass in float64 over the self-check's sample of pairs,
        relative to the largest effect in it; None if no such check was made.
    precision_error : float or None
        Largest difference from the full pass in float64 over the same sample, relative to the largest output.
    effect_error : float or None
        The same difference of effects (after minus before), relative to the largest effect.
    peak_bytes : int
        Peak memory so far: of the GPU, or resident in this process.
    """

    path: str
    reason: str
    device: str
    precision: str
    block: int
    full_operations: tuple[str, ...] = ()
    check_error: float | None = None
    precision_error: float | None = None
    effect_error: float | None = None
    peak_bytes: int = 0
    notes: list[str] = field(default_factory=list)


class Engine:
    """Run a model on edits of fixed backgrounds.

    Parameters
    ----------
    model : torch.nn.Module
        ``model(X, *args)`` returns a tensor or a nesting of list, tuple and dict of tensors with the sequences on
        axis 0. It is left as it is (a copy is run if it is on another device or in training mode).
    X : torch.Tensor, shape (n, 4, length)
        One-hot backgrounds, any dtype; int8 is the smallest.
    args : sequence of torch.Tensor, optional
        The model's further inputs, n entries each: background i goes with entry i, edited or not.
    device : str or torch.device, default "cpu"
        Where to run.
    precision : str, default "float32"
        ``float32`` (the weights' dtype, TF32 off), ``tf32`` or ``bfloat16``.
    engine : str, default "auto"
        ``full``: every edited sequence goes through the whole model. ``incremental``: only what an edit changes is
        computed; an error if the model does not allow it. ``auto``: incremental where the model allows it.
    memory_bytes : int, optional
        Memory to keep to for cached backgrounds and outputs; half of what is free by default.
    block : int, optional
        Edits that are computed together. An edit's numbers depend on the edits of its own block only (and that in
        the last digits), and blocks are counted from the first edit given to `run`.
    self_check : bool, default True
        Compare the incremental path with the full pass on a sample of pairs before it is used, and measure the
        precision.

    Attributes
    ----------
    before : nested tensors
        Outputs on the backgrounds, as the model nests them, on the device; computed once.
    info : EngineInfo
        Which path runs and why, and the measured errors.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        X: torch.Tensor,
        args: Sequence[torch.Tensor] = (),
        *,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        engine: str = "auto",
        memory_bytes: int | None = None,
        block: int | None = None,
        self_check: bool = True,
    ):
        if engine not in ENGINES:
            raise unknown_name("engine", engine, ENGINES, where="engine")
        validate_one_hot(X, "X")
        self.device = resolve_device(device)
        self.precision = check_precision(precision)
        self.memory_bytes = memory_bytes or available_memory(self.device) // 2
        self.block = block or EDIT_BLOCK[self.device.type]
        self.model = _evaluating_copy(model, self.device)
        self.dtype = model_dtype(self.model)
        self.X = X.to(self.device)
        self.args = tuple(cast_argument(a, self.dtype, self.device) for a in check_args(args, len(X)))
        self._info = EngineInfo("full", "", str(self.device), precision, self.block)
        self._path = _Full(self)
        self._info.reason = "asked for" if engine == "full" else "the incremental path is not written yet"
        self.before = self._path.before()

    @property
    def info(self) -> EngineInfo:
        """How the numbers are made, with the peak memory up to now."""
        self._info.peak_bytes = peak_memory(self.device)
        return self._info

    def run(self, edits: Edits, *, backgrounds: slice | None = None) -> Iterator[tuple[slice, slice, Any]]:
        """Make every edit in every background.

        Parameters
        ----------
        edits : Edits
            m edits, of any widths and starts.
        backgrounds : slice, optional
            Consecutive backgrounds to use; all by default.

        Yields
        ------
        edit_slice, background_slice : slice
            Which part this is; every pair comes exactly once, in an order that may change between versions.
        outputs : nested tensors
            As the model nests them, ``(m_part, b_part, ...)``, on the device.
        """
        edits.check(self.X.shape[-1])
        first, last, _ = (backgrounds or slice(None)).indices(len(self.X))
        for e in range(0, len(edits.one_hot), self.block):
            part = slice(e, min(e + self.block, len(edits.one_hot)))
            for b in range(first, last, self._backgrounds_at_a_time):
                some = slice(b, min(b + self._backgrounds_at_a_time, last))
                yield part, some, self._path.product(edits.take(part), some)

    def pairs(self, edits: Edits, background_index: torch.Tensor) -> Any:
        """Make edit i in background ``background_index[i]`` and return the nested outputs ``(m, ...)``."""
        edits.check(self.X.shape[-1])
        if background_index.shape != edits.starts.shape:
            raise MarginomeError(
                f"expected one background per edit, found {tuple(background_index.shape)} for {len(edits.starts)}",
                where="background_index",
            )
        return self._path.pairs(edits, background_index)

    @property
    def _backgrounds_at_a_time(self) -> int:
        """Backgrounds per part, so that a part's outputs stay within an eighth of the memory."""
        one = sum(t[0].numel() * t.element_size() for t in tensors(self.before))
        return max(1, min(len(self.X), self.memory_bytes // 8 // max(1, one * self.block)))


def _evaluating_copy(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Return the model on the device in evaluation mode: itself if it is, else a copy, so that the caller's stays."""
    if not isinstance(model, torch.nn.Module):
        raise MarginomeError(f"expected a torch.nn.Module, found {type(model).__name__}", where="model")
    tensors_ = [*model.parameters(), *model.buffers()]
    if any(m.training for m in model.modules()) or any(t.device != device for t in tensors_):
        return copy.deepcopy(model).to(device).eval()
    return model


def tensors(nested: Any) -> list[torch.Tensor]:
    """Return the tensors of a nested structure in order."""
    found: list[torch.Tensor] = []
    map_structure(found.append, nested)
    return found


class _Full:
    """The full pass: every edited sequence through the whole model."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.batch = FULL_BATCH[engine.device.type]

    def before(self) -> Any:
        e = self.engine
        return self._batches(len(e.X), lambda s: e.X[s], lambda s: s)

    def product(self, edits: Edits, backgrounds: slice) -> Any:
        """Return ``(m, b, ...)`` for every edit in every background of a slice."""
        index = torch.arange(backgrounds.start, backgrounds.stop)
        m, b = len(edits.starts), len(index)
        each = edits.take(torch.arange(m).repeat_interleave(b))
        return map_structure(lambda y: y.unflatten(0, (m, b)), self.pairs(each, index.repeat(m)))

    def pairs(self, edits: Edits, index: torch.Tensor) -> Any:
        X = self.engine.X
        index = index.to(X.device)
        return self._batches(len(index), lambda s: edits.take(s).apply(X[index[s]]), lambda s: index[s])

    def _batches(self, n: int, sequences, rows) -> Any:
        """Run the model over n sequences in batches and concatenate what it returns."""
        e = self.engine
        parts = []
        with precision_context(e.precision, e.device):
            for start in range(0, n, self.batch):
                s = slice(start, min(start + self.batch, n))
                parts.append(e.model(sequences(s).to(e.dtype), *(a[rows(s)] for a in e.args)))
        return map_structure(lambda *t: torch.cat(t), parts[0], *parts[1:])
