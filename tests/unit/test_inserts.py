"""What goes in and where: consensus, samples, orientations, positions, flanks, pairs and their interaction."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marginome.bases import reverse_complement_text
from marginome.errors import MarginomeError
from marginome.inserts import insert_sequence, list_inserts, list_starts
from marginome.interactions import interaction
from marginome.motifs import Motif, collect_motifs, read_motifs
from marginome.placing import FIRST_BASE, place
from workspace import RESOURCES


@pytest.fixture(scope="module")
def motifs():
    return collect_motifs(
        {
            "files": [str(RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme")],
            "include": ["MA0139.2", "MA0138*", "MA0002*"],
        }
    )


def from_text(tmp_path, text):
    path = tmp_path / "inserts.tsv"
    path.write_text(text)
    return read_motifs(path)


def test_consensus_is_the_argmax_of_the_pwm(motifs):
    for motif in motifs:
        expected = "".join("ACGT"[i] for i in motif.pwm.argmax(1))
        assert insert_sequence(motif) == expected
    inserts = list_inserts(motifs, length=2114)
    assert [(i.motif_id, i.orientation) for i in inserts] == [(m.motif_id, o) for m in motifs for o in "+-"]
    assert inserts[1].sequence == reverse_complement_text(inserts[0].sequence)


@pytest.mark.parametrize(("start", "fits"), [(0, True), (7, True), (-1, False), (8, False)])
def test_an_insert_may_reach_both_ends_and_not_beyond(start, fits):
    table = pd.DataFrame({"motif_id": ["m"], "insert": ["ACGTA"], "offset": [start], "collection": "c",
                          "orientation": "+"})  # fmt: skip
    if fits:
        assert place(table, 12, counted_from=FIRST_BASE)["start"].tolist() == [start]
    else:
        with pytest.raises(MarginomeError, match=f"an insert of 5 bp at {start} does not lie within"):
            place(table, 12, counted_from=FIRST_BASE)
        with pytest.raises(MarginomeError, match=f"at {start} does not lie within.*2 inserts do not"):
            place(pd.concat([table, table.assign(offset=50)]), 12, counted_from=FIRST_BASE)


def test_samples_depend_on_the_motifs_id_and_not_on_its_name():
    first, renamed, namesake = (
        Motif(motif_id, name, np.full((30, 4), 0.25), "x", 1, "meme")
        for motif_id, name in (("a", "CTCF"), ("a", "CTCFL"), ("b", "CTCF"))
    )
    drawn = [insert_sequence(motif, mode="sample", sample=0, seed=1) for motif in (first, renamed, namesake)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("length", [50, 51])
@pytest.mark.parametrize("width", [4, 5])
def test_the_centre_is_where_tangermeme_puts_a_motif(length, width):
    from tangermeme.ersatz import substitute

    X = torch.zeros(1, 4, length, dtype=torch.int8)
    X[:, 0] = 1
    changed = substitute(X, "C" * width)[0].argmax(0) == 1
    assert list_starts("centre", length=length, width=width) == [int(changed.nonzero()[0])]


def test_pairs_are_what_multisubstitute_makes(motifs):
    from tangermeme.ersatz import multisubstitute
    from tangermeme.utils import one_hot_encode, random_one_hot

    X = random_one_hot((3, 4, 101), random_state=0)
    ctcf, other = (next(m for m in motifs if m.motif_id.startswith(name)) for name in ("MA0139", "MA0002"))
    for gap in (0, 3, 8):
        pair = {"motifs": [ctcf.motif_id, other.motif_id], "gaps": [gap], "orientations": ["+-"], "orders": "both"}
        inserts = [i for i in list_inserts([ctcf, other], length=101, pairs=[pair]) if i.partner_id]
        assert [i.order for i in inserts] == ["given", "swapped"]
        for insert in inserts:
            parts = [ctcf.consensus, reverse_complement_text(other.consensus)]
            expected = multisubstitute(X, parts if insert.order == "given" else parts[::-1], gap)
            found = X.clone()
            encoded = one_hot_encode(insert.sequence, ignore=["N"])
            keep = encoded.sum(0) == 0
            span = slice(insert.start, insert.start + len(insert.sequence))
            found[:, :, span] = torch.where(keep, found[:, :, span], encoded)
            assert torch.equal(found, expected)


def test_samples_follow_the_pwm_and_depend_on_id_and_number_alone(motifs):
    motif = motifs[0]
    draws = 4000
    sampled = [insert_sequence(motif, mode="sample", sample=i, seed=3) for i in range(draws)]
    codes = np.array([["ACGT".index(base) for base in s] for s in sampled])
    found = np.stack([(codes == i).mean(0) for i in range(4)], axis=1)
    # 4 standard errors of a binomial proportion, and a little for the zeros
    assert (np.abs(found - motif.pwm) <= 4 * np.sqrt(motif.pwm * (1 - motif.pwm) / draws) + 1e-3).all()
    one = list_inserts(motifs, mode="consensus", draws=3, length=100, orientations="+")
    assert [i.sample for i in one] == [None] * len(motifs)  # a consensus is not drawn
    few = list_inserts(motifs, mode="sample", draws=3, seed=3, length=100, orientations="+")
    many = list_inserts(motifs[::-1], mode="sample", draws=5, seed=3, length=100, orientations="+")
    of = {(i.motif_id, i.sample): i.sequence for i in many}
    assert all(of[i.motif_id, i.sample] == i.sequence for i in few)
    assert few[0].sequence != list_inserts(motifs, mode="sample", draws=3, seed=4, length=100)[0].sequence
    minus = [i for i in list_inserts(motifs, mode="sample", draws=3, seed=3, length=100) if i.orientation == "-"]
    assert [i.sequence for i in minus] == [reverse_complement_text(i.sequence) for i in few]


def test_given_sequences_keep_their_n(tmp_path):
    given_motifs = from_text(tmp_path, "site\tacNNRt\n")
    assert insert_sequence(given_motifs[0], mode="given") == "ACNNAT"
    assert insert_sequence(given_motifs[0]) == "ACNNAT"
    sampled = {insert_sequence(given_motifs[0], mode="sample", sample=i) for i in range(30)}
    assert sampled == {"ACNNAT", "ACNNGT"}
    (minus,) = list_inserts(given_motifs, length=20, orientations="-")
    assert minus.sequence == "ATNNGT"


def test_a_matrix_has_no_given_sequence(motifs):
    with pytest.raises(MarginomeError, match="matrix, not a given sequence"):
        list_inserts(motifs, mode="given", length=100)


def test_a_flat_motif_has_nothing_to_put_in():
    flat = Motif("flat", "flat", np.full((4, 4), 0.25), "x.meme", 3, "meme")
    with pytest.raises(MarginomeError, match="four equal probabilities"):
        insert_sequence(flat)
    assert set(insert_sequence(flat, mode="sample", sample=0)) <= set("ACGT")


def test_positions_and_flanks(motifs):
    grid = list_inserts(motifs[:1], length=100, positions={"start": 10, "stop": 40, "step": 10}, orientations="+")
    assert [i.start for i in grid] == [10, 20, 30]
    assert [i.start for i in list_inserts(motifs[:1], length=100, positions=[7, 3], orientations="+")] == [7, 3]
    assert list_inserts(motifs[:1], length=100, positions=5)[0].start == 5
    for wrong in ([3.7], [math.nan], [True], ["3"]):
        with pytest.raises(MarginomeError, match=r"positions: found .* wanted a whole number"):
            list_inserts(motifs[:1], length=100, positions=wrong)
    plus, minus = list_inserts(motifs[:1], length=100, flanks={"left": "aac", "right": "N"})
    assert plus.sequence == "AAC" + motifs[0].consensus + "N"
    assert minus.sequence == reverse_complement_text(plus.sequence)
    assert plus.start == 50 - len(plus.sequence) // 2
    for bad, words in (
        ("center", "wanted centre"),
        ({"start": 5, "stop": 5, "step": 1}, "empty"),
        (True, "wanted centre"),
    ):
        with pytest.raises(MarginomeError, match=words):
            list_inserts(motifs, length=100, positions=bad)


def test_outside_and_nothing(motifs):
    with pytest.raises(MarginomeError, match=r"does not lie within the background of 12 bp \(\d+ inserts do not"):
        list_inserts(motifs, length=12)
    with pytest.raises(MarginomeError, match="at 95"):
        list_inserts(motifs, length=100, positions=[0, 95])
    with pytest.raises(MarginomeError, match="at -3"):
        list_inserts(motifs, length=100, positions=-3)
    with pytest.raises(MarginomeError, match="nothing to insert"):
        list_inserts([], length=100)
    for wrong in ({"orientations": "x"}, {"mode": "concensus"}):
        with pytest.raises(MarginomeError, match="Allowed"):
            list_inserts(motifs, length=100, **wrong)
    pair = {"motifs": ["MA0139.2", "CTFC"], "gaps": [1]}
    with pytest.raises(MarginomeError, match=r"pairs\[0\]\.motifs: there is no motif 'CTFC'.*Did you mean"):
        list_inserts(motifs, length=100, pairs=[pair])
    with pytest.raises(MarginomeError, match="cannot be combined"):
        list_inserts(motifs, length=100, pairs=[pair], flanks={"left": "A"})


def test_every_pair_has_its_motifs_alone_at_their_places(motifs):
    pairs = [
        {"motifs": ["MA0139.2", "MA0139.2"], "gaps": [0, 7], "orientations": ["++", "+-"], "orders": "both"},
        {"motifs": ["MA0139.2", "MA0002.3"], "gaps": [7]},
    ]
    inserts = list_inserts(motifs, length=200, pairs=pairs, mode="sample", draws=2, seed=1)
    assert len(set(inserts)) == len(inserts) == len({i.insert_id for i in inserts})
    assert all(
        i.insert_id.startswith(f"{i.collection}|{i.motif_id}|{i.orientation}|{i.start}|sample ") for i in inserts
    )
    alone = {(i.motif_id, i.orientation, i.start, i.sample) for i in inserts if i.partner_id is None}
    joined = [i for i in inserts if i.partner_id]
    assert len(joined) == 2 * (2 * 2 * 2 + 1)
    for insert in joined:
        first, second = (insert.motif_id, insert.orientation), (insert.partner_id, insert.partner_orientation)
        if insert.order == "swapped":
            first, second = second, first
        width = next(m.width for m in motifs if m.motif_id == first[0])
        assert (*first, insert.start, insert.sample) in alone
        assert (*second, insert.start + width + insert.gap, insert.sample) in alone


def effect_table(inserts, effect):
    rows = [
        {
            "model": model,
            "motif_id": i.motif_id,
            "orientation": i.orientation,
            "start": i.start,
            "insert": i.sequence,
            "sample": i.sample,
            "partner_id": i.partner_id,
            "partner_orientation": i.partner_orientation,
            "gap": i.gap,
            "order": i.order,
            "effect": effect(i, model),
        }
        for model in ("a", "b")
        for i in inserts
    ]
    return pd.DataFrame(rows)


def test_interaction_of_an_additive_and_of_a_cooperative_model(motifs):
    pairs = [{"motifs": ["MA0139.2", "MA0002.3"], "gaps": [0, 4], "orientations": ["++", "-+"], "orders": "both"}]
    inserts = list_inserts(motifs, length=200, pairs=pairs)
    strength = {"MA0139.2": 1.5, "MA0002.3": 0.25}

    def additive(insert, model):
        total = strength[insert.motif_id] + strength.get(insert.partner_id, 0.0)
        return total * (2 if model == "b" else 1)

    table = effect_table(inserts, additive)
    found = interaction(table)
    is_pair = table["partner_id"].notna()
    assert found["interaction"][is_pair].abs().max() < 1e-12 and is_pair.sum() == 2 * 2 * 2 * 2
    assert found["interaction"][~is_pair].isna().all() and found["interaction_se"].isna().all()

    table = effect_table(inserts, lambda i, model: additive(i, model) + (10.0 / (1 + i.gap) if i.partner_id else 0.0))
    found = interaction(table)
    np.testing.assert_allclose(found["interaction"][is_pair], 10.0 / (1 + table["gap"][is_pair].astype(float)))
    # rows in another order, with missing values as pandas reads them from a file
    shuffled = table.sample(frac=1, random_state=0)
    again = interaction(shuffled).loc[table.index]
    np.testing.assert_allclose(again["interaction"][is_pair], found["interaction"][is_pair])


def test_the_standard_error_of_an_interaction_is_that_of_the_differences(motifs):
    pairs = [{"motifs": ["MA0139.2", "MA0002.3"], "gaps": [3]}]
    table = effect_table(list_inserts(motifs, length=200, pairs=pairs), lambda i, model: 0.0)
    values = np.random.default_rng(0).normal(size=(len(table), 12))
    table["effect"] = values.mean(1)
    found = interaction(table, values)
    for start in (0, 3):  # pair, first alone, second alone
        differences = values[start] - values[start + 1] - values[start + 2]
        assert found["interaction"][start] == pytest.approx(differences.mean())
        assert found["interaction_se"][start] == pytest.approx(differences.std(ddof=1) / np.sqrt(12))


def test_a_pair_without_its_motifs_alone_is_refused(motifs):
    pairs = [{"motifs": ["MA0139.2", "MA0002.3"], "gaps": [3]}]
    table = effect_table(list_inserts(motifs, length=200, pairs=pairs), lambda i, model: 0.0)
    with pytest.raises(MarginomeError, match="lacks a motif alone"):
        interaction(table.drop(index=2))


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    length=st.integers(12, 60),
    orientation=st.sampled_from(["+", "-", "both"]),
    draws=st.integers(1, 3),
    mode=st.sampled_from(["consensus", "sample"]),
)
def test_every_insert_lies_within_its_background(widths, length, orientation, draws, mode):
    rng = np.random.default_rng(0)
    motifs = [Motif(f"m{i}", f"m{i}", rng.dirichlet(np.ones(4), w), "x", 1, "meme") for i, w in enumerate(widths)]
    inserts = list_inserts(motifs, mode=mode, draws=draws, orientations=orientation, length=length)
    expected = len(widths) * (2 if orientation == "both" else 1) * (draws if mode == "sample" else 1)
    assert len(inserts) == len({i.insert_id for i in inserts}) == expected
    for insert in inserts:
        assert 0 <= insert.start and insert.start + len(insert.sequence) <= length
        assert set(insert.sequence) <= set("ACGT")


def test_starts_without_a_length_and_of_other_types():
    for width in (1, 4, 5):
        assert list_starts("centre", length=None, width=width) == [-(width // 2)]
    assert list_starts(np.int64(5), length=9, width=2) == [5] and list_starts((3, 1), length=9, width=2) == [3, 1]
    assert list_starts({"start": 0, "stop": 7, "step": 3}, length=9, width=2) == [0, 3, 6]
    for wrong in ("3", 2.0, None):
        with pytest.raises(MarginomeError, match="wanted centre, a start"):
            list_starts(wrong, length=9, width=2)


@pytest.mark.parametrize("value", [math.nan, -0.25])
def test_a_matrix_of_no_probabilities_is_refused(value):
    pwm = np.full((3, 4), 0.25)
    pwm[1, 2] = value
    with pytest.raises(MarginomeError, match="motif 'm': its matrix holds what is no probability"):
        insert_sequence(Motif("m", "m", pwm, "x", 1, "meme"))


def test_pairs_without_orientations_and_of_unknown_order(motifs):
    pair = {"motifs": ["MA0139.2", "MA0002.3"], "gaps": [2]}
    whole, first, second = list_inserts(motifs, length=200, pairs=[pair])
    assert (whole.orientation, whole.partner_orientation, whole.order, whole.gap) == ("+", "+", "given", 2)
    assert whole.start == 100 - len(whole.sequence) // 2 == first.start
    assert whole.sequence == first.sequence + "NN" + second.sequence
    with pytest.raises(MarginomeError, match=r"pairs\[0\]\.orders"):
        list_inserts(motifs, length=200, pairs=[pair | {"orders": "turned"}])
