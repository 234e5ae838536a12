"""Extra inputs of a model beside the sequence: control tracks and scalars, for each background."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginome.bigwig import BigWig
from marginome.bounded import TABLE, check_file
from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.hdf5 import Request, read_foreign_hdf5
from marginome.textfiles import read_text

_REGION = re.compile(r"(?P<chrom>[^:\s]+):(?P<start>\d+)-(?P<end>\d+)(?:[^\d].*)?")


@dataclass(frozen=True)
class Argument:
    """One extra input of a model and where its values come from.

    Attributes
    ----------
    name : str
        For messages; arguments are passed in their order.
    shape : tuple of int
        For one sequence, e.g. ``(2, 2114)`` for two control tracks, ``(1,)`` for a scalar.
    source : {"constant", "bigwig", "hdf5", "table"}
        The same value everywhere; tracks at each background's own region; an array per background;
        numbers per background.
    value : float
        Of ``constant``.
    files : tuple of str
        bigWig files (one per track), or one HDF5 file, or one table.
    dataset : str
        In the HDF5 file: ``(n, *shape)``; the ids are in the dataset ``background_id`` beside it.
    columns : tuple of str
        Of the table, whose column ``background_id`` tells the background.
    log1p_sum : bool
        bigWig: the argument is log(1 + sum over positions) of each track instead of the track, as
        basepairmodels' ``counts_bias_input`` wants it.
    track_length : int
        bigWig with `log1p_sum`: how many positions around the centre are summed.
    flip : tuple of int
        Axes (the batch not counted) that reverse-complementing turns round: strands and positions.
    """

    name: str
    shape: tuple[int, ...]
    source: str = "constant"
    value: float = 0.0
    files: tuple[str, ...] = ()
    dataset: str = ""
    columns: tuple[str, ...] = ()
    log1p_sum: bool = False
    track_length: int = 0
    flip: tuple[int, ...] = ()

    def values(self, background_ids: Sequence[str], where: str = "") -> Tensor:
        """Return the argument for these backgrounds, float32, shape ``(n, *shape)``.

        Raises
        ------
        MarginomeError
            When a background is not in the file, has no coordinates (bigWig), or a shape does not fit.
        """
        where = f"{where}: arguments.{self.name}".removeprefix(": ")
        for file in self.files:
            check_file(file, where=f"{where}: {file}")
        read = {"constant": self._constant, "bigwig": self._bigwig, "hdf5": self._hdf5, "table": self._table}
        try:
            values = np.asarray(read[self.source](background_ids, where), dtype=np.float32)
        except (MarginomeError, MemoryError):
            raise
        except Exception as error:  # a damaged file fails in any way
            raise MarginomeError(
                f"the values cannot be read ({first_line(error)})",
                where=f"{where}: {', '.join(self.files)}",
            ) from error
        wanted = (len(background_ids), *self.shape)
        if values.shape != wanted:
            raise MarginomeError(
                f"values of shape {values.shape[1:]} for each background; the model wants {self.shape}", where=where
            )
        if not np.isfinite(values).all():
            bad = background_ids[int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])]
            raise MarginomeError(f"the value for background '{bad}' is not finite", where=where)
        return torch.from_numpy(np.ascontiguousarray(values))

    def _constant(self, ids: Sequence[str], where: str) -> np.ndarray:
        return np.full((len(ids), *self.shape), self.value, dtype=np.float32)

    def _table(self, ids: Sequence[str], where: str) -> np.ndarray:
        file = self.files[0]
        lines = read_text(file, TABLE).splitlines()
        rows = list(csv.DictReader(lines, delimiter="," if file.removesuffix(".gz").endswith(".csv") else "\t"))
        for column in ("background_id", *self.columns):
            if not rows or column not in rows[0]:
                raise unknown_name("column", column, rows[0] if rows else [], where=f"{where}: {file}")
        table = {}
        for line, row in enumerate(rows, 2):
            try:
                table[row["background_id"]] = [float(row[column]) for column in self.columns]
            except (TypeError, ValueError):
                raise MarginomeError(
                    f"line {line} is no number in {', '.join(self.columns)}", where=f"{where}: {file}"
                ) from None
        _all_known(ids, table, f"{where}: {file}")
        return np.array([table[i] for i in ids]).reshape(len(ids), *self.shape)

    def _hdf5(self, ids: Sequence[str], where: str) -> np.ndarray:
        file, here = self.files[0], f"{where}: {self.files[0]}"
        known = read_foreign_hdf5(Request(file, datasets="background_id"), where=here)
        for name in (self.dataset, "background_id"):
            if name not in known.shapes:
                raise unknown_name("dataset", name, known.shapes, where=here)
        names = known.arrays["background_id"]
        shape = known.shapes[self.dataset]
        if len(shape) < 1 or names.shape != shape[:1]:
            raise MarginomeError(f"{names.shape} background ids for '{self.dataset}' of shape {shape}", where=here)
        if shape[1:] != self.shape:
            raise MarginomeError(
                f"values of shape {shape[1:]} for each background; the model wants {self.shape}", where=where
            )
        rows = {str(name): row for row, name in enumerate(names)}
        _all_known(ids, rows, here)
        wanted = np.array([rows[i] for i in ids], dtype=np.int64)
        order, back = np.unique(wanted, return_inverse=True)  # HDF5 wants increasing rows
        size = 8 * len(order) * int(np.prod(self.shape))
        request = Request(file, re.escape(self.dataset), {self.dataset: order.tolist()}, max_bytes=size)
        return read_foreign_hdf5(request, where=here).arrays[self.dataset][back]

    def _bigwig(self, ids: Sequence[str], where: str) -> np.ndarray:
        length = self.track_length if self.log1p_sum else self.shape[-1]
        tracks = np.zeros((len(ids), len(self.files), length), dtype=np.float32)
        for t, file in enumerate(self.files):
            with closing(BigWig(file, where=f"{where}: {file}")) as signal:
                sizes = signal.contigs
                for row, name in enumerate(ids):
                    chrom, centre = _centre(name, where)
                    if chrom not in sizes:
                        raise MarginomeError(
                            f"there is no chromosome '{chrom}' (background '{name}')",
                            where=f"{where}: {file}",
                            remedy=f"It has {', '.join(list(sizes)[:4])}, ...: use the assembly of the backgrounds.",
                        )
                    start = centre - length // 2
                    low, high = max(start, 0), min(start + length, sizes[chrom])
                    if high > low:  # outside the chromosome there is no signal: zero, as in the training code
                        values = np.array(signal.values(chrom, low, high), dtype=np.float32)  # None becomes NaN
                        tracks[row, t, low - start : high - start] = np.where(np.isnan(values), 0, values)
        return np.log1p(tracks.sum(axis=2)) if self.log1p_sum else tracks


def _all_known(ids: Sequence[str], table: Mapping[str, Any], where: str) -> None:
    missing = [i for i in ids if i not in table]
    if missing:
        raise MarginomeError(
            f"{len(missing)} of {len(ids)} backgrounds are missing, the first: '{missing[0]}'",
            where=where,
            remedy="Give a row for every background; its ids are in results/backgrounds/<background>.tsv.",
        )


def _centre(background_id: str, where: str) -> tuple[str, int]:
    match = _REGION.search(background_id)
    if match is None:
        raise MarginomeError(
            f"background '{background_id}' has no genome coordinates, and a bigWig is read by coordinates",
            where=where,
            remedy="Use backgrounds from the genome (gc_matched, bed), a constant, or an HDF5 file per background.",
        )
    start, end = int(match["start"]), int(match["end"])
    return match["chrom"], start + (end - start) // 2


def resolve_arguments(
    configured: Sequence[Mapping[str, Any]] | None, defaults: Sequence[Argument], where: str
) -> tuple[Argument, ...]:
    """Make the extra inputs of a model from its config entry; what the loader knows comes first.

    Parameters
    ----------
    configured : sequence of mapping or None
        ``arguments:`` of the config. An entry with the name of a known input says where its values come
        from; others are added behind and need a ``shape``.
    defaults : sequence of Argument
        The inputs that the loader knows the model to have: zeros unless the config says otherwise.
    where : str
        For messages.
    """
    known = {argument.name: argument for argument in defaults}
    entries = {entry["name"]: entry for entry in configured or []}
    if configured and len(entries) < len(configured):
        raise MarginomeError("two arguments have one name", where=f"{where}: arguments")
    if defaults:
        for name in entries:
            if name not in known:
                raise unknown_name("extra input", name, known, where=f"{where}: arguments")
    resolved = []
    for name in [*known, *[n for n in entries if n not in known]]:
        resolved.append(_resolve(name, entries.get(name, {}), known.get(name), f"{where}: arguments.{name}"))
    return tuple(resolved)


def _resolve(name: str, entry: Mapping[str, Any], default: Argument | None, where: str) -> Argument:
    sources = [word for word in ("value", "bigwig", "hdf5", "table") if entry.get(word) is not None]
    if len(sources) > 1:
        raise MarginomeError(f"{' and '.join(sources)} are given; one is wanted", where=where)
    columns = tuple(entry.get("columns") or (name,))
    shape = tuple(entry["shape"]) if entry.get("shape") else None
    if shape is None and default is None and sources == ["table"]:
        shape = (len(columns),)
    if shape is None and default is None:
        raise MarginomeError(
            "the shape is not known", where=where, remedy="Give shape: [2, 2114], for one sequence, without the batch."
        )
    if default is not None and shape is not None and shape != default.shape:
        raise MarginomeError(f"shape {shape}; the model's input '{name}' has {default.shape}", where=where)
    shape = default.shape if default is not None else shape
    flip = tuple(entry["flip"]) if entry.get("flip") is not None else (default.flip if default else ())
    if any(axis >= len(shape) for axis in flip):
        raise MarginomeError(f"flip {list(flip)} for a shape of {len(shape)} axes", where=where)
    common = {"name": name, "shape": shape, "flip": flip}
    source = sources[0] if sources else "constant"
    if source == "bigwig":
        files = (entry["bigwig"],) if isinstance(entry["bigwig"], str) else tuple(entry["bigwig"])
        log1p_sum = len(shape) == 1
        if len(files) != shape[0]:
            raise MarginomeError(f"{len(files)} bigWig files for {shape[0]} tracks", where=where)
        track_length = int(entry.get("track_length") or 0)
        if log1p_sum and not track_length:
            raise MarginomeError(
                "track_length is missing: over how many positions a track is summed", where=where,
                remedy="For basepairmodels' counts_bias_input it is the output length, e.g. 1000.",
            )  # fmt: skip
        return Argument(**common, source="bigwig", files=files, log1p_sum=log1p_sum, track_length=track_length)
    if source == "hdf5":
        return Argument(**common, source="hdf5", files=(entry["hdf5"],), dataset=entry.get("dataset") or name)
    if source == "table":
        if int(np.prod(shape)) != len(columns):
            raise MarginomeError(f"{len(columns)} columns for a shape of {shape}", where=where)
        return Argument(**common, source="table", files=(entry["table"],), columns=columns)
    return Argument(**common, value=float(entry.get("value") or 0.0))
