"""How long a screen takes, and in how many shards."""

from __future__ import annotations

import re

import pandas as pd
import pytest

import handmade_pairs
from batch import write_checks
from marginome.background_set import write_background
from marginome.backgrounds import make_background
from marginome.jobs.estimate import disk_mb, estimate
from marginome.storage import write_table


def single_inserts(motifs: int, controls: int = 0) -> pd.DataFrame:
    """A list without pairs."""
    role = ["motif"] * motifs + ["control"] * controls
    table = pd.DataFrame({"role": role, "motif_id": "m", "orientation": "+", "offset": 0, "insert": "ACGT"})
    return table.assign(sample=None, partner_id=None, partner_orientation=None, gap=None, order=None)


@pytest.mark.parametrize(
    ("rates", "rate", "shards"),
    [
        ({"16": 50.0, "64": 100.0, "128": 200.0}, 100.0, 1),  # of the block that the run uses: 20 minutes
        ({"64": 10.0}, 10.0, 7),  # 200 minutes, half an hour each
        ({}, 2.0, 34),  # the incremental engine does not run: whole sequences
    ],
)
def test_time_and_shards_follow_from_the_measured_rate(tmp_path, caplog, rates, rate, shards):
    made = make_background({"kind": "uniform", "n": 100, "length": 50}, name="u", seed=1)
    write_background(made, fasta=tmp_path / "u.fa.gz", bed=tmp_path / "u.bed", tsv=tmp_path / "u.tsv")
    write_table(tmp_path / "inserts.parquet", single_inserts(200, 1000))
    outputs = [{"name": "c", "kind": "scalar", "shape": [3], "names": ["x", "y", "z"]},
               {"name": "p", "kind": "profile", "shape": [2, 1000], "names": ["p"]}]  # fmt: skip
    check = {"block": 64, "pairs_per_second": rates, "sequences_per_second": 2.0, "outputs": outputs}
    write_checks(tmp_path / "check.json", m=check)
    keep = {"backgrounds_mb": 500, "profiles": True, "predictions": False}
    with caplog.at_level("INFO", logger="marginome"):
        estimate(
            {"s": {"models": ["m"], "backgrounds": ["u"], "shards": 3, "outputs": None, "keep": keep}},
            inserts={"s": {"c": str(tmp_path / "inserts.parquet")}},
            backgrounds={"u": str(tmp_path / "u.fa.gz")},
            checks={"m": str(tmp_path / "check.json")},
            table=tmp_path / "estimate.tsv",
        )
    row = pd.read_csv(tmp_path / "estimate.tsv", sep="\t").iloc[0]
    assert (row["pairs"], row["pairs_per_second"], row["shards_now"]) == (120_000, rate, 3)
    assert row["of_nulls"] == 100_000 and "smaller" not in caplog.text
    assert row["minutes"] == pytest.approx(120_000 / rate / 60, abs=0.01)
    assert row["shards_proposed"] == shards
    assert f"shards: {shards} " in caplog.text
    # 1,200 inserts in 100 backgrounds, 4 readouts, twice; profiles of 200 motifs, logits and probabilities, twice
    assert row["disk_mb"] == pytest.approx(2 * 1200 * 100 * 4 * 4e-6 + 2 * 200 * 2000 * 2 * 4e-6, abs=0.1)
    full = disk_mb(outputs, 1200, 200, 100, keep | {"predictions": True, "backgrounds_mb": 1, "profiles": False})
    assert full == pytest.approx(1200 * 100 * 2003 * 4e-6)


def test_wide_inserts_take_longer_by_what_was_measured(tmp_path):
    """Three widths, 12, 112 and 212 bp: by the straight line they take 1, 1.5 and 2 times as long."""
    made = make_background({"kind": "uniform", "n": 100, "length": 250}, name="u", seed=1)
    write_background(made, fasta=tmp_path / "u.fa.gz", bed=tmp_path / "u.bed", tsv=tmp_path / "u.tsv")
    listed = single_inserts(300).assign(insert=["A" * width for width in (4, 112, 212)] * 100)
    write_table(tmp_path / "inserts.parquet", listed)
    check = {"block": 64, "pairs_per_second": {"64": 100.0}, "apart": {"bp": [12, 212], "times": 2.0}, "outputs": []}
    write_checks(tmp_path / "check.json", m=check)
    keep = {"backgrounds_mb": 500, "profiles": True, "predictions": False}
    estimate(
        {"s": {"models": ["m"], "backgrounds": ["u"], "shards": 1, "outputs": None, "keep": keep}},
        inserts={"s": {"c": str(tmp_path / "inserts.parquet")}},
        backgrounds={"u": str(tmp_path / "u.fa.gz")},
        checks={"m": str(tmp_path / "check.json")},
        table=tmp_path / "estimate.tsv",
    )
    row = pd.read_csv(tmp_path / "estimate.tsv", sep="\t").iloc[0]
    assert row["minutes"] == pytest.approx(100 * 100 * (1 + 1.5 + 2) / 100 / 60, abs=0.01)
    assert row["pairs_per_second"] == pytest.approx(100 / 1.5, abs=0.1)


def test_a_job_takes_as_long_as_all_models_of_its_batch(tmp_path, caplog):
    made = make_background({"kind": "uniform", "n": 100, "length": 50}, name="u", seed=1)
    write_background(made, fasta=tmp_path / "u.fa.gz", bed=tmp_path / "u.bed", tsv=tmp_path / "u.tsv")
    write_table(tmp_path / "inserts.parquet", single_inserts(1200))
    check = {"block": 64, "pairs_per_second": {"64": 100.0}, "sequences_per_second": 2.0, "outputs": []}
    write_checks(tmp_path / "batch.json", a=check, b=check, other=check)  # the screen leaves one out
    write_checks(tmp_path / "c.json", c=check)
    keep = {"backgrounds_mb": 500, "profiles": True, "predictions": False}
    paths = {"a": "batch.json", "b": "batch.json", "other": "batch.json", "c": "c.json"}
    with caplog.at_level("INFO", logger="marginome"):
        estimate(
            {"s": {"models": ["a", "b", "c"], "backgrounds": ["u"], "shards": 1, "outputs": None, "keep": keep}},
            inserts={"s": {"l": str(tmp_path / "inserts.parquet")}}, backgrounds={"u": str(tmp_path / "u.fa.gz")},
            checks={model: str(tmp_path / file) for model, file in paths.items()}, table=tmp_path / "estimate.tsv",
        )  # fmt: skip
    rows = pd.read_csv(tmp_path / "estimate.tsv", sep="\t").set_index("model")
    assert rows["models_of_a_job"].to_dict() == {"a": 2, "b": 2, "c": 1}
    assert rows["minutes"].eq(20).all() and rows["shards_proposed"].to_dict() == {"a": 2, "b": 2, "c": 1}
    # two shards of every list: two jobs for the batch, two for the model alone; the longest 2 x 20 minutes in two
    assert "(4 jobs of at most 20 minutes; a job computes up to 2 models of a sheet (batch))" in caplog.text


@pytest.mark.parametrize(("n", "gaps", "says"), [(32, 20, "16 backgrounds and every second gap"), (8, 4, "")])
def test_a_design_of_pairs_is_counted_with_its_nulls_and_a_smaller_one_is_named(tmp_path, caplog, n, gaps, says):
    """By hand: what is asked for is what the list holds, and what the smaller design costs is what it holds."""
    made = make_background({"kind": "uniform", "n": n, "length": 220}, name="u", seed=1)
    write_background(made, fasta=tmp_path / "u.fa.gz", bed=tmp_path / "u.bed", tsv=tmp_path / "u.tsv")
    pairs = [{"among": list(handmade_pairs.WEIGHTS)[:3], "gaps": list(range(2, gaps + 2)), "orientations": ["++", "+-"],
              "mismatched": 40}]  # fmt: skip
    table = handmade_pairs.listed(pairs)
    write_table(tmp_path / "inserts.parquet", table.rename(columns={"start": "offset"}))
    write_checks(tmp_path / "check.json", m={"block": 64, "pairs_per_second": {"64": 1.0}, "outputs": []})
    keep = {"backgrounds_mb": 500, "profiles": True, "predictions": False}
    with caplog.at_level("INFO", logger="marginome"):
        estimate(
            {"s": {"models": ["m"], "backgrounds": ["u"], "shards": 1, "outputs": None, "keep": keep}},
            inserts={"s": {"l": str(tmp_path / "inserts.parquet")}}, backgrounds={"u": str(tmp_path / "u.fa.gz")},
            checks={"m": str(tmp_path / "check.json")}, table=tmp_path / "estimate.tsv",
        )  # fmt: skip
    row = pd.read_csv(tmp_path / "estimate.tsv", sep="\t").iloc[0]
    assert row["pairs"] == n * len(table) and row["of_nulls"] == n * (table["role"] == "mismatched").sum()
    # six pairs; 40 mismatched ones and 20 of two controls, in two arrangements of orientations
    assert f"{6 * 2 * gaps:,} arrangements of 6 pairs" in caplog.text
    assert f"{60 * 2 * gaps:,} arrangements of 60 mismatched pairs" in caplog.text
    assert ("a smaller design" in caplog.text) == bool(says)
    if says:
        smaller = handmade_pairs.listed([pairs[0] | {"gaps": list(range(2, gaps + 2, 2))}])
        said = re.search(rf"a smaller design, {says}: about (\S+) predictions and (\S+) minutes", caplog.text)
        assert float(said[1]) == pytest.approx(16 * len(smaller), rel=0.005)
        assert float(said[2]) == pytest.approx(16 * len(smaller) / 60, rel=0.005)
