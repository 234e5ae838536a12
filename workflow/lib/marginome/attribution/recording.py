"""Seeing every operation of a model's forward pass, and putting rules in the place of its derivatives.

PyTorch's dispatcher reduces what a model does, in whatever form it is written (``torch.nn`` modules, functions of
``torch.nn.functional``, tensor methods, operators, modules used twice), to calls of a few hundred ATen operations.
A :class:`Recorder` sees these calls while a model runs, keeps the inputs of those that are not linear, and finds
the autograd node of each. Autograd does the rest: the chain rule, views, in-place changes, sums of branches.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from marginome.attribution.kernels import narrow_convolution
from marginome.attribution.rules import RULES, Call, Pair, is_linear
from marginome.errors import MarginomeError

# What is worth skipping when its result is not asked for; the rest costs little and runs on zeros.
COSTLY = {"convolution", "addmm", "mm", "bmm", "baddbmm"}


@dataclass
class Recorded:
    """A call that needs a rule, and the tensor by which its autograd node is found."""

    index: int
    call: Call
    versions: tuple[int, ...]
    module: str
    result: torch.Tensor | None  # until the node is known
    node: Any = None


class Recorder(TorchDispatchMode):
    """Record a forward pass under autograd.

    Parameters
    ----------
    expected : list of str, optional
        The `operations` of another pass of the same model; this pass has to make the same.
    unused : set of int, optional
        Which of `operations` have results that are not needed: they return zeros.
    copy : bool, optional
        Copy what is kept. Needed for models that later change it in place.
    trace : bool, optional
        Also note, for every call, what it reads and writes, and the module and autograd node it belongs to.

    Attributes
    ----------
    operations : list of str
        The calls that need a rule or are costly, in order.
    recorded : list of Recorded
        The calls that need a rule.
    """

    def __init__(
        self, expected: list | None = None, unused: set[int] | None = None, *, copy: bool = False, trace: bool = False
    ):
        super().__init__()
        self.expected, self.unused, self.copy, self.trace = expected, unused or set(), copy, trace
        self.operations: list = []
        self.recorded: list[Recorded] = []
        self.nodes: dict[Any, str] = {}  # trace: autograd node -> "operation in module"
        # trace, for every call: its number, storages read and written, whether Python sees the result
        self.accesses: list[tuple[int | None, set[int], set[int], bool]] = []
        self.modules: list[str] = []  # the modules being run, outermost first
        self._pending: list[tuple[torch.Tensor, Recorded | None, str]] = []
        self._alive: list = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run one operation, keeping what its rule needs."""
        kwargs = kwargs or {}
        self._find_nodes()
        name = func._overloadpacket.__name__
        base = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        depends = [isinstance(a, torch.Tensor) and a.requires_grad for a in args]
        rule = RULES.get(base)
        # Inside torch.no_grad (some of PyTorch's own functions) a value counts as a constant.
        ruled = rule is not None and any(depends) and torch.is_grad_enabled() and rule.needed(depends, args, kwargs)
        index = None
        if ruled or base in COSTLY:
            index = len(self.operations)
            self.operations.append(base)
            if self.expected is not None and self.expected[index : index + 1] != [base]:
                raise _another_path(base, self.expected[index] if index < len(self.expected) else "nothing more")
            if index in self.unused:
                return _zeros_like_result(func, args, kwargs)

        record = None
        if ruled:
            copy = self.copy or base != name  # in place: its input is about to change
            kept = tuple(self._keep(a, copy) for a in args)
            record = Recorded(index, Call(base, kept, kwargs), (), ".".join(self.modules[-1:]), None)
        outputs = narrow_convolution(args) if base == "convolution" else None
        if outputs is None:
            outputs = func(*args, **kwargs)
        result = next(_flat(outputs), None)
        if record is not None:
            if rule.outputs:
                record.call.outputs = tuple(self._keep(o, self.copy) for o in outputs)
            record.versions = tuple(t._version for t in _tensors(record.call))
        if self.trace:
            self._note_accesses(index, func, args, kwargs, outputs)
        if result is not None and (record is not None or self.trace):
            self._pending.append((result, record, base))
        return outputs

    def _keep(self, value: Any, copy: bool) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.detach().clone() if copy else value.detach()

    def _find_nodes(self) -> None:
        """Autograd attaches its node to a result after the call: look it up at the next one."""
        for result, record, base in self._pending:
            node = result.grad_fn
            if node is None:  # does not depend on the sequence, or is inside torch.no_grad
                continue
            if self.trace:
                module = self.modules[-1] if self.modules else ""
                # The last operation inside a function with a derivative of its own has that function's node.
                label = f"aten.{base}" if _is_node_of(base, node_name(node)) else f"{node.name()} (around aten.{base})"
                self.nodes.setdefault(node, label + (f" in module '{module}'" if module else ""))
            if record is not None:
                record.node = node
                self.recorded.append(record)
        self._pending.clear()

    def _note_accesses(self, index, func, args, kwargs, outputs) -> None:
        reads, writes = set(), set()
        for argument, value in zip(func._schema.arguments, args):
            stored = {_storage(t) for t in _flat(value)}
            reads |= stored
            if argument.alias_info is not None and argument.alias_info.is_write:
                writes |= stored
        for value in kwargs.values():
            reads |= {_storage(t) for t in _flat(value)}
        results = list(_flat(outputs))
        writes |= {_storage(t) for t in results}
        self._alive.append((results, list(_flat(args))))  # so that no storage is reused and taken for another
        self.accesses.append((index, reads, writes, not results))

    def finish(self) -> None:
        """Find the last nodes. Call it after the model, inside the mode's block."""
        self._find_nodes()
        if self.expected is not None and len(self.operations) < len(self.expected):
            raise _another_path("nothing more", self.expected[len(self.operations)])

    def unused_by(self, output: torch.Tensor) -> set[int]:
        """Return the numbers of the costly calls that an output does not depend on (needs `trace`)."""
        live, unused = {_storage(output)}, set()
        for index, reads, writes, seen in reversed(self.accesses):
            if seen or writes & live:
                live |= reads
            elif index is not None and self.operations[index] in COSTLY:
                unused.add(index)
        return unused

    def changed_in_place(self) -> bool:
        """Tell whether something that was kept has been overwritten since."""
        return any(
            t._version != version
            for record in self.recorded
            for t, version in zip(_tensors(record.call), record.versions)
        )

    def without_rule(self, *outputs: torch.Tensor) -> list[str]:
        """Return the operations on the way to the outputs that are neither linear nor have a rule (needs `trace`)."""
        known = {record.node for record in self.recorded if _is_node_of(record.call.name, node_name(record.node))}
        found: dict[str, None] = {}
        for node in walk(*outputs):
            depends = [following is not None for following, _ in node.next_functions]
            if node not in known and not is_linear(node_name(node), depends):
                found.setdefault(self.nodes.get(node, f"autograd node {node.name()}"))
        for record in self.recorded:
            if record.node not in known:  # autograd hides its node in one that copies into the viewed tensor
                module = f" in module '{record.module}'" if record.module else ""
                found.setdefault(f"aten.{record.call.name}_ in place on a part of a tensor{module}")
        return list(found)


def _another_path(now: str, before: str) -> MarginomeError:
    return MarginomeError(
        f"the model takes another path for the references than for the sequence ({now} instead of {before}), so that "
        "the two cannot be compared step by step",
        where="model",
        remedy="Remove branches that depend on the data, or attribute by saturation_mutagenesis.",
    )


def _is_node_of(operation: str, node: str) -> bool:
    """Tell whether a node is that of an operation (a change in place of a view hides it behind another)."""
    plain = operation.replace("_", "").lower()
    return {"logsigmoidforward": "logsigmoid"}.get(plain, plain) == node


def node_name(node: Any) -> str:
    """Return an autograd node's name in lower case without its ending."""
    return re.sub(r"Backward\d*$", "", node.name().split("::")[-1]).lower()


def walk(*outputs: torch.Tensor) -> Iterator[Any]:
    """Yield every autograd node that leads to some outputs once."""
    stack = [t.grad_fn for t in outputs if t.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)


def _flat(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for v in value:
            yield from _flat(v)


def _tensors(call: Call) -> list[torch.Tensor]:
    return [*_flat(call.args), *_flat(call.outputs)]


def _storage(t: torch.Tensor) -> int:
    return t.untyped_storage()._cdata


def _zeros_like_result(func, args, kwargs):
    """Return zeros of the shape that a costly operation would return."""

    def shape_only(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        return value

    device = next(_flat(args)).device
    result = func(*(shape_only(a) for a in args), **kwargs)
    return torch.zeros(result.shape, dtype=result.dtype, device=device)


@contextlib.contextmanager
def named_modules_of(model: torch.nn.Module, recorder: Recorder) -> Iterator[None]:
    """Tell a recorder which of a model's modules is being run, for its messages."""
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        label = f"{name} ({type(module).__name__})" if name else type(module).__name__

        def enter(_module, _inputs, label=label):
            recorder._find_nodes()
            recorder.modules.append(label)

        def leave(_module, _inputs, _outputs):
            recorder._find_nodes()
            recorder.modules.pop()

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attach_rules(
    other: Recorder, this: Recorder, output: torch.Tensor, pair: Callable[..., Pair], notes: set[str]
) -> bool:
    """Replace derivatives by multipliers on the graph of one of two passes.

    Parameters
    ----------
    other, this : Recorder
        Of the two passes that are compared; `this` is the one that will be differentiated.
    output : torch.Tensor
        What will be differentiated; only nodes that lead to it get a rule.
    pair : callable
        ``pair(other_call, this_call, grad_outputs, grad_inputs)`` shapes the two calls so that they broadcast, e.g.
        `marginome.attribution.rules.make_pair` with the number of sequences and references.
    notes : set of str
        Gets the names of operations that turn out to have no rule while the rules run.

    Returns
    -------
    bool
        Whether every ReLU on the way has its rule.
    """
    partners = {record.index: record for record in other.recorded}
    needed = set(walk(output))
    open_relus = {node for node in needed if node_name(node) in ("relu", "threshold", "copyslices")}
    for record in this.recorded:
        if record.node not in needed or not _is_node_of(record.call.name, node_name(record.node)):
            continue
        partner = partners.get(record.index)
        if partner is None:
            raise MarginomeError(f"aten.{record.call.name} was seen in one of two passes only", where="model")
        record.node.register_hook(_hook(partner.call, record.call, pair, notes))
        if record.call.name == "relu":
            open_relus.discard(record.node)
    return not open_relus


def _hook(other: Call, this: Call, make: Callable[..., Pair], notes: set[str]) -> Callable:
    def replace(grad_inputs: tuple, grad_outputs: tuple) -> tuple:
        if all(g is None for g in grad_inputs) or grad_outputs[0] is None:
            return grad_inputs
        pair = make(other, this, grad_outputs, grad_inputs)
        pair.notes = notes
        replaced = RULES[this.name].multiplier(pair)
        return tuple(
            None if old is None else new.reshape(old.shape).to(old.dtype) for old, new in zip(grad_inputs, replaced)
        )

    return replace
