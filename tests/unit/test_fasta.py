"""FASTA files, indices, regions and the scan of windows; against samtools' format, brute force and bedtools."""

from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import os
import re
import shutil
import time

import numpy as np
import pytest
from Bio import bgzf
from hypothesis import given, settings
from hypothesis import strategies as st

from marginome.fasta import Genome, index_fasta, read_fasta, write_index
from marginome.motifs import read_motifs
from marginome.regions import read_regions
from marginome.scanning import iterate_contigs, scan_windows
from refusals import refused
from workspace import RESOURCES

PIECES = {
    "hg19_chr20_piece": ("chr20_1000000_2000000", 1_000_000, 31),
    "hg38_chr22_piece": ("chr22_32000000_32300000", 300_000, 8),
}


def fasta(path, records, width=60):
    text = "".join(
        f">{name}\n" + "".join(s[i : i + width] + "\n" for i in range(0, len(s), width)) for name, s in records.items()
    )
    if path.name.endswith(".gz"):
        with bgzf.BgzfWriter(str(path), "wb") as handle:
            handle.write(text.encode())
    else:
        path.write_text(text)
    return path


@pytest.fixture
def records():
    rng = np.random.default_rng(0)
    made = {
        name: "".join(rng.choice(list("ACGTacgtNn"), size, p=[0.22] * 4 + [0.02] * 4 + [0.02] * 2))
        for name, size in {"chr1": 1003, "chr2": 240, "chrM": 61, "chr10": 7}.items()
    }
    return made


# ---------------------------------------------------------------------------------------------- the shipped data
def test_the_sums_of_the_shipped_data_are_those_of_the_readme():
    listed = dict(
        reversed(line.split())
        for line in re.findall(r"^[0-9a-f]{64}  \S+$", (RESOURCES / "README.md").read_text(), re.M)
    )
    shipped = [
        str(path.relative_to(RESOURCES))
        for path in RESOURCES.rglob("*")
        if path.is_file() and path.suffix not in (".fai", ".gzi", ".lock", ".md") and path.parent.name != "licenses"
    ]
    assert sorted(listed) == sorted(shipped)
    for name, digest in listed.items():
        assert hashlib.sha256((RESOURCES / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("piece", PIECES)
def test_the_peaks_fit_the_genome_pieces(piece, tmp_path):
    """CTCF's motif is where the summits are, far more often than where they are not."""
    contig, size, n = PIECES[piece]
    path = tmp_path / f"{piece}.fa.gz"
    shutil.copy(RESOURCES / "genome" / path.name, path)
    peaks = read_regions(RESOURCES / "peaks" / f"{piece}_K562_CTCF.narrowPeak.gz")
    assert len(peaks) == n and set(peaks["chrom"]) == {contig}
    (ctcf,) = (
        m for m in read_motifs(RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme") if m.motif_id == "MA0139.2"
    )
    scores = np.log2((ctcf.pwm + 0.001) / 0.251)
    with Genome(path) as genome:
        assert genome.contigs == {contig: size}
        sequence = genome.fetch(contig, 0, size)
    codes = np.array(["ACGT".index(base) for base in sequence])

    def best(centre, reach=50):
        window = codes[max(centre - reach, 0) : centre + reach]
        at = range(len(window) - len(scores) + 1)
        strands = (scores, scores[::-1, ::-1])
        return max(s[np.arange(len(s)), window[i : i + len(s)]].sum() for i in at for s in strands)

    at_summits = [best(int(s)) for s in peaks["summit"]]
    shifted = [best((int(s) + 5000) % (size - 100) + 50) for s in peaks["summit"]]
    assert np.median(at_summits) > np.median(shifted) + 4  # bits


# ---------------------------------------------------------------------------------------------- FASTA
@pytest.mark.parametrize("name", ["genome.fa", "genome.fa.gz"])
def test_sequences_are_fetched_as_they_are(tmp_path, records, name):
    with Genome(fasta(tmp_path / name, records)) as genome:
        assert genome.contigs == {contig: len(s) for contig, s in records.items()}
        for contig, start, end in (("chr1", 0, 1003), ("chr1", 59, 62), ("chr2", 60, 120), ("chr10", 0, 7)):
            assert genome.fetch(contig, start, end) == records[contig][start:end]
        refused(lambda: genome.fetch("chr2", 200, 241), "not within the contig of 240 bp")


def test_the_index_is_samtools_format(tmp_path, records):
    path = fasta(tmp_path / "genome.fa", records)
    fai, gzi = index_fasta(path)
    assert gzi is None
    text = path.read_text()
    expected = [
        [
            name,
            str(len(s)),
            str(text.index(f">{name}\n") + len(name) + 2),
            str(min(60, len(s))),
            str(min(60, len(s)) + 1),
        ]
        for name, s in records.items()
    ]
    assert [line.split("\t") for line in fai.read_text().splitlines()] == expected


@pytest.mark.parametrize("name", ["genome.fa", "genome.fa.gz"])
def test_an_index_elsewhere_is_the_one_beside_the_file_and_is_used_alone(tmp_path, records, name):
    """Also when it is older than the file, of which Snakemake knows the digest; one of another file is removed."""
    path = fasta(tmp_path / name, records)
    index = (tmp_path / "elsewhere.fai", tmp_path / "elsewhere.gzi")
    write_index(path, *index)
    os.utime(path, (time.time() + 100,) * 2)
    with Genome(path, index=index) as genome:
        assert genome.fetch("chr1", 59, 62) == records["chr1"][59:62]
    assert sorted(os.listdir(tmp_path)) == sorted([name, "elsewhere.fai", "elsewhere.gzi"])  # none beside it
    fai, gzi = index_fasta(path)
    assert index[0].read_bytes() == fai.read_bytes()
    assert index[1].read_bytes() == (gzi.read_bytes() if gzi else b"")
    other = fasta(tmp_path / f"other_{name}", {"chr1": records["chr2"], "chr2": records["chr1"]})
    refused(lambda: Genome(other, index=index), "elsewhere.fai", "it is not the index of")
    assert not index[0].exists()


def test_gzip_that_is_not_bgzip_is_refused_with_the_command(tmp_path, records):
    plain = fasta(tmp_path / "genome.fa", records)
    packed = tmp_path / "genome.fa.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    message = refused(lambda: Genome(packed), "gunzip -k", f"gunzip -c {packed} | bgzip >")
    # the command that it gives really makes a file that can be read
    plain.unlink()
    os.system(re.search(r"gunzip -k \S+", message)[0])
    assert Genome(plain).contigs["chr2"] == 240


def test_what_is_not_a_genome_is_refused(tmp_path, records):
    refused(lambda: Genome(tmp_path / "none.fa"), "no such file")
    refused(lambda: Genome(tmp_path), "folder")
    for name, content, word in (
        ("empty.fa", b"", "empty"),
        ("genome.2bit", b"\x43\x27\x41\x1a" + b"\0" * 30, "this is a .2bit file"),
        ("reads.fq", b"@r1\nACGT\n+\nIIII\n", "not FASTA"),
        ("plain.fa.gz", b">a\nACGT\n", "not compressed"),
        ("ragged.fa", b">a\nACGT\nAC\nACGT\n", "rewrap"),
        ("twice.fa", b">a\nACGT\n>a\nACGT\n", "two sequences have one name"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        refused(lambda path=path: Genome(path), word, str(path))
    packed = fasta(tmp_path / "genome.fa.gz", records)
    packed.rename(tmp_path / "genome.fa")
    refused(lambda: Genome(tmp_path / "genome.fa"), "does not end in .gz", "mv ")


@pytest.mark.parametrize("lost", [1, 10, 28, 29, 40, 200])
def test_a_bgzip_that_was_cut_off_is_said_to_be(tmp_path, records, lost):
    path = fasta(tmp_path / "genome.fa.gz", records)
    content = path.read_bytes()  # its last 28 bytes are the mark of the end
    path.write_bytes(content[:-lost])
    refused(lambda: Genome(path), "genome.fa.gz", "damaged or cut off", "Copy ")


@pytest.mark.parametrize("name", ["genome.fa", "genome.fa.gz"])
def test_a_stale_missing_or_damaged_index_is_made_anew(tmp_path, records, name, caplog):
    path = fasta(tmp_path / name, records)
    fai, gzi = index_fasta(path)
    good = fai.read_text()
    first = fai.stat().st_mtime_ns
    index_fasta(path)
    assert fai.stat().st_mtime_ns == first  # a good one is kept
    other = {"chrX": "ACGT" * 100, **records}
    # an index of another file that is younger than the FASTA: only its content tells
    fasta(path, other)
    time.sleep(0.02)
    fai.write_text(good)
    if gzi:
        index = gzi.read_bytes()
        gzi.write_bytes(index)
    with Genome(path) as genome:
        assert genome.fetch("chr2", 10, 90) == records["chr2"][10:90]
        assert genome.contigs["chrX"] == 400
    for damage in ("", "chr1\t12\n", "chr1\tx\ty\tz\tw\n", good[: len(good) // 2]):
        fai.write_text(damage)
        with Genome(path) as genome:
            assert list(genome.contigs) == list(other)
    os.utime(fai, (1, 1))  # older than the FASTA
    with caplog.at_level("INFO"), Genome(path) as genome:
        assert list(genome.contigs) == list(other)
    assert "older than the file" in caplog.text
    assert not list(tmp_path.glob("*.lock")) and not list(tmp_path.glob(".*"))


def _open_together(path, barrier, queue):
    barrier.wait()
    try:
        with Genome(path) as genome:
            queue.put((len(genome.contigs), genome.fetch("chr1", 100, 160)))
    except Exception as error:
        queue.put((0, repr(error)))


def test_jobs_that_start_together_make_one_good_index(tmp_path, records):
    path = fasta(tmp_path / "genome.fa.gz", {**records, **{f"c{i}": "ACGT" * 500 for i in range(200)}})
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(6), context.Queue()
    jobs = [context.Process(target=_open_together, args=(path, barrier, queue)) for _ in range(6)]
    for job in jobs:
        job.start()
    found = [queue.get(timeout=60) for _ in jobs]
    for job in jobs:
        job.join()
    assert found == [(204, records["chr1"][100:160])] * 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["genome.fa.gz", "genome.fa.gz.fai", "genome.fa.gz.gzi"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_that_cannot_be_written_to(tmp_path, records, monkeypatch, packed):
    folder = tmp_path / "shared"
    folder.mkdir()
    path = fasta(folder / "genome.fa", records)
    if packed:
        with bgzf.open(f"{path}.gz", "wb") as handle:
            handle.write(path.read_bytes())
        path.unlink()
        path = path.with_name("genome.fa.gz")
    monkeypatch.setattr(os, "access", lambda where, mode: not str(where).startswith(str(folder)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Genome(path) as genome:
        assert genome.fetch("chr2", 0, 30) == records["chr2"][:30]
    assert list(folder.iterdir()) == [path]
    (other,) = tmp_path.glob("marginome-*")
    assert other.stat().st_mode & 0o777 == 0o700  # nobody else reads or changes it


def test_read_fasta(tmp_path):
    path = tmp_path / "x.fa"
    path.write_bytes(b">one first\r\nACgt\r\nNN\r\n\r\n>two\nAC\n")
    assert read_fasta(path) == (["one", "two"], ["ACgtNN", "AC"])
    for content, line, word in (
        (b"ACGT\n", 1, "before the first"),
        (b">a\nAC-T\n", 2, "'-'"),
        (b">a\n>b\nA\n", 1, "empty"),
        (b">a\nA\n>a\nC\n", 3, "two sequences"),
        (b">\nA\n", 1, "without a name"),
    ):
        path.write_bytes(content)
        refused(lambda: read_fasta(path), word, f"line {line}")


# ---------------------------------------------------------------------------------------------- scanning
def brute(sequence, length, stride):
    starts = range(0, len(sequence) - length + 1, stride)
    windows = [sequence[s : s + length] for s in starts]
    return [
        [sum(c in "GCgc" for c in w) for w in windows],
        [sum(c not in "ACGTacgt" for c in w) for w in windows],
        [sum(c in "acgtn" for c in w) for w in windows],
    ]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(0, 120), min_size=1, max_size=4),
    length=st.integers(1, 40),
    stride=st.integers(1, 50),
    chunk=st.integers(3, 200),
    width=st.integers(1, 70),
    packed=st.booleans(),
)
def test_windows_are_counted_as_by_hand_whatever_the_pieces(
    tmp_path_factory, seed, sizes, length, stride, chunk, width, packed
):
    rng = np.random.default_rng(seed)
    records = {f"c{i}": "".join(rng.choice(list("ACGTacgtNR"), size)) for i, size in enumerate(sizes)}
    folder = tmp_path_factory.mktemp("scan")
    path = fasta(folder / ("g.fa.gz" if packed else "g.fa"), records, width)
    expected = {name: brute(s, length, stride) for name, s in records.items() if len(s) >= length}
    found = {w.chrom: [w.gc.tolist(), w.unknown.tolist(), w.masked.tolist()]
             for w in scan_windows(path, length, stride, chunk_bytes=chunk)}  # fmt: skip
    assert found == expected
    shutil.rmtree(folder)


def test_contigs_come_in_pieces_and_whole(tmp_path, records):
    path = fasta(tmp_path / "g.fa", records)
    found: dict[str, bytes] = {}
    for name, bases in iterate_contigs(path, chunk_bytes=17):
        found[name] = found.get(name, b"") + bases.tobytes()
    assert {name: s.decode() for name, s in found.items()} == records
    assert [w.chrom for w in scan_windows(path, 10, 10, contigs=["chr2"])] == ["chr2"]
