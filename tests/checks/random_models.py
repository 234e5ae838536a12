"""Random models through the incremental engine against brute force in float64, for as long as you like.

    python tests/checks/random_models.py --minutes 60 --seed 0

Every model (`architectures`) is run in float64, where the engine has to agree to rounding, or in float32, to its stated
tolerance, by way of `Engine.run`, `Engine.pairs`, `marginalize_many` or `saturation_mutagenesis`, with engine="auto":
inserts of 1 bp to nearly the whole sequence, at both ends and between. The full pass is fine if it says why. Prints the
smallest model, with the fewest inserts, that fails, and exits with 1.
"""

from __future__ import annotations

import copy
import logging
import random
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils import _pytree as pytree

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "lib"))
sys.path.insert(0, str(Path(__file__).parent))

import architectures
import seeds_in_turn
from marginome import marginalization, mutagenesis
from marginome.errors import MarginomeError
from marginome.incremental import Edits, Engine
from marginome.incremental.confirm import TOLERANCE
from marginome.sequences import random_one_hot

# Relative to the largest output, in float64.
ROUNDING = 1e-7
WAYS = ("run", "pairs", "marginalize_many", "saturation_mutagenesis")


class Case(NamedTuple):
    """A model, how it is run, the seed of sequences and inserts, and which of these are used."""

    architecture: architectures.Architecture
    way: str
    dtype: torch.dtype
    seed: int
    backgrounds: int = 4
    kept: tuple[int, ...] = tuple(range(9))

    def __str__(self) -> str:
        (motifs, starts), n = inserts(self), len(sequences(self))
        widths = ", ".join(f"{motif.shape[1]} bp at {start}" for motif, start in zip(motifs, starts))
        return f"{self.architecture}; {self.way}, {self.dtype}, {n} backgrounds, inserts of {widths}"

    def smaller(self) -> Iterator[Case]:
        """Yield cases that are a little simpler."""
        for architecture in self.architecture.smaller():
            yield self._replace(architecture=architecture)
        if self.backgrounds > 1:
            yield self._replace(backgrounds=self.backgrounds - 1)
        if len(self.kept) > 1:
            for half in (self.kept[: len(self.kept) // 2], self.kept[len(self.kept) // 2 :]):
                yield self._replace(kept=half)
            for i in range(len(self.kept)):
                yield self._replace(kept=(*self.kept[:i], *self.kept[i + 1 :]))


class Found(NamedTuple):
    """What is wrong with a case (nothing: empty), and the path that ran, with its reason."""

    wrong: str
    path: str


def draw(seed: int) -> Case:
    """Return the case of a seed."""
    rng = random.Random(seed)
    dtype = rng.choice([torch.float64, torch.float64, torch.float32])
    return Case(architectures.draw(rng), rng.choice(WAYS), dtype, seed)


def sequences(case: Case) -> torch.Tensor:
    """Return backgrounds, some with unknown bases."""
    rng = random.Random(case.seed)
    X = random_one_hot((rng.randint(1, 4), 4, case.architecture.length), random_state=case.seed % 2**31)
    if rng.random() < 0.3:
        X[0, :, rng.randrange(1, X.shape[2]) :] = 0
    return X[: case.backgrounds]


def inserts(case: Case) -> tuple[list[torch.Tensor], list[int]]:
    """Return inserts and starts of all widths, at both ends and between, some with columns that keep the background."""
    rng = random.Random(case.seed + 1)
    length = case.architecture.length
    made, starts = [], []
    n = rng.randint(4, 9)
    for i in range(n):
        width = rng.choice([1, 2, rng.randint(3, 20), rng.randint(1, length), length - rng.randint(0, 3)])
        insert = random_one_hot((1, 4, width), random_state=(case.seed + i) % 2**31)[0]
        if width > 3 and rng.random() < 0.4:
            end = rng.choice([1, rng.randint(1, width // 2 - 1)])
            insert[:, end:-end] = 0
        made.append(insert)
        starts.append(rng.choice([0, length - width, rng.randint(0, length - width)]))
    kept = [i for i in case.kept if i < n] or [0]
    return [made[i] for i in kept], [starts[i] for i in kept]


def edited_by_hand(X: torch.Tensor, insert: torch.Tensor, start: int) -> torch.Tensor:
    """Return sequences with an insert, column by column."""
    X = X.clone()
    for column in range(insert.shape[1]):
        if insert[:, column].any():
            X[:, :, start + column] = insert[:, column]
    return X


@torch.no_grad()
def leaves(model: nn.Module, X: torch.Tensor, args: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Run a model in its own dtype on copies, and flatten what it returns."""
    dtype = next(model.parameters()).dtype
    return pytree.tree_leaves(model(X.to(dtype, copy=True), *(a.to(dtype, copy=True) for a in args)))


def brute_force(model: nn.Module, X: torch.Tensor, args: tuple, edits: Edits) -> list[torch.Tensor]:
    """Return outputs ``(m, n, ...)`` of every insert in every background, one call per insert."""
    each = [
        leaves(model, edited_by_hand(X, insert, start), args)
        for insert, start in zip(edits.one_hot, edits.starts.tolist())
    ]
    return [torch.stack(parts) for parts in zip(*each)]


def single_bases(X: torch.Tensor, start: int, end: int) -> Edits:
    """Return all single-base edits of a span."""
    positions = [p for p in range(start, end) for _ in range(4)]
    return Edits(torch.eye(4, dtype=torch.int8).repeat(end - start, 1)[:, :, None], torch.tensor(positions))


def compared(case: Case) -> Found:
    """Run a case and compare."""
    exact = case.architecture.build().double()
    model = exact if case.dtype == torch.float64 else copy.deepcopy(exact).float()
    X, (motifs, starts) = sequences(case), inserts(case)
    edits = Edits.stack(motifs, starts)
    args = tuple(a.to(case.dtype) for a in case.architecture.arguments(len(X)))
    rng = random.Random(case.seed + 2)
    start = rng.choice([0, X.shape[2] - 4, rng.randint(0, X.shape[2] - 4)])
    if case.way == "saturation_mutagenesis":
        edits = single_bases(X, start, start + 4)
    truth = brute_force(exact, X, args, edits)
    rough = truth if model is exact else brute_force(model, X, args, edits)
    before = [t.expand(len(edits.starts), *t.shape) for t in leaves(exact, X, args)]
    index = torch.tensor([rng.randrange(len(X)) for _ in edits.starts])

    engine = None
    with Watch() as watch:
        if case.way in ("run", "pairs"):
            engine = Engine(model, X, args, block=rng.choice([2, 64]), memory_bytes=rng.choice([None, 100_000]))
            if engine.info.path == "incremental":  # of every second model, ends of inserts are computed apart
                engine._path.always_apart = case.seed % 2 == 0
        if case.way == "run":
            found = [torch.full(t.shape, -77, dtype=r.dtype) for t, r in zip(truth, rough)]
            for some, which, y in engine.run(edits):
                for whole, part in zip(found, pytree.tree_leaves(y)):
                    whole[some, which] = part
        elif case.way == "pairs":
            found = pytree.tree_leaves(engine.pairs(edits, index))
            rows = torch.arange(len(index))
            truth, rough, before = ([t[rows, index] for t in each] for each in (truth, rough, before))
        elif case.way == "marginalize_many":
            _, after = marginalization.marginalize_many(model, X, motifs, start=starts, args=args, device="cpu")
            found = pytree.tree_leaves(after)
        else:
            _, after = mutagenesis.saturation_mutagenesis(
                model, X, args, start=start, end=start + 4, raw_outputs=True, device="cpu"
            )
            found = [t.movedim(0, 2).transpose(0, 1).flatten(0, 1) for t in pytree.tree_leaves(after)]
    path = f"full: {watch.reason}" if watch.reason else "incremental"
    if engine is not None:
        path = engine.info.path if engine.info.path == "incremental" else f"full: {engine.info.reason}"
        if engine.info.path == "full" and not engine.info.reason:
            return Found("the full pass ran and does not say why", path)
    return Found(compare(found, truth, rough, before, case.dtype), path)


def compare(found: list, truth: list, rough: list, before: list, dtype: torch.dtype) -> str:
    """Return what differs from the truth by more than it may; the full pass's own rounding is granted."""
    if len(found) != len(truth):
        return f"{len(found)} outputs, expected {len(truth)}"
    for i, (f, t, r) in enumerate(zip(found, truth, rough)):
        if f.shape != t.shape or f.dtype != r.dtype:
            return f"output {i} is {tuple(f.shape)} {f.dtype}, expected {tuple(t.shape)} {r.dtype}"
        if not t.is_floating_point():
            differ = float((f != t).double().mean())
            if differ > (0 if dtype == torch.float64 else 0.05 + 2 * float((r != t).double().mean())):
                return f"output {i} differs in {differ:.0%} of its entries"
            continue
        same = (f == t) | (f.isnan() & t.isnan())
        error, granted = (torch.where(same, 0, (x - t).abs()) for x in (f, r))
        scale = float(t[t.isfinite()].abs().max()) if t.isfinite().any() else 1.0
        worst = float(error.nan_to_num(torch.inf, torch.inf).max())
        allowed = ROUNDING * scale if dtype == torch.float64 else TOLERANCE["float32"] * scale
        if not worst <= max(allowed, 3 * float(torch.where(granted.isfinite(), granted, 0).max())):
            return f"output {i} is off by {worst:.2g}, where the largest is {scale:.2g} and {allowed:.2g} is allowed"
    return ""


class Watch(logging.Handler):
    """Run everything through the engine, however few pairs there are, and hear why the full pass is used."""

    reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        if "because" in record.getMessage():
            self.reason = record.getMessage().partition("because ")[2]

    def __enter__(self) -> Watch:
        self.usual = marginalization.engine_pays
        marginalization.engine_pays = mutagenesis.engine_pays = lambda *_: True
        logging.getLogger("marginome").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        marginalization.engine_pays = mutagenesis.engine_pays = self.usual
        logging.getLogger("marginome").removeHandler(self)


def attempt(case: Case) -> Found:
    """Run a case; an exception is wrong too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compared(case)
    except (Exception, MarginomeError):
        return Found(traceback.format_exc(limit=-3), "died")


def smallest(case: Case) -> tuple[Case, str]:
    """Take away from a failing case what it can do without."""
    return seeds_in_turn.smallest(case, Case.smaller, lambda tried: attempt(tried).wrong)


def check(seed: int) -> tuple[str, str]:
    """Return the path that the case of a seed took, and what is wrong at its smallest."""
    case = draw(seed)
    found = attempt(case)
    if not found.wrong:
        return found.path.split(" by ")[0], ""
    small, said = smallest(case)
    return found.path, f"{small}\n  {said}\n  found in {case}\n  {found.wrong}"


if __name__ == "__main__":
    logging.getLogger("marginome").propagate = False
    torch.set_num_threads(1)
    seeds_in_turn.try_seeds(check, seeds_in_turn.options(__doc__))
