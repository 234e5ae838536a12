"""What the engine does not take: models that mix a batch, wrong numbers, and whatever it cannot follow."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

import marginome.marginalization as marginalization
from marginome import marginalize, marginalize_many, saturation_mutagenesis
from marginome.errors import MarginomeError
from marginome.incremental import Edits, Engine, paths, selfcheck
from marginome.incremental.confirm import confirm, difference
from marginome.sequences import random_one_hot
from zoo import Dilated

LENGTH = 60


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setattr(marginalization, "ENGINE_PAIRS", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Of(nn.Module):
    """A function of a convolution's feature map and the sequence."""

    def __init__(self, function, channels=8, kernel=5, padding=2):
        super().__init__()
        self.conv = nn.Conv1d(4, channels, kernel, padding=padding)
        self.weight = nn.Parameter(torch.randn(1, channels, 1))
        self.function = function

    def forward(self, X):
        return self.function(self, self.conv(X), X)


def of(function, **settings):
    torch.manual_seed(0)
    return Of(function, **settings).eval()


def sequences(n=3, length=LENGTH, seed=1):
    return random_one_hot((n, 4, length), random_state=seed)


def some_edits(widths, length=LENGTH):
    """Inserts of each width at both ends and in the middle."""
    each = [(w, s) for w in widths for s in (0, length - w, (length - w) // 2)]
    return Edits.stack([random_one_hot((1, 4, w), random_state=i)[0] for i, (w, _) in enumerate(each)],
                       [s for _, s in each])  # fmt: skip


@torch.no_grad()
def brute_force(model, X, edits):
    """Outputs (m, n, ...) in float64, one call per edit."""
    double = copy.deepcopy(model).double()
    rows = []
    for insert, start in zip(edits.one_hot, edits.starts.tolist()):
        edited = X.clone().double()
        for column in insert.any(0).nonzero().flatten().tolist():
            edited[:, :, start + column] = insert[:, column].double()
        rows.append(pytree.tree_leaves(double(edited)))
    return [torch.stack(parts) for parts in zip(*rows)]


def outputs(engine, edits):
    """Put the parts of a run together."""
    found = None
    for some, which, y in engine.run(edits):
        leaves = pytree.tree_leaves(y)
        found = found or [
            torch.full((len(edits.starts), len(engine.X), *t.shape[2:]), -7, dtype=t.dtype) for t in leaves
        ]
        for f, t in zip(found, leaves):
            f[some, which] = t
    return found


# ---- memory that two values share ------------------------------------------------------------------------------------


def unfolded_and_rectified(self, x, X):
    y = F.gelu(x)
    return torch.cat([y.unfold(2, 4, 4), F.relu(y).unfold(2, 4, 4)], 1).mean(-1)


# Each returns a view, and is read after a rectifier of the same values.
VIEWS = {
    "unfold": lambda y: y.unfold(2, 4, 4),
    "diagonal": lambda y: y.diagonal(dim1=1, dim2=2),
    "movedim": lambda y: y.movedim(1, 2),
    "mT": lambda y: y.mT,
    "flatten": lambda y: y.flatten(1),
    "pool of one": lambda y: F.max_pool1d(y, 1),
    "several": lambda y: torch.stack(y.tensor_split((7, 9), 2)[1:2]).squeeze(0),
    "to": lambda y: y.to("cpu"),
    "atleast": lambda y: torch.atleast_3d(y),
    "einsum": lambda y: torch.einsum("ncl->nlc", y),
}


def both(view):
    def function(self, x, X):
        y = F.gelu(x)
        return view(y), F.relu(y).cumsum(2)

    return function


@pytest.mark.parametrize("name", VIEWS)
def test_what_others_need_is_not_overwritten(name):
    """An operation without a rule may return a view: a rectifier that works in place must not reach through it."""
    model = of(both(VIEWS[name]), kernel=11, padding=5)
    X, edits = sequences(), some_edits((1, 20, 45, 60))
    engine = Engine(model.double(), X, engine="incremental", self_check=False)
    for found, truth in zip(outputs(engine, edits), brute_force(model, X, edits)):
        assert (found - truth).abs().max() <= 1e-10 * truth.abs().max()


def test_weights_are_not_overwritten():
    model = of(lambda self, x, X: (F.relu(self.weight.expand_as(x)).cumsum(2), x))
    before = copy.deepcopy(model.state_dict())
    outputs(Engine(model, sequences(), engine="incremental", self_check=False), some_edits((20,)))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_views_of_the_issue():
    """61-bp convolutions, 64 channels, 300 bp: an insert of 100 bp was right, one of 200 bp wrong."""

    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.c, self.d = (nn.Conv1d(i, 64, 61, padding=30) for i in (4, 64))

        def forward(self, X):
            return unfolded_and_rectified(self, self.d(F.gelu(self.c(X))), X)

    torch.manual_seed(0)
    model, X = Views().eval(), sequences(2, 300)
    edits = Edits.stack([random_one_hot((1, 4, w), random_state=w)[0] for w in (100, 200)], [100, 50])
    ((_, _, found),) = Engine(model, X).run(edits)
    (truth,) = brute_force(model, X, edits)
    assert (found - truth).abs().max() <= 1e-5 * truth.abs().max()
