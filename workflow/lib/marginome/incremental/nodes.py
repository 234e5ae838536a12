"""Nodes of a captured graph: their operations' names and arguments."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import fx


class CannotCaptureError(Exception):
    """The model cannot be captured, or does something that the engine cannot follow; says what."""


def name_of(node: fx.Node) -> str:
    """Return the operation's name without its overload, e.g. ``conv1d``; the placeholder's for inputs."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.split("::")[1]
    return getattr(node.target, "__name__", str(node.target))


def arguments(node: fx.Node) -> dict[str, Any]:
    """Return a node's arguments by the names of the operation's schema, with its defaults."""
    if not isinstance(node.target, torch._ops.OpOverload):
        signature = inspect.signature(node.target)
        return dict(signature.bind(*node.args, **node.kwargs).arguments)
    found = {}
    for i, argument in enumerate(node.target._schema.arguments):
        if i < len(node.args):
            found[argument.name] = node.args[i]
        elif argument.name in node.kwargs:
            found[argument.name] = node.kwargs[argument.name]
        elif argument.has_default_value():
            found[argument.name] = argument.default_value
    return found
