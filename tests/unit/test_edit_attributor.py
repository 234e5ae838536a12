"""Edits attributed against their backgrounds: equal to deep_lift_shap of whole sequences, ours and tangermeme's."""

from __future__ import annotations

import copy
import dataclasses
import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from marginome.attribution import EditAttributor, deep_lift_shap
from marginome.errors import MarginomeError
from marginome.incremental import Edits
from marginome.models import load_model
from marginome.prediction import Readout
from marginome.sequences import random_one_hot
from workspace import RESOURCES
from zoo import ZOO, make

LENGTH, N = 160, 3
# Which part of what a model returns is attributed, and whether its attributions can be confined to what edits change.
READ = {
    "plain": (None, True), "dilated": (1, True), "controlled": ("counts", True), "pooled": (None, True),
    "pooled in place": (None, True), "pooled 2d": (None, True), "rectangle": (None, True), "normalized": (None, True),
    "strided": (0, True), "residual": ("mean", True), "reverse complement": (None, True), "strand profile": (1, True),
    "recurrent": (None, True), "excited": (None, True), "windows": (0, True), "attention": (None, False),
    "u-net": (None, False), "branches": (None, False),
}  # fmt: skip


def some_edits(repeats: int) -> tuple[Edits, torch.Tensor]:
    """Edits of several widths at both ends, in the middle, with a hole; each in every background, several times."""
    inserts = [random_one_hot((1, 4, w), random_state=w)[0] for w in (1, 6, 9, 12, 7)]
    inserts[2][:, 4] = 0
    starts = [0, LENGTH - 6, 70, 75, 33]
    rows = torch.arange(len(starts)).repeat_interleave(N).repeat(repeats)
    return Edits.stack(inserts, starts).take(rows), torch.arange(N).repeat(len(rows) // N)


def readout(name):
    model, args, _ = make(name, N)
    head, _ = READ[name]
    return Readout(model, head), args


def by_whole_sequences(function, model, X, args, edits, index, target, **options):
    after = edits.apply(X[index])
    found = function(
        model, after.double(), args=[a[index] for a in args] or None, target=target, device="cpu",
        references=X[index].double().unsqueeze(1), warning_threshold=1e9, **options,
    )  # fmt: skip
    mine = [a[:, s : s + e.shape[-1]] for a, s, e in zip(found, edits.starts.tolist(), edits.one_hot)]
    return torch.stack([nn.functional.pad(a, (0, edits.one_hot.shape[-1] - a.shape[-1])) for a in mine])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READ)
def test_equals_deep_lift_shap_of_whole_sequences(name):
    model, args = readout(name)
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    attribute = EditAttributor(model, X, args)
    edits, index = some_edits(repeats=2)
    for target in (0, -1):
        found = attribute(edits, index, target)
        truth = by_whole_sequences(deep_lift_shap, model, X, args, edits, index, target)
        torch.testing.assert_close(found.attributions, truth, rtol=1e-9, atol=1e-11 * float(truth.abs().max()))
        # outside of what the edit sets nothing is attributed: the sum over its columns is the change of the output
        y = [
            model(Z.double(), *(a[index] for a in args))[:, target].detach() for Z in (X[index], edits.apply(X[index]))
        ]
        error = (found.attributions.sum((1, 2)) - (y[1] - y[0])).abs()
        torch.testing.assert_close(found.deltas.double(), error, atol=1e-9, rtol=1e-3)
    assert (attribute.reason == "") == READ[name][1], attribute.reason


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["plain", "dilated", "pooled"])  # what tangermeme has rules for, as modules
def test_equals_tangermeme(name):
    from tangermeme.deep_lift_shap import deep_lift_shap as peer

    class Modules(nn.Module):
        """The functional rectifiers of the zoo as the modules that tangermeme hooks."""

        def __init__(self, model):
            super().__init__()
            self.model, self.relus = model, nn.ModuleList(nn.ReLU() for _ in range(5))

        def forward(self, X):
            if not hasattr(self.model, "trunk"):
                return self.model(X)
            x = self.relus[0](self.model.first(X))
            for relu, layer in zip(self.relus[1:], self.model.layers):
                x = x + relu(layer(x))
            a, b = self.model.trim, X.shape[2] - self.model.trim
            return self.model.counts(x[:, :, a - self.model.flank : b + self.model.flank].mean(2))

    model = Modules(make(name, N)[0])
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    edits, index = some_edits(repeats=1)
    found = EditAttributor(model, X, engine="incremental")(edits, index).attributions
    truth = by_whole_sequences(peer, model, X, (), edits, index, 0)
    torch.testing.assert_close(found, truth, rtol=1e-6, atol=1e-8 * float(truth.abs().max()))


def test_hypothetical_attributions_are_those_of_the_columns_that_are_set():
    model, _ = readout("dilated")
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    edits, index = some_edits(repeats=1)
    found = EditAttributor(model, X)(edits, index, hypothetical=True).attributions
    truth = by_whole_sequences(deep_lift_shap, model, X, (), edits, index, 0, hypothetical=True)
    set_ = (edits.one_hot != 0).any(1, keepdim=True)
    torch.testing.assert_close(found, truth * set_, rtol=1e-9, atol=1e-12)
    assert (found[set_.expand_as(found)] != 0).any()


def test_an_edit_that_the_model_does_not_see_has_no_attribution():
    class Front(nn.Module):
        """Reads the first 100 positions."""

        def __init__(self):
            super().__init__()
            self.conv, self.dense = nn.Conv1d(4, 5, 7), nn.Linear(5, 1)

        def forward(self, X):
            return self.dense(self.conv(X)[:, :, :94].relu().mean(2))

    torch.manual_seed(0)
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    edits, index = some_edits(repeats=1)
    attribute = EditAttributor(Front().double(), X, engine="incremental")
    found = attribute(edits, index)
    seen = edits.starts < 100
    assert (found.attributions[~seen] == 0).all() and (found.deltas == 0).sum() >= (~seen).sum() > 0
    wide = seen & (edits.starts > 0)  # the one of 1 bp may put in what is there
    assert (found.attributions[wide] != 0).flatten(1).any(1).all()


def test_many_backgrounds_in_little_memory():
    model, _ = readout("dilated")
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    edits, index = some_edits(repeats=1)
    whole = EditAttributor(model, X)(edits, index)
    parts = EditAttributor(model, X, memory_bytes=1)  # one background at a time
    assert parts._path.backgrounds_cached == 1
    torch.testing.assert_close(parts(edits, index).attributions, whole.attributions)


def test_the_real_model_in_float32():
    weights = RESOURCES / "models" / "bpnet_ctcf_k562_2114.state_dict.pt"
    bpnet = load_model("ctcf", {"weights": str(weights), "input_length": 2114}).module
    X = random_one_hot((2, 4, 2114), random_state=0)
    edits = Edits.stack([random_one_hot((1, 4, 15), random_state=3)[0]] * 2, [1050, 1049])
    index = torch.arange(2)
    for model in (Readout(bpnet, 1), Readout(bpnet, 0, reduce="profile")):
        attribute = EditAttributor(model, X, engine="incremental")
        found = attribute(edits, index)
        truth = by_whole_sequences(deep_lift_shap, model, X, (), edits, index, 0, dtype="float64")
        assert (found.attributions - truth).abs().max() < 1e-4 * truth.abs().max()
        assert found.deltas.max() < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_float64_is_float64_whatever_the_weights_are():
    model, args = readout("plain")
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    edits, index = some_edits(repeats=1)
    truth = EditAttributor(model, X, args)(edits, index)
    attribute = EditAttributor(
        single := copy.deepcopy(model).float(), X, args, precision="float64", engine="incremental"
    )
    exact = copy.deepcopy(single).double()  # weights of 32 bits, arithmetic of 64
    expected = by_whole_sequences(deep_lift_shap, exact, X, args, edits, index, 0)
    found = attribute(edits, index).attributions
    torch.testing.assert_close(found.double(), expected, rtol=1e-9, atol=1e-11 * float(truth.attributions.abs().max()))
    assert next(single.parameters()).dtype == torch.float32  # the caller's stays as it is


def test_falls_back_aloud_and_only_if_it_may(caplog):
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    model, _ = readout("branches")
    with caplog.at_level(logging.WARNING):
        assert "torch.export" in EditAttributor(model, X).reason
    assert "attributed as a whole, because torch.export" in caplog.text
    with pytest.raises(MarginomeError, match="cannot be attributed incrementally"):
        EditAttributor(model, X, engine="incremental")
    assert EditAttributor(readout("plain")[0], X, engine="full").reason == "asked for"


def test_a_wrong_rule_is_noticed_before_use(monkeypatch):
    from marginome.attribution import rules

    model, _ = readout("dilated")
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    edits, index = some_edits(repeats=1)
    attribute = EditAttributor(model, X)
    original = rules.relu

    def lopsided(pair):
        if pair.r.args[0].shape[0] == 1 and pair.x.args[0].ndim == 4:  # the windowed pass alone
            return [g if g is None else g * 1.01 for g in original(pair)]
        return original(pair)

    monkeypatch.setitem(rules.RULES, "relu", dataclasses.replace(rules.RULES["relu"], multiplier=lopsided))
    found = attribute(edits, index)
    assert "differs from deep_lift_shap" in attribute.reason
    truth = by_whole_sequences(deep_lift_shap, model, X, (), edits, index, 0)
    torch.testing.assert_close(found.attributions, truth, rtol=1e-9, atol=1e-12)


class Then(nn.Module):
    """A convolution, a function of feature maps, a dense layer."""

    def __init__(self, kernel, function):
        super().__init__()
        self.conv, self.function = nn.Conv1d(4, 6, kernel), function
        self.dense = nn.LazyLinear(1)

    def forward(self, X):
        return self.dense(self.function(self.conv(X)).flatten(1))


def attributed_both_ways(kernel, function, inserts, starts, engine):
    torch.manual_seed(0)
    model, X = Then(kernel, function).double().eval(), random_one_hot((N, 4, LENGTH), random_state=1)
    model(X.double())
    edits = Edits.stack(inserts, starts).take(torch.arange(len(starts)).repeat_interleave(N))
    index = torch.arange(N).repeat(len(starts))
    attribute = EditAttributor(model, X, engine=engine)
    found = attribute(edits, index).attributions
    truth = by_whole_sequences(deep_lift_shap, model, X, (), edits, index, 0)
    assert truth.abs().max() > 1e-6
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-11 * float(truth.abs().max()))
    return attribute


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kernel", "function"),
    [
        (5, lambda h: F.max_pool1d(F.conv1d(h.relu(), torch.ones(6, 6, 3).double().tril() / 7).relu(), 4)),
        (5, lambda h: F.max_pool1d(1.7 * h.tanh() + 0.3, 3, 2, dilation=2)),
        (5, lambda h: F.max_pool1d(1.7 * h.tanh() + 0.3, 3, 3, padding=1, ceil_mode=True)),
        (5, lambda h: F.adaptive_max_pool1d(1.7 * h.tanh() + 0.3, 1)),
        (5, lambda h: F.adaptive_max_pool1d(1.7 * h.tanh() - h.mean(2, keepdim=True), 4)),
        (1, lambda h: (h / (1.5 + h.tanh()) * h.mean((1, 2), keepdim=True)).amax(2)),
    ],
)
def test_equal_maxima_go_to_the_same_position(kernel, function):
    """A stretch of one base gives maxima that are equal, but for rounding where they are background and change."""
    stretches = [torch.eye(4, dtype=torch.int8)[:, [base] * 16] for base in range(4)]
    attributed_both_ways(kernel, function, stretches, [20, 61, 92, 141], "incremental")


SITE = 40  # which the edits of the attributor's own check do not reach


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "function",
    [
        lambda h: h * (h > 0.1).to(h.dtype),
        lambda h: torch.where(h > 0, h, 0.1 * h),
        lambda h: h.masked_fill(h < 0, 0.0),
    ],
)
def test_a_rectifier_written_by_hand_has_its_rule_on_a_span(function):
    attribute = attributed_both_ways(
        11, lambda h: function(h)[:, :, SITE], list(random_one_hot((4, 4, 12), random_state=3)), [36, 38, 42, 44],
        "incremental",
    )  # fmt: skip
    assert attribute._path.named == set()


@pytest.mark.filterwarnings("ignore")
def test_what_has_no_rule_is_compared_where_an_edit_shows_it():
    attribute = attributed_both_ways(
        11, lambda h: torch.where(h > 0, h.tanh(), h.flip(1))[:, :, SITE],
        list(random_one_hot((4, 4, 12), random_state=3)), [36, 38, 42, 44], "auto",
    )  # fmt: skip
    assert "differs from deep_lift_shap" in attribute.reason


def test_the_check_changes_something_that_the_model_sees(monkeypatch):
    from marginome.attribution import rules

    original = rules.relu

    def lopsided(pair):
        return [g if g is None else g * (1.01 if pair.by_differences else 1) for g in original(pair)]

    monkeypatch.setitem(rules.RULES, "relu", dataclasses.replace(rules.RULES["relu"], multiplier=lopsided))
    attribute = attributed_both_ways(
        11, lambda h: h.relu()[:, :, SITE], list(random_one_hot((2, 4, 12), random_state=3)), [38, 42], "auto"
    )
    assert "differs from deep_lift_shap" in attribute.reason


def test_mistakes_are_named():
    X = random_one_hot((N, 4, LENGTH), random_state=1)
    attribute = EditAttributor(readout("plain")[0], X)
    edits, index = some_edits(repeats=1)
    with pytest.raises(MarginomeError, match="one background per edit"):
        attribute(edits, index[:2])
    with pytest.raises(MarginomeError, match="there is no engine 'fast'"):
        EditAttributor(readout("plain")[0], X, engine="fast")
    with pytest.raises(MarginomeError, match="out of range: the model has 3 outputs"):
        attribute(edits, index, 3)
    assert set(READ) <= set(ZOO)
