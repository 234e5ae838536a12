"""Sequences against tangermeme 1.6.0 and plain Python strings."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
import tangermeme.ersatz as peer_ersatz
import tangermeme.utils as peer_utils
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marginome import (
    MarginomeError,
    multisubstitute,
    one_hot_decode,
    one_hot_encode,
    random_one_hot,
    reverse_complement,
    substitute,
)
from marginome.sequences import base_codes, validate_one_hot
from marginome.substitution import encode_insert, insert_start

bases = st.text("ACGT", min_size=1, max_size=60)
bases_n = st.text("ACGTN", min_size=1, max_size=60).filter(lambda s: s.strip("N"))


@given(bases_n)
def test_encode_and_decode_are_inverse(text):
    encoded = one_hot_encode(text)
    assert encoded.shape == (4, len(text)) and encoded.dtype == torch.int8
    assert torch.equal(encoded, peer_utils.one_hot_encode(text))
    assert one_hot_decode(encoded) == text
    assert one_hot_decode(encoded[None].float()) == [text]
    assert base_codes(encoded[None]).tolist() == [["ACGTN".index(c) for c in text]]


def test_encode_other_alphabet_and_dtype():
    encoded = one_hot_encode("TAX", alphabet=["T", "G", "C", "A"], dtype="float32", ignore=["X"])
    assert encoded.dtype == torch.float32
    assert encoded.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_hot_encode("ACGX"), "'X' at position 3"),
        (lambda: one_hot_encode("ACgT"), r"'g' at position 2.*upper"),
        (lambda: one_hot_encode("ACÅ€T"), "'Å' at position 2"),
        (lambda: one_hot_encode("AC€T"), "'€' at position 2"),
        (lambda: one_hot_encode(["A"]), "expected a string, found list"),
        (lambda: one_hot_encode("A", ignore=["A"]), "A is in the alphabet"),
        (lambda: one_hot_encode("A", dtype="float12"), "not a dtype"),
        (lambda: one_hot_decode(torch.full((4, 3), 0.25)), "not one-hot"),
        (lambda: one_hot_decode(torch.zeros(3, 5)), "expected a tensor"),
    ],
)
def test_encoding_errors(call, message):
    with pytest.raises(MarginomeError, match=message):
        call()


@pytest.mark.parametrize("probs", [None, [[0.1, 0.2, 0.3, 0.4]], np.array([[0.7, 0.1, 0.1, 0.1]] * 5)])
def test_random_draws_are_the_peers(probs):
    ours = random_one_hot((5, 4, 200), probs=probs, random_state=7)
    assert torch.equal(ours, peer_utils.random_one_hot((5, 4, 200), probs=probs, random_state=7))
    assert ours.dtype == torch.int8


def test_random_has_the_composition_asked_for():
    p = torch.tensor([0.05, 0.15, 0.3, 0.5])
    X = random_one_hot((20, 4, 5000), probs=p, dtype=torch.float32, random_state=0)
    assert X.dtype == torch.float32
    assert torch.allclose(X.mean(dim=(0, 2)), p, atol=0.01)
    assert (X.sum(dim=1) == 1).all()


@pytest.mark.parametrize("probs", [[0.5, 0.5], [[0.5, 0.5, 0.5, 0.5]], [[0.2, 0.3, 0.5, 0.0]] * 3, [1.5, -0.5, 0, 0]])
def test_random_refuses_other_probabilities(probs):
    with pytest.raises(MarginomeError, match="probs"):
        random_one_hot((5, 4, 10), probs=probs)


@given(bases_n)
def test_reverse_complement_of_text_and_tensors(text):
    assert reverse_complement(text) == peer_utils.reverse_complement(text)
    encoded = one_hot_encode(text)
    assert one_hot_decode(reverse_complement(encoded)) == reverse_complement(text)
    assert torch.equal(reverse_complement(encoded), peer_utils.reverse_complement(encoded))
    batch = torch.stack([encoded, encoded]).float()
    assert torch.equal(reverse_complement(reverse_complement(batch)), batch)


def test_reverse_complement_errors():
    with pytest.raises(MarginomeError, match="'X' at position 1"):
        reverse_complement("AX")
    with pytest.raises(MarginomeError, match="'N'"):
        reverse_complement("AN", allow_N=False)
    with pytest.raises(MarginomeError, match="length"):
        reverse_complement(torch.zeros(3, 5))
    for wrong, found in ((np.zeros((4, 5)), "ndarray"), (torch.zeros(4), r"\(4,\)"), (["ACGT"], "list")):
        with pytest.raises(MarginomeError, match=f"expected a string or a tensor.*found {found}"):
            reverse_complement(wrong)


@pytest.mark.parametrize("length", [20, 21])
@pytest.mark.parametrize("motif", ["A", "AC", "GATTACA", "CNNNG", "NANN", "ACGTACGTACGTACGTACGT"])
def test_centre_is_the_peers(length, motif):
    X = random_one_hot((3, 4, length), random_state=1)
    assert torch.equal(substitute(X, motif), peer_ersatz.substitute(X, motif))


@given(st.data())
@settings(deadline=None)
def test_substitute_writes_the_motif_and_nothing_else(data):
    texts = data.draw(
        st.integers(8, 40).flatmap(lambda n: st.lists(st.text("ACGTN", min_size=n, max_size=n), min_size=1, max_size=4))
    )
    texts = [t if t.strip("N") else "A" + t[1:] for t in texts]
    motif = data.draw(st.text("ACGTN", min_size=1, max_size=8).filter(lambda s: s.strip("N")))
    start = data.draw(st.none() | st.integers(0, len(texts[0]) - len(motif)))
    dtype = data.draw(st.sampled_from([torch.int8, torch.float32, torch.float64]))
    X = torch.stack([one_hot_encode(t) for t in texts]).to(dtype)
    kept = X.clone()
    Y = substitute(X, motif, start=start)
    at = len(texts[0]) // 2 - len(motif) // 2 if start is None else start
    expected = [
        t[:at] + "".join(m if m != "N" else b for m, b in zip(motif, t[at:])) + t[at + len(motif) :] for t in texts
    ]
    assert one_hot_decode(Y) == expected
    assert Y.dtype == dtype and torch.equal(X, kept)


@given(st.data())
@settings(deadline=None)
def test_multisubstitute_is_the_peers(data):
    motifs = data.draw(st.lists(st.text("ACGT", min_size=1, max_size=6), min_size=1, max_size=4))
    spacing = data.draw(
        st.integers(0, 6) | st.lists(st.integers(0, 6), min_size=len(motifs) - 1, max_size=len(motifs) - 1)
    )
    start = data.draw(st.none() | st.integers(0, 5))
    X = random_one_hot((3, 4, 60), random_state=data.draw(st.integers(0, 99)))
    ours = multisubstitute(X, motifs, spacing, start=start)
    assert torch.equal(ours, peer_ersatz.multisubstitute(X, motifs, spacing, start=start))


def test_one_motif_per_background():
    X = random_one_hot((4, 4, 30), random_state=0)
    motifs = random_one_hot((4, 4, 7), random_state=1)
    Y = substitute(X, motifs, start=3)
    assert torch.equal(Y[:, :, 3:10], motifs)
    assert torch.equal(Y, peer_ersatz.substitute(X, motifs, start=3))
    Z = multisubstitute(X, [motifs, "GG"], [2], start=3)
    assert torch.equal(Z[:, :, 3:10], motifs) and one_hot_decode(Z[:, :, 12:14]) == ["GG"] * 4


def test_no_gap_list_for_one_motif_and_numpy_numbers():
    X = random_one_hot((2, 4, 30), random_state=0)
    assert torch.equal(multisubstitute(X, ["ACG"], []), substitute(X, "ACG"))
    assert torch.equal(
        multisubstitute(X, ["A", "C"], np.int64(3), start=np.int64(2)), multisubstitute(X, ["A", "C"], 3, 2)
    )


def one_hot(n=3, length=20):
    return random_one_hot((n, 4, length), random_state=0)


def spoilt(value, row=1):
    X = one_hot().float()
    X[row, :, 4] = value
    return X


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: substitute(one_hot()[0], "A"), r"3 axes.*X\[None\]"),
        (lambda: substitute(one_hot().permute(0, 2, 1), "A"), r"4 rows.*permute"),
        (lambda: substitute("ACGT", "A"), "X: expected a tensor.*found str"),
        (lambda: substitute(one_hot()[:0], "A"), "no sequence"),
        (lambda: substitute(one_hot()[:, :, :0], "A"), "no sequence"),
        (lambda: substitute(spoilt(0.25), "A"), "not one-hot: sequence 1 has values other"),
        (lambda: substitute(spoilt(1), "A"), "not one-hot: sequence 1 has positions with several"),
        (lambda: substitute(spoilt(float("nan"), 2), "A"), "not one-hot: sequence 2"),
        (lambda: substitute(one_hot() * 0, "A"), "sequence 0, 1, 2 has no known base"),
        (lambda: substitute(one_hot(), "A" * 21), "21 bp, longer than the background's 20 bp"),
        (lambda: substitute(one_hot(), "ACG", start=18), "motif of 3 bp at 18 sticks out.*0 to 17"),
        (lambda: substitute(one_hot(), "ACG", start=-1), "sticks out"),
        (lambda: substitute(one_hot(), "ACG", start=1.5), "whole number"),
        (lambda: substitute(one_hot(), "ACU"), "motif 'ACU': character 'U' at position 2"),
        (lambda: substitute(one_hot(), ""), "motif is empty"),
        (lambda: substitute(one_hot(), "NNN"), "no known base"),
        (lambda: substitute(one_hot(), one_hot(2, 5)), "2 motifs for 3 backgrounds"),
        (lambda: substitute(one_hot(), spoilt(0.5)), "motif: not one-hot: sequence 1"),
        (lambda: substitute(one_hot(), ["A"]), "motif: expected a tensor"),
        (lambda: multisubstitute(one_hot(), [], 1), "no motif"),
        (lambda: multisubstitute(one_hot(), ["A", "C"], [1, 2]), "2 motifs have 1 gaps"),
        (lambda: multisubstitute(one_hot(), ["A", "C"], -1), "at least 0"),
        (lambda: multisubstitute(one_hot(), ["A", "C"], 30), "arrangement.*32 bp, longer"),
        (lambda: multisubstitute(one_hot(), ["A", "CX"], 1), r"motifs\[1\] 'CX'"),
        (lambda: validate_one_hot(one_hot() * (torch.arange(20) > 3), "X", allow_n=False), "0, 1, 2 has unknown bases"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(MarginomeError, match=message):
        call()


def test_insert_helpers():
    assert encode_insert("ANC").tolist() == [[[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]]
    assert encode_insert(one_hot_encode("AC")).shape == (1, 4, 2)
    assert [insert_start(10, 3), insert_start(11, 3), insert_start(10, 4), insert_start(10, 10)] == [4, 4, 3, 0]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives():
    X = one_hot(5, 50)
    for motif in ("ACGTN", one_hot(5, 4)):
        on_gpu = substitute(X.cuda(), motif if isinstance(motif, str) else motif.cuda())
        assert on_gpu.is_cuda and torch.equal(on_gpu.cpu(), substitute(X, motif))
    with pytest.raises(MarginomeError, match="on cpu, the backgrounds are on cuda"):
        substitute(X.cuda(), one_hot(5, 4))
    assert one_hot_decode(X.cuda()) == one_hot_decode(X)


@pytest.mark.parametrize("module", ["sequences", "shuffles", "prediction", "effects", "seqlets", "logos"])
def test_examples_in_docstrings(module):
    assert doctest.testmod(importlib.import_module(f"marginome.{module}")).failed == 0
