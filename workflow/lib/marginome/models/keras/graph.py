"""A Keras architecture as a static graph of PyTorch modules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from marginome.errors import MarginomeError
from marginome.models.keras import crested_layers, wide_layers
from marginome.models.keras import layers as plain_layers
from marginome.models.keras.layers import MOST_POSITIONS, Call, PositionsMajor, Value, build_layer
from marginome.models.keras.settings import Settings
from marginome.models.keras.weights import Weights

BUILDERS = plain_layers.BUILDERS | wide_layers.BUILDERS | crested_layers.BUILDERS
MODELS = {"Sequential", "Functional", "Model", "CustomModel"}
Reference = tuple  # (layer, which of its calls, which of its outputs), and a word for values in between


class Graph(nn.Module):
    """A Keras model; sequences and values with positions are ``(n, channels, length)`` throughout.

    Parameters
    ----------
    config : mapping
        ``class_name`` and ``config`` of the model.
    weights : Weights
        Of the file.
    where : str
        For messages.
    keras : int or None
        The major version that wrote the file, where it tells.
    entry : mapping, optional
        The model's entry in the config: its ``input_length`` is the length of inputs that the file leaves
        open, unless a shape under ``arguments`` tells another.
    called_with : sequence of tuple, optional
        Of a nested model: the shapes of what it is called with.

    Attributes
    ----------
    inputs, outputs : list of str
        Names of the input and output layers.
    input_shapes, output_shapes : list of tuple
        In Keras' terms, without the batch.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Weights,
        where: str,
        keras: int | None,
        *,
        entry: Mapping[str, Any] | None = None,
        called_with: Sequence[tuple] | None = None,
    ):
        super().__init__()
        self.where, self.keras, self.weights = where, keras, weights
        inner = config["config"]
        layers = inner if isinstance(inner, list) else inner["layers"]
        if config.get("class_name") == "Sequential":
            built = None if isinstance(inner, list) else inner.get("build_input_shape")
            layers, inputs, outputs = _sequential_as_graph(layers, built, called_with, where)
        else:
            inputs, outputs = _references(inner["input_layers"], where), _references(inner["output_layers"], where)
        self.weights = self.weights.at(layers)
        by_name = {_name(layer): layer for layer in layers}
        if len(by_name) < len(layers):
            raise MarginomeError("two layers of the architecture have one name", where=where)
        calls = {name: _calls(layer, where) for name, layer in by_name.items()}
        calls, outputs = _numbered_from_zero(calls, outputs)
        self.inputs = [name for name, _, _ in inputs]
        self.outputs = [name for name, _, _ in outputs]
        self.calls = nn.ModuleDict()
        self._nested: dict[str, str] = {}
        self.plan: list[tuple[str, tuple, tuple]] = []  # (module, where its inputs are, where its output goes)
        self.input_shapes = self._shapes_of_inputs(by_name, entry or {}, called_with)
        self._inputs = [(name, 0, 0) for name in self.inputs]
        values = {ref: Value(shape) for ref, shape in zip(self._inputs, self.input_shapes)}
        self._follow(by_name, calls, values)
        missing = [ref[0] for ref in outputs if ref not in values]
        if missing:
            raise MarginomeError(f"the output layer '{missing[0]}' does not exist", where=where)
        self._outputs = [self._plain(ref, values) for ref in outputs]
        self.output_shapes = [values[ref].shape for ref in outputs]

    def nested(self) -> dict[str, Graph]:
        """The models inside this model, by their names."""
        return {name: self.calls[key] for name, key in self._nested.items()}

    def forward(self, X: Tensor, *args: Tensor) -> Any:
        """Return the output tensor, or a tuple when there are several; one argument per further input."""
        values = dict(zip(self._inputs, (X, *args)))
        for call, sources, target in self.plan:
            result = self.calls[call](*[values[source] for source in sources])
            if isinstance(result, tuple):
                values.update({(*target[:2], i): value for i, value in enumerate(result)})
            else:
                values[target] = result
        results = tuple(values[ref] for ref in self._outputs)
        return results if len(results) > 1 else results[0]

    def _shapes_of_inputs(
        self, by_name: Mapping[str, Mapping], entry: Mapping[str, Any], called_with: Sequence[tuple] | None
    ) -> list[tuple[int, ...]]:
        if not self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise MarginomeError(f"its inputs are {', '.join(self.inputs) or 'none'}", where=self.where)
        if called_with is not None and len(called_with) != len(self.inputs):
            raise MarginomeError(
                f"a model of {len(self.inputs)} inputs is called with {len(called_with)}", where=self.where
            )
        shapes = []
        for i, name in enumerate(self.inputs):
            settings = Settings(by_name[name]["config"], name, self.where, self.keras)
            shape = _shape_in_file(settings)
            given = called_with[i] if called_with is not None else _shape_in_entry(entry, i, name, len(shape))
            whole = tuple(b if a is None else a for a, b in zip(shape, given))
            if called_with is not None and whole != given:
                raise settings.unsupported(f"an input of shape {shape} is given {given}")
            if None in whole:
                raise MarginomeError(
                    f"the file leaves the shape of the input '{name}' open: {whole}",
                    where=self.where,
                    remedy="Give input_length, in bp; of a further input give the shape under arguments.",
                )
            shapes.append(whole)
        return shapes

    def _follow(self, by_name: Mapping[str, Mapping], calls: Mapping[str, list], values: dict) -> None:
        """Make the modules of every call of every layer, in the order in which their inputs appear."""
        waiting = [(layer, node, refs) for name, layer in by_name.items() for node, refs in enumerate(calls[name])]
        while waiting:
            ready = [item for item in waiting if all(ref in values for ref in item[2])]
            if not ready:
                raise MarginomeError(
                    f"the layer '{_name(waiting[0][0])}' has inputs that do not exist", where=self.where
                )
            for layer, node, refs in ready:
                self._call(layer, node, refs, values)
            done = {id(item) for item in ready}
            waiting = [item for item in waiting if id(item) not in done]

    def _call(self, layer: Mapping, node: int, refs: Sequence[Reference], values: dict) -> None:
        kind, config, name = layer["class_name"], layer["config"], _name(layer)
        if not refs:
            raise MarginomeError(f"the layer '{name}' is called with nothing", where=self.where)
        if kind in MODELS or (isinstance(config, Mapping) and "layers" in config):
            refs = [self._plain(ref, values) for ref in refs]
            shapes = [values[ref].shape for ref in refs]
            graph = Graph(layer, self.weights.within(name), self.where, self.keras, called_with=shapes)
            self._add(name, graph, refs, (name, node, 0))
            for i, shape in enumerate(graph.output_shapes):
                values[(name, node, i)] = Value(shape)
            return
        built = self._build(layer, refs, values)
        if built is None:  # it needs Keras' own order
            refs = [self._plain(ref, values) for ref in refs]
            built = self._build(layer, refs, values)
        modules, value = built
        for i, module in enumerate(modules):
            last = i == len(modules) - 1
            self._add(name, module, refs if i == 0 else [(name, node, f"step{i}")],
                      (name, node, 0) if last else (name, node, f"step{i + 1}"))  # fmt: skip
        values[(name, node, 0)] = value

    def _build(self, layer: Mapping, refs: Sequence[Reference], values: dict) -> Any:
        name = _name(layer)
        settings = Settings(layer["config"], name, self.where, self.keras)
        inputs = tuple(values[ref] for ref in refs)
        registered = layer.get("registered_name")  # of a layer that is not Keras' own
        kind = registered if registered in crested_layers.BUILDERS else layer["class_name"]
        return build_layer(Call(kind, name, settings, inputs, self.weights), BUILDERS)

    def _add(self, name: str, module: nn.Module, sources: Sequence[tuple], target: tuple) -> None:
        key = re.sub(r"\W", "_", f"layer{len(self.plan)}_{name}")
        self.calls[key] = module
        if isinstance(module, Graph):
            self._nested[name] = key
        self.plan.append((key, tuple(sources), target))

    def _plain(self, ref: Reference, values: dict) -> Reference:
        """A reference to the value in Keras' own order: positions-major where it was flattened."""
        value = values[ref]
        if value.flat_of is None:
            return ref
        plain = (*ref, "positions_major")
        if plain not in values:
            self._add(f"{ref[0]}_positions_major", PositionsMajor(*value.flat_of), [ref], plain)
            values[plain] = Value(value.shape)
        return plain


class InKerasOrder(nn.Module):
    """A graph that returns what Keras returns: positions before channels, ``(n, length, channels)``."""

    def __init__(self, graph: nn.Module):
        super().__init__()
        self.graph = graph

    def forward(self, X: Tensor, *args: Tensor) -> Any:
        """``(n, 4, length)``, and further inputs as the graph takes them, to outputs in Keras' order."""
        found = self.graph(X, *args)
        if isinstance(found, tuple):
            return tuple(_positions_first(value) for value in found)
        return _positions_first(found)


def _positions_first(value: Tensor) -> Tensor:
    return value.transpose(1, 2) if value.dim() == 3 else value


# ------------------------------------------------------------------------- reading the architecture's JSON
def _shape_in_file(settings: Settings) -> tuple[int | None, ...]:
    """An input's shape without the batch; None where any length will do."""
    key = "batch_shape" if "batch_shape" in settings.values else "batch_input_shape"
    shape = settings.get(key)
    settings.refuse_unread()
    if not isinstance(shape, list) or not all(
        n is None or (type(n) is int and 0 < n <= MOST_POSITIONS) for n in shape[1:]
    ):
        raise settings.unsupported(f"its {key} is {shape!r}")
    if len(shape) not in (2, 3):
        raise settings.unsupported(f"an input of shape {shape[1:]}; known are (length, channels) and (features,)")
    return tuple(shape[1:])


def _shape_in_entry(entry: Mapping[str, Any], i: int, name: str, axes: int) -> tuple[int | None, ...]:
    """What the config tells of the i-th input's shape, in Keras' order."""
    for argument in entry.get("arguments") or ():
        if i and argument.get("name") == name and len(argument.get("shape") or ()) == axes:
            return tuple(reversed(argument["shape"]))
    return (entry.get("input_length"), None) if axes == 2 else (None,)


def _sequential_as_graph(
    layers: Sequence[Mapping], built: Any, called_with: Sequence[tuple] | None, where: str
) -> tuple[list, list[Reference], list[Reference]]:
    """A Sequential model in the terms of a functional one: each layer called on the one before."""
    layers = [dict(layer) for layer in layers]
    if not layers:
        raise MarginomeError("the architecture has no layers", where=where)
    if layers[0]["class_name"] != "InputLayer":
        shape = layers[0]["config"].get("batch_input_shape") or built
        if shape is None and called_with:
            shape = [None, *called_with[0]]
        if shape is None:
            raise MarginomeError("the first layer does not tell the shape of the sequences", where=where)
        layers.insert(0, {"class_name": "InputLayer", "config": {"name": "sequence", "batch_input_shape": shape}})
    names = [_name(layer) for layer in layers]
    layers[0]["inbound_nodes"] = []
    for layer, before in zip(layers[1:], names):
        layer["inbound_nodes"] = [[[before, 0, 0, {}]]]
    return layers, [(names[0], 0, 0)], [(names[-1], 0, 0)]


def _name(layer: Mapping) -> str:
    config = layer["config"]
    name = config.get("name", layer.get("name")) if isinstance(config, Mapping) else layer.get("name")
    if not isinstance(name, str):
        raise TypeError(f"a layer's name is {name!r}")
    return name


def _numbered_from_zero(calls: dict[str, list[list[tuple]]], outputs: list[tuple]) -> tuple[dict, list[tuple]]:
    """Count the calls of each layer from 0: Keras 2 counts those of a nested model from 1 (0 is its own making)."""
    highest: dict[str, int] = {}
    for name, node, _ in [*outputs, *(ref for refs in calls.values() for call in refs for ref in call)]:
        highest[name] = max(highest.get(name, 0), node)

    def counted(ref: Reference) -> Reference:
        name, node, index = ref
        offset = 1 if calls.get(name) and highest[name] == len(calls[name]) else 0
        return name, node - offset, index

    shifted = {name: [[counted(ref) for ref in call] for call in refs] for name, refs in calls.items()}
    return shifted, [counted(ref) for ref in outputs]


def _references(entry: Any, where: str) -> list[Reference]:
    """``[["a", 0, 0], ...]``, or Keras 3's ``["a", 0, 0]`` for a single one."""
    if not isinstance(entry, list):
        raise MarginomeError(
            f"its inputs or outputs are a {type(entry).__name__}; a list is read",
            where=where,
            remedy="Build the model with lists of inputs and outputs, and save it again.",
        )
    entries = [entry] if entry and isinstance(entry[0], str) else entry
    return [_reference(item) for item in entries]


def _reference(item: Any) -> Reference:
    name, node, index = item[:3]
    if not isinstance(name, str) or type(node) is not int or type(index) is not int:
        raise TypeError(f"{item!r} is no reference to a layer's output")
    return name, node, index


def _calls(layer: Mapping, where: str) -> list[list[Reference]]:
    """The inputs of each call of a layer, from Keras 2's or Keras 3's form."""
    calls = []
    for node in layer.get("inbound_nodes") or []:
        if isinstance(node, Mapping):  # Keras 3
            refs = [_keras3_reference(item) for item in _flatten(node.get("args", []))]
            settings = [node.get("kwargs") or {}]
        else:
            entries = [node] if node and isinstance(node[0], str) else node
            refs = [_reference(entry) for entry in entries]
            settings = [dict(entry[3]) for entry in entries if len(entry) > 3 and entry[3]]
            if layer.get("class_name") == "MultiHeadAttention":  # the query alone is an input, the others are named
                named = [given.pop(key) for given in settings for key in ("value", "key") if given.get(key)]
                refs += [_reference(item) for item in named]
        # e.g. training=True, with which dropout acts at prediction too
        beyond = {key: value for given in settings for key, value in given.items() if value is not None}
        if beyond.pop("training", False) or beyond or None in refs:
            raise MarginomeError(
                f"layer '{_name(layer)}' is called with more than tensors ({', '.join(beyond) or 'training'}); "
                "that is not supported",
                where=where,
            )
        calls.append(refs)
    return calls


def _flatten(value: Any) -> list:
    return [leaf for item in value for leaf in _flatten(item)] if isinstance(value, list) else [value]


def _keras3_reference(item: Any) -> Reference | None:
    if isinstance(item, Mapping) and item.get("class_name") == "__keras_tensor__":
        return _reference(item["config"]["keras_history"])
    return None
