"""`space` against tangermeme's, on every path; and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tangermeme.space import space as peer_space
from torch import nn

import marginome.marginalization as module
from marginome import MarginomeError, deep_lift_shap, random_one_hot, space

N, LENGTH = 5, 60
SPACING = [[0, 3], [7, 0], [1, 12], [20, 5]]
MOTIFS = ["GATNA", "CCGG", "TTT"]


class Two(nn.Module):
    """Two outputs, and an input beside the sequence."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Conv1d(4, 8, 5, padding=2), nn.ReLU(), nn.Conv1d(8, 8, 3, padding=2, dilation=2))
        self.head = nn.Linear(8, 2)

    def forward(self, X, offset):
        y = self.body(X)
        return y, self.head(y.mean(dim=-1)) + offset


@pytest.fixture(scope="module")
def inputs():
    return random_one_hot((N, 4, LENGTH), random_state=3), torch.arange(N, dtype=torch.float32)[:, None]


@pytest.mark.parametrize("engine", ["full", "incremental", "auto"])
@pytest.mark.parametrize("start", [None, 4])
def test_it_gives_what_the_peer_gives(inputs, engine, start, monkeypatch):
    monkeypatch.setattr(module, "engine_pays", lambda *_: True)
    (X, offset), model = inputs, Two().eval()
    ours = space(model, X, MOTIFS, SPACING, start, args=(offset,), engine=engine, device="cpu")
    theirs = peer_space(model, X.float(), MOTIFS, torch.tensor(SPACING), start, args=(offset,), device="cpu")
    for mine, expected in zip((*ours.y_before, *ours.y_afters), (*theirs.y_before, *theirs.y_afters), strict=True):
        assert mine.shape == expected.shape
        torch.testing.assert_close(mine, expected, atol=2e-6, rtol=1e-5)
    before, after = ours
    assert after[1].shape == (N, len(SPACING), 2) and (after[1] != before[1][:, None]).any()


def test_a_motif_for_each_background(inputs):
    (X, offset), model = inputs, Two().eval()
    motifs = [random_one_hot((N, 4, 6), random_state=5), random_one_hot((1, 4, 3), random_state=6)]
    gaps = np.array([[0], [9]])
    ours = space(model, X, motifs, gaps, args=(offset,), device="cpu")
    theirs = peer_space(model, X, motifs, torch.tensor(gaps), args=(offset,), device="cpu")
    for mine, expected in zip(ours.y_afters, theirs.y_afters, strict=True):
        torch.testing.assert_close(mine, expected)


def test_attributions_of_arrangements(inputs):
    X, model = (
        inputs[0],
        nn.Sequential(nn.Conv1d(4, 3, 5), nn.ReLU(), nn.Flatten(), nn.Linear(3 * (LENGTH - 4), 1)).eval(),
    )
    references = random_one_hot((N * 2, 4, LENGTH), random_state=1).reshape(N, 2, 4, LENGTH).float()
    from tangermeme.deep_lift_shap import deep_lift_shap as theirs

    settings = {"references": references, "device": "cpu"}
    ours = space(model, X, ["GAT", "CC"], [[0], [5]], func=deep_lift_shap, additional_func_kwargs=settings)
    peer = peer_space(
        model, X.float(), ["GAT", "CC"], torch.tensor([[0], [5]]), func=theirs, additional_func_kwargs=settings
    )
    assert ours.y_afters.shape == (N, 2, 4, LENGTH)
    torch.testing.assert_close(ours.y_afters, peer.y_afters, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        ([[1], [2]], "a row of 2 gaps"),
        ([1, 2], "a row of 2 gaps"),
        ([[1, 2], [3]], "a row of 2 gaps"),
        ([], "a row of 2 gaps"),
        ([[1, -2]], "at least 0"),
        ([[1, 2.5]], "whole number"),
        ([[1, float("nan")]], "whole number"),
        ([["1", "x"]], "whole number"),
        ([[0, 1], [40, 20]], r"spacing\[1\]"),
    ],
)
def test_what_is_no_spacing_is_one_line(inputs, spacing, words):
    with pytest.raises(MarginomeError, match=words):
        space(Two().eval(), inputs[0], MOTIFS, spacing, args=(inputs[1],), device="cpu")
