"""The incremental engine gives the numbers of the full pass, on models of every shape."""

from __future__ import annotations

import pytest
import torch
from torch.utils import _pytree as pytree

from marginome.incremental import Edits, Engine
from marginome.incremental.capture import Graph, name_of
from marginome.incremental.registry import RULES
from marginome.sequences import random_one_hot
from zoo import ZOO, make

LENGTH = 160


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def edits_everywhere(length=LENGTH):
    """Odd and even widths, both ends, overlapping and apart, N columns inside and sticking out, none at all."""
    inserts, starts = [], []
    for i, (width, start) in enumerate(
        [(1, 0), (10, 75), (7, 77), (12, 0), (9, length - 9), (1, length - 1), (15, 60), (33, 64), (4, 3), (8, 120)]
    ):
        insert = random_one_hot((1, 4, width), random_state=i)[0]
        if width == 15:
            insert[:, 4:9] = 0
        inserts.append(insert)
        starts.append(start)
    inserts.append(torch.zeros(4, 5, dtype=torch.int8))
    starts.append(30)
    return Edits.stack(inserts, starts)


def brute_force(model, X, args, edits):
    """Every edit in every background by hand, one model call per edit."""
    results = []
    for insert, start in zip(edits.one_hot, edits.starts.tolist()):
        edited = X.clone()
        for column in range(insert.shape[1]):
            if insert[:, column].any():
                edited[:, :, start + column] = insert[:, column]
        with torch.no_grad():
            results.append(pytree.tree_leaves(model(edited.double(), *args)))
    return [torch.stack(parts) for parts in zip(*results)]


def assert_same(found, truth, before):
    """1e-10 of the largest output, and 1e-9 of the largest effect (what cancels between outputs of 1)."""
    for f, t, b in zip(found, truth, before):
        assert f.shape == t.shape
        difference = (f - t).abs().max()
        effect = (t - b).abs().max()
        assert difference <= 1e-10 * t.abs().max()
        assert difference <= 1e-9 * effect + 1e-14 * t.abs().max()
        assert effect > 0


@pytest.mark.parametrize("name", ZOO)
def test_same_as_brute_force(name):
    n = 3
    model, args, path = make(name, n)
    X = random_one_hot((n, 4, LENGTH), random_state=1)
    edits = edits_everywhere()
    with torch.no_grad():
        before = pytree.tree_leaves(model(X.double(), *args))
    truth = brute_force(model, X, args, edits)

    engine = Engine(model, X, args)
    assert engine.info.path == path, engine.info.reason
    assert (path == "full") == bool(engine.info.reason)
    assert pytree.tree_structure(engine.before) == pytree.tree_structure(model(X.double(), *args))
    for b, e in zip(before, pytree.tree_leaves(engine.before)):
        torch.testing.assert_close(e, b, rtol=1e-10, atol=1e-12)

    found = [torch.full_like(t, torch.nan) for t in truth]
    for some, which, y in engine.run(edits):
        for f, part in zip(found, pytree.tree_leaves(y)):
            f[some, which] = part
    assert_same(found, truth, before)

    # Pairs: uneven numbers per background, in no order.
    index = torch.tensor([2, 0, 1, 2, 2, 0, 1, 0, 0, 2, 1])
    found = pytree.tree_leaves(engine.pairs(edits, index))
    rows = torch.arange(len(index))
    assert_same(found, [t[rows, index] for t in truth], [b[index] for b in before])


def test_every_rule_has_a_model_that_needs_it():
    """CONTRIBUTING.md, "A rule of the engine"."""
    X = random_one_hot((2, 4, LENGTH), random_state=1).double()
    used = set()
    for name, (_, _, path) in ZOO.items():
        if path == "incremental":
            model, args, _ = make(name, 2)
            used |= {name_of(node) for node in Graph(model, X, args).nodes}
    rules: dict = {}
    for operation, rule in RULES.items():
        rules.setdefault(rule.make, set()).add(operation)
    assert len(rules) > 20
    assert {rule.__name__ for rule, operations in rules.items() if not operations & used} == set()


def test_operations_on_whole_sequences_are_named():
    X = random_one_hot((2, 4, LENGTH), random_state=1)
    whole = {
        name: set(Engine(make(name, 2)[0], X).info.full_operations)
        for name in ("attention", "recurrent", "excited", "pooled")
    }
    assert whole["pooled"] == set()
    assert "lstm" in whole["recurrent"]
    assert whole["attention"]
    assert "amax" not in whole["excited"]  # after a global operation nothing is confined any more
    assert "mul" in whole["excited"]


def test_outputs_that_edits_do_not_reach_are_the_background_s():
    torch.manual_seed(0)

    class Middle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv1d(4, 3, 5)

        def forward(self, X):
            return self.conv(X)[:, :, 70:80]

    X = random_one_hot((2, 4, LENGTH), random_state=1)
    engine = Engine(Middle().double(), X)
    edits = Edits.stack([random_one_hot((1, 4, 6), random_state=0)[0]] * 2, [0, 74])
    ((_, _, y),) = engine.run(edits)
    assert torch.equal(y[0], engine.before)
    assert not torch.equal(y[1], engine.before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["dilated", "pooled 2d", "controlled", "u-net", "excited"])
def test_weights_of_16_bits(name, dtype):
    """The numbers are those of the same weights in float64, to float32's rounding: not the full pass's in 16 bits."""
    n = 3
    model, args, _ = make(name, n)
    model, args = model.to(dtype), tuple(a.to(dtype) for a in args)
    X = random_one_hot((n, 4, LENGTH), random_state=1)
    edits = edits_everywhere()
    engine = Engine(model, X, args)
    assert engine.info.path == "incremental", engine.info.reason
    found = None
    for some, which, y in engine.run(edits):
        leaves = pytree.tree_leaves(y)
        found = found or [torch.full((len(edits.starts), n, *t.shape[2:]), torch.nan) for t in leaves]
        for f, part in zip(found, leaves):
            f[some, which] = part
    assert not engine.info.full_units and engine.info.confirmed_error < 0.05
    truth = brute_force(model.double(), X, tuple(a.double() for a in args), edits)
    for f, t in zip(found, truth):
        assert (f - t).abs().max() <= 1e-5 * t.abs().max()
