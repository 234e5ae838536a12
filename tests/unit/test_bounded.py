"""Packed files that unpack to far more than they are, and names that are no files: memory and time stay small."""

from __future__ import annotations

import copy
import gzip
import io
import os
import signal
import sys
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from Bio import bgzf

import damaged_weights
from marginome import MarginomeError, bounded
from marginome.bounded import Kind, check_packed_fasta, is_archive
from marginome.fasta import Genome, read_fasta
from marginome.models import load_model
from marginome.models.arguments import Argument
from marginome.motifs import read_motifs
from marginome.regions import read_regions
from marginome.scanning import iterate_contigs

MB = 1 << 20
LARGE = 200 * MB  # what the packed files below unpack to


def peak_of(call) -> float:
    """What a call adds to the memory of this process at its highest (MB); the kernel counts it."""
    with open("/proc/self/clear_refs", "w") as handle:
        handle.write("5")  # forget the highest so far

    def now(word: str) -> int:
        with open("/proc/self/status") as handle:
            return next(int(line.split()[1]) for line in handle if line.startswith(word))

    before = now("VmRSS")
    call()
    return (now("VmHWM") - before) / 1024


def zeros_in(path, member: str, more: dict[str, bytes]) -> None:
    """A zip archive of a few hundred kB, one of whose members unpacks to `LARGE` bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in more.items():
            archive.writestr(name, content)
        with archive.open(member, "w") as handle:
            for _ in range(LARGE // MB):
                handle.write(bytes(MB))


def packed_pickle(path) -> None:
    zeros_in(path, "x/data.pkl", {"x/version": b"3\n"})


def packed_tensor(path) -> None:
    buffer = io.BytesIO()
    torch.save({"iconv.weight": torch.zeros(1)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("data/0")}
    zeros_in(path, "archive/data/0", members)


def members_that_share_their_bytes(path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/data/0", bytes(3 * MB))
        for i in range(1, 100):
            twin = copy.copy(archive.getinfo("x/data/0"))
            twin.filename = f"x/data/{i}"
            archive.filelist.append(twin)


def pickle_that_makes_bytes(path) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # bytearray(LARGE)
        archive.writestr("x/data.pkl", b"\x80\x02c__builtin__\nbytearray\nJ" + LARGE.to_bytes(4, "little") + b"\x85R.")
        archive.writestr("x/version", b"3\n")


def pickle_of_many_objects(path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02(" + b"]" * (17 * MB) + b"l.")
        archive.writestr("x/version", b"3\n")


def views_of_one_number(path) -> None:
    state = damaged_weights.bpnet_state()
    state["fconv.weight"] = torch.zeros(1).expand(LARGE // 80, 4, 5)
    state["fconv.bias"] = torch.zeros(1).expand(LARGE // 80)
    torch.save(state, path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (packed_pickle, "torch.save never packs"),
        (packed_tensor, "torch.save never packs"),
        (members_that_share_their_bytes, "its members are larger than the file itself"),
        (pickle_that_makes_bytes, "the file holds builtins.bytearray; wanted plain tensors"),
        (pickle_of_many_objects, "more than 16 MB of objects"),
        (views_of_one_number, "tensors take .* MB, made of 0 MB of data"),
    ],
)
def test_weights_that_unpack_to_much(tmp_path, make, message):
    path = tmp_path / "bomb.pt"
    make(path)
    assert path.stat().st_size < 18 * MB

    def load() -> None:
        with pytest.raises(MarginomeError, match=message) as refused:
            load_model("bomb", {"weights": str(path), "input_length": 60, "parameters": {"trimming": 10}})
        assert str(path) in str(refused.value)

    assert peak_of(load) < 64


def test_members_that_are_marked_as_folders_are_not_read_as_whatever_lies_in_memory(tmp_path):
    """PyTorch's reader returns them unread; one bit is enough, and no checksum covers it."""
    refused = []
    for case in damaged_weights.cases(False):
        if case.checksums and case.content[:2] == b"PK":
            content, path = bytearray(case.content), tmp_path / case.file
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                at, members = archive.start_dir, archive.infolist()
            for member in members:  # its entry in the archive's directory
                content[at + 38] |= 0x10 if "data/" in member.filename else 0
                at += 46 + sum(int.from_bytes(content[at + i : at + i + 2], "little") for i in (28, 30, 32))
            path.write_bytes(content)
            with pytest.raises(MarginomeError, match="damaged") as error:
                load_model("odd", {"weights": str(path), **case.settings})
            assert str(path) in str(error.value)
            refused.append(case.file)
    assert {"trusted.pt", "trusted_script.pt"} <= set(refused)


# ------------------------------------------------------------------------------------------------ gzip
SMALL = {name: Kind(getattr(bounded, name).name, 4 * MB) for name in ("MOTIFS", "REGIONS", "SEQUENCES", "TABLE")}
READERS = {
    "MOTIFS": lambda path: read_motifs(path),
    "REGIONS": lambda path: read_regions(path),
    "SEQUENCES": lambda path: read_fasta(path),
    "TABLE": lambda path: Argument("a", (1,), "table", files=(str(path),), columns=("a",)).values(["x"]),
}


@pytest.mark.parametrize("kind", READERS)
def test_gzip_is_counted_while_it_is_read(tmp_path, monkeypatch, kind):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as handle:
        for _ in range(LARGE // MB):
            handle.write(b"\n" * MB)
    content = bytearray(path.read_bytes())
    content[-4:] = (10).to_bytes(4, "little")  # the size that gzip tells: whatever its maker likes
    path.write_bytes(content)
    for module in [m for name, m in sys.modules.items() if name.startswith("marginome")]:
        if hasattr(module, kind):
            monkeypatch.setattr(module, kind, SMALL[kind])

    def read() -> None:
        with pytest.raises(MarginomeError, match=r"bomb\.gz: it holds more than 4 MB \(unpacked\)"):
            READERS[kind](path)

    assert peak_of(read) < 32


@pytest.mark.parametrize(
    ("letter", "message"),
    [(b"A", "a line of it is longer than 8 MB"), (b"\n", "indexing takes more than")],
)
def test_a_packed_genome_is_looked_at_before_it_is_indexed(tmp_path, monkeypatch, letter, message):
    path = tmp_path / "genome.fa.gz"
    with bgzf.BgzfWriter(path, compresslevel=1) as handle:
        handle.write(b">chr1\nACGT\n")
        for _ in range(64 * 16):
            handle.write(letter * (1 << 16))
        handle.write(b"\n")
    monkeypatch.setattr(bounded, "GENOME_LINE", 8 * MB)
    monkeypatch.setattr(bounded, "GENOME_INDEX", 8 * MB)

    def index() -> None:
        with pytest.raises(MarginomeError, match=message):
            Genome(path)

    assert peak_of(index) < 48


def test_a_packed_genome_that_is_regular_is_indexed(tmp_path):
    rng = np.random.default_rng(0)
    widths = {"chr1": 60, "chr2": 70, "chr3": 1000}
    sequences = {name: "".join(rng.choice(list("ACGT"), 5000)) for name in widths}
    text = "".join(
        f">{name}\n" + "".join(f"{s[i : i + widths[name]]}\n" for i in range(0, len(s), widths[name]))
        for name, s in sequences.items()
    )
    with bgzf.BgzfWriter(tmp_path / "genome.fa.gz") as handle:
        handle.write(text.encode())
    with Genome(tmp_path / "genome.fa.gz") as genome:
        assert all(genome.fetch(name, 0, 5000) == s for name, s in sequences.items())


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_memory_of_an_index_is_counted_as_the_lines_are(tmp_path, monkeypatch, piece):
    """Against a count line by line, whatever the pieces that the file is read in."""
    rng = np.random.default_rng(piece)
    monkeypatch.setattr(bounded, "_PIECE", piece)
    for _ in range(60):
        lines = rng.choice([b">a", b">bcd", b"ACGT", b"AC", b"ACGTACGT", b""], rng.integers(2, 20)).tolist()
        path = tmp_path / "x.fa.gz"
        path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines)))
        memory, width = 0, 0
        for size, header in ((len(line) + 1, line.startswith(b">")) for line in lines):
            if header:
                memory, width = memory + 600 + size, 0
            else:
                width = width or size
                memory += 100 * (size != width or size == 1)
        monkeypatch.setattr(bounded, "GENOME_INDEX", memory)
        check_packed_fasta(path)
        if memory:
            monkeypatch.setattr(bounded, "GENOME_INDEX", memory - 1)
            with pytest.raises(MarginomeError, match="indexing takes more"):
                check_packed_fasta(path)


def test_a_header_without_end(tmp_path):
    (tmp_path / "x.fa").write_bytes(b">" + b"A" * (4 * MB))
    with pytest.raises(MarginomeError, match="a header line does not end"):
        list(iterate_contigs(tmp_path / "x.fa", chunk_bytes=MB))


# ------------------------------------------------------------------------------------- what is no file
@pytest.fixture(scope="module")
def no_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("none")
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to(folder / "nowhere")
    return {
        "pipe": folder / "fifo", "device": "/dev/zero", "folder": folder, "dangling link": folder / "link",
        "in a file": "/dev/null/x", "zero byte": "a\0b", "long name": "x" * 300,
    }  # fmt: skip


@pytest.mark.parametrize("reader", [*READERS, "genome", "weights", "own loader"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling link", "in a file", "zero byte", "long name"])
def test_what_is_no_file_is_one_line(tmp_path, no_files, kind, reader):
    own = tmp_path / "own.py"
    own.write_text("import torch\n\n\ndef load():\n    return torch.nn.Flatten()\n")
    readers = READERS | {
        "genome": Genome,
        "weights": lambda path: load_model("x", {"weights": str(path), "input_length": 60}),
        "own loader": lambda path: load_model("x", {"weights": str(path), "loader": f"{own}:load", "input_length": 60}),
    }
    signal.alarm(10)  # a pipe that is opened waits for ever
    try:
        with pytest.raises(
            MarginomeError, match=r"no such file|folder|pipe, not a file|device|cannot be read"
        ) as refused:
            readers[reader](no_files[kind])
    finally:
        signal.alarm(0)
    assert "\n" not in str(refused.value)


# ------------------------------------------------------------------------------------ damaged at random
def test_damaged_weights_entries_and_tables(tmp_path, capfd):
    """200 seeds of tests/checks/damaged_weights.py, without exported programs (test_models_files)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, while whole files are made
        checker = damaged_weights.Checker(tmp_path, exported=False)
    capfd.readouterr()
    outcomes = [checker.check(seed) for seed in range(200)]
    assert [fault for _, fault in outcomes if fault] == []
    assert capfd.readouterr() == ("", "")
    assert min(sum(word == wanted for word, _ in outcomes) for wanted in ("read", "refused")) >= 10


def test_what_is_an_archive_is_told_by_its_content(tmp_path):
    (tmp_path / "a").write_text("a" * 600)
    for kind in ("", "gz"):
        with tarfile.open(tmp_path / f"tar{kind}", f"w:{kind}") as packed:
            packed.add(tmp_path / "a")
    assert {path.name: is_archive(path) for path in tmp_path.iterdir()} == {"a": False, "tar": True, "targz": True}
