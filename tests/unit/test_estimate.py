"""How long a screen takes, and in how many shards."""

from __future__ import annotations

import pandas as pd
import pytest

from marginome.backgrounds import make_background, write_background
from marginome.jobs.estimate import estimate
from marginome.storage import write_json, write_table


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
    write_table(tmp_path / "inserts.parquet", pd.DataFrame({"role": ["motif"] * 200 + ["control"] * 1000}))
    write_json(tmp_path / "check.json", {"block": 64, "pairs_per_second": rates, "sequences_per_second": 2.0})
    with caplog.at_level("INFO", logger="marginome"):
        estimate(
            {"s": {"models": ["m"], "backgrounds": ["u"], "shards": 3}},
            inserts={"s": str(tmp_path / "inserts.parquet")},
            backgrounds={"u": str(tmp_path / "u.fa.gz")},
            checks={"m": str(tmp_path / "check.json")},
            table=tmp_path / "estimate.tsv",
        )
    row = pd.read_csv(tmp_path / "estimate.tsv", sep="\t").iloc[0]
    assert (row["pairs"], row["pairs_per_second"], row["shards_now"]) == (120_000, rate, 3)
    assert row["minutes"] == pytest.approx(120_000 / rate / 60, abs=0.01)
    assert row["shards_proposed"] == shards
    assert f"shards: {shards} " in caplog.text
