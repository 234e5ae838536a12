"""One model, one background set, many inserts: effects reduced where the predictions are, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from marginome import effects as measures
from marginome.devices import is_out_of_memory
from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.models.outputs import Readouts as ModelReadouts
from marginome.usercode import load_user_object


class Readouts(NamedTuple):
    """What the columns of an effect array are: one per scalar target, one per profile output.

    Attributes
    ----------
    output : tuple of str
        Name of the readout, as in the table's column ``output``.
    measure, unit : tuple of str
    scalar : tuple of bool
        Whether before and after are single numbers too.
    """

    output: tuple[str, ...]
    measure: tuple[str, ...]
    unit: tuple[str, ...]
    scalar: tuple[bool, ...]


class BlockEffects(NamedTuple):
    """What a block of inserts did.

    Attributes
    ----------
    effects : torch.Tensor, float32, (inserts, backgrounds, readouts)
        The effect of every single pair.
    after : torch.Tensor, float64, (inserts, readouts)
        Mean output with the insert; NaN where the readout is no scalar.
    profiles : dict of str to (logits, probabilities)
        Per profile output the means over backgrounds, float64, (inserts, strands, length).
    predictions : dict of str to torch.Tensor, float32 (float64 in that precision), (inserts, backgrounds, ...)
        The outputs as they are; empty unless asked for.
    """

    effects: torch.Tensor
    after: torch.Tensor
    profiles: dict[str, tuple[torch.Tensor, torch.Tensor]]
    predictions: dict[str, torch.Tensor]


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
    names = [name for output in outputs for name in readouts_of([output]).output]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MarginomeError(
            f"two outputs have a target named '{twice[0]}'",
            where=where,
            remedy="Give the targets of one of them other names (names), or choose one output.",
        )
    return outputs


def readouts_of(outputs: Sequence[Any]) -> Readouts:
    """List the columns that the effects of some outputs have.

    A scalar output compared target by target has a column per target; one compared as a whole (Euclidean
    distance) has one column, and so has a profile.
    """
    rows = []
    for output in outputs:
        unit = effect_unit(output)
        if output.kind == "scalar" and output.measure != "euclidean":
            rows += [(name, output.measure, unit, True) for name in output.names]
        else:
            rows.append((output.name, output.measure, unit, False))
    return Readouts(*map(tuple, zip(*rows)))


#: Beside the outputs in a shard's group ``profiles``; no output has that name there.
PROFILE_ROWS = ("rows",)
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
        self.readouts = ModelReadouts(torch.nn.Identity(), outputs)

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


def effect_unit(output: Any) -> str:
    """Return the unit of an output's effect, which is the output's own only for differences and distances."""
    if output.measure == "log2_fold_change":
        return "log2 fold change"
    if output.measure == "jensen_shannon_distance":
        return "Jensen-Shannon distance (0 to 1)"
    return output.unit


def measure_of(output: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the function ``(before, after) -> effect`` of an output, settings bound, (pairs, ...) in and out.

    A profile compared per strand is averaged over its strands, so that every output has one effect per pair.
    """
    name = output.measure
    if name == "log2_fold_change":
        return lambda before, after: measures.log2_fold_change(before, after, output.pseudocount)
    if name == "jensen_shannon_distance":
        softmax = output.softmax or "both"
        return lambda before, after: (
            measures.jensen_shannon_distance(before, after, softmax=softmax).reshape(len(after), -1).mean(1)
        )
    if name in measures.MEASURES:
        return measures.MEASURES[name]
    if name.endswith(".py") or ".py:" in name:
        return load_user_object(name, where=f"measure of output '{output.name}'")
    raise unknown_name("measure", name, measures.MEASURES, where=f"output '{output.name}'")


def probabilities(logits: torch.Tensor, softmax: str | None) -> torch.Tensor:
    """Return profile probabilities (..., strands, length): softmax over each strand, or over both together."""
    logits = logits.double()
    if softmax == "strand":
        return logits.softmax(-1)
    return logits.flatten(-2).softmax(-1).reshape(logits.shape)


def marginalize_blocks(
    engine: Any,
    outputs: Sequence[Any],
    before: Mapping[str, torch.Tensor],
    edits: Any,
    *,
    blocks: Sequence[slice],
    with_profiles: Sequence[bool],
    with_predictions: bool = False,
) -> Iterator[tuple[slice, BlockEffects]]:
    """Put blocks of inserts into all backgrounds and reduce what the model says, on the device.

    Parameters
    ----------
    engine : marginome.incremental.Engine
        Made for the model's readouts and the background set.
    outputs : sequence of Output
        What the readouts are.
    before : mapping of str to tensor
        Per output the prediction on the backgrounds, (backgrounds, ...).
    edits : marginome.incremental.Edits
        All inserts.
    blocks : sequence of slice
        Runs of inserts; each is computed by itself, so that its numbers do not depend on the others.
    with_profiles : sequence of bool
        Per insert of `edits` whether its mean profiles are wanted (controls need none).
    with_predictions : bool, default False
        Whether the outputs themselves are wanted too: a block of them is then held on the host.

    Yields
    ------
    block : slice
    BlockEffects
        On the CPU.
    """
    functions = {output.name: measure_of(output) for output in outputs}
    device = next(iter(before.values())).device
    n = len(next(iter(before.values())))
    for block in blocks:
        m = block.stop - block.start
        part = type(edits)(edits.one_hot[block], edits.starts[block])
        wanted = any(with_profiles[block])
        means = {o.name: torch.zeros(m, before[o.name].shape[1], dtype=torch.float64, device=device)
                 for o in outputs if o.kind == "scalar"}  # fmt: skip
        sums = {
            o.name: [torch.zeros(m, *before[o.name].shape[1:], dtype=torch.float64, device=device) for _ in range(2)]
            for o in outputs
            if o.kind == "profile" and wanted and MEMBER not in o.name
        }
        filled: dict[str, torch.Tensor] = {}
        raw = {
            o.name: torch.zeros(m, *before[o.name].shape, dtype=_kept(before[o.name]))
            for o in outputs
            if with_predictions and MEMBER not in o.name
        }
        for rows, columns, after in engine.run(part):
            for output in outputs:
                y1, y0 = after[output.name], before[output.name][columns]
                flat1 = y1.reshape(-1, *y1.shape[2:])
                flat0 = y0.expand(y1.shape).reshape(flat1.shape)
                effect = _effect(functions[output.name], flat0, flat1, output).reshape(*y1.shape[:2], -1)
                if output.name not in filled:
                    filled[output.name] = torch.full(
                        (m, n, effect.shape[2]), float("nan"), dtype=torch.float32, device=device
                    )
                filled[output.name][rows, columns] = effect.float()
                if output.name in raw:
                    raw[output.name][rows, columns] = y1.cpu().to(raw[output.name].dtype)
                if output.kind == "scalar":
                    means[output.name][rows] += y1.double().sum(1)
                elif output.name in sums:
                    sums[output.name][0][rows] += y1.double().sum(1)
                    sums[output.name][1][rows] += probabilities(y1, output.softmax).sum(1)
        yield block, _collect(outputs, filled, means, sums, n)._replace(predictions=raw)


def _kept(y: torch.Tensor) -> torch.dtype:
    """The dtype that predictions are kept in."""
    return torch.float64 if y.dtype == torch.float64 else torch.float32


def _effect(measure: Callable, before: torch.Tensor, after: torch.Tensor, output: Any) -> torch.Tensor:
    """Apply a measure, the user's own too, to pairs ``(pairs, ...)``; name the output when it cannot be."""
    where = f"output '{output.name}', measure {output.measure}"
    try:
        effect = measure(before, after)
    except MarginomeError as error:
        raise MarginomeError(error.what, where=where, remedy=error.remedy) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise MarginomeError(
            f"it failed on {tuple(before.shape)} before and after: {first_line(error)}",
            where=where,
            remedy="A measure gets two tensors (pairs, ...) and returns one.",
        ) from error
    if not isinstance(effect, torch.Tensor) or effect.ndim == 0 or len(effect) != len(after) or effect.is_complex():
        found = tuple(effect.shape) if isinstance(effect, torch.Tensor) else type(effect).__name__
        raise MarginomeError(
            f"it returned {found} for {len(after)} pairs",
            where=where,
            remedy="A measure returns a real tensor with one entry per pair on axis 0.",
        )
    return effect


def _collect(outputs: Sequence[Any], filled: Mapping, means: Mapping, sums: Mapping, n: int) -> BlockEffects:
    effects, after = [], []
    for output in outputs:
        found = filled[output.name]
        if not torch.isfinite(found).all():
            rows = (~torch.isfinite(found)).flatten(1).any(1).nonzero().flatten().tolist()
            raise MarginomeError(
                f"the effect is NaN or infinite for {len(rows)} of {len(found)} inserts of a block",
                where=f"output '{output.name}', measure {output.measure}",
                remedy="The model returned none, or the measure does not fit the output's scale (config: outputs).",
            )
        effects.append(found)
        if output.kind == "scalar" and output.measure != "euclidean":
            if found.shape[2] != len(output.names):
                raise MarginomeError(
                    f"the measure gave {found.shape[2]} effects for {len(output.names)} targets",
                    where=f"output '{output.name}', measure {output.measure}",
                    remedy="A measure of a scalar output returns (backgrounds, targets).",
                )
            after.append(means[output.name] / n)
        else:
            if found.shape[2] != 1:
                raise MarginomeError(
                    f"the measure gave {found.shape[2]} effects per background, expected one",
                    where=f"output '{output.name}', measure {output.measure}",
                )
            after.append(torch.full((len(found), 1), float("nan"), dtype=torch.float64, device=found.device))
    profiles = {name: (logits.cpu() / n, probs.cpu() / n) for name, (logits, probs) in sums.items()}
    return BlockEffects(torch.cat(effects, 2).cpu(), torch.cat(after, 1).cpu(), profiles, {})


def whole_blocks(n_inserts: int, block: int, shard: int, shards: int) -> list[slice]:
    """Return the blocks of one shard: a run of whole blocks in the one canonical order.

    Parameters
    ----------
    n_inserts : int
        Inserts in all.
    block : int
        Inserts per block, fixed per model and kind of device.
    shard : int
        1-based.
    shards : int
        How many there are; some are empty when there are more shards than blocks.

    Returns
    -------
    list of slice
    """
    blocks = [slice(i, min(i + block, n_inserts)) for i in range(0, n_inserts, block)]
    cuts = np.linspace(0, len(blocks), shards + 1).round().astype(int)
    return blocks[cuts[shard - 1] : cuts[shard]]
