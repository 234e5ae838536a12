"""Which pairs of a screen cooperate, and where: from the shards, with the mismatched pairs of the insert lists."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from marginome.columns import conform
from marginome.cooperation import NOTHING, pair_rows, score_pairs
from marginome.discoveries import add_q
from marginome.errors import MarginomeError
from marginome.gaps import MIN_MISMATCHED, far_apart
from marginome.interactions import motifs_alone
from marginome.jobs.screen_parts import screen_parts
from marginome.jobs.summarize_batch import Part, kept_effects
from marginome.motifs.motif import Motif
from marginome.pair_tables import ARRANGEMENTS, PAIR_BACKGROUNDS, PAIRS
from marginome.seams import seam_sites
from marginome.storage import write_table

log = logging.getLogger("marginome")

_PLACE = ("orientation", "partner_orientation", "order", "gap")


def score_screen_pairs(
    screen: Mapping[str, Any],
    *,
    models: Sequence[str],
    inserts: Sequence[str | os.PathLike],
    families: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    baselines: Sequence[str | os.PathLike],
    shards: Sequence[str | os.PathLike],
    pairs: str | os.PathLike,
    arrangements: str | os.PathLike,
    backgrounds: str | os.PathLike,
) -> None:
    """Judge the pairs of every model of a batch, background set and signed output by their mismatched pairs.

    Parameters
    ----------
    screen, inserts, families, motifs, baselines, shards
        See `marginome.jobs.screen_parts.screen_parts`.
    models : sequence of str
        Of the batch.
    pairs, arrangements, backgrounds : path
        Parquet tables to write, see `marginome.pair_tables`. The last has no rows where the screen's ``keep`` left the
        effects of single backgrounds out.
    """
    made: list[_Found] = []
    for one in screen_parts(
        screen, seams_of, batches=[models], inserts=inserts, families=families, motifs=motifs, baselines=baselines,
        shards=shards,
    ):  # fmt: skip
        where = {"model": one.model, "background": one.background}
        made += [
            _Found(*(table.assign(**where) for table in found))
            for found in _of_list(one.table, one.part, one.described, one.model)
        ]
    found, placed, singles = (_together([getattr(part, name) for part in made]) for name in _Found._fields)
    found = with_q(found)
    write_table(pairs, conform(found, PAIRS, name=str(pairs)))
    write_table(arrangements, conform(placed, ARRANGEMENTS, name=str(arrangements)))
    write_table(backgrounds, conform(singles, PAIR_BACKGROUNDS, name=str(backgrounds)))
    _tell(found)


def with_q(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return judged pairs with a q for each question, over those of one model, output, background set and place."""
    found = pairs.copy()
    for question in ("cooperation", "syntax") if "cooperation_p" in pairs else ():
        tested = pairs.rename(columns={f"{question}_p": "p"})
        test_set = ("model", "output", "background", "collection", "position")
        found[f"{question}_q"] = add_q(tested, test_set, test=None)["q"]
    return found


class _Found(NamedTuple):
    """What is said of some pairs that are judged together, by table."""

    pairs: pd.DataFrame
    arrangements: pd.DataFrame
    backgrounds: pd.DataFrame


def _together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def seams_of(table: pd.DataFrame, motifs: Sequence[Motif]) -> np.ndarray:
    """Return the motif with a site across the junction of each row of an insert list, None where there is none."""
    found = np.full(len(table), None, dtype=object)
    paired = np.flatnonzero(table["partner_id"].notna())
    some = table.iloc[paired]
    width = table[table["partner_id"].isna()].groupby("motif_id")["insert"].first().str.len()
    first, second = (some[name].map(width).to_numpy() for name in ("motif_id", "partner_id"))
    on_left = np.where(some["order"] == "swapped", second, first)
    gap = some["gap"].to_numpy(dtype=np.int64)
    inserts = some["insert"].tolist()
    left = [sequence[:w] for sequence, w in zip(inserts, on_left)]
    right = [sequence[w + g :] for sequence, w, g in zip(inserts, on_left, gap)]
    found[paired] = seam_sites(left, gap, right, motifs)
    return found


def _of_list(table: pd.DataFrame, part: Part, seam: np.ndarray, model: str) -> list[_Found]:
    """What is said of the pairs of one list, of every signed output of one model and background set."""
    found = []
    names = table[table["partner_id"].isna()].drop_duplicates("motif_id").set_index("motif_id")["motif_name"]
    alone = motifs_alone(table)
    by_member = repeat(None) if part.fold_sd is None else kept_effects(part, model, "effect_by_member")
    by_background = kept_effects(part, model) if part.kept else repeat(None)
    for j, (output, members, singles) in enumerate(zip(part.readouts["output"], by_member, by_background)):
        if not part.readouts["signed"][j]:
            continue  # of distances, two effects do not add up to a third
        made = pair_rows(table.assign(effect=part.effect[:, j]), np.array([s is not None for s in seam]))
        source = table.loc[made.index]
        made["position"] = source["position"].to_numpy()
        made = made.sort_values(["position", "first", "second", "arrangement", "gap"])
        source = source.loc[made.index]
        place = source[["collection", "motif_id", "partner_id", "position", *_PLACE, "start"]].assign(
            output=output,
            unit=part.readouts["unit"][j],
            motif_name=source["motif_id"].map(names),
            partner_name=source["partner_id"].map(names),
            effect_pair=part.effect[made.index, j],
            effect=made["effect_first"],
            effect_partner=made["effect_second"],
            interaction=made["interaction"],
            seam=seam[made.index],
        )
        if members is not None:
            members = members.astype(np.float64)
            beyond = members[made.index] - members[alone[made.index]].sum(axis=1)
            place["interaction_fold_sd"] = beyond.std(axis=1, ddof=1)
        if not made["kept"].isna().any():
            raise MarginomeError("there are no pairs", where="pairs")
        for chosen in _designs(made):
            judged, arranged, best = _judged(made.loc[chosen], place.loc[chosen], names=f"{output}")
            found.append(_Found(judged, arranged, _in_backgrounds(judged, best, alone, singles)))
    return found


def _in_backgrounds(
    pairs: pd.DataFrame, best: np.ndarray, alone: np.ndarray, singles: np.ndarray | None
) -> pd.DataFrame:
    """Effects in every background, of pairs that have a best arrangement: together there, and each motif alone."""
    chosen = np.flatnonzero(best >= 0)
    if singles is None or not len(chosen):
        return pd.DataFrame()
    head = pairs[["collection", "motif_id", "partner_id", "motif_name", "partner_name", "output", "unit", "position"]]
    n = singles.shape[1]
    rows = best[chosen]
    return head.iloc[np.repeat(chosen, n)].assign(
        sequence=np.tile(np.arange(n), len(chosen)),
        effect_pair=singles[rows].ravel(),
        effect=singles[alone[rows, 0]].ravel(),
        effect_partner=singles[alone[rows, 1]].ravel(),
    )


def _designs(made: pd.DataFrame) -> list[pd.Index]:
    """Rows of the pairs that have the same arrangements at the same position: they are judged together."""
    key = made["arrangement"] + " " + made["gap"].astype(str)
    pair = pd.Series(list(zip(made["position"], made["pair"])), index=made.index)
    design = key.groupby(pair).agg(lambda keys: " ".join(sorted(keys)))
    group = pd.Series(list(zip(made["position"], pair.map(design))), index=made.index)
    return [members for _, members in group.groupby(group, sort=False).groups.items()]


def _judged(made: pd.DataFrame, place: pd.DataFrame, *, names: str) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """The pairs of one design and their arrangements, with what the mismatched pairs say of them if there are any.

    Beside them, of each pair the row of its best arrangement, -1 where it has none.
    """
    real = made["kept"].isna()
    mine = made[real]
    head = place[real].drop_duplicates(["motif_id", "partner_id"])
    head = head[["collection", "motif_id", "partner_id", "motif_name", "partner_name", "output", "unit"]]
    means = mine.groupby("pair", sort=False)[["effect_first", "effect_second"]].mean()
    head = head.assign(
        position=made["position"].iat[0],
        effect=means["effect_first"].to_numpy(),
        effect_partner=means["effect_second"].to_numpy(),
        n_arrangements=0,
    )
    enough = made.loc[~real & (made["kept"] != NOTHING), "pair"].nunique() >= MIN_MISMATCHED
    if not enough or made["gap"].nunique() < 2:
        return head, place[real], np.full(len(head), -1)
    if mine.loc[mine["gap"] >= far_apart(mine["gap"]), "seam"].all():
        log.warning("%s: %d pairs are not judged: all their arrangements far apart have a seam", names, len(head))
        return head, place[real], np.full(len(head), -1)
    scores = score_pairs(made)
    arranged = place.join(scores.arrangements)[real]
    table = scores.pairs.reindex(list(zip(head["motif_id"], head["partner_id"])))
    for prefix, column in (("syntax_", "syntax_best"), ("", "best")):
        rows = np.array([-1 if row is None or pd.isna(row) else row for row in table[column]])
        for name in _PLACE:
            head[f"{prefix}{name}"] = place.reindex(rows)[name].to_numpy()
    best = arranged.reindex(rows)
    head["interaction"], head["expected"] = best["interaction"].to_numpy(), best["expected"].to_numpy()
    table = table.drop(columns=["best", "syntax_best"]).rename(columns={"far": "far_bp"})
    for name in table.columns:
        head[name] = table[name].to_numpy()
    log.info("%s: %d pairs beside %d mismatched ones, expected interaction of %d terms", names, len(head),
             table["n_mismatched"].iat[0], scores.terms)  # fmt: skip
    return head, arranged, rows


def _tell(found: pd.DataFrame) -> None:
    if "cooperation_q" not in found:
        log.info("no mismatched pairs: interactions are not judged")
        return
    for (model, background, output), part in found.groupby(["model", "background", "output"], sort=False):
        least = part.loc[part["cooperation_p"].fillna(1).idxmin()]
        log.info("%s, %s, %s: %d of %d pairs cooperate, %d care for the arrangement (q <= 0.05); first %s with %s, "
                 "gap %s, %.3g where %.3g is expected", model, background, output,
                 (part["cooperation_q"] <= 0.05).sum(), len(part), (part["syntax_q"] <= 0.05).sum(),
                 least["motif_name"], least["partner_name"], least["gap"], least["interaction"],
                 least["expected"])  # fmt: skip
