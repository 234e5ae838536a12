"""Each Keras layer as PyTorch modules, with its weights, and the shape of what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from marginome.models.keras.activations import LAYERS as ACTIVATION_LAYERS
from marginome.models.keras.activations import activation, activation_layer, prelu
from marginome.models.keras.settings import Settings
from marginome.models.keras.weights import WHOLE, Part, Weights
from marginome.models.layers import LogSumExp

# Longer than any model reads, and more values of one sequence than one layer has. Beyond, a number in the file is
# damaged: it would fill any memory.
MOST_POSITIONS = 2**24
_MOST_VALUES = 2**30
_NOTHING_AT_PREDICTION = (
    "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
)  # fmt: skip
# Lambda layers hold marshalled Python, which is never read. These are known by their names.
_LOGSUMEXP_LAYERS = ("logcount_predictions", "logsumexp_counts_bias")
# Layers that do not care in which order a flattened value is.
_ANY_ORDER = {*ACTIVATION_LAYERS, *_NOTHING_AT_PREDICTION, "Dense", "Flatten"}


@dataclass(frozen=True)
class Value:
    """What is known of one tensor while the graph is built: its Keras shape, and how it is laid out.

    Attributes
    ----------
    shape : tuple of int
        Without the batch, as Keras counts: ``(length, channels)`` or ``(features,)``.
    flat_of : tuple of int, optional
        ``(length, channels)`` when it was flattened channels-major, as PyTorch does.
    """

    shape: tuple[int, ...]
    flat_of: tuple[int, int] | None = None

    @property
    def spatial(self) -> bool:
        """Whether it has positions: the tensor is ``(n, channels, length)`` then."""
        return len(self.shape) == 2


@dataclass(frozen=True)
class Call:
    """One layer with what goes in: its settings, its inputs, and where its weights are."""

    kind: str
    name: str
    settings: Settings
    inputs: tuple[Value, ...]
    weights: Weights
    part: Part = WHOLE

    @property
    def value(self) -> Value:
        """The only input."""
        if len(self.inputs) != 1:
            raise self.settings.unsupported(f"a {self.kind} with {len(self.inputs)} inputs")
        return self.inputs[0]

    @property
    def positions(self) -> Value:
        """The only input, which has to have positions and channels."""
        if not self.value.spatial:
            raise self.settings.unsupported(f"a {self.kind} of an input of shape {self.value.shape}")
        return self.value


Built = tuple[list[nn.Module], Value]
Builder = Callable[[Call], Built]


def build_layer(call: Call, builders: Mapping[str, Builder]) -> Built | None:
    """Return the modules of one layer and the value that comes out; None when it needs Keras' order of a flat input."""
    kind, settings = call.kind, call.settings
    if kind == "TimeDistributed":
        kind, settings, call = _every_position(call)
    if kind not in builders:
        if kind == "Lambda":
            raise settings.unsupported("it holds Python code, which is not run")
        raise settings.unsupported(f"layers of the kind {kind} are not supported")
    if kind not in _ANY_ORDER and any(value.flat_of for value in call.inputs):
        return None
    modules, value = builders[kind](call)
    settings.refuse_unread()
    if not all(n > 0 for n in value.shape):
        raise settings.unsupported(f"nothing is left of an input of shape {call.inputs[0].shape}")
    return modules or [nn.Identity()], value


# ----------------------------------------------------------------------------------------------- modules
class PositionsMajor(nn.Module):
    """From channels-major to positions-major order of a flattened ``(channels, length)``."""

    def __init__(self, length: int, channels: int):
        super().__init__()
        self.length, self.channels = length, channels

    def forward(self, X: Tensor) -> Tensor:
        """``(n, channels * length)`` in either order."""
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
        total, *others = _of_one_rank(inputs)
        for value in others:
            total = total + value
        return total


class _Multiply(nn.Module):
    """Product of its inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        product, *others = _of_one_rank(inputs)
        for value in others:
            product = product * value
        return product


def _of_one_rank(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Inputs of channels alone beside ones with positions: the same at every position, as Keras has it."""
    most = max(value.dim() for value in inputs)
    return [value.unsqueeze(-1) if value.dim() < most else value for value in inputs]


class _Concatenate(nn.Module):
    """Inputs side by side along an axis."""

    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=self.axis)


class _MeanOverPositions(nn.Module):
    """Mean over the last axis."""

    def __init__(self, keep: bool):
        super().__init__()
        self.keep = keep

    def forward(self, X: Tensor) -> Tensor:
        return X.mean(dim=2, keepdim=self.keep)


class _MaxOverPositions(nn.Module):
    """Maximum over the last axis."""

    def __init__(self, keep: bool):
        super().__init__()
        self.keep = keep

    def forward(self, X: Tensor) -> Tensor:
        return X.amax(dim=2, keepdim=self.keep)


# -------------------------------------------------------------------------------------- layers of weights
def _every_position(call: Call) -> tuple[str, Settings, Call]:
    """A layer applied to every position: a Dense layer is so by itself."""
    inner = call.settings.get("layer")
    call.settings.refuse_unread()
    kind = inner.get("class_name") if isinstance(inner, dict) else inner
    if kind != "Dense":
        raise call.settings.unsupported(f"TimeDistributed around {kind} is not supported")
    settings = Settings(inner.get("config"), call.name, call.settings.where, call.settings.keras)
    dense = Call("Dense", call.name, settings, (call.positions,), call.weights, Part("", "layer"))
    return "Dense", settings, dense


def _kernel_and_bias(call: Call) -> tuple[np.ndarray, np.ndarray | None]:
    kinds = ["kernel", "bias"] if call.settings.flag("use_bias", True) else ["kernel"]
    arrays = call.weights.of(call.name, kinds, call.part)
    kernel, bias = arrays["kernel"], arrays.get("bias")
    if bias is not None and bias.shape != kernel.shape[-1:]:
        raise call.settings.unsupported(f"its bias {bias.shape} does not fit its kernel {kernel.shape}")
    return kernel, bias


def _conv(call: Call) -> Built:
    settings, (length, channels) = call.settings, call.positions.shape
    kernel, bias = _kernel_and_bias(call)  # (width, channels in, channels out)
    filters, width, groups = settings.integer("filters"), settings.integer("kernel_size"), settings.integer("groups", 1)
    if channels % groups or filters % groups or kernel.shape != (width, channels // groups, filters):
        raise settings.unsupported(
            f"its kernel {kernel.shape} does not fit {channels} channels, {filters} filters of {width}, {groups} groups"
        )
    stride, dilation = settings.integer("strides", 1), settings.integer("dilation_rate", 1)
    span = (width - 1) * dilation + 1
    left, right = padding(settings, length, span, stride)
    bounded(settings, length + left + right, channels)
    conv = nn.Conv1d(channels, filters, width, stride=stride, dilation=dilation, groups=groups,
                     padding=left if left == right else 0, bias=bias is not None)  # fmt: skip
    copy(conv.weight, kernel.transpose(2, 1, 0))
    if bias is not None:
        copy(conv.bias, bias)
    pad = [] if left == right else [nn.ConstantPad1d((left, right), 0.0)]
    after = activation(settings.get("activation", None), True, settings)
    return [*pad, conv, *after], Value(((length + left + right - span) // stride + 1, filters))


def padding(settings: Settings, length: int, span: int, stride: int) -> tuple[int, int]:
    """Return the positions of padding on the left and on the right that a layer's setting means."""
    how = settings.word("padding", "valid")
    if how == "valid":
        return 0, 0
    if how == "causal":
        return span - 1, 0
    if how == "same":
        total = max((-(-length // stride) - 1) * stride + span - length, 0)
        return total // 2, total - total // 2
    raise settings.unsupported(f"padding '{how}' is not known")


def _dense(call: Call) -> Built:
    settings, value = call.settings, call.value
    kernel, bias = _kernel_and_bias(call)
    units = settings.integer("units")
    if kernel.shape != (value.shape[-1], units):
        raise settings.unsupported(f"its kernel {kernel.shape} does not fit {value.shape[-1]} inputs, {units} units")
    if value.spatial:  # at every position: a convolution of width 1
        module: nn.Module = nn.Conv1d(*kernel.shape, 1, bias=bias is not None)
        copy(module.weight, kernel.T[:, :, None])
    else:
        if value.flat_of is not None:  # the file's rows are positions-major, what comes in is channels-major
            length, channels = value.flat_of
            kernel = kernel.reshape(length, channels, -1).transpose(1, 0, 2).reshape(kernel.shape)
        module = nn.Linear(*kernel.shape, bias=bias is not None)
        copy(module.weight, kernel.T)
    if bias is not None:
        copy(module.bias, bias)
    after = activation(settings.get("activation", None), value.spatial, settings)
    return [module, *after], Value((*value.shape[:-1], units))


def check_norm_axis(call: Call, norm: str) -> None:
    """Refuse a norm over another axis than the last, of the channels; Keras writes a number or a list of one."""
    axis = call.settings.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if isinstance(axis, bool) or axis not in (-1, len(call.value.shape)):
        raise call.settings.unsupported(f"{norm} over axis {axis} is not supported; known is the last, over channels")


def _batch_norm(call: Call) -> Built:
    settings, value = call.settings, call.value
    check_norm_axis(call, "batch normalisation")
    scale, center = settings.flag("scale", True), settings.flag("center", True)
    kinds = [*(["gamma"] if scale else []), *(["beta"] if center else []), "moving_mean", "moving_variance"]
    arrays = call.weights.of(call.name, kinds)
    norm = nn.BatchNorm1d(value.shape[-1], eps=settings.number("epsilon", 1e-3))
    for tensor, kind in (
        (norm.weight, "gamma"), (norm.bias, "beta"), (norm.running_mean, "moving_mean"),
        (norm.running_var, "moving_variance"),
    ):  # fmt: skip
        if kind in arrays:
            if arrays[kind].shape != tuple(tensor.shape):
                raise settings.unsupported(f"its {kind} {arrays[kind].shape} does not fit {value.shape[-1]} channels")
            copy(tensor, arrays[kind])
    return [norm], value


def _prelu(call: Call) -> Built:
    return [prelu(call.weights.of(call.name, ["alpha"])["alpha"], call.value.shape, call.settings)], call.value


def copy(tensor: Tensor, array: np.ndarray) -> None:
    """Copy an array into a parameter of the same shape."""
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))


# ----------------------------------------------------------------------------------- layers without weights
def _nothing(call: Call) -> Built:
    return [], call.value


def _activation_layer(call: Call) -> Built:
    return activation_layer(call.kind, call.settings, len(call.value.shape)), call.value


def _flatten(call: Call) -> Built:
    value = call.value
    mixed = value.spatial and min(value.shape) > 1  # otherwise both orders are the same
    shape = (int(np.prod(value.shape)),)
    return [nn.Flatten()], Value(shape, value.shape if mixed else value.flat_of)


def _pool(call: Call) -> Built:
    settings, (length, channels) = call.settings, call.positions.shape
    size = settings.integer("pool_size", 2)
    stride = size if settings.get("strides", None) is None else settings.integer("strides")
    left, right = padding(settings, length, size, stride)
    average = call.kind == "AveragePooling1D"
    if average and left + right:
        raise settings.unsupported("average pooling with padding is not supported")
    bounded(settings, length + left + right, channels)
    pool = nn.AvgPool1d(size, stride) if average else nn.MaxPool1d(size, stride)
    pad = [nn.ConstantPad1d((left, right), float("-inf"))] if left + right else []
    return [*pad, pool], Value(((length + left + right - size) // stride + 1, channels))


def _global_pool(call: Call) -> Built:
    _, channels = call.positions.shape
    keep = call.settings.flag("keepdims", False)
    average = call.kind in ("GlobalAveragePooling1D", "GlobalAvgPool1D")
    module = _MeanOverPositions(keep) if average else _MaxOverPositions(keep)
    return [module], Value((1, channels) if keep else (channels,))


def _mean(call: Call) -> Built:
    """The operation keras.ops.mean over positions."""
    _, channels = call.positions.shape
    axis, keep = call.settings.get("axis", None), call.settings.flag("keepdims", False)
    if axis not in (1, [1], -2) or isinstance(axis, bool):
        raise call.settings.unsupported(f"a mean over axis {axis}; known is 1, over positions")
    return [_MeanOverPositions(keep)], Value((1, channels) if keep else (channels,))


def _crop(call: Call) -> Built:
    length, channels = call.positions.shape
    left, right = call.settings.pair("cropping")
    return [_Crop(left, right)], Value((length - left - right, channels))


def _zero_padding(call: Call) -> Built:
    length, channels = call.positions.shape
    left, right = call.settings.pair("padding")
    bounded(call.settings, length + left + right, channels)
    return [nn.ConstantPad1d((left, right), 0.0)], Value((length + left + right, channels))


def bounded(settings: Settings, length: int, channels: int) -> None:
    """Refuse more values of one sequence than any model has, before they are made."""
    if length > MOST_POSITIONS or length * channels > _MOST_VALUES:
        raise settings.unsupported(f"{length} positions of {channels} channels are more than any model has")


def _elementwise(call: Call) -> Built:
    """Sum or product of inputs of one shape, or of length 1 (or none) where the others are longer."""
    most = max(len(value.shape) for value in call.inputs)
    shapes = [(1,) * (most - len(value.shape)) + value.shape for value in call.inputs]
    longest = tuple(max(sizes) for sizes in zip(*shapes))
    fits = all(n in (1, size) for shape in shapes for n, size in zip(shape, longest))
    if len(shapes) < 2 or not fits:
        raise call.settings.unsupported(f"a {call.kind} of inputs of shapes {', '.join(map(str, shapes))}")
    return [_Add() if call.kind == "Add" else _Multiply()], Value(longest)


def _concatenate(call: Call) -> Built:
    axes = len(call.inputs[0].shape)
    axis = call.settings.get("axis", -1)
    if isinstance(axis, bool) or axis not in (*range(-axes, 0), *range(1, axes + 1)):
        raise call.settings.unsupported(f"concatenation along axis {axis!r} of {axes + 1}")
    axis = axis - 1 if axis > 0 else axis + axes
    shapes = [value.shape for value in call.inputs]
    if len({len(shape) for shape in shapes} | {axes}) > 1 or len({_without(s, axis) for s in shapes}) > 1:
        raise call.settings.unsupported(f"a Concatenate of inputs of shapes {', '.join(map(str, shapes))}")
    whole = list(shapes[0])
    whole[axis] = sum(shape[axis] for shape in shapes)
    return [_Concatenate(axes - axis)], Value(tuple(whole))  # channels stand before positions in PyTorch


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _known_lambda(call: Call) -> Built:
    if not any(known in call.name for known in _LOGSUMEXP_LAYERS) or call.value.spatial:
        raise call.settings.unsupported("it holds Python code, which is not run")
    for key in ("function", "function_type", "module", "output_shape", "output_shape_type", "output_shape_module",
                "mask", "arguments"):  # fmt: skip
        call.settings.get(key, None)
    return [LogSumExp()], Value((1,))


BUILDERS: dict[str, Builder] = {
    "Conv1D": _conv, "Dense": _dense, "BatchNormalization": _batch_norm, "PReLU": _prelu,
    **dict.fromkeys(_NOTHING_AT_PREDICTION, _nothing), **dict.fromkeys(ACTIVATION_LAYERS, _activation_layer),
    "Flatten": _flatten, "MaxPooling1D": _pool, "AveragePooling1D": _pool, "GlobalAveragePooling1D": _global_pool,
    "GlobalAvgPool1D": _global_pool, "GlobalMaxPooling1D": _global_pool, "GlobalMaxPool1D": _global_pool,
    "Cropping1D": _crop, "ZeroPadding1D": _zero_padding, "Add": _elementwise, "Multiply": _elementwise,
    "Concatenate": _concatenate, "Mean": _mean, "Lambda": _known_lambda,
}  # fmt: skip
