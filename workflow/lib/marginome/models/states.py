"""State dicts: found in what a file holds, and copied into modules that they fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from marginome.bounded import check_file
from marginome.errors import MarginomeError
from marginome.models.kinds import no_weights, safetensors_names, unread_file
from marginome.models.pickles import Record, is_torch_file, plain_tensors, read_torch_file
from marginome.models.safetensors import read_safetensors

_COMPILED = "_orig_mod."  # what torch.compile puts before the names of a module, which may be a part of a model


def read_weights(path: str) -> Any:
    """Read a file of weights as data: tensors of safetensors, or what ``torch.save`` wrote (`read_torch_file`).

    Raises
    ------
    MarginomeError
        Also for a file of another kind, of which is said what it is.
    """
    if safetensors_names(path) is not None:
        return read_safetensors(path)
    check_file(path)
    other = no_weights(path, str(path))
    if other is None and not is_torch_file(path):
        other = unread_file(path, str(path))
    if other:
        raise other
    return read_torch_file(path)


def plain_state(loaded: Any, where: str, *, most: bool = True) -> dict[str, Tensor]:
    """Find the state dict in what ``torch.load`` returned and strip a prefix that its keys share.

    Parameters
    ----------
    loaded : object
        What `read_weights` returned.
    where : str
        For messages.
    most : bool, default True
        Whether a prefix of most keys is one too; the others, such as weights of a trainer's loss, are left out.
    """
    state = _named_tensors(loaded, where)
    while True:
        counts = {prefix: sum(key.startswith(prefix) for key in state) for prefix in ("module.", "model.", "net.")}
        prefix = max(counts, key=counts.__getitem__)
        if 2 * counts[prefix] <= len(state) or not (most or counts[prefix] == len(state)):
            return state
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def state_of(module: nn.Module, loaded: Any, where: str) -> dict[str, Tensor]:
    """Find the state dict of a module in what a file held, whatever prefix its names have there.

    Parameters
    ----------
    module : torch.nn.Module
        Its names tell the prefix. A checkpoint of a trainer's holds the module as a part (``model.conv.weight``) and
        may hold more beside it, such as weights of the loss; those are left out.
    loaded : object
        What `read_weights` returned.
    where : str
        For messages.

    Raises
    ------
    MarginomeError
        When there is no state dict, or the module's names are there under several prefixes.
    """
    state = _named_tensors(loaded, where)
    names = [name for name in module.state_dict() if not _is_count(name)]
    if not names or set(names) <= set(state):
        return state
    first = names[0]
    prefixes = [name.removesuffix(first) for name in state if name.endswith(f".{first}")]
    fitting = [prefix for prefix in prefixes if all(f"{prefix}{name}" in state for name in names)]
    if len(fitting) > 1:
        raise MarginomeError(
            f"the file holds the module's weights several times, under {', '.join(fitting)}",
            where=where,
            remedy="Save those that are meant in a file of their own: torch.save(module.state_dict(), file).",
        )
    if not fitting:
        return plain_state(loaded, where, most=False)
    return {k.removeprefix(fitting[0]): value for k, value in state.items() if k.startswith(fitting[0])}


def _named_tensors(loaded: Any, where: str) -> dict[str, Tensor]:
    """The dict of tensors in what a file held, with the names that it has there, but for those of torch.compile."""
    state = loaded
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    inner = {key: value for key, value in state.items() if _has_tensors(value)} if isinstance(state, dict) else {}
    if len(inner) > 1:
        raise MarginomeError(
            f"the file holds several dicts of tensors: {', '.join(map(str, inner))}",
            where=where,
            remedy="Save the one that is meant in a file of its own: torch.save(checkpoint[key], file).",
        )
    state = next(iter(inner.values()), state)
    if not _has_tensors(state):
        raise MarginomeError(
            f"the file holds {_describe(loaded)}, no state dict",
            where=where,
            remedy="Save the weights with torch.save(model.state_dict(), file), or write a loader of your own: "
            "loader: path/to/file.py:function.",
        )
    state = plain_tensors(state, where)
    bare = {name.replace(_COMPILED, ""): value for name, value in state.items()}
    return bare if len(bare) == len(state) else state


def _has_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(entry, Tensor) for entry in value.values())


def _is_count(name: str) -> bool:
    """Whether a name is of the number of batches that a norm was trained on, which is not used and files may lack."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def _describe(value: Any) -> str:
    if isinstance(value, Record):
        return f"an object of class {value.class_name}"
    if isinstance(value, dict):
        return f"a dict with the keys {', '.join(map(str, list(value)[:5]))}"
    return f"an object of type {type(value).__name__}"


def _tied(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights, and beside them those that are one tensor under two names in the module and once in the file."""
    names: dict[tuple, list[str]] = {}
    for name, tensor in own.items():
        if tensor.numel():
            names.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), []).append(name)
    whole = dict(weights)
    for tied in names.values():
        there = next((name for name in tied if name in weights), None)
        whole |= {name: weights[there] for name in tied if there and name not in weights}
    return whole


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Copy weights into a module; every name and shape must fit, both ways."""
    own = module.state_dict()
    weights = _tied(own, weights)
    odd = [
        name for name in own if name in weights and own[name].is_floating_point() != weights[name].is_floating_point()
    ]
    if odd:
        raise MarginomeError(
            f"'{odd[0]}' is {weights[odd[0]].dtype}, wanted {own[odd[0]].dtype}".replace("torch.", ""), where=where,
            remedy="Weights that were made integers (quantized) need their scales: save those of the model as trained.",
        )  # fmt: skip
    missing = sorted(name for name in set(own) - set(weights) if not _is_count(name))
    extra = sorted(set(weights) - set(own))
    other = sorted(k for k in set(own) & set(weights) if own[k].shape != weights[k].shape)
    if missing or extra or other:
        told = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in (("missing", missing), ("unknown", extra), ("of another shape", other))
            if names
        ]
        first = (
            f"; {other[0]} is {tuple(weights[other[0]].shape)}, wanted {tuple(own[other[0]].shape)}" if other else ""
        )
        raise MarginomeError(
            f"the weights do not fit the architecture: {', '.join(told)}{first}",
            where=where,
            remedy="These are the weights of another architecture: give the loader that fits them.",
        )
    module.load_state_dict(own | {k: v.to(own[k].dtype) for k, v in weights.items()})
