"""Sites that two motifs make where they meet: an interaction that is no cooperation of the two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from marginome.bases import encode
from marginome.hits import HitFinder
from marginome.motifs.motif import Motif

_BATCH = 256


def seam_sites(
    left: Sequence[str], gap: Sequence[int], right: Sequence[str], motifs: Sequence[Motif], *, p_value: float = 1e-4
) -> list[str | None]:
    """Return, for each two neighbours, a motif that has a site across their seam which neither of them holds.

    Parameters
    ----------
    left, right : sequence of str, length n
        What stands on the left and on the right (A, C, G, T, N).
    gap : sequence of int, length n
        Bases between them (bp), which belong to the background, like those on either side: each counts as the mean of
        the four bases.
    motifs : sequence of Motif
        Whose sites are looked for, on both strands.
    p_value : float, default 1e-4
        A site scores as high as this share of all words does at most; see `HitFinder`.

    Returns
    -------
    list of str or None
        The id of the motif whose site scores highest above its threshold; None where there is none.

    Notes
    -----
    A motif counts if a window with at least a base of either neighbour reaches the threshold on a strand, and none
    does on that strand when background takes the place of either neighbour.
    """
    finder = HitFinder(motifs, p_value)
    widest = max((len(scores) for scores in finder.scores), default=0)
    groups: dict[int, list[int]] = {}
    for i, scores in enumerate(finder.scores):
        groups.setdefault(len(scores), []).append(i)
    keys = list(zip(left, [int(g) for g in gap], right))
    found: dict[tuple[str, int, str], str | None] = dict.fromkeys(keys)
    by_size: dict[tuple[int, int, int], list[tuple[str, int, str]]] = {}
    for key in found:
        if key[1] + 2 <= widest:
            by_size.setdefault((len(key[0]), key[1], len(key[2])), []).append(key)
    for (a, between, b), some in by_size.items():
        for at in range(0, len(some), _BATCH):
            part = some[at : at + _BATCH]
            best = np.zeros(len(part))  # above the threshold
            coded = _coded(part, a, between, b, pad=widest)
            for width, members in groups.items():
                if between + 2 > width:
                    continue
                # windows with at least the last base of the left one and the first of the right one
                first = np.arange(widest + a + between - width + 1, widest + a)
                first = first[(first >= 0)]
                matrices = [finder.scores[i] for i in members] + [finder.scores[i][::-1, ::-1] for i in members]
                weights = np.stack([m.reshape(-1) for m in matrices], axis=1).astype(np.float32)
                limits = np.array([finder.limits[i] for i in members] * 2)
                windows = first[:, None] + np.arange(width)
                both, alone_left, alone_right = (
                    (x[:, windows].reshape(len(part), len(first), -1) @ weights).max(axis=1) for x in coded
                )
                made = np.where((alone_left < limits) & (alone_right < limits), both - limits, -1)
                which = made.argmax(axis=1)
                size = made[np.arange(len(part)), which]
                for i in np.flatnonzero((size >= 0) & (size + 1 > best)):
                    best[i] = size[i] + 1
                    found[part[i]] = finder.motifs[members[which[i] % len(members)]].motif_id
    return [found[key] for key in keys]


def _coded(
    part: Sequence[tuple[str, int, str]], a: int, between: int, b: int, *, pad: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One-hot codes of both neighbours, of the left and of the right one alone; a quarter of each base elsewhere."""
    both = np.full((len(part), 2 * pad + a + between + b, 4), 0.25, dtype=np.float32)
    identity = np.vstack([np.eye(4, dtype=np.float32), np.full((1, 4), 0.25, dtype=np.float32)])
    for i, (left, _, right) in enumerate(part):
        both[i, pad : pad + a] = identity[encode(left)]
        both[i, pad + a + between : pad + a + between + b] = identity[encode(right)]
    on_left, on_right = both.copy(), both.copy()
    on_left[:, pad + a :] = 0.25
    on_right[:, : pad + a] = 0.25
    return both, on_left, on_right
