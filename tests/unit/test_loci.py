"""Loci: what a user gives wrong is said before any model runs; what is given right comes out as it is."""

from __future__ import annotations

import gzip

import pandas as pd
import pytest
from Bio import bgzf

from marginome.background_set import BackgroundSet, write_background
from marginome.errors import MarginomeError
from marginome.fasta import Genome, count_sequences, read_some
from marginome.intervals import regions_of
from marginome.loci import collect_loci
from workspace import RESOURCES

GENOME = RESOURCES / "genome" / "hg19_chr20_piece.fa.gz"
PEAKS = RESOURCES / "peaks" / "hg19_chr20_piece_K562_CTCF.narrowPeak.gz"
CONTIG = "chr20_1000000_2000000"


@pytest.fixture
def bed(tmp_path):
    def write(*rows):
        path = tmp_path / "loci.bed"
        path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
        return path

    return write


def collect(regions, length=200, **settings):
    chosen = {"kind": "bed", "genome": GENOME, "regions": regions, "resize": False, "unusable": "error",
              "max_unknown_fraction": 0}  # fmt: skip
    return collect_loci(chosen | settings, name="x", length=length)


def test_regions_of_the_right_width_come_as_they_are(bed):
    found = collect(bed((CONTIG, 1000, 1200), (CONTIG, 5000, 5200)))
    assert found.ids == [f"{CONTIG}:1000-1200", f"{CONTIG}:5000-5200"]
    with Genome(GENOME) as genome:
        assert found.sequences[1] == genome.fetch(CONTIG, 5000, 5200).upper()
    assert found.regions["start"].tolist() == [1000, 5000]


def test_peaks_are_resized_around_their_summits_only_when_asked():
    with pytest.raises(MarginomeError, match=r"31 of 31 loci are not 2114 bp.*resize: true"):
        collect(PEAKS, 2114)
    found = collect(PEAKS, 2114, resize=True)
    fields = gzip.open(PEAKS, "rt").readline().split("\t")
    summit = int(fields[1]) + int(fields[9])
    assert found.ids[0] == f"{CONTIG}:{summit - 1057}-{summit + 1057}"
    assert {len(s) for s in found.sequences} == {2114} and len(found.ids) == 31


def test_wrong_widths_are_counted_and_named_or_dropped(bed):
    rows = bed((CONTIG, 1000, 1200), (CONTIG, 3000, 3150), (CONTIG, 5000, 5300))
    with pytest.raises(
        MarginomeError, match=rf"2 of 3 loci are not 200 bp.*first {CONTIG}:3000-3150 of 150 bp"
    ) as told:
        collect(rows)
    assert "line 2" in str(told.value)
    assert collect(rows, unusable="drop").ids == [f"{CONTIG}:1000-1200"]


def test_loci_outside_of_the_genome(bed):
    rows = bed((CONTIG, 1000, 1200), (CONTIG, 999_900, 1_000_100))
    with pytest.raises(MarginomeError, match=r"1 of 2 regions reach over the end.*999900-1000100 of 1000000 bp"):
        collect(rows)
    assert len(collect(rows, unusable="drop").ids) == 1


def test_contig_names_that_do_not_match_are_told_in_both_spellings(tmp_path, bed):
    fasta = tmp_path / "g.fa"
    fasta.write_text(">chr7\n" + "ACGT" * 100 + "\n")
    with pytest.raises(MarginomeError, match=r"'7' where .* says 'chr7'"):
        collect(bed(("7", 0, 200)), genome=fasta)
    with pytest.raises(MarginomeError, match="chrUn"):
        collect(bed((CONTIG, 1000, 1200), ("chrUn", 0, 200)))
    assert len(collect(bed((CONTIG, 1000, 1200), ("chrUn", 0, 200)), unusable="drop").ids) == 1


def test_loci_with_many_unknown_bases(tmp_path, bed):
    fasta = tmp_path / "g.fa"
    fasta.write_text(">c\n" + "ACGT" * 50 + "N" * 60 + "ACGT" * 60 + "\n")
    rows = bed(("c", 0, 200), ("c", 190, 390))
    with pytest.raises(MarginomeError, match=r"1 of 2 loci have more than 0 unknown bases.*'c:190-390' with 0\.3"):
        collect(rows, genome=fasta)
    assert len(collect(rows, genome=fasta, unusable="drop").ids) == 1
    assert collect(rows, genome=fasta, max_unknown_fraction=0.5).sequences[1].count("N") == 60


def test_odd_rows_are_refused_or_skipped(bed):
    regions = bed((CONTIG, 1000, 1200), (CONTIG, 5000, 4000))
    with pytest.raises(MarginomeError, match=r"line 2: .*empty or negative.*odd_rows: skip"):
        collect(regions)
    assert len(collect(regions, odd_rows="skip").ids) == 1


def test_a_region_given_twice_is_used_once(bed):
    assert len(collect(bed((CONTIG, 1000, 1200), (CONTIG, 1000, 1200))).ids) == 1


def test_fasta(tmp_path):
    fasta = tmp_path / "s.fa"
    fasta.write_text(">a\nACGTACGTAC\n>b\nacgtacgt\n")
    settings = {"kind": "fasta", "fasta": fasta, "resize": False, "unusable": "error", "max_unknown_fraction": 0}
    with pytest.raises(MarginomeError, match="1 of 2 sequences are not 8 bp, the model's input, first 'a' of 10 bp"):
        collect_loci(settings, name="x", length=8)
    found = collect_loci(settings | {"resize": True}, name="x", length=8)
    assert found.sequences == ["CGTACGTA", "ACGTACGT"] and found.regions is None
    with pytest.raises(MarginomeError, match="1 of 2 sequences are shorter than 10 bp"):
        collect_loci(settings | {"resize": True}, name="x", length=10)


def test_backgrounds_after_an_insert(tmp_path):
    fasta = tmp_path / "b.fa.gz"
    with bgzf.open(fasta, "wt") as handle:
        handle.write(">one\nAAAAAAAAAA\n>two\nCCCCCCCCCC\n")
    settings = {"kind": "background", "background": "b"}
    insert = {"sequence": "GTNG", "orientation": "+"}
    plain = collect_loci(settings, name="x", length=10, background=fasta)
    assert plain.sequences == ["A" * 10, "C" * 10]
    found = collect_loci(settings | {"insert": insert}, name="x", length=10, background=fasta)
    assert found.sequences == ["AAAGTAGAAA", "CCCGTCGCCC"]
    turned = collect_loci(settings | {"insert": insert | {"orientation": "-", "start": 0}}, name="x", length=10,
                          background=fasta)  # fmt: skip
    assert turned.sequences == ["CAACAAAAAA", "CCACCCCCCC"]
    with pytest.raises(MarginomeError, match="does not fit"):
        collect_loci(settings | {"insert": insert | {"start": 8}}, name="x", length=10, background=fasta)
    with pytest.raises(MarginomeError, match="10 to 10 bp; the model wants 12"):
        collect_loci(settings, name="x", length=12, background=fasta)


def test_a_part_of_the_loci_is_streamed(tmp_path):
    fasta = tmp_path / "l.fa.gz"
    with bgzf.open(fasta, "wt") as handle:
        handle.write("".join(f">s{i}\n{'ACGT' * (i + 1)}\n" for i in range(6)))
    assert count_sequences(fasta) == 6
    assert list(read_some(fasta, 2, 4)) == [("s2", "ACGT" * 3), ("s3", "ACGT" * 4)]
    assert list(read_some(fasta, 6, 6)) == []


def test_names_of_loci_are_any_text(tmp_path):
    made = BackgroundSet("l", ["locus_é", "b"], ["ACGT", "GGGG"], None, pd.DataFrame())
    write_background(made, fasta=tmp_path / "l.fa.gz")
    assert list(read_some(tmp_path / "l.fa.gz", 0, 2)) == [("locus_é", "ACGT"), ("b", "GGGG")]


def test_coordinates_are_read_off_the_ids():
    assert regions_of(["chr1:5-10", "chr1_2:30-40:7-9"])["chrom"].tolist() == ["chr1", "chr1_2:30-40"]
    assert regions_of(["chr1:5-10", "named"]) is None
