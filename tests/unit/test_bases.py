"""Bases as text against Biopython and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from marginome.bases import cleaned, decode, encode, read_off, reverse_complement_text
from marginome.sequences import one_hot_encode


@given(st.text("ACGTN", max_size=40))
def test_reverse_complement_is_biopythons(sequence):
    assert reverse_complement_text(sequence) == str(Seq(sequence).reverse_complement())


@given(st.text("ACGTN", min_size=1, max_size=40))
def test_codes_and_one_hot_give_the_sequence_back(sequence):
    assert decode(encode(sequence)) == sequence == read_off(one_hot_encode(sequence).numpy())


@pytest.mark.parametrize(("given", "found"), [("acgtn", "ACGTN"), ("ACRY-*", "ACNNNN"), ("Aé", "AN"), ("", "")])
def test_what_is_no_base_is_n(given, found):
    assert cleaned(given) == found
    assert encode(given).dtype == np.uint8
