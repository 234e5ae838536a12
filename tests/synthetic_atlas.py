"""An atlas made up for tests: real JASPAR names, effects drawn at random. Nothing here is a result."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.model_matrices import FamilyMatrix, ModelMatrix, family_matrix
from synthetic_screen import jaspar

TISSUES = ("liver", "heart", "brain", "kidney", "T cell", "B cell", "lung", "skin", "muscle", "retina")
ASSAYS = ("ATAC", "DNase", "ChIP")


class Atlas(NamedTuple):
    """What `marginome.report.atlas.write_atlas` takes."""

    families: list[FamilyMatrix]
    inserts: list[ModelMatrix]
    names: dict
    models: pd.DataFrame
    members: dict
    pages: dict
    units: dict


def synthetic_atlas(
    n_models: int = 30, n_motifs: int = 60, outputs: tuple[str, ...] = ("counts",), *, controls: bool = True,
    hostile: bool = False, seed: int = 0,
) -> Atlas:  # fmt: skip
    """Draw models of ten tissues; a few families are of one tissue, a few of all."""
    draw = np.random.default_rng(seed)
    motifs = jaspar(n_motifs)
    models = pd.DataFrame({"model": [f"model_{i:04d}" for i in range(n_models)]})
    tissue = draw.integers(0, len(TISSUES), n_models)
    models["tissue"] = np.array(TISSUES, dtype=object)[tissue]
    models["assay"] = np.array(ASSAYS, dtype=object)[draw.integers(0, len(ASSAYS), n_models)]
    models.loc[models.index[-1], "assay"] = None
    if hostile:
        motifs.loc[:1, "motif_name"] = ["<script>window.owned=1</script>", '"><img src=x onerror="window.owned=1">']
        models.loc[:1, "model"] = ["</script><b>", "a b&c"]
        models.loc[0, "tissue"] = "<img src=x onerror=window.owned=1>"
    ids = np.repeat(motifs["motif_id"].to_numpy(), 2)
    rows = pd.DataFrame({"collection": "jaspar", "motif_id": ids, "orientation": ["+", "-"] * n_motifs, "start": 50,
                         "insert": "ACGT", "sample": None})  # fmt: skip
    family = np.arange(n_motifs) // 3
    grouped = pd.DataFrame({"collection": "jaspar", "motif_id": motifs["motif_id"], "family": family,
                            "family_representative": motifs["motif_id"].to_numpy()[family * 3]})  # fmt: skip
    n_families = int(family.max()) + 1
    of_all = np.where(draw.random(n_families) < 0.08, draw.normal(0, 1, n_families), 0)
    of_tissue = np.where(draw.random((n_families, len(TISSUES))) < 0.04, draw.normal(0.8, 0.5, (n_families, 10)), 0)
    strength = np.repeat((of_all[:, None] + of_tissue)[family][:, tissue], 2, axis=0)
    inserts = []
    for output in outputs:
        effect = strength * draw.lognormal(0, 0.2, n_models) + draw.normal(0, 0.03, strength.shape)
        q = np.clip(np.exp(-0.5 * np.minimum((effect / 0.05) ** 2, 1200)) * 20, 0, 1)
        inserts.append(
            ModelMatrix(output, rows, tuple(models["model"]), effect, q if controls else np.full_like(q, np.nan))
        )
    return Atlas(
        [family_matrix(one, grouped) for one in inserts],
        inserts,
        {("jaspar", i): name for i, name in zip(motifs["motif_id"], motifs["motif_name"])},
        models,
        {("jaspar", int(f)): list(part) for f, part in grouped.groupby("family")["motif_id"]},
        {model: f"pages/batch/{i + 1}-of-{n_models}.html" for i, model in enumerate(models["model"])},
        dict.fromkeys(outputs, "log counts"),
    )
