"""From the rows of a screen's batches to what goes across them: agreement, consensus, and where the rows are.

Rows are read one model and background set at a time. What is kept of all of them is the effects, as numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from marginome.agreements import INSERT, agreement, agreements, consensus
from marginome.batch_files import stop_on_failures
from marginome.columns import conform, schema_of
from marginome.errors import MarginomeError
from marginome.storage import filled_columns, read_json, read_row_groups, table_writer, write_table
from marginome.tables import AGREEMENT, CONSENSUS, MANIFEST

#: What tells the inserts of one model, background set and output from one another here.
_OF = (*INSERT, "insert", "sample")


def summarize_screen(
    *,
    batches: Mapping[str, str | os.PathLike],
    failed: Sequence[str | os.PathLike],
    manifest: str | os.PathLike,
    agreement_table: str | os.PathLike,
    consensus_table: str | os.PathLike,
) -> None:
    """Say where the rows of each model are, how far background sets and models agree, and what sets say together.

    Parameters
    ----------
    batches : mapping of str to path
        Tables of `summarize_batch`, by batch.
    failed : sequence of path
        What it wrote beside them.
    manifest : path
        Parquet (`marginome.tables.MANIFEST`): the file of each model, relative to the manifest's folder.
    agreement_table, consensus_table : path
        Parquet: how far background sets of a model, and models, agree, pair by pair, and what the sets of a model say
        together of each insert.

    Raises
    ------
    MarginomeError
        When a model failed. What the others gave is kept.
    """
    stop_on_failures({model: reason for file in failed for model, reason in read_json(file).items()})
    folder = Path(manifest).parent
    with_q = any("q" in filled_columns(path) for path in batches.values())
    columns = ["model", "background", "output", *_OF, "partner_id", "effect", *(["q"] if with_q else [])]
    stated = schema_of([c for c in CONSENSUS if c.name != "q_max" or with_q])
    listed, sets, effects = [], [pd.DataFrame()], _Effects()
    with table_writer(consensus_table, stated) as writer:
        for batch, path in batches.items():
            for model, rows in _models(path, columns):
                file = Path(os.path.relpath(path, folder)).as_posix()
                listed.append({"model": model, "batch": batch, "file": file, "rows": len(rows)})
                # Pairs of a motif with a palindrome in either orientation, or with two motifs of one consensus, are one
                # insert: their rows say the same.
                rows = rows[rows["partner_id"].isna() | ~rows.duplicated(["background", "output", *_OF])]
                effects.add(model, rows)
                sets.append(_sets_agree(model, rows))
                writer.write_table(conform(_consensus(model, rows), CONSENSUS, name=str(consensus_table)))
    with table_writer(agreement_table, schema_of(AGREEMENT)) as writer:
        for part in [pd.concat(sets, ignore_index=True), *effects.agreements()]:
            writer.write_table(conform(part, AGREEMENT, name=str(agreement_table)))
    write_table(manifest, conform(pd.DataFrame(listed), MANIFEST, name=str(manifest)))


def _models(path: str | os.PathLike, columns: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each model of a batch."""
    groups = ((group["model"][0].as_py(), group) for group in read_row_groups(path, columns) if len(group))
    for model, parts in groupby(groups, key=lambda named: named[0]):
        rows = pa.concat_tables([part for _, part in parts]).to_pandas()
        # a missing key would be dropped when reshaping: -1 for no sample
        yield model, rows.assign(sample=rows["sample"].astype("Int64").fillna(-1).astype(np.int64))


def _sets_agree(model: str, rows: pd.DataFrame) -> pd.DataFrame:
    """How far every two background sets of a model agree, output by output."""
    if rows["background"].nunique() < 2:
        return pd.DataFrame()
    found = [
        agreement(part, "background", of=_OF).assign(across="background", background=None, model=model, output=output)
        for output, part in rows.groupby("output", sort=False)
    ]
    return pd.concat(found, ignore_index=True)


def _consensus(model: str, rows: pd.DataFrame) -> pd.DataFrame:
    """What all background sets of a model say of each insert."""
    parts = [
        consensus(part, "background", of=_OF).assign(model=model, output=output)
        for output, part in rows.groupby("output", sort=False)
    ]
    found = pd.concat(parts, ignore_index=True)
    return found.assign(sample=found["sample"].where(found["sample"] >= 0))


class _Effects:
    """The effects of all models, by background set and output: a number for each insert, which many models share."""

    def __init__(self) -> None:
        self._inserts: dict[tuple, int] = {}
        self._last: tuple[pd.DataFrame, np.ndarray] = (pd.DataFrame(), np.array([]))
        self._found: dict[tuple[str, str], dict[str, tuple[np.ndarray, np.ndarray]]] = {}

    def add(self, model: str, rows: pd.DataFrame) -> None:
        for (background, output), part in rows.groupby(["background", "output"], sort=False):
            numbers = self._numbers(part[list(_OF)].reset_index(drop=True))
            self._found.setdefault((background, output), {})[model] = numbers, part["effect"].to_numpy(np.float64)

    def _numbers(self, inserts: pd.DataFrame) -> np.ndarray:
        if not inserts.equals(self._last[0]):
            names = inserts.itertuples(index=False, name=None)
            numbers = np.array([self._inserts.setdefault(name, len(self._inserts)) for name in names])
            if len(np.unique(numbers)) < len(numbers):
                raise MarginomeError("an insert is in a model's rows twice", where="agreement of models")
            self._last = inserts, numbers
        return self._last[1]

    def agreements(self) -> Iterator[pd.DataFrame]:
        """Yield how far every two models agree that share an output, background set by background set."""
        order = np.empty(len(self._inserts), dtype=np.int64)  # ties are told apart by the inserts' names
        order[[self._inserts[name] for name in sorted(self._inserts)]] = np.arange(len(self._inserts))
        for (background, output), models in self._found.items():
            names = sorted(models)
            values = np.full((len(order), len(names)), np.nan)
            for column, (numbers, effects) in enumerate(models[name] for name in names):
                values[order[numbers], column] = effects
            for part in agreements(pd.DataFrame(values, columns=names)):
                yield part.assign(across="model", model=None, background=background, output=output)
