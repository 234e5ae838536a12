"""What a finished screen holds: its effects, those in every single background, mean profiles, and its record."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from marginome.arrays import group_of, plain_name, read_hdf5
from marginome.batch_files import parts_of
from marginome.errors import MarginomeError
from marginome.storage import outdated, read_json, read_table
from marginome.tables import read_effects

# Above this many values the effects of single backgrounds are left out of a page (they stay in effects.h5).
MOST_VALUES = 50_000_000


class Profiles(NamedTuple):
    """Mean profiles of one model's output in one background set, before and after each insert.

    Attributes
    ----------
    rows : numpy.ndarray
        Integer positions (m,) in the effect table: one row per profile, any row of the same model,
        background set and insert.
    before : numpy.ndarray
        Mean probability without an insert, (strands, length).
    after : numpy.ndarray or h5py.Dataset
        Mean probability with each insert, (m, strands, length).
    first : int
        First base of the profile's first value in the background (0-based, bp).
    step : int
        Base pairs per value; 0 where that is not known, and neither is `first`.
    output : str
        Name of the output.
    """

    rows: np.ndarray
    before: np.ndarray
    after: np.ndarray
    first: int = 0
    step: int = 1
    output: str = "profile"


class ScreenResults(NamedTuple):
    """A finished screen.

    Attributes
    ----------
    effects : pandas.DataFrame
        The effect table: columns of `marginome.tables.EFFECTS`.
    single_effects : numpy.ndarray or None
        Effect in every single background, float32 (rows of `effects`, most backgrounds of a set), NaN where a set has
        fewer; None where the screen's ``keep`` left them out.
    profiles : list of Profiles
        Mean profiles, one entry per model, background set and profile output; `rows` are positions in `effects`.
    record : dict
        provenance.json: config, seeds, checksums, versions, machine, engine.
    """

    effects: pd.DataFrame
    single_effects: np.ndarray | None
    profiles: list[Profiles]
    record: dict


def read_screen(path: str | os.PathLike) -> ScreenResults:
    """Read a finished screen into frames and arrays.

    Parameters
    ----------
    path : path
        The screen's folder, ``results/screens/<screen>``.

    Returns
    -------
    ScreenResults

    Raises
    ------
    MarginomeError
        If it is no folder of a finished screen. A damaged file is removed, so that Snakemake makes it again.

    Examples
    --------
    The strongest motif and what it does in each background::

        screen = read_screen("results/screens/ctcf_jaspar")
        best = screen.effects["effect"].abs().idxmax()
        screen.effects.loc[best, ["motif_name", "background", "effect", "q"]]
        screen.single_effects[best]
    """
    folder = Path(path)
    names = ("effects.parquet", "effects.h5", "profiles.h5", "provenance.json")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise MarginomeError(
            f"this is no folder of a finished screen: {', '.join(missing)} is not there",
            where=str(path),
            remedy="Give results/screens/<screen>, after snakemake has run.",
        )
    effects = read_effects(folder / "effects.parquet")
    with read_hdf5(folder / "profiles.h5") as handle:
        profiles = [block._replace(after=block.after[...]) for block in read_profiles(handle, effects)]
    single = single_effects(folder / "effects.h5", effects, most_values=None)
    return ScreenResults(effects, single, profiles, dict(read_json(folder / "provenance.json")))


def combinations(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the models and background sets of an effect table, in their order."""
    return list(table[["model", "background"]].drop_duplicates().itertuples(index=False, name=None))


def single_effects(
    backgrounds: str | os.PathLike, table: pd.DataFrame, *, most_values: int | None = MOST_VALUES
) -> np.ndarray | None:
    """Return the effects of single backgrounds, one row per row of the effect table, NaN where a set is smaller.

    Parameters
    ----------
    backgrounds : path
        effects.h5 of a screen.
    table : pandas.DataFrame
        Its effect table.
    most_values : int or None, default 50,000,000
        Above this many values nothing is read; None reads them all.

    Returns
    -------
    numpy.ndarray, float32, (rows, most backgrounds of a set), or None
        None where they were not kept, or are more than `most_values`.
    """
    parts, most = [], 0
    with read_hdf5(backgrounds) as handle:
        for model, background in combinations(table):
            group = handle[group_of(model, background)]
            if "effects" not in group:
                return None
            most = max(most, group["effects"].shape[1])
        if most_values is not None and most * len(table) > most_values:
            return None
        for model, background in combinations(table):
            group = handle[group_of(model, background)]
            motif = group["role"].asstr()[...] == "motif"
            values = group["effects"][...][motif]  # (inserts, backgrounds, readouts)
            rows = values.transpose(0, 2, 1).reshape(-1, values.shape[1])
            padded = np.full((len(rows), most), np.nan, dtype=np.float32)
            padded[:, : rows.shape[1]] = rows
            parts.append(padded)
    return np.concatenate(parts)


def unsigned_measures(backgrounds: str | os.PathLike) -> list[str]:
    """Return the measures whose effects cannot be negative, as the run stored what is known of each (`Measure.signed`).

    Parameters
    ----------
    backgrounds : path
        effects.h5 of a screen, or of the elements of an attribution entry.
    """
    found: dict[str, None] = {}
    with read_hdf5(backgrounds) as handle:
        for group in (group for model in handle.values() for group in model.values()):
            readouts = json.loads(group.attrs["readouts"])
            if "signed" not in readouts:
                raise outdated(backgrounds, "whether effects may be negative")
            found |= dict.fromkeys(m for m, signed in zip(readouts["measure"], readouts["signed"]) if not signed)
    return list(found)


def read_baselines(files: Sequence[str | os.PathLike]) -> dict[tuple[str, str, str], np.ndarray]:
    """Return (model, background, output) -> predictions on the backgrounds, of every scalar target."""
    found = {}
    for file in files:
        background = os.path.splitext(os.path.basename(file))[0]
        with read_hdf5(file) as handle:
            for model, part in parts_of(handle).items():
                for values in part["outputs"].values():
                    if values.attrs["kind"] == "scalar":
                        array = values[...]
                        for k, name in enumerate(json.loads(values.attrs["names"])):
                            found[model, background, name] = array[:, k]
    return found


def read_profiles(handle: h5py.File, table: pd.DataFrame) -> list[Profiles]:
    """Return the mean profiles of an open profiles.h5, tied to rows of the effect table."""
    blocks = []
    for model, background in combinations(table):
        for step, group in handle.get(group_of(model, background), {}).items():
            name = plain_name(step)
            if "after_probabilities" not in group:
                continue
            here = (table["model"] == model) & (table["background"] == background) & (table["output"] == name)
            after = group["after_probabilities"]
            if "bin_bp" not in group.attrs:
                raise outdated(handle.filename, "which bases a profile is of")
            blocks.append(
                Profiles(
                    rows=np.flatnonzero(here.to_numpy()),
                    before=group["before_probabilities"][...],
                    after=after,
                    first=int(group.attrs["first_bp"]),
                    step=int(group.attrs["bin_bp"]),
                    output=name,
                )
            )
    return blocks


def read_motif_matrices(path: str | os.PathLike) -> pd.DataFrame:
    """Return ``collection, motif_id, motif_name, pwm`` with matrices of shape (4, w)."""
    table = read_table(path)[["collection", "motif_id", "motif_name", "pwm"]]
    return table.assign(pwm=[np.asarray(values).reshape(-1, 4).T for values in table["pwm"]])
