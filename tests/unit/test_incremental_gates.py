"""What the engine does not take: models that mix a batch, wrong numbers, and whatever it cannot follow."""

from __future__ import annotations

import copy
import dataclasses
import json
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
from marginome.incremental.capture import Graph
from marginome.incremental.confirm import confirm, difference
from marginome.incremental.needs import needed_spans
from marginome.incremental.plan import Plan
from marginome.sequences import random_one_hot
from zoo import Dilated

LENGTH = 60


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setattr(marginalization, "engine_pays", lambda *_: True)
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
        leaves = [t for t in pytree.tree_leaves(y) if t is not None]
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


# ---- what cannot be followed is a full pass with its reason, or one line --------------------------------------------


def in_autocast(self, x, X):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return F.conv1d(x, torch.ones(2, 8, 3)).float().mean(2)


def with_gradients(self, x, X):
    with torch.enable_grad():
        return torch.tanh(x).mean(2)


def counting(self, x, X):
    self.calls += 1
    return x.mean(2) + 0 * self.calls


def padding_mask(self, x, X):
    known = X.sum(1, keepdim=True) > 0
    cpg = F.pad((X[:, 1:2, :-1] > 0) & (X[:, 2:3, 1:] > 0), (0, 1))
    return torch.cat([x, known.to(x.dtype), cpg.float().to(x.dtype)], 1).relu().mean(2) + (1 - known.to(x.dtype)).sum(2)


# function, the path that is expected, and what the reason says
FOLLOWED = {
    "autocast": (in_autocast, "full", "mode of its own"),
    "enable_grad": (with_gradients, "full", "mode of its own"),
    "buffer": (counting, "full", "changes its own buffers"),
    "identity": (lambda self, x, X: X, "full", "no operation"),
    "constant of the length": (lambda self, x, X: X.new_ones(len(X), 3), "full", "one number of sequences"),
    "masks": (padding_mask, "incremental", ""),
    "mask alone": (lambda self, x, X: x * (1 - (X[:, :1] > 0).to(x.dtype)), "incremental", ""),
    "negative index": (lambda self, x, X: self.conv(X[:, [-1, -2, -3, -4]].flip(2)) + x, "incremental", ""),
    "truth values": (lambda self, x, X: (x > 0.1, x.mean(2)), "incremental", ""),
    "whole numbers": (lambda self, x, X: [x.argmax(1), x.amax(2), (x > 0).sum(2)], "incremental", ""),
    "whole numbers added": (lambda self, x, X: x.argmax(1) * 2 + x.argmin(1), "incremental", ""),
    "a constant beside": (
        lambda self, x, X: {"y": x.mean(2), "c": self.weight[0].expand(X.shape[0], -1, 1)}, "incremental", ""
    ),
    "none beside": (lambda self, x, X: (x.mean(2), None), "incremental", ""),
    "half": (lambda self, x, X: x.half().float().mean(2), "full", "differs from the full pass"),
    "complex": (lambda self, x, X: (torch.fft.rfft(x.relu()), x), "incremental", ""),
    "overlapping": (lambda self, x, X: F.relu(x.unfold(2, 5, 1)).amax(-1).relu(), "incremental", ""),
    "double": (lambda self, x, X: torch.exp(x.double()).to(x.dtype).mean(2), "incremental", ""),
    "view": (lambda self, x, X: torch.special.i0(x).view(x.shape[0], 8 * 60), "incremental", ""),
    "uneven repeats": (
        lambda self, x, X: x.repeat_interleave(torch.tensor([0, 2] * 30), dim=2, output_size=60), "incremental", ""
    ),
    "minus infinity": (lambda self, x, X: torch.log((x.amax(2) - 0.5).relu()), "incremental", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWED)
def test_everything_runs_and_says_how(name):
    function, path, reason = FOLLOWED[name]
    model = of(function)
    model.register_buffer("calls", torch.zeros(()))
    X, edits = sequences(), some_edits((1, 9, 50))
    X[0, :, 40:] = 0
    engine = Engine(model, X)
    assert (engine.info.path, reason in engine.info.reason) == (path, True), engine.info.reason
    assert bool(engine.info.reason) == (path == "full")
    rough = brute_force_as_it_is(model, X, edits)
    for found, truth in zip(outputs(engine, edits), rough):
        assert found.dtype == truth.dtype
        if truth.is_floating_point() or truth.is_complex():
            torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(found, truth)


@torch.no_grad()
def brute_force_as_it_is(model, X, edits):
    rows = [
        pytree.tree_leaves(model(edits.take(torch.full((len(X),), i)).apply(X).float()))
        for i in range(len(edits.starts))
    ]
    return [torch.stack(parts) for parts in zip(*rows) if parts[0] is not None]


# function, and what the line says
REFUSED = {
    "one number for a batch": (lambda self, x, X: x.mean(), "one entry on axis 0"),
    "one row for a batch": (lambda self, x, X: x.mean((0, 2), keepdim=True), "one entry on axis 0"),
    "batch on the second axis": (lambda self, x, X: x.mean(2).t(), "one entry on axis 0"),
    "a constant": (lambda self, x, X: self.weight[0, :, 0], "one entry on axis 0"),
    "a constant beside": (lambda self, x, X: (x.mean(2), self.weight), "one entry on axis 0"),
    "nothing": (lambda self, x, X: None, "it returned None"),
    "a number": (lambda self, x, X: (x.mean(2), 3.0), "found float"),
    "a length": (
        lambda self, x, X: x[:, :, :12].view(len(x), 3, 7),
        r"forward\(\) failed: RuntimeError.*It was given X \(3, 4, 60\)",
    ),
}


@pytest.mark.parametrize("engine", ["auto", "full"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_the_full_pass_cannot_run_is_one_line(name, engine):
    function, message = REFUSED[name]
    with pytest.raises(MarginomeError, match=message):
        Engine(of(function), sequences(), engine=engine)


def test_a_model_that_writes_into_its_input_leaves_the_backgrounds_alone():
    class Writes(nn.Module):
        def forward(self, X):
            return X.mul_(2).cumsum(2)

    X, edits = sequences().float(), some_edits((9,))
    given = X.clone()
    engine = Engine(Writes(), X, engine="full")
    (found,) = outputs(engine, edits)
    (truth,) = brute_force_as_it_is(Writes(), given, edits)
    assert torch.equal(found, truth)
    assert torch.equal(X, given)
    assert torch.equal(engine.before, (2 * given).cumsum(2))


def test_the_users_mistakes_and_lack_of_memory_are_no_reasons(monkeypatch):
    for error in (MarginomeError("no"), MemoryError("out of memory"), KeyboardInterrupt()):

        def failing(*args, error=error, **kwargs):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(selfcheck, "extreme_backgrounds", failing)
            with pytest.raises(type(error)):
                Engine(Dilated(length=LENGTH, out=20).eval(), sequences())


def test_a_failure_later_sends_its_unit_to_the_full_pass(monkeypatch, caplog):
    """Plans are made for every new span; whatever goes wrong there is a full pass of that unit, with its reason."""
    model, X = Dilated(length=LENGTH, out=20).eval(), sequences()
    inserts = [random_one_hot((1, 4, w), random_state=w)[0] for w in (3, 4, 5, 40, 41, 42)]
    edits = Edits.stack(inserts, [20, 21, 22, 5, 6, 7])
    engine = Engine(model, X, block=3, self_check=False)
    plan = paths.Plan

    def failing(graph, lo, hi, **settings):
        if hi - lo > 30:
            raise IndexError("what nobody expected")
        return plan(graph, lo, hi, **settings)

    monkeypatch.setattr(paths, "Plan", failing)
    with caplog.at_level(logging.WARNING):
        found = outputs(engine, edits)
    assert "what nobody expected" in caplog.text
    assert (engine.info.path, engine.info.units, engine.info.full_units) == ("incremental", 2, 1)
    assert "1 of 2 units" in engine.info.notes[-1]
    truth = outputs(Engine(model, X, engine="full", block=3), edits)
    for f, t in zip(found, truth):
        assert torch.equal(f[3:], t[3:])
        torch.testing.assert_close(f, t, rtol=1e-5, atol=1e-6)
    with pytest.raises(MarginomeError, match="what nobody expected"):
        list(Engine(model, X, block=3, self_check=False, engine="incremental").run(edits))


def test_what_is_taken_from_a_value_is_scaled_by_alpha():
    """``rsub(a, b, alpha)`` is b - alpha a: with alpha left out the check of itself would refuse the plan."""
    model = of(lambda self, x, X: torch.rsub(x.relu(), x.square(), alpha=0.3).mean(2))
    X, edits = sequences(), some_edits((7,))
    engine = Engine(model, X)
    assert engine.info.path == "incremental"
    torch.testing.assert_close(
        outputs(engine, edits)[0].double(), brute_force(model, X, edits)[0], rtol=1e-5, atol=1e-6
    )


# ---- models that mix a batch -----------------------------------------------------------------------------------------


def own_statistics(self, x, X):
    return F.batch_norm(x, None, None, training=True).relu().mean(2)


MIXED = {
    "batch_norm": own_statistics,
    "softmax": lambda self, x, X: x.mean(2).softmax(0),
    "mean": lambda self, x, X: (x - x.mean(0)).relu().mean(2),
    "max": lambda self, x, X: (x - x.amax((0, 2), keepdim=True)).mean(2),
    "cumsum": lambda self, x, X: x.mean(2).cumsum(0),
    "cumsum from the end": lambda self, x, X: x.mean(2).flip(0).cumsum(0).flip(0),
    "the one before": lambda self, x, X: x.mean(2) + 0.1 * x.mean(2).roll(1, 0),
    "the number of sequences": lambda self, x, X: x.mean(2) * len(x),
    "attention between sequences": lambda self, x, X: (lambda y: F.softmax(y @ y.t(), 1) @ y)(x.mean(2)),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("engine", ["auto", "full"])
def test_models_that_mix_a_batch_are_refused(name, engine):
    model, X = of(MIXED[name]), sequences()
    with pytest.raises(MarginomeError, match="depends on the other sequences"):
        Engine(model, X, engine=engine)


def test_the_library_refuses_models_that_mix_a_batch(monkeypatch):
    X = sequences()
    norm = nn.Sequential(nn.Conv1d(4, 5, 3), nn.BatchNorm1d(5, track_running_stats=False), nn.Flatten())
    for run in (
        lambda: marginalize(norm, X, "ACGT", device="cpu"),
        lambda: marginalize_many(norm, X, ["ACGT"], device="cpu"),
        lambda: marginalize_many(norm, X, ["ACGT"], engine="full", device="cpu"),
        lambda: saturation_mutagenesis(norm, X, end=2, fast=False, device="cpu"),
    ):
        with pytest.raises(MarginomeError, match="depends on the other sequences"):
            run()
    marginalize(norm, X, "ACGT", batch_size=1, device="cpu")  # one by one nothing is mixed


@pytest.mark.parametrize("training", [True, False])
def test_the_rule_of_a_batch_norm_is_for_evaluation_mode(training):
    """In training mode every position goes into the statistics; here without the gate above, which comes first."""

    def normalised(self, x, X):
        y = F.batch_norm(x, self.mean, self.variance, training=training, momentum=0.0)
        return y[:, :, 20:40].square().mean(2)

    model = of(normalised)
    model.mean, model.variance = nn.Buffer(torch.randn(8)), nn.Buffer(torch.rand(8) + 0.5)
    X = sequences().float().requires_grad_()
    model(X).sum().backward()
    read = X.grad.abs().amax((0, 1)).nonzero().flatten()
    graph = Graph(model, X.detach(), ())
    assert needed_spans(graph)[graph.x] == (read.min(), read.max() + 1) == ((0, LENGTH) if training else (18, 42))
    assert Plan(graph, 25, 32).whole == (["batch_norm"] if training else [])


def test_models_of_chance_are_refused():
    with pytest.raises(MarginomeError, match="draws random numbers"):
        Engine(of(lambda self, x, X: F.dropout(x, 0.5, training=True).mean(2)), sequences())


@pytest.mark.parametrize("n", [1, 2])
def test_rounding_mixes_nothing(n):
    """Large outputs that hardly differ between sequences, infinite ones, and half-precision weights."""
    for function in (lambda self, x, X: 1e4 + x.mean(2), lambda self, x, X: torch.log((x.amax(2) - 9).relu())):
        Engine(of(function), sequences(n), engine="full")
    model = of(lambda self, x, X: x.mean(2)).bfloat16()
    assert len(Engine(model, sequences(n), engine="full").before) == n


# ---- confirmation, and what is checked before ------------------------------------------------------------------------


class Strong(nn.Module):
    """A sum of exponentials over positions, of which a strong site makes nearly all."""

    def __init__(self, strength):
        super().__init__()
        self.conv = nn.Conv1d(4, 1, 6, bias=False)
        site = F.one_hot(torch.tensor([0, 1, 2, 3, 0, 1]), 4).T
        self.conv.weight.data = strength / 6 * (2.0 * site - 1)[None]

    def forward(self, X):
        return torch.log(torch.exp(self.conv(X)).sum(2))


def with_a_site(n=6, where=3, start=25):
    """Backgrounds without a site like it, but one."""
    X = sequences(n)
    X[where, :, start : start + 6] = F.one_hot(torch.tensor([0, 1, 2, 3, 0, 1]), 4).T
    return X


def destroying(m=4):
    return Edits.stack(list(random_one_hot((m, 4, 8), random_state=3)), [24] * m)


class Opposed(nn.Module):
    """The difference of two such sums: where both sites are lost, the output tells nothing of it."""

    def __init__(self, strength):
        super().__init__()
        self.sums = nn.ModuleList(Strong(strength) for _ in range(2))
        self.sums[1].conv.weight.data = self.sums[1].conv.weight.data.flip(1)

    def forward(self, X):
        return self.sums[0](X) - self.sums[1](X)


class Shares(nn.Module):
    """A softmax by hand, over positions or channels."""

    def __init__(self, axis):
        super().__init__()
        self.conv, self.axis = Strong(60.0).conv, axis
        self.conv.weight.data = torch.cat([self.conv.weight.data, self.conv.weight.data.flip(1)])

    def forward(self, X):
        grown = torch.exp(self.conv(X))
        return (grown / (grown.sum(self.axis, keepdim=True) + 1e-30)).amax(2)


@pytest.mark.parametrize(
    "model", [Strong(24.0), Strong(40.0), Strong(80.0), Opposed(40.0), Shares(1), Shares(2)],
    ids=["24", "40", "80", "two opposed", "shares of channels", "shares of positions"],
)  # fmt: skip
def test_sums_of_exponentials_are_no_differences(model):
    """All of a background's sum is one site, and the edit destroys it: the sum is made of values, not of the change."""
    X = with_a_site()
    X[3, :, 31:37] = F.one_hot(torch.tensor([3, 2, 1, 0, 3, 2]), 4).T  # the second one's site, lost as well
    edits = Edits.stack(list(random_one_hot((6, 4, 12), random_state=3)), [25] * 6)
    engine = Engine(model.eval(), X)
    assert engine.info.path == "incremental"
    (found,) = outputs(engine, edits)
    (truth,) = brute_force(model, X, edits)
    assert (found - truth).abs().max() <= 1e-5 * truth.abs().max()
    assert engine.info.full_units == 0


@pytest.fixture
def as_differences(monkeypatch):
    """Hold every sum as the background's plus a change, as the engine does of what does not grow."""
    monkeypatch.setattr(Graph, "cancelling", frozenset())


@pytest.mark.parametrize("strength", [24.0, 40.0, 80.0])
def test_where_exponentials_cancel_the_check_finds_it(strength, as_differences):
    """One background of six has a strong site: the sample holds it, and an edit that destroys it."""
    model, X = Strong(strength).eval(), with_a_site()
    engine = Engine(model, X)
    assert engine.info.path == "full"
    assert "of the largest" in engine.info.reason
    json.dumps(dataclasses.asdict(engine.info), allow_nan=False)  # as it goes into a result's metadata
    ((_, _, found),) = engine.run(destroying())
    (truth,) = brute_force(model, X, destroying())
    assert (found - truth).abs().max() <= 1e-5 * truth.abs().max()


@pytest.mark.parametrize("block", [2, 64])
def test_where_the_check_saw_nothing_the_confirmation_does(block, monkeypatch, caplog, as_differences):
    """The largest effect of a unit is the site's loss: its unit, and no other, goes through the whole model."""
    monkeypatch.setattr(selfcheck, "extreme_backgrounds", lambda before, n: [0, 1])
    monkeypatch.setattr(paths.Incremental, "strongest", lambda self: None)
    model, X = Strong(40.0).eval(), with_a_site()
    harmless = Edits.stack(list(random_one_hot((4, 4, 8), random_state=4)), [50] * 4)
    edits = Edits(
        torch.cat([destroying().one_hot, harmless.one_hot]), torch.cat([destroying().starts, harmless.starts])
    )
    engine = Engine(model, X, block=block)
    assert engine.info.path == "incremental"
    with caplog.at_level(logging.WARNING):
        (found,) = outputs(engine, edits)
    (truth,) = brute_force(model, X, edits)
    assert (found - truth).abs().max() <= 1e-5 * truth.abs().max()
    info = engine.info
    assert (info.units, info.full_units) == ((4, 2) if block == 2 else (1, 1))
    assert info.confirmed_pairs >= 2 * info.units
    assert "of 4 units went through the whole model" in info.notes[0] or block == 64
    assert "differs from the full pass" in caplog.text
    # Each unit by itself, as in another shard: the same numbers to the last bit.
    for start in range(0, len(edits.starts), block):
        alone = Engine(model, X, block=block)
        (part,) = outputs(alone, edits.take(slice(start, start + block)))
        assert torch.equal(part, found[start : start + block])
    (pairs,) = pytree.tree_leaves(Engine(model, X).pairs(edits, torch.full((8,), 3)))
    assert (pairs - truth[:, 3]).abs().max() <= 1e-5 * truth.abs().max()


def test_what_is_not_finite_is_not_believed(monkeypatch):
    """Differences of infinities: NaN in every pair, no reason to believe any."""
    model, X, edits = Dilated(length=LENGTH, out=20).eval(), sequences(), some_edits((5,))
    engine = Engine(model, X)
    original = paths.Incremental.product

    def product(self, edits, backgrounds):
        y = original(self, edits, backgrounds)
        y.counts[0, 1] = torch.nan
        return y

    monkeypatch.setattr(paths.Incremental, "product", product)
    found = outputs(engine, edits)
    assert engine.info.full_units == 1
    for f, t in zip(found, brute_force(model, X, edits)):
        torch.testing.assert_close(f, t.float(), rtol=1e-4, atol=1e-5)


def test_a_wrong_width_is_found_when_it_is_first_planned(monkeypatch):
    """Right for narrow edits, wrong for wide ones: units with wide plans, and no others, go through the whole model."""
    model, X = Dilated(length=160).double().eval(), sequences(length=160)
    narrow = Edits.stack(list(random_one_hot((4, 4, 9), random_state=0)), [70] * 4)
    wide = Edits.stack(list(random_one_hot((4, 4, 50), random_state=0)), [40] * 4)
    edits = Edits.stack([*narrow.one_hot, *wide.one_hot], [*narrow.starts, *wide.starts])
    original = paths.Plan.run

    def run(self, state, delta):
        return [t if t is None or delta.shape[-1] < 40 else t * (1 + 1e-6) for t in original(self, state, delta)]

    monkeypatch.setattr(paths.Plan, "run", run)
    engine = Engine(model, X, block=4)
    assert engine.info.path == "incremental"
    found = outputs(engine, edits)
    assert (engine.info.units, engine.info.full_units) == (2, 1)
    assert "for edits of 50 bp" in engine.info.notes[-1]
    for f, t in zip(found, brute_force(model, X, edits)):
        assert (f - t).abs().max() <= 1e-10 * t.abs().max()
    # The other way round, as in another shard: the same.
    turned = outputs(Engine(model, X, block=4), edits.take(torch.arange(8).roll(4)))
    assert all(torch.equal(f, t.roll(4, 0)) for f, t in zip(found, turned))


NAN, INF = torch.nan, torch.inf


@pytest.mark.parametrize(
    ("found", "truth", "apart"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([NAN, 2.0], [1.0, 2.0], INF),
        ([1.0, 2.0], [NAN, 2.0], INF),
        ([NAN, -INF], [NAN, -INF], 0),
        ([INF, 2.0], [-INF, 2.0], INF),
        ([INF, 2.0], [INF, 2.5], 0.2),
        ([0.5, 0.0], [0.0, 0.0], 0.5),
    ],
)
def test_differences_fail_closed(found, truth, apart):
    assert difference([torch.tensor(found)], [torch.tensor(truth)]) == pytest.approx(apart)
    after, before = torch.tensor(found)[:, None], torch.zeros(2, 1)
    made = confirm(
        [after], [lambda i, j: before[i:j]], lambda rows: [torch.tensor(truth)[rows][:, None]], leading=1, seed=0,
        tolerance=0.1,
    )  # fmt: skip
    assert bool(made.reason) == (apart > 0.1)


def test_pairs_that_are_confirmed():
    """One pair in 500, two at least: the largest effects of every output, others at random by the unit's content."""
    generator = torch.Generator().manual_seed(0)
    after = [torch.rand(40, 50, 3, generator=generator), torch.rand(40, 50, generator=generator)]
    after[0][7, 9, 2], after[1][30, 3] = 5.0, -6.0
    asked = []

    def whole(rows):
        asked.append(rows.tolist())
        return [a.flatten(0, 1)[rows] for a in after]

    zero = [lambda i, j: torch.zeros(50, 3), lambda i, j: torch.zeros(50)]
    for seed in (1, 1, 2):
        made = confirm(after, zero, whole, leading=2, seed=seed, tolerance=1e-6)
        assert (made.pairs, made.error, made.reason) == (4, 0, "")
    assert asked[0] == asked[1] != asked[2]
    assert all({7 * 50 + 9, 30 * 50 + 3} <= set(rows) and len(set(rows)) == 4 for rows in asked)


def test_the_strongest_activation():
    X = with_a_site(start=25)
    X[2] = X[0]  # which holds the site by chance
    path = Engine(Strong(40.0).eval(), X)._path
    row, place = path.strongest()
    assert row == 3 and round(place * (LENGTH - 6)) == 25
    assert Engine(Dilated(length=LENGTH, out=20).eval(), X)._path.strongest() is None


def test_extreme_backgrounds():
    before = {"a": torch.zeros(9, 2), "b": torch.zeros(9, 5), "c": torch.zeros(9, dtype=torch.bool)}
    before["a"][4, 1], before["b"][6, 0] = -3.0, 2.0
    assert selfcheck.extreme_backgrounds(before, 9) == [6, 4]
    before["b"][2, 0] = torch.nan
    assert 2 in selfcheck.extreme_backgrounds(before, 9)
    even, odd = torch.arange(9.0)[:, None] * 1000, torch.zeros(9, 1)
    odd[6] = 1e-3  # the only one that is not as the others, whatever its output's unit is
    assert selfcheck.extreme_backgrounds({"a": even, "b": odd}, 9)[0] == 6
    assert selfcheck.extreme_backgrounds({"a": torch.ones(1, 2)}, 1) == [0]
    assert selfcheck.extreme_backgrounds({"c": torch.ones(3, 2, dtype=torch.bool)}, 3) == [0, 1]


class Middle(nn.Module):
    """A model that sees positions 68 to 81 alone."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense = nn.Conv1d(4, 3, 5, padding=2), nn.Linear(30, 1)

    def forward(self, X):
        return self.dense(F.relu(self.conv(X))[:, :, 70:80].flatten(1))


def test_a_model_is_checked_where_edits_change_it():
    torch.manual_seed(0)
    engine = Engine(Middle().double().eval(), random_one_hot((6, 4, 160), random_state=0))
    places = selfcheck.SelfCheck(engine._full, engine._path)._matters()
    assert places and all(68 - 13 <= place <= 81 + 13 for place in places)  # middles of 26 bp
