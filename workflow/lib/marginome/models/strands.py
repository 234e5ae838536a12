"""Which axes of a model's heads are positions and strands, where the config says it under ``average_strands``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from marginome.bounded import TABLE
from marginome.errors import MarginomeError, unknown_name
from marginome.models.outputs import describe
from marginome.models.wrappers import StrandedHead
from marginome.nested import pick
from marginome.textfiles import read_text

KEYS = ("head", "positions", "tracks", "pairs")


def stranded_heads(entries: Sequence[Mapping[str, Any]], example: Any, where: str) -> tuple[StrandedHead, ...]:
    """Return what the config says of each head.

    Parameters
    ----------
    entries : sequence of mapping
        ``head`` (as of an output), ``positions`` and ``tracks`` (axes, the batch is axis 0), and ``pairs``: pairs of
        tracks that are each other's strand, or ``{file, column}`` of a table with a row for every track, whose column
        has the number of its partner (its own for a track without strand).
    example : nested Tensor
        What the model returned for one sequence.
    where : str
        For messages.

    Raises
    ------
    MarginomeError
        For a head or an axis that is not there, a track that is in no head or in two pairs.
    """
    return tuple(_head(dict(entry), example, f"{where}: average_strands[{i}]") for i, entry in enumerate(entries))


def _head(entry: Mapping[str, Any], example: Any, where: str) -> StrandedHead:
    for key in entry:
        if key not in KEYS:
            raise unknown_name("key", key, KEYS, where=where)
    head = entry.get("head")
    path = () if head is None else tuple(head) if isinstance(head, list | tuple) else (head,)
    try:
        value = pick(example, path)
    except MarginomeError as error:
        raise MarginomeError(
            f"{error.what}; the model returns {describe(example)}", where=where, remedy=error.remedy
        ) from error
    positions, tracks = (_axis(entry.get(key), key, value, where) for key in ("positions", "tracks"))
    pairs = entry.get("pairs")
    if positions is not None and positions == tracks:
        raise MarginomeError(f"positions and tracks are both axis {tracks}", where=where)
    if pairs is not None and tracks is None:
        raise MarginomeError("pairs are given without the axis of tracks", where=where, remedy="Give tracks: 1, say.")
    order = () if pairs is None else _order(pairs, value.shape[tracks], where)
    return StrandedHead(path, positions, tracks, order)


def _axis(axis: Any, key: str, value: Tensor, where: str) -> int | None:
    if axis is None:
        return None
    if isinstance(axis, bool) or not isinstance(axis, int) or not 1 <= axis < value.dim():
        raise MarginomeError(
            f"{key} is axis {axis!r}; this head has the axes 1 to {value.dim() - 1}, of sizes {tuple(value.shape[1:])}",
            where=where,
            remedy="The batch is axis 0.",
        )
    return axis


def _order(pairs: Any, tracks: int, where: str) -> tuple[int, ...]:
    if isinstance(pairs, Mapping):
        order = _from_table(pairs, where)
        if len(order) != tracks:
            raise MarginomeError(f"{len(order)} rows for {tracks} tracks", where=f"{where}: {pairs['file']}")
    else:
        order = list(range(tracks))
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(_is_track(i, tracks) for i in pair):
                raise MarginomeError(f"{pair!r} is no pair of tracks from 0 to {tracks - 1}", where=where)
            if any(order[i] != i for i in pair):
                raise MarginomeError(f"a track of {list(pair)} is in another pair too", where=where)
            order[pair[0]], order[pair[1]] = pair[1], pair[0]
    wrong = next((i for i, other in enumerate(order) if not _is_track(other, tracks) or order[other] != i), None)
    if wrong is not None:
        raise MarginomeError(f"track {wrong} is paired with {order[wrong]}, which is not paired with it", where=where)
    return tuple(order)


def _is_track(value: Any, tracks: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < tracks


def _from_table(source: Mapping[str, Any], where: str) -> list[int]:
    file, column = source["file"], source["column"]
    try:
        lines = read_text(file, TABLE).splitlines()
    except MarginomeError as error:
        raise MarginomeError(error.what, where=f"{where}: {file}", remedy=error.remedy) from error
    rows = list(csv.DictReader(lines, delimiter="," if str(file).endswith(".csv") else "\t"))
    if not rows or column not in rows[0]:
        raise unknown_name("column", column, rows[0] if rows else [], where=f"{where}: {file}")
    try:
        return [int(row[column]) for row in rows]
    except (TypeError, ValueError):
        raise MarginomeError(f"a value of {column} is no whole number", where=f"{where}: {file}") from None
