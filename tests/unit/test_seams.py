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
    """One window after the other: how far above its threshold is a site that no half makes; None if there is none."""
    finder = HitFinder([motif], p_value)
    (scores,), (limit,) = finder.scores, finder.limits
    pad, width = 40, len(scores)
    texts = [side[0] + "N" * gap + side[1] for side in
             ((left, right), (left, "N" * len(right)), ("N" * len(left), right))]  # fmt: skip
    made = []
    for matrix in (scores, scores[::-1, ::-1]):
        means = [dict(zip("ACGTN", [*row, row.mean()])) for row in matrix]
        best = []
        for text in texts:
            padded = "N" * pad + text + "N" * pad
            windows = [padded[i : i + width] for i in range(pad + len(left) + gap - width + 1, pad + len(left))]
            best.append(max((sum(row[base] for row, base in zip(means, window)) for window in windows), default=-1e9))
        if best[0] >= limit > max(best[1:]):
            made.append(best[0] - limit)
    return max(made, default=None)


@pytest.mark.parametrize(("gap", "p_value"), [(0, 0.02), (1, 0.02), (3, 0.02), (5, 0.3), (6, 0.3)])
def test_random_halves_against_letter_by_letter(gap, p_value):
    """With a gap of 5 the site has one base of either; with 6 it would have none of one of them."""
    rng = np.random.default_rng(gap)
    motif = MOTIFS[2]  # 7 bp, so that chance makes some
    lefts, rights = (["".join(rng.choice(list("ACGT"), 9)) for _ in range(300)] for _ in range(2))
    found = seam_sites(lefts, [gap] * 300, rights, [motif], p_value=p_value)
    expected = [slow(left, gap, right, motif, p_value) is not None for left, right in zip(lefts, rights)]
    assert [name is not None for name in found] == expected
    assert any(expected) == (gap <= 5)


def test_of_several_motifs_the_site_farthest_above_its_threshold_is_named():
    """Halves of all widths and gaps, some that only the wider motifs bridge, against letter by letter."""
    rng = np.random.default_rng(5)
    n = 90
    lefts, rights = (["".join(rng.choice(list("ACGTN"), rng.integers(1, 14))) for _ in range(n)] for _ in range(2))
    gaps = [int(gap) for gap in rng.integers(0, 11, n)]
    found = seam_sites(lefts, gaps, rights, MOTIFS, p_value=0.05)
    several = 0
    for left, gap, right, name in zip(lefts, gaps, rights, found):
        made = {m.motif_id: slow(left, gap, right, m, 0.05) for m in MOTIFS}
        made = {motif: size for motif, size in made.items() if size is not None}
        assert name == max(made, key=made.get, default=None), (left, gap, right, made)
        several += len(made) > 1
    assert several > 5 and min(len(m.consensus) for m in MOTIFS) < max(gaps) + 2


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
    # a motif of 7 bp cannot reach over 6 and a base on either side; that it comes first is no reason to stop
    narrow, far = MOTIFS[2], (consensus[:5], 6, consensus[11:])
    assert slow(*far, MOTIFS[0], 0.05) is not None
    assert seam_sites(*([part] for part in far), [narrow, MOTIFS[0]], p_value=0.05) == [MOTIFS[0].motif_id]
