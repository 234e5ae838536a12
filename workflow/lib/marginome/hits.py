"""Strong hits of motifs in a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from marginome.bases import encode
from marginome.errors import MarginomeError
from marginome.motifs.motif import Motif


class HitFinder:
    """Says whether a sequence holds a strong hit of any of some motifs, on either strand.

    Parameters
    ----------
    motifs : sequence of Motif
    p_value : float
        A hit scores at least as high as a fraction `p_value` of all words would, were bases equally
        frequent. The score is the sum of log2(p / 0.25) with a pseudocount of 0.001 in every cell; its
        distribution is summed exactly over scores rounded to 1/100 of a bit (as FIMO does; Grant, Bailey and
        Noble 2011, Bioinformatics 27:1017).

    Attributes
    ----------
    scores : list of numpy.ndarray
        Of each motif, int64, (width, 4), in 1/100 of a bit.
    limits : list of int
        From which score on a word is a hit.
    """

    STEP = 0.01

    def __init__(self, motifs: Sequence[Motif], p_value: float):
        if not 0 < p_value <= 1:
            raise MarginomeError(f"expected a p-value above 0 and at most 1, found {p_value}", where="exclude_hits")
        self.motifs = list(motifs)
        self.scores: list[np.ndarray] = []
        self.limits: list[int] = []
        for motif in self.motifs:
            pwm = (motif.pwm + 1e-3) / (1 + 4e-3)
            steps = np.rint(np.log2(pwm / 0.25) / self.STEP).astype(np.int64)
            self.scores.append(steps)
            self.limits.append(self._threshold(steps, p_value))

    @staticmethod
    def _threshold(steps: np.ndarray, p_value: float) -> int:
        """Return the least score whose tail probability is at most `p_value`; above all scores if none is."""
        low = steps.min(1)
        probability = np.ones(1)
        for row, least in zip(steps, low):
            longer = np.zeros(len(probability) + int(row.max() - least))
            for score in row - least:
                longer[score : score + len(probability)] += 0.25 * probability
            probability = longer
        tail = probability[::-1].cumsum()[::-1]
        enough = np.flatnonzero(tail <= p_value * (1 + 1e-9))
        return int(low.sum() + (enough[0] if len(enough) else len(tail)))

    def find(self, sequence: str) -> str | None:
        """Return the id of the first motif with a hit, or None."""
        codes = encode(sequence).astype(np.int64)
        for motif, steps, limit in zip(self.motifs, self.scores, self.limits):
            width = len(steps)
            if len(codes) < width:
                continue
            for strand in (steps, steps[::-1, ::-1]):
                padded = np.c_[strand, np.full(width, -(10**9))]  # an unknown base is no part of a hit
                total = np.zeros(len(codes) - width + 1, dtype=np.int64)
                for i in range(width):
                    total += padded[i, codes[i : len(codes) - width + 1 + i]]
                if total.max() >= limit:
                    return motif.motif_id
        return None
