"""Attributions of random models in float64: they add up, or what stands in the way is named.

    python tests/checks/random_attributions.py --minutes 60 --seed 0

Each model (see architectures.py: in place, views, masks, casts, norms, attention, U-Nets, more inputs) is checked for

- completeness: the convergence deltas are rounding, or a warning names an operation;
- its twin without any change in place (torch.func.functionalize): the same attributions;
- edits: `EditAttributor`, which runs what an edit changes, against `deep_lift_shap` of the whole sequences.

Every fourth model is a chain of modules for which tangermeme's rules are exact: the attributions have to be equal.
Prints the smallest model that fails, and exits with 1.
"""

from __future__ import annotations

import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from marginome import MarginomeError, deep_lift_shap, random_one_hot
from marginome.attribution import EditAttributor
from marginome.incremental import Edits

sys.path.insert(0, str(Path(__file__).parent))
import seeds_in_turn
from architectures import TARGETS, Architecture, draw

N, N_REFS = 2, 2
ADDS_UP = 1e-9  # of the largest difference that a multiplier explains
TWIN = 1e-12
EDITS = 1e-7


class Twin(nn.Module):
    """A model whose changes in place are made out of place."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, X: Tensor, *args: Tensor) -> Tensor:
        return torch.func.functionalize(lambda *inputs: self.model(*inputs), remove="mutations")(X, *args)


def attributed(model: nn.Module, X: Tensor, references: Tensor, args: list[Tensor]) -> tuple[Tensor, Tensor, str]:
    """Return attributions, deltas, and what the warnings say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = deep_lift_shap(
            model, X, args=args or None, references=references, hypothetical=True, return_deltas=True, device="cpu"
        )
    return found.attributions, found.deltas, " ".join(str(w.message) for w in caught)


def sequences(length: int) -> tuple[Tensor, Tensor]:
    """Return sequences, one with an unknown base, and references that share a part with them."""
    X = random_one_hot((N, 4, length), random_state=length)
    references = random_one_hot((N * N_REFS, 4, length), random_state=length + 1).view(N, N_REFS, 4, length).clone()
    references[:, 1, :, : length // 2] = X[:, :, : length // 2]
    X[0, :, 2] = references[0, :, :, 2] = 0
    return X, references


def fault_of_model(architecture: Architecture) -> str:
    """Return what is wrong with the attributions of a model; empty if nothing is."""
    model = architecture.build().double()
    args = [a.double() for a in architecture.arguments(N)]
    X, references = sequences(architecture.length)
    try:
        found, deltas, said = attributed(model, X, references, args)
    except MarginomeError as error:
        return "" if _is_known(str(error)) else f"refused: {error}"
    size = max(1.0, float(found.abs().nan_to_num(torch.inf).max()))
    named = "no DeepLIFT rule" in said
    if not named and not float(deltas.max()) <= ADDS_UP * size:
        return f"does not add up: {float(deltas.max()):.2g}, attributions up to {size:.2g}; {said}"
    if not found.isfinite().all() and "convergence deltas" not in said:
        return "NaN without a warning"
    try:
        twin, _, _ = attributed(Twin(model), X, references, args)
    except (RuntimeError, MarginomeError, NotImplementedError):  # functionalize does not know all of PyTorch
        twin = found
    gap = float((found - twin).abs().nan_to_num(0.0 if named else torch.inf).max())
    if not named and not gap <= TWIN * size:
        return f"differs from the model without changes in place by {gap:.2g} of {size:.2g}"
    return _fault_of_edits(model, X, args, size)


def _is_known(message: str) -> bool:
    return any(part in message for part in ("cannot differentiate", "returned NaN", "returned inf", "another path"))


def _fault_of_edits(model: nn.Module, X: Tensor, args: list[Tensor], size: float) -> str:
    length = X.shape[-1]
    if length < 20:  # as short a sequence is left of a model that fails otherwise: inserts do not fit
        return ""
    inserts = [random_one_hot((1, 4, w), random_state=w)[0] for w in (5, 9)]
    same_base = inserts[1][:, :1].expand(4, 12)  # equal maxima
    edits = Edits.stack([*inserts, *inserts, same_base], [0, length // 2, length - 5, 3, length // 3])
    edits, index = edits.take(torch.arange(5).repeat(N)), torch.arange(N).repeat_interleave(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributor = EditAttributor(model, X, args or None)
        if attributor.reason:
            return ""
        found = attributor(edits, index)
        whole = EditAttributor(model, X, args or None, engine="full")(edits, index)
    gap = float((found.attributions - whole.attributions).abs().max())
    size = max(size, float(whole.attributions.abs().max()))
    return "" if gap <= EDITS * size else f"edits: differs from whole sequences by {gap:.2g} of {size:.2g}"


# ------------------------------------------------------------------------------------------------ against tangermeme
MODULES: dict[str, Callable[[int], nn.Module]] = {
    "ReLU": lambda c: nn.ReLU(), "ELU": lambda c: nn.ELU(), "GELU": lambda c: nn.GELU(), "SiLU": lambda c: nn.SiLU(),
    "Softplus": lambda c: nn.Softplus(), "LeakyReLU": lambda c: nn.LeakyReLU(0.2), "Tanh": lambda c: nn.Tanh(),
    "Sigmoid": lambda c: nn.Sigmoid(), "MaxPool1d(2)": lambda c: nn.MaxPool1d(2),
    "AvgPool1d(3)": lambda c: nn.AvgPool1d(3), "BatchNorm1d": lambda c: nn.BatchNorm1d(c),
    "Dropout": lambda c: nn.Dropout(), "PReLU": lambda c: nn.PReLU(c),
    "Conv1d(5)": lambda c: nn.Conv1d(c, c, 5, padding=2),
    "Conv1d(3, dilation=2)": lambda c: nn.Conv1d(c, c, 3, dilation=2),
    "MaxPool1d(3, 2)": lambda c: nn.MaxPool1d(3, 2),
}  # fmt: skip


class Chain(NamedTuple):
    """A convolution, modules after each other, a linear layer; weights of a seed."""

    seed: int
    channels: int
    length: int
    kinds: tuple[str, ...]

    @classmethod
    def draw(cls, seed: int) -> Chain:
        rng = random.Random(seed)
        channels = rng.choice([3, 6])
        return cls(seed, channels, 60, tuple(rng.choice([*MODULES]) for _ in range(rng.randint(1, 5))))

    def smaller(self) -> Iterator[Chain]:
        for kinds in seeds_in_turn.without_one(self.kinds):
            yield self._replace(kinds=tuple(kinds))
        if self.channels > 1:
            yield self._replace(channels=self.channels // 2)
        for length in (self.length // 2, self.length - 1):
            if length > 8:
                yield self._replace(length=length)


def fault_of_chain(case: Chain) -> str:
    """Return how a chain of modules differs from tangermeme; empty if it does not."""
    from tangermeme.deep_lift_shap import deep_lift_shap as peer

    torch.manual_seed(case.seed)
    chain = [nn.Conv1d(4, case.channels, 7), *(MODULES[kind](case.channels) for kind in case.kinds)]
    model = nn.Sequential(*chain, nn.Flatten(), nn.LazyLinear(2)).double().eval()
    X, references = (t.double() for t in sequences(case.length))
    X[0, :, 2], references[0, :, :, 2] = X[0, :, 3], references[0, :, :, 3]  # tangermeme wants every base to be known
    try:
        with torch.no_grad():
            model(X)
    except RuntimeError:  # too many poolings
        return ""
    found, _, _ = attributed(model, X, references, [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peer(model, X, references=references, hypothetical=True, device="cpu")
    gap = float((found - theirs).abs().nan_to_num(torch.inf).max())
    return "" if gap <= 1e-8 * max(1.0, float(theirs.abs().max())) else f"differs from tangermeme by {gap:.2g}"


# ------------------------------------------------------------------------------------------------ the loop
def _told(fault: Callable[[Any], str]) -> Callable[[Any], str]:
    def told(case: Any) -> str:
        try:
            return fault(case)
        except Exception as error:  # a crash is a fault like another
            return f"{type(error).__name__}: {error}"

    return told


def check(seed: int, *, length: int | None = None) -> str:
    """Return what is wrong with the model of a seed, at its smallest; empty if nothing is."""
    if seed % 4 == 3:
        case: Any = Chain.draw(seed)
        smaller, fault = Chain.smaller, _told(fault_of_chain)
    else:
        rng = random.Random(seed)
        case = draw(rng, length=length or rng.randint(24, 60), heads=TARGETS)
        smaller, fault = Architecture.smaller, _told(fault_of_model)
    found = fault(case)
    if not found:
        return ""
    small, said = seeds_in_turn.smallest(case, smaller, fault)
    return f"{small}\n  {said}\n  found in {case}\n  {found}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    seeds_in_turn.try_seeds(lambda seed: ("right", check(seed)), seeds_in_turn.options(__doc__))
