"""Reading one tensor out of what a model returns: the head, an index, a reduction, a transform."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from marginome.errors import MarginomeError
from marginome.nested import pick

# Elementwise. The names that configs and `Readout` know.
TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "sigmoid": torch.sigmoid,
    "logit": torch.logit,
    "softplus": nn.functional.softplus,
}


def weighted_logits(logits: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Return the sum over `dim` of centred logits, weighted by their softmax over it.

    The readout by which profile models are usually attributed (Avsec et al. 2021, Nature Genetics
    53:354): the expected centred logit under the predicted profile.
    """
    last = tuple(range(-len(dim), 0))
    logits = logits.movedim(dim, last).flatten(-len(dim))
    logits = logits - logits.mean(dim=-1, keepdim=True)
    return (logits * logits.softmax(dim=-1)).sum(dim=-1)


# Called with a tensor and ``dim``, the axes that they run over and drop.
REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "max": torch.amax,
    "logsumexp": torch.logsumexp,
    "profile": weighted_logits,
}


def read(
    predicted: Any,
    path: tuple,
    *,
    index: tuple[Any, ...] | None = None,
    reduce: tuple[str, tuple[int, ...]] | Callable[[Tensor], Tensor] | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Read one thing out of what a model returned: the head, then `index`, then `reduce`, then `transform`.

    Parameters
    ----------
    predicted : nested tensors
        What the model returned, the sequences on axis 0.
    path : tuple
        The way to the head; empty for the only tensor. Integers and booleans become float32.
    index : tuple of int, slice or list of int, optional
        One per axis after the first. Lists on two axes mean rows and columns.
    reduce : (name, axes) or callable, optional
        One of `REDUCTIONS` and the axes it drops (the sequences are axis 0; no axes mean all others), or a function.
    transform : callable, optional
        Of the tensor.

    Returns
    -------
    torch.Tensor, shape (n, ...)

    Raises
    ------
    MarginomeError
        For a head that is not there, an index out of range, complex numbers.
    """
    value = pick(predicted, path)
    if not value.is_floating_point() and not value.is_complex():
        value = value.to(torch.float32)
    if index is not None:
        value = take(value, index)
    if isinstance(reduce, tuple):
        how, axes = reduce
        axes = axes or tuple(range(1, value.ndim))
        value = REDUCTIONS[how](value if axes else value.unsqueeze(1), dim=axes or (1,))
    elif reduce is not None:
        value = reduce(value)
    if transform is not None:
        value = transform(value)
    if isinstance(value, Tensor) and value.is_complex():
        raise MarginomeError(
            f"the readout holds complex numbers ({str(value.dtype).removeprefix('torch.')})",
            where="output of the model",
            remedy="Make them real with a transform of your own, e.g. one that returns y.abs().",
        )
    return value


def take(y: Tensor, index: tuple[Any, ...]) -> Tensor:
    """Index the axes after the first, each by a position, a slice or a list; lists on two axes are rows and columns.

    Raises
    ------
    MarginomeError
        For a position that is out of range, more entries than axes, and when nothing is left.
    """
    try:
        if y.ndim <= len(index):
            raise IndexError(f"{len(index)} indices for {y.ndim - 1} axes")
        if sum(isinstance(i, list) for i in index) > 1:
            chosen = y
            for axis in range(len(index), 0, -1):
                chosen = chosen[(slice(None),) * axis + (index[axis - 1],)]
        else:
            chosen = y[(slice(None), *index)]
    except IndexError as error:
        shape = ", ".join(map(str, ("n", *y.shape[1:])))
        raise MarginomeError(
            f"{_written(index)} is out of range for an output ({shape}) ({error})", where="index"
        ) from None
    if chosen.numel() == 0:
        raise MarginomeError(f"{_written(index)} leaves nothing of an output {tuple(y.shape[1:])}", where="index")
    return chosen


def _written(index: tuple[Any, ...]) -> str:
    """Write an index as NumPy's users do, e.g. ``:, 440:456, [3, 7]``."""

    def one(part: Any) -> str:
        if not isinstance(part, slice):
            return str(part)
        bounds = [part.start, part.stop] if part.step is None else [part.start, part.stop, part.step]
        return ":".join("" if bound is None else str(bound) for bound in bounds)

    return ", ".join(map(one, index))


def parse_index(text: str | int | Sequence[int]) -> tuple[Any, ...]:
    """Parse an index as NumPy writes it, e.g. ``"0"``, ``":, 440:456"``, ``"[3, 7]"``; nothing is evaluated.

    Returns
    -------
    tuple of int, slice or list of int
        One per axis after the batch.
    """
    if isinstance(text, int):
        return (text,)
    if not isinstance(text, str):
        return (list(text),)
    entries = []
    for part in re.findall(r"\[[^\]]*\]|[^,\[\]]+", text):
        part = part.strip()
        if not part:
            continue
        if re.fullmatch(r"-?\d+", part):
            entries.append(int(part))
        elif re.fullmatch(r"(-?\d+)?\s*:\s*(-?\d+)?", part):
            entries.append(slice(*[int(p) if p.strip() else None for p in part.split(":")]))
        elif re.fullmatch(r"\[\s*-?\d+(\s*,\s*-?\d+)*\s*\]", part):
            entries.append([int(p) for p in part[1:-1].split(",")])
        else:
            raise MarginomeError(
                f"the index '{text}' cannot be read at '{part}'",
                remedy='Write one entry per axis after the batch: a number, start:stop, or [1, 5]; e.g. "440:456, 7".',
            )
    if not entries:
        raise MarginomeError(f"the index '{text}' is empty", remedy='Leave it out, or write e.g. "0" or ":, 440:456".')
    return tuple(entries)
