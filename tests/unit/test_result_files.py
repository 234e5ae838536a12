"""All files of a screen and an attribution entry together: hostile names, random damage, shards that do not fit."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import damaged_results
from marginome import storage
from marginome.arrays import read_hdf5
from marginome.errors import MarginomeError
from marginome.storage import read_table
from result_files import Results
from workspace import ROOT

OLD = ROOT / "tests" / "data" / "be11c7e"
GROUP = "inserts"  # of the model of that name in a shard
# Steps of a path, what a shard and a page call something else, markup, no ASCII, too long for a file's name.
NAMES = {"targets": ("K562/rep1", ".."), "profile": "rows", "model": "inserts", "background": "start",
         "motifs": ("a/b\n", "</td><script>'\"", "é", "x" * 300)}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Everything, made with hostile names; read it, do not change it."""
    results = Results(tmp_path_factory.mktemp("results") / "original", **NAMES)
    damaged_results.prepare(results)
    return results


@pytest.fixture
def results(original, tmp_path):
    """A copy to be changed."""
    made = object.__new__(Results)
    shutil.copytree(original.folder, tmp_path / "copy")
    made.__dict__.update(original.__dict__, folder=tmp_path / "copy")
    return made


def test_any_name_goes_from_shards_to_the_page(original):
    effects = read_table(original.at("effects.parquet"))
    assert set(effects["output"]) == {*NAMES["targets"], NAMES["profile"]}
    assert set(effects["motif_id"]) == set(NAMES["motifs"])
    with h5py.File(original.at("functions.h5")) as handle:
        part = handle["%69nserts/start/saturation_mutagenesis"]
        assert set(part) == {"K562%2Frep1", "%2E.", "rows"}
        assert np.abs(part["K562%2Frep1/after"][...] - part["%2E./after"][...]).max() > 1e-3
    with h5py.File(original.at("profiles.h5")) as handle:
        assert list(handle["%69nserts/start"]) == ["rows"] and "after_probabilities" in handle["%69nserts/start/rows"]
    page = original.at("report.html").read_text()
    assert "K562/rep1" in page and NAMES["motifs"][1] not in page


def test_random_damage_is_noticed(original):
    counts, bad = damaged_results.run(original, 0, tries=300, tell=False)
    assert not bad, "\n".join(bad)
    assert counts["noticed"] > 200


def _change(path, change):
    """Change a file as its own writer would: the digest is right again."""
    from marginome.arrays import seal_hdf5

    with h5py.File(path, "a") as handle:
        change(handle)
    seal_hdf5(path)


def test_the_damaged_one_of_two_shards_goes_and_a_rerun_heals(results, original):
    first, second = results.shards("shards")
    kept = first.read_bytes()
    with h5py.File(first, "a") as handle:  # as in a bad sector of an attribute: no checksum of HDF5 covers it
        part = handle[GROUP]
        readouts = json.loads(part.attrs["readouts"])
        part.attrs["readouts"] = json.dumps(readouts | {"output": ["?", *readouts["output"][1:]]})
    with pytest.raises(MarginomeError, match=r"1-of-2\.h5.*damaged") as told:
        results.summarize()
    assert "\n" not in str(told.value) and not first.exists() and second.exists()
    first.write_bytes(kept)  # made again
    results.summarize()
    pd.testing.assert_frame_equal(read_table(results.at("effects.parquet")), read_table(original.at("effects.parquet")))


def test_shards_that_are_sound_and_disagree_all_go(results):
    first, second = results.shards("shards")

    def other_outputs(handle):
        attrs = handle[GROUP].attrs
        attrs["readouts"] = json.dumps(json.loads(attrs["readouts"]) | {"output": ["x", "y", "z"]})

    _change(second, other_outputs)
    with pytest.raises(MarginomeError, match=r"differ in readouts.*all 2 were removed"):
        results.summarize()
    assert not first.exists() and not second.exists()


@pytest.mark.parametrize("kind", ["shards", "functions", "attributions"])
def test_a_shard_in_anothers_place_is_the_one_that_goes(results, kind):
    first, second = results.shards(kind)
    shutil.copy(second, first)
    merge = {"shards": results.summarize, "functions": results.merge_functions,
             "attributions": results.merge_attributions}[kind]  # fmt: skip
    with pytest.raises(MarginomeError, match=r"1-of-2\.h5.*share"):
        merge()
    assert not first.exists() and second.exists()


def test_a_shard_of_other_backgrounds_is_the_one_that_goes(results):
    first, second = results.shards("shards")
    _change(first, lambda handle: handle[GROUP].attrs.modify("n_backgrounds", 4))
    with pytest.raises(MarginomeError, match=r"1-of-2\.h5.*4 backgrounds, the baseline of 3"):
        results.summarize()
    assert not first.exists() and second.exists()


@pytest.fixture
def unsealed(results):
    """Files as another program wrote them: what the screen's jobs made, without a digest."""
    for path in (results.at("inserts.parquet"), results.at("baseline.h5"), *results.shards("shards")):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            kept = {key: value for key, value in table.schema.metadata.items() if key != b"seal"}
            pq.write_table(table.replace_schema_metadata(kept), path)
        else:
            with h5py.File(path) as before, h5py.File(f"{path}.new", "w") as after:
                for name in before:
                    before.copy(name, after)
                after.attrs.update({key: value for key, value in before.attrs.items() if key != "digest"})
            Path(f"{path}.new").replace(path)
    return results


def test_files_without_a_digest_are_used_and_that_is_said_once(unsealed, original, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("marginome"), "propagate", True)
    monkeypatch.setattr(storage, "_OLD", set())
    with caplog.at_level(logging.INFO, logger="marginome"):
        unsealed.summarize()
    pd.testing.assert_frame_equal(
        read_table(unsealed.at("effects.parquet")), read_table(original.at("effects.parquet"))
    )
    said = {record.getMessage() for record in caplog.records if "without a digest" in record.getMessage()}
    assert len(said) == 2  # the folder of the screen's files, that of the shards


@pytest.mark.parametrize("lost", ["effect", "readouts"])
def test_a_shard_without_a_digest_that_lacks_something_is_one_line(unsealed, lost):
    path = unsealed.shards("shards")[1]
    with h5py.File(path, "a") as handle:
        part = handle[GROUP]
        del (part if lost in part else part.attrs)[lost]
    with pytest.raises(MarginomeError, match=r"2-of-2\.h5.*damaged"):
        unsealed.summarize()
    assert not path.exists()


def test_a_baseline_of_the_version_before_batches_is_one_line(results):
    """What be11c7e wrote, which has no group for each model."""
    shutil.copy(OLD / "baseline.h5", results.at("baseline.h5"))
    with pytest.raises(MarginomeError, match=r"baseline\.h5: an earlier version wrote this file.*removed"):
        results.summarize()
    assert not results.at("baseline.h5").exists()


def test_a_merged_file_has_no_value_that_was_never_written(original):
    with read_hdf5(original.at("effects.h5")) as handle:
        values = handle["%69nserts/start/effects"]
        assert np.isnan(values.fillvalue) and not np.isnan(values[...]).any()
