"""The page of a screen of many models."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import pandas as pd

from marginome.model_matrices import family_matrix, read_matrices
from marginome.provenance import narrowed
from marginome.report.atlas import write_atlas
from marginome.report.parts import Link
from marginome.storage import read_json, read_row_groups, read_table

log = logging.getLogger("marginome")


def report_atlas(
    screen: str,
    *,
    models: str | os.PathLike,
    consensus: str | os.PathLike,
    families: Sequence[str | os.PathLike],
    effects: Sequence[str | os.PathLike],
    provenance: str | os.PathLike,
    pages: Mapping[str, str],
    links: Mapping[str, str],
    page: str | os.PathLike,
) -> None:
    """Write the atlas of a screen of many models: families of motifs by models.

    Parameters
    ----------
    screen : str
        Its name.
    models : path
        Parquet: ``model``, and a column for each label.
    consensus : path
        What the background sets of each model say together (`marginome.tables.CONSENSUS`).
    families : sequence of path
        Families of the motifs of each insert list.
    effects : sequence of path
        The effect table, a file for each batch of models: units of outputs are read from it.
    provenance : path
        The screen's record.
    pages : mapping of str to str
        The page of each model, relative to this one.
    links : mapping of str to str
        Files beside the page, by what they are called.
    page : path
        HTML to write.
    """
    told = read_table(models)
    grouped = pd.concat([read_table(path) for path in families], ignore_index=True)
    units: dict[str, str] = {}
    for path in effects:
        for group in read_row_groups(path, columns=["output", "unit"]):
            some = group.to_pandas().drop_duplicates("output").dropna()
            units = {**dict(zip(some["output"], some["unit"])), **units}
            break  # the models of a batch mostly have the same outputs: a unit is for reading, not for computing
    inserts = read_matrices([consensus], models=told["model"])
    record = read_json(provenance)
    packed = write_atlas(
        page,
        families=[family_matrix(one, grouped) for one in inserts],
        inserts=inserts,
        names=dict(zip(zip(grouped["collection"], grouped["motif_id"]), grouped["motif_name"])),
        models=told,
        members={key: part.tolist() for key, part in grouped.groupby(["collection", "family"])["motif_id"]},
        pages=pages,
        units=units,
        provenance=narrowed(record, ()),  # what is of models is linked to
        commands=[record["command"]],
        links=[Link(text, file) for text, file in links.items()],
        title=f"Screen {screen}",
        name=screen,
        overview="../../index.html",
    )
    log.info("%s: %.1f MB, %d families, %d models, %d outputs", page, packed.bytes / 1e6, packed.families,
             packed.models, packed.outputs)  # fmt: skip
