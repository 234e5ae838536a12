"""Exports: what other programs read equals what our own files hold."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pyBigWig
import pytest

from marginome.arrays import write_hdf5
from marginome.attribution_file import open_attributions
from marginome.errors import MarginomeError
from marginome.exports import pieces, write_elements_bed, write_instances_bed, write_meme
from marginome.jobs.export_bigwig import export_bigwig
from marginome.jobs.export_h5 import export_h5
from marginome.jobs.export_npz import export_npz
from marginome.jobs.export_seqlets import export_seqlets
from marginome.motifs.formats import read_file
from marginome.storage import write_table

LENGTH = 31
SIZES = {"chr1": 400, "chr2": 90, "chr3": 50}
PLACES = [("chr2", 59), ("chr1", 100), ("chr1", 101), ("chr1", 117), ("chr1", 131), ("chr1", 300), ("chr1", 0),
          ("chr1", 308), ("chr1", 369), ("chr2", 40)]  # fmt: skip


def attributions(path, places, length=LENGTH):
    rng = np.random.default_rng(1)
    n = len(places)
    one_hot = np.eye(4, dtype=np.int8)[rng.integers(0, 4, (n, length))].transpose(0, 2, 1).copy()
    one_hot[0, :, 5] = 0
    values = rng.normal(0, 1, (n, 4, length)).astype(np.float16)
    ids = [f"{place[0]}:{place[1]}-{place[1] + length}" if isinstance(place, tuple) else place for place in places]
    with write_hdf5(path, {"unit": "log counts", "output": "counts", "target": 0}) as handle:
        handle.create_dataset("ids", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
        handle["sequences"], handle["hypothetical"] = one_hot, values
        handle["observed"] = (one_hot * values).sum(1, dtype=np.float16)
        handle["deltas"] = np.zeros((n, 1), np.float32)
    return one_hot, values


def nearest(chrom: str, base: int) -> int | None:
    """The locus whose middle is nearest, of two as near the one that begins first; by brute force."""
    over = [(abs(start + (LENGTH - 1) / 2 - base), start, i) for i, (name, start) in enumerate(PLACES)
            if name == chrom and start <= base < start + LENGTH]  # fmt: skip
    return min(over)[2] if over else None


@pytest.mark.parametrize("track", ["observed", "hypothetical_A", "hypothetical_T"])
def test_a_bigwig_read_back_is_the_hdf5(tmp_path, track):
    _, values = attributions(tmp_path / "a.h5", PLACES)
    (tmp_path / "sizes").write_text("".join(f"{name}\t{size}\n" for name, size in SIZES.items()))
    export_bigwig(attributions=tmp_path / "a.h5", sizes=tmp_path / "sizes", track=track, bigwig=tmp_path / "a.bw")
    with h5py.File(tmp_path / "a.h5") as handle:
        rows = handle["observed"][...] if track == "observed" else values[:, "ACGT".index(track[-1])]
    with pyBigWig.open(str(tmp_path / "a.bw")) as handle:
        assert handle.chroms() == {"chr1": 400, "chr2": 90}
        several = 0
        for chrom, size in handle.chroms().items():
            found = handle.values(chrom, 0, size)
            for base in range(size):
                locus = nearest(chrom, base)
                if locus is None:
                    assert np.isnan(found[base]), (chrom, base)
                    continue
                assert found[base] == np.float32(rows[locus, base - PLACES[locus][1]]), (chrom, base)
                several += sum(name == chrom and start <= base < start + LENGTH for name, start in PLACES) > 1
        assert several > 50  # bases that several loci hold
    again = (tmp_path / "a.bw").read_bytes()
    export_bigwig(attributions=tmp_path / "a.h5", sizes=tmp_path / "sizes", track=track, bigwig=tmp_path / "a.bw")
    assert (tmp_path / "a.bw").read_bytes() == again


@pytest.mark.parametrize("length", [1, 2, 30, 31])
def test_pieces_cover_every_base_once(length):
    rng = np.random.default_rng(length)
    starts = np.unique(rng.integers(0, 300, 40))
    rng.shuffle(starts)
    regions = pd.DataFrame({"chrom": "c", "start": starts, "end": starts + length})
    middles = starts + (length - 1) / 2
    taken = np.full(400, -1)
    for piece in pieces(regions):
        assert (taken[piece.start : piece.end] == -1).all()
        taken[piece.start : piece.end] = piece.locus
    for base in range(400):
        over = np.flatnonzero((starts <= base) & (base < starts + length))
        best = min(over, key=lambda i: (abs(middles[i] - base), starts[i]), default=-1)
        assert taken[base] == best


def test_loci_without_coordinates_have_no_bigwig(tmp_path):
    attributions(tmp_path / "a.h5", ["x", "y"])
    (tmp_path / "sizes").write_text("")
    with pytest.raises(MarginomeError, match="the loci have no coordinates"):
        export_bigwig(attributions=tmp_path / "a.h5", sizes=tmp_path / "sizes", track="observed", bigwig=tmp_path / "b")


@pytest.mark.parametrize("places", [PLACES, ["x", "y"] + [f"z{i}" for i in range(150)]])
def test_arrays_for_modisco_and_finemo(tmp_path, places):
    one_hot, values = attributions(tmp_path / "a.h5", places)
    files = [tmp_path / name for name in ("sequences.npz", "hypothetical.npz", "loci.narrowPeak")]
    export_npz(attributions=tmp_path / "a.h5", sequences=files[0], hypothetical=files[1], loci=files[2])
    for file, wanted in zip(files, (one_hot, values)):
        found = np.load(file)
        assert found.files == ["arr_0"] and found["arr_0"].dtype == wanted.dtype
        np.testing.assert_array_equal(found["arr_0"], wanted)
    peaks = pd.read_csv(files[2], sep="\t", header=None)
    assert peaks.shape == (len(places), 10) and (peaks[9] == LENGTH // 2).all()
    assert (peaks[[7, 8]] == -1).all(axis=None)  # narrowPeak's "none" of p and q
    with open_attributions(tmp_path / "a.h5") as found:
        assert peaks[3].tolist() == found.ids
    assert peaks[1].tolist() == [place[1] if isinstance(place, tuple) else 0 for place in places]
    export_h5(attributions=tmp_path / "a.h5", h5=tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as handle:
        np.testing.assert_array_equal(handle["raw/seq"][...], one_hot)
        np.testing.assert_array_equal(handle["shap/seq"][...], values)
        np.testing.assert_array_equal(handle["projected_shap/seq"][...], one_hot * values)


def rows(path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def seqlets(**columns) -> pd.DataFrame:
    table = {"seqlet_id": ["a", "b"], "sequence_id": ["chr1:100-131", "x"], "chrom": ["chr1", None],
             "genome_start": [107, None], "genome_end": [112, None], "start": [7, 3], "end": [12, 9],
             "attribution": [0.5, -2.0]}  # fmt: skip
    return pd.DataFrame(table | columns)


def test_elements_as_bed(tmp_path):
    write_elements_bed(tmp_path / "plain.bed", seqlets(), None)
    assert rows(tmp_path / "plain.bed") == [
        ["chr1", "107", "112", "a", "250", ".", ".", ".", "0.5", "a"],
        ["x", "3", "9", "b", "1000", ".", ".", ".", "-2", "b"],
    ]
    named = seqlets(match_name=["CTCF", None], match_strand=["-", None])
    effects = pd.DataFrame(
        {"motif_id": ["a", "a", "b", "b", "a"], "output": ["counts", "other", "counts", "other", "counts"],
         "background": ["g", "g", "g", "g", "h"], "effect": [1.25, 9, -0.5, 9, 9], "q": [0.01, 9, None, 9, 9],
         "unit": "log counts"}
    )  # fmt: skip
    attributions(tmp_path / "a.h5", PLACES)
    write_table(tmp_path / "s.parquet", named)
    write_table(tmp_path / "e.parquet", effects)
    export_seqlets(attributions=tmp_path / "a.h5", seqlets=tmp_path / "s.parquet", effects=tmp_path / "e.parquet",
                    bed=tmp_path / "e.bed")  # fmt: skip
    assert rows(tmp_path / "e.bed") == [
        ["# effect (log counts) and q of counts in g"],
        ["chr1", "107", "112", "CTCF", "250", "-", "1.25", "0.01", "0.5", "a"],
        ["x", "3", "9", "b", "1000", ".", "-0.5", ".", "-2", "b"],
    ]
    write_elements_bed(tmp_path / "none.bed", seqlets().iloc[:0], effects.iloc[:0])
    assert rows(tmp_path / "none.bed") == []


def test_patterns_as_meme_and_their_seqlets_as_bed(tmp_path):
    pwm = np.array([[0.7, 0.1, 0.1, 0.1], [0.01, 0.97, 0.01, 0.01], [0.25, 0.25, 0.25, 0.25]])
    patterns = pd.DataFrame(
        {"pattern_id": ["pos_patterns.pattern_0", "neg_patterns.pattern_0"], "n_seqlets": [40, 21],
         "consensus": ["ACA", "CAT"], "pwm": [pwm.ravel(), pwm[::-1].ravel()], "match_name": ["CTCF (var 2)", None]}
    )  # fmt: skip
    write_meme(tmp_path / "p.meme", patterns)
    found = read_file(tmp_path / "p.meme")
    assert [m.motif_id for m in found] == patterns["pattern_id"].tolist()
    assert [m.motif_name for m in found] == ["CTCF_(var_2)", "CAT"]
    np.testing.assert_allclose(found[0].pwm, pwm, atol=1e-6)
    np.testing.assert_allclose(found[1].pwm, pwm[::-1], atol=1e-6)
    members = seqlets(pattern_id=patterns["pattern_id"], strand=["-", "+"])
    write_instances_bed(tmp_path / "m.bed", members, patterns)
    assert rows(tmp_path / "m.bed") == [
        ["chr1", "107", "112", "CTCF (var 2)", "250", "-", "0.5", "pos_patterns.pattern_0"],
        ["x", "3", "9", "neg_patterns.pattern_0", "1000", "+", "-2", "neg_patterns.pattern_0"],
    ]
    write_meme(tmp_path / "none.meme", patterns.iloc[:0])
    assert (tmp_path / "none.meme").read_text().startswith("MEME version 4")
