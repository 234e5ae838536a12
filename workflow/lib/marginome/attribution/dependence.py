"""What depends on the sequence behind autograd's back: masks, indices, detached values, numbers that Python reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from marginome.attribution.rules import KINKED, SMOOTH

# Operations that work element by element: each number of a result depends on the numbers at the same place.
ELEMENTWISE = KINKED | SMOOTH | {
    "relu", "add", "sub", "rsub", "mul", "div", "neg", "positive", "square", "where", "masked_fill", "maximum",
    "minimum", "fmax", "fmin", "lerp", "addcmul", "addcdiv", "heaviside", "gt", "lt", "ge", "le", "eq", "ne",
    "logical_and", "logical_or", "logical_not", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_not",
    "bitwise_xor", "isfinite", "isnan", "isinf", "signbit", "_to_copy", "clone", "detach", "alias", "lift_fresh",
}  # fmt: skip
# Operations that keep all elements in their order: what they return is, element by element, the same function.
RESHAPING = {"view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze"}
# Operations whose first argument is overwritten without being read.
OVERWRITING = {"copy", "fill", "zero"}


class Unseen(NamedTuple):
    """How a call depends on the sequence without autograd's knowledge.

    Attributes
    ----------
    positions : tuple of int
        Arguments that depend on the sequence but have no derivative.
    own : bool
        Whether all arguments that depend on the sequence are, element by element, functions of one tensor, as in
        ``torch.where(z > 0, z, 0.1 * z)``. The secant in that tensor is then exact.
    behind : bool
        Whether it overwrites something that autograd follows while autograd does not look.
    """

    positions: tuple[int, ...] = ()
    own: bool = False
    behind: bool = False


class Dependence:
    """Follow what depends on the sequence through a forward pass whose tensors are all kept alive."""

    def __init__(self) -> None:
        self.beside: set[str] = set()  # what wrote into a tensor that holds values without a derivative
        self._dependent: set[int] = set()  # storages
        self._shared: set[int] = set()  # storages that autograd follows, seen by tensors that it does not follow
        self._origins: dict[int, dict[tuple, object]] = {}  # storage -> place in it -> what it is a function of

    def depends(self, t: torch.Tensor) -> bool:
        """Tell whether a tensor's values depend on the sequence."""
        return t.requires_grad or storage(t) in self._dependent

    def before(self, name: str, args: tuple, written: list[torch.Tensor]) -> Unseen | None:
        """Tell what is unseen about a call that is about to run (`name` without the in-place underscore)."""
        tensors = list(flat(args))
        followed = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        if not followed and any(t.requires_grad or storage(t) in self._shared for t in written):
            return Unseen(behind=True)
        if name == "_local_scalar_dense":
            return Unseen((0,)) if self.depends(args[0]) else None
        if not followed:
            return None
        if name in OVERWRITING and any(
            not t.requires_grad
            and storage(t) in self._dependent
            and t._base is not None
            and t.numel() < t._base.numel()
            for t in written
        ):
            self.beside.add(f"aten.{name}_ beside values that depend on the sequence but have no derivative")
        positions = tuple(
            i
            for i, a in enumerate(args)
            if any(not t.requires_grad and storage(t) in self._dependent for t in flat(a))
            and not (i == 0 and name in OVERWRITING)
        )
        return Unseen(positions, own=self._origin(name, tensors) is not None) if positions else None

    def after(self, name: str, args: tuple, written: list[torch.Tensor], outputs: Any) -> None:
        """Note what the results of a call depend on."""
        dependents = [t for t in flat(args) if self.depends(t)]
        if not dependents or name.endswith("_like") or name.startswith("new_"):
            return
        origin = self._origin(name, dependents)
        for t in written:
            self._origins.pop(storage(t), None)
        followed = {storage(t) for t in dependents if t.requires_grad}
        for t in flat(outputs):
            self._dependent.add(storage(t))
            if storage(t) in followed and (name == "detach" or not torch.is_grad_enabled()):
                self._shared.add(storage(t))
            if origin is not None and (name in RESHAPING or t.shape == dependents[0].shape):
                self._origins.setdefault(storage(t), {})[_place(t)] = origin

    def _origin(self, name: str, tensors: list[torch.Tensor]) -> object | None:
        """Return what all of some arguments that depend on the sequence are functions of, if that is one thing."""
        tensors = [t for t in tensors if self.depends(t)]
        if name not in ELEMENTWISE | RESHAPING or len({t.shape for t in tensors}) != 1:
            return None
        origins = {self._origins.setdefault(storage(t), {}).setdefault(_place(t), object()) for t in tensors}
        return origins.pop() if len(origins) == 1 else None


def storage(t: torch.Tensor) -> int:
    """Return what identifies the memory of a tensor while it lives."""
    return t.untyped_storage()._cdata


def flat(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a nested list."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for v in value:
            yield from flat(v)


def _place(t: torch.Tensor) -> tuple:
    return (t.storage_offset(), t.shape, t.stride())
