"""Intervals on contigs: resizing, edges, spellings; against brute force and bedtools."""

from __future__ import annotations

import numpy as np
import pandas as pd

from marginome.intervals import merged_intervals, overlaps, place_regions
from refusals import refused
from workspace import need


def regions(*rows):
    return pd.DataFrame(
        [(c, s, e, f"r{i}", summit, i + 1) for i, (c, s, e, summit) in enumerate(rows)],
        columns=["chrom", "start", "end", "name", "summit", "line"],
    )


def test_resizing_around_summits_and_middles():
    placed = place_regions(regions(("a", 100, 201, -1), ("a", 100, 200, 110)), 20, {"a": 1000})
    assert placed.regions[["start", "end"]].to_numpy().tolist() == [[140, 160], [100, 120]]
    odd = place_regions(regions(("a", 100, 200, -1)), 21, {"a": 1000}).regions
    assert odd[["start", "end"]].to_numpy().tolist() == [[140, 161]]
    kept = place_regions(regions(("a", 3, 9, -1)), None, {"a": 1000}).regions
    assert kept[["start", "end"]].to_numpy().tolist() == [[3, 9]]


def test_regions_over_the_edge_are_counted_or_refused():
    rows = regions(("a", 5, 10, -1), ("a", 500, 510, -1), ("a", 995, 1000, -1))
    placed = place_regions(rows, 100, {"a": 1000})
    assert placed.off_edge == 2 and placed.regions["line"].tolist() == [2]
    refused(lambda: place_regions(rows, 100, {"a": 1000}, off_edge="error", where="x.bed"), "2 of 3", "x.bed, line 1")
    refused(lambda: place_regions(rows, 2000, {"a": 1000}), "one assembly")


def test_chr1_against_1_is_explained_with_both_spellings():
    for old, new, command in (("1", "chr1", "s/^/chr/"), ("chr1", "1", "s/^chr//")):
        refused(
            lambda old=old, new=new: place_regions(
                regions((old, 5, 9, -1)), 4, {new: 100}, where="x.bed", genome="g.fa"
            ),
            f"'{old}' where g.fa says '{new}'",
            command,
            "x.bed, line 1",
        )
    rows = regions(("a", 50, 60, -1), ("other", 5, 9, -1))
    refused(lambda: place_regions(rows, 4, {"a": 100}), "1 of 2 regions", "'other'", "unknown_contigs: drop", "line 2")
    placed = place_regions(rows, 4, {"a": 100}, unknown_contigs="drop")
    assert placed.unknown_contig == 1 and len(placed.regions) == 1
    refused(lambda: place_regions(rows[1:], 4, {"a": 100}, unknown_contigs="drop"), "one assembly")


def test_merged_intervals_and_overlaps_are_bedtools():
    need("bedtools", "bedtools")
    import pybedtools

    rng = np.random.default_rng(1)
    sizes = {"a": 2000, "b": 500}
    rows = []
    for chrom, size in sizes.items():
        starts = rng.integers(0, size - 50, 12)
        rows += [(chrom, int(s), int(s + rng.integers(1, 50))) for s in starts]
    table = pd.DataFrame([*rows, ("elsewhere", 1, 2)], columns=["chrom", "start", "end"])
    merged = merged_intervals(table, sizes, flank=10)
    for chrom, size in sizes.items():
        covered = np.zeros(size, dtype=bool)
        for c, s, e in rows:
            if c == chrom:
                covered[max(s - 10, 0) : e + 10] = True
        ours = np.zeros(size, dtype=bool)
        for s, e in zip(*merged[chrom]):
            ours[s:e] = True
        assert np.array_equal(ours, covered)
        windows = np.arange(0, size - 30, 7)
        expected = [covered[w : w + 30].any() for w in windows]
        assert overlaps(windows, 30, merged[chrom]).tolist() == expected
        bed = pybedtools.BedTool("".join(f"{chrom}\t{w}\t{w + 30}\n" for w in windows), from_string=True)
        shut = pybedtools.BedTool("".join(f"{chrom}\t{s}\t{e}\n" for s, e in zip(*merged[chrom])), from_string=True)
        assert len(bed.intersect(shut, u=True)) == sum(expected)
    assert not overlaps(np.arange(5), 3, None).any() and merged_intervals(table[-1:], sizes) == {}
    pybedtools.cleanup()


def test_a_missing_bedtools_says_how_to_install_it(monkeypatch):
    import pybedtools

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(pybedtools.settings, "bedtools_installed", False, raising=False)
    monkeypatch.setattr(pybedtools.helpers.settings, "_bedtools_path", "", raising=False)
    table = pd.DataFrame({"chrom": ["a"], "start": [1], "end": [5]})
    refused(lambda: merged_intervals(table, {"a": 10}), "bedtools", "apt-get install bedtools")
