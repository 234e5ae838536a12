"""What is checked between the models' checks and the backgrounds, and what is listed without backgrounds."""

from __future__ import annotations

import pytest

from marginome.errors import MarginomeError
from marginome.jobs.entries import check_entries
from marginome.jobs.inserts import list_screen_inserts
from marginome.motifs import motif_table, read_motifs
from marginome.storage import read_json, read_table, write_json, write_table

OUTPUTS = [
    {"name": "activity", "kind": "scalar", "names": ["K562", "HepG2"]},
    {"name": "profile", "kind": "profile", "names": ["profile"]},
]


@pytest.fixture
def check(tmp_path):
    write_json(tmp_path / "check.json", {"outputs": OUTPUTS, "input_length": 40})
    return tmp_path / "check.json"


@pytest.mark.parametrize(
    ("screens", "attributions", "told"),
    [
        ({"s": {"models": ["m"], "outputs": ["activity"]}}, {}, None),
        ({"s": {"models": ["m"], "outputs": None}}, {}, None),
        ({"s": {"models": ["m"], "outputs": ["activty"]}}, {}, "screens.s.outputs, model 'm': there is no output"),
        ({}, {"a": {"model": "m", "output": "activity", "target": "HepG2"}}, None),
        ({}, {"a": {"model": "m", "output": "activity", "target": 1}}, None),
        ({}, {"a": {"model": "m", "output": "profile", "target": 5}}, None),
        ({}, {"a": {"model": "m", "output": "activity", "target": 2}}, "a.target: found 2, but there are 2"),
        ({}, {"a": {"model": "m", "output": "activity", "target": "HepG"}}, "Did you mean 'HepG2'"),
        ({}, {"a": {"model": "m", "output": "activity"}}, "Give one of K562, HepG2"),
        ({}, {"a": {"model": "m"}}, "Give output: one of activity, profile"),
        ({}, {"a": {"model": "m", "output": "profile", "marginalize": {"outputs": ["x"]}}}, "a.marginalize.outputs"),
    ],
)  # fmt: skip
def test_outputs_and_targets_are_those_of_the_models(tmp_path, check, screens, attributions, told):
    if told is None:
        check_entries(screens, attributions, checks={"m": check}, json=tmp_path / "out.json")
        assert read_json(tmp_path / "out.json")["m"] == ["activity", "profile"]
    else:
        with pytest.raises(MarginomeError) as caught:
            check_entries(screens, attributions, checks={"m": check}, json=tmp_path / "out.json")
        assert told in str(caught.value) and not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("length", [40, None])
def test_inserts_are_listed_and_placed_before_there_are_backgrounds(tmp_path, check, length):
    (tmp_path / "m.tsv").write_text("narrow\tACGTAC\nwide\tACGTACGTACGTACGTACGT\n")
    table = motif_table(read_motifs(tmp_path / "m.tsv")).assign(collection="c")
    write_table(tmp_path / "m.parquet", table)
    screen = {"inserts": "consensus", "draws": 1, "orientations": "+", "positions": 20, "flanks": None, "pairs": None,
              "controls": False}  # fmt: skip
    files = {"inserts": tmp_path / "i.parquet", "families": tmp_path / "f.parquet"}

    def run():
        list_screen_inserts(
            screen, seed=1, motifs=[tmp_path / "m.parquet"], length=length, checks=[] if length else [check], **files
        )

    run()
    listed = read_table(files["inserts"])
    assert list(listed["insert"].str.len()) == [6, 20] and (listed["start"] == 20).all()
    screen["positions"] = 21  # the wide one ends at 41
    with pytest.raises(MarginomeError, match="an insert of 20 bp at 21 does not lie within the background of 40 bp"):
        run()
