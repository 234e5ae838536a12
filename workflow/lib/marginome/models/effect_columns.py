"""The effects that outputs have, one column per target, of a model and of each member of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from marginome.errors import MarginomeError, unknown_name
from marginome.measures import Measure, measure_named
from marginome.models.outputs import Readouts


class EffectColumns(NamedTuple):
    """What the columns of an effect array are: one per scalar target, one per profile output.

    Attributes
    ----------
    output : tuple of str
        Name of the readout, as in the table's column ``output``.
    measure, unit : tuple of str
    scalar : tuple of bool
        Whether before and after are single numbers too.
    signed : tuple of bool
        Whether an effect may be negative.
    """

    output: tuple[str, ...]
    measure: tuple[str, ...]
    unit: tuple[str, ...]
    scalar: tuple[bool, ...]
    signed: tuple[bool, ...]


def select_outputs(outputs: Sequence[Any], names: Sequence[str] | None, *, where: str) -> tuple[Any, ...]:
    """Return the outputs of a model that a screen asks for (all by default), in the model's order."""
    if names is None:
        return _told_apart(tuple(outputs), where)
    known = [output.name for output in outputs]
    for name in names:
        if name not in known:
            raise unknown_name("output", name, known, where=where)
    return _told_apart(tuple(output for output in outputs if output.name in names), where)


def _told_apart(outputs: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    """Refuse outputs with a target of the same name: the table would not say which of them a row is of."""
    names = [name for output in outputs for name in effect_columns([output]).output]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MarginomeError(
            f"two outputs have a target named '{twice[0]}'",
            where=where,
            remedy="Give the targets of one of them other names (names), or choose one output.",
        )
    return outputs


def effect_columns(outputs: Sequence[Any]) -> EffectColumns:
    """List the columns that the effects of some outputs have.

    A scalar output compared target by target has a column per target; one compared as a whole has one column, and so
    has a profile.
    """
    rows = []
    for output in outputs:
        measure = output_measure(output)
        unit = measure.unit or output.unit
        if by_target(output):
            rows += [(name, measure.name, unit, True, measure.signed) for name in output.names]
        else:
            rows.append((output.name, measure.name, unit, False, measure.signed))
    return EffectColumns(*map(tuple, zip(*rows)))


def output_measure(output: Any) -> Measure:
    """Return what is known of an output's measure."""
    return measure_named(output.measure, where=f"output '{output.name}'")


def by_target(output: Any) -> bool:
    """Say whether an output has an effect for each of its targets, and not one as a whole."""
    return output.kind == "scalar" and output_measure(output).per_target


#: Between an output's name and the number of an ensemble's member; no name in a config has it.
MEMBER = "\0"


class MemberReadouts(torch.nn.Module):
    """The named outputs of an ensemble and of each of its members, in one forward pass.

    ``forward(X, *args)`` gives a dict: the ensemble's output under its name, member i's under name, `MEMBER` and i.

    Parameters
    ----------
    ensemble : marginome.models.wrappers.Ensemble
    outputs : sequence of Output
    """

    def __init__(self, ensemble: torch.nn.Module, outputs: Sequence[Any]):
        super().__init__()
        self.ensemble = ensemble
        self.readouts = Readouts(torch.nn.Identity(), outputs)

    def forward(self, X: torch.Tensor, *args: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the mean's and every member's outputs."""
        predicted = [member(X, *args) for member in self.ensemble.members]
        found = self.readouts.read(self.ensemble.mean(predicted))
        for i, one in enumerate(predicted):
            found |= {f"{name}{MEMBER}{i}": value for name, value in self.readouts.read(one).items()}
        return found


def member_outputs(outputs: Sequence[Any], members: int) -> tuple[Any, ...]:
    """Return the outputs of each member of an ensemble, named as `MemberReadouts` names them; none for one member."""
    if members == 1:
        return ()
    return tuple(replace(output, name=f"{output.name}{MEMBER}{i}") for i in range(members) for output in outputs)
