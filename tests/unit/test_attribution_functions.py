"""Integrated gradients against captum and float64; every attribution function that a config can name, alike."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

import marginome
from marginome import MarginomeError, integrated_gradients, random_one_hot
from marginome.attribution.functions import FUNCTIONS, Asked
from marginome.attribution_names import ATTRIBUTIONS
from marginome.config_schema import schemas

N, LENGTH, REFERENCES = 3, 40, 2


class Net(nn.Module):
    """A convolution, attention and products: nothing that integrated gradients need a rule for."""

    def __init__(self, kind: torch.dtype = torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu = nn.Conv1d(4, 8, 5, dtype=kind), nn.ReLU()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True, dtype=kind)
        self.head = nn.Linear(8, 3, dtype=kind)

    def forward(self, X, scale=None):
        y = self.relu(self.conv(X)).transpose(1, 2)
        y = torch.tanh(self.head(self.attend(y, y, y)[0].mean(1)))
        return y if scale is None else y * scale


class Square(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 2, 4 * LENGTH, dtype=torch.float64).reshape(4, LENGTH))

    def forward(self, X):
        return (X * self.weight).sum((1, 2))[:, None] ** 2


@pytest.fixture(scope="module")
def X():
    return random_one_hot((N, 4, LENGTH), random_state=0)


@pytest.fixture(scope="module")
def references():
    return random_one_hot((N * REFERENCES, 4, LENGTH), random_state=1).reshape(N, REFERENCES, 4, LENGTH)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@pytest.mark.parametrize("with_args", [False, True])
def test_integrated_gradients_are_captums(X, references, with_args):
    model = Net().eval()
    args = (torch.linspace(0.5, 2, N, dtype=torch.float64)[:, None],) if with_args else ()
    ours, deltas = integrated_gradients(
        model, X, args=args or None, references=references, target=1, n_steps=12, batch_size=7, device="cpu",
        return_deltas=True,
    )  # fmt: skip
    for i in range(N):
        for_sequence = []
        for k in range(REFERENCES):
            theirs, delta = IntegratedGradients(model).attribute(
                X[i : i + 1].double(), baselines=references[i, k : k + 1].double(), target=1, n_steps=12,
                method="gausslegendre", additional_forward_args=tuple(a[i : i + 1] for a in args) or None,
                return_convergence_delta=True,
            )  # fmt: skip
            for_sequence.append(theirs[0])
            assert float(delta.abs()) == pytest.approx(float(deltas[i, k]), rel=1e-4, abs=1e-9)
        # captum multiplies by the difference from each reference: its sum over bases is ours; its points are rounded
        # to float32, those of the formula below are not
        theirs = torch.stack(for_sequence).mean(0).sum(0)
        torch.testing.assert_close(ours[i].sum(0), theirs, rtol=0, atol=1e-7 * float(theirs.abs().max()))


def test_hypothetical_integrated_gradients_are_the_formula_in_float64(X, references):
    model = Net().eval()
    found = integrated_gradients(model, X, references=references, target=2, n_steps=9, hypothetical=True, device="cpu")
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(9))
    for i in range(N):
        total = torch.zeros(4, LENGTH, dtype=torch.float64)
        for r in references[i].double():
            m = torch.zeros(4, LENGTH, dtype=torch.float64)
            for a, w in zip(nodes, weights):
                at = (r + (a + 1) / 2 * (X[i] - r)).requires_grad_()
                m += w / 2 * torch.autograd.grad(model(at[None])[0, 2], at)[0]
            total += m - (r * m).sum(0)
        torch.testing.assert_close(found[i], total / REFERENCES, rtol=0, atol=1e-12)
    own = integrated_gradients(model, X, references=references, target=2, n_steps=9, device="cpu")
    assert torch.equal(own, found * X)


def test_integrated_gradients_of_a_square_add_up_with_one_step_and_do_not_depend_on_the_batch(X, references):
    """The middle of the line is exact for the gradient of a square: the rule's nodes and weights are right."""
    model = Square()
    ours, deltas = integrated_gradients(model, X, references=references, n_steps=1, device="cpu", return_deltas=True)
    with torch.no_grad():
        difference = model(X)[:, 0] - model(references.flatten(0, 1)).view(N, REFERENCES).mean(1)
    assert float(deltas.max()) < 1e-10 and difference.abs().min() > 1
    torch.testing.assert_close(ours.sum((1, 2)), difference, rtol=1e-12, atol=0)
    model = Net().eval()
    options = {"references": references, "n_steps": 5, "device": "cpu"}
    torch.testing.assert_close(
        integrated_gradients(model, X, batch_size=1, **options),
        integrated_gradients(model, X, batch_size=64, **options), rtol=0, atol=1e-14,
    )  # fmt: skip


def test_integrated_gradients_warn_of_deltas_and_leave_the_model_as_it_was(X, references):
    model = Net().float().train()
    with pytest.warns(RuntimeWarning, match=r"convergence deltas are .* more steps than 1 lower them"):
        integrated_gradients(model, X, references=references, n_steps=1, device="cpu")
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    with pytest.raises(MarginomeError, match="n_steps"):
        integrated_gradients(model, X, n_steps=0)
    with pytest.raises(MarginomeError, match="3 outputs"):
        integrated_gradients(model, X, target=3, references=references, device="cpu")


# ------------------------------------------------------------------------------------------- all of them
def test_every_attribution_function_has_a_name_a_way_to_be_called_and_its_place_in_the_config():
    """CONTRIBUTING.md, "An attribution function"."""
    assert list(FUNCTIONS) == list(ATTRIBUTIONS)
    assert schemas()["attributions.schema.yaml"]["properties"]["method"]["enum"] == list(ATTRIBUTIONS)
    screens = schemas()["screens.schema.yaml"]["properties"]["functions"]["items"]["oneOf"][0]["enum"]
    assert screens == ["predict", *ATTRIBUTIONS]
    assert all(callable(getattr(marginome, name)) for name in ATTRIBUTIONS)


@pytest.mark.parametrize("name", ATTRIBUTIONS)
@pytest.mark.parametrize("hypothetical", [False, True])
def test_what_an_attribution_function_gives(name, hypothetical, X, references):
    """Shapes, zeros where a base is not there, and sums that deltas account for."""
    model = Net().eval()
    asked = Asked(
        model, X, None, 1, lambda: references, torch.device("cpu"), "float32", "auto", span=(3, 30),
        hypothetical=hypothetical,
    )  # fmt: skip
    found = FUNCTIONS[name](asked)
    values = found.attributions
    assert tuple(values.shape) in ((N, 4, LENGTH), (N, 4, 27)) and values.isfinite().all()
    observed = values * (X if values.shape[2] == LENGTH else X[:, :, 3:30])
    assert torch.equal(values, observed) != hypothetical and values.abs().max() > 0
    if found.deltas is not None:
        assert tuple(found.deltas.shape) == (N, REFERENCES)
        with torch.no_grad():
            difference = model(X.double())[:, 1] - model(references.flatten(0, 1).double())[:, 1].view(N, -1).mean(1)
        missed = (difference - observed.sum((1, 2))).abs() if not hypothetical else torch.zeros(N)
        assert (missed <= found.deltas.mean(1) + 1e-6).all()
