"""The models of a screen with the labels that sheets give them."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pandas as pd

from marginome.columns import conform
from marginome.storage import write_table
from marginome.tables import MODELS


def label_models(labels: Mapping[str, Mapping[str, str]], *, table: str | os.PathLike) -> None:
    """Write a table of models and their labels.

    Parameters
    ----------
    labels : mapping of str to mapping of str to str
        By model, in order: its labels by column.
    table : path
        Parquet to write: ``model``, then a column for each label, null where a model has none.
    """
    columns = list(dict.fromkeys(column for given in labels.values() for column in given))
    rows = {"model": list(labels), **{c: [given.get(c) for given in labels.values()] for c in columns}}
    write_table(table, conform(pd.DataFrame(rows, dtype="str"), MODELS, extra=True, name=str(table)))
