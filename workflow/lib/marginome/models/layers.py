"""Small modules that the loaders build models from; every one is a module of its own, so attribution can hook it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from marginome.errors import MarginomeError


class Exp(nn.Module):
    """Elementwise exponential."""

    def forward(self, X: Tensor) -> Tensor:
        """Return exp(X), of the same shape."""
        return torch.exp(X)


class Log(nn.Module):
    """Elementwise natural logarithm."""

    def forward(self, X: Tensor) -> Tensor:
        """Return log(X), of the same shape."""
        return torch.log(X)


class LogSumExp(nn.Module):
    """Logarithm of the sum of exponentials over the last axis, which is kept with length 1.

    Written as exp, sum, log so that each step has a DeepLIFT rule. Log counts are far below the 88 at
    which float32 overflows.
    """

    def __init__(self):
        super().__init__()
        self.exp, self.log = Exp(), Log()

    def forward(self, X: Tensor) -> Tensor:
        """``(n, k)`` to ``(n, 1)``."""
        return self.log(self.exp(X).sum(dim=-1, keepdim=True))


def map_nested(function: Any, value: Any, *others: Any) -> Any:
    """Apply a function to the tensors of nested tuples, lists and dicts of one structure; keep the structure."""
    if isinstance(value, Tensor):
        return function(value, *others)
    if isinstance(value, dict):
        return type(value)((k, map_nested(function, v, *[o[k] for o in others])) for k, v in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[map_nested(function, *items) for items in zip(value, *others)])
    if isinstance(value, list | tuple):
        return type(value)(map_nested(function, *items) for items in zip(value, *others))
    raise MarginomeError(
        f"the model returns {type(value).__name__}; wanted tensors, or tuples, lists and dicts of them",
        remedy="Wrap the model in a module of your own whose forward returns tensors (loader: file.py:name).",
    )


def nested_items(value: Any, path: tuple = ()) -> list[tuple[tuple, Any]]:
    """Return (path, tensor or shape) of every leaf; a path is the keys that lead to it."""
    if isinstance(value, dict):
        return [item for key, inner in value.items() for item in nested_items(inner, (*path, key))]
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return [item for key, inner in enumerate(value) for item in nested_items(inner, (*path, key))]
    return [(path, value)]


def select(value: Any, path: tuple) -> Any:
    """Follow a path of keys into nested outputs."""
    for key in path:
        value = value[key]
    return value
