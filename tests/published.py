"""Networks of publications whose code is in no registry, written from what the publications say, with random weights.

They stand for the authors' classes where the recipes of docs/models.md are run: sizes and outputs are those published,
names and order of operations may differ.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor, nn


def norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(channels), nn.ReLU())


class Grouped(nn.Module):
    """A dense layer for each of several groups."""

    def __init__(self, inputs: int, outputs: int, groups: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(groups, inputs, outputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(groups, 1, outputs))

    def forward(self, X: Tensor) -> Tensor:
        return (torch.bmm(X.transpose(0, 1), self.weight) + self.bias).transpose(0, 1)


class Malinois(nn.Module):
    """Gosai et al. 2024: three convolutions, a dense layer, and a branch of three for each of three cell types."""

    def __init__(self):
        super().__init__()
        layers = []
        for inputs, outputs, width, pool in ((4, 300, 19, 3), (300, 200, 11, 4), (200, 200, 7, 4)):
            layers += [nn.Conv1d(inputs, outputs, width, padding=width // 2), *norm_relu(outputs)]
            layers += [nn.ConstantPad1d(1, 0.0)] if inputs == outputs else []
            layers.append(nn.MaxPool1d(pool))
        self.convolutions = nn.Sequential(*layers, nn.Flatten(), nn.Linear(200 * 13, 1000), *norm_relu(1000))
        self.branches = nn.Sequential(
            Grouped(1000, 140, 3), nn.ReLU(), nn.Dropout(0.5), Grouped(140, 140, 3), nn.ReLU(), nn.Dropout(0.5),
            Grouped(140, 140, 3), nn.ReLU(), nn.Dropout(0.5), Grouped(140, 1, 3),
        )  # fmt: skip

    def forward(self, X: Tensor) -> Tensor:
        X = self.convolutions(X)
        return self.branches(X.unsqueeze(1).expand(-1, 3, -1)).squeeze(2)


class Excited(nn.Module):
    """Channels scaled by what their means say."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(channels, inner), nn.SiLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, X: Tensor) -> Tensor:
        n, channels, _ = X.size()
        return X * self.dense(X.view(n, channels, -1).mean(dim=2)).view(n, channels, 1)


class LegNet(nn.Module):
    """Penzar et al. 2023, as trained on reporters of 230 bp: squeeze-and-excitation blocks that are concatenated."""

    def __init__(self, widths: tuple[int, ...] = (64, 80, 96, 112, 128)):
        super().__init__()
        self.stem = self._block(4, widths[0], 11)
        self.wide, self.mixed = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in itertools.pairwise(widths):
            self.wide.append(nn.Sequential(
                self._block(inputs, 4 * inputs, 1), self._block(4 * inputs, 4 * inputs, 9, groups=4 * inputs),
                Excited(4 * inputs, inputs // 4), self._block(4 * inputs, inputs, 1),
            ))  # fmt: skip
            self.mixed.append(nn.Sequential(self._block(2 * inputs, outputs, 9), nn.MaxPool1d(2)))
        self.mapper = self._block(widths[-1], 256, 1)
        self.head = nn.Sequential(nn.Linear(256, 256), nn.BatchNorm1d(256), nn.SiLU(), nn.Linear(256, 1))

    @staticmethod
    def _block(inputs: int, outputs: int, width: int, groups: int = 1) -> nn.Sequential:
        conv = nn.Conv1d(inputs, outputs, width, padding="same", groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm1d(outputs), nn.SiLU())

    def forward(self, X: Tensor) -> Tensor:
        X = self.stem(X)
        for wide, mixed in zip(self.wide, self.mixed):
            X = mixed(torch.cat([X, wide(X)], dim=1))
        X = nn.functional.adaptive_avg_pool1d(self.mapper(X), 1).squeeze(-1)
        return self.head(X).squeeze(-1)


class Sei(nn.Module):
    """Chen et al. 2022: linear and rectified convolutions side by side, dilated ones, splines over positions."""

    def __init__(self, targets: int = 21907, widths: tuple[int, ...] = (480, 640, 960)):
        super().__init__()
        self.linear, self.bent = nn.ModuleList(), nn.ModuleList()
        for i, (inputs, outputs) in enumerate(zip((4, *widths), widths)):
            pool = [nn.MaxPool1d(4), nn.Dropout(0.2)] if i else []
            convolutions = [nn.Conv1d(a, outputs, 9, padding=4) for a in (inputs, outputs, outputs, outputs)]
            self.linear.append(nn.Sequential(*pool, *convolutions[:2]))
            self.bent.append(nn.Sequential(nn.Dropout(0.2), convolutions[2], nn.ReLU(), convolutions[3], nn.ReLU()))
        self.dilated = nn.ModuleList(
            nn.Conv1d(widths[-1], widths[-1], 5, dilation=d, padding=2 * d) for d in (2, 4, 8, 16, 25)
        )
        knots = np.r_[[0.0] * 3, np.linspace(0, 1, 14), [1.0] * 3]
        splines = BSpline.design_matrix(np.linspace(0, 1, 256), knots, 3).toarray()  # (positions, 16)
        self.register_buffer("splines", torch.from_numpy(splines).float(), persistent=False)
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * 16, targets), nn.ReLU(), nn.Linear(targets, targets), nn.Sigmoid()
        )

    def forward(self, X: Tensor) -> Tensor:
        for linear, bent in zip(self.linear, self.bent):
            X = linear(X)
            X = X + bent(X)
        for conv in self.dilated:
            X = X + torch.relu(conv(X))
        return self.classifier(torch.matmul(X, self.splines).flatten(1))


class Puffin(nn.Module):
    """Dudnyk et al. 2024: motifs on both strands, each with a curve of its effect; ten tracks."""

    def __init__(self):
        super().__init__()
        self.motifs, self.initiators = nn.Conv1d(4, 10, 51, padding=25), nn.Conv1d(4, 10, 15, padding=7)
        self.trinucleotides = nn.Conv1d(4, 32, 3, padding=1)
        self.curves = nn.Conv1d(20, 10, 601, padding=300)
        self.near, self.local = nn.Conv1d(20, 10, 15, padding=7), nn.Conv1d(64, 10, 601, padding=300)

    def _both(self, conv: nn.Conv1d, X: Tensor) -> Tensor:
        return torch.cat([conv(X), conv(X.flip([1, 2])).flip([2])], 1)

    def forward(self, X: Tensor) -> Tensor:
        y = self.curves(torch.sigmoid(self._both(self.motifs, X)))
        y = y + self.near(torch.sigmoid(self._both(self.initiators, X)))
        y = y + self.local(torch.sigmoid(self._both(self.trinucleotides, X)))
        return nn.functional.softplus(y)


def randomise(model: nn.Module, length: int, gain: float = 2, seed: int = 0) -> nn.Module:
    """Draw every weight, so that outputs vary between sequences; norms have the statistics of random sequences."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() > 1:
                inputs = tensor.shape[1] if isinstance(model.get_submodule(name.rpartition(".")[0]), Grouped) else (
                    tensor[0].numel()
                )  # fmt: skip
                tensor.copy_(torch.randn_like(tensor) * (gain / inputs) ** 0.5)
            else:
                tensor.add_(0.3 * torch.randn_like(tensor))
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
        for norm in norms:
            norm.momentum = None  # the mean over batches
        for _ in range(3 if norms else 0):
            bases = torch.randint(0, 4, (4, length))
            model.train()(nn.functional.one_hot(bases, 4).transpose(1, 2).float())
    return model.eval()
