"""Seeing every operation of a model's forward pass that its multipliers depend on.

PyTorch's dispatcher reduces what a model does, in whatever form it is written (``torch.nn`` modules, functions of
``torch.nn.functional``, tensor methods, operators, modules used twice), to calls of a few hundred ATen operations.
A :class:`Recorder` sees these calls while a model runs, keeps the inputs of those that are not linear (as they were
before a later call overwrote them), and finds the autograd node of each, where `attach_rules` puts its rule. Autograd
does the rest: the chain rule, views, in-place changes, sums of branches.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from marginome.attribution.dependence import Dependence, Unseen, flat, storage
from marginome.attribution.kernels import narrow_convolution
from marginome.attribution.pairs import Call
from marginome.attribution.rules import RULES, is_linear
from marginome.errors import MarginomeError
from marginome.operations import Following

# What is worth skipping when its result is not asked for; the rest costs little and runs on zeros.
COSTLY = {"convolution", "addmm", "mm", "bmm", "baddbmm"}


class Region(NamedTuple):
    """A view that an operation changes in place, as a part of the tensor that it views.

    Autograd then has one node, CopySlices, for the whole tensor, which hides that of the operation.
    """

    whole_size: torch.Size  # no tensor: a rule holds on to this, and its graph would hold on to the rule
    whole_stride: tuple[int, ...]
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, view: torch.Tensor) -> Region | None:
        """Return the region of a view; None for another tensor."""
        whole = view._base
        if whole is None:
            return None
        offset = view.storage_offset() - whole.storage_offset()
        return cls(whole.size(), whole.stride(), view.size(), view.stride(), offset)

    def lay_out(self, t: torch.Tensor) -> torch.Tensor:
        """Copy a tensor shaped like the whole into its layout."""
        return t.new_empty_strided(self.whole_size, self.whole_stride).copy_(t)

    def part(self, laid_out: torch.Tensor) -> torch.Tensor:
        """Return the region of what `lay_out` returned."""
        return laid_out.as_strided(self.size, self.stride, self.offset)


class _Pending(NamedTuple):
    """A call whose autograd node is not there yet."""

    result: torch.Tensor
    record: Recorded | None
    base: str
    region: Region | None
    unlike: bool = False  # not linear, although others with a node of the same name are
    replaced: Any = None  # the node of what it overwrites


@dataclass
class Recorded:
    """A call that needs a rule or depends on the sequence unseen, and the tensor by which its node is found."""

    place: int | tuple[str, int]  # among `operations` if it needs a rule, else its name and which of that name it is
    call: Call
    unseen: Unseen | None
    region: Region | None
    ruled: bool
    node: Any = None


class Recorder(Following):
    """Record a forward pass under autograd.

    Parameters
    ----------
    expected : list of str, optional
        The `operations` of another pass of the same model; this pass has to make the same.
    unused : set of int, optional
        Which of `operations` have results that are not needed: they return zeros.
    unseen : dict, optional
        The `unseen` of a traced pass of the same model: calls to compare because autograd does not see all of them.
    trace : bool, optional
        Also note, for every call, what it reads and writes, the module and autograd node it belongs to, and whether it
        depends on the sequence unseen.

    Attributes
    ----------
    operations : list of str
        The calls that need a rule or are costly, in order.
    recorded : list of Recorded
        The calls that need a rule or depend on the sequence unseen.
    unseen : dict
        {(name, which of the calls with that name): `Unseen`}.
    notes : set of str
        What overwrote values behind autograd's back.
    """

    def __init__(
        self,
        expected: list | None = None,
        unused: set[int] | None = None,
        unseen: dict[tuple[str, int], Unseen] | None = None,
        *,
        trace: bool = False,
    ):
        super().__init__()
        self.expected, self.unused, self.trace = expected, unused or set(), trace
        self.operations: list = []
        self.recorded: list[Recorded] = []
        self.unseen: dict[tuple[str, int], Unseen] = dict(unseen or {})
        self.notes: set[str] = set()
        self.nodes: dict[Any, str] = {}  # trace: autograd node -> "operation in module"
        self.inside: dict[Any, str] = {}  # trace: CopySlices node -> the operation that it hides
        self.unruled: set = set()  # trace: nodes of calls that are not linear although others of the same node are
        # trace, for every call: its number, storages read and written, whether Python sees the result
        self.accesses: list[tuple[int | None, set[int], set[int], bool]] = []
        self.modules: list[str] = []  # the modules being run, outermost first
        self._counts: Counter[str] = Counter()
        self._kept: dict[int, list[Call]] = {}  # calls by the storages of the values that are kept of them
        self._unsorted: list[Call] = []  # those that are not in it yet
        self.overwritten: dict[str, None] = {}  # trace: what wrote in place without a derivative
        self._pending: list[_Pending] = []
        self._dependence = Dependence() if trace else None
        self._alive: list = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run one operation, keeping what its rule needs."""
        kwargs = kwargs or {}
        self._find_nodes()
        name = func._overloadpacket.__name__
        base = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        seen = args
        if base == "index_put" and _is_masked_fill(*args):
            base, seen = "masked_fill", (args[0], args[1][0], args[2].reshape(()))
        key = (base, self._counts[base])
        self._counts[base] += 1
        depends = [isinstance(a, torch.Tensor) and a.requires_grad for a in seen]
        positions = _written(func)
        written = [t for i in positions if i < len(args) for t in flat(args[i])] if positions else []
        rule = RULES.get(base)
        # Inside torch.no_grad (some of PyTorch's own functions) a value counts as a constant.
        ruled = rule is not None and any(depends) and torch.is_grad_enabled() and rule.needed(depends, seen, kwargs)
        index = None
        if ruled or base in COSTLY:
            index = len(self.operations)
            self.operations.append(base)
            if self.expected is not None and self.expected[index : index + 1] != [base]:
                raise _another_path(base, self.expected[index] if index < len(self.expected) else "nothing more")
            if index in self.unused:
                return _zeros_like_result(func, args, kwargs)

        if self._dependence is not None:
            found = self._dependence.before(base, seen, written)
            if found is not None:
                self.unseen[key] = found
        unseen = self.unseen.get(key) if self.unseen else None
        region = Region.of(written[0]) if written else None
        record = None
        if ruled or (unseen is not None and not unseen.behind):
            call = Call(base, tuple(_detached(a) for a in seen), kwargs)
            record = Recorded(index if ruled else key, call, unseen, region, ruled)
            self._unsorted.append(call)
        for t in written:
            self._protect(t)
        before = written[0].detach().clone() if unseen is not None and unseen.behind else None
        outputs = narrow_convolution(args) if base == "convolution" else None
        if outputs is None:
            outputs = func(*args, **kwargs)
        result = outputs if isinstance(outputs, torch.Tensor) else next(flat(outputs), None)
        if before is not None and not torch.equal(before, written[0].detach()):
            self.notes.add(f"aten.{name} on values that autograd follows, in a block that it does not")
        if record is not None and (base == "_local_scalar_dense" or (ruled and rule.outputs)):
            record.call.outputs = _detached(outputs)
            self._unsorted.append(record.call)
        if self._dependence is not None:
            self._dependence.after(base, seen, written, outputs)
            self._note_accesses(index, func, args, kwargs, outputs)
        if result is not None and self.trace:
            unlike = not ruled and _is_unlike_its_node(base, args)
            followed = written and torch.is_grad_enabled()
            replaced = _whole(written[0]).grad_fn if followed else None
            self._pending.append(_Pending(result, record, base, region, unlike, replaced))
        elif result is not None and record is not None:
            self._pending.append(_Pending(result, record, base, region))
        elif result is None and record is not None:  # a number that Python reads
            self.recorded.append(record)
        return outputs

    def _protect(self, t: torch.Tensor) -> None:
        """Copy what is kept in a storage that is about to be overwritten."""
        for call in self._unsorted:
            for kept in flat([*call.args, call.outputs]):
                self._kept.setdefault(storage(kept), []).append(call)
        self._unsorted.clear()
        place = storage(t)

        def copied(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value.clone() if storage(value) == place else value
            return type(value)(copied(v) for v in value) if type(value) in (list, tuple) else value

        for call in self._kept.pop(place, ()):
            call.args, call.outputs = copied(call.args), copied(call.outputs)

    def _find_nodes(self) -> None:
        """Autograd attaches its node to a result after the call: look it up at the next one."""
        for result, record, base, region, unlike, replaced in self._pending:
            node = (result if region is None else _whole(result)).grad_fn
            if node is None:  # does not depend on the sequence, or is inside torch.no_grad
                continue
            if self.trace:
                module = f" in module '{self.modules[-1]}'" if self.modules else ""
                # The last operation inside a function with a derivative of its own has that function's node.
                label = f"aten.{base}"
                if node is replaced:
                    self.overwritten.setdefault(f"{label}_{module}")
                    continue
                if region is not None and node_name(node) == "copyslices":
                    self.inside.setdefault(node, base)
                    label += "_ in place on a part of a tensor"
                elif not _is_node_of(base, node_name(node)):
                    label = f"{node.name()} (around {label})"
                self.nodes.setdefault(node, label + module)
                if unlike:
                    self.unruled.add(node)
            if record is not None:
                record.node = node
                self.recorded.append(record)
        self._pending.clear()

    def _note_accesses(self, index, func, args, kwargs, outputs) -> None:
        positions = _written(func)
        reads = {storage(t) for t in flat([*args, *kwargs.values()])}
        writes = {storage(t) for i in positions if i < len(args) for t in flat(args[i])}
        results = list(flat(outputs))
        writes |= {storage(t) for t in results}
        self._alive.append((results, list(flat(args))))  # so that no storage is reused and taken for another
        self.accesses.append((index, reads, writes, not results))

    def finish(self) -> None:
        """Find the last nodes. Call it after the model, inside the mode's block."""
        self._find_nodes()
        if self.expected is not None and len(self.operations) < len(self.expected):
            raise _another_path("nothing more", self.expected[len(self.operations)])

    def forget_graph(self) -> None:
        """Let go of autograd's graph and of what was traced; the calls are kept."""
        for record in self.recorded:
            record.node = None
        self.forget_trace()

    def forget_trace(self) -> None:
        """Let go of what was traced."""
        for traced in (self.nodes, self.inside, self.unruled, self.accesses, self._alive):
            traced.clear()
        self._dependence = None

    def unused_by(self, output: torch.Tensor) -> set[int]:
        """Return the numbers of the costly calls that an output does not depend on (needs `trace`)."""
        live, unused = {storage(output)}, set()
        for index, reads, writes, seen in reversed(self.accesses):
            if seen or writes & live:
                live |= reads
            elif index is not None and self.operations[index] in COSTLY:
                unused.add(index)
        return unused

    def without_rule(self, *outputs: torch.Tensor) -> list[str]:
        """Return the operations on the way to the outputs that are neither linear nor have a rule (needs `trace`)."""
        known = {record.node for record in self.recorded if record.ruled and fits(record)}
        found = self.overwritten | dict.fromkeys(self._dependence.beside if self._dependence else ())
        for node in walk(*outputs):
            depends = [following is not None for following, _ in node.next_functions]
            if node in known:
                continue
            name = self.inside.get(node, "").replace("_", "") or node_name(node)
            if node in self.unruled or is_custom(node) or not is_linear(name, depends):
                found.setdefault(self.nodes.get(node, f"autograd node {node.name()}"))
        return list(found)


def _another_path(now: str, before: str) -> MarginomeError:
    return MarginomeError(
        f"the model takes another path for the references than for the sequence ({now} instead of {before}), so that "
        "the two cannot be compared step by step",
        where="model",
        remedy="Remove branches that depend on the data, or attribute by saturation_mutagenesis.",
    )


def _whole(t: torch.Tensor) -> torch.Tensor:
    """Return what a view views; another tensor itself."""
    return t if t._base is None else t._base


@functools.lru_cache(maxsize=4096)
def _written(func: Any) -> tuple[int, ...]:
    """Return which arguments an operation overwrites."""
    arguments = func._schema.arguments
    return tuple(i for i, a in enumerate(arguments) if a.alias_info is not None and a.alias_info.is_write)


def _is_masked_fill(t: torch.Tensor, indices: list, value: torch.Tensor, accumulate: bool = False) -> bool:
    """Tell whether ``t[indices] = value`` is one number wherever a mask of all elements says so."""
    if len(indices) != 1 or indices[0] is None or value.numel() != 1 or accumulate:
        return False
    return indices[0].dtype == torch.bool and indices[0].shape == t.shape


def _is_unlike_its_node(base: str, args: tuple) -> bool:
    """Tell whether a call is not linear although others with an autograd node of the same name are."""
    return base in ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm") and args[5] is True


def fits(record: Recorded) -> bool:
    """Tell whether the node found for a call is its own, or the one that hides it."""
    if record.node is None:
        return False
    name = node_name(record.node)
    return _is_node_of(record.call.name, name) if record.region is None else name == "copyslices"


def _is_node_of(operation: str, node: str) -> bool:
    """Tell whether a node is that of an operation."""
    plain = operation.replace("_", "").lower()
    return node in (plain, {"logsigmoidforward": "logsigmoid", "maskedfill": "indexput"}.get(plain))


def is_custom(node: Any) -> bool:
    """Tell whether a node is that of a torch.autograd.Function of the model, whatever its name."""
    return isinstance(node, torch.autograd.function.BackwardCFunction) and node_name(node) != "_replaced"


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


def _detached(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach()
    return type(value)(_detached(v) for v in value) if type(value) in (list, tuple) else value


def _zeros_like_result(func, args, kwargs):
    """Return zeros of the shape that a costly operation would return."""

    def shape_only(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        return value

    device = next(flat(args)).device
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
