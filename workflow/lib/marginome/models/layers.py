"""Small modules that the loaders build models from; every one is a module of its own, so attribution can hook it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Exp(nn.Module):
    """Elementwise exponential."""

    def forward(self, X: Tensor) -> Tensor:
        """Return exp(X), of the same shape."""
        return torch.exp(X)


class Log(nn.Module):
    """Elementwise natural logarithm."""

    def forward(self, X: Tensor) -> Tensor:
        """Return log(X), of the same shape."""
        return torch.log(X)


class LogSumExp(nn.Module):
    """Logarithm of the sum of exponentials over the last axis, which is kept with length 1.

    Written as exp, sum, log so that each step has a DeepLIFT rule. Log counts are far below the 88 at
    which float32 overflows.
    """

    def __init__(self):
        super().__init__()
        self.exp, self.log = Exp(), Log()

    def forward(self, X: Tensor) -> Tensor:
        """``(n, k)`` to ``(n, 1)``."""
        return self.log(self.exp(X).sum(dim=-1, keepdim=True))
