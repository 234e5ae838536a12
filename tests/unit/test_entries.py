"""What is checked between the models' checks and the backgrounds, and what is listed without backgrounds."""

from __future__ import annotations

import pytest

from batch import write_checks
from marginome.errors import MarginomeError
from marginome.insert_lists import insert_table
from marginome.inserts import list_inserts, list_starts
from marginome.jobs.check_entries import check_entries
from marginome.jobs.list_inserts import list_screen_inserts
from marginome.motifs import motif_table, read_motifs
from marginome.motifs.motif import motif_from_sequence
from marginome.placing import MIDDLE, place, read_inserts
from marginome.storage import read_json, read_table, table_metadata, write_table

OUTPUTS = [
    {"name": "activity", "kind": "scalar", "names": ["K562", "HepG2"]},
    {"name": "profile", "kind": "profile", "names": ["profile"]},
]


@pytest.fixture
def check(tmp_path):
    write_checks(tmp_path / "check.json", m={"outputs": OUTPUTS, "input_length": 40})
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
        check_entries(screens, attributions, checks={"m": check}, inserts={}, length=None, json=tmp_path / "out.json")
        assert read_json(tmp_path / "out.json")["m"] == ["activity", "profile"]
    else:
        with pytest.raises(MarginomeError) as caught:
            check_entries(
                screens, attributions, checks={"m": check}, inserts={}, length=None, json=tmp_path / "out.json"
            )
        assert told in str(caught.value) and not (tmp_path / "out.json").exists()


@pytest.fixture
def lists(tmp_path):
    """The insert list of a narrow and a wide motif at a start, made without knowing how long the sequences are."""

    def make(positions):
        (tmp_path / "m.tsv").write_text("narrow\tACGTAC\nwide\tACGTACGTACGTACGTACGT\n")
        write_table(tmp_path / "m.parquet", motif_table(read_motifs(tmp_path / "m.tsv")).assign(collection="c"))
        screen = {"inserts": "consensus", "draws": 1, "orientations": "+", "positions": positions, "flanks": None,
                  "pairs": None, "composites": None}  # fmt: skip
        list_screen_inserts(screen, controls=False, seed=1, motifs=tmp_path / "m.parquet",
                            inserts=tmp_path / "i.parquet", families=tmp_path / "f.parquet")  # fmt: skip
        return tmp_path / "i.parquet"

    return make


@pytest.mark.parametrize("lacks", ["from", "offset"])
def test_a_list_that_does_not_say_where_starts_count_from_is_one_line(lists, lacks):
    path = lists(20)
    table, metadata = read_table(path), table_metadata(path)
    if lacks == "offset":
        table = table.drop(columns="offset")
    else:
        metadata.pop("from")
    write_table(path, table, metadata)
    with pytest.raises(MarginomeError, match="starts of inserts counted from the middle") as refused:
        read_inserts(path, 40)
    assert path.name in str(refused.value)


def test_starts_are_resolved_where_the_length_is_known(lists):
    listed = read_inserts(lists(20), 40)
    assert list(listed["insert"].str.len()) == [6, 20] and (listed["start"] == 20).all()
    assert list(listed["insert_id"]) == ["c|narrow|+|20", "c|wide|+|20"]
    for length in (40, 41):  # as list_starts counts where the length is known from the start
        placed = read_inserts(lists("centre"), length)
        assert list(placed["start"]) == [list_starts("centre", length=length, width=w)[0] for w in (6, 20)]


@pytest.mark.parametrize("length", [40, None])
def test_whether_inserts_fit_is_told_before_there_are_backgrounds(tmp_path, check, lists, length):
    def run(positions):
        check_entries(
            {"s": {"models": ["m"]}}, {}, checks={"m": check}, inserts={"s": [lists(positions)]}, length=length,
            json=tmp_path / "out.json",
        )  # fmt: skip

    run(20)
    with pytest.raises(MarginomeError, match="an insert of 20 bp at 21 does not lie within the background of 40 bp"):
        run(21)  # the wide one ends at 41


def test_of_what_does_not_fit_a_pair_is_named_not_a_motif_alone():
    """At the ends of a pair each of its motifs alone is outside, too."""
    motifs = [motif_from_sequence(s, n, n, "", 0, "tsv") for n, s in (("A", "GATAAG"), ("B", "CACGTGT"))]
    listed = list_inserts(motifs, length=None, pairs=[{"motifs": ["A", "B"], "gaps": [3, 30]}])
    with pytest.raises(
        MarginomeError, match=r"motif 'A' with 'B', gap 30: an insert of 43 bp at -1 does not lie .* 40 bp"
    ):
        place(insert_table(listed, False, 1), 40, counted_from=MIDDLE)


@pytest.mark.parametrize("controls", [{}, False])
@pytest.mark.parametrize("inserts", ["consensus", "sample"])
def test_pairs_have_mismatched_ones_where_controls_are_wanted(tmp_path, controls, inserts):
    motifs = [motif_from_sequence(s, m, m, "", 0, "tsv") for m, s in (("A", "GATAAG"), ("B", "CACGTGT"))]
    write_table(tmp_path / "motifs.parquet", motif_table(motifs).assign(collection="own"))
    screen = {"inserts": inserts, "draws": 1, "orientations": "+", "positions": "centre", "flanks": None,
              "pairs": [{"motifs": ["A", "B"], "gaps": [3, 30]}], "composites": None}  # fmt: skip
    paths = {name: tmp_path / f"{name}.parquet" for name in ("motifs", "inserts", "families")}
    list_screen_inserts(screen, controls=controls, seed=1, **paths)
    roles = read_table(paths["inserts"])["role"]
    assert set(roles) == {"motif"} | ({"mismatched"} if controls == {} and inserts == "consensus" else set())


def test_of_a_model_that_failed_in_its_batch_nothing_is_asked(tmp_path):
    write_checks(tmp_path / "check.json", m={"outputs": OUTPUTS, "input_length": 40}, broken=None)
    checks = dict.fromkeys(["m", "broken"], tmp_path / "check.json")
    asked = {"s": {"models": ["broken", "m"], "outputs": ["activity"]}}
    check_entries(asked, {}, checks=checks, inserts={}, length=None, json=tmp_path / "out.json")
    assert read_json(tmp_path / "out.json") == {"broken": [], "m": ["activity", "profile"]}


def test_outputs_that_a_sheet_puts_together_are_of_one_measure_and_unit(tmp_path):
    """Their means and the atlas would mix them; tables of other screens say both in every row."""
    counts = {"name": "counts", "kind": "scalar", "names": ["counts"], "measure": "difference", "unit": "log counts"}
    shape = {"name": "shape", "kind": "profile", "names": ["shape"], "measure": "euclidean", "unit": "logits"}
    given = {
        "a": [counts, shape],
        "same": [shape | {"measure": "jensen_shannon_distance", "name": "other"}, counts],
        "measure": [counts | {"measure": "log2_fold_change"}],
        "unit": [counts | {"unit": "counts"}],
        "target": [counts | {"name": "activity", "names": ["K562", "counts"], "unit": "share"}],
        "shape": [shape | {"measure": "jensen_shannon_distance"}],
    }
    checks = dict.fromkeys(given, tmp_path / "check.json")
    write_checks(
        tmp_path / "check.json", **{m: {"outputs": outputs, "input_length": 40} for m, outputs in given.items()}
    )

    def run(*models, outputs=None, atlases=("s",)):
        check_entries({"s": {"models": models, "outputs": outputs}}, {}, checks=checks, inserts={}, atlases=atlases,
                      length=None, json=tmp_path / "out.json")  # fmt: skip

    run("a", "same")
    run("a", "measure", atlases=())
    for model, words in (
        ("measure", r"'counts' is difference \(log counts\) of model 'a', but log2_fold_change \(log2 fold change\)"),
        ("unit", r"config: screens.s: output 'counts' .* but difference \(counts\) of model 'unit'"),
        ("target", r"'counts' .* but difference \(share\) of model 'target'"),
        ("shape", r"'shape' is euclidean \(logits\) of model 'a', but jensen_shannon_distance \(Jensen-"),
    ):
        with pytest.raises(MarginomeError, match=words):
            run("a", "same", model)
