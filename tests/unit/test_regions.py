"""Region files as users have them: the right numbers, or one line that says what is wrong and where."""

from __future__ import annotations

import gzip
import time

import pytest

from marginome.errors import MarginomeError
from marginome.intervals import place_regions
from marginome.regions import read_regions
from refusals import refused
from workspace import RESOURCES, ROOT

DATA = ROOT / "tests" / "data" / "regions"
PEAK = "chr1\t100\t200\tp1\t0\t.\t5.0\t-1\t3.2\t{}\n"


def write(folder, content, name="x.bed"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_bed_narrowpeak_and_headers(tmp_path):
    path = tmp_path / "x.bed"
    path.write_text("track name=x\nbrowser position\n# c\nchrom\tstart\tend\nchr1\t10\t20\nchr1 30 40 name . +\n\n")
    found = read_regions(path)
    assert found[["start", "end", "summit", "line"]].to_numpy().tolist() == [[10, 20, -1, 5], [30, 40, -1, 6]]
    peak = "chr1\t100\t200\tp1\t0\t.\t5.0\t-1\t3.2\t{}\n"
    (tmp_path / "x.narrowPeak.gz").write_bytes(gzip.compress((peak.format(30) + peak.format(-1)).encode()))
    assert read_regions(tmp_path / "x.narrowPeak.gz")["summit"].tolist() == [130, -1]
    for content, word in (
        ("chr1\t10\n", "2 columns"),
        ("chr1\t10\t10\n", "empty or negative"),
        ("chr1\t-5\t10\n", "empty or negative"),
        ("chr1\t1e3\t2e3\n", "whole numbers"),
        ("chr1\thavana\tgene\t11869\t14409\t.\t+\t.\tID=x\n", "GFF"),
        ("# nothing\n", "no region"),
    ):
        path.write_text("chr1\t1\t2\n" * 2 + content if "nothing" not in content else content)
        message = refused(lambda: read_regions(path), word)
        assert "nothing" in content or "line 3" in message
    path.write_text(peak.format(30) * 2 + peak.format(101))
    assert "line 3" in refused(lambda: read_regions(path), "101 bp from the start", "outside of the peak")


def values(path, **settings):
    """(chrom, start, end, summit) of each region."""
    table = read_regions(path, **settings)
    return list(table[["chrom", "start", "end", "summit"]].itertuples(index=False, name=None))


# ---------------------------------------------------------------------------------------------- what files mean
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        # ENCODE has summits one behind the last base: 9 of 47,804 in our own K562 CTCF peaks
        ("summit_at_the_end.narrowPeak", ("chrX", 48554816, 48554917, 48554916)),
        ("idr_20_columns.narrowPeak", ("chr1", 100, 200, 160)),
        ("macs_peaks.xls", ("chr1", 100, 200, 149)),
        ("r_data_frame.bed", ("chr1", 100, 200, -1)),
        ("bed9_with_count.bed", ("chr1", 1000, 1200, -1)),
    ],
)
def test_files_of_other_tools(file, expected):
    assert values(DATA / file) == [expected]


NARROW = "chr1\t100\t200\tp\t900\t.\t5.1\t-1\t3.2\t60"
BED12 = "chr1\t100\t200\tp\t0\t+\t{}\t{}\t0\t1\t100,\t0,"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # summits: narrowPeak's, with or without its other columns, and what only looks like them
        (NARROW + "\n", [("chr1", 100, 200, 160)]),
        ("chr1\t100\t200" + "\t." * 6 + "\t60\n", [("chr1", 100, 200, 160)]),  # as ChromBPNet's examples have it
        (NARROW + "\tchr1\t90\t210\n", [("chr1", 100, 200, 160)]),  # bedtools intersect -wa -wb
        ("chr1\t100\t200\tp\t0\t.\t5.1\t-1\t3.2\n", [("chr1", 100, 200, -1)]),  # broadPeak
        (BED12.format(100, 200) + "\n", [("chr1", 100, 200, -1)]),
        (BED12.format(0, 0) + "\n", [("chr1", 100, 200, -1)]),
        (BED12.format(100, 200) + "\t5.1\t4.2\t3.3\n", [("chr1", 100, 200, -1)]),  # gappedPeak
        ("chr1\t100\t200\tp\t0\t+\t100\t200\t0\t60\n", [("chr1", 100, 200, -1)]),  # BED9 in grey, a count
        ("chr1\t100\t200\tp\t0\t+\tgene\tx\ty\t60\n", [("chr1", 100, 200, -1)]),
        ("chr1\t149\t150\tp_summit\t8.3\n", [("chr1", 149, 150, -1)]),  # MACS's summits.bed
        # tables with a header: by 1 or by 0 as their widths say
        ('"seqnames" "start" "end" "width" "strand"\n"1" "chr1" 101 200 100 "*"\n', [("chr1", 100, 200, -1)]),
        ("chrom\tstart\tend\twidth\nchr1\t100\t200\t100\n", [("chr1", 100, 200, -1)]),
        ("chr\tstart\tend\tlength\tpileup\nchr1\t101\t200\t100\t9\n", [("chr1", 100, 200, -1)]),  # MACS, broad
        ("#chrom\tchromStart\tchromEnd\nchr1\t100\t200\n", [("chr1", 100, 200, -1)]),
        ("name\tstart\tend\tchrom\nx\t100\t200\tchr1\n", [("chr1", 100, 200, -1)]),
        # lines that are no rows, and rows that look like them
        ("track name=x\nbrowser hide all\n#c\n\nchr1\t1\t2\n", [("chr1", 1, 2, -1)]),
        ("track type=narrowPeak\ntrack\t1\t2\ntrack7\t3\t4\nbrowser_1\t5\t6\n",
         [("track", 1, 2, -1), ("track7", 3, 4, -1), ("browser_1", 5, 6, -1)]),
        ("# from start to end\nchr1\t1\t2\n", [("chr1", 1, 2, -1)]),
        # how it is written
        (b"\xef\xbb\xbfchr1\t1\t2\r\nchr2\t3\t4\r\n", [("chr1", 1, 2, -1), ("chr2", 3, 4, -1)]),
        (b"chr1\t1\t2\rchr2\t3\t4\r", [("chr1", 1, 2, -1), ("chr2", 3, 4, -1)]),
        ("chr1\t1\t2\n".encode("utf-16"), [("chr1", 1, 2, -1)]),
        (gzip.compress(b"chr1 1 2 a\n", mtime=0), [("chr1", 1, 2, -1)]),
        ('"chr1"\t1\t2\t"a b"\n', [("chr1", 1, 2, -1)]),
        ('"chr1" 1 2 "a b"\n', [("chr1", 1, 2, -1)]),
    ],
)  # fmt: skip
def test_regions_of_every_kind(tmp_path, content, expected):
    assert values(write(tmp_path, content)) == expected


def test_a_name_in_quotes_is_one_name(tmp_path):
    assert read_regions(write(tmp_path, '"chr1" 1 2 "a b"\n'))["name"].tolist() == ["a b"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("##fileformat=VCFv4.2\n#CHROM\tPOS\nchr1\t5\n", ["line 1", "VCF", "count from 1"]),
        ("#CHROM\tPOS\tID\nchr1\t5\t.\n", ["VCF"]),
        ("##gff-version 3\nchr1\tx\tgene\t11\t20\t.\t+\t.\tID=x\n", ["GFF"]),
        ("chr1\tHAVANA\texon\t11\t20\t.\t+\t.\tgene_id 1\n", ["line 1", "GTF", "less 1"]),
        ("GeneID\tChr\tStart\tEnd\tStrand\nx\tchr1\t11\t20\t+\n", ["SAF"]),
        ("x\tchr1\t11\t20\t+\n", ["SAF", "count from 1"]),
        ("#PeakID (cmd=annotatePeaks)\tChr\tStart\tEnd\nx\tchr1\t11\t20\n", ["HOMER"]),
        ("@SQ\tSN:chr1\tLN:9\nchr1\t1\t5\t+\tx\n", ["interval list"]),
        ("chr\tstart\tend\tlength\tsummit\ttags\nchr1\t11\t20\t10\t5\t3\n", ["MACS 1"]),
        ("seqnames\tstart\tend\nchr1\t11\t20\n", ["seqnames", "count from 1", "export.bed"]),
        ("chrom\tstart\tend\twidth\nchr1\t1\t9\t33\n", ["width", "neither"]),
        ("chrom\tstart\tname\nchr1\t1\tx\n", ["not all there"]),
        ("chr1,100,200\n", ["line 1", "1 columns", "commas"]),
        ("chr1:100-200\n", ["line 1", "colons"]),
        ("chr1\t1e+05\t200000\n", ["line 1", "whole numbers", "scipen"]),
        ("chr1\t100.0\t200.0\n", ["whole numbers"]),
        ("chr1\t200\t100\n", ["line 1", "empty or negative"]),
        ("chr1\t5\t" + "9" * 5000 + "\n", ["whole numbers"]),
        ("chr1\t\u0661\t\u0662\u0663\n", ["whole numbers"]),  # digits of another script
        ("\t1\t2\n", ["wanted chrom"]),
        (b"\x00\x01\x02", ["binary"]),
    ],
)
def test_what_is_no_bed_is_said_in_words(tmp_path, content, words):
    path = write(tmp_path, content)
    message = refused(lambda: read_regions(path), str(path), *words)
    assert len(message) < 600


# ---------------------------------------------------------------------------------------------- odd rows
ODD = ["chr1\t5", "chr1\t9\t5", "chr1\t-4\t5", "chr1\tx\t5", PEAK.format(101).strip(), PEAK.format(-7).strip(),
       PEAK.format("5.5").strip(), "chr1\t100\t200\tp1\t0\t.\t5.0\t-1\t3.2"]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_odd_rows_are_refused_or_skipped_and_counted(tmp_path, odd, caplog):
    path = write(tmp_path, PEAK.format(30) * 3 + odd + "\n" + PEAK.format(100) + odd + "\n", "x.narrowPeak")
    refused(lambda: read_regions(path), "line 4", "2 of 6 rows are odd", "odd_rows: skip")
    with caplog.at_level("INFO"):
        table = read_regions(path, odd_rows="skip")
    assert table["summit"].tolist() == [130, 130, 130, 199] and table["line"].tolist() == [1, 2, 3, 5]
    assert table.attrs == {"odd_rows": 2, "summits_at_end": 1}
    assert "2 odd rows skipped" in caplog.text and "1 summits lie one behind" in caplog.text
    assert place_regions(table, 20, {"chr1": 1000}).odd_rows == 2
    refused(lambda: read_regions(path, odd_rows="drop"), "odd_rows", "skip")


def test_a_file_of_odd_rows_only_is_refused_without_the_advice_to_skip_them(tmp_path):
    path = write(tmp_path, "chr1\t9\t5\nchr1\tx\t5\n")
    assert "odd_rows: skip" not in refused(lambda: read_regions(path, odd_rows="skip"), "line 1", "2 of 2 rows")


def test_the_peaks_that_are_shipped_have_all_their_summits():
    for path in sorted((RESOURCES / "peaks").glob("*piece*")):
        table = read_regions(path)
        assert (table["summit"] >= table["start"]).all() and table.attrs["odd_rows"] == 0


def test_a_table_of_a_width_that_does_not_fit_is_odd(tmp_path):
    rows = "chrom\tstart\tend\twidth\n" + "chr1\t101\t200\t100\n" * 3 + "chr1\t101\t200\t99\n"
    path = write(tmp_path, rows)
    refused(lambda: read_regions(path), "line 5", "said to be 99", "it is 100")
    assert values(path, odd_rows="skip") == [("chr1", 100, 200, -1)] * 3


def test_what_a_damaged_line_holds_is_neither_read_nor_shown_whole(tmp_path):
    for content in (
        "chr1\t1\t2" + "\tx y" * 3_000_000,
        "1 " * 5000 + "\t9\t5",
        "A" * 10_000 + "\t9\t5",
        "x\tstart\t" + "1 " * 5000,
    ):
        path, began = write(tmp_path, content + "\n"), time.process_time()
        if content.startswith("chr1"):
            assert values(path) == [("chr1", 1, 2, -1)]
        else:
            assert len(refused(lambda path=path: read_regions(path))) < 1500
        assert time.process_time() - began < 2
    names = [f"{'a' * i} {'b ' * 5000}" for i in range(1, 4)]
    table = read_regions(write(tmp_path, "".join(f"{name}\t1\t9\n" for name in names)))
    assert len(refused(lambda: place_regions(table, 4, {"chr1": 9}))) < 1500


def test_a_long_file_takes_time_in_proportion(tmp_path):
    path = write(tmp_path, PEAK.format(30) * 20_000)
    began = time.process_time()
    assert len(read_regions(path)) == 20_000
    assert time.process_time() - began < 5  # 0.3 s


def test_a_data_frame_of_r_without_its_header_is_named(tmp_path):
    path = tmp_path / "peaks.bed"
    path.write_text("chr1\t101\t200\t100\t*\nchr1\t301\t450\t150\t+\n")
    with pytest.raises(MarginomeError, match="data frame of R: it counts from 1"):
        read_regions(path)
    path.write_text("chr1\t101\t200\t100\t5\nchr1\t301\t450\t150\t7\n")  # names that are numbers, and scores
    assert read_regions(path)["start"].tolist() == [101, 301]
    path.write_text("chr1\t101\t200\t7\t+\nchr1\t301\t450\t8\t-\n")  # numbers that are no widths
    assert read_regions(path)["start"].tolist() == [101, 301]


def test_a_narrow_peak_file_with_most_summits_damaged_is_one_still(tmp_path):
    """Columns 5 to 9 say what it is: without the summits its windows would silently be elsewhere."""
    path = tmp_path / "x.bed"
    path.write_text("".join(f"chr1\t{i}\t100\ta\t5\t.\t1.0\t2.0\t3.0\t{summit}\n" for i, summit in enumerate("xy4")))
    with pytest.raises(MarginomeError, match=r"line 1: found 'x' where the summit is wanted.*2 of 3 rows are odd"):
        read_regions(path)
    assert read_regions(path, odd_rows="skip")["summit"].tolist() == [2 + 4]
