"""Fuzzing of what users give: damaged motif files, FASTA, BED and configs are read or refused, never a bare traceback.

Real files are damaged at random: lines lost, doubled or swapped, bytes changed, pieces cut off, odd tokens put in. By
default about 1,500 inputs are tried; MARGINOME_FUZZ=20000 tries that many per test (2,000 configs). Reading of damaged
files ends after MARGINOME_FUZZ_SECONDS (default 60) whatever was reached; each test says how many inputs it tried.
"""

from __future__ import annotations

import copy
import gzip
import os
import random
import time
from collections import Counter

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from marginome.backgrounds import check_settings
from marginome.config import resolve_config
from marginome.errors import MarginomeError
from marginome.genomes import Genome, read_fasta
from marginome.intervals import place_regions
from marginome.motifs import Motif, read_motifs
from marginome.regions import read_regions
from workspace import RESOURCES, ROOT

EXAMPLES = int(os.environ.get("MARGINOME_FUZZ", "250"))
SECONDS = float(os.environ.get("MARGINOME_FUZZ_SECONDS", "60"))
DATA = ROOT / "tests" / "data" / "motifs"

TOKENS = [
    b"MOTIF",
    b"MOTIF x",
    b">",
    b">a b\tc\t5",
    b"//",
    b"XX",
    b"P0 A C G T",
    b"nan",
    b"inf",
    b"-1",
    b"1e400",
    b"0",
    b"0.25",
    b"letter-probability matrix: alength= 4 w= 3",
    b"ALPHABET= ACDE",
    b"A [",
    b"]",
    b"\t",
    b"\r",
    b"\x00",
    b"\xff\xfe",
    b"\xe9",
    b"NNNN",
    b"ACGT",
    b"#",
    b"\n\n\n",
    b"chr1",
    b"track",
    b"1e5",
    b"99999999999999999999",
    b"w=",
    b"alength= x",
    b"Pos A C G T",
]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Damage a file in one to four ways."""
    for _ in range(rng.randint(1, 4)):
        lines = content.split(b"\n")
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        way = rng.randrange(9)
        if way == 0:
            del lines[at]
        elif way == 1:
            lines.insert(other, lines[at])
        elif way == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif way == 3:
            lines = lines[: at + 1]
        elif way == 4:
            lines.insert(at, rng.choice(TOKENS))
        elif way == 5:
            words = lines[at].split(b" ")
            words[rng.randrange(len(words))] = rng.choice(TOKENS)
            lines[at] = b" ".join(words)
        elif way == 6:
            lines[at] = lines[at].replace(b" ", b"\t").lower()
        content = b"\n".join(lines)
        if way == 7 and content:
            i = rng.randrange(len(content))
            content = content[:i] + bytes([rng.randrange(256)]) + content[i + 1 :]
        elif way == 8:
            content = content[: rng.randrange(len(content) + 1)]
    return content


class Tried:
    """Counts what became of the inputs, and ends a test in time."""

    def __init__(self):
        self.counts: Counter = Counter()
        self.end = time.monotonic() + SECONDS

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end

    def report(self, record_property, least: int) -> None:
        total = sum(self.counts.values())
        record_property("inputs", total)
        print(f"{total} inputs: {dict(self.counts)}")
        assert total >= least or self.over
        # a fuzz that only ever reads, or only ever refuses, tests nothing
        assert self.counts["read"] and self.counts["refused"]


def explained(error: MarginomeError) -> None:
    """Check that the refusal says where it is; what is wrong stands in its own words."""
    assert error.what and error.where
    assert "Traceback" not in str(error) and len(str(error)) < 3000


MOTIF_FILES = sorted(p for p in DATA.iterdir() if p.suffix not in (".md", ".h5"))


def test_damaged_motif_files(tmp_path, record_property, caplog):
    tried, rng = Tried(), random.Random(0)
    contents = [path.read_bytes() for path in MOTIF_FILES]
    contents += [b"one\tACGT\ntwo\tRYN\n", b"motif_id\tmotif_name\tsequence\nx\ty\tACGT\n", b">a\nACGT\n>b c\nNNA\n"]
    shipped = (RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme").read_bytes()
    contents.append(shipped[:4000])
    path = tmp_path / "motifs.txt"
    for _ in range(EXAMPLES):
        if tried.over:
            break
        content = damaged(rng.choice(contents), rng)
        path.write_bytes(gzip.compress(content, 1) if rng.random() < 0.05 else content)
        form = rng.choice(["auto"] * 5 + ["meme", "jaspar", "homer", "transfac", "tsv", "fasta", "modisco"])
        try:
            motifs = read_motifs(path, format=form)
        except MarginomeError as error:
            explained(error)
            tried.counts["refused"] += 1
        else:
            tried.counts["read"] += 1
            assert motifs and len({m.motif_id for m in motifs}) == len(motifs)
            for motif in motifs:
                assert isinstance(motif, Motif) and motif.motif_id and motif.width
                assert np.isfinite(motif.pwm).all() and np.allclose(motif.pwm.sum(1), 1) and motif.pwm.shape[1] == 4
    tried.report(record_property, EXAMPLES)


@pytest.mark.skipif(not (DATA / "modisco.h5").exists(), reason="needs the shipped TF-MoDISco file")
def test_damaged_modisco_files(tmp_path, record_property):
    tried, rng = Tried(), random.Random(1)
    content = (DATA / "modisco.h5").read_bytes()
    path = tmp_path / "modisco.h5"
    for _ in range(max(20, EXAMPLES // 10)):
        if tried.over:
            break
        changed = bytearray(content)
        if rng.random() < 0.3:
            changed = changed[: rng.randrange(len(changed))]
        else:
            for _ in range(rng.choice([1, 5, 50])):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(bytes(changed))
        try:
            read_motifs(path)
        except MarginomeError as error:
            explained(error)
            tried.counts["refused"] += 1
        else:
            tried.counts["read"] += 1
    tried.report(record_property, 20)


def test_damaged_regions_and_fasta(tmp_path, record_property):
    tried, rng = Tried(), random.Random(2)
    peaks = gzip.decompress((RESOURCES / "peaks" / "hg19_chr20_piece_K562_CTCF.narrowPeak.gz").read_bytes())
    sequences = b">chr1 first\n" + b"ACGTNacgt\n" * 4 + b"AC\n>chr2\nACGT\n"
    bed = b"track x\nchr1\t1\t20\tname\t0\t+\n" * 3 + b"chr2\t0\t4\n"
    for _ in range(EXAMPLES):
        if tried.over:
            break
        content = damaged(rng.choice([peaks, bed, sequences]), rng)
        path = tmp_path / f"{rng.randrange(10**9)}.{rng.choice(['bed', 'fa', 'fa.gz'])}"
        path.write_bytes(content)
        for reader in (read_regions, read_fasta, Genome):
            try:
                found = reader(path)
                if reader is read_regions:
                    assert (found["start"] < found["end"]).all()
                    place_regions(found, 10, {"chr1": 50, "chr2": 4}, off_edge="drop", unknown_contigs="drop")
                elif reader is Genome:
                    with found as genome:
                        for contig, size in genome.contigs.items():
                            if size:
                                genome.fetch(contig, 0, size)
            except MarginomeError as error:
                explained(error)
                tried.counts["refused"] += 1
            else:
                tried.counts["read"] += 1
        for made in tmp_path.iterdir():
            made.unlink()
    tried.report(record_property, 3 * EXAMPLES)


# ---------------------------------------------------------------------------------------------- configs
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**6),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
    st.sampled_from(
        ["both", "centre", "gc_matched", "uniform", "bed", "fasta", "+", "consensus", "sample", "cuda", "auto"]
    ),
)
CONFIG_TRIED: Counter = Counter()


def _paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


@settings(max_examples=max(100, min(EXAMPLES, 2000)), deadline=None, database=None, derandomize=True)
@given(data=st.data())
def _damaged_configs(data):
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, key = data.draw(st.sampled_from([p for p in _paths(config) if p]))
        target = config
        for parent in parents:
            target = target[parent]
        way = data.draw(st.sampled_from(["change", "remove", "add", "rename"]))
        if way == "change" or isinstance(target, list):
            target[key] = data.draw(VALUES)
        elif way == "remove":
            del target[key]
        elif way == "add":
            target[
                data.draw(st.one_of(st.text(max_size=6), st.sampled_from(["n", "kind", "fasta", "exclude_hits"])))
            ] = data.draw(VALUES)
        else:
            target[data.draw(st.text(max_size=8))] = target.pop(key)
    before = copy.deepcopy(config)
    try:
        resolved = resolve_config(config, check_files=False)
    except MarginomeError as error:
        assert str(error)
        CONFIG_TRIED["refused"] += 1
    else:
        CONFIG_TRIED["read"] += 1
        assert set(config) <= set(resolved)
    assert repr(config) == repr(before)  # what the user gave is left alone


def test_damaged_configs(record_property):
    _damaged_configs()
    record_property("inputs", sum(CONFIG_TRIED.values()))
    print(dict(CONFIG_TRIED))
    assert sum(CONFIG_TRIED.values()) >= 100
    assert CONFIG_TRIED["read"] and CONFIG_TRIED["refused"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    settings_=st.dictionaries(
        st.sampled_from(
            ["kind", "n", "length", "genome", "peaks", "regions", "fasta", "probabilities", "flank", "wrong"]
        ),
        st.one_of(
            st.none(),
            st.integers(0, 9),
            st.sampled_from(["uniform", "composition", "bed", "fasta", "gc_matched", "x.fa"]),
        ),
    )
)
def test_settings_of_a_background_set(settings_):
    try:
        assert check_settings(settings_)["kind"] == settings_["kind"]
    except MarginomeError as error:
        explained(error)
