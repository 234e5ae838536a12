"""What inserts do differently in two sides of the models of a screen."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
import pyarrow.compute as pc

from marginome.arrays import group_of, read_hdf5
from marginome.columns import conform
from marginome.discoveries import add_q
from marginome.errors import MarginomeError
from marginome.model_differences import Alignment, align_scales, claim_of, model_differences
from marginome.model_tables import MODEL_DIFFERENCES
from marginome.storage import damaged, read_row_groups, read_table, write_table

log = logging.getLogger("marginome")

#: Rows that are tested together: those of one null.
TEST_SET = ("background", "output", "position")


def compare_sides(
    *,
    first: Sequence[str],
    second: Sequence[str],
    backgrounds: Sequence[str],
    effects: str | os.PathLike,
    singles: Sequence[str | os.PathLike],
    inserts: Sequence[str | os.PathLike],
    table: str | os.PathLike,
) -> None:
    """Write what inserts do differently in two sides of models (`marginome.model_differences`).

    Parameters
    ----------
    first, second : sequence of str
        Models of either side.
    backgrounds : sequence of str
        The background sets, each compared by itself.
    effects : path
        Rows of the effect table, of the first model of the first side among others: what the inserts are.
    singles : sequence of path
        HDF5 of all models: effects of inserts and controls, ``<model>/<background>/effects``.
    inserts : sequence of path
        The insert lists, in the screen's order.
    table : path
        Parquet to write: columns `MODEL_DIFFERENCES`. In its metadata are the scales, and why outputs were left out.

    Raises
    ------
    MarginomeError
        If effects of single backgrounds were not kept, or the sides have no output in common, or none with a common
        scale. An output without one is left out where another has one.
    """
    listed = pd.concat([read_table(path).assign(list=i) for i, path in enumerate(inserts)], ignore_index=True)
    motif = (listed["role"] == "motif").to_numpy()
    places = _places(singles)
    claim, parts, scales, left_out = claim_of(len(first), len(second)), [], {}, []
    for background in backgrounds:
        sides = [{model: _read(places, model, background, listed) for model in side} for side in (first, second)]
        every = [one for side in sides for one in side.values()]
        known = _rows_of(effects, first[0], background)
        shared = [output for output in every[0].outputs if all(output in one.outputs for one in every)]
        if not shared:
            raise MarginomeError(
                f"no output is in all of {', '.join([*first, *second][:6])}", where="comparison",
                remedy="Give outputs that mean the same the same name (models.<name>.outputs).",
            )  # fmt: skip
        for output in shared:
            try:
                values, aligned = _aligned(output, *sides)
            except MarginomeError as error:
                where = f"output '{output}', background set '{background}'"
                left_out.append(MarginomeError(error.what, where=where, remedy=error.remedy))
                log.warning("left out: %s", left_out[-1])
                continue
            factors = dict(zip([*first, *second], aligned.factors.tolist()))
            scales.setdefault(background, {})[output] = {"factors": factors, "correlation": aligned.correlation}
            log.info("%s, %s: the sides' effects correlate with %.3f; scales from %.3g to %.3g", background, output,
                     aligned.correlation, aligned.factors.min(), aligned.factors.max())  # fmt: skip
            on_scale = np.split(values * aligned.factors, [len(first)], axis=1)
            rows = known[known["output"] == output].reset_index(drop=True)
            if len(rows) != motif.sum() or not np.array_equal(rows["insert"], listed.loc[motif, "insert"]):
                raise damaged(effects, f"it holds {len(rows)} inserts of {output}, the lists other ones")
            parts.append(_compared(rows, on_scale, listed, motif))
    if not parts:
        raise left_out[0]
    found = pd.concat(parts, ignore_index=True).assign(n_first=len(first), n_second=len(second), claim=claim)
    found = add_q(found, TEST_SET)
    log.info("%d models against %d, %s: %d of %d rows with q <= 0.05", len(first), len(second), claim,
             int((found["q"] <= 0.05).sum()), len(found))  # fmt: skip
    made = conform(found, MODEL_DIFFERENCES, name=str(table))
    told = {"first": list(first), "second": list(second), "scales": scales, "left_out": [str(e) for e in left_out]}
    write_table(table, made, told)


class _Effects(NamedTuple):
    """Mean effects over the backgrounds of one model, inserts and controls by outputs, and how outputs are measured."""

    outputs: list[str]
    measured: list[str]
    effects: np.ndarray


def _places(files: Sequence[str | os.PathLike]) -> dict[str, str | os.PathLike]:
    """Return which of some files holds each model, by the name of its group."""
    found = {}
    for file in files:
        with read_hdf5(file) as handle:
            found |= dict.fromkeys(handle, file)
    return found


def _read(places: Mapping[str, str | os.PathLike], model: str, background: str, listed: pd.DataFrame) -> _Effects:
    """Read the mean effects of all inserts and controls of a model, in the order of the lists."""
    of_model, _, of_background = group_of(model, background).partition("/")
    if of_model in places:
        file = places[of_model]
        with read_hdf5(file) as handle:
            group = handle[of_model].get(of_background)
            if group is not None:
                return _effects_of(group, listed, model, file)
    raise MarginomeError("it has no effects in this screen", where=f"model '{model}', background set '{background}'")


def _effects_of(group: h5py.Group, listed: pd.DataFrame, model: str, file: str | os.PathLike) -> _Effects:
    if "effects" not in group:
        raise MarginomeError(
            f"effects of single backgrounds were not kept: {group.attrs.get('note', '')}", where=str(file),
            remedy="A comparison needs the effects of the controls: raise keep.backgrounds_mb of the screen.",
        )  # fmt: skip
    if not np.array_equal(group["role"].asstr()[...], listed["role"].to_numpy(object)):
        raise damaged(file, f"model '{model}' has other inserts than the lists")
    values = np.concatenate([part.astype(np.float64).mean(1) for part in _blocks(group["effects"])])
    told = json.loads(group.attrs["readouts"])
    measured = [f"{measure} ({unit})" for measure, unit in zip(told["measure"], told["unit"])]
    return _Effects(told["output"], measured, values)


def _aligned(output: str, *sides: Mapping[str, _Effects]) -> tuple[np.ndarray, Alignment]:
    """Return the effects on an output of all models, first side first, and their scales."""
    models = {model: (one, one.outputs.index(output)) for side in sides for model, one in side.items()}
    (first, measured), *others = ((model, one.measured[at]) for model, (one, at) in models.items())
    for model, other in others:
        if other != measured:
            raise MarginomeError(
                f"it is {measured} of model '{first}', but {other} of model '{model}'",
                remedy="Give both one measure and unit, or the outputs names of their own (outputs).",
            )
    values = np.stack([one.effects[:, at] for one, at in models.values()], axis=1)
    split = np.split(values, [len(sides[0])], axis=1)
    return values, align_scales(*split, names=list(models))


def _blocks(values: object, size: int = 1024) -> Iterator[np.ndarray]:
    for i in range(0, len(values), size):
        yield values[i : i + size]


def _rows_of(effects: str | os.PathLike, model: str, background: str) -> pd.DataFrame:
    """Return what the inserts of a model and background set are, a row for each output."""
    columns = {c.name for c in MODEL_DIFFERENCES[: [c.name for c in MODEL_DIFFERENCES].index("n_first")]}
    for group in read_row_groups(effects):
        here = group.filter((pc.field("model") == model) & (pc.field("background") == background))
        if here.num_rows:
            return here.select([name for name in here.schema.names if name in columns]).to_pandas()
    raise damaged(effects, f"it has no rows of model '{model}' and background set '{background}'")


def _compared(rows: pd.DataFrame, sides: Sequence[np.ndarray], listed: pd.DataFrame, motif: np.ndarray) -> pd.DataFrame:
    """Add the columns of the comparison; each list and position has the null of its own controls."""
    sequences, places = listed["insert"].to_numpy(object), listed.groupby(["list", "position"]).ngroup().to_numpy()
    columns = ("first_mean", "second_mean", "difference", "control_mean", "control_sd", "z", "p_controls", "t", "df",
               "p_models", "p", "n_controls", "p_resolution")  # fmt: skip
    out = {name: np.full(len(rows), np.nan) for name in columns}
    for place in np.unique(places[motif]):
        mine, theirs = motif & (places == place), ~motif & (places == place)
        found = model_differences(sides[0][mine], sides[1][mine], sequences[mine], sides[0][theirs], sides[1][theirs],
                                  sequences[theirs])  # fmt: skip
        for name in columns:
            out[name][mine[motif]] = getattr(found, name)
    return rows.assign(**out).astype({"n_controls": np.int64})
