"""Models of other packages, each built by a few lines; the packages are no part of marginome and have to be installed.

The weights are a file of their own (``weights``), whose names and shapes must all fit. Nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch


def enformer(architecture: str, use_tf_gamma: bool = False) -> torch.nn.Module:
    """Build Enformer (pip install enformer-pytorch) from config.json; it returns a dict of (n, bins, tracks).

    The package sets `use_tf_gamma` for the official weights (enformer-official-rough); config.json does not tell it.
    """
    from enformer_pytorch import Enformer, EnformerConfig

    class ChannelsFirst(Enformer):
        def forward(self, X: torch.Tensor) -> dict[str, torch.Tensor]:
            return dict(super().forward(X.transpose(1, 2)))

    settings = json.loads(Path(architecture).read_text()) | {"use_tf_gamma": use_tf_gamma}
    return ChannelsFirst(EnformerConfig(**settings))


def borzoi(architecture: str) -> torch.nn.Module:
    """Build Borzoi or Flashzoi (pip install borzoi-pytorch) from config.json; it returns (n, tracks, bins).

    The package runs Flashzoi's attention (`flashed: true`) by flash-attn, on a GPU in 16 bits alone. `RotaryAttention`
    is the same attention of the same weights, for any device and precision, and needs no flash-attn.
    """
    from borzoi_pytorch import Borzoi
    from borzoi_pytorch.config_borzoi import BorzoiConfig

    settings = json.loads(Path(architecture).read_text())
    flashed = settings.pop("flashed", False)
    model = Borzoi(BorzoiConfig(**settings))
    for block in model.transformer if flashed else ():
        block[0].fn[1] = RotaryAttention(model.config.dim, model.config.heads)
    return model


class RotaryAttention(torch.nn.Module):
    """Attention in which two heads share keys and values, with rotary positions; weights are named as in Flashzoi.

    Parameters
    ----------
    dim : int
        Channels.
    heads : int
        Of the queries.
    """

    rotated, base = 128, 20000.0  # channels of a head that are turned by their position, and the longest wave

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.shared, self.size = heads, heads // 2, dim // heads
        projection = torch.nn.Linear(dim, self.size * (heads + 2 * self.shared))
        self.mha = torch.nn.ModuleDict({"Wqkv": projection, "out_proj": torch.nn.Linear(dim, dim)})

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return (n, positions, dim) for (n, positions, dim)."""
        by_head = self.mha["Wqkv"](X).unflatten(-1, (-1, self.size)).transpose(1, 2)
        q, k, v = by_head.split([self.heads, self.shared, self.shared], dim=1)
        k, v = (shared.repeat_interleave(self.heads // self.shared, dim=1) for shared in (k, v))
        q, k = self._turned(q), self._turned(k)
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=self.size**-0.5)
        return self.mha["out_proj"](y.transpose(1, 2).flatten(2))

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        """Channels i and i + 64 of a head, as a point of a plane, turned by an angle that grows with the position."""
        half = self.rotated // 2
        waves = 1 / self.base ** (torch.arange(half, dtype=torch.float32, device=x.device) / half)
        angles = torch.arange(x.shape[2], dtype=torch.float32, device=x.device)[:, None] * waves
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        a, b, rest = x.split([half, half, x.shape[3] - self.rotated], dim=3)
        return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=3)


def openspliceai(flanking: int = 400) -> torch.nn.Module:
    """Build OpenSpliceAI (pip install openspliceai) of a flanking size; (n, 3, length - flanking) probabilities.

    The three are: no site, acceptor, donor. Any length above the flanking size will do.
    """
    import numpy as np
    from openspliceai.train_base.openspliceai import SpliceAI

    sizes = {80: 4, 400: 8, 2000: 12, 10000: 16}
    if flanking not in sizes:
        raise ValueError(f"flanking is one of {', '.join(map(str, sizes))}, as the file was trained")
    units = sizes[flanking]
    widths, dilations = np.array([11] * 8 + [21] * 4 + [41] * 4), np.repeat([1, 4, 10, 25], 4)
    return SpliceAI(32, widths[:units], dilations[:units])


def pangolin() -> torch.nn.Module:
    """Build Pangolin (pip install bipangolin); (n, 12, length - 10000) probabilities.

    Of each tissue (heart, liver, brain, testis) three rows: no site, a site, and its usage. A file is of one tissue, in
    the order of the numbers in its name, and the other rows of what it gives mean nothing.
    """
    from bipangolin.model import AR, L, Pangolin, W

    return Pangolin(L, W, AR)
