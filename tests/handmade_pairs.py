"""Networks made by hand, of which it is known which motifs cooperate, at which distance and how much.

Each scans for some matrices of JASPAR on both strands; their sites add up with weights, and a random network beside the
scan disturbs neighbours. `KINDS` says what is done with the sum, and what two sites do together:

``additive``: nothing. ``saturating``: s becomes 3 tanh(s / 3), no cooperation. ``cooperative``: the two of `TOGETHER`
gain `GAIN` at 8 to 12 bp between them, both forward, the first one upstream. ``repressive``: they lose as much within
30 bp. ``periodic``: they gain by a wave of 10.5 bp. The last three saturate too.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import torch

import control_effects
from handmade import log_odds
from marginome.insert_lists import insert_table
from marginome.inserts import list_inserts
from marginome.motifs import read_motifs
from marginome.pair_designs import expand_pairs, mismatched_inserts
from marginome.sequences import random_one_hot
from marginome.substitution import encode_insert

KINDS = ("additive", "saturating", "cooperative", "repressive", "periodic")
#: Motifs and the weights of their sites.
WEIGHTS = {"MA0139.2": 1.0, "MA0527.2": 1.5, "MA0035.5": 0.4, "MA0506.3": 1.2, "MA0099.4": 0.8, "MA0062.4": 0.6,
           "MA0093.4": 0.9, "MA0114.5": 0.3}  # fmt: skip
TOGETHER, GAIN = ("MA0099.4", "MA0062.4"), 0.3
NOISE = 2.0
LENGTH, BATCH = 220, 2048
SHARE = 0.8  # of a matrix's best score: from here on a window is a site


class HandmadePairs(torch.nn.Module):
    """(batch, 4, L) to (batch, 1); see the module."""

    def __init__(self, kind: str, *, turn: float = 10.5) -> None:
        super().__init__()
        self.kind, self.turn = kind, turn
        matrices = [log_odds(name) for name in WEIGHTS]
        self.widths = {name: m.shape[1] for name, m in zip(WEIGHTS, matrices)}
        self.widest = max(self.widths.values())
        best = [m.max(dim=0).values.sum() for m in matrices]
        scaled = [m / b for m, b in zip(matrices, best)]
        kernels = [torch.nn.functional.pad(k, (0, self.widest - k.shape[1]))
                   for k in [*scaled, *(m.flip(0, 1) for m in scaled)]]  # fmt: skip
        self.kernels = torch.nn.Parameter(torch.stack(kernels))
        self.weights = torch.nn.Parameter(torch.tensor([*WEIGHTS.values()] * 2))
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.noise = torch.nn.Sequential(
                torch.nn.Conv1d(4, 16, 7), torch.nn.Tanh(), torch.nn.Conv1d(16, 16, 3, dilation=8), torch.nn.Tanh(),
                torch.nn.Conv1d(16, 16, 3, dilation=24), torch.nn.Tanh(), torch.nn.Conv1d(16, 1, 1),
            )  # fmt: skip
            for layer in self.noise[::2]:
                layer.weight.data *= 3

    def sites(self, X: torch.Tensor) -> torch.Tensor:
        """How far each window passes the threshold of each matrix, 1 for its best, (batch, 2 matrices, L)."""
        found = torch.nn.functional.conv1d(torch.nn.functional.pad(X, (0, self.widest - 1)), self.kernels)
        return torch.relu(found - SHARE) / (1 - SHARE)

    def together(self, sites: torch.Tensor) -> torch.Tensor:
        """What the two sites of `TOGETHER` do beside what they do alone, (batch,)."""
        upstream, downstream = (sites[:, list(WEIGHTS).index(name)] for name in TOGETHER)
        gaps = {"cooperative": range(8, 13), "repressive": range(31), "periodic": range(61)}[self.kind]
        total = torch.zeros(len(sites))
        for gap in gaps:
            shift = self.widths[TOGETHER[0]] + gap
            both = (upstream[:, : upstream.shape[1] - shift] * downstream[:, shift:]).sum(dim=1)
            size = {"cooperative": 1.0, "repressive": -1.0}.get(self.kind, np.cos(2 * np.pi * gap / self.turn))
            total = total + GAIN * size * both
        return total

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        sites = self.sites(X)
        total = (sites.sum(dim=2) * self.weights).sum(dim=1)
        if self.kind in ("cooperative", "repressive", "periodic"):
            total = total + self.together(sites)
        if self.kind != "additive":
            total = 3 * torch.tanh(total / 3)
        return (total + NOISE * self.noise(X).mean(dim=(1, 2)))[:, None]


@functools.cache
def motifs() -> tuple:
    """The motifs of `WEIGHTS`, in that order."""
    found = {m.motif_id: m for m in read_motifs(str(control_effects.JASPAR))}
    return tuple(found[name] for name in WEIGHTS)


def listed(pairs: list[dict], *, seed: int = 1) -> pd.DataFrame:
    """The insert list of pairs and mismatched pairs, centred in `LENGTH` bp."""
    expanded = expand_pairs(pairs, motifs())
    placed = {"positions": "centre", "length": LENGTH, "seed": seed, "collection": "handmade"}
    inserts = list_inserts(motifs(), pairs=expanded, **placed)
    table = insert_table(inserts, {}, seed, mismatched_inserts(expanded, motifs(), **placed))
    return table.rename(columns={"offset": "start"})


def effects(
    model: torch.nn.Module, table: pd.DataFrame, *, n_backgrounds: int, seed: int = 3, each: bool = False
) -> np.ndarray:
    """Effect of each insert: brute force, float64; the mean (n,), or of each background (n, n_backgrounds)."""
    X = random_one_hot((n_backgrounds, 4, LENGTH), random_state=seed).float()
    out = np.empty((len(table), n_backgrounds))
    with torch.no_grad():
        before = model(X).double()[:, 0]
        width = table["insert"].str.len().to_numpy()
        for size in np.unique(width):
            rows = np.flatnonzero(width == size)
            for some in np.array_split(rows, len(rows) * n_backgrounds // BATCH + 1):
                part = table.iloc[some]
                put = X.repeat(len(some), 1, 1)
                coded = torch.stack([encode_insert(sequence)[0].float() for sequence in part["insert"]])
                coded = coded.repeat_interleave(n_backgrounds, dim=0)
                starts = torch.tensor(part["start"].to_numpy()).repeat_interleave(n_backgrounds)
                index = (starts[:, None] + torch.arange(size))[:, None].expand(-1, 4, -1)
                kept = torch.where(coded.sum(dim=1, keepdim=True) > 0, coded, put.gather(2, index))
                after = model(put.scatter(2, index, kept)).double().view(len(some), n_backgrounds)
                out[some] = (after - before).numpy()
    return out if each else out.mean(axis=1)
