"""Models around models: another alphabet order, both strands averaged, an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from marginome.errors import MarginomeError
from marginome.nested import leaves, map_structure, pick

ALPHABET = "ACGT"


class AlphabetOrder(nn.Module):
    """A model trained on another order of the alphabet, given A C G T.

    Parameters
    ----------
    model : torch.nn.Module
        Takes one-hot sequences whose channels are in the order `alphabet`.
    alphabet : str
        A permutation of ACGT, e.g. ``"AGCT"`` (DeepSEA, Beluga).

    Notes
    -----
    The channels are reordered by a convolution of width 1 with a permutation matrix: exact (each value
    is one input times 1 plus zeros), and every engine and attribution rule knows a convolution.
    """

    def __init__(self, model: nn.Module, alphabet: str):
        super().__init__()
        self.order = nn.Conv1d(4, 4, 1, bias=False)
        permutation = torch.zeros(4, 4, 1)
        for channel, letter in enumerate(alphabet):
            permutation[channel, ALPHABET.index(letter)] = 1.0
        self.order.weight = nn.Parameter(permutation, requires_grad=False)
        self.model = model

    def forward(self, X: Tensor, *args: Tensor) -> Any:
        """What the model returns for the reordered sequences."""
        return self.model(self.order(X), *args)


class Construct(nn.Module):
    """A model that sees a sequence as a part of a longer one, as a reporter assay does, or counted for two alleles.

    Parameters
    ----------
    model : torch.nn.Module
        Takes ``(n, 4, left + length + right)``.
    left, right : str
        What stands before and behind every sequence, in letters; N is a base that the model is not told (zeros).
    scale : float, default 1
        Of what the model is given: 2 for a model of two-hot sequences, which counts both alleles.
    """

    def __init__(self, model: nn.Module, left: str = "", right: str = "", scale: float = 1.0):
        super().__init__()
        self.model, self.scale = model, scale
        self.register_buffer("left", _one_hot(left), persistent=False)
        self.register_buffer("right", _one_hot(right), persistent=False)

    def forward(self, X: Tensor, *args: Tensor) -> Any:
        """What the model returns for ``(n, 4, length)`` between the flanks."""
        parts = [self.left.expand(len(X), -1, -1), X, self.right.expand(len(X), -1, -1)]
        whole = torch.cat([part.to(X.dtype) for part in parts if part.shape[2]], dim=2)
        return self.model(whole if self.scale == 1 else self.scale * whole, *args)


def _one_hot(letters: str) -> Tensor:
    """Letters as (1, 4, length), zeros for N."""
    columns = torch.zeros(1, 4, len(letters))
    for i, letter in enumerate(letters.upper()):
        if letter != "N":
            columns[0, ALPHABET.index(letter), i] = 1.0
    return columns


class StrandAverage(nn.Module):
    """The mean of a model's outputs on the sequences and on their reverse complements.

    Parameters
    ----------
    model : torch.nn.Module
        Takes sequences in the order A C G T.
    head_flips : mapping of tuple to tuple of int
        For the head at each path, the axes (batch = 0) that are turned back on the reverse
        complement's output: strands and positions of a profile.
    argument_flips : sequence of tuple of int
        For each extra input, the axes (batch = 0) that reverse-complementing turns round.
    head_orders : mapping of tuple to (int, sequence of int)
        For the head at each path, an axis of tracks and the track that each one is on the other strand.
    """

    def __init__(
        self,
        model: nn.Module,
        head_flips: Mapping[tuple, tuple],
        argument_flips: Sequence[tuple],
        head_orders: Mapping[tuple, tuple[int, Sequence[int]]] | None = None,
    ):
        super().__init__()
        self.model = model
        self.head_flips = dict(head_flips)
        self.argument_flips = tuple(argument_flips)
        self.head_orders: dict[tuple, tuple[int, str]] = {}
        for i, (path, (axis, order)) in enumerate((head_orders or {}).items()):
            self.register_buffer(f"order{i}", torch.tensor(list(order)), persistent=False)
            self.head_orders[path] = (axis, f"order{i}")

    def forward(self, X: Tensor, *args: Tensor) -> Any:
        """What the model returns, averaged over both strands."""
        forward = self.model(X, *args)
        turned = [arg.flip(axes) if axes else arg for arg, axes in zip(args, self.argument_flips)]
        reverse = self.model(X.flip((1, 2)), *turned)
        paths = iter([path for path, _ in leaves(forward)])

        def mean(a: Tensor, b: Tensor) -> Tensor:
            path = next(paths)
            axes, ordered = self.head_flips.get(path, ()), self.head_orders.get(path)
            b = b.flip(axes) if axes else b
            return mean_of(a, b.index_select(ordered[0], getattr(self, ordered[1])) if ordered else b)

        return map_structure(mean, forward, reverse)


class Ensemble(nn.Module):
    """The mean of what several models return, e.g. of the folds of a cross-validation.

    What the models return is averaged as it is: log counts and logits, not counts and probabilities.
    """

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, X: Tensor, *args: Tensor) -> Any:
        """The mean over the members, in their nested structure."""
        return self.mean([member(X, *args) for member in self.members])

    def mean(self, predicted: Sequence[Any]) -> Any:
        """The mean of what the members returned."""
        first, *others = predicted
        return map_structure(mean_of, first, *others)


def mean_of(*values: Tensor) -> Tensor:
    """The mean of tensors of one shape; of integers and booleans in float32, where their sum would overflow."""
    values = tuple(v if v.is_floating_point() or v.is_complex() else v.to(torch.float32) for v in values)
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total / len(values)


@dataclass(frozen=True)
class StrandedHead:
    """What reverse-complementing a sequence does to one head of a model.

    Attributes
    ----------
    path : tuple
        The way to the head; empty for the only tensor.
    positions : int or None
        The axis of positions (the batch is axis 0), which is turned round; None where there is none.
    tracks : int or None
        The axis of tracks.
    order : tuple of int
        For every track the one that it is on the other strand; empty where each is its own.
    """

    path: tuple = ()
    positions: int | None = None
    tracks: int | None = None
    order: tuple[int, ...] = ()


def average_strands(
    model: nn.Module, outputs: Sequence[Any], arguments: Sequence[Any], example: Any, where: str,
    stranded: Sequence[StrandedHead] = (),
) -> StrandAverage:  # fmt: skip
    """Wrap a model in `StrandAverage`, knowing which axes of its heads are positions and strands.

    Parameters
    ----------
    model : torch.nn.Module
    outputs : sequence of Output
        A head that is a profile of one or two strands is known without being told.
    arguments : sequence of Argument
    example : nested Tensor
        What the model returned for one sequence.
    where : str
        For messages.
    stranded : sequence of StrandedHead
        What the loader and the config tell of other heads; they go before what an output is declared as.

    Raises
    ------
    MarginomeError
        When a head has positions but is not declared as a profile, or has more than two strands, and nothing is told of
        it: it is then not known what reverse-complementing does to it.
    """
    shapes = {path: tuple(value.shape) for path, value in leaves(example)}
    profiles = {tuple(_positions(output.path, example)): output for output in outputs if output.kind == "profile"}
    told = {tuple(_positions(head.path, example)): head for head in stranded}
    flips: dict[tuple, tuple] = {}
    orders: dict[tuple, tuple[int, tuple[int, ...]]] = {}
    for path, shape in shapes.items():
        if path in told:
            head = told[path]
            flips[path] = () if head.positions is None else (head.positions,)
            if head.order:
                orders[path] = (head.tracks, head.order)
        elif path in profiles:
            tracks = shape[2 if profiles[path].positions_first else 1] if len(shape) == 3 else 1
            if tracks > 2:
                raise MarginomeError(
                    f"average_strands: a profile of {tracks} tracks; it is known for one or two strands",
                    where=where,
                    remedy=_TELL,
                )
            flips[path] = tuple(axis for axis in range(1, len(shape)) if shape[axis] > 1)
        elif len(shape) > 2:
            raise MarginomeError(
                f"average_strands: the head {list(path)} of shape {shape[1:]} is not declared as a profile, so it is "
                "not known what a reverse complement does to it",
                where=where,
                remedy=_TELL,
            )
    for argument in arguments:
        if len(argument.shape) > 1 and not argument.flip and max(argument.shape) > 1:
            raise MarginomeError(
                f"average_strands: flip is not given for the extra input '{argument.name}'",
                where=where,
                remedy="flip: [0, 1] turns strands and positions of a (strands, length) track round.",
            )
    return StrandAverage(model, flips, [tuple(axis + 1 for axis in argument.flip) for argument in arguments], orders)


_TELL = (
    "Say which axes are positions and tracks, e.g. average_strands: [{head: human, positions: 1, tracks: 2, "
    "pairs: [[0, 1]]}] (docs/models.md)."
)


def _positions(path: tuple, example: Any) -> list:
    """The path of the tensor that `pick` finds at the end of a path, as `leaves` gives it."""
    head = pick(example, path)
    return next(list(found) for found, tensor in leaves(example) if tensor is head)
