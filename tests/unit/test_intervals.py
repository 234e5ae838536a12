"""Intervals on contigs: resizing, edges, spellings; against brute force and bedtools."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from marginome.intervals import merged_intervals, overlaps, place_regions, regions_of
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


def test_a_summit_at_the_first_base_and_regions_that_touch_both_ends():
    placed = place_regions(regions(("a", 0, 100, 0)), 1, {"a": 1000}).regions
    assert placed[["start", "end"]].to_numpy().tolist() == [[0, 1]]
    ends = place_regions(regions(("a", 0, 100, -1), ("a", 900, 1000, -1)), 100, {"a": 1000}, off_edge="error")
    assert ends.regions[["start", "end"]].to_numpy().tolist() == [[0, 100], [900, 1000]] and ends.off_edge == 0
    for start in (-1, 901):
        over = regions(("a", start, start + 100, -1), ("a", 50, 150, -1))
        assert place_regions(over, 100, {"a": 1000}).off_edge == 1
    rows = regions(("a", 5, 10, -1))
    assert place_regions(rows, None, {"a": 10}).odd_rows == 0
    rows.attrs["odd_rows"] = 3
    assert place_regions(rows, None, {"a": 10}).odd_rows == 3


def test_mitochondria_have_two_spellings_too():
    refused(lambda: place_regions(regions(("chrM", 5, 9, -1)), 4, {"MT": 100}), "'chrM' where", "'MT'")
    refused(lambda: place_regions(regions(("m2", 5, 9, -1)), 4, {"mt": 100}), "which the FASTA file does not have")


@pytest.mark.parametrize("flank", [0, 1])
def test_windows_that_touch_an_interval_do_not_overlap_it(flank):
    """Brute force over every start: [start, end) and intervals of one base, at both ends of a contig and in it."""
    need("bedtools", "bedtools")
    table = pd.DataFrame({"chrom": "a", "start": [0, 10, 12, 19], "end": [1, 11, 13, 20]})
    merged = merged_intervals(table, {"a": 20}, flank=flank)["a"]
    covered = {b for s, e in zip(table["start"], table["end"]) for b in range(s - flank, e + flank) if 0 <= b < 20}
    assert {b for s, e in zip(*merged) for b in range(s, e)} == covered
    for length in (1, 2, 5):
        starts = np.arange(20 - length + 1)
        wanted = [bool(covered & set(range(s, s + length))) for s in starts]
        assert overlaps(starts, length, merged).tolist() == wanted


def test_ids_are_regions_if_all_of_them_are():
    found = regions_of(["chr1:5-10", "HLA*01:02:3-40"])
    assert found.to_dict("list") == {"chrom": ["chr1", "HLA*01:02"], "start": [5, 3], "end": [10, 40]}
    assert regions_of(["chr1:5-10", "seq0"]) is None
