"""From the rows of a screen's batches to its tables: q, agreement, consensus; one background set at a time."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from marginome.agreements import INSERT, agreement, consensus
from marginome.arrays import read_hdf5, write_hdf5
from marginome.columns import conform
from marginome.discoveries import add_q, findings_needed
from marginome.errors import MarginomeError
from marginome.storage import atomic, filled_columns, read_json, read_row_groups, table_writer, write_table
from marginome.tables import AGREEMENT, CONSENSUS, EFFECTS

log = logging.getLogger("marginome")

#: Optional columns that every table has, null where they do not apply, and those that come with another.
_ALWAYS = ("sample", "partner_id", "partner_orientation", "gap", "order", "sign_consistency", "family",
           "family_representative")  # fmt: skip
_WITH = {
    "n_controls": {"control_kind", "control_mean", "control_sd", "z", "p", "p_resolution"},
    "interaction": {"interaction_se"},
}


def summarize_screen(
    *,
    parts: Sequence[str | os.PathLike],
    part_backgrounds: Sequence[str | os.PathLike],
    part_profiles: Sequence[str | os.PathLike],
    failed: Sequence[str | os.PathLike],
    effects: str | os.PathLike,
    tsv: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    agreement_table: str | os.PathLike,
    consensus_table: str | os.PathLike,
) -> None:
    """Put the batches of a screen together and write every table of it.

    Parameters
    ----------
    parts, part_backgrounds, part_profiles, failed : sequence of path
        What `summarize_batch` wrote, batch by batch.
    effects, tsv : path
        The effect table as Parquet and as gzipped TSV; columns in `marginome.tables.EFFECTS`.
    backgrounds : path
        HDF5: the effect of every single background, ``<model>/<background>/effects``.
    profiles : path
        HDF5: mean profiles before and after, ``<model>/<background>/<output>/...``.
    agreement_table, consensus_table : path
        Parquet: how far background sets agree, pair by pair, and what they say together of each insert.

    Raises
    ------
    MarginomeError
        When a model failed. What the others gave is kept.
    """
    stop_on_failures({model: reason for file in failed for model, reason in read_json(file).items()})
    kept = []
    with _Writer(effects, tsv) as writer:
        filled = set().union(*(filled_columns(path) for path in parts))
        for rows in merged_rows((group for path in parts for group in read_row_groups(path)), filled):
            writer.write(rows)
            kept.append(rows[["model", "background", "output", *INSERT, "insert", "sample", "effect",
                              *(c for c in ("p", "q") if c in rows)]])  # fmt: skip
            _tell(rows)
    for target, sources in ((backgrounds, part_backgrounds), (profiles, part_profiles)):
        with write_hdf5(target) as handle:
            for source in sources:
                with read_hdf5(source) as part:
                    for model in part:
                        part.copy(model, handle)
                        handle.flush()
    everything = pd.concat(kept, ignore_index=True)
    write_table(agreement_table, conform(_agreement(everything), AGREEMENT, name=str(agreement_table)))
    write_table(consensus_table, conform(_consensus(everything), CONSENSUS, name=str(consensus_table)))


def stop_on_failures(reasons: Mapping[str, str]) -> None:
    """Stop when a model failed, with the reasons by model."""
    if reasons:
        named = ", ".join([*list(reasons)[:20], *(["..."] if len(reasons) > 20 else [])])
        several = f"{len(reasons)} models failed ({named}); the first: " if len(reasons) > 1 else ""
        raise MarginomeError(
            f"{several}{next(iter(reasons.values()))}",
            remedy="Mend its entry or leave it out: what the others gave is kept. To try it again as it is, delete the "
            "file that is named.",
        )


def merged_rows(groups: Iterable[pa.Table], filled: set[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of batches with their q, one model and background set after another.

    Parameters
    ----------
    groups : iterable of pyarrow.Table
        What `summarize_batch` wrote, a table for each model and background set.
    filled : set of str
        Columns in which any row of any batch has a value: an optional column is there for all or for none.
    """
    filled = filled | set(_ALWAYS)
    filled = filled.union(*(others for column, others in _WITH.items() if column in filled))
    chosen = [c for c in EFFECTS if c.required or c.name in filled]
    for group in groups:
        rows = group.to_pandas()
        for column in chosen:  # a null made floats of whole numbers
            if column.type == pa.int64() and column.name in rows and rows[column.name].dtype != np.int64:
                rows[column.name] = rows[column.name].astype("Int64")
        if "n_controls" in filled:
            rows = add_q(rows)
            _tell_reach(rows)
        yield rows[[c.name for c in EFFECTS if c.name in rows and (c in chosen or c.name == "q")]]


def _tell_reach(rows: pd.DataFrame) -> None:
    """Log what the number of controls allows, where that is less than to find an insert that stands alone.

    Of the output that needs most: a distance, tested on one side, needs half as many.
    """
    tested = rows[rows["p"].notna()]
    if tested.empty:
        return
    worst = tested.loc[tested["p_resolution"].idxmax()]
    one = tested[(tested["output"] == worst["output"]) & (tested["position"] == worst["position"])]
    tests, least = one["insert"].nunique(), findings_needed(one["insert"].nunique(), worst["p_resolution"])
    if least > 1:
        log.info("%s: %d controls reach to p %.2g, q <= 0.05 takes %d of %d inserts that do more than all of them",
                 worst["output"], worst["n_controls"], worst["p_resolution"], least, tests)  # fmt: skip


class _Writer:
    """Streams parts of the effect table to Parquet and to gzipped TSV (the same bytes for the same table)."""

    def __init__(self, parquet: str | os.PathLike, tsv: str | os.PathLike):
        self._parquet, self._stack, self._writer = parquet, ExitStack(), None
        with self._stack as stack:
            raw = stack.enter_context(open(stack.enter_context(atomic(tsv)), "wb"))
            self._tsv = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename=""))
            self._stack = stack.pop_all()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, rows: pd.DataFrame) -> None:
        arrow = conform(rows, EFFECTS, name="effects.parquet")
        if self._writer is None:
            self._columns = arrow.schema.names
            self._writer = self._stack.enter_context(table_writer(self._parquet, arrow.schema))
        self._writer.write_table(arrow)
        text = rows[self._columns].to_csv(sep="\t", index=False, na_rep="", header=self._tsv.tell() == 0)
        self._tsv.write(text.encode())


def _agreement(everything: pd.DataFrame) -> pd.DataFrame:
    """Every two background sets (and every two models that share an output), output by output."""
    of = [*INSERT, "insert", "sample"]
    found = [pd.DataFrame()]
    for across, other in (("background", "model"), ("model", "background")):
        for (name, output), part in everything.groupby([other, "output"], sort=False):
            if part[across].nunique() > 1:
                pairs = agreement(_filled(part), across, of=of)
                found.append(pairs.assign(**{"across": across, across: None, other: name, "output": output}))
    return pd.concat(found, ignore_index=True)


def _consensus(everything: pd.DataFrame) -> pd.DataFrame:
    """What all background sets of a model say of each insert."""
    of = [*INSERT, "insert", "sample"]
    parts = [
        consensus(_filled(part), "background", of=of).assign(model=model, output=output)
        for (model, output), part in everything.groupby(["model", "output"], sort=False)
    ]
    found = pd.concat(parts, ignore_index=True)
    found["sample"] = found["sample"].where(found["sample"] >= 0)
    return found[["model", "output", *[c for c in found if c not in ("model", "output")]]]


def _filled(part: pd.DataFrame) -> pd.DataFrame:
    """Sample numbers as plain integers, -1 for none: a missing key would be dropped when reshaping."""
    return part.assign(sample=part["sample"].astype("Int64").fillna(-1).astype(np.int64))


def _tell(rows: pd.DataFrame) -> None:
    for output, part in rows.groupby("output", sort=False):
        best = part.reindex(part["effect"].abs().sort_values(ascending=False).index).iloc[0]
        q = f", q {best['q']:.2g}" if "q" in best and pd.notna(best["q"]) else ""
        log.info("%s, %s, %s: %d rows; largest effect %s (%s) %s %.4g%s", best["model"], best["background"], output,
                 len(part), best["motif_name"], best["motif_id"], best["orientation"], best["effect"], q)  # fmt: skip
        break
