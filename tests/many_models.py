"""Effect tables of batches of models, made up, for tests of what reads them. Nothing here is a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from marginome.jobs.summarize_batch import BATCH_SCHEMA, conform_batch
from marginome.storage import table_writer, write_json

OUTPUTS, BACKGROUNDS = ("counts", "profile"), ("gc_matched", "shuffled")


def write_batches(
    folder: Path, batches: Mapping[str, Sequence[str]], inserts: int, *, seed: int = 0, lengths: Sequence[int] = (2114,)
) -> dict[str, Path]:
    """Write ``effects/<batch>.parquet`` and ``batches/<batch>/failed.json`` of each batch; return the tables.

    Models take the lengths in turn, and have the same inserts at places of their own where these differ.
    """
    draw = np.random.default_rng(seed)
    paths, number = {}, 0
    for batch, models in batches.items():
        write_json(folder / "batches" / batch / "failed.json", {})
        paths[batch] = folder / "effects" / f"{batch}.parquet"
        with table_writer(paths[batch], BATCH_SCHEMA) as writer:
            for model in models:
                start = lengths[number % len(lengths)] // 2 - 5
                number += 1
                for background in BACKGROUNDS:
                    rows = conform_batch(_rows(model, background, inserts, start, draw))
                    writer.write_table(rows, row_group_size=len(rows))
    return paths


def _rows(model: str, background: str, inserts: int, start: int, draw: np.random.Generator) -> pd.DataFrame:
    n, k = inserts, len(OUTPUTS)
    letters = np.array(list("ACGT"))
    texts = ["".join(letters[[(i >> 2 * j) & 3 for j in range(10)]]) for i in range(n)]
    effect = draw.normal(0, 0.1, n * k).round(3)  # ties
    p = draw.uniform(0, 1, n * k)
    return pd.DataFrame({
        "model": model, "background": background, "collection": "jaspar",
        "motif_id": np.repeat([f"MA{i // 2:04d}.1" for i in range(n)], k),
        "motif_name": np.repeat([f"TF{i // 2}" for i in range(n)], k),
        "orientation": np.repeat(["+-"[i % 2] for i in range(n)], k), "start": start, "position": 0,
        "insert": np.repeat(texts, k), "sample": pd.array([pd.NA] * (n * k), dtype="Int64"),
        "output": list(OUTPUTS) * n, "measure": "difference", "unit": "log counts", "n_backgrounds": 100,
        "before_mean": 1.0, "after_mean": 1.0 + effect, "effect": effect, "effect_sd": 0.1, "effect_se": 0.01,
        "ci_low": effect - 0.02, "ci_high": effect + 0.02, "sign_consistency": 0.9, "n_controls": 1000,
        "control_kind": "pool",
        "control_mean": 0.0, "control_sd": 0.1, "z": effect / 0.1, "p": p, "p_resolution": 1e-3,
        "q": np.minimum(1, p * 2), "family": np.repeat(np.arange(n) // 6, k),
        "family_representative": np.repeat([f"MA{i // 6 * 3:04d}.1" for i in range(n)], k),
        "engine": "incremental", "precision": "float32",
    })  # fmt: skip


def read_all(paths: Mapping[str, Path]) -> pd.DataFrame:
    """All rows, by pyarrow."""
    return pa.concat_tables([pa.parquet.read_table(path) for path in paths.values()]).to_pandas()
