"""Sequences stacked along the batch, such as both strands of each (``cat([x, x.flip(1, 2)])``), taken apart again.

What is computed of a stack is computed of each of its parts instead, until the model takes the parts out of it: the
same numbers, of tensors that have one entry per sequence, so that spans can be followed through them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from .nodes import CannotCaptureError, arguments, name_of

CUTS = frozenset(("chunk", "split", "tensor_split", "unsafe_split", "unsafe_chunk"))
SHAPES = frozenset(("view", "reshape", "_unsafe_view", "_reshape_copy", "expand"))


def unstack(graph: fx.Graph, batch: int | torch.SymInt, x: fx.Node) -> dict[fx.Node, fx.Node]:
    """Rewrite a graph in place, whose sequences are `x`; return what stands for a node that took a part out of a stack.

    Raises
    ------
    CannotCaptureError
        If stacks of several sizes meet, or a part is no whole one.
    """
    parts: dict[fx.Node, list[fx.Node]] = {}
    taken: dict[fx.Node, fx.Node] = {}
    for node in list(graph.nodes):
        stacked = [n for n in node.all_input_nodes if n in parts]
        if node.op != "call_function":
            continue
        if not stacked:
            if _stacks(node, batch):
                parts[node] = list(node.args[0])
            elif isinstance(batch, int):
                _free(graph, node, batch, batch, x)
            continue
        found = parts[stacked[0]]
        if any(len(parts[n]) != len(found) for n in stacked):
            raise CannotCaptureError("stacks of several sizes along the batch meet")
        source = node.args[0]
        if name_of(node) == "slice" and arguments(node)["dim"] == 0:
            which = _which(node, len(found), batch)
            if which is None:
                parts[node] = found
            else:
                taken[node] = found[which]
        elif name_of(node) in CUTS and (arguments(node).get("dim") or 0) == 0:
            if len(node.meta["val"]) != len(found):
                raise CannotCaptureError("a stack along the batch is not taken apart into what it is made of")
            parts[node] = found
        elif name_of(node) == "getitem" and name_of(source) in CUTS:
            taken[node] = found[node.args[1]]
        elif name_of(node) in SHAPES and _on_an_axis(node, source, len(found), batch):
            with graph.inserting_before(node):
                taken[node] = graph.call_function(torch.ops.aten.stack.default, (found,))
            taken[node].meta["val"] = node.meta["val"]
        else:
            parts[node] = [_copy(graph, node, parts, i, len(found), batch, x) for i in range(len(found))]
            continue
        if node in taken:
            node.replace_all_uses_with(taken[node])
    return taken


def _stacks(node: fx.Node, batch: Any) -> bool:
    """Whether a node puts tensors with one entry per sequence behind each other."""
    if name_of(node) not in ("cat", "concat", "concatenate") or (arguments(node).get("dim") or 0) != 0:
        return False
    given = [n.meta.get("val") for n in node.args[0]]
    return len(given) > 1 and all(str(v.shape[0]) == str(batch) for v in given)


def _which(node: fx.Node, k: int, batch: Any) -> int | None:
    """Return which part of a stack a slice takes; None if it takes all of it."""
    a = arguments(node)
    start, end = (v.meta["val"] if isinstance(v, fx.Node) else v for v in (a.get("start"), a.get("end")))
    ends = {str((i + 1) * batch): i for i in range(k)} | {str(2**63 - 1): k - 1, "None": k - 1}
    starts = {str(i * batch): i for i in range(k)} | {"None": 0}
    first, last = starts.get(str(start)), ends.get(str(end))
    if a.get("step", 1) != 1 or first is None or last is None or (first != last and (first, last) != (0, k - 1)):
        raise CannotCaptureError("what is taken out of a stack along the batch is no whole part of it")
    return first if first == last else None


def _on_an_axis(node: fx.Node, source: fx.Node, k: int, batch: Any) -> bool:
    """Whether a stack gets a first axis that counts its parts."""
    wanted = (k, batch, *source.meta["val"].shape[1:])
    return [str(size) for size in node.meta["val"].shape] == [str(size) for size in wanted]


def _copy(graph: fx.Graph, node: fx.Node, parts: dict, i: int, k: int, batch: Any, x: fx.Node) -> fx.Node:
    """Insert a copy of a node that is computed of part i alone."""
    total = str(k * batch)
    with graph.inserting_before(node):
        new = graph.node_copy(node, lambda n: parts[n][i] if n in parts else n)
        _free(graph, new, k * batch, batch, x)

    def smaller(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(smaller(v) for v in value)
        if isinstance(value, torch.Tensor):
            if value.ndim == 0 or str(value.shape[0]) != total:
                raise CannotCaptureError(f"a stack along the batch is mixed ({name_of(node)})")
            with value.fake_mode:
                return value.new_empty((batch, *value.shape[1:]))
        return batch if str(value) == total else value

    new.meta["val"] = smaller(node.meta.get("val"))
    return new


def _free(graph: fx.Graph, node: fx.Node, size: Any, batch: Any, x: fx.Node) -> None:
    """Let a node that gives its result a first axis of `size` give it as many entries as there are sequences."""
    if name_of(node) not in SHAPES or len(node.args) < 2 or not isinstance(node.args[1], list | tuple):
        return
    first, *rest = node.args[1]
    if str(first.meta["val"] if isinstance(first, fx.Node) else first) == str(size):
        value = node.args[0].meta.get("val")
        alike = isinstance(value, torch.Tensor) and value.ndim and str(value.shape[0]) == str(batch)
        with graph.inserting_before(node):
            n = graph.call_function(torch.ops.aten.sym_size.int, (node.args[0] if alike else x, 0))
        n.meta["val"] = batch
        node.args = (node.args[0], [n, *rest], *node.args[2:])


def mentions(node: fx.Node, batch: int) -> bool:
    """Whether an argument of a node is a multiple of the number of sequences that the model was captured with."""
    numbers: list[int] = []
    fx.node.map_aggregate((node.args, node.kwargs), lambda v: numbers.append(v) if type(v) is int else None)
    return any(v and v % batch == 0 for v in numbers if v != 2**63 - 1)
