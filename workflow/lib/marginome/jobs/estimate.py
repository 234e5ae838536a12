"""How long a screen will take, how much disk it fills, and how many shards to put into the config."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from marginome.fasta import read_background
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
        ``models``, ``backgrounds``, ``shards``, ``outputs`` (names or None) and ``keep`` of each screen.
    inserts, backgrounds, checks : mapping of name to path
        The list of inserts of each screen, FASTA of each background set, check of each model.
    table : path
        TSV to write: a row per screen, model and background set.

    Notes
    -----
    Pairs (inserts and controls times backgrounds) over pairs per second of this kind of device, as measured on random
    backgrounds with the block that the run uses. Writing and start-up are not counted. Disk is what shards and merged
    files hold before compression (`disk_mb`), without what ``functions`` write.
    """
    rows = []
    for screen, entry in screens.items():
        roles = read_table(inserts[screen], columns=["role"])["role"]
        n, n_motifs = len(roles), int((roles == "motif").sum())
        for model in entry["models"]:
            check = read_json(checks[model])
            rates = check["pairs_per_second"]
            rate = rates.get(str(check["block"])) or max(rates.values(), default=0.0) or check["sequences_per_second"]
            for background in entry["backgrounds"]:
                n_backgrounds = len(read_background(backgrounds[background])[0])
                pairs = n * n_backgrounds
                minutes = pairs / rate / 60
                wanted = [o for o in check["outputs"] if not entry["outputs"] or o["name"] in entry["outputs"]]
                disk = disk_mb(wanted, n, n_motifs, n_backgrounds, entry["keep"])
                rows.append(
                    {
                        "screen": screen, "model": model, "background": background, "pairs": pairs,
                        "pairs_per_second": round(rate, 1), "minutes": round(minutes, 2), "shards_now": entry["shards"],
                        "shards_proposed": max(1, math.ceil(minutes / SHARD_MINUTES)), "disk_mb": round(disk, 1),
                    }
                )  # fmt: skip
    found = pd.DataFrame(rows)
    write_tsv(table, found)
    log.info("\n%s", found.to_string(index=False))
    for screen, part in found.groupby("screen", sort=False):
        total, shards = part["minutes"].sum(), int(part["shards_proposed"].max())
        log.info(
            "screen %s: %.1f minutes of computing in one job at a time; put  shards: %d  into its entry "
            "(%d jobs of at most %.0f minutes); at most %.0f MB on disk",
            screen, total, shards, shards * len(part), part["minutes"].max() / shards + 0.5, part["disk_mb"].sum(),
        )  # fmt: skip


def disk_mb(
    outputs: Sequence[Mapping[str, Any]], n: int, n_motifs: int, n_backgrounds: int, keep: Mapping[str, Any]
) -> float:
    """Return the megabytes that one model's results in one background set take before compression.

    Parameters
    ----------
    outputs : sequence of mapping
        ``kind``, ``shape`` and ``names`` of each output, as in check.json.
    n, n_motifs, n_backgrounds : int
        Inserts and controls; inserts; backgrounds.
    keep : mapping
        ``backgrounds_mb``, ``profiles`` and ``predictions`` of the screen's entry.

    Returns
    -------
    float
        Effects of single backgrounds and mean profiles count twice: in the shards and in the merged files.
    """
    scalars = sum(len(o["names"]) if o["kind"] == "scalar" else 1 for o in outputs)
    single = n * n_backgrounds * scalars * 4
    size = 2 * single if single <= keep["backgrounds_mb"] << 20 else 0
    values = {o["name"]: math.prod(o["shape"]) for o in outputs}
    if keep["profiles"]:  # logits and probabilities
        size += 2 * n_motifs * sum(values[o["name"]] for o in outputs if o["kind"] == "profile") * 2 * 4
    if keep["predictions"]:
        size += n * n_backgrounds * sum(values.values()) * 4
    return size / 1e6
