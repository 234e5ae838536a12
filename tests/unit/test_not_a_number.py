"""NaN and infinity as arguments and in what is compared: `NaN > x` is False, so a gate asks the other way round."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from marginome import (
    MarginomeError,
    dinucleotide_shuffle,
    list_controls,
    log2_fold_change,
    make_background,
    marginalize_annotations,
    random_one_hot,
    recursive_seqlets,
    saturation_mutagenesis,
    tfmodisco_seqlets,
)
from marginome.annotation import information_bits, query_of_attributions
from marginome.gc_matching import gc_bins
from marginome.hits import HitFinder
from marginome.inserts import insert_sequence
from marginome.motifs import Motif, read_motifs, select_motifs
from marginome.patterns import trimmed_span
from workspace import RESOURCES

NAN = math.nan
X = random_one_hot((3, 4, 60), random_state=0)
TRACK = np.random.default_rng(0).normal(size=(3, 60))
JASPAR = RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme"


def without_numbers(width: int = 6) -> Motif:
    return Motif("M1", "m", np.full((width, 4), NAN), "by hand", 1, "none")


def composition(*probabilities):
    settings = {"kind": "composition", "n": 4, "length": 50, "probabilities": list(probabilities)}
    return make_background(settings, name="b", seed=1)


REFUSED = {
    "pseudocount": lambda: log2_fold_change(torch.ones(2, 1), torch.ones(2, 1), NAN),
    "pseudocount inf": lambda: log2_fold_change(torch.ones(2, 1), torch.ones(2, 1), math.inf),
    "threshold": lambda: recursive_seqlets(TRACK, threshold=NAN),
    "n_bins": lambda: recursive_seqlets(TRACK, n_bins=NAN),
    "flanks": lambda: recursive_seqlets(TRACK, additional_flanks=NAN),
    "seqlet length": lambda: recursive_seqlets(TRACK, max_seqlet_len=NAN),
    "window": lambda: tfmodisco_seqlets(TRACK, window_size=NAN),
    "target_fdr": lambda: tfmodisco_seqlets(TRACK, target_fdr=NAN),
    "passing": lambda: tfmodisco_seqlets(TRACK, max_passing_frac=NAN),
    "shuffles": lambda: dinucleotide_shuffle(X, n=NAN),
    "controls": lambda: list_controls([("a", "ACGTAC")], n=NAN),
    "probabilities": lambda: composition(NAN, 0.5, 0.25, 0.25),
    "all probabilities": lambda: composition(NAN, NAN, NAN, NAN),
    "p of hits": lambda: HitFinder(read_motifs(JASPAR)[:1], NAN),
    "bin width": lambda: gc_bins(np.array([0.5]), NAN),
    "drawn from no matrix": lambda: insert_sequence(without_numbers(), mode="sample", sample=0),
    "consensus of no matrix": lambda: insert_sequence(without_numbers()),
    "selected by no information": lambda: select_motifs([without_numbers()], min_information_bits=1),
    "selected by NaN bits": lambda: select_motifs(read_motifs(JASPAR)[:3], min_information_bits=NAN),
    "trim": lambda: trimmed_span(np.ones((5, 4)), NAN),
    "contributions": lambda: trimmed_span(np.full((5, 4), NAN), 0.3),
    "query": lambda: query_of_attributions(np.full((4, 5), NAN), 1),
    "sign": lambda: query_of_attributions(np.ones((4, 5)), NAN),
    "annotations": lambda: marginalize_annotations(torch.nn.Flatten(), X, X, torch.tensor([[0, NAN, 9]]), device="cpu"),
    "half positions": lambda: marginalize_annotations(
        torch.nn.Flatten(), X, X, torch.tensor([[0, 2.5, 9]]), device="cpu"
    ),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_is_no_number_is_refused(call):
    with pytest.raises(MarginomeError):
        call()


def test_a_matrix_without_numbers_holds_no_information():
    assert math.isnan(without_numbers().information_bits)
    assert math.isnan(information_bits(np.full((4, 5), NAN)))
    flat, sure = np.full((4, 5), 0.25), np.eye(4)
    assert (information_bits(flat), information_bits(sure)) == (0, 8)


class LogOfNothing(torch.nn.Module):
    """Minus infinity before and after an edit: infinity - infinity is no effect."""

    def forward(self, X):
        return torch.log(X[:, 0].sum(1, keepdim=True) * 0)


def test_infinite_outputs_have_no_mutagenesis():
    with pytest.raises(MarginomeError, match=r"infinite for sequence 0, 1, 2.*no differences"):
        saturation_mutagenesis(LogOfNothing(), X, end=5, device="cpu")
