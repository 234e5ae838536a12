"""Sites that two neighbours make where they meet, against a search letter by letter."""

from __future__ import annotations

import numpy as np
import pytest

import handmade_pairs
from marginome.bases import reverse_complement_text
from marginome.hits import HitFinder
from marginome.seams import seam_sites

MOTIFS = handmade_pairs.motifs()


def slow(left, gap, right, motif, p_value):
    """The same for one motif, one window after the other: whether a strand makes a site that no half does."""
    finder = HitFinder([motif], p_value)
    (scores,), (limit,) = finder.scores, finder.limits
    pad, width = 40, len(scores)
    texts = [side[0] + "N" * gap + side[1] for side in
             ((left, right), (left, "N" * len(right)), ("N" * len(left), right))]  # fmt: skip
    made = False
    for matrix in (scores, scores[::-1, ::-1]):
        reached = []
        for text in texts:
            padded = "N" * pad + text + "N" * pad
            windows = [padded[i : i + width] for i in range(pad + len(left) + gap - width + 1, pad + len(left))]
            means = [dict(zip("ACGTN", [*row, row.mean()])) for row in matrix]
            reached.append(any(sum(row[base] for row, base in zip(means, window)) >= limit for window in windows))
        made |= reached == [True, False, False]
    return made


@pytest.mark.parametrize("gap", [0, 1, 3, 6])
def test_random_halves_against_letter_by_letter(gap):
    rng = np.random.default_rng(gap)
    motif = MOTIFS[2]  # 7 bp, so that chance makes some
    lefts, rights = (["".join(rng.choice(list("ACGT"), 9)) for _ in range(300)] for _ in range(2))
    found = seam_sites(lefts, [gap] * 300, rights, [motif], p_value=0.02)
    expected = [slow(left, gap, right, motif, 0.02) for left, right in zip(lefts, rights)]
    assert [name is not None for name in found] == expected
    assert any(expected) or gap > 3


def test_a_motif_cut_in_two_is_on_the_seam_and_a_whole_one_is_not():
    consensus = MOTIFS[0].consensus
    half = len(consensus) // 2
    halves = ("A" * 5 + consensus[:half], consensus[half:] + "A" * 5)
    whole = ("A" * 5 + consensus, "ACACACAC")
    turned = (reverse_complement_text(halves[1]), reverse_complement_text(halves[0]))
    lefts, rights = zip(halves, whole, turned, halves)
    found = seam_sites(lefts, [0, 0, 0, 40], rights, MOTIFS)
    assert found[0] == found[2] == MOTIFS[0].motif_id
    assert found[1] is None, "the left one holds it by itself"
    assert found[3] is None, "too far apart for any motif"


def test_a_site_whose_middle_is_background():
    """It is one where what both sides give suffices."""
    consensus = MOTIFS[0].consensus  # 15 bp
    left, right = consensus[:7], consensus[8:]
    assert seam_sites([left], [1], [right], [MOTIFS[0]]) == [MOTIFS[0].motif_id]
    assert seam_sites([left], [1], ["T" * len(right)], [MOTIFS[0]]) == [None]
    assert seam_sites([], [], [], MOTIFS) == []
