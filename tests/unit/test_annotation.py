"""Annotation: motifs are named, what means nothing is not; tangermeme names the same best motif."""

from __future__ import annotations

import numpy as np
import pytest

from marginome.annotation import _against_null, annotate, information_bits, query_of_attributions
from marginome.errors import MarginomeError
from marginome.motifs import Motif, read_motifs
from workspace import RESOURCES


@pytest.fixture(scope="module")
def motifs():
    return read_motifs(RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme")[:160]


def noisy(motif: Motif, rng: np.random.Generator) -> np.ndarray:
    """A motif with its probabilities disturbed and flat columns around it, as a query."""
    disturbed = np.array([rng.dirichlet(40 * row + 0.3) for row in motif.pwm]).T
    flat = np.full((4, 2), 0.25)
    return np.concatenate([flat, disturbed, flat], axis=1)


@pytest.fixture(scope="module")
def queries(motifs):
    rng = np.random.default_rng(0)
    informative = [m for m in motifs if m.information_bits > 10][:60]
    return informative, [noisy(m, rng) for m in informative]


@pytest.fixture(scope="module")
def named(motifs, queries):
    return annotate(queries[1], motifs, seed=1, shuffles=1000)


def test_noisy_motifs_are_named_as_what_they_are(motifs, queries, named):
    right = [motifs[i].motif_id == m.motif_id for i, m in zip(named.motif, queries[0])]
    assert np.mean(right) > 0.8  # families of JASPAR hold near copies of one another
    assert (named.q <= 0.05).mean() > 0.9
    exact = np.array(right) & (named.strand == "+")
    assert (named.offset[exact] == 2).mean() > 0.9
    widths = np.array([m.width for m in queries[0]])
    assert (named.overlap[exact] == widths[exact]).all()


def test_shuffled_queries_match_nothing(motifs, queries):
    rng = np.random.default_rng(5)
    shuffled = [q[:, rng.permutation(q.shape[1])] for q in queries[1]]
    found = annotate(shuffled, motifs, seed=1, shuffles=1000)
    assert (found.q <= 0.05).sum() == 0
    # their p-values are spread like chance's, which Tomtom's own are not
    assert 0.3 < np.median(found.p) < 0.7
    assert np.median(found.tomtom_p) < 0.05


def test_a_flat_motif_matches_nothing(motifs, queries):
    flat = [np.full((4, 12), 0.25), np.full((4, 12), 0.25) + 0.01 * np.array([[1], [-1], [1], [-1]])]
    found = annotate([*flat, *queries[1][:10]], motifs, seed=1, shuffles=500)
    assert (found.motif[:2] == -1).all() and (found.q[:2] == 1).all() and np.isnan(found.tomtom_p[:2]).all()
    assert (found.motif[2:] >= 0).all()
    # nor is a flat motif of the collection matched by anything
    with_flat = [*motifs[:60], Motif("flat", "flat", np.full((12, 4), 0.25), "test", 0, "meme")]
    again = annotate(queries[1], with_flat, seed=1, shuffles=500)
    assert 60 not in again.motif


def test_the_reverse_complement_is_found_on_the_other_strand(motifs, queries, named):
    turned = annotate([q[::-1, ::-1] for q in queries[1][:20]], motifs, seed=1, shuffles=500)
    palindromes = named.strand[:20] == turned.strand
    assert palindromes.mean() < 0.3
    assert (turned.motif == named.motif[:20]).mean() > 0.9


def test_tangermeme_finds_the_same_best_motif(motifs):
    import pandas as pd
    import torch
    from tangermeme.annotate import annotate_seqlets

    rng = np.random.default_rng(3)
    X = torch.eye(4, dtype=torch.float64)[torch.from_numpy(rng.integers(0, 4, (3, 200)))].transpose(1, 2).contiguous()
    spans = [(i, start, start + width) for i in range(3) for start, width in ((10, 9), (50, 12), (120, 15))]
    seqlets = pd.DataFrame(spans, columns=["example_idx", "start", "end"])
    # only motifs that are compared here: the gate is ours
    kept = [m for m in motifs if m.information_bits >= 6]
    index, p = annotate_seqlets(X, seqlets, {m.motif_id: m.pwm.T for m in kept}, n_jobs=1)
    ours = annotate([X[i, :, a:b].numpy().astype(np.float64) for i, a, b in spans], kept, seed=1, shuffles=300)
    assert ours.motif.tolist() == index[:, 0].tolist()
    np.testing.assert_allclose(ours.tomtom_p, p[:, 0].numpy(), rtol=1e-9)


def test_a_query_is_made_of_the_signs_that_count():
    hypothetical = np.zeros((4, 6))
    hypothetical[1, 2], hypothetical[3, 4] = 0.5, 0.25
    positive, negative = (query_of_attributions(hypothetical, sign) for sign in (1.0, -1.0))
    np.testing.assert_allclose(positive.sum(0), 1)
    assert positive[:, 2].argmax() == 1 and positive[:, 4].argmax() == 3 and negative[:, 2].argmin() == 1
    assert information_bits(positive[:, 2:3]) > information_bits(positive[:, 4:5]) > 0
    np.testing.assert_allclose(positive[:, 0], 0.25)
    np.testing.assert_allclose(query_of_attributions(np.zeros((4, 3)), 1.0), 0.25)
    # the scale of the attributions does not matter
    np.testing.assert_allclose(query_of_attributions(1000 * hypothetical, 1.0), positive)


def test_information_bits():
    assert information_bits(np.eye(4)) == pytest.approx(8)
    assert information_bits(np.full((4, 5), 0.25)) == pytest.approx(0)


def test_empty_and_useless_input(motifs):
    found = annotate([], motifs, seed=1)
    assert len(found.motif) == len(found.q) == 0
    with pytest.raises(MarginomeError, match="none of 1 motifs has 6 bits"):
        annotate([np.eye(4)], [Motif("flat", "flat", np.full((12, 4), 0.25), "test", 0, "meme")], seed=1)


def test_what_is_not_a_number_names_nothing(motifs, monkeypatch):
    """NaN is below and above nothing: it must neither pass for information nor for the best of p-values."""
    hypothetical = np.ones((4, 9))
    hypothetical[2, 3] = np.nan
    with pytest.raises(MarginomeError, match="not finite"):
        query_of_attributions(hypothetical, 1)
    broken = np.concatenate([motifs[0].pwm.T[:, :3], np.full((4, 6), np.nan)], axis=1)
    assert np.isnan(information_bits(broken))
    assert information_bits(np.eye(4)) == 8
    found = annotate([broken, motifs[1].pwm.T], motifs[:20], seed=0, shuffles=40)
    assert (found.motif[0], found.p[0]) == (-1, 1) and found.motif[1] == 1

    import memelite

    original = memelite.tomtom

    def without_a_p_value(queries, targets, **settings):
        best = original(queries, targets, **settings)
        if len(queries) == 1:
            best[0] = np.nan
        return best

    monkeypatch.setattr(memelite, "tomtom", without_a_p_value)
    assert annotate([motifs[1].pwm.T], motifs[:20], seed=0, shuffles=40).p[0] == 1


def test_a_score_is_ranked_among_null_scores_of_its_own_width():
    rng = np.random.default_rng(0)
    widths, null_widths = np.array([6, 12, 6]), np.repeat([6, 12], 600)
    null = rng.normal(size=1200) + null_widths
    scores = np.array([6.2, 6.2, 7.0])
    expected = [(1 + (null[null_widths == w] >= s).sum()) / 601 for s, w in zip(scores, widths)]
    np.testing.assert_allclose(_against_null(scores, widths, null, null_widths), expected, rtol=1e-12)
