"""Random architectures as real modules, for checks against brute force: drawn from a seed, printable, shrinkable.

    architecture = draw(random.Random(7), length=120)
    model = architecture.build()                 # float32, evaluation mode, weights from the layers' own seeds
    args = architecture.arguments(n)             # the further inputs of n sequences
    for smaller in architecture.smaller(): ...   # with one layer (or one part of the head) less

A trunk of layers on feature maps ``(n, channels, positions)``, then a head. Layers write in place, return views, take
exponentials and logarithms, mask, cast, attend, normalize, go down and up again. Nothing mixes the sequences of a
batch. ``heads=TARGETS`` draws models that return one tensor ``(n, targets)``.
"""

from __future__ import annotations

import random
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Two = namedtuple("Two", ["profile", "counts"])
MOST_CHANNELS, FEWEST_POSITIONS = 24, 8


class Layer(NamedTuple):
    """A kind of layer, the seed of its settings and weights, and what it is wrapped around."""

    kind: str
    seed: int
    inner: tuple[Layer, ...] = ()

    def __str__(self) -> str:
        inside = f"[{', '.join(map(str, self.inner))}]" if self.inner else ""
        return f"{self.kind}:{self.seed}{inside}"


@dataclass(frozen=True)
class Architecture:
    """A stem, layers, a head and the number of further inputs."""

    length: int
    layers: tuple[Layer, ...]
    head: Layer
    inputs: int = 0  # 0; 1: a number per sequence; 2: that and a track of two channels

    def build(self) -> nn.Module:
        """Return the model; RuntimeError (or the like) if its layers do not fit on each other."""
        return Model(self).eval()

    def arguments(self, n: int) -> tuple[Tensor, ...]:
        """Return the model's further inputs for n sequences, float32."""
        generator = torch.Generator().manual_seed(n)
        number = torch.randn(n, 1, generator=generator)
        track = torch.rand(n, 2, self.length, generator=generator)
        return (number, track)[: self.inputs]

    def builds(self) -> bool:
        """Whether the layers fit on each other."""
        try:
            self.build()
        except Exception:  # PyTorch raises what it likes
            return False
        return True

    def smaller(self) -> Iterator[Architecture]:
        """Yield architectures that are a little simpler, and can be built."""
        return (candidate for candidate in self._smaller() if candidate.builds())

    def _smaller(self) -> Iterator[Architecture]:
        for layers in _smaller(self.layers):
            if layers:
                yield replace(self, layers=layers)
        if self.inputs:
            yield replace(self, inputs=self.inputs - 1)
        for kind in ("mean", "amax"):
            if self.head.kind == kind:
                break
            if self.head.kind in TARGETS:
                yield replace(self, head=Layer(kind, 0))
        for length in (self.length // 2, self.length - 8, self.length - 1):
            yield replace(self, length=length)

    def __str__(self) -> str:
        layers = ", ".join(map(str, self.layers))
        return f"length {self.length}, {layers} -> {self.head}, {self.inputs} further inputs"


def _smaller(layers: tuple[Layer, ...]) -> Iterator[tuple[Layer, ...]]:
    for i, layer in enumerate(layers):
        yield layers[:i] + layers[i + 1 :]
        if layer.inner:
            yield layers[:i] + layer.inner + layers[i + 1 :]
            for inner in _smaller(layer.inner):
                if inner:
                    yield (*layers[:i], layer._replace(inner=inner), *layers[i + 1 :])


def draw(
    rng: random.Random,
    *,
    length: int | None = None,
    layers: int = 5,
    kinds: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
    inputs: int = 2,
) -> Architecture:
    """Draw an architecture that can be built.

    Parameters
    ----------
    rng : random.Random
    length : int, optional
        Positions; drawn from 24 to 200 by default.
    layers : int, default 5
        Most layers of the trunk.
    kinds, heads : sequence of str, optional
        Names out of `LAYERS` and `HEADS`; all by default.
    inputs : int, default 2
        Most further inputs.
    """
    kinds, heads = tuple(kinds or LAYERS), tuple(heads or HEADS)
    while True:
        found = Architecture(
            length or rng.randint(24, 200),
            (Layer("conv", rng.randrange(10**6)), *(_layer(rng, kinds) for _ in range(rng.randint(1, layers)))),
            Layer(rng.choice(heads), rng.randrange(10**6)),
            rng.choice([0, 0, rng.randint(0, inputs)]),
        )
        try:
            found.build()
        except (RuntimeError, ValueError, IndexError, DoesNotFitError):
            continue
        return found


def _layer(rng: random.Random, kinds: Sequence[str], depth: int = 0) -> Layer:
    kind = rng.choice([k for k in kinds if depth < 2 or k not in WRAPPERS])
    inner = tuple(_layer(rng, kinds, depth + 1) for _ in range(rng.randint(1, 3))) if kind in WRAPPERS else ()
    return Layer(kind, rng.randrange(10**6), inner)


class DoesNotFitError(Exception):
    """Raised where a layer has too few positions, or too many."""


class Model(nn.Module):
    """The module of an architecture."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.inputs = architecture.inputs
        X = F.one_hot(torch.arange(2 * architecture.length).view(2, -1) % 4, 4).transpose(1, 2).float()
        args = architecture.arguments(2)
        with torch.no_grad():
            first, *others = architecture.layers
            x = self._open(first, X, args)
            self.layers = nn.ModuleList()
            for layer in others:
                module = make(layer, x, X)
                self.layers.append(module)
                x = module(x.clone(), X)
                if x.ndim != 3 or x.shape[2] < FEWEST_POSITIONS:
                    raise DoesNotFitError
            torch.manual_seed(architecture.head.seed)
            self.head = HEADS[architecture.head.kind](x, random.Random(architecture.head.seed))
            self.head(x.clone())
        self.eval()

    def _open(self, layer: Layer, X: Tensor, args: tuple[Tensor, ...]) -> Tensor:
        torch.manual_seed(layer.seed)
        rng = random.Random(layer.seed)
        width, channels = rng.choice([1, 5, 8, 11, 15, 25]), rng.choice([2, 4, 6, 8, 16])
        if X.shape[2] - width < FEWEST_POSITIONS:
            raise DoesNotFitError
        self.stem = nn.Conv1d(4 + 2 * (self.inputs > 1), channels, width, padding=rng.choice([0, width // 2]))
        return self.opened(X, *args)

    def opened(self, X: Tensor, *args: Tensor) -> Tensor:
        x = self.stem(torch.cat([X, args[1]], dim=1) if self.inputs > 1 else X)
        return x + 0.3 * args[0][:, :, None] if self.inputs else x

    def forward(self, X: Tensor, *args: Tensor):
        x = self.opened(X, *args)
        for layer in self.layers:
            x = layer(x, X)
        return self.head(x)


# ---- layers ----------------------------------------------------------------------------------------------------------

STATELESS: dict[str, Callable[[Tensor], Tensor]] = {}
MODULES: dict[str, Callable[[Tensor, random.Random], nn.Module]] = {}


def stateless(function: Callable[[Tensor], Tensor]) -> Callable:
    STATELESS[function.__name__.replace("_", " ")] = function
    return function


def module(function: Callable[[Tensor, random.Random], nn.Module]) -> Callable:
    MODULES[function.__name__] = function
    return function


def make(layer: Layer, x: Tensor, X: Tensor) -> nn.Module:
    """Return a layer for feature maps like `x`, called as ``layer(x, X)``."""
    torch.manual_seed(layer.seed)
    rng = random.Random(layer.seed)
    if layer.kind in WRAPPERS:
        return WRAPPERS[layer.kind](layer.inner, x, X, rng)
    if layer.kind in FROM_INPUT:
        return FromInput(layer.kind)
    if layer.kind in STATELESS:
        return Function(layer.kind)
    if x.shape[1] > MOST_CHANNELS:
        raise DoesNotFitError
    return Alone(MODULES[layer.kind](x, rng))


class Function(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x, X):
        return STATELESS[self.kind](x)

    def extra_repr(self):
        return self.kind


class Alone(nn.Module):
    """A module that does not look at the sequence."""

    def __init__(self, inside: nn.Module):
        super().__init__()
        self.inside = inside

    def forward(self, x, X):
        return self.inside(x)


class FromInput(nn.Module):
    """A function of the feature map and the sequence."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x, X):
        return FROM_INPUT[self.kind](x, X)


# Activations.
STATELESS |= {
    "relu": F.relu, "gelu": F.gelu, "elu": F.elu, "silu": F.silu, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "softplus": F.softplus, "leaky": F.leaky_relu, "mish": F.mish, "hardswish": F.hardswish, "selu": F.selu,
    "abs": torch.abs, "square": torch.square, "sin": torch.sin, "relu6": F.relu6, "hardtanh": F.hardtanh,
    "softsign": F.softsign, "atan": torch.atan, "logsigmoid": F.logsigmoid,
    "dropout": lambda x: F.dropout(x, 0.3, False),
    "clamp": lambda x: x.clamp(-0.4, 0.6), "expm1": lambda x: torch.expm1(x.clamp(max=6)),
    "exp": lambda x: torch.exp(x.clamp(max=6)), "log1p": lambda x: torch.log1p(x.abs()),
    "log softplus": lambda x: torch.log(F.softplus(x) + 1e-2), "root": lambda x: torch.sqrt(x.abs() + 1e-3),
    "root of square": lambda x: (x * x + 1e-4) ** 0.5, "reciprocal": lambda x: 1 / (1.5 + torch.tanh(x)),
    "pow": lambda x: x.pow(2) * 0.3, "relu squared": lambda x: F.relu(x) ** 2, "scale": lambda x: 2.5 * x - 1,
    "identity": lambda x: x, "half": lambda x: x / 2, "negative": lambda x: -x,
    "swish by hand": lambda x: x * x.sigmoid(),
    "softmax of channels": lambda x: x.softmax(1) * 3, "log softmax of channels": lambda x: x.log_softmax(1),
    "softmax of positions": lambda x: x.softmax(2) * x.shape[2], "cumsum": lambda x: x.cumsum(2) / x.shape[2],
    "center": lambda x: x - x.mean(2, keepdim=True), "norm by hand": lambda x: x / (x.norm(dim=1, keepdim=True) + 0.1),
    "rms": lambda x: x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-3),
    "standardize": lambda x: (x - x.mean(2, keepdim=True)) / (x.std(2, keepdim=True) + 0.1),
    "difference": lambda x: F.pad(x[:, :, 1:] - x[:, :, :-1], (1, 0)),
    "min max": lambda x: torch.maximum(x, x.flip(1)) - torch.minimum(x, torch.zeros_like(x)),
    "logaddexp": lambda x: torch.logaddexp(x, -x), "lerp": lambda x: torch.lerp(x, x.flip(1), 0.3),
    "addcmul": lambda x: torch.addcmul(x, x, x.flip(1), value=0.2), "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "hypot": lambda x: torch.hypot(x, x.roll(1, 1)), "outer": lambda x: x * x.mean(1, keepdim=True),
    "own gate": lambda x: x * (x > 0), "smooth": lambda x: F.avg_pool1d(x, 3, 1, 1),
    "log mean exp": lambda x: x - (x * 2).exp().clamp(max=1e4).mean(1, keepdim=True).log(),
}  # fmt: skip


# In place.
STATELESS |= {
    "relu in place": lambda x: F.relu_(x),
    "sigmoid in place": lambda x: x.sigmoid_(),
    "gate in place": lambda x: x.mul_(x.sigmoid()),
    "subtract in place": lambda x: x.sub_(x.mean(1, keepdim=True)).mul_(1.5),
    "clamp in place": lambda x: x.clamp_(min=-0.2),
    "exp in place": lambda x: x.clamp_(max=4).exp_(),
    "mask in place": lambda x: x.masked_fill_(x < -0.3, 0),
}


@stateless
def add_in_place(x):
    x += F.relu(x)
    return x


@stateless
def through_a_view_in_place(x):
    x.transpose(1, 2).relu_()
    return x + 1


@stateless
def channels_in_place(x):
    z = x.clone()
    half = max(1, x.shape[1] // 2)
    z[:, :half] = F.relu(z[:, :half])
    return z


@stateless
def positions_in_place(x):
    z = x.clone()
    z[:, :, 5:] += x[:, :, :-5]
    return z


@stateless
def copy_in_place(x):
    z = torch.zeros_like(x)
    z[:, :, 2:-2].copy_(x[:, :, 2:-2])
    return z


@stateless
def used_twice_in_place(x):
    y = F.gelu(x)
    return torch.cat([y.unfold(2, 4, 4), F.relu(y).unfold(2, 4, 4)], 1).mean(-1)


@stateless
def both_after_in_place(x):
    y = x.unfold(2, 2, 2)
    z = F.relu_(F.gelu(x))
    return y.sum(-1) + z[:, :, : y.shape[2]]


# Views.
STATELESS |= {
    "unfold": lambda x: x.unfold(2, 4, 2).mean(-1),
    "unfold overlapping": lambda x: F.relu(x.unfold(2, 5, 1)).amax(-1),
    "movedim": lambda x: F.relu(x.movedim(1, 2)).movedim(2, 1),
    "turned": lambda x: torch.tanh(x.mT).mT,
    "permuted twice": lambda x: x.permute(0, 2, 1).contiguous().permute(0, 2, 1) * 0.5,
    "glu": lambda x: F.glu(torch.cat([x, x.flip(1)], 1), 1),
    "expand": lambda x: x[:, :1].expand(-1, x.shape[1], -1) * 0.5 + x,
    "expand mean": lambda x: x - x.mean(2, keepdim=True).expand_as(x).relu(),
    "unbind": lambda x: torch.stack([t.relu() for t in x.unbind(1)], 1),
    "stack": lambda x: torch.stack([x, x.flip(2)], 1).sum(1),
    "roll": lambda x: x + x.roll(3, 2),
    "crop": lambda x: x[:, :, 2:-1],
    "every second": lambda x: x[:, :, ::2],
    "negative index": lambda x: x + x[:, [-1, *range(x.shape[1] - 1)]],
    "shifted sum": lambda x: x[:, :, 3:] + x[:, :, :-3],
    "pad twice": lambda x: F.pad(F.pad(x, (3, 1)), (-1, -2)),
    "reflected": lambda x: F.pad(x, (2, 3), mode="reflect"),
    "circular": lambda x: F.pad(x, (2, 2), mode="circular"),
    "two d": lambda x: F.max_pool2d(x.unsqueeze(2), (1, 2)).squeeze(2),
    "gather": lambda x: x.gather(2, torch.arange(x.shape[2] - 1, -1, -1, device=x.device).expand(x.shape)),
    "sorted channels": lambda x: x.sort(dim=1).values,
    "top": lambda x: x.topk(8, dim=2).values,
    "spectrum": lambda x: torch.fft.rfft(x, dim=2).abs() / x.shape[2],
    "einsum": lambda x: torch.einsum("ncl,ndl->ncl", x, x) * 0.1,
    "correlation": lambda x: (x @ x.transpose(1, 2)).softmax(-1) @ x,
    "repeated": lambda x: x.repeat_interleave(2, dim=2),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "interpolated": lambda x: F.interpolate(x, scale_factor=2, mode="linear"),
    "tiled": lambda x: x.repeat(1, 1, 2),
}


@stateless
def diagonal(x):
    c = x.shape[1]
    return x.unfold(2, c, c).diagonal(dim1=1, dim2=3).transpose(1, 2)


@stateless
def chunk(x):
    a, b = x.repeat(1, 2, 1).chunk(2, 1)
    return a * torch.sigmoid(b)


@stateless
def split(x):
    a, b = x.split([1, x.shape[1] - 1], 1)
    return torch.cat([F.relu(b), a], 1)


@stateless
def parts(x):
    n, c, length = x.shape
    y = x[:, :, : length // 4 * 4].reshape(n, c, -1, 4)
    return (y * y.softmax(-1)).sum(-1)


@stateless
def parts_to_channels(x):
    n, c, length = x.shape
    y = x[:, :, : length // 2 * 2].reshape(n, c, -1, 2)
    return y.permute(0, 1, 3, 2).reshape(n, 2 * c, -1)[:, :MOST_CHANNELS]


# Masks and casts.
STATELESS |= {
    "mask of values": lambda x: x * (x > 0.1).to(x.dtype),
    "mask joined": lambda x: torch.cat([x, (x[:, :1] > 0).type_as(x)], 1),
    "masked fill": lambda x: x.masked_fill((x > 0.5) | (x < -0.5), 0.25),
    "logical": lambda x: x + ((x > 0) & ~(x > 1)).to(x.dtype) - torch.logical_xor(x > 0, x > 0.5).to(x.dtype),
    "counted": lambda x: x + (x > 0).sum(1, keepdim=True).to(x.dtype) * 0.1,
    "double precision": lambda x: (x.double() * 1.5).to(x.dtype),
    "sign and round": lambda x: x + torch.sign(x) * 0.2 + torch.round(4 * x) / 8,
}


@stateless
def one_minus_mask(x):
    m = (x > 0).float().to(x.dtype)
    return x * (1 - m) + 0.3 * m


FROM_INPUT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cpg": lambda x, X: torch.cat([x, _fit((X[:, 1:2, :-1] > 0) & (X[:, 2:3, 1:] > 0), x).to(x.dtype)], 1),
    "known bases": lambda x, X: x * _fit((X.sum(1, keepdim=True) > 0).to(x.dtype), x),
    "not an a": lambda x, X: x + 0.5 * (1 - _fit((X[:, :1] == 1), x).to(x.dtype)),
    "bases again": lambda x, X: torch.cat([x, _fit(X, x)], 1),
    "gc": lambda x, X: x * X[:, 1:3].mean((1, 2))[:, None, None],
    "other strand": lambda x, X: x + _fit(X[:, [-1, -2, -3, -4]].flip(2).sum(1, keepdim=True), x),
    "bases by argmax": lambda x, X: x + 0.1 * _fit(X.argmax(1, keepdim=True), x).to(x.dtype),
}


def _fit(t: Tensor, x: Tensor) -> Tensor:
    """Cut or pad positions to those of x."""
    missing = x.shape[2] - t.shape[2]
    return F.pad(t, (0, missing)) if missing > 0 else t[:, :, : x.shape[2]]


@module
def conv(x, rng):
    kernel, dilation, stride = rng.choice([1, 2, 3, 5, 8]), rng.choice([1, 1, 2, 4, 9]), rng.choice([1, 1, 1, 2, 3])
    out = rng.choice([2, 4, 8, 12, 16])
    return nn.Conv1d(x.shape[1], out, kernel, stride, rng.choice([0, kernel * dilation // 2]), dilation)


@module
def same_conv(x, rng):
    return nn.Conv1d(x.shape[1], x.shape[1], rng.choice([2, 3, 6, 61]), padding="same", dilation=rng.choice([1, 2]))


@module
def depthwise(x, rng):
    return nn.Conv1d(x.shape[1], x.shape[1], rng.choice([3, 4, 9]), padding=rng.choice([0, 2]), groups=x.shape[1])


@module
def conv_2d(x, rng):
    inside = nn.Conv2d(x.shape[1], 6, (1, rng.choice([3, 5])), padding=(0, rng.choice([0, 2])))
    return nn.Sequential(nn.Unflatten(2, (1, -1)), inside, nn.Flatten(2))


@module
def transposed(x, rng):
    stride = rng.choice([1, 2, 3])
    return nn.ConvTranspose1d(x.shape[1], 6, rng.choice([stride, stride + 2]), stride, padding=rng.choice([0, 1]))


@module
def max_pool(x, rng):
    kernel = rng.choice([1, 2, 3, 4])
    return nn.MaxPool1d(kernel, rng.choice([1, 2, kernel]), rng.choice([0, kernel // 2]), ceil_mode=rng.random() < 0.3)


@module
def average_pool(x, rng):
    kernel = rng.choice([1, 2, 3, 5])
    return nn.AvgPool1d(
        kernel, rng.choice([1, 2, kernel]), rng.choice([0, kernel // 2]), ceil_mode=rng.random() < 0.3,
        count_include_pad=rng.random() < 0.5,
    )  # fmt: skip


@module
def lp_pool(x, rng):
    return nn.Sequential(nn.Softplus(), nn.LPPool1d(2, rng.choice([2, 3])))


@module
def adaptive_pool(x, rng):
    return rng.choice([nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d])(rng.choice([8, 10, x.shape[2]]))


@module
def batch_norm(x, rng):
    norm = nn.BatchNorm1d(x.shape[1], affine=rng.random() < 0.8)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    if norm.affine:
        nn.init.normal_(norm.weight)
    return norm.eval()


@module
def layer_norm(x, rng):
    return Turned(nn.LayerNorm(x.shape[1]))


@module
def group_norm(x, rng):
    return nn.GroupNorm(rng.choice([d for d in range(1, x.shape[1] + 1) if x.shape[1] % d == 0]), x.shape[1])


@module
def instance_norm(x, rng):
    return nn.InstanceNorm1d(x.shape[1])


@module
def layer_norm_of_positions(x, rng):
    return nn.LayerNorm(x.shape[2])


@module
def prelu(x, rng):
    return nn.PReLU(x.shape[1])


@module
def linear_of_channels(x, rng):
    return Turned(nn.Linear(x.shape[1], rng.choice([4, 8])))


@module
def linear_of_positions(x, rng):
    return nn.Linear(x.shape[2], max(FEWEST_POSITIONS, x.shape[2] // 2))


class Turned(nn.Module):
    """A module that has the channels last."""

    def __init__(self, inside: nn.Module):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return self.inside(x.transpose(1, 2)).transpose(1, 2)


@module
def attention(x, rng):
    return Attention(x.shape[1])


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.inside = nn.MultiheadAttention(channels, 2 if channels % 2 == 0 else 1, batch_first=True)

    def forward(self, x):
        y = x.transpose(1, 2)
        return x + self.inside(y, y, y, need_weights=False)[0].transpose(1, 2)


@module
def recurrent(x, rng):
    if x.shape[2] > 40:  # torch.export takes a second per ten positions
        raise DoesNotFitError
    return Recurrent(x.shape[1])


class Recurrent(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.inside = nn.GRU(channels, 3, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.inside(x.transpose(1, 2))[0].transpose(1, 2)


@module
def excite(x, rng):
    return Excite(x.shape[1])


class Excite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(channels, 3), nn.ReLU(), nn.Linear(3, channels), nn.Sigmoid())

    def forward(self, x):
        return x * self.inside(x.mean(2)).unsqueeze(-1)


@module
def attention_pool(x, rng):
    return AttentionPool(x.shape[1])


class AttentionPool(nn.Module):
    """Softmax over parts of two positions."""

    def __init__(self, channels):
        super().__init__()
        self.weigh = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x):
        n, c, length = x.shape
        y = F.pad(x, (0, length % 2)).view(n, c, -1, 2)
        mask = F.pad(torch.zeros(n, 1, length, dtype=torch.bool, device=x.device), (0, length % 2), value=True).view(
            n, 1, -1, 2
        )
        logits = self.weigh(y).masked_fill(mask, -1e4)
        return (y * logits.softmax(-1)).sum(-1)


@module
def in_place_residual(x, rng):
    return InPlaceResidual(x.shape[1])


class InPlaceResidual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x):
        x += self.conv(F.relu(x))
        return x


@module
def sequential_in_place(x, rng):
    return nn.Sequential(
        nn.Conv1d(x.shape[1], 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool1d(2), nn.ELU(inplace=True)
    )


class Residual(nn.Module):
    """``x + inside(x)``, brought to the shape of x."""

    def __init__(self, inner: tuple[Layer, ...], x: Tensor, X: Tensor, rng: random.Random):
        super().__init__()
        self.how = rng.choice(["add", "add in place", "multiply", "cat"])
        self.inside, y = _chain(inner, x, X)
        self.fit = nn.Conv1d(y.shape[1], x.shape[1], 1)

    def forward(self, x, X):
        y = x.clone()
        for layer in self.inside:
            y = layer(y, X)
        y = self.fit(y)
        if y.shape[2] != x.shape[2]:
            y = F.interpolate(y, size=x.shape[2])
        if self.how == "add in place":
            x += y
            return x
        if self.how == "cat":
            return torch.cat([x, y], 1)
        return x + y if self.how == "add" else x * torch.sigmoid(y)


class UNet(nn.Module):
    """Down, inside, up again, joined with what was before."""

    def __init__(self, inner: tuple[Layer, ...], x: Tensor, X: Tensor, rng: random.Random):
        super().__init__()
        self.down = rng.choice([nn.MaxPool1d(2), nn.AvgPool1d(2), nn.Conv1d(x.shape[1], x.shape[1], 4, 2, 1)])
        self.inside, y = _chain(inner, self.down(x), X)
        self.up = rng.choice([nn.ConvTranspose1d(y.shape[1], 4, 4, 2, 1), nn.Upsample(scale_factor=2)])

    def forward(self, x, X):
        y = self.down(x)
        for layer in self.inside:
            y = layer(y, X)
        y = self.up(y)
        missing = x.shape[2] - y.shape[2]
        y = F.pad(y, (0, missing)) if missing > 0 else y[:, :, : x.shape[2]]
        return torch.cat([x, y], dim=1)[:, :MOST_CHANNELS]


class BothStrands(nn.Module):
    """The same layers on the feature map and on its mirror image."""

    def __init__(self, inner: tuple[Layer, ...], x: Tensor, X: Tensor, rng: random.Random):
        super().__init__()
        self.inside, _ = _chain(inner, x, X)
        self.largest = rng.random() < 0.5

    def forward(self, x, X):
        y, z = x.clone(), x.flip(1, 2)
        for layer in self.inside:
            y, z = layer(y, X), layer(z, X)
        return torch.maximum(y, z.flip(2)) if self.largest else y + z.flip(2)


def _chain(layers: tuple[Layer, ...], x: Tensor, X: Tensor) -> tuple[nn.ModuleList, Tensor]:
    made = nn.ModuleList()
    for layer in layers:
        made.append(make(layer, x, X))
        x = made[-1](x.clone(), X)
        if x.ndim != 3 or x.shape[2] < FEWEST_POSITIONS:
            raise DoesNotFitError
    return made, x


WRAPPERS = {"residual": Residual, "u-net": UNet, "both strands": BothStrands}
LAYERS = (*STATELESS, *FROM_INPUT, *MODULES, *MODULES, *WRAPPERS, *WRAPPERS)  # with weights as often as without


# ---- heads -----------------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """Reduce to ``(n, channels)``, then a dense layer."""

    def __init__(self, reduce: Callable[[Tensor], Tensor], x: Tensor, *, after: Callable | None = None):
        super().__init__()
        self.reduce, self.after = reduce, after
        self.dense = nn.Linear(reduce(x).shape[1], 3)

    def forward(self, x):
        y = self.dense(self.reduce(x))
        return y if self.after is None else self.after(y)


class Tracks(nn.Module):
    """A profile, alone or beside one or two other outputs."""

    def __init__(self, x: Tensor, how: str):
        super().__init__()
        self.how = how
        self.profile, self.counts = nn.Conv1d(x.shape[1], 2, 5, padding=2), nn.Linear(x.shape[1], 1)

    def forward(self, x):
        profile, counts = self.profile(x), self.counts(x.mean(2))
        if self.how == "tracks":
            return profile
        if self.how == "profile":
            return Two(profile.flatten(1).log_softmax(1).view_as(profile), counts)
        if self.how == "three":
            return {"profile": profile.softmax(-1), "high": profile > 0.2, "peak": [profile.amax((1, 2)), counts]}
        return profile[:, :, -4:], counts.squeeze(1), profile.argmax(2)


def _log_sum_exp(strength: float) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.log(torch.exp((strength * x).clamp(max=60)).sum(2))


HEADS: dict[str, Callable[[Tensor, random.Random], nn.Module]] = {
    "mean": lambda x, rng: Head(lambda x: x.mean(2), x),
    "amax": lambda x, rng: Head(lambda x: x.amax(2), x),
    "flat": lambda x, rng: Head(lambda x: x.flatten(1), x),
    "one position": lambda x, rng: Head(lambda x: x[:, :, x.shape[2] // 2], x),
    "log sum exp": lambda x, rng: Head(_log_sum_exp(rng.choice([1.0, 4.0, 12.0])), x),
    "logsumexp": lambda x, rng: Head(lambda x: x.logsumexp(2), x),
    "softmax": lambda x, rng: Head(lambda x: x.mean(2), x, after=lambda y: y.softmax(1)),
    "sigmoid": lambda x, rng: Head(lambda x: x.amax(2), x, after=torch.sigmoid),
    "exponential": lambda x, rng: Head(lambda x: x.mean(2), x, after=lambda y: y.clamp(max=20).exp()),
    "weighted": lambda x, rng: Head(lambda x: (x * x.softmax(2)).sum(2), x),
    "norm": lambda x, rng: Head(lambda x: x.norm(dim=2), x),
    "tracks": lambda x, rng: Tracks(x, "tracks"),
    "profile": lambda x, rng: Tracks(x, "profile"),
    "three": lambda x, rng: Tracks(x, "three"),
    "ends": lambda x, rng: Tracks(x, "ends"),
}
#: Heads that give one tensor (n, targets).
TARGETS = tuple(name for name in HEADS if name not in ("tracks", "profile", "three", "ends"))
