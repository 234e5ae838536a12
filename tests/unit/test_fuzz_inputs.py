"""Fuzzing of what users give: damaged files and configs are read or refused in words, never a bare traceback.

Files are damaged by tests/checks/damaged_inputs.py, of which 700 tries run here.
MARGINOME_FUZZ=2000 tries that many configs.
"""

from __future__ import annotations

import copy
import os
import re
import time
from collections import Counter

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import damaged_inputs
import seeds_in_turn
from marginome.backgrounds import check_settings
from marginome.config import resolve_config
from marginome.errors import MarginomeError
from workspace import ROOT

EXAMPLES = int(os.environ.get("MARGINOME_FUZZ", "250"))


def explained(error: MarginomeError) -> None:
    """Check that the refusal says where it is; what is wrong stands in its own words."""
    assert error.what and error.where
    assert "Traceback" not in str(error) and len(str(error)) < 3000


def test_damaged_files(record_property):
    counts, failures = damaged_inputs.run(700, seed=3)
    record_property("inputs", sum(counts.values()))
    assert not failures, "\n\n".join(failures)
    assert sum(counts.values()) == 700
    # a fuzz that only ever reads, or only ever refuses, tests nothing
    for kind in ("regions", "motifs", "fasta", "bgzip", "bigwig"):
        read, refused = counts[f"{kind} read"], counts[f"{kind} refused"]
        assert read + refused and ((read and refused) or read + refused < 20), (
            counts
        )  # eight bigWigs may all be refused


def test_the_script_finds_what_is_wrong(monkeypatch):
    """A reader that fails, kills its process or reads less than there is does not go unseen."""
    real = damaged_inputs.read_regions
    monkeypatch.setattr(damaged_inputs, "originals", lambda: [("regions", b"chr1\t1\t2\n" * 5)])
    monkeypatch.setattr(damaged_inputs.seeds_in_turn, "FAILURES", 1)
    for reader, word in (
        (lambda path, **_: 1 / 0, "ZeroDivisionError"),
        (lambda path, **_: os._exit(9), "the process died"),
        (lambda path, **_: real(path, odd_rows="skip").iloc[1:], "skipped"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(damaged_inputs, "read_regions", reader)
            _, failures = damaged_inputs.run(20, seed=0)
        assert failures and word in "".join(failures)
        size = int(re.search(r", (\d+) bytes", failures[0])[1])
        assert size <= len(b"chr1\t1\t2")  # no more than a row of those that fail


def test_what_never_ends_is_stopped_and_what_waits_for_a_processor_is_not():
    began = time.process_time()
    with pytest.raises(TimeoutError, match="more than 1 seconds"), seeds_in_turn.at_most(1):
        while time.process_time() < began + 20:
            pass
    with seeds_in_turn.at_most(1):
        time.sleep(1.2)


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
