"""Motif files: as many motifs out as in, the same numbers as other readers find, or an error with line and remedy."""

from __future__ import annotations

import contextlib
import gzip
import logging
import re
import time
from pathlib import Path

import numpy as np
import pytest

from marginome.bases import reverse_complement_text
from marginome.errors import MarginomeError
from marginome.motifs import (
    Motif,
    OddMotif,
    collect_motifs,
    databases,
    find_motif,
    motif_table,
    motifs_from_table,
    read_jaspar_release,
    read_motifs,
    select_motifs,
)
from marginome.motifs.collection import keep_apart
from marginome.storage import read_table, write_table
from workspace import RESOURCES, ROOT

DATA = ROOT / "tests" / "data" / "motifs"
JASPAR = RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme"


@pytest.fixture(scope="module")
def jaspar():
    return read_motifs(JASPAR)


def write(folder: Path, text: str, name: str = "motifs.txt", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def meme(*blocks: str, head: str = "MEME version 4\n\nALPHABET= ACGT\n\n") -> str:
    return head + "\n\n".join(blocks) + "\n"


BLOCK = "MOTIF {} {}\nletter-probability matrix: alength= 4 w= 2 nsites= 20 E= 0\n0.1 0.2 0.3 0.4\n1 0 0 0"


def refused(path, *words, line=None, **kwargs) -> str:
    """Assert that reading is refused with these words, the file, the line and a remedy; return the message."""
    with pytest.raises(MarginomeError) as caught:
        read_motifs(path, **kwargs)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message, message
    if line is not None:
        assert f"line {line}:" in message, message
    assert caught.value.remedy, message
    return message


# ---------------------------------------------------------------------------------------------- against other readers
def test_jaspar_meme_agrees_with_memelite_and_tangermeme(jaspar):
    from memelite.io import read_meme as memelite_reader
    from tangermeme.io import read_meme as tangermeme_reader

    assert len(jaspar) == JASPAR.read_text().count("\nMOTIF ") == 1019
    for reader in (memelite_reader, tangermeme_reader):
        theirs = reader(str(JASPAR))
        assert len(theirs) == len(jaspar)
        for motif in jaspar:
            pwm = np.asarray(theirs[f"{motif.motif_id} {motif.motif_name}"]).T
            # the file's rows are rounded to six decimals; ours are brought to a sum of one
            np.testing.assert_allclose(motif.pwm, pwm, atol=5e-6)
    assert max(abs(motif.pwm.sum(1) - 1).max() for motif in jaspar) < 1e-12


def test_jaspar_release_from_pyjaspar_equals_the_shipped_export(jaspar, monkeypatch):
    import socket

    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("a network connection was opened"))
    release = read_jaspar_release(2026, tax_group="vertebrates")
    shipped = {motif.motif_id: motif for motif in jaspar}
    assert {m.motif_id for m in release} == set(shipped)
    for motif in release:
        assert motif.motif_name == shipped[motif.motif_id].motif_name
        np.testing.assert_allclose(motif.pwm, shipped[motif.motif_id].pwm, atol=2e-6)


def test_jaspar_releases_differ_and_their_names_are_checked():
    assert len(read_jaspar_release("JASPAR2018", tax_group=["vertebrates"])) == 579
    for keys, word in (
        ({"release": 2025}, "JASPAR2024"),
        ({"release": 2024, "collection": "COER"}, "CORE"),
        ({"release": 2024, "tax_group": ["vertebrate"]}, "vertebrates"),
    ):
        with pytest.raises(MarginomeError, match=f"Did you mean '{word}'|Allowed: .*{word}"):
            read_jaspar_release(**keys)


@pytest.mark.parametrize(
    ("name", "biopython", "form"),
    [
        ("MA0099.3.jaspar", "jaspar", "jaspar"),
        ("SRF.pfm", "pfm", "jaspar"),
        ("clusterbuster.pfm", "clusterbuster", "homer"),
        ("MA0056.1.transfac", "transfac", "transfac"),
        ("transfac.dat", "transfac", "transfac"),
        ("meme_3.5.7.txt", None, "meme"),
        ("gimme_vertebrate_v5_head.pfm", "pfm-four-columns", "homer"),
    ],
)
def test_real_files_agree_with_biopython(name, biopython, form):
    from Bio import motifs as bio

    ours = read_motifs(DATA / name)
    assert {motif.format for motif in ours} == {form}
    if biopython is None:
        # Biopython's text reader of MEME is gone; the matrix as MEME printed it
        printed = re.search(r"letter-probability.*\n((?:\s*[\d.]+ .*\n)+)", (DATA / name).read_text())[1]
        theirs = [np.array([row.split() for row in printed.splitlines()], dtype=float)]
    else:
        with open(DATA / name) as handle:
            theirs = [np.array([m.counts[b] for b in "ACGT"]).T for m in bio.parse(handle, biopython, strict=False)]
    assert len(ours) == len(theirs)
    for motif, counts in zip(ours, theirs):
        np.testing.assert_allclose(motif.pwm, counts / counts.sum(1, keepdims=True), atol=1e-9)


def test_minimal_meme_has_the_precision_that_biopython_rounds_away():
    from Bio import motifs as bio

    for name in ("minimal_test.meme", "minimal_test_rna.meme"):
        ours = read_motifs(DATA / name)
        with open(DATA / name) as handle:
            theirs = list(bio.parse(handle, "MINIMAL"))
        assert [m.motif_id for m in ours] == [m.name for m in theirs]
        for motif, other in zip(ours, theirs):
            bases = "ACGU" if "rna" in name else "ACGT"
            counts = np.array([other.counts[b] for b in bases], dtype=float).T
            sites = counts.sum(1).max()
            np.testing.assert_allclose(motif.pwm, counts / counts.sum(1, keepdims=True), atol=1.5 / sites)


def test_meme_5_full_text():
    (motif,) = read_motifs(DATA / "meme_5.0.4.txt")
    assert (motif.motif_id, motif.motif_name, motif.width) == ("WTKDTAWAAT", "MEME-1", 10)
    assert motif.consensus == "ATGATATAAT"  # MEME's own multilevel consensus
    text = (DATA / "meme_5.0.4.txt").read_text().splitlines()
    assert text[motif.line - 1].startswith("MOTIF WTKDTAWAAT")


def test_homer_and_encode_names():
    ours = read_motifs(DATA / "homer_known.motifs")
    assert [m.motif_name for m in ours] == ["AP-1", "AP-2gamma"]
    assert ours[0].motif_id == "AP-1(bZIP)/ThioMac-PU.1-ChIP-Seq(GSE21512)/Homer"
    assert ours[0].consensus == "ATGACTCATC"
    np.testing.assert_allclose(ours[0].pwm[0], np.array([0.419, 0.275, 0.277, 0.028]) / 0.999)
    encode = read_motifs(DATA / "encode_head.pfm")
    assert len(encode) == 6 and encode[0].motif_id == "SIX5_disc1"
    assert {m.motif_id: m.width for m in encode}["SIX5_disc1"] == encode[0].width == 10


def test_sites_and_fasta_of_inserts():
    sites = read_motifs(DATA / "Arnt.sites")
    assert len(sites) == 20 and sites[0].sequence is not None
    # ids repeat in this file and are kept apart
    assert len({m.motif_id for m in sites}) == 20


def test_modisco_patterns_are_those_that_were_planted():
    import h5py

    patterns = read_motifs(DATA / "modisco.h5")
    with h5py.File(DATA / "modisco.h5") as handle:
        ids = [f"{g}.{p}" for g in ("pos_patterns", "neg_patterns") if g in handle for p in handle[g]]
        whole = handle["pos_patterns/pattern_0/sequence"].shape[0]
    assert sorted(m.motif_id for m in patterns) == sorted(ids)

    for group, word in (("pos_patterns", "TGACTCAGCA"), ("neg_patterns", "CCGCGCATGC")):
        (motif,) = (m for m in patterns if m.motif_id == f"{group}.pattern_0")
        assert motif.consensus in (word, reverse_complement_text(word))
    untrimmed = read_motifs(DATA / "modisco.h5", modisco_trim=0.0)
    assert next(m for m in untrimmed if m.motif_id == "pos_patterns.pattern_0").width == whole
    assert next(m for m in patterns if m.motif_id == "pos_patterns.pattern_0").width < whole


# ---------------------------------------------------------------------------------------------- what real files do
def test_awkward_meme_is_read(tmp_path):
    text = (
        "MEME version 4\r\n\r\nMOTIF\tm1\tName one\r\n"  # tabs, Windows line ends, no alphabet, no background
        "letter-probability matrix: alength=4 w=2 nsites= 20.5 E= 1e-5\r\n"
        " 0.1\t0.2 0.3   0.4\r\n1.0000 0 0 0\r\n"
        "MOTIF m2\r\nletter-probability matrix: alength= 4 w= 2 nsites= 20E= 0\r\n"  # as modisco-lite writes it
        ".25 .25 .25 .25\r\n1e0 0 0 0\r\nURL http://example.org\r\n"
        "MOTIF m3\r\nletter-probability matrix:\r\n0 0 0 1\r\n0 0 1 0"  # nothing declared; no end of line
    )
    motifs = read_motifs(write(tmp_path, text))
    assert [(m.motif_id, m.motif_name, m.width) for m in motifs] == [
        ("m1", "Name one", 2),
        ("m2", "m2", 2),
        ("m3", "m3", 2),
    ]
    assert motifs[2].consensus == "TG"
    assert motifs[1].consensus == "NA"  # four equal probabilities say nothing
    for encoding in ("utf-8-sig", "utf-16", "latin-1"):
        again = read_motifs(write(tmp_path, text, "coded.txt", encoding))
        assert [m.motif_id for m in again] == ["m1", "m2", "m3"]
    packed = tmp_path / "motifs.meme.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert [m.line for m in read_motifs(packed)] == [m.line for m in motifs] == [3, 7, 12]


def test_rows_are_renormalised_within_the_tolerance_only(tmp_path):
    good = meme(BLOCK.format("a", "A").replace("0.1 0.2 0.3 0.4", "0.1 0.2 0.3 0.415"))
    (motif,) = read_motifs(write(tmp_path, good))
    np.testing.assert_allclose(motif.pwm[0], np.array([0.1, 0.2, 0.3, 0.415]) / 1.015)
    bad = meme(BLOCK.format("a", "A").replace("0.1 0.2 0.3 0.4", "0.1 0.2 0.3 0.43"))
    refused(write(tmp_path, bad), "sum 1.03", "'a'", "0.02", line=7)


def test_duplicates_are_kept_apart(tmp_path, caplog):
    path = write(tmp_path, meme(*(BLOCK.format("m", f"copy {i}") for i in range(3)), BLOCK.format("m~2", "x")))
    with caplog.at_level("WARNING"):
        motifs = read_motifs([path, path])
    assert len({m.motif_id for m in motifs}) == 8
    assert [m.motif_id for m in motifs[:4]] == ["m", "m~3", "m~4", "m~2"]
    assert "line 10)" in caplog.text


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (lambda t: t.replace("0.1 0.2 0.3 0.4", "0.1 0.2 0.3"), 7, ["3 numbers"]),
        (lambda t: t.replace("0.1 0.2 0.3 0.4", "0.1 0.2 x 0.4"), 7, ["'x'"]),
        (lambda t: t.replace("0.1 0.2 0.3 0.4", "-0.1 0.4 0.3 0.4"), 7, ["none negative", "-0.1"][1:]),
        (lambda t: t.replace("0.1 0.2 0.3 0.4", "nan 0.2 0.3 0.4"), 7, ["nan"]),
        (lambda t: t.replace("1 0 0 0\n", "0 0 0 0\n"), 8, ["sum 0"]),
        (lambda t: t.replace("w= 2", "w= 3"), 6, ["2 rows", "w= 3"]),
        (lambda t: t.replace("w= 2", "w= 1"), 6, ["more than 1"]),
        (lambda t: t.replace("w= 2", "w= 0"), 6, ["w= 0"]),
        (lambda t: t.replace("w= 2", "w= 2.5"), 6, ["whole number"]),
        (lambda t: t.replace("alength= 4", "alength= 20"), 6, ["20 letters"]),
        (lambda t: t.replace("ALPHABET= ACGT", "ALPHABET= ACDEFGHIKLMNPQRSTVWY"), 3, ["alphabet"]),
        (lambda t: t.replace("MOTIF m Name", "MOTIF"), 5, ["no name"]),
        (lambda t: t.replace("MOTIF m Name\n", ""), 5, ["without a MOTIF line"]),
        (lambda t: t + "MOTIF last\n", 9, ["'last'", "no letter-probability"]),
        (lambda t: t.replace("letter-probability", "log-odds"), 5, ["no letter-probability"]),
    ],
)
def test_a_mistake_in_a_meme_file_names_its_line(tmp_path, change, line, words):
    refused(write(tmp_path, change(meme(BLOCK.format("m", "Name")))), *words, line=line)


@pytest.mark.parametrize("cut", [0.15, 0.33, 0.5, 0.71, 0.93])
def test_a_file_cut_off_anywhere_loses_no_motif_silently(tmp_path, jaspar, cut):
    text = JASPAR.read_text()
    part = text[: int(len(text) * cut)]
    path = write(tmp_path, part)
    try:
        motifs = read_motifs(path)
    except MarginomeError as error:
        assert "line" in str(error)
    else:
        assert len(motifs) == len(re.findall(r"^MOTIF ", part, flags=re.M))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (">m1\nA [1 2 3]\nC [1 2 3]\nG [1 2]\nT [1 2 3]\n", 2, ["3, 3, 2, 3"]),
        (">m1\nA [1 2]\nC [1 2]\nG [1 2]\n", 4, ["A, C, G"]),
        (">m1\nA [1 2]\nC [1 2]\nG [1 2]\nG [1 2]\n", 5, ["A, C, G, G"]),
        (">m1\n1 2 3 4 5\n1 2 3 4 5\n1 2 3 4 5\n", 1, ["3 rows"]),
        (">m1\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", 1, ["4 x 4", "format: jaspar"]),
        (">m1\n1 2 3\n4 5 6\n7 8 9\n0 0 0\n>m2\n", 5 + 1, ["no matrix"]),
        (">m1\n1 2 0\n4 5 0\n7 8 0\n1 1 0\n", 1, ["position 3", "not all zero"]),
        (">\n1 2 0\n4 5 0\n7 8 0\n1 1 0\n", 1, ["without a name"]),
        (">m1\tX\t7.1\n0.2 0.3 0.1 0.1\n0.25 0.25 0.25 0.25\n", 2, ["sum 0.7"]),
        ("AC M1\nXX\nP0 A C G\n01 1 2 3 4\n//\n", 3, ["A C G T"]),
        ("AC M1\nXX\nP0 A C G T\n01 1 2 3\n//\n", 4, ["3 values"]),
        ("AC M1\nXX\nP0 A C G T\n01 1 2 3 4\nP0 A C G T\n", 5, ["second matrix"]),
        ("AC M1\nXX\nP0 A C G T\n01 1 2 3 4\n//\nAC M2\n//\n", 6, ["'M2'", "no matrix"]),
        ("one\tACGT\ntwo\tACXT\n", 2, ["'X'"]),
        ("one\tACGT\ntwo\n", 2, ["1 columns"]),
        ("one\tACGT\n\tACGT\n", 2, ["name is empty"]),
        ("motif_name\tsequence\none\tNNN\n", 2, ["N only"]),
        (">a\nACGT\n>b\n>c\nAC\n", 3, ["no sequence"]),
        (">a\nAC-GT\n", 1, ["'-'"]),
        ("<?xml version='1.0'?>\n", None, ["XML", "text output"]),
        ("\n \n", None, ["empty"]),
        ("hello", None, ["not recognised"]),
    ],
)
def test_a_mistake_in_other_formats_names_its_line(tmp_path, text, line, words):
    refused(write(tmp_path, text), *words, line=line)


def test_files_that_cannot_be_read(tmp_path):
    refused(tmp_path / "none.meme", "no such file")
    refused(tmp_path, "folder")
    binary = tmp_path / "x.meme"
    binary.write_bytes(b"\x00\x01\x02" * 100)
    refused(binary, "binary")
    binary.write_bytes(gzip.compress(b"MEME version 4" * 500)[:-20])
    refused(binary, "damaged or cut off")
    binary.write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 100)
    refused(binary, "HDF5")
    with pytest.raises(MarginomeError, match="Did you mean 'jaspar'"):
        read_motifs(binary, format="jaspr")


def test_modisco_files_that_cannot_be_read(tmp_path):
    import h5py

    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as handle:
        handle.create_group("metacluster_idx_to_submetacluster_results")
    refused(path, "first TF-MoDISco", "modisco convert")
    with h5py.File(path, "w") as handle:
        handle["x"] = 1
    refused(path, "pos_patterns")
    with h5py.File(path, "w") as handle:
        handle["pos_patterns/pattern_0/sequence"] = np.ones((5, 3))
        handle["pos_patterns/pattern_0/contrib_scores"] = np.ones((5, 3))
    refused(path, "(5, 3)")
    with h5py.File(path, "w") as handle:
        handle["pos_patterns/pattern_0/sequence"] = np.full((5, 4), 0.25)
    refused(path, "contrib_scores")


def test_square_matrices_follow_their_file_or_the_format(tmp_path):
    square = ">sq\n9 0 0 0\n0 9 0 0\n0 0 9 0\n9 0 0 0\n"
    assert read_motifs(write(tmp_path, square), format="homer")[0].consensus == "ACGA"
    # rows are bases: columns 2 and 3 hold C and G, column 1 a tie of A and T, column 4 nothing at all
    with pytest.raises(MarginomeError, match="position 4"):
        read_motifs(write(tmp_path, square), format="jaspar")
    rows = ">wide\n9 0 0 0 9\n0 9 0 0 0\n0 0 9 0 0\n0 0 0 9 0\n"
    both = read_motifs(write(tmp_path, rows + ">sq\n9 0 0 0\n0 9 0 0\n0 0 9 0\n0 0 0 9\n"))
    assert [m.consensus for m in both] == ["ACGTA", "ACGT"]
    homer = read_motifs(write(tmp_path, ">TTTT\tname\t5.0\n" + "0 0 0 1\n" * 4))
    assert homer[0].consensus == "TTTT"


def test_cis_bp_file(tmp_path):
    text = "Pos\tA\tC\tG\tT\n1\t0.1\t0.2\t0.3\t0.4\n2\t0.0\t1.0\t0.0\t0.0\n"
    (motif,) = read_motifs(write(tmp_path, text, "M00123_2.00.txt"))
    assert (motif.motif_id, motif.consensus) == ("M00123_2.00", "TC")


def test_tsv_with_and_without_header(tmp_path):
    named = write(tmp_path, "sequence\tmotif_id\tmotif_name\tnote\r\nacgu\tid1\tone\tx\r\nRYN\tid2\ttwo\ty\r\n")
    first, second = read_motifs(named)
    assert (first.motif_id, first.motif_name, first.sequence, first.line) == ("id1", "one", "ACGT", 2)
    np.testing.assert_allclose(second.pwm, [[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0.25] * 4])
    assert second.consensus == "ACN"
    plain = read_motifs(write(tmp_path, "# comment\none ACGT\n\ntwo\tGGCC\t\n"))
    assert [(m.motif_id, m.sequence) for m in plain] == [("one", "ACGT"), ("two", "GGCC")]


# ---------------------------------------------------------------------------------------------- more formats
def shown(path, **settings):
    """(id, name, consensus, format) of each motif."""
    return [(m.motif_id, m.motif_name, m.consensus, m.format) for m in read_motifs(path, **settings)]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("transfac_with_block_after_matrix.mat", ("CELL.FACTOR.0", "CELL.FACTOR.0", "TTT", "transfac")),
        ("transfac_cons_inf_columns.txt", ("AHR_ARNT_ARNT2.p2", "AHR_ARNT_ARNT2.p2", "TGC", "transfac")),
    ],
)
def test_transfac_of_other_tools(file, expected):
    assert shown(DATA / file) == [expected]


# JASPAR 2018's own export of MA0118.1, its first four rows; as the releases of that year come, without //
JASPAR_2018 = (
    "AC MA0118.1\nXX\nID Macho-1\nXX\nDE MA0118.1 Macho-1 ; From JASPAR 2018\nPO\tA\tC\tG\tT\n"
    "01\t5.0\t15.0\t6.0\t16.0\n02\t9.0\t2.0\t23.0\t8.0\n"
    "03\t0.0\t0.0\t42.0\t0.0\n04\t0.0\t0.0\t42.0\t0.0\nXX\n"
)
UNIPROBE = (
    "# Motif: GTAA\tEnrichment Score: 0.49\n1\tGTAA\t0.49\n\nEnrichment score matrix\n\n"
    "A:\t-0.1\t0.3\nC:\t0.2\t-0.4\nG:\t0.1\t0.1\nT:\t-0.3\t0.1\n\n"
    "Energy matrix for enoLOGOS\n\nPO\t1\t2\nA:\t1.1\t-2.3\nC:\t-0.2\t2.4\nG:\t0.1\t0.1\nT:\t-0.3\t0.1\n\n"
    "Probability matrix\n\nA:\t0.1\t0.7\nC:\t0.2\t0.1\nG:\t0.5\t0.1\nT:\t0.2\t0.1\n\n\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JASPAR_2018 + JASPAR_2018.replace("MA0118.1", "MA0002.1").replace("Macho-1", "RUNX1"),
         [("MA0118.1", "Macho-1", "TGGG", "transfac"), ("MA0002.1", "RUNX1", "TGGG", "transfac")]),
        # STAMP's and GimmeMotifs' own way of writing TRANSFAC
        ("DE\tone\tfamily\n0\t1\t2\t3\t4\tT\n1\t9\t0\t0\t0\tA\nXX\nDE\ttwo\n0\t0\t8\t0\t0\tC\nXX\n",
         [("one", "one", "TA", "transfac"), ("two", "two", "C", "transfac")]),
        ("DE one\n0 1 2 3 4\n1 9 0 0 0\nDE two\n0 0 8 0 0\n",  # without the column of letters
         [("one", "one", "TA", "transfac"), ("two", "two", "C", "transfac")]),
        # CIS-BP's file of all motifs
        ("TF\tT1\nTF Name\tFOS\nMotif\tM1\nPos\tA\tC\tG\tT\n1\t.1\t.1\t.7\t.1\n\n"
         "TF\tT2\nTF Name\tJUN\nMotif\tM2\nPos\tA\tC\tG\tT\n1\t.7\t.1\t.1\t.1\n",
         [("M1", "FOS", "G", "transfac"), ("M2", "JUN", "A", "transfac")]),
        # RSAT: comments behind the matrix, numbered or not
        ("AC  M1\nXX\nID  AHR\nXX\nP0       A     C     G     T\n1       41    18    56    39\nXX\n"
         "CC  matrix.nb: 1\nXX\n//\n", [("M1", "AHR", "G", "transfac")]),
        (UNIPROBE + UNIPROBE.replace("GTAA", "CCAT"),
         [("GTAA", "GTAA", "GA", "uniprobe"), ("CCAT", "CCAT", "GA", "uniprobe")]),
        ("Protein: Arid3a\tSeed k-mer: TTT.A\nA:\t.1\t.7\nC:\t.2\t.1\nG:\t.5\t.1\nT:\t.2\t.1\n",
         [("Arid3a", "Arid3a", "GA", "uniprobe")]),
        # given sequences: names before or behind them, or none
        ("TGACTCA\nCACGTG\n", [(s, s, s, "tsv") for s in ("TGACTCA", "CACGTG")]),
        ("TGACTCA\tFOS\nCACGTG\tMYC\n", [("FOS", "FOS", "TGACTCA", "tsv"), ("MYC", "MYC", "CACGTG", "tsv")]),
        ("GATA\tAGATAA\nTATA\tTATAAA\n", [("GATA", "GATA", "AGATAA", "tsv"), ("TATA", "TATA", "TATAAA", "tsv")]),
    ],
    ids=["jaspar 2018", "stamp", "stamp short", "cis-bp", "rsat", "uniprobe", "uniprobe short", "list", "swapped",
         "both"],
)  # fmt: skip
def test_formats_of_other_tools(tmp_path, text, expected):
    assert shown(write(tmp_path, text)) == expected


def test_the_probabilities_of_uniprobe_are_those_of_its_probability_matrix(tmp_path):
    (motif,) = read_motifs(write(tmp_path, UNIPROBE))
    np.testing.assert_allclose(motif.pwm, [[0.1, 0.2, 0.5, 0.2], [0.7, 0.1, 0.1, 0.1]])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ((DATA / "cisbp_header_only.txt").read_text(), 1, ["CIS-BP", "licence"]),
        ((DATA / "log_odds.pwm").read_text(), 1, ["log-odds", "probabilities"]),
        ("AC M\nP0 A C G T\n01 1 2 3 4\n03 1 2 3 4\n//\n", 4, ["row 3 follows row 1"]),
        ("AC M\nP0 A C G T\n02 1 2 3 4\n//\n", 3, ["row 2 follows the header"]),
        ("AC M\nP0 A C G T\n01 1 2 3 4\n0x 1 2 3 4\n//\n", 4, ["within a matrix"]),
        ("AC M\nP0 A C G T\n01 1 2 3 4\nXX\n02 1 2 3 4\n//\n", 5, ["row 02", "behind a line that ends it"]),
        ("AC M\nP0 A C G T\n01 1 2 3 4 5 6\n//\n", 3, ["6 values"]),
        ("AC M1\nAC M2\nP0 A C G T\n01 1 2 3 4\n//\n", 1, ["'M1'", "no matrix"]),
        (UNIPROBE.partition("Probability")[0], 1, ["no probability matrix"]),
        (">m\nA [" + " 1" * 20_000, 2, ["20000 numbers"]),
        ("TGACTCA\nTGAXTCA\n", 2, ["'X'"]),
        ("TGACTCA\nTGACTCA\tFOS\n", 2, ["2 columns"]),
    ],
)
def test_what_is_odd_in_them_is_said(tmp_path, text, line, words):
    refused(write(tmp_path, text), *words, line=line)


# ---------------------------------------------------------------------------------------------- odd motifs
def collection(*motifs: str, odd: str = "") -> str:
    return meme(*(BLOCK.format(name, name.upper()) for name in motifs), odd) if odd else meme(*motifs)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ("MOTIF odd Odd\n", ["no letter-probability"]),
        ("MOTIF odd Odd\nlog-odds matrix: alength= 4 w= 1\n-3.1 2 -4 -5", ["log-odds matrices alone"]),
        (BLOCK.format("odd", "Odd").replace("1 0 0 0", "0 0 0 0"), ["sum 0"]),
        (BLOCK.format("odd", "Odd").replace("1 0 0 0", "1 -3 1 2"), ["log-odds"]),
        (BLOCK.format("odd", "Odd").replace("1 0 0 0", "1 0 0"), ["3 numbers"]),
        (BLOCK.format("odd", "Odd").replace("w= 2", "w= 3"), ["2 rows"]),
    ],
)
def test_one_odd_motif_does_not_hide_the_others(tmp_path, caplog, odd, words):
    path = write(tmp_path, collection("a", "b", odd=f"{odd}\n\n{BLOCK.format('c', 'C')}"))
    refused(path, *words, "exclude: ['odd'] or odd_motifs: skip")
    with caplog.at_level("INFO"):
        assert [m.motif_id for m in read_motifs(path, odd_motifs="skip")] == ["a", "b", "c"]
    assert "1 of 4 motifs are odd and skipped: odd" in caplog.text
    for exclude in (["odd"], ["ODD"], ["o*"]):  # before validation
        assert len(collect_motifs({"files": [str(path)], "exclude": exclude})) == 3
    with pytest.raises(MarginomeError, match="exclude"):
        collect_motifs({"files": [str(path)], "exclude": ["a"]})
    assert len(collect_motifs({"files": [str(path)], "odd_motifs": "skip"})) == 3
    with pytest.raises(MarginomeError, match=r"odd_motifs.*'skip'"):
        collect_motifs({"files": [str(path)], "odd_motifs": "skp"})


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("MA0099.3.jaspar", ">odd\nA [ 1 2 ]\nC [ 1 2 ]\nG [ 1 ]\nT [ 1 2 ]\n"),
        ("gimme_vertebrate_v5_head.pfm", ">odd\n0.2\t0.2\t0.2\t0.2\n0.1\t0.2\t0.3\t0.4\n"),  # as its CIS-BP has them
        ("homer_known.motifs", ">ACGT\todd\t7.1\n0.2\tx\t0.2\t0.2\n"),
        ("transfac.dat", "AC  odd\nXX\nP0 A C G T\n01 0 0 0 0 N\nXX\n//\n"),
        ("Arnt.sites", ">odd\nAC-GT\n"),
    ],
)
def test_odd_motifs_are_skipped_in_every_format(tmp_path, name, odd):
    good = (DATA / name).read_text()
    path = write(tmp_path, f"{good}\n{odd}")
    refused(path, "odd_motifs: skip")
    kept = read_motifs(path, odd_motifs="skip")
    assert [(m.motif_id, m.consensus) for m in kept] == [(m.motif_id, m.consensus) for m in read_motifs(DATA / name)]


def test_a_file_of_odd_motifs_only_is_refused_whatever_the_key(tmp_path):
    path = write(tmp_path, meme("MOTIF odd\n"))
    with pytest.raises(MarginomeError, match="no letter-probability") as caught:
        read_motifs(path, odd_motifs="skip")
    assert "odd_motifs: skip" not in str(caught.value)


def test_the_odd_motifs_of_a_jaspar_release(monkeypatch):
    found = databases.read_jaspar_release(2022, collection="UNVALIDATED")
    assert [m.motif_id for m in found if isinstance(m, OddMotif)] == ["UN0498.1", "UN0570.1"]
    monkeypatch.setattr(databases, "read_jaspar_release", lambda **_: found)
    settings = {"jaspar": {"release": 2022, "collection": "UNVALIDATED"}}
    with pytest.raises(MarginomeError, match=r"UN0498\.1.*2 of 550 motifs are odd"):
        collect_motifs(settings)
    assert len(collect_motifs({**settings, "odd_motifs": "skip"})) == 548
    assert len(collect_motifs({**settings, "exclude": ["UN0498.1", "UN0570.1"]})) == 548


# ---------------------------------------------------------------------------------------------- folders and patterns
def test_folders_patterns_and_formats_of_files(tmp_path):
    folder = tmp_path / "pwms"
    folder.mkdir()
    square = "9 0 0 0\n0 9 0 0\n0 0 9 0\n9 0 0 9\n"
    for name in ("b.txt", "a.txt", ".hidden", "x[1].txt"):
        write(folder, "Pos A C G T\n1 1 0 0 0\n", name)
    write(tmp_path, square, "square.pfm")
    names = [m.motif_id for m in read_motifs(folder)]
    assert names == ["a", "b", "x[1]"]
    assert [m.motif_id for m in read_motifs([folder / "*.txt", folder])] == names  # each file once
    assert [m.motif_id for m in read_motifs(tmp_path / "**" / "[ab].txt")] == ["a", "b"]
    assert [m.motif_id for m in read_motifs(folder / "x[1].txt")] == ["x[1]"]  # a file of that very name
    entry = {"file": str(tmp_path / "square.pfm"), "format": "homer"}
    both = read_motifs([folder / "a.txt", entry])
    assert [(m.motif_id, m.consensus) for m in both] == [("a", "A"), ("square", "ACGA")]
    assert (
        len(read_motifs([tmp_path / "*.pfm", {**entry, "format": "jaspar"}], odd_motifs="skip")) == 1
    )  # its own format
    refused(tmp_path / "*.meme", "no such file")


def test_files_in_folders_are_inputs_of_the_rule(tmp_path):
    from marginome.config import resolve_config
    from workspace import entry_files

    config = yaml_config()
    for name in ("b.txt", "a.txt"):
        write(tmp_path, "Pos A C G T\n1 1 0 0 0\n", name)
    (name,) = config["motifs"]
    config["motifs"][name] = {"files": [str(tmp_path), {"file": str(tmp_path / "?.txt"), "format": "transfac"}]}
    resolved = resolve_config(config)
    assert entry_files(resolved, "motifs", name) == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    assert len(collect_motifs(resolved["motifs"][name])) == 2
    for files, words in (([str(tmp_path / "*.meme")], "does not exist"), ([{"file": "x"}], "missing: format"),
                         ([{"file": str(tmp_path), "format": "meem"}], "Did you mean 'meme'")):  # fmt: skip
        config["motifs"][name] = {"files": files}
        with pytest.raises(MarginomeError, match=words):
            resolve_config(config)


def yaml_config():
    import yaml

    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


# ---------------------------------------------------------------------------------------------- time
def seconds(call) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def test_reading_and_selecting_take_time_in_proportion(tmp_path):
    """Each took 8 s to minutes when it was quadratic."""
    pwm = np.eye(4)
    alike = [Motif("m", "m", pwm, "x", 1, "meme") for _ in range(10_000)]
    logging.getLogger("marginome.motifs").setLevel("ERROR")
    try:
        assert seconds(lambda: assert_(len({m.motif_id for m in keep_apart(alike)}) == 10_000)) < 2
    finally:
        logging.getLogger("marginome.motifs").setLevel("NOTSET")
    many = [Motif(f"m{i}", f"name {i}", pwm, "x", 1, "meme") for i in range(10_000)]
    wanted = [f"M{i}" for i in range(0, 10_000, 5)]
    assert seconds(lambda: assert_(len(select_motifs(many, include=wanted)) == 2_000)) < 2
    blanks = " " * 20_000
    for text in (f">m\nA [ 1{blanks}x", f"A{blanks}x", f"MEME version 4\nMOTIF a{blanks}b", f">m\nA{blanks}[{blanks}1"):
        path = write(tmp_path, text)
        assert seconds(lambda path=path: read_or_refuse(path)) < 2


def read_or_refuse(path) -> None:
    with contextlib.suppress(MarginomeError):
        read_motifs(path)


def assert_(condition: bool) -> None:
    assert condition


# ---------------------------------------------------------------------------------------------- selection and table
def test_selection(jaspar):
    ids = [m.motif_id for m in select_motifs(jaspar, include=["ctcf", "MA0139*"])]
    assert "MA0139.2" in ids and all(m.motif_name == "CTCF" for m in jaspar if m.motif_id in ids)
    assert not {m.motif_id for m in select_motifs(jaspar, exclude=["*CTCF*"])} & set(ids)
    wide = select_motifs(jaspar, min_width=20, max_width=25, min_information_bits=10)
    assert wide and all(20 <= m.width <= 25 and m.information_bits >= 10 for m in wide)
    with pytest.raises(MarginomeError, match=r"Did you mean .*MA0139"):
        select_motifs(jaspar, include=["MA0139.3"])
    with pytest.raises(MarginomeError, match="no motif of 1019"):
        select_motifs(jaspar, min_width=500)


def test_information_content(jaspar):
    from scipy.stats import entropy

    for motif in jaspar[:50]:
        assert motif.information_bits == pytest.approx(2 * motif.width - entropy(motif.pwm, base=2, axis=1).sum())


def test_collections_of_several_files_and_a_release():
    settings = {
        "files": [str(JASPAR), str(DATA / "homer_known.motifs")],
        "jaspar": {"release": 2024},
        "include": ["*CTCF*", "AP-1"],
    }
    motifs = collect_motifs(settings, name="mine")
    assert {m.format for m in motifs} == {"meme", "homer", "jaspar"}
    assert len({m.motif_id for m in motifs}) == len(motifs)
    with pytest.raises(MarginomeError, match=r"motifs\.mine.*neither files"):
        collect_motifs({}, name="mine")
    with pytest.raises(MarginomeError, match=r"motifs\.mine.*Did you mean 'files'"):
        collect_motifs({"file": ["x"]}, name="mine")
    with pytest.raises(MarginomeError, match=r"motifs\.mine\.include"):
        collect_motifs({"files": [str(JASPAR)], "include": ["nothing"]}, name="mine")


def test_the_table_makes_the_motifs_again(tmp_path, jaspar):
    given = read_motifs(write(tmp_path, "one\tACGN\n"))
    write_table(tmp_path / "motifs.parquet", motif_table([*jaspar, *given]))
    table = read_table(tmp_path / "motifs.parquet")
    for before, after in zip([*jaspar, *given], motifs_from_table(table)):
        assert np.array_equal(before.pwm, after.pwm) and before.pwm.dtype == after.pwm.dtype
        for name in ("motif_id", "motif_name", "source", "line", "format", "sequence"):
            assert getattr(before, name) == getattr(after, name)


def test_find_motif(jaspar):
    assert find_motif(jaspar, "MA0139.2").motif_name == "CTCF"
    assert find_motif(jaspar, "zbtb7a").motif_name == "ZBTB7A"
    with pytest.raises(MarginomeError, match="Give the id"):
        find_motif([*jaspar[:2], *jaspar[:2]], jaspar[0].motif_name)
    with pytest.raises(MarginomeError, match="Did you mean"):
        find_motif(jaspar, "CTFC")


def test_codes_of_bases_stand_for_those_of_biopython(tmp_path):
    from Bio.Data.IUPACData import ambiguous_dna_values

    codes = {code: bases for code, bases in ambiguous_dna_values.items() if code != "X"} | {"U": "T"}
    (tmp_path / "codes.tsv").write_text(f"codes\t{''.join(codes)}\n")
    (motif,) = read_motifs(tmp_path / "codes.tsv")
    wanted = [[(base in bases) / len(bases) for base in "ACGT"] for bases in codes.values()]
    np.testing.assert_allclose(motif.pwm, wanted)
