"""Small models of every shape that the engine has to cope with, with random weights."""

from __future__ import annotations

from collections import namedtuple

import torch
import torch.nn.functional as F
from torch import nn

Heads = namedtuple("Heads", ["profile", "counts"])


class Plain(nn.Sequential):
    """A convolution and a dense layer."""

    def __init__(self, length=160):
        super().__init__(nn.Conv1d(4, 6, 7), nn.ReLU(), nn.Flatten(), nn.Linear(6 * (length - 6), 3))


class Dilated(nn.Module):
    """Dilated residual convolutions with a profile and a counts head: BPNet's arrangement."""

    def __init__(self, filters=8, layers=4, length=160, out=80, kernel=21, head=15):
        super().__init__()
        self.first = nn.Conv1d(4, filters, kernel, padding=kernel // 2)
        self.layers = nn.ModuleList(
            nn.Conv1d(filters, filters, 3, padding=2**i, dilation=2**i) for i in range(1, layers + 1)
        )
        self.profile = nn.Conv1d(filters, 2, head, padding=head // 2)
        self.counts = nn.Linear(filters, 1)
        self.trim, self.flank = (length - out) // 2, head // 2

    def trunk(self, X):
        x = F.relu(self.first(X))
        for layer in self.layers:
            x = x + F.relu(layer(x))
        return x

    def forward(self, X):
        x = self.trunk(X)
        a, b = self.trim, X.shape[2] - self.trim
        return Heads(self.profile(x)[:, :, a:b], self.counts(x[:, :, a - self.flank : b + self.flank].mean(2)))


class Controlled(Dilated):
    """The same with control tracks as further input, joined to the trunk and to the counts."""

    def __init__(self, **settings):
        super().__init__(**settings)
        filters = self.counts.in_features
        self.profile = nn.Conv1d(filters + 2, 2, 15, padding=7)
        self.counts = nn.Linear(filters + 1, 1)

    def forward(self, X, control):
        x = self.trunk(X)
        a, b = self.trim, X.shape[2] - self.trim
        total = torch.log1p(control.sum(dim=(1, 2)))[:, None]
        mean = x[:, :, a:b].mean(2)
        profile = self.profile(torch.cat([x, control], dim=1))[:, :, a:b]
        return {"profile": profile, "counts": self.counts(torch.cat([mean, total], dim=1))}


class Pooled(nn.Module):
    """Convolutions, poolings and dense layers on the flattened positions: DeepSEA's arrangement."""

    def __init__(self, length=160, channels=(8, 10, 12), dense=9, targets=5, inplace=False):
        super().__init__()
        c = (4, channels[0], channels[0], channels[1], channels[1], channels[2])
        layers = []
        for i in range(5):
            layers += [nn.Conv1d(c[i], c[i + 1], 6), nn.ReLU(inplace=inplace)]
            if i in (1, 3):
                layers.append(nn.MaxPool1d(3))
        self.conv = nn.Sequential(*layers)
        with torch.no_grad():
            flat = self.conv(torch.zeros(1, 4, length)).numel()
        self.dense = nn.Sequential(nn.Linear(flat, dense), nn.ReLU(inplace=inplace), nn.Linear(dense, targets))

    def forward(self, X):
        return self.dense(self.conv(X).flatten(1))


class Pooled2d(nn.Module):
    """The same kind of model as it is published: 2-D layers with the positions last, and a view."""

    def __init__(self, length=160):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(4, 8, (1, 8)), nn.ReLU(), nn.Conv2d(8, 8, (1, 8)), nn.ReLU(), nn.MaxPool2d((1, 4), (1, 4)),
            nn.Conv2d(8, 10, (1, 5)), nn.ReLU(), nn.Dropout(0.2),
        )  # fmt: skip
        with torch.no_grad():
            self.flat = self.conv(torch.zeros(1, 4, 1, length)).numel()
        self.dense = nn.Linear(self.flat, 6)

    def forward(self, X):
        x = self.conv(X.unsqueeze(2))
        return torch.sigmoid(self.dense(x.view(x.size(0), self.flat)))


class Rectangle(nn.Module):
    """A 2-D convolution over bases and positions: the alphabet is a spatial axis."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, (4, 9), padding=(0, 4))
        self.second = nn.Conv2d(6, 7, (1, 5), padding="same", groups=1)
        self.dense = nn.Linear(7, 3)

    def forward(self, X):
        x = F.elu(self.first(X[:, None]))
        x = F.max_pool2d(F.elu(self.second(x)), (1, 2)).squeeze(2)
        return self.dense(x.amax(2))


class Normalized(nn.Module):
    """Batch norms after convolutions and before, weight norm, even kernels with 'same' padding, GELU."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(4, 8, 6, padding="same")
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 8, 5, padding=2))
        self.norm2, self.norm3 = nn.BatchNorm1d(8), nn.BatchNorm1d(8, affine=False)
        self.third = nn.Conv1d(8, 6, 3)
        for norm in (self.norm, self.norm2, self.norm3):
            norm.running_mean = torch.randn(8) * 0.3
            norm.running_var = torch.rand(8) + 0.5
            if norm.affine:
                nn.init.normal_(norm.weight)
                nn.init.normal_(norm.bias)
        self.dense = nn.Linear(6, 2)

    def forward(self, X):
        x = F.relu(self.norm(self.first(X)))
        x = x + self.second(F.gelu(self.norm2(x)))
        x = self.third(self.norm3(x))
        return self.dense(F.adaptive_avg_pool1d(F.silu(x), 1).squeeze(-1))


class Strided(nn.Module):
    """Strided, grouped and depthwise convolutions, overlapping and padded poolings."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv1d(4, 8, 7, stride=2, padding=3)
        self.b = nn.Conv1d(8, 12, 5, stride=3, groups=4, padding=1)
        self.c = nn.Conv1d(12, 12, 3, groups=12, dilation=2, padding=2)
        self.dense = nn.Linear(12, 4)

    def forward(self, X):
        x = F.max_pool1d(F.relu(self.a(X)), 3, stride=2, padding=1)
        x = F.avg_pool1d(F.softplus(self.b(x)), 3, stride=1, padding=1)
        x = F.max_pool1d(torch.tanh(self.c(x)), 2, ceil_mode=True)
        return self.dense(x.transpose(1, 2)).mean(dim=1), x.sum(dim=(1, 2))


class Residual(nn.Module):
    """Layer norms over channels, gated units, a softmax over channels, channels-last feature maps."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(4, 16, 9, padding=4)
        self.norm = nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(12, 16)
        self.mix = nn.Conv1d(16, 16, 7, padding=3, groups=16)
        self.head = nn.Linear(16, 3)
        self.slope = nn.PReLU(16)

    def forward(self, X):
        x = self.first(X)
        y = self.down(F.glu(self.up(self.norm(self.mix(x).permute(0, 2, 1))), dim=-1)).permute(0, 2, 1)
        x = self.slope(x + 0.5 * y)
        a, b = x.chunk(2, dim=1)
        x = torch.cat([a * torch.sigmoid(b), F.softmax(b, dim=1)], dim=1)
        return {"tracks": self.head(x.transpose(1, 2)[:, 20:-20]), "mean": x.mean(-1), "peak": x[:, :, 80]}


class UNet(nn.Module):
    """Down and up again, with skips, transposed convolutions and padding of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 8, 5, padding=2), nn.Conv1d(8, 12, 5, padding=2)
        self.up = nn.ConvTranspose1d(12, 8, 4, stride=2, padding=1)
        self.c, self.d = nn.Conv1d(16, 8, 3), nn.Conv1d(8, 1, 1)

    def forward(self, X):
        a = F.relu(self.a(X))
        b = F.leaky_relu(self.b(F.max_pool1d(a, 2)))
        up = torch.cat([self.up(b), a], dim=1)
        x = self.c(F.pad(up, (1, 1)))
        near = F.interpolate(b, scale_factor=2)[:, :8]
        return self.d(x * near).squeeze(1)


class ReverseComplement(nn.Module):
    """The mean over both strands of any model with one output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, X):
        return (self.model(X) + self.model(X[:, [3, 2, 1, 0]].flip(-1))) / 2


class StrandProfile(nn.Module):
    """The mean over both strands of a profile, whose strands and positions turn with the sequence."""

    def __init__(self):
        super().__init__()
        self.model = Dilated()

    def forward(self, X):
        forward, backward = self.model(X), self.model(X.flip(1, 2))
        profile = (forward.profile + backward.profile.flip(1, 2)) / 2
        return F.log_softmax(profile.flatten(1), dim=1).view_as(profile), forward.counts + backward.counts


class Attention(nn.Module):
    """A tower of convolutions and poolings, then attention over what is left: Enformer's arrangement."""

    def __init__(self, length=160):
        super().__init__()
        self.tower = nn.Sequential(
            nn.Conv1d(4, 12, 7, padding=3), nn.GELU(), nn.MaxPool1d(4), nn.BatchNorm1d(12),
            nn.Conv1d(12, 12, 5, padding=2),
        )  # fmt: skip
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.place = nn.Parameter(torch.randn(1, length // 4, 12))
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 2)

    def forward(self, X):
        x = self.tower(X).transpose(1, 2) + self.place
        y = self.norm(x)
        x = x + self.attention(y, y, y)[0]
        return F.softplus(self.head(x))


class Recurrent(nn.Module):
    """A convolution and a bidirectional LSTM over positions: DanQ's arrangement."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 9)
        self.lstm = nn.LSTM(8, 5, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(10, 2)

    def forward(self, X):
        x = F.max_pool1d(F.relu(self.conv(X)), 8)
        return self.dense(self.lstm(x.transpose(1, 2))[0][:, -1])


class OnlyRecurrent(nn.Module):
    """A GRU on the bases themselves: nothing is local."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 6, batch_first=True)

    def forward(self, X):
        return self.gru(X.transpose(1, 2))[0][:, -1]


class Excited(nn.Module):
    """A global non-linearity in the middle (squeeze and excite), and local layers after it."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 8, 7, padding=3), nn.Conv1d(8, 8, 5, padding=2)
        self.squeeze = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8), nn.Sigmoid())
        self.dense = nn.Linear(8, 2)

    def forward(self, X):
        x = F.relu(self.a(X))
        x = x * self.squeeze(x.mean(2))[:, :, None]
        return self.dense(F.relu(self.b(x)).amax(dim=2))


class Windows(nn.Module):
    """Positions split into parts (attention pooling), max over parts, flattened dense layer over positions."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv1d(4, 6, 5, padding=2)
        self.weigh = nn.Linear(6, 6)
        self.dense = nn.Linear(20, 3)

    def forward(self, X):
        x = F.relu(self.a(X))
        parts = x.view(x.shape[0], 6, 20, 8)
        weights = F.softmax(parts * 2.0, dim=-1)
        x = (parts * weights).sum(-1)
        return self.dense(x).flatten(1), F.adaptive_max_pool1d(x, 5)


class Scaled(nn.Module):
    """Further inputs of one number per sequence, as the tutorial's, with defaults."""

    def __init__(self, length=160):
        super().__init__()
        self.dense = nn.Linear(4 * length, 3)

    def forward(self, X, alpha=0, beta=1):
        return self.dense(X.reshape(X.shape[0], -1)) * beta + alpha


class Compared(nn.Module):
    """Two tracks compared base by base, one of them repeated over channels, and cut at both ends."""

    def __init__(self, length=160):
        super().__init__()
        self.one, self.other = nn.Conv1d(4, 3, 5), nn.Conv1d(4, 1, 5)
        self.head = nn.Linear(3 * (length - 4), 2)

    def forward(self, X):
        x, y = self.one(X), self.other(X)
        y = y.expand(-1, 3, -1)
        return self.head(torch.where(x > y, x, 0.1 * y).clamp(-1, 1).flatten(1))


class Branches(nn.Module):
    """Data-dependent control flow: cannot be captured."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 3, 5)

    def forward(self, X):
        x = self.conv(X).mean(2)
        return x * 2 if x.sum() > 0 else x


class Stacked(nn.Module):
    """Both strands stacked along the batch, and taken apart in one of several ways."""

    def __init__(self, apart):
        super().__init__()
        self.model = Pooled(inplace=True)
        self.apart = apart

    def forward(self, X):
        both = self.model.conv(torch.cat([X, X.flip([1, 2])]))
        both = self.model.dense(both.view(both.shape[0], -1))
        if self.apart == "length":
            return both[: len(X)] + both[len(X) :]
        if self.apart == "slices":
            n = X.shape[0]
            both = both[0 : 2 * n]
            return {"forward": both[:n], "both": torch.maximum(both[0:n], both[n : 2 * n])}
        if self.apart == "chunks":
            a, b = both.chunk(2)
            return (a + b) / 2
        return both.view(2, -1, both.shape[1]).mean(0)


class Tied(nn.Module):
    """Both strands alternating along the batch: sequences of a batch are tied together in a way of its own."""

    def __init__(self):
        super().__init__()
        self.model = Pooled()

    def forward(self, X):
        both = self.model(torch.stack([X, X.flip(1, 2)], dim=1).flatten(0, 1))
        return both[::2] + both[1::2]


class Counted(nn.Module):
    """A model that asks how many sequences there are with len, as notebooks do."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense = nn.Conv1d(4, 6, 7, padding=3), nn.Linear(6 * 160, 3)

    def forward(self, X):
        return self.dense(F.relu(self.conv(X)).reshape(len(X), -1))


class Around(nn.Module):
    """A first layer with circular padding, others with reflected and repeated ends."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv1d(4, 8, 9, padding=4, padding_mode="circular")
        self.b = nn.Conv1d(8, 8, 5, padding=2, padding_mode="reflect")
        self.c = nn.Conv1d(8, 6, 4, padding=3, padding_mode="replicate")
        self.end, self.dense = nn.ReflectionPad1d((3, 1)), nn.Linear(6, 2)

    def forward(self, X):
        x = self.end(F.gelu(self.c(F.relu(self.b(F.relu(self.a(X)))))))
        return self.dense(F.max_pool1d(x, 4).mean(2)), x[:, :, :9]


class Mirrored(nn.Module):
    """Reflected and repeated ends in a model that writes in place."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv1d(4, 8, 9, padding=4, padding_mode="reflect")
        self.b = nn.Conv1d(8, 6, 5, padding=2, padding_mode="replicate")

    def forward(self, X):
        x = self.a(X)
        x += 1
        return self.b(x.relu_())


def controls(n, length=160):
    return (torch.rand(n, 2, length, generator=torch.Generator().manual_seed(5)),)


def scales(n, length=160):
    generator = torch.Generator().manual_seed(6)
    return torch.randn(n, 1, generator=generator), torch.randn(n, 1, generator=generator)


# name -> (model, function that makes further inputs, path that is expected)
ZOO = {
    "plain": (Plain, None, "incremental"),
    "dilated": (Dilated, None, "incremental"),
    "deep dilated": (lambda: Dilated(layers=6), None, "incremental"),
    "controlled": (Controlled, controls, "incremental"),
    "pooled": (Pooled, None, "incremental"),
    "pooled in place": (lambda: Pooled(inplace=True), None, "incremental"),
    "pooled 2d": (Pooled2d, None, "incremental"),
    "rectangle": (Rectangle, None, "incremental"),
    "normalized": (Normalized, None, "incremental"),
    "strided": (Strided, None, "incremental"),
    "residual": (Residual, None, "incremental"),
    "u-net": (UNet, None, "incremental"),
    "reverse complement": (lambda: ReverseComplement(Pooled()), None, "incremental"),
    "strand profile": (StrandProfile, None, "incremental"),
    "attention": (Attention, None, "incremental"),
    "recurrent": (Recurrent, None, "incremental"),
    "excited": (Excited, None, "incremental"),
    "windows": (Windows, None, "incremental"),
    "scaled": (Scaled, scales, "incremental"),
    "compared": (Compared, None, "incremental"),
    "scaled by default": (Scaled, None, "incremental"),
    "only recurrent": (OnlyRecurrent, None, "full"),
    "branches": (Branches, None, "full"),
    "tied": (Tied, None, "full"),
    "stacked, by length": (lambda: Stacked("length"), None, "incremental"),
    "stacked, slices": (lambda: Stacked("slices"), None, "incremental"),
    "stacked, chunks": (lambda: Stacked("chunks"), None, "incremental"),
    "stacked, on an axis": (lambda: Stacked("axis"), None, "incremental"),
    "counted": (Counted, None, "incremental"),
    "around": (Around, None, "incremental"),
    "mirrored": (Mirrored, None, "incremental"),
}  # fmt: skip


def make(name, n, length=160, seed=0):
    """Return a model in float64 and its further inputs for n sequences."""
    torch.manual_seed(seed)
    build, args, path = ZOO[name]
    return build().double().eval(), tuple(a.double() for a in args(n, length)) if args else (), path
