"""The chain from loci to isolated elements, by config alone: on a real model, on peaks and on shuffled peaks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pandas as pd
import pytest

from workspace import ROOT, Workspace, rules_run, small_elements_config

pytestmark = [pytest.mark.workflow, pytest.mark.long]


@pytest.fixture
def copy(elements, tmp_path) -> Workspace:
    """A copy of the finished run that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(elements.folder, folder, symlinks=True)
    return Workspace(folder, small_elements_config())


def results(space: Workspace, *parts: str) -> pd.DataFrame:
    return pd.read_parquet(space.path("results", "attributions", *parts))


def test_the_models_motif_comes_out_as_seqlets(elements):
    table = results(elements, "ctcf_peaks", "annotations.parquet")
    assert len(table) >= 15
    named = table["match_name"].fillna("")
    assert named.str.contains("CTCF").mean() > 0.8
    assert (table.loc[named.str.contains("CTCF"), "match_q"] <= 0.05).all()
    assert (table["attribution"].abs() >= 0.2).all()
    # within a few bases of the summits that ChIP-seq found
    centre = (table["start"] + table["end"]) / 2
    assert (centre - 1057).abs().median() < 40


def test_the_record_says_what_the_entry_was_made_from(elements):
    folder = elements.path("results", "attributions", "ctcf_peaks")
    record = json.loads((folder / "provenance.json").read_text())
    config = record["config"]
    entry = config["attribution"]["ctcf_peaks"]
    assert config["seed"] == 1 and config["device"] == "cpu" and config["precision"] == "float32"
    assert entry["references"]["n"] == 4 and entry["seqlets"]["caller"] == "recursive"  # defaults are filled in
    assert set(config["models"]) == {"bpnet_ctcf"} and set(config["motifs"]) == {"jaspar"}
    assert set(config["backgrounds"]) == {"gc_matched"}
    named = {os.path.basename(path) for path in record["input_sha256"]}
    assert {"bpnet_ctcf_k562_2114.state_dict.pt", "hg19_chr20_piece.fa.gz", "JASPAR2026_CORE_vertebrates.meme"} <= named
    for path, digest in {**record["input_sha256"], **record["result_sha256"]}.items():
        file = elements.path(path) if (elements.path(path)).exists() else folder / path
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest, path
    results = set(record["result_sha256"])
    assert {"attributions.h5", "seqlets.parquet", "patterns.parquet", "seqlets/effects.parquet"} <= results
    attributed = [s for s in record["shards"] if s["file"].startswith("shards/")]
    assert len(attributed) == 1 and attributed[0]["seed"] == 1 and attributed[0]["device"] == "cpu"
    isolated = [s for s in record["shards"] if s["file"].startswith("seqlets/shards/")]
    assert isolated and all(s["engine"]["path"] == "incremental" for s in isolated)
    assert record["code"]["digest"] and record["versions"]["torch"] and record["machine"]["processor"]
    assert "bpnet_ctcf" in record["models"]
    # the target first: --configfile takes every word that follows it
    assert record["command"].startswith(
        "snakemake --cores all results/attributions/ctcf_peaks/report.html --configfile "
    )
    page = (folder / "report.html").read_text()
    assert record["command"] in page and 'href="provenance.json"' in page


@pytest.mark.parametrize("entry", ["ctcf_peaks", "ctcf_shuffled"])
def test_the_chain_is_drawn(elements, entry):
    figure = elements.path("results", "attributions", entry, "figures", "elements.svg").read_text()
    assert figure.startswith("<?xml") and figure.rstrip().endswith("</svg>") and len(figure) > 10_000


def test_shuffled_peaks_give_nearly_none(elements):
    peaks = results(elements, "ctcf_peaks", "annotations.parquet")
    shuffled = results(elements, "ctcf_shuffled", "annotations.parquet")
    assert len(shuffled) < len(peaks) / 3
    assert shuffled["attribution"].sum() < peaks["attribution"].sum() / 8
    assert len(results(elements, "ctcf_shuffled", "patterns.parquet")) == 0
    # nothing found is a table with nothing in it, to the end
    empty = results(elements, "ctcf_shuffled", "patterns", "effects.parquet")
    assert len(empty) == 0 and "effect" in empty
    assert len(results(elements, "ctcf_shuffled", "pattern_matches.parquet")) == 0


def test_the_motif_is_a_named_pattern(elements):
    matches = results(elements, "ctcf_peaks", "pattern_matches.parquet")
    assert (matches["match_name"].fillna("").str.contains("CTCF")).any()
    best = matches[matches["match_name"].fillna("").str.contains("CTCF")].iloc[0]
    assert best["sign"] == "+" and best["match_q"] <= 0.05 and best["n_seqlets"] >= 20
    seqlets = results(elements, "ctcf_peaks", "pattern_seqlets.parquet")
    with h5py.File(elements.path("results", "attributions", "ctcf_peaks", "attributions.h5")) as handle:
        sequences, starts = handle["sequences"][...], handle["start"][...]
    complement = str.maketrans("ACGT", "TGCA")
    for row in seqlets.itertuples():
        text = "".join("ACGT"[i] for i in sequences[row.example_idx, :, row.start : row.end].argmax(0))
        assert row.sequence == (text if row.strand == "+" else text.translate(complement)[::-1])
        assert row.genome_start == starts[row.example_idx] + row.start


@pytest.mark.parametrize("kind", ["seqlets", "patterns"])
def test_the_motif_works_in_isolation(elements, kind):
    table = results(elements, "ctcf_peaks", kind, "effects.parquet")
    counts = table[(table["output"] == "counts") & table["match_name"].fillna("").str.contains("CTCF")]
    if kind == "patterns":
        counts = counts[counts["sample"].isna()]  # the consensus
        assert len(counts) >= 1 and (counts["effect"] > 0.5).all()
    else:
        assert len(counts) >= 15
        assert (counts["effect"] > 0).mean() > 0.9 and counts["effect"].median() > 0.3
        assert {"attribution", "seqlet_start", "genome_start", "sign", "best_id"} <= set(table)
    assert (counts["n_backgrounds"] == 4).all() and (counts["ci_low"] < counts["effect"]).all()
    assert counts["q"].median() < 0.05


def test_isolated_effects_are_tangermemes(elements):
    import torch
    from tangermeme.marginalize import marginalize_annotations

    from marginome.fasta import read_background
    from marginome.models import load_model
    from marginome.sequences import one_hot_encode

    config = elements.config
    model = load_model("bpnet_ctcf", config["models"]["bpnet_ctcf"]).module

    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, X):
            return self.model(X)[1]

    counts = Counts()
    with h5py.File(elements.path("results", "attributions", "ctcf_peaks", "attributions.h5")) as handle:
        X = torch.from_numpy(handle["sequences"][...]).float()
        ids = [name.decode() for name in handle["ids"][...]]
    _, backgrounds = read_background(elements.path("results", "backgrounds", "gc_matched.fa.gz"))
    X0 = torch.stack([one_hot_encode(s) for s in backgrounds]).float()
    table = results(elements, "ctcf_peaks", "seqlets", "effects.parquet")
    table = table[table["output"] == "counts"].head(4)
    flank = config["attributions"]["ctcf_peaks"]["marginalize"].get("flank", 5)
    spans = [
        (ids.index(row.sequence_id), row.seqlet_start - flank, row.seqlet_end + flank) for row in table.itertuples()
    ]
    before, after = marginalize_annotations(counts, X, X0, torch.tensor(spans), device="cpu")
    theirs = (after - before).numpy()[..., 0].mean(1)
    np.testing.assert_allclose(table["effect"], theirs, atol=2e-5)


def test_seqlets_of_the_strict_caller_are_tangermemes(elements):
    import torch
    from tangermeme.seqlet import recursive_seqlets

    with h5py.File(elements.path("results", "attributions", "ctcf_peaks", "attributions.h5")) as handle:
        observed = handle["observed"][...].astype(np.float32)
    theirs = recursive_seqlets(torch.from_numpy(observed), threshold=0.01)
    theirs = theirs[theirs["attribution"] >= 0.2]
    ours = results(elements, "ctcf_peaks", "seqlets.parquet")
    ours = ours[ours["sign"] == "+"]
    assert set(zip(ours["example_idx"], ours["start"], ours["end"])) == set(
        zip(theirs["example_idx"], theirs["start"], theirs["end"])
    )


def test_nothing_is_left_to_do_and_a_threshold_recomputes_no_attribution(copy):
    assert "Nothing to be done" in copy.run("attributions", "--dry-run").stdout
    copy.config["attributions"]["ctcf_peaks"]["seqlets"]["min_attribution"] = 0.4
    planned = rules_run(copy.run("attributions", "--dry-run").stdout)
    assert "call_seqlets" in planned and "annotate_seqlets" in planned and "summarize_elements" in planned
    assert not planned & {"collect_loci", "attribute", "merge_attributions", "find_patterns", "check_model"}
    copy.config["attributions"]["ctcf_peaks"]["seqlets"]["min_attribution"] = 0.2
    copy.config["attributions"]["ctcf_peaks"]["annotate"]["max_q"] = 0.01
    planned = rules_run(copy.run("attributions", "--dry-run").stdout)
    assert "annotate_seqlets" in planned and not planned & {"call_seqlets", "attribute", "find_patterns"}


def test_a_killed_run_goes_on_and_shards_do_not_change_a_bit(elements, copy):
    copy.config["attributions"]["ctcf_peaks"]["shards"] = 2  # in place of 1
    target = "results/attributions/ctcf_peaks/attributions.h5"
    shards = [copy.path("results", "attributions", "ctcf_peaks", "shards", f"{i}-of-2.h5") for i in (1, 2)]
    copy.write()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory",
               str(copy.folder), "--configfile", str(copy.folder / "config.yaml"), "--cores", "1", target]  # fmt: skip
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 300
        while not any(path.exists() for path in shards) and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    done = {path: path.stat().st_mtime_ns for path in shards if path.exists()}
    assert len(done) == 1
    copy.run("--unlock")
    again = copy.run(target).stdout
    kept = [path for path, stamp in done.items() if path.stat().st_mtime_ns == stamp]
    # what was complete when the run died was not made again, unless it died before it was noted down
    assert len(kept) >= len(done) - 1, again
    with h5py.File(copy.path(target)) as ours, h5py.File(elements.path(target)) as whole:
        assert set(ours) == set(whole)
        for name in whole:
            assert (ours[name][...] == whole[name][...]).all(), name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda entry: entry.update(output="count"), ["no output 'count'", "Did you mean 'counts'"]),
        (lambda entry: entry["loci"].update(resize=False), ["31 of 31 loci are not 2114 bp", "resize: true"]),
    ],
    ids=["output", "widths"],
)
def test_mistakes_stop_before_anything_is_attributed(copy, change, told):
    change(copy.config["attributions"]["ctcf_peaks"])
    failed = copy.run("results/attributions/ctcf_peaks/attributions.h5", check=False)
    assert failed.returncode != 0
    # said when the config is read where the model's header tells, else by the first job that can know
    log = copy.path("logs", "collect_loci", "ctcf_peaks.log").read_text()
    for text in told:
        assert text in failed.stdout or text in log.strip().splitlines()[-1]
    assert "rule attribute" not in failed.stdout
