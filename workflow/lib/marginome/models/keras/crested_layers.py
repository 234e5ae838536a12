"""Layers that CREsted registers with Keras for its Enformer and Borzoi, as PyTorch modules with their weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from marginome.models.keras.layers import Builder, Built, Call, Value, bounded, copy
from marginome.models.keras.weights import Part
from marginome.models.keras.wide_layers import OverChannels


class AttentionPool(nn.Module):
    """Sums over windows, weighted by a softmax over each window of what a matrix makes of the channels."""

    def __init__(self, channels: int, size: int, logits: int):
        super().__init__()
        self.size = size
        self.logits = nn.Conv1d(channels, logits, 1, bias=False)
        self.softmax = nn.Softmax(dim=3)

    def forward(self, X: Tensor) -> Tensor:
        """``(n, channels, length)`` to ``(n, channels, length / size)``."""
        weights = self.softmax(self.logits(X).unflatten(2, (-1, self.size)))
        return (X.unflatten(2, (-1, self.size)) * weights).sum(dim=3)


class RelativeAttention(nn.Module):
    """Attention over positions, whose scores know how far two positions are apart.

    With queries q, keys k, values v of each head, and keys r of distances, the score of position i for j is
    ``(q_i + a) k_j + (q_i + b) r_(j - i)``, with learned a and b; a softmax over j weights the values.

    Parameters
    ----------
    query, key, value, output : torch.nn.Linear
        At every position; the first three give all heads side by side.
    distances : Tensor, shape (heads, width, 2 * positions - 1)
        Keys r, from the distance 1 - positions on.
    of_content, of_distance : Tensor, shape (heads, 1, width)
        a and b.
    scale : float
        Of the queries.
    """

    def __init__(
        self, query: nn.Linear, key: nn.Linear, value: nn.Linear, output: nn.Linear, distances: Tensor,
        of_content: Tensor, of_distance: Tensor, scale: float,
    ):  # fmt: skip
        super().__init__()
        self.query, self.key, self.value, self.output, self.scale = query, key, value, output, scale
        self.distances, self.of_content, self.of_distance = map(nn.Parameter, (distances, of_content, of_distance))
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, X: Tensor) -> Tensor:
        """``(n, positions, channels)``."""
        query, key, value = (self._split(layer(X)) for layer in (self.query, self.key, self.value))
        query = query * self.scale
        scores = torch.matmul(query + self.of_content, key.transpose(2, 3))
        scores = scores + _shifted(torch.matmul(query + self.of_distance, self.distances))
        return self.output(torch.matmul(self.softmax(scores), value).transpose(1, 2).flatten(2))

    def _split(self, X: Tensor) -> Tensor:
        return X.unflatten(2, (len(self.distances), -1)).transpose(1, 2)


def _shifted(X: Tensor) -> Tensor:
    """Scores by position and distance, ``(n, heads, T, 2 T - 1)``, as scores by two positions, ``(n, heads, T, T)``."""
    T = X.shape[2]
    X = nn.functional.pad(X, (1, 0)).flatten(2).unflatten(2, (2 * T, T))[:, :, 1:]  # a row of 2 T becomes two
    return X.flatten(2).unflatten(2, (T, 2 * T - 1))[..., :T]


def _attention_pool(call: Call) -> Built:
    settings, (length, channels) = call.settings, call.positions.shape
    size = settings.integer("pool_size", 2)
    logits = channels if settings.flag("per_channel", True) else 1
    for key in ("w_init_scale", "strides", "padding", "data_format"):  # which the layer does not look at
        settings.get(key, None)
    kernel = call.weights.of(call.name, ["att_pool_weight"])["att_pool_weight"]
    if length % size or kernel.shape != (channels, logits):
        raise settings.unsupported(f"{length} positions in windows of {size}, by a matrix {kernel.shape}")
    pool = AttentionPool(channels, size, logits)
    copy(pool.logits.weight, kernel.T[:, :, None])
    return [pool], Value((length // size, channels))


def _relative_attention(call: Call) -> Built:
    settings, (length, channels) = call.settings, call.positions.shape
    heads, width, wide = (settings.integer(key) for key in ("heads", "key_size", "value_size"))
    features = settings.integer("num_position_features")
    symmetric = settings.flag("relative_position_symmetric", False)
    kind = settings.word("relative_position_functions", "borzoi")
    scaled = settings.flag("scaling", True)
    if not settings.flag("relative_position_absolute", False) and not symmetric:
        raise settings.unsupported("relative_position_absolute: false, which CREsted itself cannot run")
    for key in ("attention_dropout_rate", "positional_dropout_rate", "zero_initialize", "initializer", "l2_scale"):
        settings.get(key, None)
    parts = (3 if kind == "enformer" else 1) * (1 if symmetric else 2)
    if kind not in ("enformer", "borzoi") or features % parts:
        raise settings.unsupported(f"{features} features of distances of the kind {kind}")
    bounded(settings, length, 2 * length * heads)
    bounded(settings, 2 * length, features)

    def dense(name: str, inputs: int, outputs: int, biased: bool = False) -> nn.Linear:
        arrays = call.weights.of(call.name, ["kernel", *(["bias"] if biased else [])], Part(name, f"_{name}"))
        layer = nn.Linear(inputs, outputs, bias=biased)
        for tensor, array in ((layer.weight, arrays["kernel"].T), (layer.bias, arrays.get("bias"))):
            if array is not None:
                if array.shape != tuple(tensor.shape):
                    raise settings.unsupported(f"its {name} is {array.shape[::-1]}; wanted {(inputs, outputs)}")
                copy(tensor, array)
        return layer

    biases = call.weights.of(call.name, ["r_w_bias", "r_r_bias"])
    a, b = (torch.from_numpy(biases[name]) for name in ("r_w_bias", "r_r_bias"))
    if a.shape != (1, heads, 1, width) or b.shape != a.shape:
        raise settings.unsupported(f"its biases are {tuple(a.shape)} and {tuple(b.shape)}; {heads} heads of {width}")
    with torch.no_grad():
        keys = dense("r_k_layer", features, heads * width)(
            _distance_features(kind, length, features // parts, symmetric)
        )
    attention = RelativeAttention(
        dense("q_layer", channels, heads * width), dense("k_layer", channels, heads * width),
        dense("v_layer", channels, heads * wide), dense("embedding_layer", heads * wide, heads * wide, True),
        keys.unflatten(1, (heads, width)).permute(1, 2, 0).contiguous(), a[0], b[0], width**-0.5 if scaled else 1.0,
    )  # fmt: skip
    return [OverChannels(attention)], Value((length, heads * wide))


def _distance_features(kind: str, length: int, n: int, symmetric: bool) -> Tensor:
    """Features of the distances 1 - length to length - 1, ``(2 length - 1, features)``, in float32 as in CREsted.

    n exponentials of half-lives from 8 to the length, n windows, and n gamma densities of means up to the length
    (Enformer); n windows alone (Borzoi). Unless symmetric, all again with the sign of the distance.
    """
    signed = torch.arange(1 - length, length, dtype=torch.float32)[:, None]
    apart, steps = signed.abs(), torch.arange(1, n + 1, dtype=torch.float32)
    if kind == "borzoi":
        base = torch.tensor(math.exp(math.log(length + 1) / n), dtype=torch.float32)
        found = [(base**steps - 1 > apart).float()]
    else:
        half_lives = 2 ** torch.linspace(3.0, math.log2(length), n)
        mean, sd = torch.linspace(length / n, length, n), length / (2 * n)
        shape, rate = (mean / sd) ** 2, mean / sd**2
        density = torch.exp(
            (shape - 1) * torch.log(apart) - rate * apart - (torch.lgamma(shape) - shape * torch.log(rate))
        )
        density = density + 1e-8
        found = [torch.exp(-math.log(2.0) / half_lives * apart), (2**steps - 1 > apart).float()]
        found.append(density / density.amax(dim=0))
    features = torch.cat(found, dim=1)
    return features if symmetric else torch.cat([features, torch.sign(signed) * features], dim=1)


BUILDERS: dict[str, Builder] = {
    "crested>AttentionPool1D": _attention_pool, "crested>MultiheadAttention": _relative_attention
}  # fmt: skip
