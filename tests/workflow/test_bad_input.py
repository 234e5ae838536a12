"""What users get wrong: one clear message, before anything long, and no traceback."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys

import pytest

from workspace import RESOURCES, cannot_run

pytestmark = pytest.mark.workflow
WEIGHTS = RESOURCES / "models" / "bpnet_ctcf_k562_2114.state_dict.pt"


def _told(workspace, target: str, *texts: str) -> str:
    output = workspace.run(*target.split(), check=False)
    assert output.returncode != 0, output.stdout
    assert "Traceback" not in output.stdout, output.stdout[-3000:]
    for text in texts:
        assert text in output.stdout, f"'{text}' is not in:\n{output.stdout[-3000:]}"
    return output.stdout


def test_a_wrong_key_stops_at_once_with_the_closest(workspace):
    workspace.config["screens"]["ctcf_jaspar"]["orientation"] = "both"
    _told(workspace, "-n", "screens.ctcf_jaspar", "'orientation'", "Did you mean 'orientations'")


def test_missing_weights(workspace):
    workspace.config["models"]["bpnet_ctcf"]["weights"] = "resources/models/bpnet_ctcf_k562_2114.state_dict.pth"
    _told(workspace, "-n", "models.bpnet_ctcf.weights", "does not exist", "Did you mean", "state_dict.pt'")


def test_truncated_weights(workspace):
    cut = workspace.path("cut.pt")
    cut.write_bytes(WEIGHTS.read_bytes()[:100_000])
    workspace.config["models"]["bpnet_ctcf"]["weights"] = "cut.pt"
    _told(workspace, "models", "ERROR", "cut.pt")


def test_weights_of_another_architecture(workspace):
    workspace.config["models"]["bpnet_ctcf"] |= {"loader": "beluga", "input_length": 2000}
    for background in workspace.config["backgrounds"].values():
        background["length"] = 2000
    _told(workspace, "models", "ERROR", "bpnet_ctcf")


def test_a_pickle_without_trust(workspace):
    code = (
        "import torch, sys\n"
        "class Net(torch.nn.Module): pass\n"
        "torch.save(Net(), sys.argv[1])\n"
    )  # a module of a class that nobody knows
    subprocess.run([sys.executable, "-c", code, str(workspace.path("own.pt"))], check=True)
    workspace.config["models"]["bpnet_ctcf"] = {"weights": "own.pt", "input_length": 2114}
    _told(workspace, "models", "ERROR", "trust_pickle")


def _genome(workspace):
    workspace.config["screens"] = {}  # backgrounds alone: no model is checked for them
    for background in workspace.config["backgrounds"].values():
        background["genome"] = "genome.fa"
    with gzip.open(RESOURCES / "genome" / "hg19_chr20_piece.fa.gz", "rt") as source:
        workspace.path("genome.fa").write_text(source.read())
    return workspace.path("genome.fa")


def test_a_fasta_without_an_index_and_with_a_stale_one(workspace):
    genome = _genome(workspace)
    target = "results/backgrounds/gc_matched.fa.gz"
    workspace.run(target)  # makes the index
    first = workspace.path(target).read_bytes()
    index = genome.with_name("genome.fa.fai")
    index.write_text("chr20_1000000_2000000\t500\t5\t60\t61\n")  # of another genome, and older
    os.utime(index, (1, 1))
    workspace.run("--force", target)
    assert workspace.path(target).read_bytes() == first


def test_peaks_on_unknown_chromosomes(workspace):
    _genome(workspace)
    workspace.path("peaks.bed").write_text("chr20\t1000\t1500\nchr7\t1000\t1500\n")
    workspace.config["backgrounds"]["gc_matched"]["peaks"] = "peaks.bed"
    _told(workspace, "results/backgrounds/gc_matched.fa.gz", "ERROR", "chr20", "peaks.bed")


def test_fewer_gc_matched_windows_than_asked(workspace):
    workspace.config["screens"] = {}
    workspace.config["backgrounds"]["gc_matched"]["n"] = 100_000
    _told(workspace, "results/backgrounds/gc_matched.fa.gz", "ERROR", "100000", "GC")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("MEME version 4\n\nALPHABET= ACGT\n", "no motif"),
        (
            "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF M1\nletter-probability matrix: alength= 4 w= 2\n"
            "0.1 0.2 0.3 0.4\n0.1 0.2 zero 0.4\n",
            "line 8",
        ),
    ],
)  # fmt: skip
def test_an_empty_or_malformed_motif_file(workspace, text, told):
    workspace.path("motifs.meme").write_text(text)
    workspace.config["motifs"]["jaspar"] = {"files": ["motifs.meme"]}
    _told(workspace, "motifs", "motifs.meme", told)


def test_a_full_disk(workspace):
    """A file system of 64 kB stands in for a full one; what was there stays."""
    if os.geteuid() != 0:
        cannot_run("mounting a small file system needs root")
    small = workspace.path("results", "motifs")
    small.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    (small / ".mounted").touch()  # Snakemake tidies empty folders away, and a mounted one it cannot
    try:
        del workspace.config["motifs"]["jaspar"]["include"]  # all of JASPAR needs more than that
        _told(workspace, "motifs", "the disk is full", "Free some space")
        assert [p.name for p in small.iterdir()] == [".mounted"]
    finally:
        subprocess.run(["umount", str(small)], check=True)
    workspace.run("motifs")  # the same command again completes it


def test_models_and_motifs_come_before_backgrounds(workspace):
    """A mistake that only a loaded model or a read motif shows comes before the long jobs, where there is a choice.

    By priority: a job that waited for it would be made anew with every other screen, or, told not to (`ancient`), would
    not be looked at for changes of its own.
    """
    inputs, first = {}, set()
    for block in workspace.run("-n", "-p").stdout.split("\n\n"):
        rule = re.search(r"^(?:local)?rule (\w+):", block, re.MULTILINE)
        if rule:
            listed = re.search(r"^    input: (.*)$", block, re.MULTILINE)
            inputs.setdefault(rule[1], set()).update(listed[1].split(", ") if listed else [])
            if re.search(r"^    priority: [1-9]", block, re.MULTILINE):
                first.add(rule[1])
    assert first == {"check_model", "collect_motifs", "list_inserts", "check_entries"}
    gate = "results/entries/gc_matched.json"
    assert {rule for rule, files in inputs.items() if gate in files} == {"all"}
    assert inputs["check_entries"] == {
        "results/models/bpnet_ctcf/check.json",
        "results/screens/ctcf_jaspar/inserts/jaspar.parquet",
    }
    assert inputs["list_inserts"] == {"results/motifs/jaspar.parquet"}
