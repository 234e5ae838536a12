"""A published table: its checksum is checked, every difference is listed, and only rounding is let through."""

from __future__ import annotations

import hashlib
import logging
import shutil

import pandas as pd
import pytest

from marginome.errors import MarginomeError
from marginome.jobs.compare_screen import compare_screen
from marginome.jobs.reproduce import judge_differences
from marginome.storage import write_table
from workspace import ROOT, Workspace, small_config

PAPER = ROOT / "config" / "examples" / "paper"
SCREEN = "results/screens/ctcf_jaspar"


def publish(table: pd.DataFrame, folder) -> None:
    """Write a table as a paper would: with its checksum beside it."""
    folder.mkdir(exist_ok=True)
    write_table(folder / "table.parquet", table)
    digest = hashlib.sha256((folder / "table.parquet").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  table.parquet\n")


def differences(found: pd.DataFrame, tmp_path) -> pd.DataFrame:
    """Compare a table with the published one and return the list."""
    write_table(tmp_path / "found.parquet", found)
    compare_screen(expected=PAPER / "table_1.parquet", effects=tmp_path / "found.parquet", table=tmp_path / "list.tsv")
    return pd.read_csv(tmp_path / "list.tsv", sep="\t")


def judge(tmp_path) -> None:
    judge_differences(
        {"table_1": PAPER / "table_1.parquet"},
        {"table_1": tmp_path / "found.parquet"},
        {"table_1": tmp_path / "list.tsv"},
    )


@pytest.fixture
def published():
    return pd.read_parquet(PAPER / "table_1.parquet")


@pytest.fixture
def told(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("marginome"), "propagate", True)
    caplog.set_level(logging.INFO, logger="marginome")
    return caplog


def test_the_same_table_has_no_difference(published, tmp_path, told):
    assert len(differences(published.sample(frac=1, random_state=0), tmp_path)) == 0
    judge(tmp_path)
    assert "the checksum of" in told.text and "no difference, every value is that of" in told.text


def test_rounding_is_listed_and_let_through(published, tmp_path, told):
    """Also for large values: z near 100 is off by more than 1e-4 where effects are off by their last digit."""
    row = published["z"].abs().idxmax()
    assert published.loc[row, "z"] > 50
    published.loc[7, "effect"] += 1e-6
    published.loc[row, "z"] *= 1 + 1e-5
    listed = differences(published, tmp_path)
    assert set(listed["column"]) == {"effect", "z"} and len(listed) == 2
    assert listed["difference"].max() > 1e-4
    judge(tmp_path)
    assert "2 values differ, numbers by at most 1e-05 of the value" in told.text and "vector instructions" in told.text


@pytest.mark.parametrize(
    ("column", "change"),
    [("effect", lambda x: x + 1), ("z", lambda x: x * 1.001 + 1e-3), ("motif_name", lambda x: "another")],
)
def test_more_than_rounding_fails(published, tmp_path, column, change):
    published.loc[7, column] = change(published.loc[7, column])
    differences(published, tmp_path)
    with pytest.raises(MarginomeError, match=f"list.tsv: 1 values differ by more than rounding, e.g. {column} of"):
        judge(tmp_path)


def test_missing_rows_and_columns_fail(published, tmp_path):
    differences(published.drop(index=3), tmp_path)
    with pytest.raises(MarginomeError, match=r"1 values differ by more than rounding, e\.g\. .whole row. of"):
        judge(tmp_path)
    differences(published.drop(columns="z"), tmp_path)
    with pytest.raises(MarginomeError, match=r"e\.g\. z of .whole column."):
        judge(tmp_path)


def test_a_table_that_was_published_before_it_had_positions_is_compared_without(published, tmp_path):
    with_positions = published.assign(position=0)
    publish(published.drop(columns="position", errors="ignore"), tmp_path)
    for found, n in ((with_positions, 0), (with_positions.assign(other=1), 1)):
        write_table(tmp_path / "found.parquet", found)
        compare_screen(
            expected=tmp_path / "table.parquet", effects=tmp_path / "found.parquet", table=tmp_path / "list.tsv"
        )
        assert len(pd.read_csv(tmp_path / "list.tsv", sep="\t")) == n


def test_a_published_table_that_is_not_its_checksums_is_refused(published, tmp_path, told):
    publish(published, tmp_path)
    table, listed = tmp_path / "table.parquet", tmp_path / "list.tsv"
    compare_screen(expected=table, effects=table, table=listed)
    judge_differences({"s": table}, {"s": table}, {"s": listed})
    with open(table, "ab") as handle:
        handle.write(b"\0")
    with pytest.raises(MarginomeError, match="the table is not the one whose checksum is in SHA256SUMS"):
        judge_differences({"s": table}, {"s": table}, {"s": listed})
    (tmp_path / "SHA256SUMS").write_text("00  another.parquet\n")
    with pytest.raises(MarginomeError, match=r"SHA256SUMS: it has no checksum of table\.parquet"):
        judge_differences({"s": table}, {"s": table}, {"s": listed})
    publish(published, tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    judge_differences({"s": table}, {"s": table}, {"s": listed})
    assert "no SHA256SUMS beside" in told.text
    with pytest.raises(MarginomeError, match="no screen has a table to compare with"):
        judge_differences({}, {}, {})


@pytest.mark.workflow
@pytest.mark.long
def test_the_command_keeps_its_list_when_it_fails(finished, tmp_path):
    """`snakemake reproduce` on a finished run: a published table that differs, then the right one."""
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    config = small_config()
    config["screens"]["ctcf_jaspar"]["expected"] = "published/table.parquet"
    space = Workspace(tmp_path / "work", config)
    table = pd.read_parquet(space.path(SCREEN, "effects.parquet"))
    changed = table.copy()
    changed.loc[5, "effect"] += 0.25
    publish(changed, space.path("published"))
    done = space.run("reproduce", check=False)
    assert done.returncode != 0
    assert f"{SCREEN}/differences.tsv: 1 values differ by more than rounding, e.g. effect of" in done.stdout
    listed = pd.read_csv(space.path(SCREEN, "differences.tsv"), sep="\t")
    assert list(listed["column"]) == ["effect"] and listed["difference"][0] == pytest.approx(0.25)
    publish(table, space.path("published"))
    done = space.run("reproduce")
    assert "the checksum of published/table.parquet is right" in done.stdout and "no difference" in done.stdout


def test_a_damaged_list_changes_no_judgement_and_a_damaged_published_table_stays(published, tmp_path):
    changed = published.copy()
    changed.loc[0, "effect"] += 1
    differences(changed, tmp_path)
    (tmp_path / "list.tsv").write_text((tmp_path / "list.tsv").read_text().splitlines()[0] + "\n")
    with pytest.raises(MarginomeError, match="1 values differ by more than rounding"):
        judge(tmp_path)
    table = tmp_path / "mine.parquet"
    table.write_bytes((PAPER / "table_1.parquet").read_bytes()[:-20])
    with pytest.raises(MarginomeError, match=r"mine.parquet: the table cannot be read"):
        compare_screen(expected=table, effects=tmp_path / "found.parquet", table=tmp_path / "list.tsv")
    assert table.exists()
