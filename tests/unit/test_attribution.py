"""DeepLIFT/SHAP against completeness in float64, tangermeme and captum; messages; state of the model."""

from __future__ import annotations

import contextlib
import gc
import warnings
import weakref
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from captum.attr import DeepLiftShap
from tangermeme.deep_lift_shap import _nonlinear
from tangermeme.deep_lift_shap import deep_lift_shap as peer_deep_lift_shap
from tangermeme.ersatz import dinucleotide_shuffle as peer_dinucleotide_shuffle
from torch import nn

from marginome import MarginomeError, Readout, deep_lift_shap, dinucleotide_shuffle, load_model, random_one_hot
from marginome.attribution import find_unsupported_operations, kernels
from marginome.attribution.references import References, ahead

ROOT = Path(__file__).parents[2]
CUDA = pytest.param(
    "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)
N, N_REFS, LENGTH = 3, 4, 20
TARGET = 1


class Between(nn.Module):
    """A convolution, what is tested, and a linear layer."""

    def __init__(self, between):
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 5, padding=2)
        self.between = between
        self.dense = nn.LazyLinear(2)

    def forward(self, X):
        return self.dense(self.between(self.conv(X)).flatten(1))


class Attention(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=batch_first)
        self.axes = (0, 2, 1) if batch_first else (2, 0, 1)
        self.back = (0, 1, 2) if batch_first else (1, 0, 2)

    def forward(self, h):
        h = h.permute(self.axes)
        return self.attention(h, h, h)[0].permute(self.back)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layer = kind(6, 3, batch_first=True, bidirectional=True)

    def forward(self, h):
        return self.layer(h.permute(0, 2, 1))[0]


class Cells(nn.Module):
    """A cell that is called step by step, on a packed batch if it is a layer."""

    def __init__(self, kind):
        super().__init__()
        self.layer = kind(6, 3)

    def forward(self, h):
        steps = h.permute(2, 0, 1)
        if isinstance(self.layer, nn.RNNBase):
            lengths = [len(steps)] * steps.shape[1]
            out, _ = self.layer(nn.utils.rnn.pack_padded_sequence(steps, lengths))
            return nn.utils.rnn.pad_packed_sequence(out)[0][-1]
        state = None
        for step in steps:
            state = self.layer(step, state)
        return state[0] if isinstance(state, tuple) else state


def twice():
    relu = nn.ReLU()
    return nn.Sequential(relu, nn.Conv1d(6, 6, 3), relu)


def assign_part(h):
    out = h.clone()
    out[:, :2] = F.relu(h[:, :2])
    return out


def add_in_place(h):
    out = F.gelu(h)
    out += F.relu(out * 2 - 1)
    return out


def mask_assigned(h):
    out = h + 0.1
    out[out < 0] = 0
    return out


MODULES = {
    "ReLU": nn.ReLU, "ReLU6": nn.ReLU6, "RReLU": nn.RReLU, "SELU": nn.SELU, "CELU": lambda: nn.CELU(0.7),
    "GELU": nn.GELU, "GELU tanh": lambda: nn.GELU("tanh"), "SiLU": nn.SiLU, "Mish": nn.Mish,
    "ELU": lambda: nn.ELU(0.8), "LeakyReLU": nn.LeakyReLU, "Sigmoid": nn.Sigmoid, "Tanh": nn.Tanh,
    "Softplus": nn.Softplus, "Softshrink": nn.Softshrink, "Hardshrink": nn.Hardshrink, "LogSigmoid": nn.LogSigmoid,
    "PReLU": lambda: nn.PReLU(6), "Hardtanh": nn.Hardtanh, "Hardsigmoid": nn.Hardsigmoid, "Hardswish": nn.Hardswish,
    "Softsign": nn.Softsign, "Tanhshrink": nn.Tanhshrink, "Threshold": lambda: nn.Threshold(0.1, 0.0),
    "MaxPool1d": lambda: nn.MaxPool1d(3), "MaxPool1d overlapping": lambda: nn.MaxPool1d(4, 2, 1),
    "MaxPool1d dilated": lambda: nn.MaxPool1d(3, 2, dilation=2), "AvgPool1d": lambda: nn.AvgPool1d(3),
    "MaxPool2d overlapping": lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.MaxPool2d(3, 2)),
    "MaxPool3d": lambda: nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.MaxPool3d(2, 1)),
    "AdaptiveMaxPool1d": lambda: nn.AdaptiveMaxPool1d(4), "AdaptiveAvgPool1d": lambda: nn.AdaptiveAvgPool1d(4),
    "LPPool1d": lambda: nn.LPPool1d(2, 3), "Softmax": lambda: nn.Softmax(1), "LogSoftmax": lambda: nn.LogSoftmax(2),
    "Softmin": lambda: nn.Softmin(1), "GLU": lambda: nn.GLU(1), "LayerNorm": lambda: nn.LayerNorm(LENGTH),
    "LayerNorm two axes": lambda: nn.LayerNorm((6, LENGTH)), "RMSNorm": lambda: nn.RMSNorm(LENGTH),
    "GroupNorm": lambda: nn.GroupNorm(2, 6), "InstanceNorm1d": lambda: nn.InstanceNorm1d(6, affine=True),
    "BatchNorm1d": lambda: nn.BatchNorm1d(6), "Dropout": nn.Dropout, "in place": lambda: nn.ReLU(inplace=True),
    "used twice": twice, "LSTM": lambda: Recurrent(nn.LSTM), "GRU": lambda: Recurrent(nn.GRU),
    "RNN": lambda: Recurrent(nn.RNN), "LSTM cell": lambda: Cells(nn.LSTMCell), "GRU cell": lambda: Cells(nn.GRUCell),
    "RNN cell": lambda: Cells(nn.RNNCell), "packed GRU": lambda: Cells(nn.GRU), "packed LSTM": lambda: Cells(nn.LSTM),
    "attention": lambda: Attention(True), "attention, length first": lambda: Attention(False),
    "transformer layer": lambda: nn.Sequential(
        nn.Unflatten(1, (6, 1)), nn.Flatten(2), nn.Linear(LENGTH, 6),
        nn.TransformerEncoderLayer(6, 2, 12, batch_first=True),
    ),
}  # fmt: skip
FUNCTIONS = {
    "F.relu": F.relu, "torch.relu": torch.relu, "Tensor.relu": lambda h: h.relu(), "relu_": lambda h: h.relu_(),
    "residual": lambda h: h + F.relu(h), "add in place": add_in_place, "assign part": assign_part,
    "cat": lambda h: torch.cat([h.relu(), h.tanh()], 1), "sigmoid": torch.sigmoid, "F.gelu": F.gelu, "F.silu": F.silu,
    "exp": torch.exp, "log": lambda h: torch.log(h.abs() + 1), "log1p": lambda h: h.abs().log1p(),
    "pow": lambda h: h**2 + h.abs() ** 1.5 + 2**h, "square": torch.square, "sqrt": lambda h: (h * h + 1).sqrt(),
    "rsqrt": lambda h: (h.abs() + 1).rsqrt(), "reciprocal": lambda h: 1 / (2 + h.sigmoid()), "erf": torch.erf,
    "sin": torch.sin, "F.softplus": F.softplus, "clamp": lambda h: h.clamp(-0.1, 0.2),
    "clamp min": lambda h: h.clamp(min=0), "max": lambda h: h.max(-1).values,
    "min": lambda h: h.min(1, keepdim=True).values,
    "amax of two axes": lambda h: h.amax((1, 2), keepdim=True) + h.amax((1, 2))[:, None, None],
    "maximum": lambda h: torch.maximum(h[:, :3], h[:, 3:]),
    "minimum": lambda h: torch.minimum(h[:, :3], h[:, 3:]), "product": lambda h: h * h.mean(-1, keepdim=True).sigmoid(),
    "quotient": lambda h: h / (1 + h.abs().sum(1, keepdim=True)), "where": lambda h: torch.where(h > 0, h, 0.1),
    "masked_fill": lambda h: h.masked_fill(h < 0, 0.0), "einsum": lambda h: torch.einsum("bcl,bdl->bcd", h, h.tanh()),
    "matmul": lambda h: h @ h.transpose(1, 2).relu(), "logsumexp": lambda h: h.logsumexp(-1),
    "logsumexp of two axes": lambda h: h.logsumexp((1, 2)).unsqueeze(1),
    "var": lambda h: h.var(-1), "std": lambda h: h.std(-1),
    "normalize": lambda h: F.normalize(h, dim=1), "F.glu": lambda h: F.glu(h, 1),
    "cosine": lambda h: F.cosine_similarity(h[:, :3], h[:, 3:], dim=1),
    "scaled dot product attention": lambda h: F.scaled_dot_product_attention(h, h, h),
    "causal attention": lambda h: F.scaled_dot_product_attention(h, h, h, is_causal=True),
    "F.softmax": lambda h: F.softmax(h * 30, -1), "Softmax2d": lambda h: nn.Softmax2d()(h.unsqueeze(2)),
    "reflected": lambda h: F.pad(h, (3, 3), mode="reflect").relu(), "flip": lambda h: h.flip(-1).relu() + h,
    "interpolate": lambda h: F.interpolate(h.relu(), scale_factor=2),
    "logaddexp": lambda h: torch.logaddexp(h[:, :3] * 30, h[:, 3:]),
    "logaddexp2": lambda h: torch.logaddexp2(h, h.flip(1)),
    "lerp": lambda h: torch.lerp(h, h.flip(1).relu(), 0.3),
    "lerp by weight": lambda h: torch.lerp(h, h.exp(), h.sigmoid()),
    "addcmul": lambda h: torch.addcmul(h, h, h.flip(1), value=0.3),
    "addcdiv": lambda h: torch.addcdiv(h, h, 1 + h.flip(1).abs(), value=0.3),
    "addcmul of one": lambda h: torch.addcmul(h, h.tanh(), h.new_ones(1)),
    "atan2": lambda h: torch.atan2(h[:, :3], h[:, 3:]), "hypot": lambda h: torch.hypot(h[:, :3], h[:, 3:]),
    "hypot of one": lambda h: torch.hypot(h, torch.ones((), dtype=h.dtype)),
    "xlogy": lambda h: torch.xlogy(h[:, :3], h[:, 3:].sigmoid()), "fmax": lambda h: torch.fmax(h[:, :3], h[:, 3:]),
    "pow of two": lambda h: h[:, :3].sigmoid() ** h[:, 3:], "remainder": lambda h: torch.remainder(h, 0.3),
    "rounded quotient": lambda h: torch.div(h, 0.3, rounding_mode="floor"),
    "rounded quotient of two": lambda h: torch.div(h[:, :3], 1 + h[:, 3:].abs(), rounding_mode="trunc"),
    "leaky by hand": lambda h: torch.where(h > 0, h, 0.1 * h), "own gate": lambda h: h * (h > 0),
    "own gate as numbers": lambda h: h * (h > 0).to(h.dtype), "ELU by hand": lambda h: torch.where(h > 0, h, h.expm1()),
    "hard by hand": lambda h: h.masked_fill((h > -0.1) & (h < 0.2), 0.0), "sign by hand": lambda h: h * h.sign(),
    "clamp by hand": lambda h: torch.minimum(torch.maximum(h, h.new_tensor(-0.1)), h.new_tensor(0.2)),
    "straight through": lambda h: h + (h.round() - h).detach(), "mask of both": lambda h: torch.where(h > 0, h, h * h),
    "zeros by hand": lambda h: torch.where(h > 0, h, torch.zeros_like(h)),
    "new zeros by hand": lambda h: torch.where(h > 0, h, h.new_zeros(h.shape)),
    "mask assigned": mask_assigned, "own square, detached": lambda h: h * h.detach(),
}  # fmt: skip
# Where the peer has a rule and it is right. It has none for functions, and treats the other modules as linear.
PEER = [
    "ReLU", "ReLU6", "RReLU", "SELU", "CELU", "GELU", "SiLU", "Mish", "ELU", "LeakyReLU", "Sigmoid", "Tanh",
    "Softplus", "Softshrink", "LogSigmoid", "PReLU", "MaxPool1d", "MaxPool1d overlapping", "MaxPool1d dilated",
    "MaxPool2d overlapping", "AvgPool1d", "AdaptiveAvgPool1d", "Softmax", "GLU", "LayerNorm", "RMSNorm",
    "BatchNorm1d", "Dropout", "used twice",
]  # fmt: skip
# Captum needs a module to be used once, and its max pooling is right for windows that do not overlap.
CAPTUM = ["ReLU", "ELU", "LeakyReLU", "Sigmoid", "Tanh", "Softplus", "MaxPool1d", "AvgPool1d", "BatchNorm1d"]


def build(name):
    torch.manual_seed(0)
    model = Between(MODULES[name]() if name in MODULES else FUNCTIONS[name]).double().eval()
    with torch.no_grad():
        model(torch.zeros(2, 4, LENGTH, dtype=torch.float64))
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model


@pytest.fixture(scope="module")
def X():
    return random_one_hot((N, 4, LENGTH), random_state=0)


@pytest.fixture(scope="module")
def references():
    return random_one_hot((N * N_REFS, 4, LENGTH), random_state=1).view(N, N_REFS, 4, LENGTH)


@contextlib.contextmanager
def quiet():
    """Silence the peers' own warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def output(model, X, device="cpu"):
    with torch.no_grad():
        return model.to(device)(X.double().to(device))[:, TARGET].cpu()


# Numerics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("name", [*MODULES, *FUNCTIONS])
def test_attributions_add_up_to_the_difference_of_outputs(name, device, X, references):
    model = build(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attributions, deltas = deep_lift_shap(
            model, X, references=references, target=TARGET, return_deltas=True, device=device
        )
    # On the same device: CUDA's hardsigmoid multiplies by 1 / 6 in float32.
    before = output(model, references.flatten(0, 1), device).view(N, N_REFS).mean(1)
    expected = output(model, X, device) - before
    assert deltas.shape == (N, N_REFS) and deltas.max() < 1e-10
    torch.testing.assert_close(attributions.sum((1, 2)), expected, rtol=0, atol=1e-10)
    assert expected.abs().min() > 1e-6  # or the model would not tell
    assert find_unsupported_operations(model.cpu(), X) == []


@pytest.mark.parametrize("batch_size", [1, 3, 9])
@pytest.mark.parametrize("name", ["ReLU", "GELU", "MaxPool1d overlapping", "attention", "LSTM", "F.softmax"])
def test_batches_do_not_matter(name, batch_size, X, references):
    model = build(name)
    whole = deep_lift_shap(model, X, references=references, batch_size=100, device="cpu")
    parts = deep_lift_shap(model, X, references=references, batch_size=batch_size, device="cpu")
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hypothetical", [False, True])
@pytest.mark.parametrize("name", PEER)
def test_equals_tangermeme_where_it_has_a_rule(name, hypothetical, X, references):
    model = build(name)
    options = dict(references=references, target=TARGET, hypothetical=hypothetical, device="cpu")
    with quiet():
        expected = peer_deep_lift_shap(model, X, **options)
    torch.testing.assert_close(deep_lift_shap(model, X, **options), expected, rtol=0, atol=1e-9)


def test_raw_outputs_are_the_multipliers_of_tangermeme(X, references):
    model = build("ReLU")
    options = dict(references=references, target=TARGET, raw_outputs=True, device="cpu")
    with quiet():
        expected = peer_deep_lift_shap(model, X, **options)
    torch.testing.assert_close(deep_lift_shap(model, X, batch_size=3, **options), expected, rtol=0, atol=1e-9)


def test_a_sequence_is_run_once_for_all_its_references(X, references):
    """As the docstring says: what it costs is a pass over the references, and little more."""
    model, rows = build("ReLU"), []
    model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    deep_lift_shap(model, X, references=references, device="cpu")
    assert sum(rows) == len(X) + references.shape[0] * references.shape[1]


@pytest.mark.parametrize("name", CAPTUM)
def test_equals_captum_where_it_is_right(name, X, references):
    model = build(name)
    ours = deep_lift_shap(model, X, references=references, target=TARGET, device="cpu")
    for i in range(N):
        with quiet():
            # Captum multiplies by the difference from each reference: its sum over bases is ours.
            theirs = DeepLiftShap(model).attribute(
                X[i : i + 1].double(), baselines=references[i].double(), target=TARGET
            )
        torch.testing.assert_close(ours[i].sum(0), theirs[0].sum(0).detach(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["F.relu", "torch.relu", "Tensor.relu", "relu_", "in place"])
def test_forms_of_one_operation_are_alike(name, X, references):
    module, function = build("ReLU"), build(name)
    function.load_state_dict(module.state_dict())
    options = dict(references=references, device="cpu")
    assert torch.equal(deep_lift_shap(module, X, **options), deep_lift_shap(function, X, **options))


BY_HAND = {
    "own gate": nn.ReLU, "own gate as numbers": nn.ReLU, "masked_fill": nn.ReLU, "clamp min": nn.ReLU,
    "leaky by hand": lambda: nn.LeakyReLU(0.1), "ELU by hand": nn.ELU,
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_a_function_written_by_hand_is_as_tangermemes_of_the_module(name, X, references):
    model = build(name)
    options = dict(references=references, target=TARGET, hypothetical=True, device="cpu")
    ours = deep_lift_shap(model, X, **options)
    model.between = BY_HAND[name]()
    with quiet():
        theirs = peer_deep_lift_shap(model, X, **options)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_float32_is_close_to_float64_and_dtype_converts_a_copy(X, references):
    model = build("GELU").float()
    options = dict(references=references, device="cpu", return_deltas=True)
    single, _ = deep_lift_shap(model, X, **options)
    double, deltas = deep_lift_shap(model, X, dtype="float64", **options)
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    assert deltas.max() < 1e-10 and next(model.parameters()).dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


def test_bfloat16_runs_by_autocast(X, references):
    model = build("ReLU").float()
    exact = deep_lift_shap(model, X, references=references, device="cpu")
    with quiet():
        rounded = deep_lift_shap(model, X, references=references, device="cpu", dtype="bfloat16")
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    assert not torch.equal(rounded, exact)


@pytest.mark.parametrize("threads", [1, 2])
def test_faster_forms_are_the_same_numbers(threads):
    """Wide and narrow enough for the fused ReLU on threads and for the other form of a narrow convolution."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(4, 40, 9), nn.ReLU(), nn.Conv1d(40, 2, 21, padding=3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    )
    X = random_one_hot((2, 4, 1000), random_state=0)
    model.double()(X.double())
    references = random_one_hot((10, 4, 1000), random_state=1).view(2, 5, 4, 1000)
    options = dict(references=references, target=TARGET, device="cpu", hypothetical=True)
    with quiet():
        theirs = peer_deep_lift_shap(model, X, **options)
    for batch_size in (2, 5, 10):
        ours, deltas = deep_lift_shap(model, X, batch_size=batch_size, return_deltas=True, **options)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
        assert deltas.max() < 1e-10


@pytest.mark.parametrize("kernel", [1, 2, 3, 8])
@pytest.mark.parametrize(("padding", "dilation"), [(0, 1), (1, 1), (0, 3), ("same", 2)])
def test_a_derivative_of_a_convolution_is_a_convolution(kernel, padding, dilation, monkeypatch):
    """On a GPU of short kernels and profile heads; here of all."""
    asked = []
    monkeypatch.setattr(kernels, "_is_faster_as_convolution", lambda weight: asked.append(weight.shape) or True)
    convolution = nn.Conv1d(5, 7, kernel, padding=padding, dilation=dilation).double()
    x = torch.randn(3, 5, 40, dtype=torch.float64, requires_grad=True)
    y = convolution(x)
    seed = torch.randn_like(y)
    (truth,) = torch.autograd.grad(y, x, seed, retain_graph=True)
    with kernels.Backward(False):
        (found,) = torch.autograd.grad(y, x, seed)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)
    assert bool(asked) == (padding != 1 or kernel > 1)  # what is cut off at the ends has no such form


def test_a_relu_at_zero_on_both_sides_passes_nothing():
    model = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(16, 1))
    X = random_one_hot((1, 4, 4), random_state=0)
    reference = X.unsqueeze(1)
    raw = deep_lift_shap(model, X, references=reference, raw_outputs=True, device="cpu")
    weight = model[2].weight.detach().view(4, 4)
    assert torch.equal(raw[0, 0], torch.where(X[0] > 0, weight, torch.zeros(())))


# In place ----------------------------------------------------------------------------------------------------------


def residual(h, weight, *, in_place):
    """Three dilated residual layers, as in BPNet; many public models add in place."""
    for i in range(3):
        y = F.conv1d(h.relu(), weight, padding=2**i, dilation=2**i)
        if in_place:
            h += y
        else:
            h = h + y
    return h


WEIGHT = torch.randn(6, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3


def cloned(change):
    """Return the feature map after a function has changed it in place."""

    def function(h):
        change(h)
        return h

    return function


def assign(place, function):
    def change(h):
        h[place] = function(h[place])

    return cloned(change)


def without(place, function):
    def made(h):
        out = h.clone()
        out[place] = function(h.clone()[place])
        return out

    return made


FIRST, ENDS = (slice(None), slice(0, 2)), (slice(None), slice(None), slice(3, -3))
IN_PLACE = {
    "residual": (lambda h: residual(h, WEIGHT, in_place=True), lambda h: residual(h, WEIGHT, in_place=False)),
    "own sigmoid": (lambda h: h.mul_(h.sigmoid()), lambda h: h * h.sigmoid()),
    "add": (lambda h: h.add_(h.exp()), lambda h: h + h.exp()),
    "subtract": (lambda h: h.sub_(h.relu(), alpha=2), lambda h: h - 2 * h.relu()),
    "divide": (lambda h: h.div_(1 + h.abs()), lambda h: h / (1 + h.abs())),
    "addcmul": (lambda h: h.addcmul_(h.relu(), h.flip(1)), lambda h: h + h.relu() * h.flip(1)),
    "twice": (lambda h: h.relu_().add_(h.sigmoid()).mul_(h), lambda h: (h.relu() + h.relu().sigmoid()).square()),
    "saved result": (lambda h: h.sigmoid_().mul_(h.flip(1)), lambda h: h.sigmoid() * h.sigmoid().flip(1)),
    "assign part": (assign(FIRST, torch.relu), without(FIRST, torch.relu)),
    "relu of a part": (cloned(lambda h: h[FIRST].relu_()), without(FIRST, torch.relu)),
    "sigmoid of a part": (cloned(lambda h: h[ENDS].sigmoid_()), without(ENDS, torch.sigmoid)),
    "product of a part": (cloned(lambda h: h[FIRST].mul_(h[:, 2:4])), without(FIRST, lambda z: z)),
    "turned": (cloned(lambda h: h.mT.clamp_(-0.1, 0.3)), lambda h: h.clamp(-0.1, 0.3)),
    "softmax of a part": (assign(FIRST, lambda z: z.softmax(-1)), without(FIRST, lambda z: z.softmax(-1))),
    "mask": (cloned(lambda h: h.masked_fill_(h < 0, 0.0)), torch.relu),
    "mask of a part": (cloned(lambda h: h[FIRST].masked_fill_(h[FIRST] < 0, 0.0)), without(FIRST, torch.relu)),
    "mask assigned": (cloned(lambda h: h.__setitem__(h < 0, 0.0)), torch.relu),
    "pool, then relu": (lambda h: F.max_pool1d(h, 3, 2).relu_(), lambda h: F.max_pool1d(h, 3, 2).relu()),
    "module after a sum": (lambda h: nn.ReLU(inplace=True)(h.add_(h.tanh())), lambda h: (h + h.tanh()).relu()),
    "into a buffer": (lambda h: torch.zeros_like(h).copy_(h.relu()).mul_(h), lambda h: h.relu() * h),
    "scatter": (
        lambda h: h.scatter_(2, torch.zeros(len(h), 6, 1, dtype=torch.long), h.sum(-1, keepdim=True).exp()),
        lambda h: torch.cat([h.sum(-1, keepdim=True).exp(), h[:, :, 1:]], -1),
    ),
    "index put": (
        lambda h: h.index_put_((torch.tensor([[0]]), torch.tensor([1])), h.sum().sigmoid() * 0),
        lambda h: torch.cat([h[:1] * torch.tensor([1.0, 0, 1, 1, 1, 1], dtype=h.dtype)[None, :, None], h[1:]]),
    ),
    "relu, then read before": (
        lambda h: (h.exp(), h.relu_())[0] + h, lambda h: h.exp() + h.relu()
    ),
}  # fmt: skip
IN_PLACE["product of a part"] = (
    IN_PLACE["product of a part"][0], lambda h: torch.cat([h[:, :2] * h[:, 2:4], h[:, 2:]], 1)
)  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_change_in_place_is_as_the_same_out_of_place(name, X, references):
    found = []
    for function in IN_PLACE[name]:
        torch.manual_seed(0)
        model = Between(lambda h, function=function: function(h * 1.5)).double().eval()
        model(X.double())
        options = dict(references=references, hypothetical=True, return_deltas=True, device="cpu", batch_size=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found.append(deep_lift_shap(model, X, **options))
        assert find_unsupported_operations(model, X) == []
        assert found[-1].deltas.max() < 1e-10
    torch.testing.assert_close(found[0].attributions, found[1].attributions, rtol=0, atol=1e-12)
    assert found[0].attributions.abs().max() > 1e-3


def test_a_model_may_change_its_input_in_place(X, references):
    class Scaled(nn.Module):
        def __init__(self, in_place):
            super().__init__()
            self.in_place, self.dense = in_place, nn.Linear(4 * LENGTH, 1)

        def forward(self, X, track):
            X = X.mul_(2).sub_(track) if self.in_place else 2 * X - track
            track.zero_()
            return self.dense(X.flatten(1)).tanh()

    track = torch.randn(N, 1, LENGTH, dtype=torch.float64)
    kept, found = track.clone(), []
    for in_place in (True, False):
        torch.manual_seed(0)
        model = Scaled(in_place).double()
        found.append(deep_lift_shap(model, X, args=[track], references=references, device="cpu"))
        assert find_unsupported_operations(model, X, [track]) == [] and torch.equal(track, kept)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    "function",
    [
        lambda h: torch.cat([part.relu_() for part in h.chunk(2, 1)], 1),  # autograd allows no change of these views
        lambda h: torch.exp(h, out=torch.empty_like(h)),
    ],
)
def test_what_autograd_refuses_is_told(function, X, references):
    model = Between(function).double()
    with torch.no_grad():
        model(X.double())
    with pytest.raises(MarginomeError, match=r"cannot differentiate the model.*out of place"):
        deep_lift_shap(model, X, references=references, device="cpu")
    with pytest.raises(MarginomeError, match="cannot differentiate the model"):
        find_unsupported_operations(model, X)


def test_what_has_no_derivative_is_told(X, references):
    model = Between(lambda h: h.asinh_()).double()
    with torch.no_grad():
        model(X.double())
    with pytest.raises(MarginomeError, match=r"cannot differentiate the model: the derivative for .*asinh"):
        deep_lift_shap(model, X, references=references, device="cpu")


def test_nothing_of_a_pass_outlives_it(X, references):
    seen = []

    def between(h):
        h = h * 2
        seen.append(weakref.ref(h))
        h[:, :2].relu_()
        return h.relu() * (h > 0.1)

    model = Between(between).double()
    model(X.double())
    del seen[:]
    gc.disable()
    try:
        deep_lift_shap(model, X, references=references, device="cpu", batch_size=1)
        assert len(seen) > 3 and not any(ref() is not None for ref in seen)
    finally:
        gc.enable()


# Infinite derivatives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda h: h.relu().sqrt(), lambda h: h.relu() ** 0.5, lambda h: nn.LPPool1d(2, 2)(h.relu()),
        lambda h: h.relu().sign() * h.relu().abs().sqrt(), lambda h: h.relu().norm(dim=1, keepdim=True),
        lambda h: h.relu().std(-1), lambda h: h.relu() ** 0.25, lambda h: h.relu().square().sum(1).sqrt(),
        lambda h: torch.hypot(h[:, :3].relu(), h[:, 3:].relu()), lambda h: F.normalize(h.relu(), dim=1),
    ],
)  # fmt: skip
def test_a_root_of_zero_has_finite_attributions_that_add_up(function, X, references):
    torch.manual_seed(0)
    model = Between(function).double()
    model(X.double())
    model.conv.bias.data -= 0.3  # many rectified values are 0 for both
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = deep_lift_shap(model, X, references=references, hypothetical=True, return_deltas=True, device="cpu")
    assert found.attributions.isfinite().all() and found.deltas.max() < 1e-10


def test_nan_is_above_every_threshold(X, references):
    model = Between(lambda h: h.relu().log().exp()).double()  # finite, by way of minus infinity
    model(X.double())
    with pytest.warns(RuntimeWarning, match=r"convergence deltas: [1-9]\d* of 12 pairs above inf, the largest nan"):
        found = deep_lift_shap(
            model, X, references=references, return_deltas=True, device="cpu", warning_threshold=float("inf")
        )
    assert found.deltas.isnan().any()


# What the model looks like -------------------------------------------------------------------------------------------


class WithArguments(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 5, 3)
        self.scale = nn.Embedding(7, 5)

    def forward(self, X, track, cell):
        h = F.relu(self.conv(X)) * self.scale(cell).unsqueeze(-1)
        return torch.cat([h.mean(-1), (h * track[:, :, 1:-1]).sum(-1)], 1)


def test_extra_arguments_go_with_their_sequence(X, references):
    torch.manual_seed(0)
    model = WithArguments().double()
    track, cell = torch.randn(N, 1, LENGTH, dtype=torch.float64), torch.tensor([0, 6, 3])
    options = dict(target=7, device="cpu", return_deltas=True)
    together, deltas = deep_lift_shap(model, X, (track, cell), references=references, batch_size=8, **options)
    assert deltas.max() < 1e-12
    for i in range(N):
        one = slice(i, i + 1)
        alone, _ = deep_lift_shap(model, X[one], (track[one], cell[one]), references=references[one], **options)
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-12)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv1d(4, 6, 5)
        self.profile = nn.Conv1d(6, 2, 7)
        self.counts = nn.Linear(6, 1)
        self.runs = 0

    def forward(self, X):
        h = self.trunk(X).relu()
        profile = self.profile(h)
        self.largest = float(profile.detach().abs().max()) if self.runs < 0 else None
        self.profile_output = profile.detach()
        return {"profile": profile, "counts": self.counts(h.mean(-1))}


def test_readout_of_one_head_and_the_other_is_not_computed(X, references):
    torch.manual_seed(0)
    model = TwoHeads().double()
    _, deltas = deep_lift_shap(
        Readout(model, "counts"), X, references=references, batch_size=4, device="cpu", return_deltas=True
    )
    assert deltas.max() < 1e-12
    assert not model.profile_output.any()  # zeros in place of the unused head
    with torch.no_grad():
        model(X.double())
    assert model.profile_output.any()
    _, deltas = deep_lift_shap(
        Readout(model, "profile", reduce="profile"), X, references=references, device="cpu", return_deltas=True
    )
    assert deltas.max() < 1e-12 and model.profile_output.any()


def test_a_head_that_forward_looks_at_is_computed(X, references):
    torch.manual_seed(0)
    model = TwoHeads().double()
    model.runs = -1  # forward reads a number of the profile
    deep_lift_shap(Readout(model, "counts"), X, references=references, device="cpu")
    assert model.largest > 0 and model.profile_output.any()


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        return h.prod(-1)

    @staticmethod
    def backward(ctx, grad):
        return grad.unsqueeze(-1).expand(-1, -1, LENGTH)


class Add(torch.autograd.Function):
    """Named like an operation of PyTorch that is linear."""

    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return h**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


def clamp_unseen(h):
    with torch.no_grad():
        h.clamp_(min=0)
    return h


def only_by_a_mask(h):
    h = h * (h > 0.1)
    m = (h > 0).to(h.dtype)
    return h * (1 - m) + 0.3 * m  # 0 or 0.3: neither summand that has a derivative ever changes


def joined_to_a_mask(h):
    out = torch.zeros_like(h)
    out[:, :2] = (h[:, :2] > 0).to(h.dtype)
    out[:, 2:] = h[:, 2:]
    return out


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda h: h.cumprod(-1), "aten.cumprod in module 'between (Anonymous)'"),
        (lambda h: h.sort(-1).values, "aten.sort"),
        (Product.apply, "ProductBackward"),
        (Add.apply, "AddBackward"),
        (lambda h: h[:, :2].cumprod_(-1), "aten.cumprod_ in place on a part of a tensor"),
        (lambda h: (h.logical_not_(), h)[1], "aten.logical_not_"),
        (lambda h: F.batch_norm(h, None, None, training=True), "aten.native_batch_norm"),
        (clamp_unseen, "aten.clamp_ on values that autograd follows"),
        (only_by_a_mask, "aten.add with a value that depends on the sequence"),
        (lambda h: torch.where(h > 0, 1.0, 0.0 * h), "aten.where with a value that depends on the sequence"),
        (joined_to_a_mask, "aten.copy_ beside values that depend on the sequence"),
        (lambda h: torch.cat([h, (h > 0).to(h.dtype)], 1), "aten.cat with a value that depends on the sequence"),
        (lambda h: h - h.amax(-1, keepdim=True).detach(), "aten.sub with a value that depends on the sequence"),
        (lambda h: h.gather(-1, h.argmax(-1, keepdim=True)), "aten.gather with a value that depends on the sequence"),
        (lambda h: torch.where(h > 0, h, h.flip(1)), "aten.where with a value that depends on the sequence"),
        (lambda h: F.cosine_similarity(h[:, :3].relu(), h[:, 3:].relu(), 1, 0.1).unsqueeze(1), "aten.clamp_min_ on"),
    ],
)
def test_operations_without_a_rule_are_named(function, name, X, references):
    class Anonymous(nn.Module):
        def forward(self, h):
            return function(h)

    torch.manual_seed(0)
    model = Between(Anonymous()).double()
    model(X.double())
    assert any(name in found for found in find_unsupported_operations(model, X))
    with pytest.warns(RuntimeWarning, match=f"no DeepLIFT rule for .*{name.replace('(', '.').replace(')', '.')}"):
        deep_lift_shap(model, X, references=references, device="cpu")


def test_a_weight_that_is_detached_is_named_and_the_sequences_own_is_used(X, references):
    model = Between(lambda h: h * h.softmax(-1).detach()).double()
    model(X.double())
    with pytest.warns(RuntimeWarning, match="aten.mul with a value that depends on the sequence"):
        ours = deep_lift_shap(model, X, references=references, device="cpu")
    with quiet():
        torch.testing.assert_close(ours, peer_deep_lift_shap(model, X, references=references, device="cpu"))


def test_a_mask_that_is_the_same_on_both_sides_is_no_obstacle(X, references):
    class Known(nn.Module):
        """Looks at known bases only, as models with padding do."""

        def __init__(self):
            super().__init__()
            self.conv, self.dense = nn.Conv1d(4, 6, 5, padding=2), nn.Linear(6, 2)

        def forward(self, X):
            known = X.sum(1, keepdim=True) > 0
            h = self.conv(X).relu() * known
            return self.dense(h.masked_fill(~known, -1.0).softmax(-1).mul(h).sum(-1))

    model, X, references = Known().double(), X.clone(), references.clone()
    X[:, :, 4] = references[:, :, :, 4] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, deltas = deep_lift_shap(model, X, references=references, return_deltas=True, device="cpu")
    assert deltas.max() < 1e-10 and find_unsupported_operations(model, X) == []


def test_a_number_that_python_reads_is_named_where_attributions_do_not_add_up(X, references):
    model = Between(lambda h: h / float(h.detach().abs().max())).double()
    model(X.double())
    with pytest.warns(RuntimeWarning, match="a number that Python reads"):
        deep_lift_shap(model, X, references=references, device="cpu")


def test_large_deltas_give_a_warning_that_says_where(X, references):
    model = Between(lambda h: h.cumprod(-1)).double()
    model(X.double())
    with pytest.warns(RuntimeWarning, match=r"pairs above 1e-12, the largest .* \(sequence \d, reference \d\)"):
        deep_lift_shap(model, X, references=references, device="cpu", warning_threshold=1e-12)


def test_rules_for_modules_of_the_users_own(X, references):
    torch.manual_seed(0)
    seen = []

    class Cubed(nn.Module):
        def forward(self, h):
            return h**3

    def rule(module, grad_input, grad_output):
        seen.append(module.input.shape[0])
        return _nonlinear(module, grad_input, grad_output)

    model = nn.Sequential(Between(Cubed()).double())
    model(X.double())
    options = dict(references=references, device="cpu", batch_size=8)
    ours = deep_lift_shap(model, X, **options)
    ruled = deep_lift_shap(model, X, additional_nonlinear_ops={Cubed: rule}, **options)
    torch.testing.assert_close(ruled, ours, rtol=0, atol=1e-9)
    assert seen == [16, 8] and not hasattr(model[0].between, "input")
    with quiet():
        peer = peer_deep_lift_shap(model, X, additional_nonlinear_ops={Cubed: _nonlinear}, **options)
    torch.testing.assert_close(ruled, peer, rtol=0, atol=1e-9)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_comes_back_as_it_was(fails, X, references):
    model = build("BatchNorm1d")
    model.train()
    model.between.eval()
    model.dense.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.requires_grad for p in model.parameters()]
    call = dict(references=references, device="cpu", target=5 if fails else 0)
    with pytest.raises(MarginomeError) if fails else contextlib.nullcontext():
        deep_lift_shap(model, X, **call)
    assert model.training and model.conv.training and not model.between.training
    assert [p.requires_grad for p in model.parameters()] == gradients
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled() and torch.is_grad_enabled()
    with torch.no_grad():  # and it works where gradients are off
        deep_lift_shap(model, X, references=references, device="cpu")
        assert not torch.is_grad_enabled()


# References, seeds, results ------------------------------------------------------------------------------------------


def test_references_of_a_sequence_do_not_depend_on_the_others(X):
    X = random_one_hot((4, 4, 60), random_state=3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(240, 3), nn.ReLU(), nn.Linear(3, 1))
    options = dict(n_shuffles=5, device="cpu", return_references=True)
    together = deep_lift_shap(model, X, random_state=7, **options)
    alone = deep_lift_shap(model, X[2:3], random_state=7, **options)
    assert torch.equal(together.references[2:3], alone.references)
    assert torch.equal(together.references, deep_lift_shap(model, X, random_state=7, batch_size=3, **options)[1])
    seeded = deep_lift_shap(model, X, random_state=[1, 2, 3, 4], **options)
    one = deep_lift_shap(model, X[1:2], random_state=[2], **options)
    assert torch.equal(seeded.references[1:2], one.references)
    assert torch.equal(seeded.references, dinucleotide_shuffle(X, n=5, random_state=[1, 2, 3, 4]))
    torch.testing.assert_close(seeded.attributions[1:2], one.attributions)
    given = deep_lift_shap(model, X, references=seeded.references, device="cpu")
    torch.testing.assert_close(given, seeded.attributions)


def test_references_drawn_ahead_for_a_gpu_are_the_same():
    X = random_one_hot((6, 4, 40), random_state=3)
    source = References(dinucleotide_shuffle, 3, 7, X)
    together = source.draw(0, len(X))
    with ahead(source, torch.device("cuda")) as draw:  # the device is not touched
        parts = [draw(0, 2, 4), draw(2, 3, 4), draw(3, len(X), len(X))]  # the second batch was to be larger
    assert torch.equal(torch.cat(parts), together)


def test_references_by_any_function_and_shared_by_all(X):
    model = build("ReLU")
    options = dict(n_shuffles=3, device="cpu", random_state=0, return_references=True)
    result = deep_lift_shap(model, X, references=peer_dinucleotide_shuffle, **options)
    assert torch.equal(result.references[1:2], peer_dinucleotide_shuffle(X[1:2], n=3, random_state=0))
    shared = torch.full((2, 4, LENGTH), 0.25)
    result, deltas = deep_lift_shap(model, X, references=shared, device="cpu", return_deltas=True)
    repeated = deep_lift_shap(model, X, references=shared.expand(N, 2, 4, LENGTH), device="cpu")
    assert torch.equal(result, repeated) and deltas.shape == (N, 2) and deltas.max() < 1e-10


def test_results_unpack_like_the_peers(X, references):
    model = build("ReLU")
    options = dict(references=references, device="cpu")
    attributions = deep_lift_shap(model, X, **options)
    assert attributions.shape == X.shape and attributions.device.type == "cpu"
    assert torch.equal(attributions * X, attributions)
    a, r = deep_lift_shap(model, X, return_references=True, **options)
    assert torch.equal(a, attributions) and torch.equal(r, references)
    a, d = deep_lift_shap(model, X, return_deltas=True, **options)
    assert torch.equal(a, attributions) and d.shape == (N, N_REFS)
    everything = deep_lift_shap(model, X, return_references=True, return_deltas=True, **options)
    assert everything._fields == ("attributions", "references", "deltas")
    assert torch.equal(everything.deltas, d)


def test_hypothetical_attributions_of_a_linear_model(X, references):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4 * LENGTH, 1)).double()
    weight = model[1].weight.detach().view(4, LENGTH)
    expected = weight - (references.double() * weight).sum(2, keepdim=True).mean(1)
    hypothetical = deep_lift_shap(model, X, references=references, hypothetical=True, device="cpu")
    torch.testing.assert_close(hypothetical, expected, rtol=0, atol=1e-12)
    observed = deep_lift_shap(model, X, references=references, device="cpu")
    torch.testing.assert_close(observed, expected * X, rtol=0, atol=1e-12)


def test_unknown_bases_have_no_attribution(X, references):
    X = X.clone()
    X[0, :, 3:6] = 0
    attributions, deltas = deep_lift_shap(build("ReLU"), X, references=references, device="cpu", return_deltas=True)
    assert not attributions[0, :, 3:6].any() and deltas.max() < 1e-10


class Small(nn.Module):
    """A model for a device that holds five sequences."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4 * LENGTH, 1)

    def forward(self, X):
        if len(X) > 5:
            raise torch.OutOfMemoryError("out of memory")
        return self.dense(X.flatten(1)).tanh()


def test_memory_that_runs_out_halves_an_automatic_batch(X, references, caplog):
    model = Small().double()
    expected = deep_lift_shap(model, X, references=references, batch_size=4, device="cpu")
    with caplog.at_level("WARNING"):
        attributions = deep_lift_shap(model, X, references=references, device="cpu")
    torch.testing.assert_close(attributions, expected, rtol=0, atol=1e-12)
    assert "going on with 4 pairs" in caplog.text
    with pytest.raises(MarginomeError, match="memory ran out on cpu with 8 pairs"):
        deep_lift_shap(model, X, references=references, batch_size=8, device="cpu")


# Mistakes ------------------------------------------------------------------------------------------------------------


class Profile(nn.Module):
    def forward(self, X):
        return X * 2


class Tuple(nn.Module):
    def forward(self, X):
        return X.sum(1), X.sum(2)


class Constant(nn.Module):
    def forward(self, X):
        return X.detach().sum(2)


class Nan(nn.Module):
    def forward(self, X):
        y = X.sum((1, 2), keepdim=True)
        return torch.where(X[:, :1, :1] > 0, y, y / 0 - y / 0)


class Branching(nn.Module):
    def forward(self, X):
        y = X.cumsum(-1).tanh()
        if X[0, 0, 0] > 0:
            y = y.relu()
        return y.flatten(1)


def test_mistakes_are_told(X, references):
    model = build("ReLU")

    def told(message, *args, model=model, **options):
        with pytest.raises(MarginomeError, match=message):
            deep_lift_shap(model, *(args or (X,)), **({"references": references, "device": "cpu"} | options))

    told("X: expected 3 axes", X[0])
    told("X: expected 4 rows", X.permute(0, 2, 1))
    told("X: there is no sequence", X[:0])
    told("X: not one-hot: sequence 0", X * 2)
    blank = X.clone()
    blank[1] = 0
    told("sequence 1 has no known base", blank)
    told("target: 2 is out of range: the model has 2 outputs", target=2)
    told("target: expected one whole number", target=1.0)
    told("batch_size: expected a whole number above 0 or 'auto', found 0", batch_size=0)
    told(r"references: expected shape \(3, n_references, 4, 20\)", references=references[:2])
    told("references: there is no reference", references=references[:, :0])
    told(
        "references: NaN or infinite for sequence 1",
        references=references.double().index_fill(0, torch.tensor(1), torch.nan),
    )
    told("references: expected a function or a tensor", references="shuffle")
    told("references: the function returned shape", references=lambda X, n, random_state: X)
    told("n_shuffles: expected a whole number above 0", references=dinucleotide_shuffle, n_shuffles=0)
    told("random_state: expected one seed", random_state=[1, 2])
    told(r"args\[0\]: expected 3 entries", X, (X[:2],))
    told("CUDA|not a device", device="cuda:99" if torch.cuda.is_available() else "cuda")
    told("additional_nonlinear_ops: expected", additional_nonlinear_ops={"ReLU": _nonlinear})
    told("the model returned a tuple of 2 tensors.*Readout", model=Tuple())
    told(r"the model returned shape \(3, 4, 20\).*Readout", model=Profile())
    told("does not depend on the sequence", model=Constant())
    told("expected a torch.nn.Module", model=lambda X: X)
    mixed = X.clone()
    mixed[:, :, 0] = torch.eye(4, dtype=torch.int8)[[0, 2, 0]]
    told("the model returned NaN for sequence 1", mixed, model=Nan())
    first_a = X[:1].clone()
    first_a[0, :, 0] = torch.tensor([1, 0, 0, 0])
    first_c = first_a.clone()
    first_c[0, :, 0] = torch.tensor([0, 1, 0, 0])
    told("another path for the references", first_a, references=first_c[None], model=Branching())


def test_only_warn_lets_other_encodings_pass(X, references):
    with pytest.warns(RuntimeWarning, match="not one-hot"):
        deep_lift_shap(build("ReLU"), X * 0.5, references=references, device="cpu", only_warn=True)


# A real model --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bpnet():
    weights = ROOT / "resources/models/bpnet_ctcf_k562_2114.state_dict.pt"
    return load_model("bpnet", {"loader": "bpnet_lite", "weights": str(weights), "input_length": 2114}).module


def test_bpnet_counts_equal_tangermeme(bpnet):
    X = random_one_hot((2, 4, 2114), random_state=0)
    references = dinucleotide_shuffle(X, n=2, random_state=0)
    options = dict(references=references, device="cpu", hypothetical=True)
    ours, deltas = deep_lift_shap(Readout(bpnet, 1), X, return_deltas=True, **options)
    with quiet():
        theirs = peer_deep_lift_shap(Readout(bpnet, 1), X, **options)
    assert deltas.max() < 1e-5
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    # Tracked down to the last bits, the difference is rounding.
    with torch.no_grad():
        exact = deep_lift_shap(Readout(bpnet, 1), X, dtype="float64", return_deltas=True, **options)
    assert exact.deltas.max() < 1e-10
    assert (ours - exact.attributions).abs().max() <= 1.5 * (theirs - exact.attributions).abs().max()


def test_bpnet_profile_adds_up(bpnet):
    X = random_one_hot((1, 4, 2114), random_state=0)
    _, deltas = deep_lift_shap(
        Readout(bpnet, 0, reduce="profile"), X, n_shuffles=2, random_state=0, device="cpu", dtype="float64",
        return_deltas=True,
    )  # fmt: skip
    assert deltas.max() < 1e-10


def test_rounding_of_outputs_that_hardly_differ_is_no_warning():
    """As for padded sequences, whose references are much like them: deltas of 1e-7 beside differences of 1e-7."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 30, 1))
    model[1].weight.data[0].view(4, 30)[:, 10:] *= 1e-8
    X = random_one_hot((4, 4, 30), random_state=0).float()
    references = random_one_hot((4 * 3, 4, 30), random_state=1).view(4, 3, 4, 30).float()
    references[..., :10] = X[:, None, :, :10]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = deep_lift_shap(model, X, references=references, device="cpu", return_deltas=True)
    assert found.deltas.max() < 1e-6
    # deltas as small of outputs as small are no rounding
    tiny = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 30, 1), Cumulative())
    with pytest.warns(RuntimeWarning, match="convergence deltas"):
        deep_lift_shap(tiny, X, references=references.flip(3), device="cpu")


class Cumulative(torch.nn.Module):
    """What has no rule, in small numbers."""

    def forward(self, y):
        return 1e-6 * torch.cumprod(torch.cat([y, y + 1], 1), 1)[:, 1:]
