"""How long a screen will take, how much disk it fills, and how many shards to put into the config."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from marginome.batch_files import read_checks, read_record
from marginome.columns import write_tsv
from marginome.fasta import read_background
from marginome.interactions import motifs_alone
from marginome.storage import read_table
from marginome.units import of_list

log = logging.getLogger("marginome")

# A shard of half an hour loses little when it is killed, and its start-up is a small part of it.
SHARD_MINUTES = 30.0
# More backgrounds do not make more calls of pairs (docs/grammar.md), and of so few gaps none is left out.
ENOUGH_BACKGROUNDS, LEAST_GAPS = 16, 8
_COLUMNS = ["role", "motif_id", "orientation", "offset", "insert", "sample", "partner_id", "partner_orientation", "gap",
            "order"]  # fmt: skip


def estimate(
    screens: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    inserts: Mapping[str, Mapping[str, str]],
    backgrounds: Mapping[str, str],
    checks: Mapping[str, str],
    table: str | os.PathLike,
) -> None:
    """Estimate the time of every screen from what `check_model` measured, and propose a number of shards.

    Parameters
    ----------
    screens : mapping of name to mapping
        ``models``, ``backgrounds``, ``shards``, ``outputs`` (names or None) and ``keep`` of each screen.
    inserts : mapping of name to mapping of name to path
        The insert lists of each screen.
    backgrounds, checks : mapping of name to path
        FASTA of each background set, check of each model.
    table : path
        TSV to write: a row per screen, model, background set and insert list.

    Notes
    -----
    Pairs (inserts and controls times backgrounds) over pairs per second of this kind of device, as measured on random
    backgrounds with the block that the run uses: of inserts of 12 bp, and of two parts 200 bp apart, with a straight
    line in the width between and beyond. ``of_nulls`` of them are of controls and mismatched pairs. Writing and
    start-up are not counted. Disk is what shards and merged files hold before compression (`disk_mb`), without what
    ``functions`` write. The models of a batch are computed by one job, so that its time is that of all of them. Of
    lists of pairs of motifs the log says what they are made of, and names a smaller design.
    """
    rows: list[dict] = []
    designs: dict[str, list[Design]] = {}
    found = read_checks(checks)[1]
    sizes = {background: len(read_background(path)[0]) for background, path in backgrounds.items()}
    for screen, entry in screens.items():
        lists = {name: read_table(path, columns=_COLUMNS) for name, path in inserts[screen].items()}
        batches = Counter(str(checks[model]) for model in entry["models"])
        for model in entry["models"]:
            check = found.get(model) or read_record(checks[model], model)  # says what a model failed with
            rates = check["pairs_per_second"]
            rate = rates.get(str(check["block"])) or max(rates.values(), default=0.0) or check["sequences_per_second"]
            dearer = cost_of_width(check)
            together = batches[str(checks[model])]
            wanted = [o for o in check["outputs"] if not entry["outputs"] or o["name"] in entry["outputs"]]
            for background, (name, listed) in itertools.product(entry["backgrounds"], lists.items()):
                n, n_motifs = len(listed), int((listed["role"] == "motif").sum())
                pairs = n * sizes[background]
                list_rate = rate / dearer(listed["insert"].str.len().to_numpy()).mean()
                minutes = pairs / list_rate / 60
                disk = disk_mb(wanted, n, n_motifs, sizes[background], entry["keep"])
                rows.append(
                    {
                        "screen": screen, "model": model, "background": background, "inserts": name, "pairs": pairs,
                        "of_nulls": (n - n_motifs) * sizes[background],
                        "pairs_per_second": round(list_rate, 1), "minutes": round(minutes, 2),
                        "models_of_a_job": together,
                        "shards_now": of_list(entry["shards"], name) or 1,
                        "shards_proposed": max(1, math.ceil(minutes * together / SHARD_MINUTES)),
                        "disk_mb": round(disk, 1),
                    }
                )  # fmt: skip
        designs[screen] = [pair_design(name, listed) for name, listed in lists.items() if listed["partner_id"].any()]
    made = pd.DataFrame(rows)
    write_tsv(table, made)
    log.info("\n%s", made.to_string(index=False))
    for screen, part in made.groupby("screen", sort=False):
        proposed = part.groupby("inserts", sort=False)["shards_proposed"].max()
        jobs = math.ceil((part["inserts"].map(proposed) / part["models_of_a_job"]).sum())
        longest = (part["minutes"] * part["models_of_a_job"] / part["inserts"].map(proposed)).max()
        most = int(part["models_of_a_job"].max())
        several = f"; a job computes up to {most} models of a sheet (batch)" if most > 1 else ""
        listed = f"{{{', '.join(f'{name}: {n}' for name, n in proposed.items())}}}"
        shards = listed if proposed.nunique() > 1 else proposed.iloc[0]
        log.info(
            "screen %s: %.1f minutes of computing in one job at a time; put  shards: %s  into its entry "
            "(%d jobs of at most %.0f minutes%s); at most %.0f MB on disk",
            screen, part["minutes"].sum(), shards, jobs, longest + 0.5, several, part["disk_mb"].sum(),
        )  # fmt: skip
        for design in designs[screen]:
            mine = part[part["inserts"] == design.name]
            most = max(sizes[background] for background in mine["background"])
            log.info("screen %s, list %s: %s", screen, design.name, design.said)
            smaller = [f"{ENOUGH_BACKGROUNDS} backgrounds"] if most > ENOUGH_BACKGROUNDS else []
            smaller += ["every second gap"] if design.thinned < 1 else []
            if smaller:
                share = mine["background"].map(lambda name: min(1, ENOUGH_BACKGROUNDS / sizes[name])) * design.thinned
                log.info("screen %s, list %s: a smaller design, %s: about %.3g predictions and %.1f minutes (now %.3g "
                         "and %.1f)", screen, design.name, " and ".join(smaller), (mine["pairs"] * share).sum(),
                         (mine["minutes"] * share).sum(), mine["pairs"].sum(), mine["minutes"].sum())  # fmt: skip


class Design(NamedTuple):
    """What a list of pairs is made of, in words, and the share of it that is left with every second gap."""

    name: str
    said: str
    thinned: float


def pair_design(name: str, listed: pd.DataFrame) -> Design:
    """Count what a list of pairs is made of.

    Parameters
    ----------
    name : str
        Of the list.
    listed : pandas.DataFrame
        The list.

    Returns
    -------
    Design
        With few gaps (8 or less) none is left out; with a gap go the motifs alone that only its arrangements need.
    """
    pair, real = listed["partner_id"].notna().to_numpy(), (listed["role"] == "motif").to_numpy()
    two = listed[["motif_id", "partner_id"]]
    pairs, mismatched = (len(two[pair & own].drop_duplicates()) for own in (real, ~real))
    said = (
        f"{(pair & real).sum():,} arrangements of {pairs:,} pairs, {(~pair & real).sum():,} of motifs alone; for the "
        f"null {(pair & ~real).sum():,} arrangements of {mismatched:,} mismatched pairs, {(~pair & ~real).sum():,} of "
        "their controls alone"
    )
    gaps = sorted(listed.loc[pair, "gap"].unique())
    if len(gaps) <= LEAST_GAPS:
        return Design(name, said, 1.0)
    kept = np.flatnonzero(pair & listed["gap"].isin(gaps[::2]).to_numpy())
    alone = motifs_alone(listed.rename(columns={"offset": "start"}))[kept]
    return Design(name, said, len(np.union1d(kept, alone)) / len(listed))


def cost_of_width(check: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of inserts' widths (bp): what one costs, relative to the insert that a model's rate is of.

    1 for all where the check has no such measurement: the whole model runs, or sequences are short.
    """
    apart = check.get("apart")
    if apart is None:
        return lambda width: np.ones(len(width))
    narrow, wide = apart["bp"]
    return lambda width: 1 + (apart["times"] - 1) / (wide - narrow) * np.maximum(0, width - narrow)


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
