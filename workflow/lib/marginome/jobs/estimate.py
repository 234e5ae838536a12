"""How long a screen will take, and how many shards to put into the config."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence

import pandas as pd

from marginome.backgrounds import read_background
from marginome.storage import read_json, read_table
from marginome.tables import write_tsv

log = logging.getLogger("marginome")

# A shard of half an hour loses little when it is killed, and its start-up is a small part of it.
SHARD_MINUTES = 30.0


def estimate(
    screens: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    inserts: Mapping[str, str],
    backgrounds: Mapping[str, str],
    checks: Mapping[str, str],
    table: str | os.PathLike,
) -> None:
    """Estimate the time of every screen from what `check_model` measured, and propose a number of shards.

    Parameters
    ----------
    screens : mapping of name to mapping
        ``models``, ``backgrounds`` and ``shards`` of each screen.
    inserts, backgrounds, checks : mapping of name to path
        The list of inserts of each screen, FASTA of each background set, check of each model.
    table : path
        TSV to write: a row per screen, model and background set.

    Notes
    -----
    Pairs (inserts and controls times backgrounds) over pairs per second of this kind of device, as measured on random
    backgrounds with the block that the run uses. Writing and start-up are not counted.
    """
    rows = []
    for screen, entry in screens.items():
        n = len(read_table(inserts[screen], columns=["role"]))
        for model in entry["models"]:
            check = read_json(checks[model])
            rates = check["pairs_per_second"]
            rate = rates.get(str(check["block"])) or max(rates.values(), default=0.0) or check["sequences_per_second"]
            for background in entry["backgrounds"]:
                pairs = n * len(read_background(backgrounds[background])[0])
                minutes = pairs / rate / 60
                rows.append(
                    {
                        "screen": screen, "model": model, "background": background, "pairs": pairs,
                        "pairs_per_second": round(rate, 1), "minutes": round(minutes, 2), "shards_now": entry["shards"],
                        "shards_proposed": max(1, math.ceil(minutes / SHARD_MINUTES)),
                    }
                )  # fmt: skip
    found = pd.DataFrame(rows)
    write_tsv(table, found)
    log.info("\n%s", found.to_string(index=False))
    for screen, part in found.groupby("screen", sort=False):
        total, shards = part["minutes"].sum(), int(part["shards_proposed"].max())
        log.info(
            "screen %s: %.1f minutes of computing in one job at a time; put  shards: %d  into its entry "
            "(%d jobs of at most %.0f minutes)",
            screen, total, shards, shards * len(part), part["minutes"].max() / shards + 0.5,
        )  # fmt: skip
