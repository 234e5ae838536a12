"""The clustered heatmap of a screen of many models, for papers and for Snakemake's own report."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd

from marginome.figures.clustermap import clustermap_figure
from marginome.model_matrices import family_matrix, read_matrices
from marginome.plots import save_figure
from marginome.storage import read_table


def plot_atlas(
    *,
    models: str | os.PathLike,
    consensus: str | os.PathLike,
    families: Sequence[str | os.PathLike],
    top: int,
    files: Sequence[str | os.PathLike],
) -> None:
    """Draw families of motifs by models, of the first output.

    Parameters
    ----------
    models : path
        Parquet: ``model``, and a column for each label.
    consensus : path
        What the background sets of each model say together (`marginome.tables.CONSENSUS`).
    families : sequence of path
        Families of the motifs of each insert list.
    top : int
        Families shown.
    files : sequence of path
        To write: SVG or PDF, as their names end.
    """
    told = read_table(models)
    grouped = pd.concat([read_table(path) for path in families], ignore_index=True)
    first = family_matrix(read_matrices([consensus], models=told["model"])[0], grouped).matrix
    names = dict(zip(zip(grouped["collection"], grouped["motif_id"]), grouped["motif_name"]))
    labels = [
        names[key] for key in first.rows[["collection", "family_representative"]].itertuples(index=False, name=None)
    ]
    sides = told.set_index("model").loc[list(first.models)]
    figure = clustermap_figure(first, names=labels, labels=sides, top=top)
    for file in files:
        save_figure(figure, file)
