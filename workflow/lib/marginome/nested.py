"""What a model returns: a tensor, or lists, tuples, named tuples and mappings of tensors; anything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch

from marginome.errors import MarginomeError, unknown_name

WANTED = "a tensor, or lists, tuples and dicts of tensors"


# Lists within lists that a model may return; one that holds itself has no end.
DEEPEST = 50


def leaves(nested: Any, path: tuple = ()) -> Iterator[tuple[tuple, torch.Tensor]]:
    """Yield ``(path, tensor)`` for every tensor of a nested list, tuple or mapping; None inside one is skipped.

    A path is made of positions and keys; positions count the fields of a named tuple.

    Raises
    ------
    MarginomeError
        When something else is in it, or a tensor without plain values: sparse, nested, quantized, or on the
        device ``meta`` (says where and what).
    """
    if len(path) > DEEPEST:
        raise MarginomeError(
            f"lists in lists, more than {DEEPEST} deep: does one hold itself?", where="output of the model"
        )
    if isinstance(nested, torch.Tensor):
        _check_plain(nested, path)
        yield path, nested
    elif isinstance(nested, Mapping):
        for key, value in nested.items():
            yield from leaves(value, (*path, key))
    elif isinstance(nested, list | tuple):
        for i, value in enumerate(nested):
            yield from leaves(value, (*path, i))
    elif nested is not None:
        raise _refused(nested, path)


def check_returned(nested: Any) -> None:
    """Raise unless what a model returned is made of tensors, and of at least one."""
    if nested is None:
        raise MarginomeError(
            f"it returned None, expected {WANTED}",
            where="model",
            remedy="Does its forward() end with a return?",
        )
    sizes = [tensor.numel() for _, tensor in leaves(nested)]  # all of it is looked at
    if not any(sizes):
        raise MarginomeError(
            f"it is empty: shape {tuple(first_tensor(nested).shape)}",
            where="output of the model",
            remedy="Are the sequences shorter than what the model cuts off?",
        )


def map_structure(fn: Callable, nested: Any, *others: Any) -> Any:
    """Apply `fn` to every tensor of a nested structure and return the same structure.

    Parameters
    ----------
    fn : callable
        Called with the tensor, and with the tensors at the same place in `others`.
    nested : tensor, or list, tuple, named tuple or mapping of such
        None stays None. A mapping comes back as a dict.
    *others
        More structures of the same form.

    Raises
    ------
    MarginomeError
        When the others have another form (another number of entries, other keys, None for a tensor), or
        something is in it that is neither of these.
    """
    return _map(fn, nested, others, ())


def _map(fn: Callable, nested: Any, others: tuple, path: tuple) -> Any:
    for other in others:
        if _form(other) != _form(nested):
            raise MarginomeError(
                f"it changes from call to call: {_in_words(nested)}, then {_in_words(other)}",
                where=f"output{at(path)} of the model",
            )
    if nested is None:
        return None
    if isinstance(nested, torch.Tensor):
        return fn(nested, *others)
    if isinstance(nested, Mapping):
        return {key: _map(fn, v, tuple(o[key] for o in others), (*path, key)) for key, v in nested.items()}
    if isinstance(nested, list | tuple):
        parts = [_map(fn, v, tuple(o[i] for o in others), (*path, i)) for i, v in enumerate(nested)]
        if hasattr(nested, "_fields"):
            return type(nested)(*parts)
        return tuple(parts) if isinstance(nested, tuple) else parts
    raise _refused(nested, path)


def _form(nested: Any) -> Any:
    """What has to be equal for two structures to go together, one level of it."""
    if isinstance(nested, torch.Tensor):
        return torch.Tensor
    if isinstance(nested, Mapping):
        return set(nested)
    if isinstance(nested, list | tuple):
        return len(nested)
    return type(nested)


def _in_words(nested: Any) -> str:
    if isinstance(nested, Mapping):
        return f"a dict of {', '.join(map(str, nested)) or 'nothing'}"
    if isinstance(nested, list | tuple):
        return f"a {'list' if isinstance(nested, list) else 'tuple'} of {len(nested)}"
    return "a tensor" if isinstance(nested, torch.Tensor) else type(nested).__name__


def first_tensor(nested: Any) -> torch.Tensor:
    """Return the first tensor of a nested structure after looking at all of it; an error when there is none."""
    found = [tensor for _, tensor in leaves(nested)]
    if not found:
        raise MarginomeError("there is no tensor in it", where="output of the model")
    return found[0]


def pick(nested: Any, path: tuple[Hashable, ...]) -> torch.Tensor:
    """Follow a path of positions, keys and names of fields to one tensor, or to what holds only one.

    Raises
    ------
    MarginomeError
        For a head that is not there (with the closest name), and when there is not one tensor at its end.
    """
    for depth, key in enumerate(path):
        where = f"head {path if len(path) > 1 else path[0]!r}"
        if isinstance(nested, torch.Tensor):
            raise MarginomeError(
                f"output{at(path[:depth])} of the model is one tensor {tuple(nested.shape)}, it has no heads",
                where=where,
                remedy="Use index= to choose targets of a tensor.",
            )
        if isinstance(nested, Mapping):
            keys: Sequence = list(nested)
        elif isinstance(nested, list | tuple):
            keys = [*range(len(nested)), *range(-len(nested), 0)]
        else:
            raise _refused(nested, path[:depth])
        if isinstance(key, str) and key in getattr(nested, "_fields", ()):
            nested = getattr(nested, key)
            continue
        if key not in keys:
            raise unknown_name("head", key, [k for k in keys if not (isinstance(k, int) and k < 0)], where=where)
        nested = nested[key]
    if not isinstance(nested, torch.Tensor):
        check_returned(nested)
        found = [inner for inner, _ in leaves(nested)]
        if len(found) == 1:
            return first_tensor(nested)
        raise MarginomeError(
            f"which head? The model returns {len(found)} tensors{' there' if path else ''}",
            where="head",
            remedy=f"Choose one of {', '.join(repr((*path, *p) if len((*path, *p)) > 1 else p[0]) for p in found)}.",
        )
    _check_plain(nested, path)
    return nested


def at(path: tuple) -> str:
    """Write a path as Python would: ``['heads'][0]``."""
    return "".join(f"[{key!r}]" for key in path)


def _check_plain(tensor: torch.Tensor, path: tuple) -> None:
    """Raise for a tensor whose values cannot be read, compared and written like those of any other.

    Of what a model returns; what it is given is looked at by `sequences`, where the remedy is another.
    """
    kind = None
    if tensor.is_floating_point() and tensor.element_size() == 1:
        kind, remedy = f"a tensor of {str(tensor.dtype).removeprefix('torch.')}", "Return y.float()."
    elif tensor.is_nested:
        kind, remedy = "a nested tensor", "Return a padded one, e.g. torch.nested.to_padded_tensor(y, 0)."
    elif tensor.layout != torch.strided:
        kind, remedy = "a sparse tensor", "Return y.to_dense()."
    elif tensor.device.type == "meta":
        kind, remedy = "a tensor without values (on the device meta)", "Load the model's weights before it is used."
    elif tensor.is_quantized:
        kind, remedy = "a quantized tensor", "Return y.dequantize()."
    if kind:
        raise MarginomeError(f"found {kind}", where=f"output{at(path)} of the model", remedy=remedy)


def _refused(found: Any, path: tuple) -> MarginomeError:
    """Build the error for something that is neither a tensor nor holds them."""
    fields = getattr(found, "__dict__", None) or {}
    holds = [str(name) for name, value in fields.items() if isinstance(value, torch.Tensor)]
    if holds and not isinstance(found, torch.nn.Module):
        remedy = f"Return a dict or a tuple of its fields ({', '.join(holds[:5])}) from a module around the model."
    elif hasattr(found, "__array__"):
        remedy = "Return the tensor itself, not an array of its values."
    else:
        remedy = None
    return MarginomeError(
        f"found {type(found).__name__}, expected {WANTED}",
        where=f"output{at(path)} of the model",
        remedy=remedy,
    )


def check_same(before: torch.Tensor, now: torch.Tensor) -> None:
    """Raise when the same output of two batches has another shape or dtype, one number of sequences given."""
    if before.shape != now.shape or before.dtype != now.dtype:
        raise MarginomeError(
            f"it changes from batch to batch: {shape_and_dtype(before)}, then {shape_and_dtype(now)}",
            where="output of the model",
        )


def shape_and_dtype(tensor: torch.Tensor) -> str:
    """Return a tensor's shape and dtype in words, e.g. ``(8, 4, 2114) float32``."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
