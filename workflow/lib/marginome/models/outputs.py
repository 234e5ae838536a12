"""Named readouts of a model: which part of what it returns becomes which output, with its unit and measure."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from marginome.bounded import TABLE
from marginome.errors import MarginomeError, unknown_name
from marginome.measures import MEASURES, misfit
from marginome.models.reading import REDUCTIONS, TRANSFORMS, parse_index, read
from marginome.nested import leaves, pick
from marginome.textfiles import read_text
from marginome.usercode import load_user_object


@dataclass(frozen=True)
class Output:
    """One named readout of a model.

    Attributes
    ----------
    name : str
        As in the config's ``outputs``.
    kind : {"scalar", "profile"}
        ``scalar``: ``(n, k)``, one number per target. ``profile``: ``(n, strands, length)`` logits.
    head : int, str, tuple or None
        Which of the model's outputs: a position in a tuple or list, a key of a dict, a path of both;
        None for the only one.
    index : str or None
        What to take of the head, as NumPy would write it after the batch axis, e.g. ``"440:456, [3, 7]"``.
    reduce : tuple of (str, tuple of int) or None
        A reduction and the axes it runs over (the batch is axis 0; none mean all others), after `index`.
    transform : str or None
        An elementwise function, or ``file.py:function`` that gets the tensor; after `reduce`.
    names : tuple of str
        One per target of a scalar output; ``(name,)`` for one target and for a profile.
    unit : str
        Of the values, e.g. ``"log counts"``.
    measure : str
        How before and after are compared: difference, log2_fold_change, euclidean,
        jensen_shannon_distance, or ``file.py:function``.
    pseudocount : float
        Of log2_fold_change.
    softmax : {"strand", "both"} or None
        Profiles: whether the softmax runs over each strand or over both together, as in training.
    bin : int or None
        Profiles: bases (bp) per value; None where it is not known.
    first : int or None
        Profiles: the first base (0-based) of the first value in the sequence that is given; below 0 in a flank. None
        where `bin` is.
    shape : tuple of int
        Without the batch: ``(k,)`` or ``(strands, length)``.
    expand : bool
        Whether an axis of length 1 is put after the batch: a target or a strand that the model leaves out.
    positions_first : bool
        Profiles: whether the model returns ``(length, strands)``, as Keras does, and not ``(strands, length)``.
    """

    name: str
    kind: str = "scalar"
    head: Any = None
    index: str | None = None
    reduce: tuple[str, tuple[int, ...]] | None = None
    transform: str | None = None
    names: tuple[str, ...] = ()
    unit: str = ""
    measure: str = "difference"
    pseudocount: float = 1.0
    softmax: str | None = None
    bin: int | None = None
    first: int | None = None
    shape: tuple[int, ...] = ()
    expand: bool = False
    positions_first: bool = False

    @property
    def path(self) -> tuple:
        """The head as a path of keys into the nested outputs."""
        if self.head is None:
            return ()
        return tuple(self.head) if isinstance(self.head, list | tuple) else (self.head,)


class Readouts(nn.Module):
    """A model that returns its named outputs: ``forward(X, *args)`` to a dict of name to tensor.

    Parameters
    ----------
    model : torch.nn.Module
        Returns nested outputs.
    outputs : sequence of Output
        With known shapes, as `resolve_outputs` returns them.
    """

    def __init__(self, model: nn.Module, outputs: Sequence[Output]):
        super().__init__()
        self.model = model
        self.outputs = tuple(outputs)
        self._steps = {output.name: _steps(output) for output in outputs}

    def forward(self, X: Tensor, *args: Tensor) -> dict[str, Tensor]:
        """Return scalar outputs ``(n, k)`` and profile outputs ``(n, strands, length)`` (logits) by name."""
        return self.read(self.model(X, *args))

    def read(self, predicted: Any) -> dict[str, Tensor]:
        """Return the named outputs of what the model returned."""
        readouts = {}
        for output in self.outputs:
            value = read(predicted, output.path, **self._steps[output.name])
            if output.kind == "profile" and output.positions_first and value.dim() == 3:
                value = value.transpose(1, 2)
            readouts[output.name] = value.unsqueeze(1) if output.expand else value
        return readouts


def _steps(output: Output) -> dict[str, Any]:
    """What `read` takes, of one output."""
    transform = output.transform
    if transform is not None:
        transform = TRANSFORMS.get(transform) or load_user_object(transform, where=f"output '{output.name}'")
    index = None if output.index is None else parse_index(output.index)
    return {"index": index, "reduce": output.reduce, "transform": transform}


def resolve_outputs(
    configured: Mapping[str, Any] | None,
    defaults: Sequence[Output],
    example: Any,
    where: str,
    *,
    positions_first: bool = False,
    length: int | None = None,
    flank: int = 0,
) -> tuple[Output, ...]:
    """Make the outputs of a model from its config entry and its loader's defaults; check each on an example.

    Parameters
    ----------
    configured : mapping or None
        ``outputs:`` of the config. An entry with the name of a default starts from that default. When
        None, the defaults are taken.
    defaults : sequence of Output
        The loader's.
    example : nested Tensor
        What the model returned for one sequence.
    where : str
        For messages.
    positions_first : bool, default False
        Whether profiles come as ``(length, strands)``.
    length, flank : int, optional
        Of what the model reads (bp), and how much of it stands before the sequence that is given. Where a profile lies
        is not known without.

    Returns
    -------
    tuple of Output
        With names and shapes filled in.

    Raises
    ------
    MarginomeError
        For a head that is not there, an index out of range, names that do not match the targets, a
        profile that is none, and when there are neither outputs nor defaults.
    """
    known = {output.name: output for output in defaults}
    if configured:
        outputs = [
            _configured(name, entry or {}, known, f"{where}: outputs.{name}") for name, entry in configured.items()
        ]
    else:
        outputs = list(defaults)
    if not outputs:
        raise MarginomeError(
            f"the outputs have no names: the model returns {describe(example)}",
            where=where,
            remedy="Name each with `outputs:`, e.g. outputs: {counts: {head: 1, unit: log counts}}.",
        )
    outputs = [replace(output, positions_first=positions_first) for output in outputs]
    checked = [_checked(output, example, f"{where}: outputs.{output.name}") for output in outputs]
    return tuple(_placed(output, example, length, flank, f"{where}: outputs.{output.name}") for output in checked)


def _configured(name: str, entry: Mapping[str, Any], known: Mapping[str, Output], where: str) -> Output:
    fields = dict(entry)
    reduce = fields.pop("reduce", None)
    if isinstance(reduce, str):
        reduce = (reduce, ())
    elif reduce is not None:
        reduce = (reduce["how"], tuple(reduce["axes"]))
    if reduce is not None:
        if reduce[0] not in REDUCTIONS:
            raise unknown_name("reduction", reduce[0], REDUCTIONS, where=where)
        fields["reduce"] = reduce
    if isinstance(fields.get("head"), list):
        fields["head"] = tuple(fields["head"])
    index = fields.get("index")
    if index is not None and not isinstance(index, str):
        fields["index"] = str(index)
    names = fields.pop("names", None)
    if names is not None:
        fields["names"] = tuple(names) if isinstance(names, list) else read_names(names, where)
    base = known.get(name, Output(name))
    output = replace(base, **fields)
    for word, allowed in (("measure", MEASURES), ("transform", tuple(TRANSFORMS))):
        value = getattr(output, word)
        if value is not None and value not in allowed and ".py:" not in value:
            raise unknown_name(word, value, [*allowed, "path/to/file.py:function"], where=where)
    if not 0 <= output.pseudocount < math.inf:
        raise MarginomeError(
            f"expected a finite number of at least 0, found {output.pseudocount}", where=f"{where}.pseudocount"
        )
    if output.kind == "profile":
        if output.softmax is None:
            output = replace(output, softmax="both")
        if "measure" not in entry and name not in known:
            output = replace(output, measure="jensen_shannon_distance")
    else:
        meaningless = [key for key in ("bin", "softmax") if fields.get(key) is not None]
        if meaningless:
            raise MarginomeError("a scalar output has none", where=f"{where}.{meaningless[0]}",
                                 remedy="It is a setting of kind: profile.")  # fmt: skip
    if wrong := misfit(output.measure, output.kind, where=f"{where}.measure"):
        raise wrong
    if not output.unit:
        output = replace(output, unit="logits" if output.kind == "profile" else "model units")
    return output


def _checked(output: Output, example: Any, where: str) -> Output:
    try:
        head = pick(example, output.path)
    except MarginomeError as error:
        raise MarginomeError(
            f"{error.what}; the model returns {describe(example)}", where=where, remedy=error.remedy
        ) from error
    try:
        value = read(example, output.path, **_steps(output))
    except MarginomeError as error:
        raise MarginomeError(error.what, where=where, remedy=error.remedy) from error
    except Exception as error:
        raise MarginomeError(
            f"the readout fails on a head of shape {_shape(head)}: {(str(error).splitlines() or [''])[0]}",
            where=where,
            remedy="Shapes count without the batch; index, reduce and transform run in this order.",
        ) from error
    if not isinstance(value, Tensor) or value.dim() < 1 or value.shape[0] != head.shape[0]:
        raise MarginomeError(
            f"the readout of one sequence must keep the batch axis; found {_shape(value)}", where=where
        )
    if output.kind == "profile":
        shape = _profile_shape(output, tuple(value.shape[1:]))
        if shape is None:
            raise MarginomeError(
                f"a profile has the shape {'(length, strands)' if output.positions_first else '(strands, length)'} or "
                f"(length,); this readout is {_shape(value)}",
                where=where,
                remedy="Use kind: scalar, another head, or an index.",
            )
        return replace(output, names=output.names or (output.name,), shape=shape, expand=value.dim() == 2)
    if value.dim() > 2:
        raise MarginomeError(
            f"a scalar output is one number per target; this readout is {_shape(value)}",
            where=where,
            remedy="Pick with index, average with reduce: {how: mean, axes: [1]}, or use kind: profile.",
        )
    k = value.shape[1] if value.dim() == 2 else 1
    names = output.names
    if not names and k == 1:
        names = (output.name,)
    if len(names) != k:
        raise MarginomeError(
            f"{len(names)} names for {k} targets",
            where=where,
            remedy="Give names: a list, or a text file with one name per line, in the model's order; or pick one "
            "target with index.",
        )
    if k > 1 and len(set(names)) < k:
        names = _distinct(names)
    return replace(output, names=tuple(names), shape=(k,), expand=value.dim() == 1)


def _placed(output: Output, example: Any, length: int | None, flank: int, where: str) -> Output:
    """Say which bases the values of a profile are of: its head is the middle of what the model reads.

    A value is a base where the head has as many as the model reads; else `bin` has to say how many one is.
    """
    if output.kind != "profile":
        return replace(output, bin=None)
    taken = _taken(output, pick(example, output.path))
    if length is None or taken is None:
        return replace(output, bin=None, first=None)
    first, values = taken
    width = 1 if output.bin is None and values == length else output.bin
    if width is None:
        return output
    if values * width > length:
        raise MarginomeError(
            f"{values} values of {width} bp are {values * width} bp, and the model reads {length} bp",
            where=f"{where}.bin",
            remedy="Give the bases (bp) that one value stands for, or leave it out: figures then count values.",
        )
    return replace(output, bin=width, first=(length - values * width) // 2 + first * width - flank)


def _taken(output: Output, head: Tensor) -> tuple[int, int] | None:
    """Which values of its head a profile has: the first, of how many; None where they are no run of neighbours."""
    steps = _steps(replace(output, transform=None, reduce=output.reduce and ("mean", output.reduce[1])))
    for axis in range(1, head.dim()):
        number = torch.arange(head.shape[axis], dtype=torch.float64)
        number = number.reshape([-1 if i == axis else 1 for i in range(head.dim())])
        value = read(number.expand(1, *head.shape[1:]), (), **steps)
        value = value.transpose(1, 2) if output.positions_first and value.dim() == 3 else value
        lines = value.reshape(-1, value.shape[-1])
        if (lines == lines[0, 0] + torch.arange(lines.shape[-1])).all():
            return int(lines[0, 0]), head.shape[axis]
    return None


def _profile_shape(output: Output, sizes: tuple[int, ...]) -> tuple[int, int] | None:
    """(strands, length) of a profile readout of these sizes; None when it is none."""
    if len(sizes) not in (1, 2) or (output.positions_first and len(sizes) == 2 and sizes[0] < sizes[1]):
        return None
    strands, length = (1, *sizes) if len(sizes) == 1 else sizes[::-1] if output.positions_first else sizes
    return (strands, length) if length > 1 else None


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Tell equal names apart by a number: published target lists hold replicates under one name."""
    seen: dict[str, int] = {}
    told_apart = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        told_apart.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(told_apart)


def describe(example: Any) -> str:
    """Say in words what a model returns: the shape of every tensor without the batch axis."""
    if isinstance(example, Tensor):
        return f"one tensor {_shape(example)} per sequence"
    parts = [f"{'.'.join(map(str, path))}: {_shape(value)}" for path, value in leaves(example)]
    return f"{len(parts)} heads ({'; '.join(parts)})"


def _shape(value: Any) -> str:
    return str(tuple(value.shape[1:])) if isinstance(value, Tensor) else type(value).__name__


def read_names(source: str | Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Read target names from a file: one per line, or columns of a table with a header line.

    Parameters
    ----------
    source : str or mapping
        A path, or ``{file: path, columns: [..]}`` for a TSV (or .csv) table, whose columns are joined
        with ``|``.
    where : str
        For messages.

    Raises
    ------
    MarginomeError
        For a file that cannot be read or is larger than any table (`bounded.TABLE`), an empty line, a column that is
        not there.
    """
    file, columns = (source, None) if isinstance(source, str) else (source["file"], source.get("columns"))
    try:
        text = read_text(file, TABLE)
    except MarginomeError as error:
        raise MarginomeError(error.what, where=f"{where}: {file}", remedy=error.remedy) from error
    if columns is None:
        names = [line.strip() for line in text.splitlines()]
        while names and not names[-1]:
            names.pop()
        empty = [number for number, name in enumerate(names, 1) if not name]
        if empty:
            raise MarginomeError(f"line {empty[0]} is empty", where=f"{where}: {file}")
        return tuple(names)
    rows = list(csv.DictReader(text.splitlines(), delimiter="," if str(file).endswith(".csv") else "\t"))
    for column in columns:
        if not rows or column not in rows[0]:
            raise unknown_name("column", column, rows[0] if rows else [], where=f"{where}: {file}")
    return tuple("|".join(str(row[column]).strip() for column in columns) for row in rows)
