"""Marginalization against tangermeme 1.6.0, and what bad input says."""

from __future__ import annotations

import pytest
import torch
from tangermeme.marginalize import marginalize as peer_marginalize
from tangermeme.marginalize import marginalize_annotations as peer_annotations
from torch import nn

import marginome.marginalization as module
from marginome import marginalize, marginalize_annotations, marginalize_many, predict, saturation_mutagenesis
from marginome.errors import MarginomeError
from marginome.sequences import one_hot_encode, random_one_hot
from zoo import Attention, Controlled, Dilated, Pooled, Scaled, controls, scales

LENGTH = 160
MOTIFS = ["GTGACTCATC", "CTTATCT", "ACNNGT", "G", "TGACGTCANNNNTGACGTCA"]


def model_of(build, **settings):
    torch.manual_seed(0)
    return build(**settings).eval()


def close(ours, theirs):
    ours = list(ours.values()) if isinstance(ours, dict) else [ours] if isinstance(ours, torch.Tensor) else list(ours)
    theirs = [theirs] if isinstance(theirs, torch.Tensor) else list(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.fixture(scope="module")
def X():
    return random_one_hot((6, 4, LENGTH), random_state=0)


@pytest.mark.parametrize("motif", MOTIFS)
@pytest.mark.parametrize("start", [None, 0, 3, 140])
@pytest.mark.parametrize("length", [160, 161])
def test_one_motif(motif, start, length):
    X = random_one_hot((4, 4, length), random_state=0)
    model = model_of(Pooled, length=length)
    ours = marginalize(model, X, motif, start=start, device="cpu")
    theirs = peer_marginalize(model, X.float(), motif, start=start, device="cpu")
    close(ours.y_before, theirs.y_before)
    close(ours.y_after, theirs.y_after)
    before, after = ours
    assert not torch.equal(before, after)


def test_motifs_as_tensors_and_one_per_background(X):
    model = model_of(Dilated)
    one = one_hot_encode("GATTACA")
    for motif in (one, one[None]):
        close(
            marginalize(model, X, motif, device="cpu")[1],
            peer_marginalize(model, X.float(), one[None].float(), device="cpu")[1],
        )
    each = random_one_hot((6, 4, 9), random_state=3)
    close(
        marginalize(model, X, each, device="cpu")[1], peer_marginalize(model, X.float(), each.float(), device="cpu")[1]
    )


def test_further_inputs_and_functions(X):
    model, args = model_of(Scaled), scales(6)
    close(
        marginalize(model, X, "ACGTACGT", args=args, device="cpu")[1],
        peer_marginalize(model, X.float(), "ACGTACGT", args=args, device="cpu")[1],
    )

    def double(model, X, factor=1, start=None):
        return {"twice": 2 * factor * predict(model, X, args=args, device="cpu"), "start": start}

    def tensors_only(model, X, factor=1):
        return 2 * factor * predict(model, X, args=args, device="cpu")

    y = marginalize(model, X, "ACGT", func=tensors_only, factor=3).y_after
    torch.testing.assert_close(y, 6 * marginalize(model, X, "ACGT", args=args, device="cpu").y_after)
    # A name that marginalize uses itself reaches the function this way; any result passes through.
    y = marginalize(model, X, "ACGT", func=double, additional_func_kwargs={"start": 7}).y_after
    assert y["start"] == 7


def test_saturation_mutagenesis_as_function(X):
    model = model_of(Pooled)
    before, after = marginalize(
        model,
        X[:2],
        "GATA",
        func=saturation_mutagenesis,
        start=70,
        additional_func_kwargs={"start": 60, "end": 90},
        device="cpu",
    )
    assert before.shape == after.shape == (2, 4, 30)
    assert (before != after).any()


@pytest.mark.parametrize(
    ("build", "args"), [(Dilated, None), (Pooled, None), (Controlled, controls), (Attention, None)]
)
@pytest.mark.parametrize("engine", ["auto", "full", "incremental"])
def test_many_motifs(build, args, engine, monkeypatch):
    """All paths give what the peer gives motif by motif."""
    monkeypatch.setattr(module, "engine_pays", lambda *_: True)
    n = 3
    X = random_one_hot((n, 4, LENGTH), random_state=0)
    model = model_of(build)
    extra = args(n) if args else None
    ours = marginalize_many(model, X, MOTIFS, args=extra, engine=engine, device="cpu")

    class Listed(nn.Module):  # the peer takes no dicts
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            y = self.model(*inputs)
            return list(y.values()) if isinstance(y, dict) else y

    for i, motif in enumerate(MOTIFS):
        before, after = peer_marginalize(Listed(), X.float(), motif, args=extra, device="cpu")
        close(ours.y_before, before)
        if isinstance(ours.y_after, torch.Tensor):
            close(ours.y_after[i], after)
        else:
            values = ours.y_after.values() if isinstance(ours.y_after, dict) else ours.y_after
            close([y[i] for y in values], after)
    assert type(ours.y_after) is type(ours.y_before)


def test_motifs_of_read_motifs_go_in_as_their_consensus(X, tmp_path):
    from marginome import read_motifs, substitute
    from marginome.substitution import multisubstitute

    path = tmp_path / "motifs.txt"
    path.write_text(
        ">one\n.7 .1 .1 .1\n.25 .25 .25 .25\n0 0 1 0\n>two\n0 1 0 0\n.5 .5 0 0\n0 0 .4 .6\n0 0 0 1\n>flat\n1 1 1 1\n"
    )
    *motifs, flat = read_motifs(path, format="homer")
    texts = [motif.consensus for motif in motifs]
    assert texts == ["ANG", "CATT"]
    model = model_of(Dilated)
    for ours, expected in (
        (marginalize_many(model, X, motifs, device="cpu"), marginalize_many(model, X, texts, device="cpu")),
        (marginalize(model, X, motifs[1], device="cpu"), marginalize(model, X, texts[1], device="cpu")),
    ):
        close(ours.y_after, expected.y_after)
    assert torch.equal(substitute(X, motifs[0]), substitute(X, texts[0]))
    assert torch.equal(multisubstitute(X, motifs, 2), multisubstitute(X, texts, 2))
    with pytest.raises(MarginomeError, match=r"motifs\[0\] 'flat'.*no known base"):
        marginalize_many(model, X, [flat], device="cpu")


def test_many_motifs_compute_the_backgrounds_once(X):
    calls = []

    class Counting(nn.Module):
        def forward(self, X):
            calls.append(len(X))
            return X.sum(2)

    asked = 2  # of the first batch two once more: does the model mix a batch?
    marginalize_many(Counting(), X, ["AC", "GT"], device="cpu")
    assert sum(calls) == 3 * len(X) + asked
    calls.clear()
    annotations = torch.tensor([[0, 3, 9], [1, 5, 20], [2, 0, 4]])
    y = marginalize_annotations(Counting(), X, X, annotations, device="cpu")
    assert sum(calls) == 4 * len(X) + asked
    assert y.y_before.shape == y.y_after.shape == (3, 6, 4)
    assert y.y_befores is y.y_before and y.y_afters is y.y_after


def test_starts_for_each_motif(X):
    model = model_of(Pooled)
    ours = marginalize_many(model, X, ["ACGT", "GGG"], start=[4, 100], device="cpu").y_after
    close(ours[1], marginalize(model, X, "GGG", start=100, device="cpu").y_after)
    same = marginalize_many(model, X, ["ACGT", "GGG"], start=50, device="cpu").y_after
    close(same[0], marginalize(model, X, "ACGT", start=50, device="cpu").y_after)


def test_a_function_applied_to_the_predictions(X, monkeypatch):
    monkeypatch.setattr(module, "engine_pays", lambda *_: True)
    model = model_of(Dilated)
    settings = {"func": predict, "additional_func_kwargs": {"func": lambda y: y.counts.exp()}, "device": "cpu"}
    fast = marginalize_many(model, X, MOTIFS, engine="incremental", **settings)
    slow = marginalize_many(model, X, MOTIFS, engine="full", **settings)
    close(fast.y_after, slow.y_after)
    close(fast.y_before, slow.y_before)


@pytest.mark.parametrize("pays", [True, False])
@pytest.mark.parametrize("start", [None, 11])
def test_annotations(pays, start, X, monkeypatch):
    """Of several lengths, with the engine and without, equal to the peer's."""
    monkeypatch.setattr(module, "engine_pays", lambda *_: pays)
    model = model_of(Dilated)
    annotations = torch.tensor([[0, 3, 10], [5, 0, 8], [2, 150, 160], [2, 40, 61]])
    sources = random_one_hot((6, 4, LENGTH), random_state=7)
    ours = marginalize_annotations(model, sources, X, annotations, start=start, device="cpu")
    theirs = peer_annotations(model, sources.float(), X.float(), annotations, start=start, device="cpu")
    close(ours.y_before, theirs.y_befores)
    close(ours.y_after, theirs.y_afters)


def test_nan_names_the_sequence(monkeypatch):
    monkeypatch.setattr(module, "engine_pays", lambda *_: True)

    class Logs(nn.Module):
        def forward(self, X):
            return torch.log(X[:, 0].sum(1, keepdim=True) - 1.5)

    X = random_one_hot((3, 4, 20), random_state=0)
    X[1] = 0
    X[1, 1] = 1  # a sequence without A
    with pytest.raises(MarginomeError, match="NaN for sequence 1"):
        marginalize_many(Logs(), X, ["GG"], device="cpu")
    with pytest.raises(MarginomeError, match="NaN for sequence 1"):
        marginalize_many(Logs(), X, ["GG"], device="cpu", engine="full")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, X: marginalize(m, X, "A" * 161), "161 bp, longer than the background's 160 bp"),
        (lambda m, X: marginalize(m, X, "ACGT", start=158), "sticks out of a background of 160 bp"),
        (lambda m, X: marginalize(m, X, "ACGX"), "'X' at position 3"),
        (lambda m, X: marginalize(m, X, ""), "the motif is empty"),
        (lambda m, X: marginalize(m, X[0], "ACGT"), "expected 3 axes"),
        (lambda m, X: marginalize(m, X.permute(0, 2, 1), "ACGT"), "expected 4 rows"),
        (lambda m, X: marginalize(m, X * 2, "ACGT"), "not one-hot"),
        (lambda m, X: marginalize(m, X[:0], "ACGT"), "no sequence"),
        (lambda m, X: marginalize(m, X, random_one_hot((4, 4, 5))), "motif"),
        (lambda m, X: marginalize_many(m, X, []), "expected a sequence of motifs, found none"),
        (lambda m, X: marginalize_many(m, X, "ACGT"), "expected a sequence of motifs, found the string"),
        (lambda m, X: marginalize_many(m, X, ["ACGT", "AXGT"]), r"motifs\[1\]"),
        (lambda m, X: marginalize_many(m, X, ["ACGT"], start=[1, 2]), "2 starts for 1 motifs"),
        (lambda m, X: marginalize_many(m, X, [random_one_hot((2, 4, 5))]), "expected one motif"),
        (lambda m, X: marginalize_many(m, X, ["ACGT"] * 2, engine="quick"), "there is no engine 'quick'"),
        (lambda m, X: marginalize_annotations(m, X, X, torch.zeros(0, 3)), "annotations: there is none"),
        (lambda m, X: marginalize_annotations(m, X, X, torch.zeros(2, 2)), r"expected \(m, 3\)"),
        (lambda m, X: marginalize_annotations(m, X, X, torch.tensor([[9, 0, 4]])), "X has 6 sequences"),
        (lambda m, X: marginalize_annotations(m, X, X, torch.tensor([[0, 0, 4], [0, 8, 8]])), r"annotations\[1\]"),
        (lambda m, X: marginalize_annotations(m, X, X, torch.tensor([[0, 150, 161]])), "no span of a sequence"),
        (lambda m, X: marginalize_annotations(m, X, X[:, :, :10], torch.tensor([[0, 0, 20]])), "longer than"),
    ],
)
def test_bad_input(call, message, X):
    with pytest.raises(MarginomeError, match=message):
        call(model_of(Pooled), X)
