"""Keras layers that relate positions, or channels, to each other: separable convolutions, norms, attention, cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from marginome.models.keras.activations import activation
from marginome.models.keras.layers import Builder, Built, Call, Value, bounded, check_norm_axis, copy, padding
from marginome.models.keras.settings import Settings
from marginome.models.keras.weights import Part


# ----------------------------------------------------------------------------------------------- modules
class OverChannels(nn.Module):
    """A module of ``(n, positions, channels)`` on ``(n, channels, positions)``."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        """``(n, channels, positions)`` to the same, or to ``(n, features)`` where no positions are left."""
        y = self.module(*(X.transpose(1, 2) for X in inputs))
        return y.transpose(1, 2) if y.dim() == 3 else y


class Repeat(nn.Module):
    """Every position several times."""

    def __init__(self, times: int):
        super().__init__()
        self.times = times

    def forward(self, X: Tensor) -> Tensor:
        """``(n, channels, length)`` to ``(n, channels, times * length)``."""
        return X.repeat_interleave(self.times, dim=2)


class Attention(nn.Module):
    """Attention of several heads over positions, as Keras computes it: softmax of q k / sqrt(key width).

    Parameters
    ----------
    query, key, value, output : torch.nn.Linear
        Of all heads side by side.
    heads : int
    """

    def __init__(self, query: nn.Linear, key: nn.Linear, value: nn.Linear, output: nn.Linear, heads: int):
        super().__init__()
        self.query, self.key, self.value, self.output, self.heads = query, key, value, output, heads
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, X: Tensor, of: Tensor, keys: Tensor | None = None) -> Tensor:
        """``(n, positions, channels)`` of the query, the value, and the key where it is not the value."""
        query, key, value = self._split(self.query(X)), self._split(self.key(of if keys is None else keys)), of
        value = self._split(self.value(value))
        scores = torch.matmul(query * (1 / math.sqrt(query.shape[-1])), key.transpose(2, 3))
        mixed = torch.matmul(self.softmax(scores), value)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _split(self, X: Tensor) -> Tensor:
        """``(n, positions, heads * width)`` to ``(n, heads, positions, width)``."""
        return X.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Recurrent(nn.Module):
    """An LSTM or a GRU over positions, from either end.

    Parameters
    ----------
    cells : torch.nn.LSTM or torch.nn.GRU
        Its first axis is the batch.
    backwards : bool
        Whether it begins at the last position.
    sequences : bool
        Whether the state of every position is returned, in the order in which they are made; else that of the last.
    """

    def __init__(self, cells: nn.RNNBase, backwards: bool, sequences: bool):
        super().__init__()
        self.cells, self.backwards, self.sequences = cells, backwards, sequences

    def forward(self, X: Tensor) -> Tensor:
        """``(n, positions, channels)`` to ``(n, positions, units)`` or ``(n, units)``."""
        states, _ = self.cells(X.flip(1) if self.backwards else X)
        return states if self.sequences else states[:, -1]


class BothWays(nn.Module):
    """Two LSTMs or GRUs, one from either end, their states merged at every position."""

    def __init__(self, forward: Recurrent, backward: Recurrent, merge: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.ahead, self.back, self.merge = forward, backward, merge

    def forward(self, X: Tensor) -> Tensor:
        """``(n, positions, channels)`` to ``(n, positions, units)`` or ``(n, units)``."""
        ahead, back = self.ahead(X), self.back(X)
        return self.merge(ahead, back.flip(1) if back.dim() == 3 else back)


# ----------------------------------------------------------------------------------------------- layers
def _separable(call: Call) -> Built:
    settings, (_, channels) = call.settings, call.positions.shape
    biased = settings.flag("use_bias", True)
    arrays = call.weights.of(call.name, ["depthwise_kernel", "pointwise_kernel", *(["bias"] if biased else [])])
    filters, width = settings.integer("filters"), settings.integer("kernel_size")
    times = settings.integer("depth_multiplier", 1)
    depthwise, pointwise = arrays["depthwise_kernel"], arrays["pointwise_kernel"]
    if depthwise.shape != (width, channels, times) or pointwise.shape != (1, channels * times, filters):
        raise settings.unsupported(
            f"its kernels {depthwise.shape} and {pointwise.shape} do not fit {channels} channels, {filters} filters"
        )
    first, positions = _of_each_channel(call, depthwise, biased=False)
    second = nn.Conv1d(channels * times, filters, 1, bias=biased)
    copy(second.weight, pointwise.transpose(2, 1, 0))
    if biased:
        copy(second.bias, _fitting(call, "bias", arrays["bias"], (filters,)))
    after = activation(settings.get("activation", None), True, settings)
    return [*first, second, *after], Value((positions, filters))


def _depthwise(call: Call) -> Built:
    settings, (_, channels) = call.settings, call.positions.shape
    biased = settings.flag("use_bias", True)
    kind = "depthwise_kernel" if settings.keras == 2 else "kernel"
    arrays = call.weights.of(call.name, [kind, *(["bias"] if biased else [])])
    width, times = settings.integer("kernel_size"), settings.integer("depth_multiplier", 1)
    kernel = _fitting(call, kind, arrays[kind], (width, channels, times))
    layers, positions = _of_each_channel(call, kernel, biased=biased)
    if biased:
        copy(layers[-1].bias, _fitting(call, "bias", arrays["bias"], (channels * times,)))
    after = activation(settings.get("activation", None), True, settings)
    return [*layers, *after], Value((positions, channels * times))


def _of_each_channel(call: Call, kernel: np.ndarray, *, biased: bool) -> tuple[list[nn.Module], int]:
    """Return a convolution of each channel by kernels ``(width, channels, times)``, and the positions it leaves."""
    settings, (length, channels) = call.settings, call.positions.shape
    width, _, times = kernel.shape
    stride, dilation = settings.integer("strides", 1), settings.integer("dilation_rate", 1)
    span = (width - 1) * dilation + 1
    left, right = padding(settings, length, span, stride)
    bounded(settings, length + left + right, channels * times)
    conv = nn.Conv1d(channels, channels * times, width, stride=stride, dilation=dilation, groups=channels, bias=biased)
    copy(conv.weight, kernel.reshape(width, -1).T[:, None])
    pad = [nn.ConstantPad1d((left, right), 0.0)] if left + right else []
    return [*pad, conv], (length + left + right - span) // stride + 1


def _layer_norm(call: Call) -> Built:
    settings, value = call.settings, call.value
    check_norm_axis(call, "layer normalisation")
    if settings.get("rms_scaling", False) is not False:
        raise settings.unsupported("rms_scaling is not supported")
    kinds = [kind for key, kind in (("scale", "gamma"), ("center", "beta")) if settings.flag(key, True)]
    arrays = call.weights.of(call.name, kinds) if kinds else {}
    norm = nn.LayerNorm(value.shape[-1], eps=settings.number("epsilon", 1e-3))
    for tensor, kind in ((norm.weight, "gamma"), (norm.bias, "beta")):
        if kind in arrays:
            copy(tensor, _fitting(call, kind, arrays[kind], value.shape[-1:]))
    return [OverChannels(norm) if value.spatial else norm], value


def _up_sampling(call: Call) -> Built:
    length, channels = call.positions.shape
    times = call.settings.integer("size", 2)
    bounded(call.settings, length * times, channels)
    return [Repeat(times)], Value((length * times, channels))


def _attention(call: Call) -> Built:
    settings = call.settings
    if len(call.inputs) not in (2, 3) or not all(value.spatial for value in call.inputs):
        raise settings.unsupported(f"an attention of {len(call.inputs)} inputs {[v.shape for v in call.inputs]}")
    query, value, key = (*call.inputs, call.inputs[-1])[:3]
    if value.shape[0] != key.shape[0]:
        raise settings.unsupported(f"values of {value.shape[0]} positions for keys of {key.shape[0]}")
    heads, width = settings.integer("num_heads"), settings.integer("key_dim")
    wide = width if settings.get("value_dim", None) is None else settings.integer("value_dim")
    axes = settings.get("attention_axes", None)
    if axes not in (None, [1], 1):
        raise settings.unsupported(f"attention over axes {axes}")
    if settings.get("use_gate", False) is not False or settings.get("sliding_window", None) is not None:
        raise settings.unsupported("a gate or a sliding window is not supported")
    for key_of_no_effect in ("dropout", "flash_attention", "query_shape", "key_shape", "value_shape",
                             "softmax_robust_masking"):  # fmt: skip
        settings.get(key_of_no_effect, None)
    given = settings.get("output_shape", None)
    given = given[0] if isinstance(given, list) and len(given) == 1 else given
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
        raise settings.unsupported(f"its output_shape is {given!r}")
    out = query.shape[-1] if given is None else given
    biased = settings.flag("use_bias", True)
    bounded(settings, query.shape[0], heads * value.shape[0])
    projections = [
        _projection(call, name, (channels, heads, size), biased)
        for name, channels, size in (
            ("query", query.shape[1], width), ("key", key.shape[1], width), ("value", value.shape[1], wide)
        )
    ]  # fmt: skip
    last = _projection(call, "attention_output", (heads, wide, out), biased)
    return [OverChannels(Attention(*projections, last, heads))], Value((query.shape[0], out))


def _projection(call: Call, name: str, shape: tuple[int, ...], biased: bool) -> nn.Linear:
    """One of an attention's four dense layers, which in Keras have an axis of heads."""
    path = "output_dense" if name == "attention_output" else f"{name}_dense"
    arrays = call.weights.of(call.name, ["kernel", *(["bias"] if biased else [])], Part(name, path))
    kernel = _fitting(call, f"{name}/kernel", arrays["kernel"], shape)
    last = name == "attention_output"
    kernel = kernel.reshape(-1, shape[-1]) if last else kernel.reshape(shape[0], -1)
    dense = nn.Linear(*kernel.shape, bias=biased)
    copy(dense.weight, kernel.T)
    if biased:
        bias = _fitting(call, f"{name}/bias", arrays["bias"], shape[-1:] if last else shape[1:])
        copy(dense.bias, bias.reshape(-1))
    return dense


def _recurrent(call: Call) -> Built:
    length, channels = call.positions.shape
    backwards, sequences = call.settings.flag("go_backwards", False), call.settings.flag("return_sequences", False)
    cells, units = _CELLS[call.kind](call, call.settings, channels, Part("", "cell"))
    module = OverChannels(Recurrent(cells, backwards, sequences))
    return [module], Value((length, units) if sequences else (units,))


def _bidirectional(call: Call) -> Built:
    settings, (length, channels) = call.settings, call.positions.shape
    merge = settings.get("merge_mode", "concat")
    if merge not in _MERGES:
        raise settings.unsupported(f"merge_mode {merge!r} is not supported")
    given, found = (settings.get("layer"), settings.get("backward_layer", None)), []
    for layer, direction in zip(given, ("forward", "backward")):
        layer = given[0] if layer is None else layer  # made of the other's settings
        kind = layer.get("class_name") if isinstance(layer, dict) else layer
        if kind not in _CELLS:
            raise settings.unsupported(f"Bidirectional around {kind} is not supported")
        inner = Settings(layer.get("config"), call.name, settings.where, settings.keras)
        name = inner.get("name", kind.lower())
        group = name if str(name).startswith(direction) else f"{direction}_{name}"
        backwards = inner.flag("go_backwards", False)
        if layer is given[0] and direction == "backward":
            backwards = not backwards
        sequences = inner.flag("return_sequences", False)
        cells, units = _CELLS[kind](call, inner, channels, Part(group, f"{direction}_layer/cell"))
        inner.refuse_unread()
        found.append((Recurrent(cells, backwards, sequences), units, sequences, backwards))
    if found[0][1:3] != found[1][1:3] or found[0][3] or not found[1][3]:
        raise settings.unsupported("its two directions differ, or both go one way")
    units = found[0][1] * (2 if merge == "concat" else 1)
    module = OverChannels(BothWays(found[0][0], found[1][0], _MERGES[merge]))
    return [module], Value((length, units) if found[0][2] else (units,))


def _plain_cells(settings: Settings, kind: str) -> tuple[int, bool]:
    """Return units and whether there is a bias, of cells that PyTorch has."""
    for key, wanted in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        if settings.get(key, wanted) != wanted:
            raise settings.unsupported(f"{key} {settings.get(key)!r} of {kind}; known is {wanted}")
    for key in ("return_state", "stateful", "time_major"):
        if settings.get(key, False) not in (False, None):
            raise settings.unsupported(f"{key} is not supported")
    # of training, of how it is computed, and of masks, which no layer that is read makes
    for key in ("unit_forget_bias", "dropout", "recurrent_dropout", "implementation", "unroll", "use_cudnn",
                "zero_output_for_mask"):  # fmt: skip
        settings.get(key, None)
    return settings.integer("units"), settings.flag("use_bias", True)


def _lstm(call: Call, settings: Settings, channels: int, part: Part) -> tuple[nn.LSTM, int]:
    units, biased = _plain_cells(settings, "an LSTM")
    arrays = call.weights.of(call.name, ["kernel", "recurrent_kernel", *(["bias"] if biased else [])], part)
    kernel = _fitting(call, "kernel", arrays["kernel"], (channels, 4 * units))
    recurrent = _fitting(call, "recurrent_kernel", arrays["recurrent_kernel"], (units, 4 * units))
    lstm = nn.LSTM(channels, units, bias=biased, batch_first=True)
    copy(lstm.weight_ih_l0, kernel.T)
    copy(lstm.weight_hh_l0, recurrent.T)
    if biased:  # PyTorch has two, which are added
        copy(lstm.bias_ih_l0, _fitting(call, "bias", arrays["bias"], (4 * units,)))
        nn.init.zeros_(lstm.bias_hh_l0)
    return lstm, units


def _gru(call: Call, settings: Settings, channels: int, part: Part) -> tuple[nn.GRU, int]:
    units, biased = _plain_cells(settings, "a GRU")
    if not settings.flag("reset_after", False):
        raise settings.unsupported("a GRU with reset_after: false is not supported")
    arrays = call.weights.of(call.name, ["kernel", "recurrent_kernel", *(["bias"] if biased else [])], part)
    kernel = _fitting(call, "kernel", arrays["kernel"], (channels, 3 * units))
    recurrent = _fitting(call, "recurrent_kernel", arrays["recurrent_kernel"], (units, 3 * units))
    gru = nn.GRU(channels, units, bias=biased, batch_first=True)
    # Keras has the gates in the order update, reset, new; PyTorch reset, update, new.
    order = np.concatenate([np.arange(units) + gate * units for gate in (1, 0, 2)])
    copy(gru.weight_ih_l0, kernel[:, order].T)
    copy(gru.weight_hh_l0, recurrent[:, order].T)
    if biased:
        bias = _fitting(call, "bias", arrays["bias"], (2, 3 * units))
        copy(gru.bias_ih_l0, bias[0, order])
        copy(gru.bias_hh_l0, bias[1, order])
    return gru, units


def _fitting(call: Call, kind: str, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if array.shape != tuple(shape):
        raise call.settings.unsupported(f"its {kind} is {array.shape}; wanted {tuple(shape)}")
    return array


_MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "concat": lambda a, b: torch.cat([a, b], dim=-1), "sum": torch.add, "mul": torch.mul,
    "ave": lambda a, b: (a + b) / 2,
}  # fmt: skip
_CELLS: dict[str, Callable[[Call, Settings, int, Part], tuple[nn.RNNBase, int]]] = {"LSTM": _lstm, "GRU": _gru}
BUILDERS: dict[str, Builder] = {
    "SeparableConv1D": _separable, "SeparableConvolution1D": _separable, "DepthwiseConv1D": _depthwise,
    "LayerNormalization": _layer_norm,
    "UpSampling1D": _up_sampling, "MultiHeadAttention": _attention, "LSTM": _recurrent,
    "GRU": _recurrent, "Bidirectional": _bidirectional,
}  # fmt: skip
