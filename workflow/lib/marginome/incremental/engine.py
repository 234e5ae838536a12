"""The engine: a model on many edits of the same backgrounds, in bounded memory, incremental where it can be."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from marginome.batches import check_batches
from marginome.devices import (
    available_memory,
    check_precision,
    device_name,
    is_out_of_memory,
    peak_memory,
    resolve_device,
    send,
)
from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.prediction import cast_argument, check_args, model_dtype
from marginome.seeds import stable_seed
from marginome.sequences import refuse_meta, validate_one_hot

from .architecture import captured
from .confirm import ROUGH, confirm, tolerance_of
from .edits import Edits
from .nodes import CannotCaptureError
from .paths import Incremental, middle, tensors
from .selfcheck import SelfCheck
from .whole import Full

log = logging.getLogger(__name__)

ENGINES = ("auto", "incremental", "full")
# Edits that are computed together. What an edit's numbers may depend on, in the last digits, is its block.
# On a GPU more: confirming a unit takes 4 ms of waiting, as long as 1,000 to 4,000 pairs (docs/engine.md).
EDIT_BLOCK = {"cpu": 64, "cuda": 256}
# Bytes to keep to where the caller names none. A constant, not what happens to be free: how backgrounds are divided
# decides the last digits. Only where less than twice as much is free, half of that is used.
MEMORY = {"cpu": 4 * 2**30, "cuda": 24 * 2**30}


@dataclass
class EngineInfo:
    """How the numbers of an engine were made; goes into logs and the metadata of results.

    Attributes
    ----------
    path : str
        ``"incremental"`` or ``"full"``.
    reason : str
        Why the full pass is used; empty for the incremental path.
    device, device_name, precision : str
        Where, on which card and in which precision edits are computed.
    block : int
        Edits that are computed together.
    full_operations : tuple of str
        Operations of the model that are computed on whole sequences although only a part of their input changed.
    kernels : str
        What computes convolutions of changes: ``"triton"`` for our own kernel, ``"torch"`` for PyTorch's operations.
    check_error : float or None
        Largest difference between incremental and full pass in float64 over the self-check's sample of pairs,
        relative to the largest effect in it; None if no such check was made.
    precision_error : float or None
        Largest difference from the full pass in float64 over the same sample, relative to the largest output.
    effect_error : float or None
        The same difference of effects (after minus before), relative to the largest effect.
    peak_bytes : int
        Peak memory so far: of the GPU, or resident in this process.
    units, full_units : int
        Units of work so far (a block of edits in a part of the backgrounds, or a call of `Engine.pairs`), and how many
        of them went through the whole model, because a pair of theirs was not confirmed or they could not be planned.
    confirmed_pairs : int
        Pairs that were computed in both ways, incrementally and by the whole model.
    confirmed_error : float
        Largest difference of an accepted unit's, relative to the largest output.
    notes : list of str
        What else there is to say: why units went through the whole model, memory that ran out.
    """

    path: str
    reason: str
    device: str
    device_name: str
    precision: str
    block: int
    full_operations: tuple[str, ...] = ()
    kernels: str = "torch"
    check_error: float | None = None
    precision_error: float | None = None
    effect_error: float | None = None
    peak_bytes: int = 0
    units: int = 0
    full_units: int = 0
    confirmed_pairs: int = 0
    confirmed_error: float = 0.0
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
        ``float32`` (the weights' dtype, TF32 off; what an edit changes is computed in 32 bits and returned so where
        weights have 16), ``tf32``, ``bfloat16``, or ``float64`` (a copy of the model in
        float64 where its weights are not).
    engine : str, default "auto"
        ``full``: every edited sequence goes through the whole model. ``incremental``: only what an edit changes is
        computed; an error if the model does not allow it. ``auto``: incremental where the model allows it.
    memory_bytes : int, optional
        Memory to keep to for cached backgrounds and outputs, besides the model: 4 GiB on a CPU and 24 GiB on a GPU by
        default, or half of what is free if that is less.
    block : int, optional
        Edits that are computed together; by default 64, on a GPU 256. An edit's numbers depend on the edits of its own
        block only (and that in the last digits), and blocks are counted from the first edit given to `run`.
    kernels : bool, default True
        On a GPU, compute convolutions of changes by a kernel of our own where it can be used, else by PyTorch's
        operations. Changes last digits.
    self_check : bool, default True
        Compare the incremental path with the full pass on a sample of pairs before it is used, and measure the
        precision; confirm some pairs of every unit of work; refuse a model that mixes the sequences of a batch.

    Attributes
    ----------
    before : nested tensors
        Outputs on the backgrounds, as the model nests them, on the device; computed once.
    info : EngineInfo
        Which path runs and why, and the measured errors.

    Raises
    ------
    MarginomeError
        Settings or input that make no sense; a model that fails, that does not return tensors with one entry per
        sequence, or of which a sequence's outputs depend on the others of its batch.
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
        kernels: bool = True,
        self_check: bool = True,
    ):
        if engine not in ENGINES:
            raise unknown_name("engine", engine, ENGINES, where="engine")
        validate_one_hot(X, "X")
        self.device = resolve_device(device)
        self.precision = check_precision(precision)
        self.memory_bytes = memory_bytes or memory_to_keep_to(self.device)
        self.block = block or EDIT_BLOCK[self.device.type]
        self.model = evaluating_copy(model, self.device, precision)
        self.dtype = model_dtype(self.model)
        self.X = X.to(self.device)
        self.args = tuple(cast_argument(a, self.dtype, self.device) for a in check_args(args, len(X)))
        self._info = EngineInfo("full", "", str(self.device), device_name(self.device), precision, self.block)
        self._full = Full(self.model, self.X, self.args, self.dtype, self.device, precision, self.memory_bytes)
        self._path: Full | Incremental = self._full
        self._self_check, self._must = self_check, engine == "incremental"
        self._kernels = kernels
        self._first_reason = ""  # of a unit that went through the whole model
        if self_check:
            alone = Full(self.model, self.X, self.args, self.dtype, self.device, "float32", self.memory_bytes)
            check_batches(model, alone.run, self.X, self.args)
        if engine == "full":
            self._info.reason = "asked for"
        else:
            self._info.reason = self._try_incremental()
            if self._info.reason:
                self._refuse(self._info.reason)
                log.warning("every edited sequence goes through the whole model, because %s", self._info.reason)
        self.before = self._path.before()

    def _refuse(self, reason: str) -> None:
        """Raise if the caller does not want the full pass."""
        if self._must:
            raise MarginomeError(
                f"the model cannot be run incrementally: {reason}", where="engine", remedy="Use 'auto' or 'full'."
            )

    def _try_incremental(self) -> str:
        """Set the incremental path up and check it; return why it cannot be used, or nothing."""
        info = self._info

        def set_up() -> Incremental:
            graph, args = captured(self.model, self.X, self.args), self.args
            if self.dtype in ROUGH:  # the weights are what they are; what is computed with them has 32 bits
                args = tuple(a.float() if a.dtype == self.dtype else a for a in args)
                graph = graph.to_dtype(torch.float32)
            path = Incremental(
                graph, self.X, args, self.device, self.precision, self.memory_bytes, kernels=self._kernels,
                batch=self._full.batch,
            )  # fmt: skip
            if path.bytes_per_background > self.memory_bytes // 2:
                raise CannotCaptureError(
                    f"what has to be kept of one background takes {path.bytes_per_background / 1e6:,.0f} MB, more than "
                    f"half of the memory to keep to ({self.memory_bytes / 1e6:,.0f} MB)"
                )
            info.full_operations = tuple(path.plan(*middle(self.X.shape[-1], 8)).whole)
            if not path.saves():
                raise CannotCaptureError(
                    f"no operation on the sequence can be confined to a span (the first is {path.first_operation()})"
                )
            if self._self_check:
                check = SelfCheck(self._full, path)
                found = check.first()
                # What is no number is none: it would be no JSON in a result's metadata.
                info.check_error, info.precision_error, info.effect_error = (
                    error if math.isfinite(error) else None for error in found[:3]
                )
                if found.reason:
                    raise CannotCaptureError(found.reason)
                path.verify = check.of_width
            path.before()
            return path

        path, reason = _attempt(set_up)
        if path is None:
            return reason
        self._path = path
        info.path = "incremental"
        info.kernels = "triton" if path.fused else "torch"
        log.info(
            "only what an edit changes is computed; %s; errors: %s (logic, float64), %.1e of the output, %.1e of the "
            "effect (%s)",
            f"on whole sequences: {', '.join(info.full_operations)}" if info.full_operations else "all of it",
            info.check_error,
            info.precision_error or 0,
            info.effect_error or 0,
            self.precision,
        )
        return ""

    @property
    def info(self) -> EngineInfo:
        """How the numbers are made, with the peak memory up to now."""
        self._info.peak_bytes = peak_memory(self.device)
        info = self._info
        info.notes = list(dict.fromkeys([*self._path.notes, *self._full.notes]))
        if info.full_units:
            info.notes.append(
                f"{info.full_units} of {info.units} units went through the whole model; the first because "
                f"{self._first_reason}"
            )
        return info

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
        at_a_time = min(self._backgrounds_at_a_time, self._path.backgrounds_cached)
        for b in range(first, last, at_a_time):
            some = slice(b, min(b + at_a_time, last))
            for e in range(0, len(edits.one_hot), self.block):
                part = slice(e, min(e + self.block, len(edits.one_hot)))
                yield part, some, self._unit(edits.take(part), some)

    def pairs(self, edits: Edits, background_index: torch.Tensor) -> Any:
        """Make edit i in background ``background_index[i]`` and return the nested outputs ``(m, ...)``, on the device.

        All outputs are held at once: the caller bounds memory by the number of edits per call. What is computed
        together, and so the last digits, depends on the edits of the call.
        """
        edits.check(self.X.shape[-1])
        if background_index.shape != edits.starts.shape:
            raise MarginomeError(
                f"expected one background per edit, found {tuple(background_index.shape)} for {len(edits.starts)}",
                where="background_index",
            )
        if int(background_index.min()) < 0 or int(background_index.max()) >= len(self.X):
            raise MarginomeError(f"there are {len(self.X)} backgrounds", where="background_index")
        return self._unit(edits, background_index)

    def _unit(self, edits: Edits, backgrounds: slice | torch.Tensor) -> Any:
        """Compute edits in a slice of backgrounds, or each in its own: by what edits change, confirmed, or whole."""

        def run(path: Full | Incremental) -> Any:
            return (
                path.product(edits, backgrounds) if isinstance(backgrounds, slice) else path.pairs(edits, backgrounds)
            )

        if self._path is self._full:
            return run(self._full)
        self._info.units += 1
        y, reason = _attempt(lambda: run(self._path))
        if not reason and self._self_check:
            found, reason = _attempt(lambda: self._confirm(y, edits, backgrounds))
            reason = reason or found
        if not reason:
            return y
        y = None  # its memory is the full pass's
        self._refuse(reason)
        log.warning("%d edits go through the whole model, because %s", len(edits.starts), reason)
        self._first_reason = self._first_reason or reason
        self._info.full_units += 1
        return run(self._full)

    def _confirm(self, y: Any, edits: Edits, backgrounds: slice | torch.Tensor) -> str:
        """Run some pairs of a unit through the whole model; return what speaks against the unit."""
        b, first, leading = 1, 0, 1
        if isinstance(backgrounds, slice):
            b, first, leading = backgrounds.stop - backgrounds.start, backgrounds.start, 2

        def whole(rows: torch.Tensor) -> list[torch.Tensor]:
            index = rows % b + first if leading == 2 else backgrounds[rows]
            return tensors(self._full.pairs(edits.take(rows // b), index))

        def before(t: torch.Tensor) -> Callable[[int, int], torch.Tensor]:
            return lambda i, j: t[backgrounds] if leading == 2 else t[send(backgrounds[i:j], t.device)]

        found = confirm(
            tensors(y),
            [before(t) for t in tensors(self.before)],
            whole,
            leading=leading,
            seed=stable_seed("confirmed pairs", edits.one_hot.cpu().numpy().tobytes(), edits.starts.tolist(), first),
            tolerance=tolerance_of(self.precision, self.dtype),
        )
        self._info.confirmed_pairs += found.pairs
        if not found.reason:
            self._info.confirmed_error = max(self._info.confirmed_error, found.error)
        return found.reason

    @property
    def _backgrounds_at_a_time(self) -> int:
        """Backgrounds per part, so that a part's outputs stay within an eighth of the memory."""
        one = sum(t[0].numel() * t.element_size() for t in tensors(self.before))
        return max(1, min(len(self.X), self.memory_bytes // 8 // max(1, one * self.block)))


def _attempt(compute: Callable[[], Any]) -> tuple[Any, str]:
    """Return what a function gives, or None and why it failed: whatever is unexpected, there is the full pass.

    What is the user's to mend (MarginomeError) and lack of memory are raised.
    """
    try:
        return compute(), ""
    except MarginomeError:
        raise
    except CannotCaptureError as error:
        return None, str(error)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.debug("the incremental path failed", exc_info=True)
        return None, f"the incremental path failed ({first_line(error)})"


def memory_to_keep_to(device: torch.device) -> int:
    """Return the bytes to keep to where the caller names none."""
    usual = MEMORY[device.type]
    available = available_memory(device)
    return usual if available >= 2 * usual else available // 2


def evaluating_copy(model: torch.nn.Module, device: torch.device, precision: str = "float32") -> torch.nn.Module:
    """Return the model on the device in evaluation mode, with weights of 64 bits for float64.

    Itself if it is all that, else a copy, so that the caller's stays as it is.
    """
    if not isinstance(model, torch.nn.Module):
        raise MarginomeError(f"expected a torch.nn.Module, found {type(model).__name__}", where="model")
    tensors_ = [*model.parameters(), *model.buffers()]
    for tensor in tensors_:
        refuse_meta(tensor, "a weight of the model")
    double = precision == "float64" and model_dtype(model) != torch.float64
    if double or any(m.training for m in model.modules()) or any(t.device != device for t in tensors_):
        model = copy.deepcopy(model).to(device).eval()
        return model.double() if double else model
    return model
