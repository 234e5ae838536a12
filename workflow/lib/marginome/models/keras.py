"""Convolutional Keras models (.h5) rebuilt in PyTorch: read as JSON and arrays, so nothing in the file is executed.

Covers ChromBPNet (bias, accessibility and combined), BPNet of basepairmodels, and models like
MPRA-DragoNN's. Files of Keras 2 and the legacy .h5 of Keras 3 are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from marginome.errors import MarginomeError
from marginome.models.arguments import Argument
from marginome.models.bpnet import ChromBPNet
from marginome.models.layers import Exp, LogSumExp
from marginome.models.outputs import Output
from marginome.models.pickles import damaged_weights

_ACTIVATIONS = {
    "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus, "elu": nn.ELU, "selu": nn.SELU,
    "silu": nn.SiLU, "swish": nn.SiLU, "softsign": nn.Softsign, "relu6": nn.ReLU6, "exponential": Exp,
}  # fmt: skip
_NOTHING_AT_PREDICTION = {
    "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
}  # fmt: skip
_MODELS = {"Sequential", "Functional", "Model", "CustomModel"}
# Lambda layers hold marshalled Python, which is never read. These are known by their names.
_LOGSUMEXP_LAYERS = ("logcount_predictions", "logsumexp_counts_bias")


def load_keras(
    file: str, bias_file: str | None, settings: Mapping[str, Any], loader: str, where: str
) -> dict[str, Any]:
    """Build a model from a Keras .h5 file.

    Parameters
    ----------
    file : str
        Written by ``model.save`` (.h5), or by ``model.save_weights`` with ``architecture`` in `settings`.
    bias_file : str or None
        ChromBPNet's bias model, added to the accessibility model in `file`.
    settings : mapping
        The model's config entry: ``architecture`` and ``component`` are used.
    loader : str
        ``chrombpnet`` and ``bpnet_keras`` want a profile and a count output.
    where : str
        For messages.

    Returns
    -------
    dict
        ``module``, ``input_length``, ``arguments`` (inputs beside the sequence) and ``outputs`` (the
        defaults).
    """
    graph = _read(file, settings.get("architecture"), where)
    component = settings.get("component")
    if component is not None:
        graph = _component(graph, component, bias_file is not None, where)
    if bias_file is not None:
        bias = _read(bias_file, None, f"{where}: {bias_file}")
        for part, source in ((graph, where), (bias, bias_file)):
            if not _is_bpnet(part) or len(part.outputs) != 2 or part.nested():
                raise MarginomeError("bias_weights join two single ChromBPNet models; this is none", where=str(source))
        for ours, theirs in zip(graph.output_shapes, bias.output_shapes):
            if ours != theirs:
                raise MarginomeError(f"outputs of shape {ours} and, in {bias_file}, {theirs}", where=where)
        module: nn.Module = ChromBPNet(graph, bias)
    else:
        module = graph
    if loader != "keras" and not _is_bpnet(graph):
        raise MarginomeError(
            f"the loader {loader} wants a profile and a log-count output; found {', '.join(graph.outputs)}",
            where=where,
            remedy="Use loader: keras and name the outputs.",
        )
    sequence = graph.input_shapes[0]
    if len(sequence) != 2 or sequence[1] != 4:
        raise MarginomeError(f"the first input is {sequence}; wanted (length, 4)", where=where)
    if sequence[0] is None:
        raise MarginomeError(
            "the model leaves the length of its sequences open; that is not supported for Keras files", where=where
        )
    return {
        "module": module,
        "input_length": sequence[0],
        "arguments": tuple(_argument(*item) for item in list(zip(graph.inputs, graph.input_shapes))[1:]),
        "outputs": _default_outputs(graph),
    }


def _argument(name: str, shape: tuple) -> Argument:
    if len(shape) == 2:
        shape = (shape[1], shape[0])
    strands = ("bias" in name or "control" in name) and shape[0] == 2
    flip = ((0,) if strands else ()) + ((1,) if len(shape) == 2 and (strands or shape[0] == 1) else ())
    return Argument(name, shape, flip=flip)


def _default_outputs(graph: Graph) -> tuple[Output, ...]:
    if _is_bpnet(graph):
        profile = next(i for i, name in enumerate(graph.outputs) if "profile" in name)
        counts = next(i for i, name in enumerate(graph.outputs) if "logcount" in name)
        strands = graph.output_shapes[profile][1] if len(graph.output_shapes[profile]) == 2 else 1
        k = graph.output_shapes[counts][0]
        names = ("counts",) if k == 1 else tuple(f"counts_{i + 1}" for i in range(k))
        # basepairmodels: counts per track go with a multinomial loss per track, one count with one over both
        softmax = "strand" if k > 1 and k == strands else "both"
        return (
            Output("counts", head=counts, names=names, unit="log counts", measure="difference"),
            Output("profile", "profile", profile, unit="logits", measure="jensen_shannon_distance", softmax=softmax),
        )
    if len(graph.outputs) == 1:
        return (Output(graph.outputs[0], unit="model units"),)
    return ()


def _is_bpnet(graph: Graph) -> bool:
    return any("profile" in name for name in graph.outputs) and any("logcount" in name for name in graph.outputs)


def _component(graph: Graph, component: str, has_bias_file: bool, where: str) -> Graph:
    nested = graph.nested()
    if component == "combined":
        if not nested and not has_bias_file:
            raise MarginomeError("component 'combined': the file holds a single model", where=where)
        return graph
    if nested:
        found = [g for name, g in nested.items() if ("wo_bias" in name) == (component == "accessibility")]
        if len(found) != 1:
            raise MarginomeError(
                f"component '{component}' cannot be told among the parts {', '.join(nested)}", where=where
            )
        return found[0]
    single = "accessibility" if any("wo_bias" in name for name in graph.outputs) else "bias"
    if single != component:
        raise MarginomeError(
            f"component '{component}' was asked for, but by its layer names the file holds the {single} model alone",
            where=where,
        )
    return graph


# ----------------------------------------------------------------------------------------------- reading
def _read(file: str, architecture: str | None, where: str) -> Graph:
    try:
        with h5py.File(file, "r") as handle:
            config = handle.attrs.get("model_config")
            if config is None and architecture is None:
                raise MarginomeError(
                    "the file holds weights without an architecture, or is no Keras file",
                    where=where,
                    remedy="Save with model.save(file.h5), or give architecture: the JSON of model.to_json().",
                )
            if architecture is not None:
                config = Path(architecture).read_text(encoding="utf-8")
            config = json.loads(config.decode() if isinstance(config, bytes) else config)
            root = handle["model_weights"] if "model_weights" in handle else handle
            if config.get("class_name") not in _MODELS and "layers" not in config.get("config", {}):
                raise MarginomeError(
                    f"the architecture is a {config.get('class_name')}; known: Sequential, Model", where=where
                )
            return Graph(config, _Weights(root, where), where)
    except OSError as error:
        raise damaged_weights(file, error) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MarginomeError(f"the architecture is no JSON ({error})", where=architecture or where) from error


class _Weights:
    """The arrays of one top-level layer's group at a time, by the name of the layer they belong to."""

    def __init__(self, root: h5py.Group, where: str):
        self.root, self.where, self.group = root, where, ""

    def of(self, layer: str, kinds: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Arrays of a layer by kind ("kernel", "bias", ...); a missing one that is not optional is an error."""
        top = self.group or layer
        if top not in self.root:
            raise MarginomeError(f"there are no weights for layer '{top}'", where=self.where)
        group, found = self.root[top], {}
        for name in group.attrs.get("weight_names", ()):
            name = name.decode() if isinstance(name, bytes) else str(name)
            parts = name.split("/")
            # of a nested model's group: the layer's own; of a layer's own group: everything
            if not self.group or layer in parts[:-1]:
                found[parts[-1].split(":")[0]] = group[name][()]
        missing = [kind for kind in kinds if kind not in found and kind not in optional]
        if missing:
            raise MarginomeError(f"layer '{layer}' has no {', '.join(missing)} in the file", where=self.where)
        return found

    def within(self, layer: str) -> _Weights:
        """The same for the layers of a nested model, which lie in its group."""
        inner = _Weights(self.root, self.where)
        inner.group = self.group or layer
        return inner


@dataclass
class _Value:
    """What is known of one tensor while the graph is built: its Keras shape, and how it is laid out."""

    shape: tuple  # without the batch, as Keras counts: (length, channels) or (features,)
    flat_of: tuple[int, int] | None = None  # (length, channels) flattened channels-major, as PyTorch does


class Graph(nn.Module):
    """A Keras model as a static graph of PyTorch modules; sequences are ``(n, channels, length)`` throughout.

    Attributes
    ----------
    inputs, outputs : list of str
        Names of the input and output layers.
    input_shapes, output_shapes : list of tuple
        In Keras' terms, without the batch.
    """

    def __init__(self, config: Mapping[str, Any], weights: _Weights, where: str):
        super().__init__()
        inner = config["config"]
        layers = inner if isinstance(inner, list) else inner["layers"]
        if config["class_name"] == "Sequential":
            layers, inputs, outputs = _sequential_as_graph(layers, where)
        else:
            inputs, outputs = _references(inner["input_layers"]), _references(inner["output_layers"])
        calls = {_name(layer): _calls(layer, where) for layer in layers}
        calls, outputs = _numbered_from_zero(calls, outputs)
        self.inputs = [name for name, _, _ in inputs]
        self.outputs = [name for name, _, _ in outputs]
        self.calls = nn.ModuleDict()
        self._nested: dict[str, str] = {}
        self.plan: list[tuple[str, tuple, tuple]] = []  # (module, where its inputs are, where its output goes)
        values: dict[tuple, _Value] = {}
        waiting = [(layer, node, refs) for layer in layers for node, refs in enumerate(calls[_name(layer)])]
        by_name = {_name(layer): layer for layer in layers}
        for name, _, _ in inputs:
            shape = by_name[name]["config"].get("batch_shape") or by_name[name]["config"].get("batch_input_shape")
            values[(name, 0, 0)] = _Value(tuple(shape[1:]))
        self.input_shapes = [values[(name, 0, 0)].shape for name in self.inputs]
        while waiting:
            ready = [item for item in waiting if all(ref in values for ref in item[2])]
            if not ready:
                raise MarginomeError(f"the layer {_name(waiting[0][0])} has inputs that do not exist", where=where)
            for layer, node, refs in ready:
                self._call(layer, node, refs, values, weights, where)
            waiting = [item for item in waiting if not any(item is done for done in ready)]
        self._outputs = [self._plain(ref, values) for ref in outputs]
        self.output_shapes = [values[ref].shape for ref in outputs]
        self._inputs = [(name, 0, 0) for name in self.inputs]

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

    def _add(self, name: str, module: nn.Module, sources: Sequence[tuple], target: tuple) -> None:
        key = re.sub(r"\W", "_", f"layer{len(self.plan)}_{name}")
        self.calls[key] = module
        if isinstance(module, Graph):
            self._nested[name] = key
        self.plan.append((key, tuple(sources), target))

    def _plain(self, ref: tuple, values: dict[tuple, _Value]) -> tuple:
        """A reference to the value in Keras' own order: positions-major where it was flattened."""
        value = values[ref]
        if value.flat_of is None:
            return ref
        plain = (*ref, "positions_major")
        if plain not in values:
            self._add(f"{ref[0]}_positions_major", _PositionsMajor(*value.flat_of), [ref], plain)
            values[plain] = _Value(value.shape)
        return plain

    def _call(
        self, layer: Mapping, node: int, refs: Sequence[tuple], values: dict, weights: _Weights, where: str
    ) -> None:
        kind, config = layer["class_name"], layer["config"]
        name = _name(layer)
        target = (name, node, 0)
        if kind in _MODELS or ("layers" in config and kind != "Bidirectional"):
            graph = Graph(layer, weights.within(name), where)
            self._add(name, graph, [self._plain(ref, values) for ref in refs], target)
            for i, shape in enumerate(graph.output_shapes):
                values[(name, node, i)] = _Value(shape)
            return
        steps = _layer(kind, config, name, [values[ref] for ref in refs], weights, where)
        if steps is None:  # needs Keras' own order
            refs = [self._plain(ref, values) for ref in refs]
            steps = _layer(kind, config, name, [values[ref] for ref in refs], weights, where)
        modules, value = steps
        for i, module in enumerate(modules):
            last = i == len(modules) - 1
            self._add(name, module, refs if i == 0 else [(name, node, f"step{i}")],
                      target if last else (name, node, f"step{i + 1}"))  # fmt: skip
        values[target] = value


def _sequential_as_graph(layers: Sequence[Mapping], where: str) -> tuple[list, list, list]:
    """A Sequential model in the terms of a functional one: each layer called on the one before."""
    layers = [dict(layer) for layer in layers]
    if layers[0]["class_name"] != "InputLayer":
        shape = layers[0]["config"].get("batch_input_shape")
        if shape is None:
            raise MarginomeError("the first layer does not tell the shape of the sequences", where=where)
        layers.insert(0, {"class_name": "InputLayer", "config": {"name": "sequence", "batch_input_shape": shape}})
    names = [_name(layer) for layer in layers]
    for layer, before in zip(layers[1:], names):
        layer["inbound_nodes"] = [[[before, 0, 0, {}]]]
    return layers, [(names[0], 0, 0)], [(names[-1], 0, 0)]


def _name(layer: Mapping) -> str:
    return layer["config"].get("name", layer.get("name"))


def _numbered_from_zero(calls: dict[str, list[list[tuple]]], outputs: list[tuple]) -> tuple[dict, list[tuple]]:
    """Count the calls of each layer from 0: Keras 2 counts those of a nested model from 1 (0 is its own making)."""
    highest: dict[str, int] = {}
    for name, node, _ in [*outputs, *(ref for refs in calls.values() for call in refs for ref in call)]:
        highest[name] = max(highest.get(name, 0), node)

    def counted(ref: tuple) -> tuple:
        name, node, index = ref
        offset = 1 if calls.get(name) and highest[name] == len(calls[name]) else 0
        return name, node - offset, index

    shifted = {name: [[counted(ref) for ref in call] for call in refs] for name, refs in calls.items()}
    return shifted, [counted(ref) for ref in outputs]


def _references(entry: Any) -> list[tuple]:
    """``[["a", 0, 0], ...]``, or Keras 3's ``["a", 0, 0]`` for a single one."""
    entries = [entry] if entry and isinstance(entry[0], str) else entry
    return [tuple(e[:3]) for e in entries]


def _calls(layer: Mapping, where: str) -> list[list[tuple]]:
    """The inputs of each call of a layer, from Keras 2's or Keras 3's form."""
    calls = []
    for node in layer.get("inbound_nodes") or []:
        if isinstance(node, Mapping):  # Keras 3
            refs = [_keras3_reference(item) for item in _flatten(node.get("args", []))]
            if any(_flatten_has_tensor(value) for value in node.get("kwargs", {}).values()) or None in refs:
                raise MarginomeError(
                    f"layer {_name(layer)} is called with more than tensors; not supported", where=where
                )
            calls.append(refs)
        else:
            entries = [node] if node and isinstance(node[0], str) else node
            calls.append([tuple(entry[:3]) for entry in entries])
    return calls


def _flatten(value: Any) -> list:
    return [leaf for item in value for leaf in _flatten(item)] if isinstance(value, list) else [value]


def _keras3_reference(item: Any) -> tuple | None:
    if isinstance(item, Mapping) and item.get("class_name") == "__keras_tensor__":
        return tuple(item["config"]["keras_history"])
    return None


def _flatten_has_tensor(value: Any) -> bool:
    return any(_keras3_reference(item) is not None for item in _flatten([value]))


# ------------------------------------------------------------------------------------------------ layers
class _PositionsMajor(nn.Module):
    """From channels-major to positions-major order of a flattened ``(channels, length)``."""

    def __init__(self, length: int, channels: int):
        super().__init__()
        self.length, self.channels = length, channels

    def forward(self, X: Tensor) -> Tensor:
        return X.unflatten(1, (self.channels, self.length)).transpose(1, 2).flatten(1)


class _Crop(nn.Module):
    """Cut positions off both ends."""

    def __init__(self, left: int, right: int):
        super().__init__()
        self.left, self.right = left, right

    def forward(self, X: Tensor) -> Tensor:
        return X[:, :, self.left : -self.right or None]


class _Add(nn.Module):
    """Sum of its inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[0]
        for value in inputs[1:]:
            total = total + value
        return total


class _Multiply(nn.Module):
    """Product of its inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        product = inputs[0]
        for value in inputs[1:]:
            product = product * value
        return product


class _Concatenate(nn.Module):
    """Inputs side by side along an axis."""

    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=self.axis)


class _MeanOverPositions(nn.Module):
    """Mean over the last axis."""

    def forward(self, X: Tensor) -> Tensor:
        return X.mean(dim=2)


class _MaxOverPositions(nn.Module):
    """Maximum over the last axis."""

    def forward(self, X: Tensor) -> Tensor:
        return X.amax(dim=2)


def _layer(
    kind: str, config: Mapping, name: str, inputs: Sequence[_Value], weights: _Weights, where: str
) -> tuple[list[nn.Module], _Value] | None:
    """Modules of one layer and the value that comes out; None when the inputs must be in Keras' own order."""

    def unsupported(what: str) -> MarginomeError:
        return MarginomeError(
            f"layer '{name}': {what}",
            where=where,
            remedy="Rebuild the model in PyTorch and name your function: loader: path/to/file.py:function.",
        )

    value = inputs[0]
    spatial = len(value.shape) == 2
    if kind in _NOTHING_AT_PREDICTION:
        return [nn.Identity()], value
    if kind in ("Conv1D", "Convolution1D"):
        return _conv(config, name, value, weights, unsupported)
    if kind == "TimeDistributed" and config["layer"]["class_name"] == "Dense" and spatial:
        kind, config = "Dense", config["layer"]["config"]
    if kind == "Dense":
        return _dense(config, name, value, weights, unsupported)
    if kind in ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"):
        modules = _activation(_activation_name(kind, config), config, spatial, unsupported)
        if kind == "Softmax" and config.get("axis", -1) not in (-1, len(value.shape)):
            raise unsupported(f"softmax over axis {config['axis']}")
        if value.flat_of and any(isinstance(m, nn.Softmax) for m in modules):
            return None
        return modules or [nn.Identity()], value
    if value.flat_of is not None:
        return None
    if kind == "BatchNormalization":
        return _batch_norm(config, name, value, weights, unsupported)
    if kind == "Flatten":
        size = int(np.prod(value.shape))
        mixed = spatial and min(value.shape) > 1  # otherwise both orders are the same
        return [nn.Flatten()], _Value((size,), tuple(value.shape) if mixed else None)
    if kind in ("MaxPooling1D", "AveragePooling1D"):
        return _pool(kind, config, value, unsupported)
    if kind in ("GlobalAveragePooling1D", "GlobalAvgPool1D"):
        return [_MeanOverPositions()], _Value((value.shape[1],))
    if kind in ("GlobalMaxPooling1D", "GlobalMaxPool1D"):
        return [_MaxOverPositions()], _Value((value.shape[1],))
    if kind in ("Cropping1D", "ZeroPadding1D"):
        left, right = _pair(config["cropping" if kind == "Cropping1D" else "padding"])
        sign = -1 if kind == "Cropping1D" else 1
        module = _Crop(left, right) if kind == "Cropping1D" else nn.ConstantPad1d((left, right), 0.0)
        return [module], _Value((value.shape[0] + sign * (left + right), value.shape[1]))
    if kind in ("Add", "Multiply") and len({v.shape for v in inputs}) == 1 and not any(v.flat_of for v in inputs):
        return [_Add() if kind == "Add" else _Multiply()], value
    if kind == "Concatenate":
        if any(v.flat_of for v in inputs):
            return None
        axis = config.get("axis", -1)
        axis = axis if axis >= 0 else axis + len(value.shape) + 1
        shape = list(value.shape)
        shape[axis - 1] = sum(v.shape[axis - 1] for v in inputs)
        return [_Concatenate({1: 2, 2: 1}[axis] if spatial else axis)], _Value(tuple(shape))
    if kind == "Lambda":
        if any(known in name for known in _LOGSUMEXP_LAYERS) and not spatial:
            return [LogSumExp()], _Value((1,))
        raise unsupported("it holds Python code, which is not run")
    raise unsupported(f"layers of the kind {kind} are not supported")


def _activation_name(kind: str, config: Mapping) -> Any:
    if kind == "Activation":
        return config["activation"]
    return {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Softmax": "softmax"}[kind]


def _activation(name: Any, config: Mapping, spatial: bool, unsupported: Any) -> list[nn.Module]:
    if isinstance(name, Mapping):  # a layer object given as the activation
        name, config = (
            {"ReLU": "relu", "LeakyReLU": "leaky_relu"}.get(name["class_name"], name["class_name"]),
            name["config"],
        )
    if name in (None, "linear"):
        return []
    if name == "relu" and (
        config.get("max_value") is not None or config.get("threshold") or config.get("negative_slope")
    ):
        raise unsupported("a ReLU with a maximum, a threshold or a slope is not supported")
    if name == "leaky_relu":  # Keras 2 calls the slope alpha (0.3), Keras 3 negative_slope
        return [nn.LeakyReLU(config.get("negative_slope", config.get("alpha", 0.3)))]
    if name == "elu" and config.get("alpha", 1.0) != 1.0:
        return [nn.ELU(config["alpha"])]
    if name == "softmax":  # over the last axis: channels
        return [nn.Softmax(dim=1)]
    if name == "gelu":
        return [nn.GELU()]
    if name not in _ACTIVATIONS:
        raise unsupported(f"the activation '{name}' is not known")
    return [_ACTIVATIONS[name]()]


def _conv(config: Mapping, name: str, value: _Value, weights: _Weights, unsupported: Any) -> tuple:
    arrays = weights.of(name, ["kernel", "bias"], optional=() if config.get("use_bias", True) else ["bias"])
    kernel = arrays["kernel"]  # (width, channels in, channels out)
    width, _, filters = kernel.shape
    if config.get("data_format", "channels_last") != "channels_last" or len(value.shape) != 2:
        raise unsupported("channels_first data are not supported")
    groups = config.get("groups", 1)
    if kernel.shape[1] * groups != value.shape[1] or filters != config["filters"]:
        raise unsupported(
            f"its kernel {kernel.shape} does not fit {value.shape[1]} channels, {config['filters']} filters"
        )
    stride, dilation = config["strides"][0], config["dilation_rate"][0]
    span = (width - 1) * dilation + 1
    left, right = _padding(config["padding"], value.shape[0], span, stride, unsupported)
    conv = nn.Conv1d(value.shape[1], filters, width, stride=stride, dilation=dilation, groups=groups,
                     padding=left if left == right else 0, bias="bias" in arrays)  # fmt: skip
    _copy(conv.weight, kernel.transpose(2, 1, 0))
    if "bias" in arrays:
        _copy(conv.bias, arrays["bias"])
    length = (value.shape[0] + left + right - span) // stride + 1
    if length < 1:
        raise unsupported(f"nothing is left of {value.shape[0]} positions")
    pad = [] if left == right else [nn.ConstantPad1d((left, right), 0.0)]
    return [*pad, conv, *_activation(config.get("activation"), {}, True, unsupported)], _Value((length, filters))


def _padding(how: str, length: int, span: int, stride: int, unsupported: Any) -> tuple[int, int]:
    if how == "valid":
        return 0, 0
    if how == "causal":
        return span - 1, 0
    if how == "same":
        total = max((-(-length // stride) - 1) * stride + span - length, 0)
        return total // 2, total - total // 2
    raise unsupported(f"padding '{how}' is not known")


def _dense(config: Mapping, name: str, value: _Value, weights: _Weights, unsupported: Any) -> tuple:
    arrays = weights.of(name, ["kernel", "bias"], optional=() if config.get("use_bias", True) else ["bias"])
    kernel = arrays["kernel"]
    if kernel.shape != (value.shape[-1], config["units"]):
        raise unsupported(f"its kernel {kernel.shape} does not fit {value.shape[-1]} inputs, {config['units']} units")
    spatial = len(value.shape) == 2
    if spatial:  # at every position: a convolution of width 1
        module: nn.Module = nn.Conv1d(*kernel.shape, 1, bias="bias" in arrays)
        _copy(module.weight, kernel.T[:, :, None])
    else:
        if value.flat_of is not None:  # the file's rows are positions-major, what comes in is channels-major
            length, channels = value.flat_of
            kernel = kernel.reshape(length, channels, -1).transpose(1, 0, 2).reshape(kernel.shape)
        module = nn.Linear(*kernel.shape, bias="bias" in arrays)
        _copy(module.weight, kernel.T)
    if "bias" in arrays:
        _copy(module.bias, arrays["bias"])
    shape = (value.shape[0], config["units"]) if spatial else (config["units"],)
    return [module, *_activation(config.get("activation"), {}, spatial, unsupported)], _Value(shape)


def _batch_norm(config: Mapping, name: str, value: _Value, weights: _Weights, unsupported: Any) -> tuple:
    axis = config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) else axis
    if axis not in (-1, len(value.shape)):
        raise unsupported(f"batch normalisation over axis {axis} is not supported")
    optional = [k for k, flag in (("gamma", "scale"), ("beta", "center")) if not config.get(flag, True)]
    arrays = weights.of(name, ["gamma", "beta", "moving_mean", "moving_variance"], optional=optional)
    norm = nn.BatchNorm1d(value.shape[-1], eps=config["epsilon"])
    for tensor, kind in (
        (norm.weight, "gamma"), (norm.bias, "beta"), (norm.running_mean, "moving_mean"),
        (norm.running_var, "moving_variance"),
    ):  # fmt: skip
        if kind in arrays:
            _copy(tensor, arrays[kind])
    return [norm], value


def _pool(kind: str, config: Mapping, value: _Value, unsupported: Any) -> tuple:
    size = _single(config["pool_size"])
    stride = _single(config.get("strides") or size)
    left, right = _padding(config["padding"], value.shape[0], size, stride, unsupported)
    if kind == "AveragePooling1D" and left + right:
        raise unsupported("average pooling with padding is not supported")
    pool = nn.MaxPool1d(size, stride) if kind == "MaxPooling1D" else nn.AvgPool1d(size, stride)
    pad = [nn.ConstantPad1d((left, right), float("-inf"))] if left + right else []
    length = (value.shape[0] + left + right - size) // stride + 1
    return [*pad, pool], _Value((length, value.shape[1]))


def _single(value: Any) -> int:
    return int(value[0]) if isinstance(value, list | tuple) else int(value)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1])) if isinstance(value, list | tuple) else (int(value), int(value))


def _copy(tensor: Tensor, array: np.ndarray) -> None:
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
