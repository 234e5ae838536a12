"""In-silico saturation mutagenesis: the prediction after every single-base edit of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from marginome.devices import resolve_device
from marginome.errors import MarginomeError
from marginome.footprint import sequences_at_once
from marginome.incremental import Edits, Engine
from marginome.incremental.worthwhile import engine_pays
from marginome.marginalization import _engine_settings
from marginome.prediction import (
    cast_argument,
    check_args,
    check_finite,
    evaluating,
    leaves,
    map_structure,
    model_dtype,
    predict,
    run_model,
)
from marginome.sequences import name_some, validate_one_hot

# Sequences, and positions of all of them, whose edits are handed to the engine together: bounds the memory of outputs,
# and fixes what is computed (and confirmed) together.
SEQUENCES, POSITIONS = 64, 64 * 64


class SaturationMutagenesis(NamedTuple):
    """Raw predictions of a saturation mutagenesis; unpacks as ``y0, y_hat``.

    Attributes
    ----------
    y0 : tensor or nested tensors, (n, ...)
        On the sequences as they are.
    y_hat : tensor or nested tensors, (n, 4, end - start, ...)
        After setting a position to a base; `y0` where that base is there already.
    """

    y0: Any
    y_hat: Any


def saturation_mutagenesis(
    model: torch.nn.Module,
    X: torch.Tensor,
    args: Sequence[torch.Tensor] | None = None,
    start: int = 0,
    end: int = -1,
    batch_size: int | str = 32,
    target: int | slice | None = None,
    hypothetical: bool = False,
    raw_outputs: bool = False,
    dtype: torch.dtype | str | None = None,
    device: str | torch.device | None = None,
    verbose: bool = False,
    func: Callable | None = None,
    fast: bool = True,
    *,
    memory_bytes: int | None = None,
) -> torch.Tensor | SaturationMutagenesis:
    """Predict the effect of every single-base edit.

    Parameters
    ----------
    model : torch.nn.Module
        One that returns a tensor ``(n, targets)``, or any structure with `raw_outputs` or with a `func` that
        makes a tensor of it.
    X : torch.Tensor, shape (n, 4, length)
        One-hot sequences. At an N (an all-zero column) all four bases are edits.
    args : sequence of torch.Tensor, optional
        More inputs of the model, n entries each.
    start, end : int, default 0 and -1
        Positions to edit, end not included; a negative end counts from the sequence's end, -1 being its end.
    batch_size : int or "auto", default 32
        Sequences at a time where the full pass is used.
    target : int or slice, optional
        Output columns that the attribution averages over; all by default.
    hypothetical : bool, default False
        Return the attribution of all four bases, not only of the one that is there.
    raw_outputs : bool, default False
        Return the predictions themselves.
    dtype, device, verbose, func
        As in `predict`; `func` is applied to every batch of predictions.
    fast : bool, default True
        Compute only what an edit changes, where the model allows it (`marginome.incremental`).
    memory_bytes : int, optional
        What to keep to: for the engine, and for the sequences that go together without it, fewer than `batch_size`
        where they are long.

    Returns
    -------
    torch.Tensor, shape (n, 4, end - start)
        The change of the prediction minus its mean over the four bases at that position (the base that is
        there counts with 0), averaged over the targets; 0 for bases that are not there unless
        `hypothetical`. With `raw_outputs`, a `SaturationMutagenesis` instead.

    Raises
    ------
    MarginomeError
        Input that is not one-hot or empty, an empty span, a target out of range, a model with several outputs
        without `raw_outputs`.

    Notes
    -----
    Identity edits are never computed. Centring on the position's mean is the field's usual aggregation.
    """
    validate_one_hot(X, "X")
    X, args = X.detach(), check_args(args, len(X))
    length = X.shape[-1]
    stop = length + 1 + end if end < 0 else end
    if not 0 <= start < stop <= length:
        raise MarginomeError(
            f"start {start} and end {end} are no span of a sequence of {length} bp", where="start, end"
        )
    sequences = X.to("cpu", torch.int8)
    settings = {"args": args, "func": func, "batch_size": batch_size, "dtype": dtype, "device": device}
    n_edits = int((sequences[:, :, start:stop] == 0).sum())
    chosen = _engine_settings(model, **settings) if fast else None
    if chosen is None or not engine_pays(model, sequences, args, n_edits, chosen["device"]):
        if memory_bytes is not None:
            settings["batch_size"] = _batch_within(memory_bytes, model, sequences, settings)
        y0, edited = _plain(model, sequences, settings)
    else:
        y0, edited = _with_engine(model, sequences, chosen, memory_bytes)
    if not raw_outputs:
        _check_attributable(y0, target)

    y_hat = map_structure(lambda y: y[:, None, None].repeat(1, 4, stop - start, *[1] * (y.ndim - 1)), y0)
    at_a_time = POSITIONS // min(SEQUENCES, len(X))
    parts = [
        (slice(i, min(i + SEQUENCES, len(X))), first, min(first + at_a_time, stop))
        for i in range(0, len(X), SEQUENCES)  # outermost, so that each sequence is cached once
        for first in range(start, stop, at_a_time)
    ]
    for rows, first, last in tqdm(parts, disable=not verbose, unit="part", desc="mutagenesis"):
        # In the order position, sequence, base: edits of one place come together.
        position, index, base = (sequences[rows, :, first:last] == 0).permute(2, 0, 1).nonzero(as_tuple=True)
        if len(base) == 0:
            continue
        index = index + rows.start
        edits = Edits(torch.eye(4, dtype=torch.int8)[base][:, :, None], position + first)
        y = edited(edits, index)
        _check_edits(y, index)
        where = (index, base, position + first - start)
        map_structure(lambda all_, t, w=where: all_.index_put_(w, t.cpu()), y_hat, y)
    if raw_outputs:
        return SaturationMutagenesis(y0, y_hat)

    if not y0.is_floating_point():  # differences of uint8 wrap around, booleans have none
        y0, y_hat = y0.float(), y_hat.float()
    change = y_hat - y0[:, None, None]
    if target is not None:
        change = change[:, :, :, target]
    change = change - change.mean(1, keepdim=True)
    if change.isnan().any():  # infinity - infinity
        rows = change.isnan().flatten(1).any(1).nonzero().flatten().tolist()
        raise MarginomeError(
            f"the model's output is infinite for sequence {name_some(rows)} or its edits, so there are no differences",
            where="output",
            remedy="Attribute another output: logits in place of log probabilities, log counts in place of counts.",
        )
    attribution = change.flatten(3).mean(3) if change.ndim > 3 else change
    return attribution if hypothetical else attribution * X[:, :, start:stop].cpu()


def _plain(model: torch.nn.Module, X: torch.Tensor, settings: dict) -> tuple[Any, Callable]:
    """Return predictions on X, and a function that predicts edits, by full passes."""
    args = settings["args"]

    def edited(edits: Edits, index: torch.Tensor) -> Any:
        return predict(model, edits.apply(X[index]), **{**settings, "args": tuple(a[index.to(a.device)] for a in args)})

    return predict(model, X, **settings), edited


def _batch_within(memory_bytes: int, model: torch.nn.Module, X: torch.Tensor, settings: dict) -> int:
    """Return how many sequences have room together, for their activations a half of the memory."""
    device, most = resolve_device(settings["device"]), settings["batch_size"]
    kind = model_dtype(model)

    def run(X: torch.Tensor, args: Sequence[torch.Tensor]) -> Any:
        return run_model(model, X.to(device, kind), [cast_argument(a, kind, device) for a in args])

    with evaluating(model, device):
        most = 32 if most == "auto" else most
        return sequences_at_once(run, X, settings["args"], memory_bytes=memory_bytes / 2, most=most)


def _with_engine(
    model: torch.nn.Module, X: torch.Tensor, chosen: dict, memory_bytes: int | None
) -> tuple[Any, Callable]:
    """Return predictions on X, and a function that predicts edits, by the engine."""
    post = chosen["post"] or (lambda y: y)
    engine = Engine(
        model, X, chosen["args"], device=chosen["device"], precision=chosen["precision"], memory_bytes=memory_bytes
    )
    y0 = post(engine.before)
    check_finite(y0)
    return map_structure(torch.Tensor.cpu, y0), lambda edits, index: post(engine.pairs(edits, index))


def _check_edits(y: Any, index: torch.Tensor) -> None:
    """Raise if a prediction is NaN, naming the sequences (not the edits) that it is of."""
    bad: set[int] = set()
    for _, tensor in leaves(y):
        missing = tensor.isnan().cpu()  # False for integers
        bad |= set(index[missing.flatten(1).any(1) if missing.ndim > 1 else missing].tolist())
    if bad:
        raise MarginomeError(
            f"the model returned NaN for edits of sequence {name_some(sorted(bad))}",
            where="output",
            remedy="Look at the weights, at these sequences and at the extra arguments.",
        )


def _check_attributable(y0: Any, target: int | slice | None) -> None:
    """Raise unless the predictions are one tensor with the target in it."""
    if not isinstance(y0, torch.Tensor) or y0.ndim < 2:
        found = f"shape {tuple(y0.shape)}" if isinstance(y0, torch.Tensor) else type(y0).__name__
        raise MarginomeError(
            f"attributions need one tensor (n, targets) per batch, the model returns {found}",
            where="model",
            remedy="Wrap it in marginome.Readout, give a func that makes one, or set raw_outputs=True.",
        )
    if y0.is_complex():
        raise MarginomeError(
            "its numbers are complex", where="output of the model", remedy="Give a func that makes real ones of them."
        )
    if isinstance(target, int) and not -y0.shape[1] <= target < y0.shape[1]:
        raise MarginomeError(f"target {target}, but the model has {y0.shape[1]} outputs", where="target")
