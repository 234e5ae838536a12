"""A model as a graph: captured with torch.export, pruned to its outputs, every node sorted by what it depends on."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from marginome.errors import first_line

from .nodes import CannotCaptureError, name_of
from .unstacking import mentions, unstack

CONSTANT, SYMBOL, BACKGROUND, SEQUENCE = "constant", "symbol", "background", "sequence"


class _Call(torch.nn.Module):
    """Give every model one signature, so that any number of further inputs can be exported."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, X: torch.Tensor, args: tuple[torch.Tensor, ...]) -> Any:
        return self.model(X, *args)


# Sequences that a model is captured with that wants to know how many there are: no number that means anything else.
PRIME = 97

# A sum of what grows like this is one of its terms; where that term is taken away again, rounding is what is left ...
GROWING = frozenset(("exp", "exp2", "expm1", "sinh", "cosh", "pow"))
# ... which shows where a function of the sum tells small numbers apart. In between are sums and what keeps them.
DIVISIONS = frozenset(("div", "divide", "true_divide"))
TELLING = DIVISIONS | frozenset(("log", "log1p", "log2", "log10", "reciprocal", "rsqrt", "sqrt", "pow"))
SUMS = frozenset(
    ("sum", "mean", "linear", "matmul", "mm", "addmm", "conv1d", "conv2d", "convolution", "conv_transpose1d",
     "conv_transpose2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d")
)  # fmt: skip
KEEPING = DIVISIONS | frozenset(
    ("add", "sub", "rsub", "mul", "multiply", "neg", "abs", "clamp", "clamp_min", "clamp_max", "view", "reshape",
     "_unsafe_view", "_reshape_copy", "flatten", "unflatten", "squeeze", "unsqueeze", "slice", "select", "narrow",
     "transpose", "permute", "t", "cat", "clone", "contiguous", "expand", "getitem", "constant_pad_nd", "to",
     "_to_copy", "alias", "detach", "dropout")
)  # fmt: skip


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
    weights : dict
        Of the constant nodes, those that are weights of the model: their names in it.
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
        if isinstance(_batch(program), int):  # len(X) is a number to PyTorch: one that can be told from others
            program = _export(model, *_rows(X, args, PRIME))
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
        by_name = {node.name: node for node in program.graph.nodes}
        inputs = [by_name[name] for name in signature.user_inputs]
        self.x, self.args = inputs[0], inputs[1:]
        batch = _batch(program)
        taken = unstack(program.graph, batch, self.x)
        outputs = [by_name[o] if isinstance(o, str) else o for o in signature.user_outputs]
        self.outputs = [taken.get(o, o) for o in outputs]
        order = list(program.graph.nodes)

        needed = _ancestors(o for o in self.outputs if isinstance(o, fx.Node))
        self.kind: dict[fx.Node, str] = {}
        self.shape: dict[fx.Node, tuple[int, ...]] = {}
        self.weights: dict[fx.Node, str] = {}
        self._fixed: dict[fx.Node, Any] = {}  # constants that are written in the model's code
        self._constants: list[fx.Node] = []
        self.nodes: list[fx.Node] = []
        for node in order:
            if node.op == "output" or node not in needed:
                continue
            if isinstance(batch, int) and mentions(node, batch):
                raise CannotCaptureError("the model is tied to one number of sequences")
            if node.op == "get_attr" or isinstance(node.target, torch._ops.HigherOrderOperator):
                raise CannotCaptureError(f"a part of its forward runs in a mode of its own ({name_of(node)})")
            value = node.meta.get("val")
            if node is self.x:
                kind = SEQUENCE
            elif node in self.args:
                kind = BACKGROUND
            elif node.op == "placeholder":
                kind = CONSTANT
                if node.name in signature.inputs_to_parameters or node.name in signature.inputs_to_buffers:
                    self.weights[node] = stored[node.name].removeprefix("model.")
                else:
                    self._fixed[node] = values[stored[node.name]]
            else:
                kind = self._kind(node, value)
            self.kind[node] = kind
            if kind == CONSTANT:
                self._constants.append(node)
                continue
            self.nodes.append(node)
            if kind != SYMBOL and isinstance(value, torch.Tensor) and value.ndim:
                first, *rest = value.shape
                if str(first) == str(batch) and all(isinstance(s, int) for s in rest):
                    self.shape[node] = tuple(rest)
        if any(output is not None and output not in self.shape for output in self.outputs):
            raise CannotCaptureError("an output has not one entry per sequence on its first axis")
        self._fill({name.removeprefix("model."): value for name, value in values.items()})
        self.last_use = {}
        for node in self.nodes:
            for used in node.all_input_nodes:
                self.last_use[used] = node

    def _fill(self, weights: Mapping[str, Any]) -> None:
        """Set the values of the constants, from weights by name."""
        self.constant: dict[fx.Node, Any] = {}
        for node in self._constants:
            if node.op == "placeholder":
                value = weights[self.weights[node]] if node in self.weights else self._fixed[node]
                self.constant[node] = value.detach() if isinstance(value, torch.Tensor) else value
            else:
                self.constant[node] = node.target(
                    *self.map_nodes(node.args, self.constant.get), **self.map_nodes(node.kwargs, self.constant.get)
                )
        self.memory = self._memory()

    def with_weights_of(self, model: torch.nn.Module) -> Graph:
        """Return the graph of a model of the same `architecture`, by whose code it would be the same."""
        other = self.without_weights()
        other._fill(weights_of(model))
        return other

    def without_weights(self) -> Graph:
        """Return the same graph, not to be run."""
        other = object.__new__(Graph)
        other.__dict__.update(self.__dict__)
        other.constant, other.memory = {}, frozenset()
        return other

    def _memory(self) -> frozenset[int]:
        return frozenset(v.untyped_storage().data_ptr() for v in self.constant.values() if isinstance(v, torch.Tensor))

    def _kind(self, node: fx.Node, value: Any) -> str:
        if isinstance(value, torch.SymInt | torch.SymBool | torch.SymFloat) or name_of(node) == "sym_size":
            return SYMBOL
        kinds = {self.kind[n] for n in node.all_input_nodes}
        if SEQUENCE in kinds:
            return SEQUENCE
        return BACKGROUND if kinds & {BACKGROUND, SYMBOL} else CONSTANT

    @functools.cached_property
    def cancelling(self) -> frozenset[fx.Node]:
        """Sums of exponentials whose logarithm (or inverse, or root) is taken: no difference of such a sum is exact.

        ``log(sum(exp(x)))`` loses all digits in float32 where an edit takes the one large term away, if the sum is held
        as the background's plus a change. So these sums, and what is between them and the logarithm, are of values.
        """
        found: set[fx.Node] = set()
        for node in self.nodes:
            if name_of(node) not in TELLING:
                continue
            asked = node.args[1:2] if name_of(node) in DIVISIONS else node.args[:1]  # of a quotient, the denominator
            for source in asked:
                if isinstance(source, fx.Node):
                    _cancelling(source, [], found, set())
        return frozenset(found)

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
        other.retyped = (*self.retyped, self.dtype)
        other.memory = other._memory()
        return other

    retyped: tuple[torch.dtype, ...] = ()

    def call(self, node: fx.Node, get: Callable[[fx.Node], Any]) -> Any:
        """Compute one node from the values that `get` gives for its arguments."""
        args, kwargs = self.map_nodes(
            (node.args, node.kwargs), lambda n: self.constant.get(n, None) if self.kind[n] == CONSTANT else get(n)
        )
        if self.retyped:
            # The graph was captured in another dtype: its explicit dtypes go along.
            args = tuple(self._dtype_of(a) for a in args)
            kwargs = {k: self._dtype_of(v) for k, v in kwargs.items()}
        # Feature maps are laid out otherwise than in the model, where a view may have been one.
        target = torch.ops.aten.reshape.default if node.target is torch.ops.aten.view.default else node.target
        return target(*args, **kwargs)

    def _dtype_of(self, argument: Any) -> Any:
        return self.dtype if isinstance(argument, torch.dtype) and argument in self.retyped else argument

    def run(
        self,
        X: torch.Tensor,
        args: tuple[torch.Tensor, ...] = (),
        keep: Iterable[fx.Node] = (),
        cut: Mapping[fx.Node, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType({}),
    ) -> tuple[list[Any], dict[fx.Node, torch.Tensor]]:
        """Run the whole graph on a batch; return the outputs' values and those of the nodes to `keep`.

        Of the nodes in `cut` it returns what that makes of their values, which are held no longer than the run needs.
        """
        parts: dict[fx.Node, torch.Tensor] = {}
        values: dict[fx.Node, Any] = dict(zip([self.x, *self.args], [X, *args]))
        wanted = set(keep) | {o for o in self.outputs if o is not None}
        for node in self.nodes:
            if node.op != "placeholder":
                values[node] = self.call(node, values.__getitem__)
            if node in cut:
                parts[node] = cut[node](values[node])
            for used in node.all_input_nodes:
                if self.last_use.get(used) is node and used not in wanted:
                    values.pop(used, None)
        outputs = [None if o is None else values[o] for o in self.outputs]
        return outputs, {node: values[node] for node in wanted if node in values} | parts

    def nest(self, outputs: list[Any]) -> Any:
        """Arrange output values as the model does."""
        return pytree.tree_unflatten(outputs, self.spec)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers of a model by all names that they have in it."""
    return dict((*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)))


def _cancelling(node: fx.Node, between: list[fx.Node], found: set[fx.Node], seen: set[fx.Node]) -> None:
    """Walk back through sums to what grows; if there is such a thing, what is in between is found."""
    name = name_of(node)
    if name in GROWING and not (name == "pow" and isinstance(node.args[1], int | float) and 0 <= node.args[1] <= 2):
        found.update(between)
        return
    if node in found:
        found.update(between)
    if node in seen or node.op == "placeholder" or name not in SUMS | KEEPING:
        return
    seen.add(node)
    for source in node.all_input_nodes:
        _cancelling(source, [*between, node], found, seen)


def _ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.all_input_nodes)
    return found


def _batch(program: torch.export.ExportedProgram) -> int | torch.SymInt:
    """Return the number of sequences as the graph knows it."""
    name = program.graph_signature.user_inputs[0]
    size = next(node for node in program.graph.nodes if node.name == name).meta["val"].shape[0]
    return int(size) if str(size).isdigit() else size  # a symbol may have been found to be a number


def _rows(X: torch.Tensor, args: tuple[torch.Tensor, ...], n: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    return X[:1].repeat(n, 1, 1), tuple(a[:1].repeat(n, *[1] * (a.ndim - 1)) for a in args)


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
