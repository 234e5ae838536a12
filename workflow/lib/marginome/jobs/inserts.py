"""The canonical list of what a screen puts in: every insert, then every control, in one order for all shards."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from marginome.controls import list_controls
from marginome.errors import MarginomeError
from marginome.families import motif_families
from marginome.inserts import Insert, list_inserts
from marginome.motifs.table import motifs_from_table
from marginome.storage import read_json, read_table, write_table

log = logging.getLogger("marginome")


def list_screen_inserts(
    screen: Mapping[str, Any],
    *,
    seed: int,
    motifs: Sequence[str | os.PathLike],
    length: int | None,
    checks: Sequence[str | os.PathLike],
    inserts: str | os.PathLike,
    families: str | os.PathLike,
    threads: int = 1,
) -> None:
    """List a screen's inserts and controls, check that they fit, and group similar motifs into families.

    Parameters
    ----------
    screen : mapping
        The keys of the screen's entry that say what goes in.
    seed : int
        The config's seed.
    motifs : sequence of path
        Tables of the collections.
    length : int or None
        Of the sequences that the inserts go into (bp), which need not be made for this; None where the config does not
        state it.
    checks : sequence of path
        Then: checks of the models, whose input_length it is.
    inserts, families : path
        Parquet tables to write: one row per insert or control (column ``role``), and one per motif.
    threads : int, default 1
        For the comparison of all motifs with all; the result does not depend on it.
    """
    length = length or _common_length(checks)
    listed, members = [], []
    for path in motifs:
        table = read_table(path)
        collection = table["collection"].iloc[0]
        found = motifs_from_table(table)
        listed += list_inserts(
            found,
            mode=screen["inserts"],
            orientations=screen["orientations"],
            positions=screen["positions"],
            length=length,
            draws=screen["draws"],
            seed=seed,
            flanks=screen["flanks"],
            pairs=screen["pairs"],
            collection=collection,
        )
        grouped = motif_families([m.pwm.T for m in found], [m.motif_id for m in found], threads=threads)
        members.append(
            pd.DataFrame(
                {
                    "collection": collection,
                    "motif_id": [m.motif_id for m in found],
                    "motif_name": [m.motif_name for m in found],
                    "family": grouped.family,
                    "family_representative": grouped.representative,
                }
            )
        )
        log.info("collection %s: %d motifs in %d families", collection, len(found), len(set(grouped.family)))
    table = insert_table(listed, screen, seed)
    write_table(inserts, table, {"length": length, "seed": seed})
    write_table(families, pd.concat(members, ignore_index=True))
    log.info("%d inserts and %d controls", (table["role"] == "motif").sum(), (table["role"] == "control").sum())


def insert_table(listed: Sequence[Insert], screen: Mapping[str, Any], seed: int) -> pd.DataFrame:
    """Return one row per insert and, behind them, one per control of the screen's ``controls`` and position."""
    rows = pd.DataFrame([asdict(insert) for insert in listed]).rename(columns={"sequence": "insert"})
    rows.insert(0, "insert_id", [insert.insert_id for insert in listed])
    rows.insert(1, "role", "motif")
    for column in ("draw", "gap"):
        rows[column] = rows[column].astype("Int64")
    rows["position"] = _position_numbers(rows)
    settings = screen["controls"]
    if settings is False or screen["pairs"]:
        if screen["pairs"]:
            log.info("a screen of pairs is judged by its interaction; it has no shuffled controls")
        rows["control_kind"], rows["controls"] = None, None
        return rows.assign(control=pd.array([pd.NA] * len(rows), dtype="Int64"))
    wanted = list(dict.fromkeys(rows["insert"]))
    each = settings.get("per_insert")
    drawn = list_controls([(s, s) for s in wanted], n=each or settings["pool"], seed=seed, pooled=each is None)
    number = {sequence: i for i, sequence in enumerate(wanted)}
    rows["control_kind"] = [drawn.kinds[number[s]] for s in rows["insert"]]
    rows["controls"] = [drawn.members[number[s]].tolist() for s in rows["insert"]]
    rows["control"] = pd.array([pd.NA] * len(rows), dtype="Int64")
    starts = {
        width: dict(zip(part["position"], part["start"])) for width, part in rows.groupby(rows["insert"].str.len())
    }
    controls = [
        {
            "insert_id": f"control|{i}|{start}",
            "role": "control",
            "motif_id": f"control_{i}",
            "motif_name": "control",
            "orientation": "+",
            "start": start,
            "insert": sequence,
            "position": position,
            "collection": "",
            "control": i,
        }
        for i, sequence in enumerate(drawn.sequences)
        for position, start in sorted(starts[len(sequence)].items())
    ]
    extra = pd.DataFrame(controls).reindex(columns=rows.columns)
    for column in ("draw", "gap", "control"):
        extra[column] = extra[column].astype("Int64")
    return pd.concat([rows, extra], ignore_index=True)


def _position_numbers(rows: pd.DataFrame) -> np.ndarray:
    """Number the positions of the config from 0: with `centre`, inserts of all widths share number 0."""
    numbers = np.zeros(len(rows), dtype=np.int64)
    for _, part in rows.groupby(rows["insert"].str.len()):
        order = {start: i for i, start in enumerate(sorted(set(part["start"])))}
        numbers[part.index] = part["start"].map(order)
    return numbers


def _common_length(checks: Sequence[str | os.PathLike]) -> int:
    lengths = {str(path): int(read_json(path)["input_length"]) for path in checks}
    if len(set(lengths.values())) > 1:
        raise MarginomeError(
            "the models differ in the length of their sequences: "
            + ", ".join(f"{path} {length} bp" for path, length in lengths.items()),
            where="screen",
            remedy="Make a screen for each length.",
        )
    return next(iter(lengths.values()))
