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
    """Build Borzoi or Flashzoi (pip install borzoi-pytorch) from config.json; it returns (n, tracks, bins)."""
    from borzoi_pytorch import Borzoi
    from borzoi_pytorch.config_borzoi import BorzoiConfig

    return Borzoi(BorzoiConfig(**json.loads(Path(architecture).read_text())))


def openspliceai(flanking: int = 400) -> torch.nn.Module:
    """Build OpenSpliceAI (pip install openspliceai) of a flanking size; (n, 3, length - flanking) probabilities.

    The three are: no site, acceptor, donor. Any length above the flanking size will do.
    """
    import numpy as np
    from openspliceai.train_base.openspliceai import SpliceAI

    units = {80: 4, 400: 8, 2000: 12, 10000: 16}[flanking]
    widths, dilations = np.array([11] * 8 + [21] * 4 + [41] * 4), np.repeat([1, 4, 10, 25], 4)
    return SpliceAI(32, widths[:units], dilations[:units])


def pangolin() -> torch.nn.Module:
    """Build Pangolin (pip install bipangolin); (n, 12, length - 10000) probabilities.

    Of each tissue (heart, liver, brain, testis) three rows: no site, a site, and its usage. A file is of one tissue, in
    the order of the numbers in its name, and the other rows of what it gives mean nothing.
    """
    from bipangolin.model import AR, L, Pangolin, W

    return Pangolin(L, W, AR)
