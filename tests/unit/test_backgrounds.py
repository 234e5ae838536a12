"""Background sets of every kind: what is promised of each, on the shipped genome piece and on made-up ones."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from marginome.background_set import composition_table, write_background
from marginome.backgrounds import check_settings, make_background
from marginome.bases import DINUCLEOTIDES
from marginome.errors import MarginomeError
from marginome.fasta import Genome, read_background
from marginome.gc_matching import _Signal, gc_bins, quotas
from marginome.hits import HitFinder
from marginome.motifs import collect_motifs
from marginome.regions import read_regions
from workspace import RESOURCES, ROOT, need

GENOME = RESOURCES / "genome" / "hg19_chr20_piece.fa.gz"
PEAKS = RESOURCES / "peaks" / "hg19_chr20_piece_K562_CTCF.narrowPeak.gz"
JASPAR = RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme"
CONTIG = "chr20_1000000_2000000"


def matched(n=16, length=500, **more):
    return {"kind": "gc_matched", "n": n, "length": length, "genome": str(GENOME), "peaks": str(PEAKS), **more}


def shuffled(n=10, length=300, **more):
    return {
        "kind": "dinucleotide_shuffle",
        "n": n,
        "length": length,
        "genome": str(GENOME),
        "regions": str(PEAKS),
        **more,
    }


def make(settings, name="set", seed=1):
    return make_background(settings, name=name, seed=seed)


def refused(settings, *words):
    with pytest.raises(MarginomeError) as caught:
        make(settings)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def piece():
    with Genome(GENOME) as genome:
        return genome.fetch(CONTIG, 0, 1_000_000)


# ---------------------------------------------------------------------------------------------- drawn bases
def test_uniform_and_composition_have_the_bases_they_should():
    even = make({"kind": "uniform", "n": 20, "length": 5000})
    counts = Counter("".join(even.sequences))
    assert all(abs(counts[base] / 1e5 - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 1e5) for base in "ACGT")
    given = [0.1, 0.2, 0.65, 0.05]
    skewed = make({"kind": "composition", "n": 20, "length": 5000, "probabilities": given})
    counts = Counter("".join(skewed.sequences))
    for base, p in zip("ACGT", given):
        assert abs(counts[base] / 1e5 - p) < 5 * np.sqrt(p * (1 - p) / 1e5)
    with_zero = make({"kind": "composition", "n": 3, "length": 2000, "probabilities": [0, 0.5, 0.5, 0]})
    assert set("".join(with_zero.sequences)) == {"C", "G"}


def test_drawn_sequences_depend_on_seed_name_and_number_alone():
    settings = {"kind": "uniform", "n": 5, "length": 50}
    first = make(settings)
    assert make(settings).sequences == first.sequences
    assert make({**settings, "n": 9}).sequences[:5] == first.sequences
    assert make(settings, seed=2).sequences != first.sequences != make(settings, name="other").sequences
    assert len(set(first.sequences)) == 5


def test_composition_is_taken_from_sequences(tmp_path, piece):
    path = tmp_path / "x.fa"
    path.write_text(">a\nAAAC\n>b\nAAAAAANC\n")
    made = make({"kind": "composition", "n": 2, "length": 10, "fasta": str(path), "max_unknown_fraction": 0.2})
    assert made.checks["probabilities"] == {
        "A": pytest.approx(9 / 11, abs=1e-6),
        "C": pytest.approx(2 / 11, abs=1e-6),
        "G": 0,
        "T": 0,
    }
    made = make({"kind": "composition", "n": 2, "length": 10, "genome": str(GENOME), "regions": str(PEAKS)})
    peaks = read_regions(PEAKS)
    counts = Counter("".join(piece[s:e] for s, e in zip(peaks["start"], peaks["end"])))
    assert made.checks["probabilities"]["G"] == pytest.approx(counts["G"] / sum(counts.values()), abs=1e-6)
    refused({"kind": "composition", "n": 1, "length": 5, "probabilities": [0.5, 0.5, 0.5, 0]}, "sum to 1")
    refused({"kind": "composition", "n": 1, "length": 5, "probabilities": [float("nan"), 0.5, 0.25, 0.25]}, "sum to 1")
    refused({"kind": "uniform", "n": 2.5, "length": 5}, "wanted a whole number")
    as_floats = make({"kind": "uniform", "n": 2.0, "length": 30.0}, seed=1.0)
    assert as_floats.sequences == make({"kind": "uniform", "n": 2, "length": 30}, seed=1).sequences


# ---------------------------------------------------------------------------------------------- shuffles
def test_shuffles_keep_the_dinucleotides_of_their_source(piece):
    made = make(shuffled(n=40, length=301))
    assert len(set(made.ids)) == 40 and made.checks["source_sequences"] == 31
    for identifier, sequence in zip(made.ids, made.sequences):
        start, end = map(int, identifier.split(":")[1].split("_")[0].split("-"))
        source = piece[start:end]
        pairs = [Counter(a + b for a, b in pairwise(s)) for s in (source, sequence)]
        assert pairs[0] == pairs[1] and (source[0], source[-1]) == (sequence[0], sequence[-1])
        assert source != sequence
    assert made.checks["equal_to_input"] == 0
    fewer = make(shuffled(n=12, length=301))
    assert dict(zip(fewer.ids, fewer.sequences)).items() <= dict(zip(made.ids, made.sequences)).items()


def test_shuffles_that_cannot_differ_are_counted(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">poly\n" + "A" * 30 + "\n>rich\nACGATCGATTACGATGCATGCATTGACGAT\n")
    made = make({"kind": "dinucleotide_shuffle", "n": 6, "length": 30, "fasta": str(path)})
    assert made.checks["equal_to_input"] >= 3
    assert sum(s == "A" * 30 for s in made.sequences) == 3


def test_unknown_bases_are_left_out_and_counted(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">good\nACGATCGATTAC\n>bad\nACGNNNNNTTAC\n>one\nACGATCGATTNC\n")
    for kind in ("dinucleotide_shuffle", "fasta"):
        settings = {"kind": kind, "n": 1, "length": 12, "fasta": str(path)}
        assert make(settings).checks["dropped"] == {"unknown_bases": 2}
        assert make({**settings, "n": 2, "max_unknown_fraction": 0.1}).checks["dropped"] == {"unknown_bases": 1}
    loose = make({"kind": "dinucleotide_shuffle", "n": 3, "length": 12, "fasta": str(path), "max_unknown_fraction": 1})
    assert sorted(s.count("N") for s in loose.sequences) == [0, 1, 5]
    path.write_text(">bad\nNNNN\n")
    refused({"kind": "fasta", "fasta": str(path)}, "all 1 sequences", "max_unknown_fraction")


# ---------------------------------------------------------------------------------------------- given sequences
def test_bed_and_fasta(tmp_path, piece):
    made = make({"kind": "bed", "genome": str(GENOME), "regions": str(PEAKS), "length": 101})
    peaks = read_regions(PEAKS)
    for (_, start, end), sequence, summit in zip(made.regions.itertuples(index=False), made.sequences, peaks["summit"]):
        assert sequence == piece[start:end] and start == summit - 50 and end - start == 101
    assert made.ids[0] == f"{CONTIG}:{peaks['summit'][0] - 50}-{peaks['summit'][0] + 51}"
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(b">a\naCGTA\n>b\nAAAAAAA\n>c\nCC\n"))
    cut = make({"kind": "fasta", "fasta": str(path), "length": 4})
    assert cut.sequences == ["ACGT", "AAAA"] and cut.checks["dropped"] == {"too_short": 1} and cut.regions is None
    refused({"kind": "fasta", "fasta": str(path)}, "3 lengths", "length: 2")
    refused({"kind": "fasta", "fasta": str(path), "length": 9}, "longest sequence is 7 bp")
    refused(
        {"kind": "fasta", "fasta": str(path), "length": 4, "n": 3}, "2 sequences are there, wanted 3", "1 too short"
    )


def test_a_subset_depends_on_names_not_on_order(tmp_path):
    lines = [f">s{i}\n{'ACGT'[i % 4] * 10}\n" for i in range(20)]
    (tmp_path / "x.fa").write_text("".join(lines))
    (tmp_path / "y.fa").write_text("".join(lines[::-1]))
    some = [make({"kind": "fasta", "fasta": str(tmp_path / f), "n": 7}) for f in ("x.fa", "y.fa")]
    assert set(some[0].ids) == set(some[1].ids) and len(some[0].ids) == 7


def test_duplicate_regions_and_regions_over_the_edge(tmp_path):
    bed = tmp_path / "x.bed"
    bed.write_text(f"{CONTIG}\t10\t20\n{CONTIG}\t5000\t5100\n{CONTIG}\t5010\t5090\n")
    made = make({"kind": "bed", "genome": str(GENOME), "regions": str(bed), "length": 100})
    assert made.checks["dropped"] == {"off_edge": 1, "duplicate": 1} and made.ids == [f"{CONTIG}:5000-5100"]
    refused({"kind": "bed", "genome": str(GENOME), "regions": str(bed), "length": 100, "off_edge": "error"}, "line 1")


# ---------------------------------------------------------------------------------------------- GC matching
def test_quotas_are_the_targets_distribution():
    rng = np.random.default_rng(0)
    gc = rng.beta(5, 6, 300)
    for n in (300, 600, 900):
        found, counts = np.unique(gc_bins(gc, 0.02), return_counts=True)
        assert quotas(gc, n, 0.02) == dict(zip(found.tolist(), (counts * n // 300).tolist()))
    for n in (1, 7, 16, 100, 1000):
        share = quotas(gc, n, 0.02)
        assert sum(share.values()) == n
        exact = {b: n * (gc_bins(gc, 0.02) == b).mean() for b in share}
        assert all(abs(share[b] - exact[b]) <= 1 + 1e-9 for b in share)
    assert gc_bins(np.array([0.0, 0.02, 0.0199, 0.58, 1.0]), 0.02).tolist() == [0, 1, 0, 29, 49]


def test_matched_windows_are_what_is_promised(piece):
    need("bedtools", "bedtools")
    made = make(matched(n=62, flank=700))
    peaks = read_regions(PEAKS)
    assert len(made.regions) == 62
    for (chrom, start, end), sequence in zip(made.regions.itertuples(index=False), made.sequences):
        assert chrom == CONTIG and sequence == piece[start:end] and end - start == 500
        distance = np.maximum(peaks["start"] - end, start - peaks["end"]).min()
        assert distance >= 700
    starts = np.sort(made.regions["start"])
    assert (np.diff(starts) >= 500).all()
    # bin by bin as many as the peaks say
    windows = [piece[s - 250 : s + 250] for s in peaks["summit"]]
    gc = np.array([(w.count("G") + w.count("C")) / 500 for w in windows])
    wanted = Counter({b: 2 * k for b, k in Counter(gc_bins(gc, 0.02).tolist()).items()})
    assert Counter(gc_bins(made.table["gc"].to_numpy(), 0.02).tolist()) == wanted
    from scipy.stats import ks_2samp

    assert made.checks["gc_ks_distance"] == ks_2samp(made.table["gc"], gc).statistic < 0.15
    assert made.checks["bins_short"] == 0 and made.checks["dropped"]["windows_excluded"] > 0


def test_matching_is_the_same_every_time_and_another_for_another_seed():
    need("bedtools", "bedtools")
    first = make(matched())
    assert make(matched()).ids == first.ids
    assert make(matched(), seed=2).ids != first.ids != make(matched(), name="other").ids


def test_bins_that_fall_short_are_named_or_filled_from_the_nearest():
    need("bedtools", "bedtools")
    message = refused(
        matched(n=900, length=1000), "bins that fell short: GC 0.", "shortfall: nearest", "windows excluded"
    )
    assert "set (gc_matched)" in message
    made = make(matched(n=400, length=1000, shortfall="nearest"))
    short = [b for b in made.checks["bins"] if b["obtained"] < b["wanted"]]
    assert len(short) == made.checks["bins_short"] > 0
    assert all(b["from_nearest_bins"] == b["wanted"] - b["obtained"] for b in made.checks["bins"])
    assert len(set(made.ids)) == 400
    refused(matched(n=5000, length=1000, shortfall="nearest"), "could not be found")


def synthetic(tmp_path, contigs, peaks):
    genome, bed = tmp_path / "genome.fa", tmp_path / "peaks.bed"
    genome.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items()))
    bed.write_text("".join(f"{c}\t{s}\t{e}\n" for c, s, e in peaks))
    return {"kind": "gc_matched", "length": 50, "genome": str(genome), "peaks": str(bed), "flank": 0, "bin_width": 1.0}


def test_contigs_that_are_too_short_for_a_window_are_said(tmp_path):
    need("bedtools", "bedtools")
    settings = synthetic(tmp_path, {"chr1": "ACGT" * 50, "tiny": "ACGT"}, [("chr1", 100, 150)])
    refused(settings | {"n": 2, "chromosomes": {"include": ["tiny"]}}, "no contig is as long as 50 bp")


def test_masks_unknown_bases_chromosomes_and_blacklists(tmp_path):
    need("bedtools", "bedtools")
    rng = np.random.default_rng(0)
    bases = lambda n: "".join(rng.choice(list("ACGT"), n))  # noqa: E731
    contigs = {
        "chr1": bases(1000) + "N" * 1000 + bases(1000).lower() + bases(1000),
        "chr2": bases(2000),
        "chrUn_1": bases(2000),
        "tiny": "ACGT",
    }
    settings = synthetic(tmp_path, contigs, [("chr2", 100, 150)])
    (tmp_path / "blacklist.bed").write_text("chr2\t1000\t2000\nelsewhere\t1\t9\n")
    made = make(
        settings | {"n": 25, "chromosomes": {"include": ["chr?"]}, "exclude": [str(tmp_path / "blacklist.bed")],
                    "max_soft_masked_fraction": 0.0}
    )  # fmt: skip
    for chrom, start, end in made.regions.itertuples(index=False):
        if chrom == "chr1":
            assert end <= 1000 or start >= 3000
        else:
            assert chrom == "chr2" and end <= 1000 and (end <= 100 or start >= 150)
    assert {"windows_unknown_bases", "windows_soft_masked", "windows_excluded"} <= set(made.checks["dropped"])
    masked = make(settings | {"n": 30, "chromosomes": {"exclude": ["chr2", "chrUn*"]}})
    assert set(masked.regions["chrom"]) == {"chr1"} and masked.table["unknown"].max() == 0
    assert any(2000 <= s < 3000 for s in masked.regions["start"])  # soft-masked bases are used, in upper case
    assert set("".join(masked.sequences)) <= set("ACGT")
    with_n = make(settings | {"n": 30, "chromosomes": {"include": ["chr1"]}, "max_unknown_fraction": 0.5, "stride": 5})
    assert 0 < with_n.table["unknown"].max() <= 25
    refused(settings | {"n": 5, "chromosomes": {"include": ["1"]}}, "'1' fits no contig", "chr1, chr2")
    refused(settings | {"n": 5, "length": 5000, "off_edge": "drop"}, "reach over the end")
    (tmp_path / "blacklist.bed").write_text("1\t1000\t2000\n")
    refused(settings | {"n": 5, "exclude": [str(tmp_path / "blacklist.bed")]}, "'1' where", "'chr1'")


def test_overlapping_windows_only_when_allowed(tmp_path):
    need("bedtools", "bedtools")
    settings = synthetic(tmp_path, {"a": "ACGT" * 100}, [("a", 150, 200)])
    assert len(make(settings | {"n": 5, "overlapping": True, "stride": 1, "length": 100}).ids) == 5
    refused(settings | {"n": 5, "stride": 1, "length": 100}, "bins that fell short")
    made = make(settings | {"n": 40, "overlapping": True, "stride": 1, "length": 100})
    assert len(set(made.ids)) == 40


def test_windows_with_signal_are_passed_over(tmp_path):
    need("bedtools", "bedtools")
    import pyBigWig

    rng = np.random.default_rng(0)
    settings = synthetic(
        tmp_path, {"a": "".join(rng.choice(list("ACGT"), 4000)), "b": "ACGT" * 100}, [("a", 100, 150), ("a", 200, 250)]
    )
    track = tmp_path / "x.bw"
    with pyBigWig.open(str(track), "w") as handle:
        handle.addHeader([("a", 4000), ("b", 400)])
        handle.addEntries(["a"] * 3, [90, 1000, 3000], ends=[260, 2000, 3500], values=[2.0, 2.0, 0.5])
    made = make(settings | {"n": 40, "signal": {"bigwigs": [str(track)], "max_fraction": 0.5}})
    assert made.checks["signal_limit"] == pytest.approx(0.5 * 100)
    starts, ends = made.regions["start"], made.regions["end"]
    on_a = made.regions["chrom"] == "a"
    inside = np.minimum(ends, 2000) - np.maximum(starts, 1000)
    assert (inside[on_a] <= 25).all() and made.checks["dropped"]["windows_with_signal"] > 0
    assert ((starts >= 3000) & (starts < 3450) & on_a).any()  # little signal is allowed
    refused(settings | {"n": 1, "signal": {"bigwigs": [str(tmp_path / "none.bw")]}}, "none.bw", "cannot be read")
    with pyBigWig.open(str(track), "w") as handle:
        handle.addHeader([("chrb", 400)])
        handle.addEntries(["chrb"], [90], ends=[260], values=[2.0])
    refused(settings | {"n": 1, "signal": {"bigwigs": [str(track)]}}, "x.bw")


def test_the_limit_of_the_signal_is_half_the_first_percentile_of_the_peaks(tmp_path):
    need("bedtools", "bedtools")
    import pyBigWig

    peaks = [("a", 100, 150), ("a", 300, 350), ("a", 500, 550)]
    settings = synthetic(tmp_path, {"a": "ACGT" * 500}, peaks)
    with pyBigWig.open(str(tmp_path / "x.bw"), "w") as handle:
        handle.addHeader([("a", 2000)])
        handle.addEntries(["a"] * 3, [90, 290, 490], ends=[160, 360, 560], values=[8.0, 2.0, 4.0])
    made = make(settings | {"n": 1, "signal": {"bigwigs": [str(tmp_path / "x.bw")], "max_fraction": 0.5}})
    # totals of 100, 200 and 400: a hundredth of the way is 0.02 from the first to the second
    assert made.checks["signal_limit"] == pytest.approx(0.5 * (100 + 0.02 * 100))


def test_gc_is_that_of_the_known_bases(tmp_path):
    need("bedtools", "bedtools")
    # the one window that is no peak: 32 of 40 known bases are G or C, as 40 of 50 of the peak are
    settings = synthetic(tmp_path, {"a": "GGCCA" * 10 + "GGCCA" * 8 + "N" * 10}, [("a", 0, 50)])
    made = make(settings | {"n": 1, "stride": 50, "bin_width": 0.02, "max_unknown_fraction": 0.2})
    assert made.ids == ["a:50-100"] and made.table["gc"].tolist() == [0.8]


def test_which_sequences_are_shuffled_depends_on_their_names_and_not_on_their_order(tmp_path):
    rng = np.random.default_rng(0)
    records = [f">s{i}\n{''.join(rng.choice(list('ACGT'), 60))}\n" for i in range(8)]
    found = []
    for name, listed in (("as", records), ("turned", records[::-1])):
        (tmp_path / f"{name}.fa").write_text("".join(listed))
        kind = {"kind": "dinucleotide_shuffle", "n": 3, "length": 60, "fasta": str(tmp_path / f"{name}.fa")}
        found.append(make(kind))
    assert found[0].ids == found[1].ids and found[0].sequences == found[1].sequences


# ---------------------------------------------------------------------------------------------- strong hits
@pytest.fixture(scope="module")
def ctcf():
    return collect_motifs({"files": [str(JASPAR)], "include": ["MA0139.2"]})


def test_hits_are_those_of_fimo(ctcf, piece):
    """memelite's FIMO, at the same threshold, on the same windows: they differ at the threshold only."""
    import torch
    from memelite import fimo

    from marginome.sequences import one_hot_encode

    rng = np.random.default_rng(0)
    peaks = read_regions(PEAKS)
    starts = [*(peaks["summit"] - 100), *rng.integers(0, 999_000, 300)]
    windows = [piece[s : s + 200] for s in starts]
    X = torch.stack([one_hot_encode(w) for w in windows]).float()
    for p_value in (1e-4, 1e-5):
        finder = HitFinder(ctcf, p_value)
        ours = np.array([finder.find(w) is not None for w in windows])
        (hits,) = fimo({"CTCF": torch.tensor(ctcf[0].pwm.T)}, X, threshold=p_value, eps=1e-3)
        theirs = np.zeros(len(windows), dtype=bool)
        theirs[hits["sequence_name"].to_numpy(dtype=int)] = True
        assert ours[: len(peaks)].mean() > 0.4 > 0.2 > ours[len(peaks) :].mean()
        # its score distribution is binned at 0.1 bits: only windows at the threshold may be judged otherwise
        scores, limit = finder.scores[0] * finder.STEP, finder.limits[0] * finder.STEP
        for window in (windows[i] for i in np.flatnonzero(ours != theirs)):
            codes = np.array(["ACGT".index(base) for base in window])
            best = max(
                strand[np.arange(len(scores)), codes[i : i + len(scores)]].sum()
                for strand in (scores, scores[::-1, ::-1])
                for i in range(len(codes) - len(scores) + 1)
            )
            assert abs(best - limit) < 0.2
        assert (ours != theirs).mean() < 0.03


def test_the_threshold_is_the_exact_tail(ctcf):
    """Enumerate all words of a short motif."""
    from itertools import product

    from marginome.motifs import Motif

    rng = np.random.default_rng(0)
    motif = Motif("m", "m", rng.dirichlet(np.ones(4) * 0.4, 5), "x", 1, "meme")
    for p_value in (0.3, 0.05, 0.004):
        finder = HitFinder([motif], p_value)
        steps, limit = finder.scores[0], finder.limits[0]
        scores = np.array([sum(steps[i, b] for i, b in enumerate(word)) for word in product(range(4), repeat=5)])
        assert (scores >= limit).mean() <= p_value
        assert (scores >= np.unique(scores[scores < limit]).max()).mean() > p_value


def test_sequences_with_strong_hits_are_left_out_or_drawn_anew(ctcf, tmp_path, monkeypatch):
    need("bedtools", "bedtools")
    with_hits, find = [], HitFinder.find
    monkeypatch.setattr(HitFinder, "find", lambda self, s: with_hits.append(found := find(self, s)) or found)
    hits = {"motifs": {"files": [str(JASPAR)], "include": ["MA0139.2"]}, "p_value": 1e-4}
    finder = HitFinder(ctcf, 1e-4)
    for settings in (
        {"kind": "uniform", "n": 20, "length": 1000},
        shuffled(n=20, length=1000),
        matched(n=20, length=1000),
        {"kind": "bed", "genome": str(GENOME), "regions": str(PEAKS), "length": 200},
    ):
        with_hits.clear()
        plain, clean = make(settings), make({**settings, "exclude_hits": hits})
        assert clean.checks["hits_excluded"] == sum(hit is not None for hit in with_hits)
        assert any(finder.find(s) for s in plain.sequences)
        assert not any(finder.find(s) for s in clean.sequences)
        assert clean.checks["hits_excluded"] > 0 == plain.checks["hits_excluded"]
        if settings["kind"] != "bed":
            assert len(clean.sequences) == 20
    always = {"motifs": {"files": [str(tmp_path / "a.tsv")]}, "p_value": 0.01}
    (tmp_path / "a.tsv").write_text("x\tACGT\n")
    refused({"kind": "uniform", "n": 1, "length": 5000, "exclude_hits": always}, "'x'", "100 draws", "p_value")


# ---------------------------------------------------------------------------------------------- numbers and files
def test_composition_table_by_hand():
    table = composition_table(["a", "b"], ["ACGCGN", "NNNN"], ["s", "s"])
    assert table.loc[0, ["length", "unknown"]].tolist() == [6, 1] and table.loc[0, "gc"] == 4 / 5
    assert table.loc[0, "CG"] == 2 / 4 and table.loc[0, "AC"] == 1 / 4 and table.loc[0, "AA"] == 0
    assert np.isnan(table.loc[1, "gc"])
    assert table[list(DINUCLEOTIDES)].loc[0].sum() == pytest.approx(1)


def test_files_are_for_others_too(tmp_path):
    need("bedtools", "bedtools")
    made = make(matched(n=6))
    names = {"fasta": "x.fa.gz", "bed": "x.bed", "tsv": "x.tsv", "checks": "x.json"}
    write_background(made, **{key: tmp_path / name for key, name in names.items()})
    assert read_background(tmp_path / "x.fa.gz") == (made.ids, made.sequences)
    with Genome(tmp_path / "x.fa.gz") as genome:  # it is bgzip
        assert genome.fetch(made.ids[3], 0, 500) == made.sequences[3]
    bed = read_regions(tmp_path / "x.bed")
    assert bed["name"].tolist() == made.ids and bed["start"].tolist() == made.regions["start"].tolist()
    table = pd.read_csv(tmp_path / "x.tsv", sep="\t")
    np.testing.assert_allclose(table[list(DINUCLEOTIDES)], made.table[list(DINUCLEOTIDES)], atol=1e-6)
    assert json.loads((tmp_path / "x.json").read_text())["gc_ks_distance"] == made.checks["gc_ks_distance"]
    content = (tmp_path / "x.fa.gz").read_bytes()
    write_background(make(matched(n=6)), fasta=tmp_path / "x.fa.gz", bed=tmp_path / "x.bed")
    assert (tmp_path / "x.fa.gz").read_bytes() == content
    write_background(make({"kind": "uniform", "n": 2, "length": 9}), fasta=tmp_path / "u.fa", bed=tmp_path / "u.bed")
    assert (tmp_path / "u.bed").read_text() == "" and (tmp_path / "u.fa").read_text().startswith(">set_0\n")


def test_the_figure_shows_the_set_and_its_target():
    from marginome.plots import composition_figure

    figure = composition_figure(make(shuffled(n=5)))
    left, right = figure.axes
    assert len(left.lines) == 2 and len(right.patches) == 32
    assert len(composition_figure(make({"kind": "uniform", "n": 1, "length": 50})).axes[1].patches) == 16


# ---------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "gc_mached"}, ["Did you mean 'gc_matched'"]),
        ({}, ["no kind 'None'"]),
        ({"kind": "uniform", "n": 3}, ["missing: length"]),
        ({"kind": "uniform", "n": 3, "length": 5, "peaks": "x"}, ["no key of kind uniform 'peaks'"]),
        ({"kind": "gc_matched", "n": 3, "length": 5, "genome": "x"}, ["missing: peaks"]),
        ({"kind": "composition", "n": 3, "length": 5}, ["Give one of: fasta, or genome and regions, or probabilities"]),
        (
            {"kind": "dinucleotide_shuffle", "n": 3, "length": 5, "fasta": "x", "genome": "y", "regions": "z"},
            ["Give one of"],
        ),
        ({"kind": "dinucleotide_shuffle", "n": 3, "length": 5, "genome": "y"}, ["Give one of"]),
    ],
)
def test_wrong_settings(settings, words):
    refused(settings, *words)


def test_the_shipped_configs_background_sets_pass():
    import yaml

    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for settings in config["backgrounds"].values():
        assert check_settings(settings)["kind"] == settings["kind"]


def test_odd_rows_of_regions_are_refused_or_counted(tmp_path):
    peaks = gzip.decompress(PEAKS.read_bytes()).decode()
    odd = tmp_path / "odd.narrowPeak"
    odd.write_text(peaks + f"{CONTIG}\t900\t800\n{CONTIG}\tx\t800\n")
    bed = {"kind": "bed", "genome": str(GENOME), "regions": str(odd), "length": 200}
    shuffled = {"kind": "dinucleotide_shuffle", "genome": str(GENOME), "regions": str(odd), "length": 200, "n": 4}
    for settings, reason in (
        (bed, "odd_rows"),
        (shuffled, "odd_rows"),
        (matched(n=4, peaks=str(odd)), "peaks_odd_rows"),
    ):
        refused(settings, "odd.narrowPeak, line 32", "2 of 33 rows are odd", "odd_rows: skip")
        assert make({**settings, "odd_rows": "skip"}).checks["dropped"][reason] == 2
    refused(matched(n=4, exclude=[str(odd)]), "odd.narrowPeak, line 32")
    make(matched(n=4, exclude=[str(odd)], odd_rows="skip"))


def test_windows_may_touch_and_are_counted_once(tmp_path):
    """A contig that the windows fill exactly: those beside each other are no overlap, and there is not one more."""
    need("bedtools", "bedtools")
    settings = synthetic(tmp_path, {"a": "ACGT" * 75}, [("a", 0, 50)])
    made = make(settings | {"n": 5, "stride": 50})
    assert made.regions["start"].tolist() == [50, 100, 150, 200, 250]
    assert [(b["wanted"], b["available"], b["obtained"]) for b in made.checks["bins"]] == [(5, 5, 5)]
    assert made.checks["dropped"]["windows_excluded"] == 1 and made.checks["hits_excluded"] == 0
    refused(settings | {"n": 6, "stride": 50}, "1 of 6 windows of 50 bp", "5 of 6")


def test_a_width_of_bins_that_is_none():
    assert gc_bins(np.array([0.0, 0.4, 1.0]), 1.0).tolist() == [0, 0, 0]
    assert gc_bins(np.array([0.3, 0.6, 0.7, 0.95, 1.0]), 0.3).tolist() == [1, 2, 2, 3, 3]
    for width in (0.0, -0.1, 1.1):
        with pytest.raises(MarginomeError, match="bin_width"):
            gc_bins(np.array([0.5]), width)


@pytest.mark.parametrize(("stride", "width"), [(None, 0.25), (7, 1 / 64)])
def test_what_is_left_out_is_counted_as_by_hand(tmp_path, stride, width):
    """Every window of contigs with N, soft-masked bases and shut regions, each left out for its first reason."""
    need("bedtools", "bedtools")
    rng = np.random.default_rng(2)
    length, flank = 40, 15
    runs = [rng.choice(list(letters), int(rng.integers(5, 90))) for letters in ["ACGT", "acgt", "AATTC", "N"] * 8]
    text = "".join("".join(run) for run in runs)
    contigs = {"a": text[: len(text) // 2], "b": text[len(text) // 2 :], "c": "ACGT" * 9}
    shut = [("a", 300, 340), ("b", 60, 100)]
    settings = synthetic(tmp_path, contigs, [("a", 100, 140), ("b", 200, 240), ("b", 300, 340)])
    (tmp_path / "shut.bed").write_text("".join(f"{c}\t{s}\t{e}\n" for c, s, e in shut))
    peaks = [("a", 100, 140), ("b", 200, 240), ("b", 300, 340)]
    closed = [(c, s - flank, e + flank) for c, s, e in peaks] + shut
    dropped, available = Counter(), Counter()
    for name, bases in contigs.items():
        for start in range(0, len(bases) - length + 1, stride or length // 8):
            window = bases[start : start + length]
            unknown, upper = window.count("N"), window.upper()
            if unknown > 0.25 * length:
                dropped["windows_unknown_bases"] += 1
            elif sum(base.islower() for base in window) > 0.5 * length:
                dropped["windows_soft_masked"] += 1
            elif any(c == name and s < start + length and start < e for c, s, e in closed):
                dropped["windows_excluded"] += 1
            else:
                gc = (upper.count("G") + upper.count("C")) / (length - unknown)
                available[min(int(gc / width + 1e-9), round(1 / width) - 1)] += 1
    made = make(settings | {"n": 3, "length": length, "flank": flank, "stride": stride, "bin_width": width,
                            "exclude": [str(tmp_path / "shut.bed")], "max_unknown_fraction": 0.25,
                            "max_soft_masked_fraction": 0.5, "shortfall": "nearest"})  # fmt: skip
    found = made.checks["dropped"]
    assert min(dropped.values()) > 3 and {key: found[key] for key in dropped} == dropped
    for row in made.checks["bins"]:
        assert row["available"] == available[round(row["gc_from"] / width)]
        assert row["gc_to"] == row["gc_from"] + width and row["obtained"] + row["from_nearest_bins"] == row["wanted"]


def test_what_is_missing_comes_from_the_nearest_bins_and_below_first(tmp_path):
    need("bedtools", "bedtools")
    there = {5: 1, 4: 2, 6: 2, 3: 5, 7: 5}  # windows of 10 bp, by their number of G and C
    windows = ["G" * gc + "A" * (10 - gc) for gc, n in there.items() for _ in range(n)]
    peaks = [("a", 10 * i, 10 * i + 10) for i in range(6)]
    settings = synthetic(tmp_path, {"a": "GGGGGAAAAA" * 6 + "".join(windows)}, peaks)
    for n, taken in ((1, [5]), (3, [4, 4, 5]), (6, [3, 4, 4, 5, 6, 6]), (7, [3, 3, 4, 4, 5, 6, 6])):
        made = make(settings | {"n": n, "length": 10, "stride": 10, "bin_width": 0.1, "shortfall": "nearest"})
        assert sorted(s.count("G") for s in made.sequences) == taken
        (row,) = made.checks["bins"]
        assert row == {"gc_from": 0.5, "gc_to": 0.6, "wanted": n, "available": 1, "obtained": 1,
                       "from_nearest_bins": n - 1}  # fmt: skip
        assert made.checks["bins_short"] == (n > 1)


def test_scarce_bins_are_served_first_and_no_windows_overlap(tmp_path):
    """Each of four windows of G alone overlaps two of half G, of which one is wanted; a fifth lies elsewhere."""
    need("bedtools", "bedtools")
    contigs = {"p": "G" * 40 + "GGGGGAAAAA", "a": ("G" * 10 + "A" * 10) * 4, "b": "GGGGGAAAAA"}
    settings = synthetic(tmp_path, contigs, [("p", 10 * i, 10 * i + 10) for i in range(5)])
    for seed in range(6):
        made = make(settings | {"n": 5, "length": 10, "stride": 5, "bin_width": 0.1}, seed=seed)
        assert made.ids == ["a:0-10", "a:20-30", "a:40-50", "a:60-70", "b:0-10"]
        free = make(settings | {"n": 5, "length": 10, "stride": 1, "bin_width": 1.0}, seed=seed)
        for _, part in free.regions.groupby("chrom"):
            assert (np.diff(part["start"]) >= 10).all()


@pytest.mark.parametrize(("length", "stride"), [(4, 1), (8, 1), (15, 1), (16, 2), (50, 6)])
def test_windows_are_an_eighth_of_their_length_apart(tmp_path, length, stride):
    need("bedtools", "bedtools")
    settings = synthetic(tmp_path, {"p": "ACGT" * 50, "a": "ACGT" * 30}, [("p", 0, 200)])
    made = make(settings | {"n": 1, "length": length, "chromosomes": {"include": ["a"]}})
    assert made.checks["bins"][0]["available"] == (120 - length) // stride + 1


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_a_window_may_hold_the_limit_of_the_signal_and_no_more_of_either_sign(tmp_path, unit):
    need("bedtools", "bedtools")
    import pyBigWig

    contigs = {name: "ACGT" * 50 if name == "p" else "ACGTA" * 10 for name in "pbcd"}
    settings = synthetic(tmp_path, contigs, [("p", 0, 50), ("p", 100, 150)]) | {
        "stride": 50,
        "chromosomes": {"include": ["[bcd]"]},
        "signal": {"bigwigs": [str(tmp_path / "x.bw")], "max_fraction": 0.5},
    }

    def write(of_peaks):
        with pyBigWig.open(str(tmp_path / "x.bw"), "w") as handle:
            handle.addHeader([(name, len(bases)) for name, bases in contigs.items()])
            handle.addEntries([*"pbcd"], [0] * 4, ends=[200, 50, 50, 50],
                              values=[of_peaks, 1.0 * unit, 1.25 * unit, -1.25 * unit])  # fmt: skip

    write(2.0 * unit)
    for seed in range(4):
        made = make(settings | {"n": 1}, seed=seed)
        assert made.ids == ["b:0-50"] and made.checks["signal_limit"] == pytest.approx(50 * unit)
    refused(settings | {"n": 2}, "1 of 2 windows of 50 bp", "windows with signal 2")
    write(0.0)
    refused(settings | {"n": 1}, "1 % of the peaks have no signal at all")


def test_a_bigwig_of_another_assembly_is_refused(tmp_path):
    import pyBigWig

    with pyBigWig.open(str(tmp_path / "x.bw"), "w") as handle:
        handle.addHeader([("other", 5000)])
        handle.addEntries(["other"], [0], [300], [1.0])
    settings = {"bigwigs": [str(tmp_path / "x.bw")], "max_fraction": 0.5}
    with Genome(GENOME) as genome, pytest.raises(MarginomeError, match=r"x\.bw.*other"):
        _Signal(settings, [(next(iter(genome.contigs)), 0, 300)], genome, "signal")
