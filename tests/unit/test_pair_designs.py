"""Which pairs a config means, and the mismatched pairs beside them."""

from __future__ import annotations

import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import handmade_pairs
from marginome import MarginomeError
from marginome.cooperation import NOTHING, pair_rows
from marginome.insert_lists import insert_table
from marginome.inserts import list_inserts
from marginome.jobs.score_pairs import _of_list
from marginome.motifs.motif import motif_from_sequence
from marginome.pair_designs import LEAST_WITHOUT_MOTIF, expand_pairs, mismatched_inserts

MOTIFS = handmade_pairs.motifs()
IDS = [m.motif_id for m in MOTIFS]
TURNED = str.maketrans("ACGT", "TGCA")
GRID = {"start": 0, "stop": 9, "step": 4}


def names(pairs):
    return [tuple(pair["motifs"]) for pair in pairs]


def test_which_pairs_are_meant():
    some = IDS[:3]
    among = expand_pairs([{"among": some, "gaps": GRID}], MOTIFS)
    assert names(among) == list(itertools.combinations_with_replacement(some, 2))
    assert all(pair["gaps"] == [0, 4, 8] and pair["entry"] == 0 for pair in among)
    everything = expand_pairs([{"among": "all", "gaps": [1]}], MOTIFS)
    assert len(everything) == len(IDS) * (len(IDS) + 1) // 2
    of_families = expand_pairs(
        [{"among": "representatives", "gaps": [1]}], MOTIFS, ["MA0035.5", "MA0035.5", "MA0139.2"]
    )
    assert names(of_families) == [("MA0035.5", "MA0035.5"), ("MA0035.5", "MA0139.2"), ("MA0139.2", "MA0139.2")]
    between = expand_pairs([{"between": [IDS[:2], IDS[1:3]], "gaps": [1]}], MOTIFS)
    assert names(between) == [(IDS[0], IDS[1]), (IDS[0], IDS[2]), (IDS[1], IDS[1]), (IDS[1], IDS[2])]
    both_ways = expand_pairs([{"between": [IDS[:2], IDS[:2]], "gaps": [1]}], MOTIFS)
    assert len(both_ways) == 3, "a pair that is named in both orders is one pair"
    two = expand_pairs([{"motifs": [MOTIFS[0].motif_name, IDS[1]], "gaps": [1]}] * 2, MOTIFS)
    assert names(two) == [(IDS[0], IDS[1])] * 2 and [pair["entry"] for pair in two] == [0, 1]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"among": ["MA0139.2", "CTFC"], "gaps": [1]}, r"pairs\[0\].among: there is no motif 'CTFC'"),
        ({"between": [["MA0139.2"], ["x"]], "gaps": [1]}, r"pairs\[0\].between: there is no motif 'x'"),
        ({"among": "representatives", "gaps": [1]}, "names no pair"),
        ({"among": "all", "gaps": {"start": 4, "stop": 4, "step": 1}}, "names no gap"),
    ],
)
def test_pairs_that_are_none(entry, told):
    with pytest.raises(MarginomeError, match=told):
        expand_pairs([entry], MOTIFS)


def listed(pairs, seed=1):
    expanded = expand_pairs(pairs, MOTIFS)
    placed = {"positions": "centre", "length": 150, "seed": seed, "collection": "c"}
    return list_inserts(MOTIFS, pairs=expanded, **placed), mismatched_inserts(expanded, MOTIFS, **placed)


def test_mismatched_pairs_have_the_arrangements_of_their_entry():
    pairs = [
        {"motifs": IDS[3:5], "gaps": [7]},  # one gap: nothing is far apart
        {"among": IDS[:3], "gaps": GRID, "orientations": ["++", "+-"], "orders": "both", "mismatched": 50},
        {"motifs": IDS[3:5], "gaps": [2, 30], "mismatched": 40},
    ]
    inserts, mismatched = listed(pairs)
    table = insert_table(inserts, {}, 1, mismatched)
    assert Counter(table["role"]) == {"motif": len(inserts), "mismatched": len(mismatched)}
    rows = pair_rows(table.rename(columns={"offset": "start"}).assign(effect=0.0))
    without = rows[rows["kept"] == NOTHING]
    assert without["pair"].nunique() == 2 * LEAST_WITHOUT_MOTIF and not set(without["first"]) & set(IDS)
    mine = rows[rows["kept"].notna() & (rows["kept"] != NOTHING)]
    assert mine["pair"].nunique() == 90
    arrangements = {
        frozenset((kind, gap) for kind, gap in zip(part["arrangement"], part["gap"]))
        for _, part in mine.groupby("pair")
    }
    of_pairs = rows[rows["kept"].isna() & (rows["gap"] != 7)].groupby("pair")
    assert arrangements == {frozenset(zip(part["arrangement"], part["gap"])) for _, part in of_pairs}
    one = mine.drop_duplicates("pair")
    assert {(a in IDS) + (b in IDS) for a, b in zip(one["first"], one["second"])} == {1}, "one motif is kept, not two"
    assert not one.duplicated(["kept", "first", "second"]).any()
    kept = Counter(one["kept"])
    assert max(kept[i] for i in IDS[:3]) - min(kept[i] for i in IDS[:3]) <= 2, "motifs take turns"
    assert (one["first"].isin(IDS)).sum() == 45, "first and second take turns"
    again = listed(pairs)
    assert again == (inserts, mismatched) != listed(pairs, seed=2)


def test_a_list_of_pairs_is_in_the_order_of_places_and_has_every_insert_once():
    """What a job computes together is what lies together; each motif alone is computed once for all its pairs."""
    pairs = [{"among": IDS[:3], "gaps": GRID, "orientations": ["++", "+-"], "mismatched": 10}]
    inserts, mismatched = listed(pairs)
    table = insert_table(inserts, {}, 1, mismatched)
    places = list(zip(table["offset"], table["offset"] + table["insert"].str.len()))
    assert places == sorted(places)
    key = ["motif_id", "orientation", "offset", "insert", "partner_id", "partner_orientation", "gap", "order"]
    rows = Counter(table[key].astype(object).where(table[key].notna(), None).itertuples(index=False, name=None))
    fields = ["start" if name == "offset" else "sequence" if name == "insert" else name for name in key]
    given = Counter(tuple(getattr(insert, name) for name in fields) for insert in [*inserts, *mismatched])
    assert rows == given and set(rows.values()) == {1}
    assert table["position"].eq(0).where(table["partner_id"].notna(), True).all()
    alone = list_inserts(MOTIFS, length=150, positions=[90, 5], collection="c")
    assert insert_table(alone, False, 1)["offset"].tolist() == [insert.start for insert in alone], "pairs alone"


def test_pairs_are_judged_in_one_order_whatever_that_of_the_list():
    pairs = [{"among": IDS[:3], "gaps": {"start": 0, "stop": 41, "step": 8}, "orientations": ["++", "+-"],
              "mismatched": 40}]  # fmt: skip
    inserts, mismatched = listed(pairs)
    table = insert_table(inserts, {}, 1, mismatched).rename(columns={"offset": "start"})
    generator = np.random.default_rng(0)
    effect = generator.normal(size=(len(table), 1))
    shuffled = generator.permutation(len(table))
    readouts = {"output": ["y"], "signed": [True], "unit": ["u"]}
    found = []
    for order in (np.arange(len(table)), shuffled):
        part = SimpleNamespace(effect=effect[order], readouts=readouts, fold_sd=None, kept=False)
        rows = table.iloc[order].reset_index(drop=True)
        ((judged, arranged, _),) = _of_list(rows, part, np.full(len(table), None, dtype=object), "m")
        found.append((judged, arranged))
    for one, other in zip(*found):
        pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))
    names = list(zip(found[0][0]["motif_id"], found[0][0]["partner_id"]))
    assert names == sorted(names) and len(names) == 6


def test_fewer_mismatched_pairs_than_pairs_are_spread_over_them():
    """One for each of as many equal parts: the pair in its middle, of which the first or the second motif stays."""
    expanded = expand_pairs([{"among": "all", "gaps": [0, 5], "mismatched": 20}], MOTIFS)
    assert len(expanded) == 36
    found = mismatched_inserts(expanded, MOTIFS, positions="centre", length=150, seed=1, collection="c")
    named = ((i.motif_id, i.partner_id) for i in found if i.partner_id)
    pairs = list(dict.fromkeys(pair for pair in named if set(pair) & set(IDS)))
    middles = [k for i in range(20) for k in range(36) if k <= (i + 0.5) * 36 / 20 < k + 1]
    assert [pair[i % 2] for i, pair in enumerate(pairs)] == [
        expanded[k]["motifs"][i % 2] for i, k in enumerate(middles)
    ]
    assert all(pair[1 - i % 2].startswith("control_") for i, pair in enumerate(pairs))


def test_pairs_of_two_controls_are_spread_over_all_pairs():
    """Twenty of 36 pairs, the middles of as many equal parts, not the first twenty."""
    expanded = expand_pairs([{"among": "all", "gaps": [0, 5], "mismatched": 40}], MOTIFS)
    found = mismatched_inserts(expanded, MOTIFS, positions="centre", length=150, seed=1, collection="c")
    alone = {i.motif_id: i.sequence for i in found if i.partner_id is None}
    letters = {m.motif_id: min(sorted(m.consensus), sorted(m.consensus.translate(TURNED))) for m in MOTIFS}
    of_controls = {name: min(sorted(s), sorted(s.translate(TURNED))) for name, s in alone.items()}
    named = ((i.motif_id, i.partner_id) for i in found if i.partner_id)
    neither = list(dict.fromkeys(pair for pair in named if not set(pair) & set(IDS)))
    middles = [k for i in range(20) for k in range(36) if k <= (i + 0.5) * 36 / 20 < k + 1]
    assert [[of_controls[name] for name in pair] for pair in neither] == [
        [letters[motif] for motif in expanded[k]["motifs"]] for k in middles
    ]


def test_a_pair_as_wide_as_a_motif_that_stands_alone_has_the_position_of_all_pairs():
    """Motifs alone stand at places of their own; pairs of every width are at the one position of the config."""
    widths = {m.motif_id: len(m.consensus) for m in MOTIFS}
    a, b = sorted(widths, key=widths.get)[:2]
    wide = motif_from_sequence("ACGTTGCA" * 3, "wide", "wide", "", 0, "tsv")
    gap = 24 - widths[a] - widths[b]
    assert gap > 0
    motifs = [*MOTIFS, wide]
    expanded = expand_pairs([{"among": [a, b, "wide"], "gaps": [gap, gap + 9], "mismatched": 40}], motifs)
    placed = {"positions": "centre", "length": 150, "seed": 1, "collection": "c"}
    table = insert_table(list_inserts(motifs, pairs=expanded, **placed), {}, 1,
                         mismatched_inserts(expanded, motifs, **placed))  # fmt: skip
    pairs = table[table["partner_id"].notna()]
    assert 24 in set(pairs["insert"].str.len()) and set(pairs["position"]) == {0}
    assert table.loc[table["insert"].eq(wide.consensus), "offset"].nunique() > 1


@pytest.mark.parametrize(("n", "kept", "neither"), [(1, 200, 40), (13, 200, 40), (15, 240, 48), (32, 1000, 200)])
def test_how_many_mismatched_pairs_there_are_by_default(n, kept, neither):
    """Twice the n (n + 1) / 2 pairs, at least 200 and at most 1,000; a fifth as many of two controls."""
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGT"), 14)) for _ in range(n)]
    motifs = [motif_from_sequence(s, f"m{i}", f"m{i}", "", 0, "tsv") for i, s in enumerate(sequences)]
    expanded = expand_pairs([{"among": "all", "gaps": [0, 5]}], motifs)
    assert len(expanded) == n * (n + 1) // 2
    found = mismatched_inserts(expanded, motifs, positions="centre", length=150, seed=1, collection="c")
    pairs = {(i.motif_id, i.partner_id) for i in found if i.partner_id}
    assert Counter(sum(name.startswith("m") for name in pair) for pair in pairs) == {1: kept, 0: neither}


def test_controls_have_the_width_and_letters_of_what_they_stand_for():
    _, mismatched = listed([{"motifs": IDS[:2], "gaps": [0, 5], "mismatched": 40}])
    alone = {i.motif_id: i.sequence for i in mismatched if i.partner_id is None}
    assert len(alone) == 40 + 2 * LEAST_WITHOUT_MOTIF
    consensus = [sorted(m.consensus) for m in MOTIFS[:2]]
    turned = [sorted(m.consensus.translate(TURNED)) for m in MOTIFS[:2]]
    assert all(sorted(sequence) in consensus + turned for sequence in alone.values())
    assert not {m.consensus for m in MOTIFS[:2]} & set(alone.values())


def test_a_short_motif_has_as_many_as_it_has_controls(caplog):
    short = [motif_from_sequence(s, s, s, "", 0, "tsv") for s in ("ACG", "TTG")]
    expanded = expand_pairs([{"motifs": ["ACG", "TTG"], "gaps": [0, 9], "mismatched": 200}], short)
    with caplog.at_level("INFO", "marginome"):
        found = mismatched_inserts(expanded, short, positions="centre", length=50, seed=1, collection="c")
    pairs = {(i.motif_id, i.partner_id) for i in found if i.partner_id}
    assert 10 < len(pairs) < 200 and f"{240 - len(pairs)} of 240 mismatched pairs are left out" in caplog.text
