"""Putting rules in the place of the derivatives of a recorded pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from marginome.attribution.dependence import flat
from marginome.attribution.pairs import Pair
from marginome.attribution.recording import Recorded, Recorder, fits, node_name, walk
from marginome.attribution.rules import RULES, loses_change, product_with_unseen, secant
from marginome.errors import MarginomeError

Pairing = Callable[..., Pair]
READS_A_NUMBER = "a number that Python reads from values that depend on the sequence"


def attach_rules(other: Recorder, this: Recorder, output: torch.Tensor, pair: Pairing, notes: set[str]) -> bool:
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
        Gets the names of operations that turn out to have no rule, now or while the rules run.

    Returns
    -------
    bool
        Whether every ReLU on the way has its rule.
    """
    partners = {record.place: record for record in other.recorded}
    needed = set(walk(output))
    rectifiers = ("relu", "threshold")  # whose derivative is the same operation
    open_relus = {node for node in needed if node_name(node) in rectifiers}
    open_relus |= {r.node for r in this.recorded if r.region is not None and r.call.name in rectifiers} & needed
    notes |= other.notes | this.notes
    for record in this.recorded:
        number = record.call.name == "_local_scalar_dense"
        if not number and (record.node not in needed or (record.ruled and not fits(record))):
            continue
        partner = partners.get(record.place)
        if partner is None:
            raise MarginomeError(f"aten.{record.call.name} was seen in one of two passes only", where="model")
        if not number:
            # Without its node, which would otherwise hold on to itself by its hook.
            record.node.register_hook(_hook(partner, replace(record, node=None), pair, notes))
        elif partner.call.outputs != record.call.outputs:
            notes.add(READS_A_NUMBER)
        if record.call.name == "relu":
            open_relus.discard(record.node)
    return not open_relus


def unseen_differences(other: Recorder, this: Recorder, *outputs: torch.Tensor) -> set[str]:
    """Name the calls on the way to some outputs that depend on the sequence unseen, and do so differently.

    Parameters
    ----------
    other, this : Recorder
        Of passes over as many sequences, which are not the same.
    *outputs : torch.Tensor
        Of `this`.
    """
    partners = {record.place: record for record in other.recorded}
    needed = set(walk(*outputs))
    found = other.notes | this.notes
    for record in this.recorded:
        unseen, partner = record.unseen, partners.get(record.place)
        if unseen is None or partner is None or record.node not in needed:
            continue
        if any(_differ(partner.call.args[i], record.call.args[i]) for i in unseen.positions):
            if not unseen.own or loses_change(partner.call, record.call, unseen.positions):
                found.add(_unseen_value(record))
    return found


def _unseen_value(record: Recorded) -> str:
    return f"aten.{record.call.name} with a value that depends on the sequence but has no derivative"


def _hook(other: Recorded, this: Recorded, pairing: Pairing, notes: set[str]) -> Callable:
    """Return the hook of an autograd node that replaces its gradients by multipliers."""
    region = this.region

    def replaced(grad_inputs: tuple, grad_outputs: tuple) -> tuple:
        if all(g is None for g in grad_inputs) or grad_outputs[0] is None:
            return grad_inputs
        if region is None:
            return _replaced(other, this, pairing, notes, grad_inputs, grad_outputs)
        # CopySlices: the gradients of the whole tensor. Those of the operation are its region's.
        first, *others = grad_inputs
        whole = None if first is None else region.lay_out(first)
        inside = (None if whole is None else region.part(whole), *others)
        found = _replaced(other, this, pairing, notes, inside, (region.part(region.lay_out(grad_outputs[0])),))
        if whole is not None:
            region.part(whole).copy_(found[0])
        return (whole, *found[1:])

    return replaced


def _replaced(
    other: Recorded, this: Recorded, pairing: Pairing, notes: set[str], grad_inputs: tuple, grad_outputs: tuple
) -> tuple:
    pair = pairing(other.call, this.call, grad_outputs, grad_inputs)
    replaced = RULES[this.call.name].multiplier if this.ruled else None
    unseen = this.unseen
    if unseen is not None and any(_differ(pair.x.args[i], pair.r.args[i]) for i in unseen.positions):
        if unseen.own:
            replaced = secant
        elif this.call.name == "mul":
            replaced = product_with_unseen
        if not unseen.own or loses_change(pair.x, pair.r, unseen.positions):
            notes.add(_unseen_value(this))
    if replaced is None:
        return grad_inputs
    return tuple(
        None if old is None else new.reshape(old.shape).to(old.dtype) for old, new in zip(grad_inputs, replaced(pair))
    )


def _differ(x: Any, r: Any) -> bool:
    """Tell whether an argument is not the same on sequences and references."""
    return any(bool((a != b).any()) for a, b in zip(flat(x), flat(r)))
