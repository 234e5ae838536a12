"""Elements: what is put into backgrounds for seqlets, BED annotations and patterns; nothing is a valid result."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from marginome.arrays import write_hdf5
from marginome.errors import MarginomeError
from marginome.jobs.list_elements import list_elements
from marginome.jobs.marginalize_elements import marginalize_elements
from marginome.jobs.summarize_elements import summarize_elements
from marginome.storage import write_table

LENGTH = 80
IDS = ["chr1:100-180", "chr1:500-580", "chr2:1000-1080"]
DIGESTS = {"model.pt": "a" * 64}
SETTINGS = {"flank": 3, "samples": 2, "controls": False}


@pytest.fixture
def case(tmp_path):
    """Attributions of three loci, their seqlets, patterns and a background set, as earlier rules would write them."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (3, LENGTH))
    one_hot = np.eye(4, dtype=np.int8)[codes].transpose(0, 2, 1)
    one_hot[2, :, 36:54] = 0
    values = rng.normal(0, 1, (3, 4, LENGTH)).astype(np.float32)
    with write_hdf5(tmp_path / "attributions.h5", {"model_files": DIGESTS, "unit": "log counts"}) as handle:
        handle.create_dataset("ids", data=np.array(IDS, dtype=object), dtype=h5py.string_dtype())
        handle["sequences"], handle["hypothetical"] = one_hot, values
        handle["observed"], handle["deltas"] = (one_hot * values).sum(1), np.zeros((3, 2), np.float32)
    text = ["".join("ACGTN"[c] for c in np.where(x.any(0), x.argmax(0), 4)) for x in one_hot]
    spans = [(0, 10, 18), (0, 76, 80), (2, 42, 48)]
    seqlets = pd.DataFrame(
        {"seqlet_id": [f"s{i}" for i in range(3)], "example_idx": [i for i, _, _ in spans],
         "sequence_id": [IDS[i] for i, _, _ in spans], "chrom": None, "genome_start": None, "genome_end": None,
         "start": [a for _, a, _ in spans],
         "end": [b for _, _, b in spans],
         "sign": "+", "attribution": [1.0, 2.0, 3.0], "p_value": 0.01, "sequence": "x", "caller": "recursive",
         "match_id": ["M1", None, "M1"], "match_name": ["CTCF", None, "CTCF"]}
    )  # fmt: skip
    write_table(tmp_path / "seqlets.parquet", seqlets)
    patterns = pd.DataFrame(
        {"pattern_id": ["pos_patterns.pattern_0"], "sign": "+", "n_seqlets": 4, "width": 5, "consensus": "TGACT",
         "attribution": 1.0, "pwm": [np.zeros(20)], "contributions": [np.zeros(20)]}
    )  # fmt: skip
    write_table(tmp_path / "patterns.parquet", patterns)
    members = pd.DataFrame({"pattern_id": "pos_patterns.pattern_0", "sequence": ["TGACT", "TGACA", "CGACT", "TTACT"]})
    write_table(tmp_path / "members.parquet", members)
    return tmp_path, text


def listed(folder, *, kind="seqlets", table="seqlets.parquet", digests=DIGESTS, **settings):
    list_elements(
        SETTINGS | settings, kind=kind, name="x", seed=1, digests=digests, annotations={"a.bed": "b" * 64},
        attributions=folder / "attributions.h5", table=folder / table,
        members=folder / "members.parquet" if kind == "patterns" else None,
        inserts=folder / "inserts.parquet", families=folder / "families.parquet",
        elements=folder / "elements.parquet",
    )  # fmt: skip
    return [pd.read_parquet(folder / f"{name}.parquet") for name in ("inserts", "elements", "families")]


def test_seqlets_go_in_with_their_flanks(case):
    folder, text = case
    inserts, elements, families = listed(folder)
    assert inserts["motif_id"].tolist() == ["s0", "s1"]  # s2 and its flanks are unknown bases
    assert inserts["insert"].tolist() == [text[0][7:21], text[0][73:80]]  # cut at the locus's end
    assert inserts["offset"].tolist() == [-7, -3]  # from the middle, however long the backgrounds are
    assert inserts["motif_name"].tolist() == ["CTCF", "s1"]
    assert elements[["seqlet_start", "seqlet_end", "attribution"]].to_numpy().tolist() == [[10, 18, 1], [76, 80, 2]]
    assert families["family"].nunique() == 2


def test_annotations_of_a_bed_file(case):
    folder, text = case
    bed = folder / "a.bed"
    bed.write_text("chr1\t510\t520\tfirst\nchr1\t110\t115\tsecond\nchr2:1000-1080\t5\t12\tthird\nchr1\t570\t590\tout\n")
    inserts, elements, _ = listed(folder, annotations=str(bed), flank=0)
    assert dict(zip(inserts["motif_id"], inserts["insert"])) == {
        "second": text[0][10:15], "first": text[1][10:20], "third": text[2][5:12]
    }  # fmt: skip
    assert elements.set_index("motif_id").loc["first", ["seqlet_start", "genome_start"]].tolist() == [10, 510]
    with h5py.File(folder / "attributions.h5") as handle:
        expected = handle["observed"][1, 10:20].sum()
    assert elements.set_index("motif_id").loc["first", "attribution"] == pytest.approx(expected, abs=1e-5)
    bed.write_text("1\t510\t520\tfirst\n")
    with pytest.raises(MarginomeError, match="none of 1 annotations lies in a locus; the file names 1, the loci chr1"):
        listed(folder, annotations=str(bed))


def test_patterns_go_in_as_consensus_and_samples(case):
    folder, _ = case
    inserts, elements, _ = listed(folder, kind="patterns", table="patterns.parquet")
    assert inserts["insert"].iloc[0] == "TGACT" and pd.isna(inserts["sample"].iloc[0])
    assert inserts["sample"].tolist()[1:] == [0, 1]
    assert set(inserts["insert"].iloc[1:]) <= {"TGACT", "TGACA", "CGACT", "TTACT"}
    assert "pwm" not in elements and elements["n_seqlets"].tolist() == [4]
    again, _, _ = listed(folder, kind="patterns", table="patterns.parquet", samples=4)
    assert again["insert"].tolist()[:3] == inserts["insert"].tolist()  # more samples leave the first as they are


def test_controls_come_with_them(case):
    folder, _ = case
    inserts, _, _ = listed(folder, controls={"pool": 80})
    assert (inserts["role"] == "control").sum() >= 40
    assert set(inserts.loc[inserts["role"] == "control", "insert"].str.len()) == {14, 7}


def test_attributions_of_another_model(case):
    folder, _ = case
    with pytest.raises(MarginomeError, match="checksums differ"):
        listed(folder, digests={"other.pt": "b" * 64})


def test_nothing_is_a_valid_result_to_the_end(case):
    folder, _ = case
    empty = pd.read_parquet(folder / "seqlets.parquet").iloc[:0]
    write_table(folder / "none.parquet", empty)
    inserts, elements, families = listed(folder, table="none.parquet", controls={"pool": 40})
    assert len(inserts) == len(elements) == len(families) == 0
    marginalize_elements({}, inserts=folder / "inserts.parquet", shard="1-of-1", output=folder / "1.h5")
    out = {name: folder / f"{name}.out" for name in ("effects", "backgrounds", "profiles")}
    summarize_elements(
        model="m", names=["b"], inserts=folder / "inserts.parquet", families=folder / "families.parquet",
        elements=folder / "elements.parquet", baselines=[], shards=[folder / "1.h5"], tsv=folder / "effects.tsv.gz",
        **out,
    )  # fmt: skip
    table = pd.read_parquet(out["effects"])
    assert len(table) == 0 and {"motif_id", "effect", "q", "match_q"} <= set(table)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e: e.update(model="bpnet"), ["attributions.ctcf_peaks.model", "Did you mean 'bpnet_ctcf'"]),
        (lambda e: e["annotate"].update(motifs=["jasper"]), ["annotate.motifs", "Did you mean 'jaspar'"]),
        (lambda e: e["marginalize"].update(backgrounds=["gc"]), ["marginalize.backgrounds", "gc_matched"]),
        (
            lambda e: e.update(loci={"kind": "background", "background": "x"}),
            ["loci.background", "no background set 'x'"],
        ),
        (lambda e: e.update(loci={"kind": "beds"}), ["loci.kind", "Did you mean 'bed'"]),
        (lambda e: e["loci"].update(length=5), ["loci", "no key 'length'"]),
        (
            lambda e: e.update(loci={"kind": "background", "background": "gc_matched", "insert": {"motif": "CTCF"}}),
            ["loci.insert", "Give sequence, or collection and motif"],
        ),
        (lambda e: e.update(on_exceed="stop"), ["on_exceed", "fail, warn, mutagenesis"]),
        (lambda e: e.update(max_delta=0), ["max_delta", "more than 0"]),
        (lambda e: e["seqlets"].update(min_length=30), ["min_length 30 is more than max_length 25"]),
        (lambda e: e.update(references={"kind": "background", "background": "no"}), ["references.background"]),
    ],
)
def test_mistakes_in_the_config_are_named(monkeypatch, change, told):
    import json

    import yaml

    from marginome.config import resolve_config
    from workspace import ROOT

    monkeypatch.chdir(ROOT)
    file = ROOT / "config" / "examples" / "elements.yaml"
    config = json.loads(json.dumps(yaml.safe_load(file.read_text())))
    resolve_config(config, files=[str(file)])
    change(config["attributions"]["ctcf_peaks"])
    with pytest.raises(MarginomeError) as caught:
        resolve_config(config)
    for text in told:
        assert text in str(caught.value)
