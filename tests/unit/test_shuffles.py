"""Shuffles against enumeration: the whole distribution, not only what is kept."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marginome import MarginomeError, dinucleotide_shuffle, one_hot_decode, one_hot_encode, random_one_hot, shuffle
from marginome.seeds import stable_seed
from marginome.shuffles import sequence_seeds

sequences = st.text("ACGTN", min_size=1, max_size=50).filter(lambda s: s.strip("N"))


def encode(*texts: str) -> torch.Tensor:
    return torch.stack([one_hot_encode(t) for t in texts])


def arrangements(text: str) -> list[str]:
    """All sequences with the dinucleotides and the first base of `text`, by brute force."""
    left = Counter(pairwise(text))
    found = []

    def extend(path: str) -> None:
        if len(path) == len(text):
            found.append(path)
            return
        for base in "ACGTN":
            if left[path[-1], base]:
                left[path[-1], base] -= 1
                extend(path + base)
                left[path[-1], base] += 1

    extend(text[0])
    return sorted(found)


# The first three are sequences of which shuffles that fix the last exits reach 2 of 30, 12 of 132 and 96 of 3,360.
@pytest.mark.parametrize(
    ("text", "n_arrangements"),
    [
        ("ACGACTAGCA", 30),
        ("TCGGATACTGTA", 132),
        ("TGTTAAGTGTCGAGCT", 3360),
        ("AACAAACAAC", None),
        ("ACNNGTCANACGNT", None),
        ("CACATCAGACTGA", None),
    ],
)
def test_every_arrangement_is_equally_likely(text, n_arrangements):
    possible = arrangements(text)
    assert n_arrangements in (None, len(possible))
    drawn = Counter(one_hot_decode(dinucleotide_shuffle(encode(text), n=60_000, random_state=11, allow_N=True)[0]))
    assert set(drawn) <= set(possible)
    # The seed is fixed, so this either always passes or never.
    assert scipy.stats.chisquare([drawn[p] for p in possible]).pvalue > 0.001


def test_shuffles_of_one_sequence_in_a_batch_are_uniform_too():
    """Streams of different sequences, not only of different shuffles, are independent."""
    text = "ACGACTAGCA"
    possible = arrangements(text)
    X = encode(text).expand(20_000, -1, -1).contiguous()
    drawn = Counter(one_hot_decode(dinucleotide_shuffle(X, n=1, random_state=3)[:, 0]))
    assert scipy.stats.chisquare([drawn[p] for p in possible]).pvalue > 0.001
    # Consecutive seeds, as users choose them.
    drawn = Counter(one_hot_decode(dinucleotide_shuffle(X, n=1, random_state=np.arange(20_000))[:, 0]))
    assert scipy.stats.chisquare([drawn[p] for p in possible]).pvalue > 0.001


def test_every_order_is_equally_likely():
    possible = sorted({"".join(p) for p in permutations("AACGTN")})
    drawn = Counter(one_hot_decode(shuffle(encode("AACGTN"), n=60_000, random_state=5)[0]))
    assert set(drawn) == set(possible)
    assert scipy.stats.chisquare([drawn[p] for p in possible]).pvalue > 0.001


@given(sequences, st.integers(0, 2**63 - 1), st.data())
@settings(deadline=None)
def test_what_is_kept(text, seed, data):
    X = encode(text)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)) | st.just(-1))
    stop = len(text) if end == -1 else end
    for function, options in ((dinucleotide_shuffle, {"allow_N": True}), (shuffle, {})):
        result = function(X, start, end, 3, seed, return_unchanged=True, **options)
        assert result.sequences.shape == (1, 3, 4, len(text))
        for out, unchanged in zip(one_hot_decode(result.sequences[0]), result.unchanged[0]):
            assert out[:start] == text[:start] and out[stop:] == text[stop:]
            before, after = text[start:stop], out[start:stop]
            assert Counter(before) == Counter(after)
            assert unchanged == (before == after)
            if function is dinucleotide_shuffle:
                assert Counter(pairwise(before)) == Counter(pairwise(after))
                assert (before[0], before[-1]) == (after[0], after[-1])


@pytest.mark.parametrize("function", [dinucleotide_shuffle, shuffle])
def test_a_seeded_sequence_is_shuffled_alike_anywhere(function):
    X = random_one_hot((7, 4, 300), random_state=0)
    seeds = [stable_seed(1, "reference", f"locus {i}") for i in range(7)]
    together = function(X, n=5, random_state=seeds)
    for i in range(7):
        assert torch.equal(function(X[i : i + 1], n=5, random_state=[seeds[i]])[0], together[i])
    order = [3, 0, 6, 1]
    assert torch.equal(function(X[order], n=5, random_state=[seeds[i] for i in order]), together[order])
    assert torch.equal(function(X, n=2, random_state=seeds), together[:, :2])
    assert torch.equal(function(X, n=5, random_state=torch.tensor(seeds)), together)
    # No two of a sequence alike, no two sequences alike.
    assert len({tuple(one_hot_decode(x[None])) for x in together.flatten(0, 1)}) == 35


@pytest.mark.parametrize("function", [dinucleotide_shuffle, shuffle])
def test_one_seed_serves_a_batch_and_its_slices(function):
    X = random_one_hot((6, 4, 200), random_state=0)
    whole = function(X, n=3, random_state=9)
    assert torch.equal(function(X, n=3, random_state=9), whole)
    assert torch.equal(function(X[:1], n=3, random_state=9), whole[:1])
    assert torch.equal(function(X[2:], n=3, random_state=sequence_seeds(9, 6)[2:]), whole[2:])
    assert not torch.equal(function(X, n=3, random_state=10), whole)
    assert not torch.equal(function(X, n=3), function(X, n=3))
    same = X[:1].expand(6, -1, -1)
    assert not torch.equal(function(same, n=3, random_state=9)[0], function(same, n=3, random_state=9)[1])


def test_threads_do_not_change_results():
    X = random_one_hot((40, 4, 1000), random_state=0)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(dinucleotide_shuffle(X, random_state=4))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16, torch.float32, torch.float64, torch.int64, torch.bool])
def test_dtypes_and_memory_layouts(dtype):
    X = random_one_hot((3, 4, 50), random_state=0)
    expected = dinucleotide_shuffle(X, 5, 40, n=4, random_state=1)
    shuffled = dinucleotide_shuffle(X.to(dtype), 5, 40, n=4, random_state=1)
    assert shuffled.dtype == dtype and torch.equal(shuffled.to(torch.int8), expected)
    strided = X.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert torch.equal(dinucleotide_shuffle(strided, 5, 40, n=4, random_state=1), expected)


def test_shuffles_that_equal_their_input_are_counted_when_asked_for(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("marginome"), "propagate", True)
    X = random_one_hot((3, 4, 20), random_state=0)
    with caplog.at_level(logging.INFO):
        shuffle(X, n=2, random_state=0)
        dinucleotide_shuffle(X, n=2, random_state=0)
    assert not caplog.messages
    with caplog.at_level(logging.INFO):
        dinucleotide_shuffle(X, n=2, random_state=0, verbose=True)
    assert caplog.messages == ["0 of 6 shuffles equal their input"]


def test_low_complexity_is_reported(caplog):
    X = encode("A" * 30, "AC" * 15, "A" * 29 + "C", random_text(30))
    with caplog.at_level(logging.WARNING):
        result = dinucleotide_shuffle(X, n=6, random_state=0, return_unchanged=True)
    assert result.unchanged[:3].all() and not result.unchanged[3].all()
    assert "all 6 shuffles of sequence 0, 1, 2 equal it" in caplog.text
    assert torch.equal(result.sequences[:3], X[:3, None].expand(-1, 6, -1, -1))


def test_long_homopolymers_take_no_time():
    """Wilson's walk would step on the spot for long if it took steps from a base to itself."""
    text = "A" * 20_000 + "CGT" + "G" * 20_000 + "TCA"
    (out,) = one_hot_decode(dinucleotide_shuffle(encode(text), n=1, random_state=0)[0])
    assert Counter(pairwise(out)) == Counter(pairwise(text))


def random_text(length: int) -> str:
    return one_hot_decode(random_one_hot((1, 4, length), random_state=2))[0]


def test_sequences_padded_with_n_are_attributed_as_the_refusal_says():
    from functools import partial

    from marginome import deep_lift_shap

    X = torch.nn.functional.pad(encode("ACGTTGCAAC", "GGCATTACGA"), (3, 2)).float()
    model = torch.nn.Sequential(torch.nn.Conv1d(4, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(26, 1))
    settings = {"n_shuffles": 2, "random_state": 0, "device": "cpu"}
    with pytest.raises(MarginomeError, match=r"references=functools\.partial\(dinucleotide_shuffle, allow_N=True\)"):
        deep_lift_shap(model, X, **settings)
    found = deep_lift_shap(model, X, references=partial(dinucleotide_shuffle, allow_N=True), **settings)
    assert found.shape == X.shape and (found[:, :, :3] == 0).all() and (found != 0).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: dinucleotide_shuffle(X[0]), r"X\[None\]"),
        (lambda X: dinucleotide_shuffle(X[:0]), "no sequence"),
        (lambda X: dinucleotide_shuffle(X * 0.5), "not one-hot"),
        (lambda X: dinucleotide_shuffle(encode("ACNGT", "ACGTT")), "sequence 0 has unknown bases.*allow_N=True"),
        (lambda X: dinucleotide_shuffle(X * 0, allow_N=True), "no known base"),
        (lambda X: dinucleotide_shuffle(X, 10, 10), "no span from 10 to 10"),
        (lambda X: dinucleotide_shuffle(X, 0, 21), "no span from 0 to 21 in sequences of 20 bp"),
        (lambda X: dinucleotide_shuffle(X, -2), "no span"),
        (lambda X: dinucleotide_shuffle(X, n=0), "at least 1 shuffle"),
        (lambda X: dinucleotide_shuffle(X, random_state=[1, 2]), "one seed for each of 3 sequences, found 2"),
        (lambda X: dinucleotide_shuffle(X, random_state=np.random.RandomState(0)), "whole number or one per sequence"),
        (lambda X: shuffle(X, random_state=[0.5, 1, 2]), "whole number"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(MarginomeError, match=message):
        call(random_one_hot((3, 4, 20), random_state=0))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives():
    X = random_one_hot((3, 4, 200), random_state=0).float()
    for function in (dinucleotide_shuffle, shuffle):
        on_gpu = function(X.cuda(), 10, 150, n=4, random_state=1)
        assert on_gpu.is_cuda and torch.equal(on_gpu.cpu(), function(X, 10, 150, n=4, random_state=1))
