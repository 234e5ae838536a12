"""`predict` against tangermeme 1.6.0 and the bare model; `Readout` against indexing by hand."""

from __future__ import annotations

import dataclasses
import logging
import types
from collections import OrderedDict, namedtuple

import pytest
import tangermeme.predict as peer
import torch

from marginome import (
    MarginomeError,
    Readout,
    deep_lift_shap,
    marginalize,
    marginalize_many,
    predict,
    random_one_hot,
    saturation_mutagenesis,
)
from marginome.models.outputs import Readouts, resolve_outputs
from marginome.models.reading import REDUCTIONS, TRANSFORMS
from marginome.prediction import check_finite, evaluating, first_tensor, leaves, map_structure, to_device

Heads = namedtuple("Heads", "profile counts")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
]


class Conv(torch.nn.Module):
    def __init__(self, dropout: float = 0.5):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv1d(4, 8, 7, padding=3)
        self.norm = torch.nn.BatchNorm1d(8)
        self.norm.running_mean.uniform_(-1, 1)
        self.drop = torch.nn.Dropout(dropout)
        self.profile = torch.nn.Conv1d(8, 2, 5, padding=2)
        self.counts = torch.nn.Linear(8, 3)

    def body(self, X):
        h = self.drop(torch.relu(self.norm(self.conv(X))))
        return self.profile(h), self.counts(h.mean(dim=-1))

    def forward(self, X):
        return self.body(X)[1]


class Residual(Conv):
    def forward(self, X):
        h = torch.nn.functional.max_pool1d(self.conv(X), 3, 1, 1)
        return self.counts((h + torch.relu(h)).mean(dim=-1))


class TwoHeads(Conv):
    def forward(self, X):
        return Heads(*self.body(X))


class Nested(Conv):
    def forward(self, X):
        profile, counts = self.body(X)
        return {"out": [profile, (counts, None)], "first": OrderedDict(a=counts[:, 0])}


class Extra(Conv):
    """With a track like X, a number per sequence, an index for an embedding and a mask."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)

    def forward(self, X, track, scale, index, mask):
        assert index.dtype == torch.int64 and mask.dtype == torch.bool and track.dtype == X.dtype
        return self.body(X + track)[1] * scale + self.embedding(index) * mask[:, None]


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, X):
        X = X.permute(0, 2, 1)
        return self.attention(X, X, X, need_weights=False)[0].sum(dim=1)


def X_(n=11, length=40):
    return random_one_hot((n, 4, length), random_state=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", [Conv, Residual, Attention, TwoHeads], ids=lambda m: m.__name__)
@pytest.mark.parametrize("batch_size", [1, 4, 11, 100, "auto"])
def test_equal_to_the_peer_and_the_bare_model(model, batch_size, device):
    model = model()
    X = X_()
    ours = predict(model, X, batch_size=batch_size, device=device)
    theirs = peer.predict(model, X, batch_size=4, device=device)
    with torch.no_grad():
        bare = model.eval()(X.float())
    for a, b, c in zip(*([list(y) if isinstance(y, tuple | list) else [y] for y in (ours, theirs, bare)])):
        assert a.device.type == "cpu"
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-5)


def test_the_structure_is_the_models():
    y = predict(Nested(), X_(), batch_size=3, device="cpu")
    assert isinstance(y, dict) and isinstance(y["out"], list) and isinstance(y["out"][1], tuple)
    assert y["out"][0].shape == (11, 2, 40) and y["out"][1][0].shape == (11, 3) and y["out"][1][1] is None
    assert y["first"]["a"].shape == (11,)
    assert torch.equal(y["first"]["a"], y["out"][1][0][:, 0])
    heads = predict(TwoHeads(), X_(), batch_size=3, device="cpu")
    assert isinstance(heads, Heads) and torch.equal(heads.counts, y["out"][1][0])


@pytest.mark.parametrize("device", DEVICES)
def test_extra_arguments_are_cut_like_the_sequences(device):
    n = 11
    generator = torch.Generator().manual_seed(1)
    args = (
        X_(n).flip(0),  # int8, cast like X
        torch.randn(n, 1, generator=generator, dtype=torch.float64),
        torch.arange(n) % 5,
        torch.arange(n) % 2 == 0,
    )
    model = Extra()
    whole = predict(model, X_(n), args=args, batch_size=n, device=device)
    assert torch.allclose(predict(model, X_(n), args=args, batch_size=3, device=device), whole, atol=1e-6)
    one = predict(model, X_(n)[7:8], args=[a[7:8] for a in args], device=device)
    assert torch.allclose(one, whole[7:8], atol=1e-6)


def test_func_runs_on_each_batch():
    seen = []

    def total(y):
        seen.append(len(y.counts))
        return y.counts.sum(dim=1)

    y = predict(TwoHeads(), X_(), func=total, batch_size=4, device="cpu")
    assert seen == [4, 4, 3]
    assert torch.allclose(y, predict(TwoHeads(), X_(), device="cpu").counts.sum(dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_that_of_the_weights(dtype):
    model = Conv().to(dtype)
    y = predict(model, X_(), device="cpu")
    assert y.dtype == dtype
    bare = model.eval()(X_().to(dtype))
    assert torch.allclose(y, bare, rtol=1e-12 if dtype == torch.float64 else 1e-4)


def test_bfloat16_runs_under_autocast():
    y = predict(Conv(), X_(), dtype="bfloat16", device="cpu")
    full = predict(Conv(), X_(), device="cpu")
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), full, atol=0.05) and not torch.equal(y.float(), full)


def test_modes_and_device_come_back():
    model = TwoHeads().train()
    model.norm.eval()  # a frozen layer in a model under training
    before = {name: module.training for name, module in model.named_modules()}
    predict(model, X_(), device="cpu")
    assert {name: module.training for name, module in model.named_modules()} == before
    with pytest.raises(ZeroDivisionError):
        predict(model, X_(), func=lambda y: 1 / 0, device="cpu")
    assert {name: module.training for name, module in model.named_modules()} == before
    assert all(p.requires_grad for p in model.parameters())
    with evaluating(model, torch.device("cpu")):
        assert not any(module.training for module in model.modules())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_tensor_that_repeats_its_memory_goes_to_a_gpu():
    """Such as references that all sequences share."""
    X = random_one_hot((3, 4, 20), random_state=0)[None].expand(5, -1, -1, -1)
    assert torch.equal(to_device(X, torch.float32, torch.device("cuda")).cpu(), X.float())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_comes_back_from_cuda():
    model = Conv()
    predict(model, X_(), device="cuda")
    assert next(model.parameters()).device.type == "cpu"
    with pytest.raises(ZeroDivisionError):
        predict(model, X_(), func=lambda y: 1 / 0, device="cuda")
    assert next(model.parameters()).device.type == "cpu"


class Hungry(Conv):
    """Runs out of memory with more than 5 sequences."""

    error: BaseException = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    def forward(self, X):
        if len(X) > 5:
            raise self.error
        return super().forward(X)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_auto_halves_and_says_so(error, caplog):
    model = Hungry()
    model.error = error
    with caplog.at_level(logging.WARNING):
        y = predict(model, X_(50), batch_size="auto", device="cpu")
    assert torch.allclose(y, predict(Conv(), X_(50), device="cpu"), atol=1e-6)
    assert [r.getMessage().split("with ")[2] for r in caplog.records] == ["16", "8", "4"]
    with pytest.raises(MarginomeError, match=r"memory ran out on cpu with 32 sequences.*'auto'"):
        predict(model, X_(50), device="cpu")


def test_a_real_shortage_of_memory():
    class Greedy(Conv):
        def forward(self, X):
            return super().forward(X) + torch.empty(len(X), 1 << 45).sum()

    with pytest.raises(MarginomeError, match="memory ran out on cpu with 1 sequence in a batch"):
        predict(Greedy(), X_(8), batch_size="auto", device="cpu")


def test_progress_has_a_rate(capsys):
    predict(Conv(), X_(), device="cpu", verbose=True)
    assert "11/11" in (shown := capsys.readouterr().err) and "seq/s" in shown
    predict(Conv(), X_(), device="cpu")
    assert capsys.readouterr().err == ""


class Broken(Conv):
    """Returns what it is told to."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, X):
        return self.output(super().forward(X), X)


def nan_where_marked(y, X):
    return {"counts": torch.where(X[:, 0, :3].sum(dim=1, keepdim=True) == 3, float("nan"), y)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: predict(Conv(), X[:0]), r"X: there is no sequence in it: shape \(0, 4, 40\)"),
        (lambda X: predict(Conv(), X.tolist()), "X: expected a tensor, found list"),
        (lambda X: predict(lambda X: X, X), "model: expected a torch.nn.Module, found function"),
        (lambda X: predict(Conv(), X, args=(X[:3],)), r"args\[0\]: expected 11 entries.*found 3"),
        (lambda X: predict(Conv(), X, args=(X, 1)), r"args\[1\]: expected a tensor, found int"),
        (lambda X: predict(Conv(), X, args=X), r"args: expected a tuple.*args=\(tensor,\)"),
        (lambda X: predict(Conv(), X, args=(torch.tensor(1.0),)), "found no first axis"),
        (lambda X: predict(Conv(), X, batch_size=0), "batch_size: expected a whole number above 0"),
        (lambda X: predict(Conv(), X, batch_size="big"), "batch_size"),
        (lambda X: predict(Conv(), X, dtype="float64"), "weights are torch.float32.*model.double()"),
        (lambda X: predict(Broken(lambda y, X: "text"), X), "output of the model: found str"),
        (lambda X: predict(Broken(lambda y, X: [y, 1.0]), X), "found float"),
        (lambda X: predict(Broken(lambda y, X: []), X), "no tensor in it"),
        (lambda X: predict(Broken(lambda y, X: [y, y.sum()]), X), r"output\[1\] of the model.*shape \(\)"),
        (lambda X: predict(Broken(lambda y, X: y[:1]), X), r"for each of 11 sequences, found shape \(1, 3\)"),
        (lambda X: predict(Broken(lambda y, X: X[:, :, : len(X)]), X, batch_size=4), "changes from batch to batch"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(MarginomeError, match=message):
        call(X_())


def test_nan_names_the_sequences():
    X = X_(20)
    X[[3, 17], :, :3] = torch.tensor([1, 0, 0, 0], dtype=torch.int8)[:, None]
    with pytest.raises(MarginomeError, match=r"output\['counts'\]: the model returned NaN for sequence 13\b"):
        predict(Broken(nan_where_marked), X[4:], batch_size=5, device="cpu")  # row 13 of what is given
    with pytest.raises(MarginomeError, match="NaN for sequence 3, 17"):
        predict(Broken(nan_where_marked), X, batch_size=20, device="cpu")


def test_cuda_is_never_replaced_by_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert predict(Conv(), X_()).device.type == "cpu"
    with pytest.raises(MarginomeError, match="no CUDA device is visible"):
        predict(Conv(), X_(), device="cuda")


def test_structure_helpers():
    nested = {"a": [torch.ones(2), None], "b": Heads(torch.zeros(2), (torch.ones(2),))}
    assert [path for path, _ in leaves(nested)] == [("a", 0), ("b", 0), ("b", 1, 0)]
    summed = map_structure(torch.add, nested, nested)
    assert summed["a"][0].tolist() == [2, 2] and summed["a"][1] is None and isinstance(summed["b"], Heads)
    assert first_tensor([None, nested]) is nested["a"][0]
    check_finite(torch.tensor([1.0, float("inf")]))
    with pytest.raises(MarginomeError, match="sequence 12"):
        check_finite([torch.zeros(3, 2), torch.tensor([0, 0, float("nan")])], first=10)
    with pytest.raises(MarginomeError, match="sequence 1"):
        check_finite(torch.tensor([[0, float("nan")]]), dim=1)


# Readout ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nested_model():
    return Nested().eval()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"head": ("out", 1, 0)}, lambda p, c: c),
        ({"head": ("out", 1, 0), "index": 2}, lambda p, c: c[:, 2:3]),
        ({"head": ("out", 1, 0), "index": [2, 0]}, lambda p, c: c[:, [2, 0]]),
        ({"head": ("out", -1, 0), "index": slice(1, 3)}, lambda p, c: c[:, 1:3]),
        ({"head": ("out", 1, 0), "transform": "exp", "reduce": "sum"}, lambda p, c: c.sum(1, keepdim=True).exp()),
        ({"head": ("out", 1, 0), "transform": "expm1"}, lambda p, c: c.exp() - 1),
        ({"head": ("out", 1, 0), "transform": torch.nn.Tanh(), "reduce": "max"}, lambda p, c: c.amax(1, True).tanh()),
        ({"head": ("out", 0), "index": ([1, 0], [5, 9, 7])}, lambda p, c: p[:, [1, 0]][:, :, [5, 9, 7]].flatten(1)),
        ({"head": ("out", 1), "transform": "softplus"}, lambda p, c: (1 + c.exp()).log()),
        ({"head": ("out", 0)}, lambda p, c: p.flatten(1)),
        ({"head": ("out", 0), "index": (1, slice(5, 9)), "reduce": "mean"}, lambda p, c: p[:, 1, 5:9].mean(1, True)),
        ({"head": ("out", 0), "reduce": "logsumexp"}, lambda p, c: p.flatten(1).exp().sum(1, keepdim=True).log()),
        ({"head": ("out", 0), "reduce": lambda p: p.sum(dim=(1, 2))}, lambda p, c: p.sum(dim=(1, 2))[:, None]),
        ({"head": ("first", "a")}, lambda p, c: c[:, :1]),
        (
            {"head": ("out", 0), "reduce": "profile"},
            lambda p, c: (p.flatten(1).softmax(1) * (p.flatten(1) - p.flatten(1).mean(1, True))).sum(1, True),
        ),
    ],
)
def test_readout(nested_model, options, expected):
    X = X_().float()
    y = nested_model(X)
    readout = Readout(nested_model, options.pop("head"), **options)
    torch.testing.assert_close(readout(X), expected(y["out"][0], y["out"][1][0]))
    torch.testing.assert_close(predict(readout, X_(), batch_size=4, device="cpu"), readout(X).detach())


def test_readout_of_one_tensor_and_by_field_name():
    X = X_().float()
    assert torch.equal(Readout(Conv().eval(), index=1)(X), Conv().eval()(X)[:, 1:2])
    assert torch.equal(Readout(TwoHeads().eval(), "counts")(X), Readout(TwoHeads().eval(), 1)(X))


def test_readout_passes_extra_inputs_and_gradients():
    class Scaled(Conv):
        def forward(self, X, scale):
            return super().forward(X) * scale

    X = X_().float().requires_grad_()
    Readout(Scaled().eval(), index=0)(X, torch.full((11, 1), 2.0)).sum().backward()
    assert X.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"The model returns 3 tensors. Choose one of \('out', 0\), \('out', 1, 0\), \('first', 'a'\)"),
        ({"head": "Out"}, "there is no head 'Out'. Did you mean 'out'"),
        ({"head": ("out", 2)}, "no head '2'"),
        ({"head": ("out", 0, 1)}, r"output\['out'\]\[0\] of the model is one tensor.*index="),
        ({"head": ("out", 1, 0), "index": 3}, r"3 is out of range for an output \(n, 3\)"),
        ({"head": ("out", 1, 0), "index": (0, 1)}, "2 indices for 1 axes"),
        ({"head": ("out", 0), "index": (0, slice(40, 50))}, "leaves nothing"),
        ({"reduce": "average"}, "no reduction 'average'"),
        ({"transform": "exq"}, "Did you mean 'exp'"),
    ],
)
def test_readout_errors(nested_model, options, message):
    with pytest.raises(MarginomeError, match=message):
        Readout(nested_model, **options)(X_().float())


def test_readout_reads_in_the_order_of_the_config(tmp_path):
    """Head, index, reduce, transform: of a notebook and of a config's output, for every pair of the one list."""
    profile, _ = TwoHeads().eval().body(X_().float())
    part = profile.detach()[:, :, 3:9].abs() + 0.1

    class Given(torch.nn.Module):
        def forward(self, X):
            return {"a": part, "b": part[:, 0]}

    flat = part.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    reduced = {
        "mean": flat.mean(1), "sum": flat.sum(1), "max": flat.amax(1), "logsumexp": flat.exp().sum(1).log(),
        "profile": (centred.exp() / centred.exp().sum(1, keepdim=True) * centred).sum(1),
    }  # fmt: skip
    transforms = {
        "exp": lambda y: y.exp(), "expm1": lambda y: y.exp() - 1, "log": lambda y: y.log(),
        "log1p": lambda y: (1 + y).log(), "log2": lambda y: y.log2(), "sigmoid": lambda y: 1 / (1 + (-y).exp()),
        "logit": lambda y: (y / (1 - y)).log(), "softplus": lambda y: (1 + y.exp()).log(),
    }  # fmt: skip
    assert set(reduced) == set(REDUCTIONS) and set(transforms) == set(TRANSFORMS)
    for how, y in reduced.items():
        for name, transform in transforms.items():
            wanted = transform(y)[:, None]
            notebook = Readout(Given(), "a", reduce=how, transform=name)(X_())
            configured = {"y": {"head": "a", "reduce": how, "transform": name}}
            (output,) = resolve_outputs(configured, (), {k: v[:1] for k, v in Given()(X_()).items()}, "config")
            config = Readouts(Given(), (output,))(X_())["y"]
            torch.testing.assert_close(notebook, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)
            assert torch.equal(notebook.nan_to_num(7), config.nan_to_num(7)), (how, name)


# What a forward may return ----------------------------------------------------------------------------------------

Fields = dataclasses.make_dataclass("Fields", ["logits", "hidden"])


class ModelOutput(OrderedDict):
    """A dict with attributes, as a popular library returns it."""

    def __init__(self, **fields):
        super().__init__(**fields)
        self.__dict__.update(fields)


def changing(first, then):
    """One thing for whole batches, another for the last one."""
    return lambda y, X: (first if len(X) != 3 else then)(y)


def failing(error):
    def forward(y, X):
        raise error

    return forward


REFUSED = {
    "None": (lambda y, X: None, r"model: it returned None, expected a tensor.*end with a return"),
    "only None": (lambda y, X: (None,), "no tensor in it"),
    "array": (lambda y, X: y.detach().numpy(), "found ndarray.*Return the tensor itself"),
    "text in a dict": (lambda y, X: {"y": y, "name": "ctcf"}, r"output\['name'\] of the model: found str"),
    "namespace": (lambda y, X: types.SimpleNamespace(y=y), r"found SimpleNamespace.*its fields \(y\)"),
    "dataclass": (lambda y, X: Fields(y, y), r"found Fields.*its fields \(logits, hidden\)"),
    "generator": (lambda y, X: (t for t in [y]), "found generator"),
    "set": (lambda y, X: {y}, "found set"),
    "number": (lambda y, X: 1.0, "found float"),
    "scalar": (lambda y, X: y.sum(), r"for each of \d+ sequences, found shape \(\)"),
    "empty": (lambda y, X: y[:, :0], r"it is empty: shape \(\d+, 0\)"),
    "sparse": (lambda y, X: y.to_sparse(), "found a sparse tensor.*to_dense"),
    "sparse rows": (lambda y, X: y.to_sparse_csr(), "found a sparse tensor"),
    "nested": (lambda y, X: torch.nested.nested_tensor(list(y)), "found a nested tensor"),
    "meta": (lambda y, X: y.to("meta"), "found a tensor without values"),
    "quantized": (lambda y, X: torch.quantize_per_tensor(y, 0.1, 0, torch.quint8), "found a quantized tensor"),
    "8-bit floats": (lambda y, X: y.to(torch.float8_e4m3fn), r"found a tensor of float8_e4m3fn. Return y.float\(\)"),
    "complex NaN": (lambda y, X: y * complex(0, float("nan")), "returned NaN for sequence 0"),
    "list of another length": (changing(lambda y: [y, y], lambda y: [y]), "a list of 2, then a list of 1"),
    "None after a tensor": (changing(lambda y: (y, y), lambda y: (y, None)), r"output\[1\].*a tensor, then NoneType"),
    "other keys": (changing(lambda y: {"a": y}, lambda y: {"b": y}), "a dict of a, then a dict of b"),
    "another dtype": (changing(lambda y: y, lambda y: y.int()), r"float32, then \(3, 3\) int32"),
    "raises": (failing(KeyError("tss")), r"failed: KeyError: 'tss'. It was given X \(\d+, 4, 40\) float32"),
    "raises nothing to read": (failing(AssertionError()), "its forward\\(\\) failed: AssertionError. It was given X"),
    "stops": (failing(StopIteration()), "its forward\\(\\) failed: StopIteration"),
}


@pytest.mark.parametrize(("output", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_prediction_is_one_line(output, message):
    with pytest.raises(MarginomeError, match=message) as caught:
        predict(Broken(output), X_(), batch_size=4, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_squeezed_batch_of_one_says_what_to_write():
    with pytest.raises(MarginomeError, match=r"each of 1 sequences, found shape \(3,\). .*write squeeze\(-1\)"):
        predict(Broken(lambda y, X: y.squeeze()), X_(5), batch_size=4, device="cpu")
    assert predict(Broken(lambda y, X: y.squeeze()), X_(6), batch_size=4, device="cpu").shape == (6, 3)


@pytest.mark.parametrize(
    "output",
    [
        lambda y, X: y * 1j,
        lambda y, X: (y * 10).to(torch.int32),
        lambda y, X: (y * 10).to(torch.uint8),
        lambda y, X: y > 0,
        lambda y, X: y.half(),
        lambda y, X: y.bfloat16(),
        lambda y, X: torch.nn.Parameter(y),
        lambda y, X: X,
        lambda y, X: {"y": y, 0: [None, (y[:, 0], None)]},
        lambda y, X: Heads(y, None),
    ],
)
def test_what_is_a_prediction_is_gathered_as_it_is(output):
    model = Broken(output).eval()
    found = list(leaves(predict(model, X_(), batch_size=4, device="cpu")))
    whole = list(leaves(model(X_().float())))
    assert [path for path, _ in found] == [path for path, _ in whole]
    for (_, a), (_, b) in zip(found, whole):
        assert a.dtype == b.dtype and not a.requires_grad
        assert torch.allclose(a.to(torch.complex64), b.detach().to(torch.complex64), atol=1e-5)


def test_a_dict_with_attributes_is_a_dict():
    settings = {"batch_size": 4, "device": "cpu"}  # another size of batch may be rounded otherwise
    y = predict(Broken(lambda y, X: ModelOutput(logits=y, hidden=None)), X_(), **settings)
    assert type(y) is dict and list(y) == ["logits", "hidden"] and y["hidden"] is None
    assert torch.equal(y["logits"], predict(Readout(Broken(lambda y, X: ModelOutput(logits=y))), X_(), **settings))


def test_extra_arguments_are_named_when_forward_fails():
    class Picky(Conv):
        def forward(self, X, scale):
            return super().forward(X) @ scale

    with pytest.raises(MarginomeError, match=r"X \(4, 4, 40\) float32, args\[0\] \(4, 2\) float32") as caught:
        predict(Picky(), X_(), args=(torch.ones(11, 2),), batch_size=4, device="cpu")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_model_that_writes_into_its_input_does_not_write_into_the_users():
    X = X_().float()
    kept = X.clone()
    y = predict(Broken(lambda y, X: X.mul_(2).sum(2)), X, batch_size=4, device="cpu")
    assert torch.equal(X, kept) and torch.equal(y, 2 * kept.sum(2))


def test_a_prediction_is_not_the_models_memory():
    class Buffered(Conv):
        def __init__(self):
            super().__init__()
            self.kept = torch.zeros(11, 3)

        def forward(self, X):
            self.kept[: len(X)] = super().forward(X)
            return self.kept[: len(X)]

    model = Buffered()
    first = predict(model, X_(), device="cpu")
    kept = first.clone()
    predict(model, X_().flip(2), device="cpu")
    assert torch.equal(first, kept)


def test_weights_without_values():
    with pytest.raises(MarginomeError, match="a weight of the model"):
        predict(Conv().to("meta"), X_(), device="cpu")


# Models that mix a batch ------------------------------------------------------------------------------------------


class Mixing(Conv):
    def __init__(self, how):
        super().__init__()
        self.how = how
        self.own = torch.nn.BatchNorm1d(8, track_running_stats=False)

    def forward(self, X):
        h = self.conv(X).relu()
        if self.how == "no running statistics":
            h = self.own(h)
        if self.how == "training=True":
            h = torch.nn.functional.batch_norm(h, None, None, training=True)
        y = self.counts(h.mean(dim=-1))
        if self.how == "centred":
            y = y - y.mean(dim=0)
        if self.how == "softmax over the batch":
            y = y.softmax(dim=0)
        if self.how == "one size":
            assert len(X) == 4
            y = y - y.mean(dim=0)
        return y


@pytest.mark.parametrize(
    ("how", "n"),
    [(how, n) for how in ("no running statistics", "training=True", "centred") for n in (2, 3, 11)]
    + [("softmax over the batch", 11), ("one size", 8)],
)
def test_a_model_that_mixes_a_batch_is_refused(how, n):
    for _ in range(2):  # and not forgotten
        with pytest.raises(MarginomeError, match=r"depends on the other sequences of its batch.*track_running_stats"):
            predict(Mixing(how), X_(n), batch_size=4, device="cpu")


def test_a_model_that_draws_random_numbers_is_a_warning(caplog):
    model = Broken(lambda y, X: torch.nn.functional.dropout(y, 0.5, training=True))
    with caplog.at_level(logging.WARNING):
        predict(model, X_(), device="cpu")
        predict(model, X_(), device="cpu")
    assert caplog.text.count("it draws random numbers") == 1  # said once


@pytest.mark.parametrize(
    "output",
    [
        lambda y, X: y + 1e4,  # rounds coarsely
        lambda y, X: torch.where(y > 0, float("-inf"), y),
        lambda y, X: y * 0,
        lambda y, X: X.mul_(2).sum(2),
        lambda y, X: y.bfloat16(),
    ],
)
def test_a_model_that_does_not_mix_is_not_accused(output):
    predict(Broken(output), X_(), batch_size=4, device="cpu")
    predict(Conv(), X_(), batch_size=4, dtype="bfloat16", device="cpu")


def test_the_look_at_batches_is_taken_once():
    seen = []
    model = Broken(lambda y, X: (seen.append(len(X)), y)[1])
    predict(model, X_(), batch_size=4, device="cpu")
    predict(model, X_(), batch_size=4, device="cpu")
    assert seen == [4, 2, 4, 3, 4, 4, 3]


FUNCTIONS = {
    "marginalize": lambda m, X: marginalize(m, X, "ACGT", device="cpu"),
    "marginalize_many": lambda m, X: marginalize_many(m, X, ["ACGT", "TTT"], device="cpu"),
    "engine": lambda m, X: marginalize_many(m, X, ["ACGT"], engine="full", device="cpu"),
    "deep_lift_shap": lambda m, X: deep_lift_shap(m, X, n_shuffles=2, device="cpu"),
    "saturation_mutagenesis": lambda m, X: saturation_mutagenesis(m, X, end=3, device="cpu"),
    "Readout": lambda m, X: Readout(m)(X.float()),
}
# What a module reads is checked by who runs it; what changes from batch to batch needs more of them than these have.
READOUTS = {"empty", "scalar", "complex NaN", "raises", "raises nothing to read", "stops"}
CHANGES = {"list of another length", "None after a tensor", "other keys", "another dtype"}


@pytest.mark.parametrize(
    ("function", "kind"),
    [(f, kind) for f in FUNCTIONS for kind in REFUSED if kind not in CHANGES | (READOUTS if f == "Readout" else set())],
)
def test_every_function_says_it_in_one_line(function, kind):
    with pytest.raises(MarginomeError) as caught:
        FUNCTIONS[function](Broken(REFUSED[kind][0]).eval(), X_(4))
    assert "\n" not in str(caught.value)


def test_whole_numbers_have_differences_and_complex_ones_no_attributions():
    model = Broken(lambda y, X: (X[:, 0].sum(1, keepdim=True) * 200).to(torch.uint8))  # wraps around
    exact = Broken(lambda y, X: (X[:, 0].sum(1, keepdim=True) * 200) % 256)
    found, wanted = (saturation_mutagenesis(m, X_(2), device="cpu", fast=False) for m in (model, exact))
    torch.testing.assert_close(found, wanted)
    for function in (deep_lift_shap, saturation_mutagenesis):
        with pytest.raises(MarginomeError, match="numbers are complex"):
            function(Broken(lambda y, X: y * 1j), X_(2), device="cpu")


def test_an_index_is_no_text():
    with pytest.raises(MarginomeError, match="index: expected numbers or slices, found the text '2, 1'"):
        Readout(Conv(), index="2, 1")


def test_a_list_that_holds_itself_is_one_line():
    class Endless(torch.nn.Module):
        def forward(self, X):
            found = [X.sum(2)]
            found.append(found)
            return found

    with pytest.raises(MarginomeError, match="does one hold itself"):
        predict(Endless(), X_(), device="cpu")
