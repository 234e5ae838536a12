"""An insert list of a screen: the inserts of one collection and their own controls, before anything else is known.

No background set and no model is needed for it, and no other list: what is added to a screen lists nothing anew.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from marginome.columns import conform
from marginome.composites import composite_table, list_composites
from marginome.families import motif_families
from marginome.insert_lists import insert_table
from marginome.inserts import list_inserts, list_starts
from marginome.list_tables import COMPOSITE_LIST, FAMILIES, INSERT_LIST
from marginome.motifs.table import motifs_from_table
from marginome.pair_designs import expand_pairs, mismatched_inserts
from marginome.placing import FIRST_BASE, MIDDLE
from marginome.storage import read_table, write_table

log = logging.getLogger("marginome")


def list_screen_inserts(
    screen: Mapping[str, Any],
    *,
    controls: Mapping[str, Any] | bool,
    seed: int,
    motifs: str | os.PathLike,
    inserts: str | os.PathLike,
    families: str | os.PathLike,
    threads: int = 1,
) -> None:
    """List a collection's inserts and their controls, and group similar motifs into families.

    Parameters
    ----------
    screen : mapping
        The keys of the screen's entry that say what goes in, and where.
    controls : mapping or False
        What the screen's ``controls`` say for this list; see `insert_table`.
    seed : int
        The config's seed.
    motifs : path
        Table of the collection.
    inserts, families : path
        Parquet tables to write: one row per insert or control (see `insert_table`; `marginome.placing` turns the
        column ``offset`` into starts), and one per motif.
    threads : int, default 1
        For the comparison of all motifs with all; the result does not depend on it.
    """
    table = read_table(motifs)
    collection = table["collection"].iloc[0]
    found = motifs_from_table(table)
    grouped = motif_families([m.pwm.T for m in found], [m.motif_id for m in found], threads=threads)
    placed = {"positions": screen["positions"], "length": None, "seed": seed, "collection": collection}
    drawn = {"mode": screen["inserts"], "draws": screen["draws"]}
    if screen["composites"]:
        columns = COMPOSITE_LIST
        rows = composite_table(list_composites(screen["composites"], found, **drawn, **placed))
    else:
        places = len(list_starts(screen["positions"], length=None, width=0))
        places *= screen["draws"] if screen["inserts"] == "sample" else 1
        pairs = expand_pairs(screen["pairs"], found, grouped.representative, places=places) if screen["pairs"] else None
        listed = list_inserts(
            found, orientations=screen["orientations"], flanks=screen["flanks"], pairs=pairs, **drawn, **placed
        )
        mismatched = []
        if pairs and controls is not False and screen["inserts"] == "consensus":
            mismatched = mismatched_inserts(pairs, found, **placed)
        columns = INSERT_LIST
        rows = insert_table(listed, controls, seed, mismatched)
    centred = screen["positions"] == "centre"
    metadata = {"from": MIDDLE if centred else FIRST_BASE, "seed": seed}
    write_table(inserts, conform(rows, columns, name=str(inserts)), metadata)
    members = {
        "collection": collection,
        "motif_id": [m.motif_id for m in found],
        "motif_name": [m.motif_name for m in found],
        "family": grouped.family,
        "family_representative": grouped.representative,
    }
    write_table(families, conform(_with_composites(members, rows), FAMILIES, name=str(families)))
    log.info("%d inserts and %d controls; %d motifs in %d families", (rows["role"] == "motif").sum(),
             (rows["role"] != "motif").sum(), len(found), len(set(grouped.family)))  # fmt: skip


def _with_composites(members: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the families of motifs and, behind them, each composite of an insert list as a family of its own."""
    families = pd.DataFrame(members)
    if "parts" not in rows:
        return families
    named = rows.loc[~rows["motif_id"].isin(families["motif_id"]), ["collection", "motif_id", "motif_name"]]
    named = named.drop_duplicates(["collection", "motif_id"])
    first = families["family"].max() + 1
    return pd.concat(
        [families, named.assign(family=range(first, first + len(named)), family_representative=named["motif_id"])],
        ignore_index=True,
    )
