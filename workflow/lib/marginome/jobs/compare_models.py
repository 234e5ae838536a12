"""What the models of a screen have in common by their labels, and how specific each family of motifs is."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import pandas as pd

from marginome.columns import conform
from marginome.model_matrices import family_matrix, label_consensus, read_matrices, specificity
from marginome.model_tables import LABEL_CONSENSUS, TAU
from marginome.storage import read_table, write_table

log = logging.getLogger("marginome")


def compare_models(
    *,
    models: str | os.PathLike,
    consensus: str | os.PathLike,
    families: Sequence[str | os.PathLike],
    labels: str | os.PathLike,
    tau: str | os.PathLike,
) -> None:
    """Write what the models of each label say together, and how specific families are to models and labels.

    Parameters
    ----------
    models : path
        Parquet: ``model``, and a column for each label of a sheet; null where a model has none.
    consensus : path
        What the background sets of each model say together (`marginome.tables.CONSENSUS`).
    families : sequence of path
        Families of the motifs of each insert list.
    labels, tau : path
        Parquet to write: `LABEL_CONSENSUS` and `TAU`. A label with a value of its own for each model has no rows: it
        would say what the model says. One with a single value says what all its models say, and has no tau.
    """
    told = read_table(models)
    named = told.set_index("model")
    grouped = pd.concat([read_table(path) for path in families], ignore_index=True)
    kinds = [c for c in named if named[c].nunique() < named[c].count()]
    together, specific = [pd.DataFrame()], []
    for inserts in read_matrices([consensus], models=told["model"]):
        specific.append(specificity(family_matrix(inserts, grouped).matrix).assign(across="model"))
        for label in kinds:
            table, means = label_consensus(inserts, named[label].dropna().to_dict())
            together.append(table.assign(label=label))
            if len(means.models) > 1:
                specific.append(specificity(family_matrix(means, grouped).matrix).assign(across=label))
        log.info("%s: %d inserts, %d models, labels %s", inserts.output, len(inserts.rows), len(inserts.models),
                 ", ".join(kinds) or "none")  # fmt: skip
    write_table(labels, conform(pd.concat(together, ignore_index=True), LABEL_CONSENSUS, name=str(labels)))
    write_table(tau, conform(pd.concat(specific, ignore_index=True), TAU, name=str(tau)))
