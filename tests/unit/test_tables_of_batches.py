"""A screen of a sheet: a table for each batch, a manifest that any reader follows, what goes across models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
from scipy import stats

from many_models import BACKGROUNDS, OUTPUTS, read_all, write_batches
from marginome.agreements import consensus
from marginome.errors import MarginomeError
from marginome.jobs.label_models import label_models
from marginome.jobs.summarize_batch import BATCH_SCHEMA, conform_batch
from marginome.jobs.summarize_screen import summarize_screen
from marginome.storage import table_writer, write_json
from marginome.tables import AGREEMENT, CONSENSUS, EFFECTS
from oracles import ORACLE
from workspace import cannot_run

BATCHES = {"m3+2-x": ["m3", "m1", "m2"], "m0+1-y": ["m0", "m4"]}
KEYS = ["collection", "motif_id", "orientation", "start", "insert"]


def summarized(folder: Path, paths: dict[str, Path]) -> None:
    summarize_screen(
        batches=paths, failed=[folder / "batches" / batch / "failed.json" for batch in paths],
        manifest=folder / "manifest.parquet", agreement_table=folder / "agreement.parquet",
        consensus_table=folder / "consensus.parquet",
    )  # fmt: skip


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Five models in two batches, of two lengths: inserts of one stand elsewhere than those of another."""
    folder = tmp_path_factory.mktemp("screen")
    paths = write_batches(folder, BATCHES, 60, lengths=(2114, 1000))
    summarized(folder, paths)
    return folder, read_all(paths)


def test_the_manifest_leads_to_every_row(screen, monkeypatch):
    """By paths relative to it: the folder may be moved."""
    folder, rows = screen
    monkeypatch.chdir(folder)
    manifest = pd.read_parquet("manifest.parquet")
    assert manifest["model"].tolist() == ["m3", "m1", "m2", "m0", "m4"]
    assert set(manifest["file"]) == {"effects/m3+2-x.parquet", "effects/m0+1-y.parquet"}
    assert manifest.set_index("model")["rows"].eq(60 * len(OUTPUTS) * len(BACKGROUNDS)).all()
    files = manifest["file"].unique().tolist()
    for found in (
        pd.read_parquet(files),
        pd.read_parquet("effects"),
        ds.dataset("effects").to_table().to_pandas(),
        pd.concat(map(pd.read_parquet, files)),
    ):
        found = found.sort_values(["model", "background", "output", *KEYS], ignore_index=True)
        wanted = rows.sort_values(["model", "background", "output", *KEYS], ignore_index=True)
        pd.testing.assert_frame_equal(found, wanted)
        assert list(found) == [c.name for c in EFFECTS]
    one = ds.dataset(files).to_table(filter=ds.field("model") == "m0", columns=["effect"])
    np.testing.assert_array_equal(one["effect"], rows.loc[rows["model"] == "m0", "effect"])


def test_pairs_that_are_one_sequence_are_one_insert(tmp_path, screen):
    """A motif beside a palindrome as it is and turned round, or beside itself in both orders: two rows, one insert."""
    paths = write_batches(tmp_path, BATCHES, 60, lengths=(2114, 1000))
    for path in paths.values():
        rows = pd.read_parquet(path)
        paired = rows.assign(partner_id="P", partner_orientation="+", gap=3, order="given")
        turned = paired[paired["motif_id"] == "MA0003.1"].assign(partner_orientation="-")
        path.unlink()
        with table_writer(path, BATCH_SCHEMA) as writer:
            for _, part in pd.concat([paired, turned]).groupby(["model", "background"], sort=False):
                writer.write_table(conform_batch(part), row_group_size=len(part))
    summarized(tmp_path, paths)
    assert pd.read_parquet(tmp_path / "manifest.parquet")["rows"].eq(62 * len(OUTPUTS) * len(BACKGROUNDS)).all()
    for name in ("agreement.parquet", "consensus.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / name), pd.read_parquet(screen[0] / name))


OTHERS = {
    "polars": """
import json, polars as pl
files = pl.read_parquet("manifest.parquet")["file"].unique().to_list()
rows = pl.scan_parquet(files).group_by("model").agg(pl.len(), pl.col("effect").sum()).sort("model").collect()
print(json.dumps([list(row) for row in rows.iter_rows()]))
""",
    "duckdb": """
import json, duckdb
duckdb.sql("SET VARIABLE files = (SELECT list(DISTINCT file) FROM 'manifest.parquet')")
rows = duckdb.sql(
    "SELECT model, count(*), sum(effect) FROM read_parquet(getvariable('files')) GROUP BY model ORDER BY model"
)
print(json.dumps([list(row) for row in rows.fetchall()]))
""",
}


@pytest.mark.parametrize("package", OTHERS)
def test_other_readers_follow_the_manifest(screen, package):
    folder, rows = screen
    if not (ORACLE / package).is_dir():
        cannot_run(f"{package} is not in .venv-oracle (make oracle)")
    made = subprocess.run([sys.executable, "-c", OTHERS[package]], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ORACLE)})  # fmt: skip
    assert made.returncode == 0, made.stderr
    found = {model: (n, total) for model, n, total in json.loads(made.stdout)}
    wanted = rows.groupby("model")["effect"].agg(["size", "sum"])
    assert list(found) == list(wanted.index) and [n for n, _ in found.values()] == wanted["size"].tolist()
    np.testing.assert_allclose([total for _, total in found.values()], wanted["sum"], rtol=1e-9, atol=1e-9)


def test_agreement_of_models_is_that_of_scipy(screen):
    folder, rows = screen
    found = pd.read_parquet(folder / "agreement.parquet")
    assert list(found) == [c.name for c in AGREEMENT]
    sets, models = (found[found["across"] == across] for across in ("background", "model"))
    assert len(sets) == 5 * len(OUTPUTS) and sets["model"].notna().all()
    assert len(models) == 10 * len(OUTPUTS) * len(BACKGROUNDS) and models["model"].isna().all()
    for row in models.itertuples():
        some = rows[(rows["background"] == row.background) & (rows["output"] == row.output)]
        wide = some.pivot(index=KEYS, columns="model", values="effect")
        both = wide[[row.first, row.second]].dropna()
        assert row.first < row.second and row.n == len(both)
        if not len(both):  # of other lengths: the inserts stand elsewhere
            assert np.isnan([row.spearman, row.pearson, row.sign_agreement, row.top_overlap]).all()
            continue
        a, b = both[row.first], both[row.second]
        assert row.spearman == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
        assert row.pearson == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
        assert row.sign_agreement == np.mean(np.sign(a) == np.sign(b))
        top = [set(x.abs().sort_values(ascending=False, kind="stable").index[:20]) for x in (a, b)]
        assert row.top_overlap == len(top[0] & top[1]) / 20
    assert set(models["n"]) == {0, 60}


def test_consensus_is_that_of_each_models_sets(screen):
    folder, rows = screen
    found = pd.read_parquet(folder / "consensus.parquet")
    assert found["model"].drop_duplicates().tolist() == ["m3", "m1", "m2", "m0", "m4"]
    for (model, output), part in rows.groupby(["model", "output"]):
        mine = found[(found["model"] == model) & (found["output"] == output)]
        wanted = consensus(part, "background", of=KEYS)
        assert mine["sample"].isna().all()
        mine = mine[wanted.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, wanted, check_dtype=False)


def test_a_screen_without_controls_has_no_q(tmp_path):
    paths = write_batches(tmp_path, {"b": ["m0"]}, 10)
    rows = pd.read_parquet(paths["b"]).assign(q=np.nan, p=np.nan)
    rows.astype({"sample": "Int64"}).to_parquet(paths["b"])
    summarized(tmp_path, paths)
    found = pd.read_parquet(tmp_path / "consensus.parquet")
    assert list(found) == [c.name for c in CONSENSUS if c.name != "q_max"] and len(found) == 20


def test_a_model_that_failed_stops_the_summary(tmp_path):
    paths = write_batches(tmp_path, {"b": ["m0"]}, 10)
    write_json(tmp_path / "batches" / "b" / "failed.json", {"m1": "model 'm1': no such luck"})
    with pytest.raises(MarginomeError, match="no such luck"):
        summarized(tmp_path, paths)
    assert not (tmp_path / "manifest.parquet").exists()


def test_an_insert_that_is_there_twice_is_an_error(tmp_path):
    paths = write_batches(tmp_path, {"b": ["m0"]}, 10)
    rows = pd.read_parquet(paths["b"])
    pd.concat([rows, rows.iloc[:2]]).to_parquet(paths["b"])
    with pytest.raises(MarginomeError, match="an insert is in a model's rows twice"):
        summarized(tmp_path, paths)


def test_labels_are_a_table_of_models(tmp_path):
    label_models(
        {"a": {"tissue": "liver"}, "b": {"fold": "1", "tissue": "heart"}, "c": {}}, table=tmp_path / "m.parquet"
    )
    found = pd.read_parquet(tmp_path / "m.parquet")
    assert list(found) == ["model", "tissue", "fold"] and found["model"].tolist() == ["a", "b", "c"]
    assert found["tissue"].tolist()[:2] == ["liver", "heart"] and found["tissue"].isna().tolist() == [
        False,
        False,
        True,
    ]
    assert found["fold"].isna().tolist() == [True, False, True]
    label_models({"a": {}}, table=tmp_path / "m.parquet")
    assert pd.read_parquet(tmp_path / "m.parquet").to_dict("list") == {"model": ["a"]}
