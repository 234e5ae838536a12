"""Keras' activations as PyTorch modules: by name, and as layers, whose defaults are others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from marginome.models.keras.settings import Settings
from marginome.models.layers import Exp

# Activation layers without weights, which may also be given as the activation of another layer.
LAYERS = ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax", "ThresholdedReLU")

_EITHER: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": lambda: nn.LeakyReLU(0.2), "elu": nn.ELU, "selu": nn.SELU,
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus, "softsign": nn.Softsign, "exponential": Exp,
    "silu": nn.SiLU, "swish": nn.SiLU, "gelu": nn.GELU, "mish": nn.Mish,
}  # fmt: skip
_KERAS_3: dict[str, Callable[[], nn.Module]] = {
    "celu": nn.CELU, "hard_sigmoid": nn.Hardsigmoid, "hard_silu": nn.Hardswish, "hard_swish": nn.Hardswish,
    "hard_tanh": nn.Hardtanh, "log_sigmoid": nn.LogSigmoid, "hard_shrink": nn.Hardshrink,
    "soft_shrink": nn.Softshrink, "tanh_shrink": nn.Tanhshrink,
}  # fmt: skip


class GeluOfEnformer(nn.Module):
    """``x sigmoid(1.702 x)``, by which Enformer approximates a GELU."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Sigmoid()

    def forward(self, X: Tensor) -> Tensor:
        """Elementwise."""
        return X * self.gate(1.702 * X)


# Functions that CREsted registers with Keras.
_CRESTED: dict[str, Callable[[], nn.Module]] = {
    "crested>gelu_enf": GeluOfEnformer, "crested>gelu_approx": lambda: nn.GELU(approximate="tanh"),
}  # fmt: skip


class HardSigmoidOfKeras2(nn.Module):
    """A line of slope 0.2 through 0.5, cut at 0 and 1; that of Keras 3 and PyTorch has slope 1/6."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Hardtanh(0.0, 1.0)

    def forward(self, X: Tensor) -> Tensor:
        """Elementwise."""
        return self.cut(0.2 * X + 0.5)


class PReLUOfPositions(nn.Module):
    """A rectifier whose negative slope is learned for each channel and position."""

    def __init__(self, slopes: Tensor):
        super().__init__()
        self.positive, self.negative = nn.ReLU(), nn.ReLU()
        self.slopes = nn.Parameter(slopes)

    def forward(self, X: Tensor) -> Tensor:
        """``(n, channels, length)``, slopes of ``(channels, length)`` or 1 for either."""
        return self.positive(X) - self.slopes * self.negative(-X)


def activation(given: Any, spatial: bool, settings: Settings) -> list[nn.Module]:
    """Modules of an activation that a layer is given: a name, or an activation layer.

    Parameters
    ----------
    given : str, mapping or None
        As the architecture has it.
    spatial : bool
        Whether the values are ``(n, channels, length)``; softmax runs over the channels then.
    settings : Settings
        Of the layer, for messages and the version of Keras.
    """
    if given is None or given == "linear":
        return []
    if isinstance(given, Mapping):  # a layer, e.g. Conv1D(..., activation=LeakyReLU(0.1))
        kind = given.get("class_name")
        if kind == "function" and given.get("config") in _CRESTED:
            return [_CRESTED[given["config"]]()]
        if kind not in LAYERS:
            raise settings.unsupported(f"the activation {given.get('config') if kind == 'function' else kind} "
                                       "is not known")  # fmt: skip
        inner = Settings(given.get("config"), settings.layer, settings.where, settings.keras)
        modules = activation_layer(str(kind), inner, 2 if spatial else 1)
        inner.refuse_unread()
        return modules
    if given in ("softmax", "log_softmax"):  # over the last axis in Keras' order: channels
        return [nn.Softmax(dim=1) if given == "softmax" else nn.LogSoftmax(dim=1)]
    if given == "hard_sigmoid" and settings.keras is None:
        raise settings.unsupported("hard_sigmoid differs between Keras 2 and 3, and the file does not tell its version")
    if given == "hard_sigmoid" and settings.keras == 2:
        return [HardSigmoidOfKeras2()]
    known = _EITHER if settings.keras == 2 else _EITHER | _KERAS_3
    if not isinstance(given, str) or given not in known:
        raise settings.unsupported(f"the activation {given!r} is not known")
    return [known[given]()]


def activation_layer(kind: str, settings: Settings, axes: int) -> list[nn.Module]:
    """Modules of an activation layer without weights.

    Parameters
    ----------
    kind : str
        One of `LAYERS`.
    settings : Settings
        Of the layer.
    axes : int
        Of its input, without the batch: 2 for positions and channels.
    """
    if kind == "Activation":
        return activation(settings.get("activation"), axes == 2, settings)
    if kind == "LeakyReLU":  # Keras 2 calls the slope alpha, Keras 3 negative_slope
        key = "negative_slope" if "negative_slope" in settings.values else "alpha"
        return [nn.LeakyReLU(settings.number(key, 0.3))]
    if kind == "ELU":
        return [nn.ELU(settings.number("alpha", 1.0))]
    if kind == "ThresholdedReLU":
        return [nn.Threshold(settings.number("theta", 1.0), 0.0)]
    if kind == "Softmax":
        axis = settings.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if isinstance(axis, bool) or axis not in (-1, *range(-axes, 0), *range(1, axes + 1)):
            raise settings.unsupported(f"softmax over axis {axis}")
        over_channels = axes == 1 or axis in (-1, 2)
        return [nn.Softmax(dim=1 if over_channels else 2)]
    return _relu(settings)


def _relu(settings: Settings) -> list[nn.Module]:
    slope, threshold = settings.number("negative_slope", 0.0), settings.number("threshold", 0.0)
    most = None if settings.get("max_value", None) is None else settings.number("max_value", 0.0)
    if threshold and (slope or threshold < 0 or (most is not None and most <= threshold)):
        raise settings.unsupported(f"a ReLU with threshold {threshold}, negative_slope {slope}, max_value {most}")
    if most is not None and most <= 0:
        raise settings.unsupported(f"a ReLU with max_value {most}")
    if most is not None and not slope and not threshold:
        return [nn.ReLU6() if most == 6 else nn.Hardtanh(0.0, most)]
    first = nn.Threshold(threshold, 0.0) if threshold else nn.LeakyReLU(slope) if slope else nn.ReLU()
    return [first] if most is None else [first, nn.Hardtanh(float("-inf"), most)]


def prelu(slopes: np.ndarray, shape: tuple[int, ...], settings: Settings) -> nn.Module:
    """Make the module of a PReLU from its array, whose shared axes have length 1.

    Parameters
    ----------
    slopes : numpy.ndarray
        As Keras keeps them, ``(length, channels)`` or ``(features,)``.
    shape : tuple of int
        Of the layer's input, without the batch.
    settings : Settings
        Of the layer.
    """
    shared = settings.get("shared_axes", None) or []
    if not isinstance(shared, list) or any(isinstance(a, bool) or a not in range(1, len(shape) + 1) for a in shared):
        raise settings.unsupported(f"its shared_axes are {shared!r}")
    wanted = tuple(1 if axis in shared else n for axis, n in enumerate(shape, 1))
    if slopes.shape != wanted:
        raise settings.unsupported(f"its slopes are {slopes.shape}; wanted {wanted}")
    values = torch.from_numpy(np.ascontiguousarray(slopes.T, dtype=np.float32))
    if len(shape) == 2 and slopes.shape[0] > 1:
        return PReLUOfPositions(values)
    module = nn.PReLU(values.numel())
    module.weight = nn.Parameter(values.flatten())
    return module
