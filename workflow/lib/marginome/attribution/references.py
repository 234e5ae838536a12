"""The references that sequences are compared with: given, or drawn for each sequence from a seed of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from marginome.errors import MarginomeError
from marginome.sequences import name_some, refuse_meta
from marginome.shuffles import dinucleotide_shuffle


class References:
    """The references of sequences, given or drawn."""

    def __init__(self, given: Any, n_shuffles: int, random_state: int | Sequence[int] | None, X: torch.Tensor):
        self.X = X
        self.function, self.given = None, None
        if isinstance(given, torch.Tensor):
            refuse_meta(given, "references")
            given = given.detach()
            each = tuple(X.shape[1:])
            if given.ndim == 3 and tuple(given.shape[1:]) == each:
                given = given.unsqueeze(0).expand(len(X), -1, -1, -1)
            elif given.ndim != 4 or given.shape[0] != len(X) or tuple(given.shape[2:]) != each:
                raise MarginomeError(
                    f"expected shape ({len(X)}, n_references, {each[0]}, {each[1]}), or (n_references, {each[0]}, "
                    f"{each[1]}) for all sequences alike, found {tuple(given.shape)}",
                    where="references",
                )
            if given.shape[1] == 0:
                raise MarginomeError("there is no reference in it", where="references")
            if given.is_floating_point() and not given.isfinite().all():
                bad = (~given.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
                raise MarginomeError(f"NaN or infinite for sequence {name_some(bad)}", where="references")
            self.given, self.n = given, given.shape[1]
        elif callable(given):
            if not isinstance(n_shuffles, int) or isinstance(n_shuffles, bool) or n_shuffles < 1:
                raise MarginomeError(f"expected a whole number above 0, found {n_shuffles!r}", where="n_shuffles")
            self.function, self.n = given, n_shuffles
        else:
            raise MarginomeError(f"expected a function or a tensor, found {type(given).__name__}", where="references")
        if random_state is None or isinstance(random_state, int):
            self.seeds = [random_state] * len(X)
        else:
            self.seeds = [int(seed) for seed in random_state]
            if len(self.seeds) != len(X):
                raise MarginomeError(
                    f"expected one seed, or one for each of {len(X)} sequences, found {len(self.seeds)}",
                    where="random_state",
                )

    def draw(self, start: int, stop: int) -> torch.Tensor:
        """Return the references of some sequences, (stop - start, n_references, 4, length)."""
        if self.given is not None:
            return self.given[start:stop]
        if self.function is dinucleotide_shuffle:
            seeds = None if self.seeds[start] is None else self.seeds[start:stop]
            drawn = self.function(self.X[start:stop], n=self.n, random_state=seeds)
        else:
            parts = [self.function(self.X[i : i + 1], n=self.n, random_state=self.seeds[i]) for i in range(start, stop)]
            drawn = torch.cat(parts)
        expected = (stop - start, self.n, *self.X.shape[1:])
        if tuple(drawn.shape) != expected:
            raise MarginomeError(
                f"the function returned shape {tuple(drawn.shape)}, expected {expected}", where="references"
            )
        return drawn


@contextlib.contextmanager
def ahead(source: References, device: torch.device) -> Iterator[Callable[[int, int, int], torch.Tensor]]:
    """Draw references ``draw(start, stop, next_stop)``; the next ones meanwhile, where a GPU leaves the CPU free."""
    if device.type == "cpu" or source.function is not dinucleotide_shuffle:
        yield lambda start, stop, _: source.draw(start, stop)
        return
    pending: dict[tuple[int, int], Future] = {}
    with ThreadPoolExecutor(1) as pool:

        def take(start: int, stop: int, next_stop: int) -> torch.Tensor:
            mine = pending.pop((start, stop), None) or pool.submit(source.draw, start, stop)
            pending.clear()  # batches were made smaller: what was drawn for others is not wanted
            if next_stop > stop:
                pending[stop, next_stop] = pool.submit(source.draw, stop, next_stop)
            return mine.result()

        yield take
