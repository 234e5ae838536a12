"""Saturation mutagenesis against tangermeme 1.6.0 and brute force."""

from __future__ import annotations

import pytest
import torch
from tangermeme.saturation_mutagenesis import saturation_mutagenesis as peer
from torch import nn

import marginome.mutagenesis as module
from marginome import Readout, saturation_mutagenesis
from marginome.errors import MarginomeError
from marginome.sequences import random_one_hot
from zoo import Controlled, Dilated, Pooled, Recurrent, controls

LENGTH = 160


@pytest.fixture(autouse=True)
def engine_also_for_few_edits(monkeypatch):
    monkeypatch.setattr(module, "engine_pays", lambda *_: True)


def model_of(build):
    torch.manual_seed(0)
    return build().eval()


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("build", [Pooled, Recurrent])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hypothetical": True},
        {"target": 1},
        {"target": slice(0, 2), "start": 3, "end": 40},
        {"start": 100, "end": -1, "hypothetical": True},
        {"start": 150, "end": -5},
    ],
)
def test_attributions(build, settings, fast):
    X = random_one_hot((2, 4, LENGTH), random_state=0)
    X[0, :, 30:33] = 0  # N: all four bases are edits
    model = model_of(build)
    ours = saturation_mutagenesis(model, X, device="cpu", fast=fast, **settings)
    theirs = peer(model, X.float(), device="cpu", fast=False, **settings)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 2e-5 * max(1e-3, float(theirs.abs().max()))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("fast", [True, False])
def test_raw_outputs_are_the_predictions(n, fast):
    """In float64, against every edit made by hand, for a model with two outputs and a further input."""
    X = random_one_hot((n, 4, LENGTH), random_state=0)
    X[0, :, 7] = 0
    model, args = model_of(Controlled).double(), tuple(a.double() for a in controls(n))
    y0, y_hat = saturation_mutagenesis(model, X, args=args, start=2, end=22, raw_outputs=True, device="cpu", fast=fast)
    with torch.no_grad():
        for position in range(2, 22):
            for base in range(4):
                edited = X.clone()
                edited[:, :, position] = 0
                edited[:, base, position] = 1
                want = model(edited.double(), *args)
                for name in ("profile", "counts"):
                    found = y_hat[name][:, base, position - 2]
                    torch.testing.assert_close(found, want[name], rtol=1e-10, atol=1e-12)
        for name, value in model(X.double(), *args).items():
            torch.testing.assert_close(y0[name], value, rtol=1e-10, atol=1e-12)


def test_one_head_of_a_model():
    X = random_one_hot((2, 4, LENGTH), random_state=0)
    model = model_of(Dilated)
    by_wrapper = saturation_mutagenesis(Readout(model, "counts"), X, end=50, device="cpu")
    by_function = saturation_mutagenesis(model, X, end=50, device="cpu", func=lambda y: y.counts)
    torch.testing.assert_close(by_wrapper, by_function, rtol=1e-4, atol=1e-7)
    assert by_wrapper.abs().max() > 0


def test_identity_edits_are_not_computed():
    seen = []

    class Counting(nn.Module):
        def forward(self, X):
            seen.append(len(X))
            return X.flatten(1)[:, :3]

    X = random_one_hot((2, 4, 30), random_state=0)
    saturation_mutagenesis(Counting(), X, device="cpu", fast=False)
    assert sum(seen) == 2 + 1 + 2 * 3 * 30  # the first sequence once more, alone: does the model mix a batch?


def test_a_sequence_alone_and_in_a_batch():
    X = random_one_hot((3, 4, LENGTH), random_state=0)
    model = model_of(Pooled).double()
    together = saturation_mutagenesis(model, X, device="cpu")
    for i in range(3):
        alone = saturation_mutagenesis(model, X[i : i + 1], device="cpu")
        torch.testing.assert_close(alone[0], together[i], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 10, "end": 10}, "no span of a sequence of 160 bp"),
        ({"start": -3}, "no span"),
        ({"end": 161}, "no span"),
        ({"target": 5}, "target 5, but the model has 5 outputs"),
        ({"args": (torch.zeros(3, 1),)}, r"args\[0\].*expected 2 entries"),
    ],
)
def test_bad_settings(settings, message):
    X = random_one_hot((2, 4, LENGTH), random_state=0)
    with pytest.raises(MarginomeError, match=message):
        saturation_mutagenesis(model_of(Pooled), X, device="cpu", **settings)


def test_bad_input():
    X = random_one_hot((2, 4, LENGTH), random_state=0)
    with pytest.raises(MarginomeError, match="raw_outputs=True"):
        saturation_mutagenesis(model_of(Dilated), X, end=10, device="cpu")
    with pytest.raises(MarginomeError, match="not one-hot"):
        saturation_mutagenesis(model_of(Pooled), X * 0.5, device="cpu")


def test_nan_names_the_sequence_of_the_edit():
    class Picky(nn.Module):
        def forward(self, X):  # no A left: the logarithm of a negative number
            return torch.log(X[:, 0].sum(1, keepdim=True) - 0.5).expand(-1, 2) * 1.0

    X = random_one_hot((3, 4, 20), random_state=0)
    X[2, 0] = 0
    X[2, 1] = (X[2].sum(0) == 0) + X[2, 1]
    X[2, :, 5] = torch.tensor([1, 0, 0, 0])  # one A, which edits take away
    with pytest.raises(MarginomeError, match="edits of sequence 2"):
        saturation_mutagenesis(Picky(), X, device="cpu")
