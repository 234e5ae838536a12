"""Models of one architecture have one graph: it is captured once in a process, and given each one's weights."""

from __future__ import annotations

import dataclasses
import enum
import types
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from marginome.devices import precision_context
from marginome.prediction import model_dtype, run_model

from .capture import Graph, weights_of
from .confirm import difference

# Graphs that are kept, without weights: a batch may have models of a few architectures.
GRAPHS = 8
# Largest difference of a shared graph from its model, relative to the largest output: 1e-5 but with these weights.
ROUNDING = {torch.float64: 1e-10, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_captured: OrderedDict[Hashable, Graph] = OrderedDict()

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, torch.dtype, torch.device, torch.layout,
          torch.memory_format)  # fmt: skip


class _CannotTellError(Exception):
    """Something of a model cannot be compared."""


def captured(model: torch.nn.Module, X: torch.Tensor, args: tuple[torch.Tensor, ...]) -> Graph:
    """Return a model's graph, from a few sequences like those given.

    Exporting a model takes a tenth of a second and more, and the first one imports the compiler. What comes out depends
    on the model's code and on all that it holds but the values of its weights: where `architecture` is the same, so is
    the graph. What a model reads beside that, a global of its module say, may have changed since: a graph that was
    captured of another model is run beside this one, and left if they differ by more than rounding.
    """
    with precision_context("float32", X.device):
        few = torch.cat([X[:1]] * 3).to(model_dtype(model))
        given = tuple(torch.cat([a[:1]] * 3) for a in args)
        kind = architecture(model)
        if kind is None:
            return Graph(model, few, given)
        key = kind, tuple((t.shape, t.dtype, t.device) for t in (few, *given))
        if key in _captured:
            _captured.move_to_end(key)
            shared = _captured[key].with_weights_of(model)
            if _agrees(shared, model, few[:1], tuple(t[:1] for t in given)):
                return shared
        graph = Graph(model, few, given)
        if set(graph.weights.values()) <= weights_of(model).keys():
            _captured[key] = graph.without_weights()
            if len(_captured) > GRAPHS:
                _captured.popitem(last=False)
        return graph


def _agrees(graph: Graph, model: torch.nn.Module, X: torch.Tensor, args: tuple[torch.Tensor, ...]) -> bool:
    """Tell whether a graph gives what a model gives, but for rounding."""
    with torch.no_grad():
        theirs = pytree.tree_leaves(run_model(model, X.clone(), [a.clone() for a in args]))
        ours = pytree.tree_leaves(graph.nest(graph.run(X.clone(), tuple(a.clone() for a in args))[0]))
    outputs = [[t for t in some if isinstance(t, torch.Tensor)] for some in (ours, theirs)]
    rounding = ROUNDING.get(model_dtype(model), 1e-5)
    return len(outputs[0]) == len(outputs[1]) and difference(*outputs) <= rounding


def architecture(model: torch.nn.Module) -> Hashable | None:
    """Return what a model is besides the values of its weights, to be compared with that of another in this process.

    Its modules by name with their classes and with everything that they hold (numbers, texts, functions, hooks), its
    weights by name with their shapes and whether two are one. None where something is held that cannot be compared: a
    tensor that is no parameter or buffer, a function made within another, an object of no known kind.
    """
    first: dict[int, str] = {}  # names of modules, and of memory
    try:
        modules = [
            (name, first.setdefault(id(module), name), type(module), type(module).forward, _held(module))
            for name, module in model.named_modules(remove_duplicate=False)
        ]
        weights = [
            (name, first.setdefault(id(value), name), _memory(value, first, name), type(value), value.shape,
             value.stride(), value.dtype, value.device, value.requires_grad)
            for name, value in weights_of(model).items()
        ]  # fmt: skip
        key = tuple(modules), tuple(weights)
        hash(key)
    except (_CannotTellError, TypeError, RuntimeError):
        return None
    return key


def _held(module: torch.nn.Module) -> Hashable:
    apart = ("_parameters", "_buffers", "_modules")
    return tuple((name, _plain(value)) for name, value in vars(module).items() if name not in apart)


def _memory(value: torch.Tensor, first: dict[int, str], name: str) -> tuple[str, int]:
    return first.setdefault(-value.untyped_storage().data_ptr(), name), value.storage_offset()


def _plain(value: Any) -> Hashable:
    """Return a value that equals that of another value only if nothing tells the two apart."""
    kind = type(value)
    if kind in _PLAIN:
        return kind, repr(value)  # 1, 1.0 and True are three values here, 0.0 and -0.0 two
    if isinstance(value, type | types.BuiltinFunctionType | enum.Enum):
        return kind, value
    if isinstance(value, types.FunctionType) and value.__closure__ is None:
        return kind, value
    if kind in (tuple, list, torch.Size) or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        return kind, tuple(map(_plain, value))
    if kind in (dict, OrderedDict):
        return kind, tuple((_plain(key), _plain(item)) for key, item in value.items())
    if kind in (set, frozenset):
        return kind, frozenset(map(_plain, value))
    if isinstance(value, slice):
        return kind, (_plain(value.start), _plain(value.stop), _plain(value.step))
    if dataclasses.is_dataclass(value) and vars(value).keys() <= {field.name for field in dataclasses.fields(value)}:
        return kind, tuple((field.name, _plain(getattr(value, field.name))) for field in dataclasses.fields(value))
    raise _CannotTellError
