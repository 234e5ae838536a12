"""Networks made by hand, of which it is known what an insert means: it makes a planted site, or it does not.

Each scans for one matrix of JASPAR, and a small random network beside the scan gives every insert an effect of its own.
`additive` adds what the sites give; `saturating` lets a first site take most of what there is to gain. In four uniform
backgrounds of 80 bp, in whose middle inserts are put.
`tests/benchmarks/bench_power.py` says how often what is planted is found, and how much else is.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

import control_effects
from marginome.motifs import read_motifs
from marginome.sequences import one_hot_encode, random_one_hot

PLANTED = {"MA0139.2": "CTCF", "MA0527.2": "BANP", "MA0035.5": "GATA1"}  # 15, 10 and 7 bp
KINDS = ("additive", "saturating")
LENGTH, N_BACKGROUNDS, BATCH = 80, 4, 4096
SHARE = 0.8  # of a matrix's best score: from here on a window is a site


class Handmade(torch.nn.Module):
    """Scan for a matrix, both ways round, and let its sites raise the output; (batch, 4, L) to (batch, 1).

    Parameters
    ----------
    name : str
        The matrix in JASPAR.
    kind : {'additive', 'saturating'}
        Whether sites add up, or saturate at 3.
    """

    def __init__(self, name: str, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.matrices = torch.nn.ParameterList([log_odds(name), log_odds(name).flip(0, 1)])
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.noise = torch.nn.Sequential(torch.nn.Conv1d(4, 16, 7), torch.nn.GELU(), torch.nn.Conv1d(16, 1, 5))

    def sites(self, X: torch.Tensor) -> torch.Tensor:
        """Return by how much each window passes the threshold of each matrix, as a share of its best: (batch,) sums."""
        total = torch.zeros(len(X))
        for scores in self.matrices:
            best = scores.max(dim=0).values.sum()
            found = torch.nn.functional.conv1d(X, scores[None])[:, 0] / best
            total = total + torch.relu(found - SHARE).sum(dim=1) / (1 - SHARE)
        return total

    def forward(self, X: torch.Tensor, noise: bool = True) -> torch.Tensor:
        """Return the output, with or without what is no site's."""
        sites = self.sites(X)
        sites = 3 * torch.tanh(sites / 3) if self.kind == "saturating" else sites
        return (sites + 0.3 * self.noise(X).mean(dim=(1, 2)) * noise)[:, None]


@functools.cache
def log_odds(name: str) -> torch.Tensor:
    """Log2 odds of a matrix of JASPAR against uniform bases, with a pseudocount of 0.01: (4, width)."""
    (motif,) = [m for m in read_motifs(str(control_effects.JASPAR)) if m.motif_id == name]
    return torch.log2((torch.from_numpy(motif.pwm.T).float() + 0.01) / 1.04 / 0.25)


def effects(name: str, kind: str, sequences: list[str], *, noise: bool = True) -> np.ndarray:
    """Mean effect of each sequence in the middle of the backgrounds: brute force, float64, (n,)."""
    model, X = Handmade(name, kind).eval(), random_one_hot((N_BACKGROUNDS, 4, LENGTH), random_state=3).float()
    out, by_width = np.empty(len(sequences)), {}
    for i, sequence in enumerate(sequences):
        by_width.setdefault(len(sequence), []).append(i)
    with torch.no_grad():
        before = model(X, noise=noise).double().mean()
        for width, rows in by_width.items():
            start = LENGTH // 2 - width // 2
            for some in (rows[i : i + BATCH] for i in range(0, len(rows), BATCH)):
                inserts = torch.stack([one_hot_encode(sequences[i]) for i in some]).float()
                put = X.repeat(len(some), 1, 1)
                put[:, :, start : start + width] = inserts.repeat_interleave(N_BACKGROUNDS, dim=0)
                after = model(put, noise=noise).double().view(len(some), N_BACKGROUNDS).mean(dim=1)
                out[some] = (after - before).numpy()
    return out


def means_something(name: str, sequences: list[str]) -> np.ndarray:
    """Say for each sequence whether it makes sites of a matrix, alone or with the bases beside it: bool, (n,)."""
    return np.abs(effects(name, "additive", sequences, noise=False)) > 1e-6
