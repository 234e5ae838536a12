"""Models of one architecture share a captured graph, and nothing else: not with models that compute something else."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import pytest
import torch
from torch import nn

from marginome.incremental import Edits, Engine, architecture
from marginome.incremental.architecture import captured
from marginome.incremental.capture import Graph
from marginome.incremental.nodes import CannotCaptureError
from marginome.sequences import random_one_hot
from zoo import Dilated, make

LENGTH = 60
# Of the zoo, one of each way in which a graph is made of a model; recurrent ones take long to export.
KINDS = ("controlled", "pooled in place", "normalized", "reverse complement", "attention", "windows", "scaled",
         "branches", "stacked, by length", "counted", "mirrored")  # fmt: skip


@pytest.fixture(autouse=True)
def exports(monkeypatch):
    """Models that were captured by an export, in a process that has captured none yet."""
    made = []

    class Counted(Graph):
        def __init__(self, model, *given):
            made.append(model)
            super().__init__(model, *given)

    monkeypatch.setattr(architecture, "Graph", Counted)
    monkeypatch.setattr(architecture, "_captured", type(architecture._captured)())
    return made


def shaken(model, seed=1):
    """Give a model other weights."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            if value.is_floating_point():
                value.mul_(1 + 0.1 * torch.rand(value.shape, generator=draw, dtype=torch.float64).to(value.dtype))
    return model


def as_text(graph):
    """What a graph says, and its constants in order."""
    nodes = [f"{node.name} {node.target} {node.args} {node.kwargs} {graph.shape.get(node)}" for node in graph.nodes]
    return [*nodes, str(graph.outputs), str(graph.spec)], list(graph.constant.values())


@pytest.mark.parametrize("name", KINDS)
def test_the_graph_of_a_second_model_is_what_its_own_export_gives(name, exports):
    found = {}
    X = random_one_hot((1, 4, 160), random_state=0)
    for seed in (0, 1):
        model, args, _ = make(name, 1)
        three = torch.cat([X] * 3).to(torch.float64), tuple(torch.cat([a] * 3) for a in args)
        shaken(model, seed)
        try:
            found[seed] = captured(model, X, args), Graph(model, *three)
        except CannotCaptureError as error:  # what cannot be captured cannot be shared
            found[seed] = str(error)
    if isinstance(found[0], str):
        assert found[0] == found[1]
        return
    (shared, own), kind = found[1], architecture.architecture(model)
    assert len(exports) == (1 if kind is not None else 2)
    assert as_text(shared)[0] == as_text(own)[0]
    for a, b in zip(as_text(shared)[1], as_text(own)[1], strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert any(
        not torch.equal(a, b)
        for a, b in zip(as_text(found[0][0])[1], as_text(shared)[1])
        if isinstance(a, torch.Tensor) and a.is_floating_point()
    )


class Model(nn.Module):
    """A model with something of every kind that may differ between two of one class."""

    def __init__(self, factor=2.0, function=torch.relu, options=(1, 2), eps=1e-5):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 6, 5, padding=2), nn.BatchNorm1d(6, eps=eps)
        self.factor, self.function, self.options = factor, function, options
        self.mix = nn.Parameter(torch.rand(6))
        self.positions = nn.Buffer(torch.linspace(0, 1, LENGTH), persistent=False)

    def forward(self, X):
        x = self.function(self.norm(self.conv(X))) * self.factor * self.mix.softmax(0)[:, None]
        return (x * self.positions).mean(2) * sum(self.options) + torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=X.dtype)


def model_of(seed=0, **settings):
    torch.manual_seed(seed)
    return Model(**settings).eval()


def gives_what_it_should(model):
    """Whether the engine gives the model's own numbers, each pair by hand."""
    X = random_one_hot((2, 4, LENGTH), random_state=3)
    inserts = list(random_one_hot((2, 4, 9), random_state=4))
    engine = Engine(model, X, precision="float32", engine="incremental")
    ((_, _, found),) = engine.run(Edits.stack(inserts, [0, 30]))
    for i, start in enumerate((0, 30)):
        edited = X.clone()
        edited[:, :, start : start + 9] = inserts[i]
        with torch.no_grad():
            torch.testing.assert_close(found[i], model(edited.float()), rtol=1e-5, atol=1e-6)


def test_models_that_differ_in_weights_alone_are_captured_once(exports):
    for seed in range(3):
        gives_what_it_should(shaken(model_of(seed)))
    assert len(exports) == 1


def doubled(module, given, returned):
    return returned * 2


def shifted(by):
    return lambda x: torch.relu(x - by)


def with_a_hook():
    model = model_of()
    model.conv.register_forward_hook(doubled)
    return model


def with_one_weight_twice():
    model = model_of()
    model.norm.weight = model.norm.bias
    return model


def with_a_forward_of_its_own():
    model = model_of()
    model.forward = lambda X: Model.forward(model, X) * 3
    return model


def with_a_loose_tensor():
    model = model_of()
    model.factor = torch.tensor(5.0)
    return model


def of_another_class():
    class Model(globals()["Model"]):
        def forward(self, X):
            return super().forward(X) - 1

    torch.manual_seed(0)
    return Model().eval()


OTHERS = {
    "a number": lambda: model_of(factor=3.0),
    "a number of another type": lambda: model_of(options=(1, 2.0)),
    "a function": lambda: model_of(function=torch.tanh),
    "a function within another": lambda: model_of(function=shifted(1.0)),
    "an epsilon": lambda: model_of(eps=0.5),
    "numbers in a tuple": lambda: model_of(options=(1, 3)),
    "a hook": with_a_hook,
    "one weight twice": with_one_weight_twice,
    "a forward of its own": with_a_forward_of_its_own,
    "a loose tensor": with_a_loose_tensor,
    "another class of that name": of_another_class,
    "weights without gradients": lambda: model_of().requires_grad_(False),
}


@pytest.mark.parametrize("other", OTHERS)
def test_models_that_differ_in_anything_else_are_not(other, exports):
    """Twice each: what cannot be compared is captured anew every time."""
    gives_what_it_should(model_of())
    model = OTHERS[other]()
    kind = architecture.architecture(model)
    assert kind is None or kind != architecture.architecture(model_of())
    gives_what_it_should(model)
    gives_what_it_should(shaken(OTHERS[other]()))
    assert len(exports) == (2 if kind is not None and kind == architecture.architecture(OTHERS[other]()) else 3)


GAIN = 1.0


@dataclasses.dataclass
class Options:
    width: int = 5


class Elsewhere(nn.Module):
    """A model that reads what neither it nor its class's code holds."""

    offset = 0.0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.options = nn.Conv1d(4, 6, 5, padding=2), Options()

    def forward(self, X):
        return self.conv(X).relu().mean(2) * GAIN + self.offset + getattr(self.options, "extra", 0.0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("changed", ["global", "class", "dataclass"])
def test_what_a_model_reads_elsewhere_may_have_changed(changed, precision, exports, monkeypatch):
    X = random_one_hot((2, 4, LENGTH), random_state=3)
    edits = Edits.stack(list(random_one_hot((2, 4, 9), random_state=4)), [0, 30])
    Engine(Elsewhere().eval(), X, precision=precision, engine="incremental")
    model = Elsewhere().eval()
    if changed == "global":
        monkeypatch.setitem(globals(), "GAIN", 1.05)
    elif changed == "class":
        monkeypatch.setattr(Elsewhere, "offset", 0.05)
    else:
        model.options.extra = 0.05
    engine = Engine(model, X, precision=precision, engine="incremental")
    assert len(exports) == 2
    with torch.no_grad():
        torch.testing.assert_close(engine.before, model(X.float()), rtol=1e-5, atol=1e-6)
    assert engine.info.path == "incremental" and len(list(engine.run(edits))) == 1


@pytest.mark.parametrize(("dtype", "factor"), [("float64", 1 + 1e-8), ("float32", 1 + 1e-3), ("float16", 1.1)])
def test_a_graph_is_shared_where_it_gives_the_same_but_for_rounding(dtype, factor, exports, monkeypatch):
    X = random_one_hot((2, 4, LENGTH), random_state=3)
    for gain, made in ((1.0, 1), (1.0, 1), (factor, 2)):
        monkeypatch.setitem(globals(), "GAIN", gain)
        model = Elsewhere().eval().to(getattr(torch, dtype))
        graph = architecture.captured(model, X, ())
        assert len(exports) == made
        with torch.no_grad():
            found, truth = graph.run(X.to(graph.dtype), ())[0][0], model(X.to(graph.dtype))
        torch.testing.assert_close(found, truth, rtol=0.02 if dtype == "float16" else (factor - 1) / 10, atol=0)


def test_another_length_or_precision_is_another_graph(exports):
    model = Dilated(length=LENGTH, out=20).eval()
    for length, dtype in ((60, torch.float32), (70, torch.float32), (60, torch.float64), (60, torch.float32)):
        captured(model.to(dtype), random_one_hot((1, 4, length), random_state=0), ())
    assert len(exports) == 3


def test_what_is_kept_has_no_weights(exports, monkeypatch):
    monkeypatch.setattr(architecture, "GRAPHS", 2)
    X = random_one_hot((1, 4, LENGTH), random_state=0)
    weights = []
    for factor in (1.0, 2.0, 3.0, 1.0):
        model = model_of(factor=factor)
        weights += [weakref.ref(value) for value in (*model.parameters(), *model.buffers())]
        captured(model, X, ())
    assert len(exports) == 4 and len(architecture._captured) == 2  # the first was let go
    del model, exports[:]
    gc.collect()
    assert all(value() is None for value in weights)
