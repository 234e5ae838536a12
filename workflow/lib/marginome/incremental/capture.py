"""A model as a graph: captured with torch.export, pruned to its outputs, every node sorted by what it depends on."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from marginome.errors import first_line

CONSTANT, SYMBOL, BACKGROUND, SEQUENCE = "constant", "symbol", "background", "sequence"


class CannotCaptureError(Exception):
    """The model cannot be captured, or does something that the engine cannot follow; says what."""


class _Call(torch.nn.Module):
    """Give every model one signature, so that any number of further inputs can be exported."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, X: torch.Tensor, args: tuple[torch.Tensor, ...]) -> Any:
        return self.model(X, *args)


class Graph:
    """A model's ATen graph.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    X, args : torch.Tensor
        A few sequences with the model's further inputs, in the dtype and on the device that it runs in.

    Attributes
    ----------
    nodes : list of fx.Node
        What the outputs need, in order, without constants.
    kind : dict
        Of each node: ``constant`` (of no input; computed once), ``symbol`` (a number that depends on how many
        sequences there are), ``background`` (of further inputs only) or ``sequence``.
    shape : dict
        Shape of each tensor node without its first axis, the batch; missing where the batch is not (or not alone on)
        the first axis, so that such a node can only be computed for a whole batch.
    constant : dict
        Values of the constant nodes.
    outputs : list
        The model's outputs in order: fx.Node, or None.
    memory : frozenset of int
        Where the constants lie in memory.

    Raises
    ------
    CannotCaptureError
        If torch.export fails (data-dependent control flow, ...), or the model does what has no place in such a graph:
        switching autocast or gradients, changing its own buffers, outputs without one entry per sequence.
    """

    def __init__(self, model: torch.nn.Module, X: torch.Tensor, args: tuple[torch.Tensor, ...] = ()):
        program = _export(model, X, args)
        signature = program.graph_signature
        stored = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        values = {**program.state_dict, **program.constants}
        if signature.buffers_to_mutate:
            raise CannotCaptureError("it changes its own buffers when it runs")
        self.spec = program.call_spec.out_spec
        self.dtype = X.dtype
        order = list(program.graph.nodes)
        by_name = {node.name: node for node in order}
        inputs = [by_name[name] for name in signature.user_inputs]
        self.x, self.args = inputs[0], inputs[1:]
        self.outputs = [by_name[o] if isinstance(o, str) else o for o in signature.user_outputs]
        batch = self.x.meta["val"].shape[0]
        if not isinstance(batch, torch.SymInt):
            raise CannotCaptureError("the model is tied to one number of sequences")

        needed = _ancestors(o for o in self.outputs if isinstance(o, fx.Node))
        self.kind: dict[fx.Node, str] = {}
        self.shape: dict[fx.Node, tuple[int, ...]] = {}
        self.constant: dict[fx.Node, Any] = {}
        self.nodes: list[fx.Node] = []
        for node in order:
            if node.op == "output" or node not in needed:
                continue
            if node.op == "get_attr" or isinstance(node.target, torch._ops.HigherOrderOperator):
                raise CannotCaptureError(f"a part of its forward runs in a mode of its own ({name_of(node)})")
            value = node.meta.get("val")
            if node is self.x:
                kind = SEQUENCE
            elif node in self.args:
                kind = BACKGROUND
            elif node.op == "placeholder":
                kind = CONSTANT
                value = values[stored[node.name]]
                self.constant[node] = value.detach() if isinstance(value, torch.Tensor) else value
            else:
                kind = self._kind(node, value)
            self.kind[node] = kind
            if kind == CONSTANT:
                if node.op != "placeholder":
                    self.constant[node] = node.target(
                        *self.map_nodes(node.args, self.constant.get), **self.map_nodes(node.kwargs, self.constant.get)
                    )
                continue
            self.nodes.append(node)
            if kind != SYMBOL and isinstance(value, torch.Tensor) and value.ndim:
                first, *rest = value.shape
                if str(first) == str(batch) and all(isinstance(s, int) for s in rest):
                    self.shape[node] = tuple(rest)
        if any(output is not None and output not in self.shape for output in self.outputs):
            raise CannotCaptureError("an output has not one entry per sequence on its first axis")
        self.memory = self._memory()
        self.last_use = {}
        for node in self.nodes:
            for used in node.all_input_nodes:
                self.last_use[used] = node

    def _memory(self) -> frozenset[int]:
        return frozenset(v.untyped_storage().data_ptr() for v in self.constant.values() if isinstance(v, torch.Tensor))

    def _kind(self, node: fx.Node, value: Any) -> str:
        if isinstance(value, torch.SymInt | torch.SymBool | torch.SymFloat):
            return SYMBOL
        kinds = {self.kind[n] for n in node.all_input_nodes}
        if SEQUENCE in kinds:
            return SEQUENCE
        return BACKGROUND if kinds & {BACKGROUND, SYMBOL} else CONSTANT

    @staticmethod
    def map_nodes(nested: Any, fn: Callable[[fx.Node], Any]) -> Any:
        """Replace the nodes in a nest of arguments."""
        return fx.node.map_arg(nested, fn)

    def to_dtype(self, dtype: torch.dtype) -> Graph:
        """Return the same graph with its constants (and the casts inside it) in another dtype."""
        other = object.__new__(Graph)
        other.__dict__.update(self.__dict__)
        other.dtype = dtype
        other.constant = {
            node: value.to(dtype) if isinstance(value, torch.Tensor) and value.dtype == self.dtype else value
            for node, value in self.constant.items()
        }
        other.retyped = self.dtype
        other.memory = other._memory()
        return other

    retyped: torch.dtype | None = None

    def call(self, node: fx.Node, get: Callable[[fx.Node], Any]) -> Any:
        """Compute one node from the values that `get` gives for its arguments."""
        args, kwargs = self.map_nodes(
            (node.args, node.kwargs), lambda n: self.constant.get(n, None) if self.kind[n] == CONSTANT else get(n)
        )
        if self.retyped is not None:
            # The graph was captured in another dtype: its explicit dtypes go along.
            args = tuple(self.dtype if a is self.retyped else a for a in args)
            kwargs = {k: self.dtype if v is self.retyped else v for k, v in kwargs.items()}
        # Feature maps are laid out otherwise than in the model, where a view may have been one.
        target = torch.ops.aten.reshape.default if node.target is torch.ops.aten.view.default else node.target
        return target(*args, **kwargs)

    def run(
        self, X: torch.Tensor, args: tuple[torch.Tensor, ...] = (), keep: Iterable[fx.Node] = ()
    ) -> tuple[list[Any], dict[fx.Node, torch.Tensor]]:
        """Run the whole graph on a batch; return the outputs' values and those of the nodes to `keep`."""
        values: dict[fx.Node, Any] = dict(zip([self.x, *self.args], [X, *args]))
        wanted = set(keep) | {o for o in self.outputs if o is not None}
        for node in self.nodes:
            if node.op != "placeholder":
                values[node] = self.call(node, values.__getitem__)
            for used in node.all_input_nodes:
                if self.last_use.get(used) is node and used not in wanted:
                    values.pop(used, None)
        outputs = [None if o is None else values[o] for o in self.outputs]
        return outputs, {node: values[node] for node in wanted if node in values}

    def nest(self, outputs: list[Any]) -> Any:
        """Arrange output values as the model does."""
        return pytree.tree_unflatten(outputs, self.spec)


def _ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.all_input_nodes)
    return found


def _export(model: torch.nn.Module, X: torch.Tensor, args: tuple[torch.Tensor, ...]):
    """Export the model with a free number of sequences and no operation that writes into its input."""
    free = {0: torch.export.Dim.AUTO}
    shapes = (dict(free), tuple(dict(free) for _ in args))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(_Call(model), (X, args), dynamic_shapes=shapes, strict=False)
            if any(_writes(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
        except Exception as error:
            raise CannotCaptureError(f"torch.export: {first_line(error)}") from error
    return program


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and schema.is_mutable


# What node.target may be besides an ATen overload, for the rules' names.
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
