"""Patterns: the same as modisco-lite's own command line; coordinates; nothing is a valid result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from modiscolite import extract_seqlets, precompile

from marginome.errors import MarginomeError
from marginome.motifs import read_modisco
from marginome.patterns import Patterns, find_patterns, pattern_tables, trimmed_span, write_patterns

MOTIF = "TGACTCATGC"
LENGTH, WINDOW = 160, 100
START = (LENGTH - WINDOW) // 2
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def planted(n=240):
    """Sequences with a motif on either strand in the middle part, and attributions that know it."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (n, LENGTH))
    hypothetical = rng.normal(0, 0.01, (n, 4, LENGTH))
    for i in range(n):
        text = MOTIF if i % 2 else MOTIF.translate(COMPLEMENT)[::-1]
        at = rng.integers(START + 20, LENGTH - START - 40)
        bases = ["ACGT".index(b) for b in text]
        codes[i, at : at + len(text)] = bases
        for k, base in enumerate(bases):
            hypothetical[i, :, at + k] -= 0.3
            hypothetical[i, base, at + k] += 1.0 + 0.2 * rng.random()
    sequences = np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1).copy()
    return sequences, hypothetical.astype(np.float32)


@pytest.fixture(scope="module")
def data():
    return planted()


@pytest.fixture(scope="module")
def written(data, tmp_path_factory):
    sequences, hypothetical = (x[:, :, START : START + WINDOW] for x in data)
    path = tmp_path_factory.mktemp("patterns") / "patterns.h5"
    found = find_patterns(sequences, hypothetical, max_seqlets=2000)
    write_patterns(path, found, window=WINDOW, start=START, metadata={"made": "here"})
    return path


def test_the_planted_motif_is_found_where_it_is(data, written):
    with h5py.File(written) as handle:
        patterns, seqlets = pattern_tables(handle, trim=0.3)
    best = patterns.iloc[0]
    assert best["sign"] == "+" and best["n_seqlets"] > 100 and best["width"] == len(MOTIF)
    assert best["consensus"] in (MOTIF, MOTIF.translate(COMPLEMENT)[::-1])
    mine = seqlets[seqlets["pattern_id"] == best["pattern_id"]]
    assert set(mine["strand"]) == {"+", "-"}
    for row in mine.itertuples():  # start and end are of the whole sequence, not of the window
        codes = data[0][row.example_idx, :, row.start : row.end].argmax(0)
        text = "".join("ACGT"[c] for c in codes)
        assert row.sequence == (text if row.strand == "+" else text.translate(COMPLEMENT)[::-1])
        assert row.attribution == pytest.approx(
            (data[0] * data[1])[row.example_idx, :, row.start : row.end].sum(), abs=1e-4
        )
    assert (mine["sequence"] == best["consensus"]).mean() > 0.9
    pwm = best["pwm"].reshape(-1, 4)
    np.testing.assert_allclose(pwm.sum(1), 1)


def test_it_is_a_motif_collection_too(written):
    motifs = read_modisco(written, trim=0.3)
    with h5py.File(written) as handle:
        patterns, _ = pattern_tables(handle, trim=0.3)
    assert [m.motif_id for m in motifs] == patterns["pattern_id"].tolist()
    assert [m.consensus for m in motifs] == patterns["consensus"].tolist()


def test_modisco_lites_command_line_finds_the_same(data, written, tmp_path):
    for name, values in zip(("sequences", "attributions"), data):
        np.savez(tmp_path / f"{name}.npz", values)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("modisco")), "motifs", "-s", tmp_path / "sequences.npz", "-a",
         tmp_path / "attributions.npz", "-n", "2000", "-w", str(WINDOW), "-o", tmp_path / "theirs.h5"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with h5py.File(written) as ours, h5py.File(tmp_path / "theirs.h5") as theirs:
        names = []
        theirs.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) > 5
        for name in names:
            np.testing.assert_array_equal(ours[name][...], theirs[name][...], err_msg=name)


def test_what_numba_compiles_is_kept_for_the_next_process(data, monkeypatch):
    """modisco-lite keeps it if asked before its first kernel; a job that compiles it all takes 10 s more."""
    order, extract = [], extract_seqlets.extract_seqlets
    monkeypatch.setattr(precompile, "start", lambda: order.append("keep"))
    monkeypatch.setattr(extract_seqlets, "extract_seqlets", lambda *a, **k: order.append("kernel") or extract(*a, **k))
    find_patterns(*(x[:10, :, :WINDOW] for x in data))
    assert order[:2] == ["keep", "kernel"]


def test_above_the_limit_seqlets_are_those_of_random_loci(data, tmp_path):
    sequences, hypothetical = (x[:, :, START : START + WINDOW] for x in data)
    taken = {}
    for seed in (0, 1):
        found = find_patterns(sequences, hypothetical, max_seqlets=80, min_seqlets=40, seed=seed)
        assert found.order is not None and sorted(found.order) == list(range(len(sequences)))
        write_patterns(tmp_path / "p.h5", found, window=WINDOW, start=START, metadata={})
        with h5py.File(tmp_path / "p.h5") as handle:
            _, seqlets = pattern_tables(handle, trim=0.3)
        assert 20 < len(seqlets) <= 80
        # they are numbered as they were given
        for row in seqlets.itertuples():
            text = "".join("ACGT"[i] for i in data[0][row.example_idx, :, row.start : row.end].argmax(0))
            assert row.sequence == (text if row.strand == "+" else text.translate(COMPLEMENT)[::-1])
        taken[seed] = set(seqlets["example_idx"])
        assert taken[seed] <= set(found.order[:80].tolist())
        assert max(taken[seed]) > 160  # not those of the first loci
    assert taken[0] != taken[1]


def test_no_signal_is_an_empty_result(data, tmp_path):
    sequences = data[0][:, :, :WINDOW]
    assert find_patterns(sequences, np.zeros_like(sequences)) == Patterns(None, None)
    few = find_patterns(sequences[:10], data[1][:10, :, :WINDOW])
    assert few.n == 0
    write_patterns(tmp_path / "none.h5", few, window=WINDOW, start=0, metadata={})
    with h5py.File(tmp_path / "none.h5") as handle:
        patterns, seqlets = pattern_tables(handle, trim=0.3)
        assert handle.attrs["complete"]
    assert len(patterns) == len(seqlets) == 0 and "consensus" in patterns and "sequence" in seqlets


def test_mistakes_are_named(data):
    sequences, hypothetical = data
    with pytest.raises(MarginomeError, match="window of 20 bp is shorter than a seqlet of 30 bp"):
        find_patterns(sequences[:, :, :20], hypothetical[:, :, :20])
    broken = hypothetical.copy()
    broken[3, 0, 7] = np.nan
    with pytest.raises(MarginomeError, match="NaN"):
        find_patterns(sequences, broken)
    with pytest.raises(MarginomeError, match="two arrays"):
        find_patterns(sequences, hypothetical[:5])
    with pytest.raises(MarginomeError, match="more loci"):  # all of one sign: no null can be made
        find_patterns(sequences, np.abs(hypothetical) + 0.01)


def test_trimming():
    contributions = np.zeros((8, 4))
    contributions[2, 1], contributions[4, 0], contributions[5, 3] = -1.0, 0.2, 0.5
    assert trimmed_span(contributions, 0.3) == (2, 6)
    assert trimmed_span(contributions, 0.0) == (0, 8)
    assert trimmed_span(contributions, 1.0) == (2, 3)
