"""A slice of `tests/checks/random_models.py`, which compares models by the thousand with brute force."""

from __future__ import annotations

import collections
import random

import pytest
import torch

import random_models

architectures = random_models.architectures
# Drawn like all others; together they go every way that there is, in both precisions.
SEEDS = (0, 1, 2, 3, 4, 6, 7, 8, 11, 12)


@pytest.mark.parametrize("seed", SEEDS)
def test_like_brute_force(seed):
    case = random_models.draw(seed)
    found = random_models.attempt(case)
    assert not found.wrong, f"{case}: {found.wrong}"


def test_the_slice_goes_every_way():
    cases = [random_models.draw(seed) for seed in SEEDS]
    assert {case.way for case in cases} == set(random_models.WAYS)
    assert {case.dtype for case in cases} == {torch.float64, torch.float32}


def test_what_differs_is_found_and_made_small(monkeypatch):
    """The check can fail: a rectifier that is wrong by a thousandth of its largest value."""
    case = random_models.draw(2)
    wrong = [torch.zeros(2, 3, 4, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)]
    right = [w.clone() for w in wrong]
    wrong[1][1, 2] += 1e-6
    assert not random_models.compare(right, right, right, right, torch.float64)
    assert "output 1 is off by 1e-06" in random_models.compare(wrong, right, right, right, torch.float64)
    wrong[1][1, 2] = torch.nan
    assert "off by inf" in random_models.compare(wrong, right, right, right, torch.float32)

    kinds = {layer.kind for layer in case.architecture.layers}
    kind = sorted(kinds)[0]

    def attempt(tried):
        bad = any(layer.kind == kind for layer in tried.architecture.layers)
        return random_models.Found("wrong" if bad else "", "incremental")

    monkeypatch.setattr(random_models, "attempt", attempt)
    smaller, said = random_models.smallest(case)
    assert [layer.kind for layer in smaller.architecture.layers] == [kind] and said
    assert (smaller.backgrounds, len(smaller.kept), smaller.architecture.inputs) == (1, 1, 0)
    assert smaller.architecture.length < 40


def test_architectures():
    """The same seed gives the same model; all kinds of layers and heads are drawn, and no model mixes a batch."""
    drawn = collections.Counter()
    for seed in range(30):
        architecture = architectures.draw(random.Random(seed), length=40)
        assert architecture == architectures.draw(random.Random(seed), length=40)
        drawn.update(layer.kind for layer in architecture.layers)
        model, args = architecture.build(), architecture.arguments(3)
        X = random_models.random_one_hot((3, 4, 40), random_state=seed)
        together, alone = (
            random_models.leaves(model, X, args),
            random_models.leaves(model, X[1:2], [a[1:2] for a in args]),
        )
        for t, a in zip(together, alone):
            torch.testing.assert_close(t[1:2].double(), a.double(), rtol=1e-3, atol=1e-4)
    assert len(drawn) > 30
