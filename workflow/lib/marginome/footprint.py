"""How much memory a model's activations take at once, and how many sequences go through it together for that."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from marginome.devices import is_out_of_memory
from marginome.operations import Following

# Of so many bytes of activations for a byte of the sequences (float32, one-hot) it is not measured whether they fit:
# two hundred times as many channels as bases, five tensors of them at once.
UNMEASURED = 1000


def memory_of_attributions(memory_mb: int, device: torch.device) -> int:
    """Return the bytes that a job's attributions keep to: the run's `memory_mb`; on a GPU a third of its own, if more.

    A GPU wants to be filled: in half of 3,000 MB an H200 did 4,500 pairs of a BPNet per second, in half of 26,000 MB
    15,600.
    """
    third = torch.cuda.get_device_properties(device).total_memory // 3 if device.type == "cuda" else 0
    return max(int(memory_mb) << 20, third)


class Live(Following):
    """Follows how much memory there is at once of what operations return: ``peak``, in bytes, weights not counted."""

    def __init__(self):
        super().__init__()
        self.peak = 0
        self._held: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._held = {storage: size for storage, size in self._held.items() if not storage.expired()}
        if not getattr(func, "is_view", False):  # a view of a weight takes no memory
            storages = [y.untyped_storage() for y in tree_leaves(out) if isinstance(y, Tensor)]
            self._held |= {StorageWeakRef(storage): storage.nbytes() for storage in storages}
        self.peak = max(self.peak, sum(self._held.values()))
        return out


@torch.no_grad()
def sequences_at_once(
    run: Callable[[Tensor, tuple[Tensor, ...]], Any],
    X: Tensor,
    args: Sequence[Tensor],
    *,
    memory_bytes: float,
    most: int,
) -> int:
    """Return how many sequences to run together, so that their activations keep to a memory.

    Parameters
    ----------
    run : function
        Runs the model, ``run(X, args)``.
    X : Tensor, shape (n, 4, length)
        Sequences, of which the first is run where the model may be too large for `most`.
    args : sequence of Tensor
        The model's further inputs, n entries each.
    memory_bytes : float
        For what there is of activations at once.
    most : int
        What a model without trouble gets.

    Returns
    -------
    int
        At least 1. It depends on the model, the length and the memory alone, since numbers depend on it in the last
        digits: not on what is free.
    """
    if most * X[0].numel() * 4 * UNMEASURED <= memory_bytes:
        return most
    return _as_many(lambda: run(X[:1], tuple(a[:1] for a in args)), memory_bytes, most)


def passes_at_once(
    model: torch.nn.Module, what: Hashable, run: Callable[[], Any], *, memory_bytes: float, most: int
) -> int:
    """Return how many passes forwards and backwards to make together, so that what they keep stays within a memory.

    Parameters
    ----------
    model : torch.nn.Module
        What is measured of it is remembered as long as it lives.
    what : hashable
        What a pass depends on beside the model: which function, the sequences' shape, the dtype.
    run : function
        Makes one pass.
    memory_bytes : float
        For what there is at once.
    most : int
        What a model without trouble gets.

    Returns
    -------
    int
        At least 1, as for `sequences_at_once`; 1 where memory runs out.
    """
    known = _measured.setdefault(model, {})
    key = (what, memory_bytes, most)
    if key not in known:
        try:
            known[key] = _as_many(run, memory_bytes, most)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            known[key] = 1
    return known[key]


_measured: WeakKeyDictionary[torch.nn.Module, dict[Hashable, int]] = WeakKeyDictionary()


def _as_many(run: Callable[[], Any], memory_bytes: float, most: int) -> int:
    with Live() as live:
        run()
    return max(1, min(most, int(memory_bytes / max(1, live.peak))))
