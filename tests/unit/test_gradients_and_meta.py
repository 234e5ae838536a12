"""Tensors that carry gradients, and tensors without data, at every function of the library that takes tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginome import (
    MarginomeError,
    deep_lift_shap,
    dinucleotide_shuffle,
    find_unsupported_operations,
    marginalize,
    marginalize_annotations,
    marginalize_many,
    multisubstitute,
    one_hot_decode,
    plot_logo,
    predict,
    random_one_hot,
    recursive_seqlets,
    reverse_complement,
    saturation_mutagenesis,
    shuffle,
    substitute,
    tfmodisco_seqlets,
)
from marginome.incremental.engine import evaluating_copy

LENGTH = 60
CPU = {"device": "cpu"}
SPANS = torch.tensor([[0, 3, 9]])


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = torch.nn.Conv1d(4, 3, 5), torch.nn.Linear(3, 1)

    def forward(self, X, offset=None):
        y = self.linear(torch.relu(self.conv(X)).mean(-1))
        return y if offset is None else y + offset


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


X = random_one_hot((3, 4, LENGTH), random_state=0).float()
REFERENCES = random_one_hot((2, 4, LENGTH), random_state=1).float()
OFFSET = torch.rand(3, 1, generator=torch.Generator().manual_seed(0))
ATTRIBUTIONS = torch.randn(3, LENGTH, generator=torch.Generator().manual_seed(0))

# Each is given the model and a function that makes the odd tensor of a plain one.
CALLS = {
    "predict": lambda net, odd: predict(net, odd(X), (odd(OFFSET),), **CPU),
    "marginalize": lambda net, odd: marginalize(net, odd(X), "ACGT", **CPU),
    "marginalize, insert": lambda net, odd: marginalize(net, X, odd(X[:1, :, :9]), **CPU),
    "marginalize_many": lambda net, odd: marginalize_many(net, odd(X), ["ACGT", "GGG"], args=(odd(OFFSET),), **CPU),
    "marginalize_annotations": lambda net, odd: marginalize_annotations(net, odd(X), odd(X), SPANS, **CPU),
    "deep_lift_shap": lambda net, odd: deep_lift_shap(net, odd(X), (odd(OFFSET),), n_shuffles=2, random_state=0, **CPU),
    "deep_lift_shap, references": lambda net, odd: deep_lift_shap(net, X, references=odd(REFERENCES), **CPU),
    "saturation_mutagenesis": lambda net, odd: saturation_mutagenesis(net, odd(X), (odd(OFFSET),), **CPU),
    "shuffle": lambda net, odd: shuffle(odd(X), n=2, random_state=0),
    "dinucleotide_shuffle": lambda net, odd: dinucleotide_shuffle(odd(X), n=2, random_state=0),
    "substitute": lambda net, odd: substitute(odd(X), "ACGT"),
    "multisubstitute": lambda net, odd: multisubstitute(odd(X), ["ACGT", "AC"], 2),
    "one_hot_decode": lambda net, odd: one_hot_decode(odd(X)),
    "recursive_seqlets": lambda net, odd: recursive_seqlets(odd(ATTRIBUTIONS)),
    "tfmodisco_seqlets": lambda net, odd: tfmodisco_seqlets(odd(ATTRIBUTIONS)),
    "plot_logo": lambda net, odd: plot_logo(odd(ATTRIBUTIONS[:1].expand(4, -1))),
}
DIFFERENTIABLE = {"substitute", "multisubstitute"}  # they hand gradients on


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for item in value for t in tensors(item)] if isinstance(value, list | tuple) else []


@pytest.mark.parametrize("name", CALLS)
def test_gradients_change_nothing(net, name):
    plain = CALLS[name](net, lambda t: t)
    found = CALLS[name](net, lambda t: t.clone().requires_grad_())
    assert type(found) is type(plain)
    for ours, wanted in zip(tensors(found), tensors(plain), strict=True):
        torch.testing.assert_close(ours.detach(), wanted.detach(), rtol=0, atol=0)
        assert ours.requires_grad == (name in DIFFERENTIABLE)
    if name == "recursive_seqlets":
        assert found.equals(plain)


def test_substitute_hands_gradients_on():
    given = X.clone().requires_grad_()
    substitute(given, "ACGT", start=10).sum().backward()
    wanted = np.ones((3, 4, LENGTH))
    wanted[:, :, 10:14] = 0  # those bases were replaced
    assert np.array_equal(given.grad.numpy(), wanted)


@pytest.mark.parametrize("name", CALLS)
def test_tensors_without_data_are_named(net, name):
    with pytest.raises(MarginomeError, match=r"(X|motif|references|X_attr): it is on the meta device"):
        CALLS[name](net, lambda t: t.to("meta"))


@pytest.mark.parametrize("call", ["predict", "deep_lift_shap", "find", "incremental"])
def test_weights_without_data_are_named(net, call):
    empty = Net().to("meta")
    calls = {
        "predict": lambda: predict(empty, X, **CPU),
        "deep_lift_shap": lambda: deep_lift_shap(empty, X, n_shuffles=2, **CPU),
        "find": lambda: find_unsupported_operations(empty, X[:1]),
        "incremental": lambda: evaluating_copy(empty, torch.device("cpu")),
    }
    with pytest.raises(MarginomeError, match="a weight of the model: it is on the meta device"):
        calls[call]()


def test_what_works_without_data_still_does():
    assert reverse_complement(X.to("meta")).shape == X.shape


def test_controls_without_data_are_named_as_controls():
    with pytest.raises(MarginomeError, match="X_control: it is on the meta device"):
        recursive_seqlets(ATTRIBUTIONS, X_control=ATTRIBUTIONS.to("meta"))
