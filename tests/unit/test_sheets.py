"""Sheets of models: what they say, what is refused and where, and which models are computed together."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest
import yaml

from marginome.config import job_config, resolve_config
from marginome.errors import MarginomeError
from marginome.sheets import KeptBatches, batches_of, expand_sheets, read_sheet

SHEET = """# an atlas
name\tweights\tinput_length\ttissue\tassay
liver_a\tone.pt\t100\tliver\tATAC

liver_b\ttwo.pt\t\tliver\tDNase
heart_a\t"three.pt"\t100\theart\t
"""
FOLDS = """experiment\tfold\tweights\tinput_length\ttissue
E1\t0\ta0.pt\t100\tliver
E2\t0\tb0.pt\t100\theart
E1\t1\ta1.pt\t100\tliver
"""


def write(path, text):
    path.write_text(text)
    return str(path)


def config(sheets, **screens):
    return {
        "sheets": sheets,
        "motifs": {"j": {"files": ["j.meme"]}},
        "backgrounds": {"b": {"kind": "uniform", "n": 2, "length": 100}},
        "screens": {s: {"models": models, "motifs": ["j"], "backgrounds": ["b"]} for s, models in screens.items()},
    }


def test_rows_are_entries_and_labels(tmp_path):
    rows = read_sheet(write(tmp_path / "models.tsv", SHEET))
    assert list(rows) == ["liver_a", "liver_b", "heart_a"]
    assert rows["liver_a"].entry == {"weights": "one.pt", "input_length": 100}
    assert rows["liver_b"].entry == {"weights": "two.pt"} and rows["liver_b"].lines == (5,)
    assert rows["heart_a"] == ({"weights": "three.pt", "input_length": 100}, {"tissue": "heart"}, (6,), ())


@pytest.mark.parametrize(
    "cell",
    ["2114", "0", "007", "-5", "1_000", "0x1F", "1e3", "12345678901", "a/b.pt", "1/b", "yes", "'2114'", "[1, 2]"],
)
def test_a_cell_is_what_yaml_says(tmp_path, cell):
    """Also where it is read without YAML, as most cells of long sheets are."""
    found = read_sheet(write(tmp_path / "models.tsv", f"name\tinput_length\nm\t{cell}\n"))["m"].entry["input_length"]
    assert (type(found), found) == (type(yaml.safe_load(cell)), yaml.safe_load(cell))


def test_a_column_makes_an_ensemble_of_rows(tmp_path):
    rows = read_sheet(write(tmp_path / "folds.tsv", FOLDS), ensemble="experiment")
    assert rows["E1"].entry == {"weights": ["a0.pt", "a1.pt"], "input_length": 100}
    assert rows["E1"].labels == {"tissue": "liver"}  # the fold is no label of the ensemble
    assert rows["E2"] == ({"weights": "b0.pt", "input_length": 100}, {"fold": "0", "tissue": "heart"}, (3,), ())


def test_members_of_an_ensemble_have_its_labels(tmp_path):
    """One that says nothing has that of the others; where two differ there is no label, and none can choose by it."""
    text = "experiment\tweights\ttissue\tfold\n" + "".join(
        f"{name}\t{name}{i}.pt\t{tissue}\t{i}\n"
        for name, tissues in (
            ("E1", ["", "liver", "", "liver"]),
            ("E2", ["heart", "heart", "", "brain"]),
            ("E3", ["liver"]),
        )
        for i, tissue in enumerate(tissues)
    )
    sheet = write(tmp_path / "folds.tsv", text)
    rows = read_sheet(sheet, ensemble="experiment")
    assert [row.labels for row in rows.values()] == [{"tissue": "liver"}, {}, {"tissue": "liver", "fold": "0"}]
    assert [row.differing for row in rows.values()] == [("fold",), ("fold", "tissue"), ()]

    def chosen(**models):
        asked = config([{"file": sheet, "ensemble": "experiment"}], s=models)
        return resolve_config(asked, check_files=False)["screens"]["s"]["models"]

    assert chosen(experiment=["E1", "E3"]) == ["E1", "E3"] == chosen(experiment=["E3", "E1"], tissue="liver")
    words = r"models.tissue: whether model 'E2' is meant is not clear: rows differ in 'tissue' \(.*line 6, 7, 8, 9"
    with pytest.raises(MarginomeError, match=words):
        chosen(tissue="liver")
    with pytest.raises(MarginomeError, match=r"models.fold: whether model 'E1' is meant is not clear"):
        chosen(fold="0")


def test_a_copy_is_no_member(tmp_path):
    with pytest.raises(
        MarginomeError, match=r"line 4, column weights: 'a1.pt' is in the ensemble already, of lines 2, 3"
    ):
        read_sheet(write(tmp_path / "x.tsv", "e\tweights\nE1\ta0.pt\nE1\ta1.pt\nE1\ta1.pt\n"), ensemble="e")
    text = "e\tweights\tbias_weights\nE1\ta0.pt\tb.pt\nE1\ta1.pt\tb.pt\n"  # one model of bias for all folds
    rows = read_sheet(write(tmp_path / "y.tsv", text), ensemble="e")
    assert rows["E1"].entry == {"weights": ["a0.pt", "a1.pt"], "bias_weights": ["b.pt", "b.pt"]}


def test_quotes_of_spreadsheets_are_taken_off(tmp_path):
    """Of names and labels as of keys: as pandas and Excel write cells with commas, quotes, or all."""
    table = pd.DataFrame(
        {
            "name": ["a"],
            "weights": ["x.pt"],
            "outputs": [json.dumps({"counts": {"unit": "a, b"}})],
            "tissue": ['the "liver"'],
        }
    )
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        table.to_csv(tmp_path / "models.tsv", sep="\t", index=False, quoting=quoting)
        assert '""' in (tmp_path / "models.tsv").read_text()
        text = (tmp_path / "models.tsv").read_text()
        row = read_sheet(write(tmp_path / "models.tsv", '"# models, a line each"\t\t\t\n' + text))["a"]
        assert row.entry == {"weights": "x.pt", "outputs": {"counts": {"unit": "a, b"}}}
        assert row.labels == {"tissue": 'the "liver"'}


def test_cells_of_any_length_and_empty_ones_at_the_end(tmp_path):
    text = f"name\tweights\tnote\t\na\tx.pt\t{'n' * 200_000}\t\t\nb\ty.pt\t\t\t\n"
    rows = read_sheet(write(tmp_path / "models.tsv", text))
    assert len(rows["a"].labels["note"]) == 200_000 and rows["b"] == ({"weights": "y.pt"}, {}, (3,), ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'name': found nothing"),
        ("id\tweights\nx\ta.pt\n", "line 1: there is no column 'name': found id, weights"),
        ("name\tweights\tweights\n", "line 1: the column 'weights' is there twice"),
        ("name\t\tweights\n", "line 1: a column has no name"),
        ("name\tweights\tmodel\n", "line 1: no label can be called 'model'"),
        ("name\tweights\n", "there is no row"),
        ("name\tweights\nx\ta\tb\n", "line 2: 3 cells, but 2 columns"),
        ("name\tweights\nx\ta\n\ta\n", "line 3, column name: the cell is empty"),
        ("name\tweights\nx\ta\n#\nx\tb\n", "line 4, column name: the name 'x' is there already, in line 2"),
        ("name\toutputs\nx\t{a: [}\n", "line 2, column outputs: .* no value of YAML"),
        ("name\tweights\nx\ta\na b\tb\n", "line 3, column name: 'a b' is not allowed. Letters, digits"),
        (f"name\tweights\n{'x' * 101}\ta\n", r"line 2, column name: 'x+\.\.\.x+' is not allowed. .* at most 100"),
        ("name\tweights\tModel\n", "line 1: no label can be called 'Model'"),
        ("name\tweights\ttissue\tTissue\n", "'tissue' and 'Tissue' differ in upper and lower case alone"),
        (
            "name\tweights\taverage_strand\nx\ta\ttrue\n",
            "line 1: the column 'average_strand' .* nearly 'average_strands'",
        ),
        ("name\tWeights\nx\ta\n", "the column 'Weights' would be a label, but is nearly 'weights'"),
        ("name\tweights\tInput Length\nx\ta\t9\n", "nearly 'input_length'. Write input_length, or give"),
    ],
)
def test_what_is_no_sheet_says_line_and_column(tmp_path, text, words):
    with pytest.raises(MarginomeError, match=words):
        read_sheet(write(tmp_path / "models.tsv", text))


def test_members_that_differ_say_where(tmp_path):
    text = "experiment\tweights\tinput_length\nE1\ta\t100\nE1\tb\t200\n"
    with pytest.raises(MarginomeError, match="line 3, column input_length: found 200, but 100 in line 2"):
        read_sheet(write(tmp_path / "folds.tsv", text), ensemble="experiment")


def test_screens_select_by_labels(tmp_path):
    sheet = write(tmp_path / "models.tsv", SHEET)
    asked = config([sheet], liver={"tissue": "liver"}, both={"tissue": ["heart", "liver"], "assay": "ATAC"})
    resolved = resolve_config(asked, check_files=False)
    assert list(resolved["models"]) == ["liver_a", "liver_b", "heart_a"] and resolved["batch"] == 16
    assert resolved["screens"]["liver"]["models"] == ["liver_a", "liver_b"]
    assert resolved["screens"]["both"]["models"] == ["liver_a"]
    told = job_config(asked)
    assert all(dict(told[section].items()) == resolved[section] for section in ("models", "screens"))


def test_sides_of_comparisons_are_labels_or_names(tmp_path):
    asked = config([write(tmp_path / "models.tsv", SHEET)], s=["liver_a", "liver_b", "heart_a"])
    asked["screens"]["s"]["comparisons"] = {"x": {"first": {"tissue": "liver"}, "second": ["heart_a"]}}
    sides = {"first": ["liver_a", "liver_b"], "second": ["heart_a"]}
    assert resolve_config(asked, check_files=False)["screens"]["s"]["comparisons"] == {"x": sides}
    asked["screens"]["s"]["models"] = {"assay": "ATAC"}  # sides are of the screen's models
    with pytest.raises(MarginomeError, match=r"comparisons.x.second: there is no model of the screen 'heart_a'"):
        resolve_config(asked, check_files=False)
    asked["screens"]["s"]["comparisons"]["x"]["second"] = {"tissue": "heart"}
    with pytest.raises(MarginomeError, match=r"comparisons.x.second.tissue: there is no value 'heart'"):
        resolve_config(asked, check_files=False)
    copies = {
        "a": {"weights": "w", "input_length": 100},
        "b": {"weights": "v"},
        "c": {"input_length": 100, "weights": "w"},
    }
    copied = {**asked, "models": copies, "screens": {"s": {**asked["screens"]["s"], "models": list("abc")}}}
    copied["screens"]["s"]["comparisons"] = {
        "x": {"first": list("ab"), "second": ["c"]}
    }  # a model against itself may be
    resolve_config(copied, check_files=False)
    copied["screens"]["s"]["comparisons"] = {"x": {"first": ["liver_a"], "second": list("abc")}}
    copied["screens"]["s"]["models"] += ["liver_a"]
    with pytest.raises(MarginomeError, match=r"comparisons.x.second: 'a' and 'c' have equal entries: copies"):
        resolve_config(copied, check_files=False)
    asked["screens"]["s"]["comparisons"]["x"]["second"] = ["liver_a"]
    with pytest.raises(MarginomeError, match=r"comparisons.x: 'liver_a' is on both sides"):
        resolve_config(asked, check_files=False)
    asked["screens"]["s"]["controls"] = False
    with pytest.raises(MarginomeError, match=r"comparisons: a difference is compared with those of controls"):
        resolve_config(asked, check_files=False)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ({"tisue": "liver"}, r"screens.s.models: there is no label 'tisue'.*tissue"),
        ({"tissue": "livre"}, r"screens.s.models.tissue: there is no value 'livre'.*liver"),
        ({"tissue": "heart", "assay": "DNase"}, "no model of a sheet has all of"),
        ({"tissue": []}, "screens.s.models.tissue: no value is given. Name those wanted"),
        ({}, "screens.s.models: no label is given. Name one"),
    ],
)
def test_labels_that_are_not_there(tmp_path, models, words):
    with pytest.raises(MarginomeError, match=words):
        resolve_config(config([write(tmp_path / "models.tsv", SHEET)], s=models), check_files=False)


@pytest.mark.parametrize(("written", "found"), [("1.10", "1.1"), ("NO", "False"), ("true", "True"), ("null", "None")])
def test_values_that_yaml_changes_are_refused(tmp_path, written, found):
    """It cannot be told from 1.1 that 1.10 was written, and either may be in the sheet."""
    sheet = write(tmp_path / "models.tsv", f"name\tweights\tversion\na\tx\t{written}\nb\ty\t1.1\nc\tz\t2\n")
    asked = config([sheet], s=yaml.safe_load(f"{{version: {written}}}"))
    words = (
        rf"screens.s.models.version: found {found}, wanted text as in the sheet. YAML reads 1.10, NO .* write \"1.10\""
    )
    with pytest.raises(MarginomeError, match=words):
        resolve_config(asked, check_files=False)
    for text, name in ((f'"{written}"', "a"), ("2", "c"), ("[2]", "c")):
        asked = config([sheet], s=yaml.safe_load(f"{{version: {text}}}"))
        assert resolve_config(asked, check_files=False)["screens"]["s"]["models"] == [name]
    with pytest.raises(
        MarginomeError, match=r"screens.s.models\.0: found False .*wanted string. .* in single quotes: 'NO'"
    ):
        resolve_config(config([sheet], s=[False]), check_files=False)


def test_columns_of_two_sheets_that_differ_in_case(tmp_path):
    """A table of both would have both, of which DuckDB calls one by another name."""
    sheets = [write(tmp_path / f"{c}.tsv", f"name\tweights\t{c}\n{c}1\tx\ty\n") for c in ("Tissue", "tissue")]
    with pytest.raises(MarginomeError, match="'Tissue' and 'tissue' differ in upper and lower case alone"):
        resolve_config(config(sheets, s=["Tissue1"]), check_files=False)


def test_mistakes_in_a_row_name_the_row(tmp_path):
    sheet = write(tmp_path / "models.tsv", SHEET.replace("two.pt\t\t", "two.pt\tmany\t"))
    with pytest.raises(MarginomeError, match=r"models.tsv, line 5, column input_length: found 'many'"):
        resolve_config(config([sheet], s=["liver_a"]), check_files=False)
    sheet = write(tmp_path / "others.tsv", SHEET)
    with pytest.raises(MarginomeError, match=r"others.tsv, line 3, column weights.*does not exist"):
        resolve_config(config([sheet], s=["liver_a"]))
    name = "a" * 90
    long = write(tmp_path / "long.tsv", f"name\tweights\tinput_length\nx_{name}\tw\t9\nab{name[:-8]}\tw\tmany\n")
    with pytest.raises(MarginomeError) as caught:
        resolve_config(config([long], s=[f"x_{name}"]), check_files=False)
    assert "long.tsv, line 3, column input_length: found 'many'" in str(caught.value)
    with pytest.raises(MarginomeError, match=r"long.tsv, line 2: the name 'x_a+\.\.\.a+' ends in 'a' repeated"):
        long = write(tmp_path / "long.tsv", f"name\tweights\tinput_length\nx_{name}\tw\t100\n")
        resolve_config(config([long], s=[f"x_{name}"]), check_files=False)
    with pytest.raises(MarginomeError, match=r"others.tsv, line 3: .* 'liver_a' is there already \(config: models"):
        resolve_config({**config([sheet], s=["liver_a"]), "models": {"liver_a": {"weights": "x"}}}, check_files=False)


def test_a_sheet_that_is_not_there_or_no_sheet(tmp_path):
    with pytest.raises(MarginomeError, match="no such file"):
        resolve_config(config([str(tmp_path / "none.tsv")], s=["a"]))
    with pytest.raises(MarginomeError, match="config: sheets"):
        resolve_config(config([3], s=["a"]))
    with pytest.raises(MarginomeError, match=r"^config: sheets: found 'models.tsv', wanted a list"):
        resolve_config(config("models.tsv", s=["a"]))
    asked = config([write(tmp_path / "models.tsv", SHEET)], s=["liver_a"])
    asked["screens"]["s"]["comparisons"] = {"x": {"first": "liver_a", "second": ["heart_a"]}}
    with pytest.raises(MarginomeError, match=r"comparisons.x.first: found 'liver_a'; wanted: .*a list of names"):
        resolve_config(asked, check_files=False)


def test_appended_rows_make_batches_of_their_own(tmp_path):
    names = [f"m{i}" for i in range(40)]
    first = batches_of(["own", *names[:20]], [names[:20]], 16, {})
    assert [len(b) for b in first.values()] == [1, 16, 4] and next(iter(first)) == "own"
    assert all("+" in name for name in list(first)[1:])
    kept = {model: batch for batch, models in first.items() for model in models}
    second = batches_of(["own", *names], [names], 16, kept)
    assert {name: second[name] for name in first} == first
    assert [len(b) for name, b in second.items() if name not in first] == [16, 4]
    shuffled = batches_of(["own", *names[::-1]], [names[::-1]], 16, kept)  # a sheet that was sorted
    assert {name: shuffled[name] for name in first} == first
    third = batches_of(["own", *names[1:20]], [names[1:20]], 16, kept)  # a row is gone: its batch stays, without it
    assert list(third) == list(first) and third[list(first)[1]] == tuple(names[1:16])


def test_batches_are_kept_beside_the_results(tmp_path):
    kept = KeptBatches(tmp_path / "results" / "models" / "batches.tsv")
    assert kept.read() == {}
    kept.write({"a+1-x": ("a", "b")})
    kept.write({"c": ("c",)})  # of another config in the same folder
    assert kept.read() == {"a": "a+1-x", "b": "a+1-x", "c": "c"}


def test_without_sheets_nothing_changes():
    plain = {"models": {"m": {"weights": "x"}}, "screens": {"s": {"models": ["m"]}}}
    assert expand_sheets(plain) == (plain, (), {}, {})


def test_a_cell_is_a_value_that_the_config_may_have(tmp_path, monkeypatch):
    """What YAML reads as a date, or keys that are no text, is told by line and column, as in a config."""
    monkeypatch.chdir(tmp_path)
    for cell, told in (("{d: 2024-01-01}", "date"), ("{2: 1, x: 3}", "the key 2")):
        sheet = f"name\tloader\tinput_length\toutputs\tparameters\nm\ta.py:f\t50\t{{c: }}\t{cell}\n"
        (tmp_path / "models.tsv").write_text(sheet)
        with pytest.raises(MarginomeError, match=rf"models.tsv, line 2, column parameters.*{told}"):
            resolve_config(config(["models.tsv"], s=["m"]), check_files=False)
