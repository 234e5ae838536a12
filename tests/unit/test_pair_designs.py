"""Which pairs a config means, and the mismatched pairs beside them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

import handmade_pairs
from marginome import MarginomeError, read_motifs
from marginome.composites import list_composites
from marginome.cooperation import NOTHING, pair_rows
from marginome.insert_lists import insert_table
from marginome.inserts import list_inserts
from marginome.jobs.score_pairs import _of_list, with_q
from marginome.motifs.motif import motif_from_sequence
from marginome.pair_designs import LEAST_WITHOUT_MOTIF, expand_pairs, mismatched_inserts
from workspace import RESOURCES, ROOT

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


def test_the_examples_of_the_page_are_listed_as_it_says():
    """docs/pairs.md: every two of three motifs and each beside itself, two, one with each of two; and composites."""
    jaspar = read_motifs(RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme")
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "pairs.md").read_text(), flags=re.DOTALL)
    screens = [screen for block in blocks for screen in yaml.safe_load(block)["screens"].values()]
    asked, composed = (next(s[key] for s in screens if key in s) for key in ("pairs", "composites"))
    expanded = expand_pairs(asked, jaspar)
    assert Counter(pair["entry"] for pair in expanded) == {0: 6, 1: 1, 2: 2}
    placed = {"positions": "centre", "length": 500, "seed": 1, "collection": "c"}
    of_pairs = [insert for insert in list_inserts(jaspar, pairs=expanded, **placed) if insert.partner_id]
    assert len(of_pairs) == 6 * 26 * 4 + 3 * 5
    null = mismatched_inserts(expanded, jaspar, **placed)
    assert len({(i.motif_id, i.partner_id) for i in null if i.partner_id}) == 3 * (200 + 40)
    composites = list_composites(composed, jaspar, length=500)
    assert Counter(c.entry for c in composites) == {0: 3 * 2, 1: 1 + 5 * 2}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"among": ["MA0139.2", "CTFC"], "gaps": [1]}, r"pairs\[0\].among: there is no motif 'CTFC'"),
        ({"between": [["MA0139.2"], ["x"]], "gaps": [1]}, r"pairs\[0\].between: there is no motif 'x'"),
        ({"among": "representatives", "gaps": [1]}, "names no pair"),
        ({"among": "all", "gaps": {"start": 4, "stop": 4, "step": 1}}, "names no gap"),
        (
            {
                "among": "all",
                "gaps": {"start": 0, "stop": 10**12, "step": 1},
                "orientations": ["++", "+-"],
                "orders": "both",
            },
            r"pairs\[0\]: 36 pairs in 4,000,000,000,000 arrangements each: 144,000,000,000,000 arrangements in all",
        ),
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
        {"motifs": IDS[5:7], "gaps": [7]},  # one gap: nothing is far apart
        {"among": IDS[:3], "gaps": GRID, "orientations": ["++", "+-"], "orders": "both", "mismatched": 50},
        {"motifs": IDS[3:5], "gaps": [4, 30], "mismatched": 40},
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


@pytest.mark.parametrize("gaps", [[7], [0, 2, 60], {"start": 0, "stop": 4, "step": 1}, [5, 5]])
def test_gaps_of_which_none_may_be_the_best_have_no_mismatched_pairs(gaps, caplog):
    """Neither one alone, nor those that touch beside those that are far apart."""
    inserts, mismatched = listed([{"motifs": IDS[:2], "gaps": gaps}])
    assert len(inserts) > 2 and not mismatched
    assert "pairs[0] is not judged" in caplog.text


def test_a_pair_that_two_entries_have_is_judged_as_a_whole_or_refused():
    """It has the arrangements of both, and mismatched pairs those of one."""
    two = {"motifs": IDS[:2], "gaps": [4, 8, 60], "mismatched": 40}
    inserts, mismatched = listed([two, {**two, "gaps": [60, 8, 4]}])
    assert inserts == listed([two])[0] and len(mismatched) > len(listed([two])[1])
    for other in ({"gaps": [4, 60]}, {"gaps": [7]}, {"orientations": ["++", "+-"]}, {"orders": "both"}):
        with pytest.raises(
            MarginomeError, match=rf"pairs\[1\]: '{IDS[0]}' with '{IDS[1]}' is in pairs\[0\] too, in other"
        ):
            listed([two, two | other])
    listed([two, {**two, "motifs": IDS[1::-1], "gaps": [4, 9, 60]}])  # with the other one first it is another pair


@pytest.fixture
def judged(monkeypatch):
    """What is said of an insert list with effects that are drawn, of two outputs of a model in four backgrounds."""

    def judge(pairs, has_seam):
        inserts, mismatched = listed(pairs)
        table = insert_table(inserts, {}, 1, mismatched).rename(columns={"offset": "start"})
        singles = np.random.default_rng(0).normal(size=(2, len(table), 4)).astype(np.float32)
        monkeypatch.setattr("marginome.jobs.score_pairs.kept_effects", lambda *given: iter(singles))
        readouts = {"output": ["y", "z"], "signed": [True, True], "unit": ["u", "u"]}
        part = SimpleNamespace(effect=singles.mean(axis=2).T, readouts=readouts, fold_sd=None, kept=True)
        seam = np.where(has_seam(table), "site", None)
        return _of_list(table, part, seam, "m")

    return judge


def test_a_pair_without_an_arrangement_that_may_be_the_best_leaves_the_others_theirs(judged):
    """All its near arrangements have a seam: it has no p, and the rest are judged, with strips of their backgrounds."""
    found = judged(
        [{"among": IDS[:3], "gaps": [5, 8, 60, 90], "mismatched": 40}],
        lambda t: (t["motif_id"] == IDS[0]) & (t["partner_id"] == IDS[1]) & (t["gap"] < 90),
    )
    assert [part.pairs["output"].iat[0] for part in found] == ["y", "z"]
    for pairs, _, strips in found:
        lacks = pairs["cooperation_p"].isna()
        assert lacks.sum() == 1 and pairs.loc[lacks, ["gap", "interaction"]].isna().all(axis=None)
        assert len(strips) == 4 * (~lacks).sum() == 20
        beyond = strips["effect_pair"] - strips["effect"] - strips["effect_partner"]
        beyond = beyond.groupby([strips["motif_id"], strips["partner_id"]]).mean()
        known = pairs[~lacks].set_index(["motif_id", "partner_id"])["interaction"]
        np.testing.assert_allclose(beyond, known.reindex(beyond.index), atol=1e-6)


def test_pairs_that_have_a_seam_wherever_they_are_far_apart_are_not_judged_and_others_are(judged, caplog):
    """There is nothing that their strength would be told from."""
    pairs = [{"motifs": IDS[:2], "gaps": [3, 4, 5, 6], "mismatched": 40},
             {"motifs": IDS[2:4], "gaps": [5, 8, 60, 90], "mismatched": 40}]  # fmt: skip
    found = judged(pairs, lambda t: t["motif_id"].isin(IDS) & t["partner_id"].isin(IDS) & (t["gap"] == 6))
    assert len(found) == 4
    for part in found:
        assert part.pairs["motif_id"].iat[0] in IDS and len(part.pairs) == 1
        assert ("cooperation_p" in part.pairs) == (part.pairs["motif_id"].iat[0] == IDS[2])
    assert caplog.text.count("1 pairs are not judged: all their arrangements far apart have a seam") == 2


def test_q_is_over_all_pairs_of_a_screen_that_are_judged():
    """Pairs of an entry with other gaps are tests of the same screen; NaN is none."""
    found = pd.DataFrame({
        "model": "m", "output": "y", "background": "b", "collection": "c", "position": 0, "far_bp": [60, 60, 90, 90],
        "cooperation_p": [0.001, 0.04, 0.01, np.nan], "syntax_p": [0.2, 0.3, 0.004, 0.1], "p_resolution": 0.005,
    })  # fmt: skip
    scored = with_q(pd.concat([found, found.assign(output="z", cooperation_p=0.5)], ignore_index=True))
    np.testing.assert_allclose(scored["cooperation_q"][:4], [0.015, 0.04, 0.015, np.nan])
    np.testing.assert_allclose(scored["syntax_q"][:4], [0.8 / 3, 0.3, 0.02, 0.2])
    np.testing.assert_allclose(scored["cooperation_q"][4:], 0.5)


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


def test_fewer_mismatched_pairs_than_pairs_are_spread_over_them(monkeypatch):
    """One for each of as many equal parts: the pair in its middle, of which the first or the second motif stays."""
    expanded = expand_pairs([{"among": "all", "gaps": [3, 5], "mismatched": 20}], MOTIFS)
    monkeypatch.setattr("marginome.pair_designs.MIN_MISMATCHED", 20)
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
    expanded = expand_pairs([{"among": "all", "gaps": [3, 5], "mismatched": 40}], MOTIFS)
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
    expanded = expand_pairs([{"among": "all", "gaps": [3, 5]}], motifs)
    assert len(expanded) == n * (n + 1) // 2
    found = mismatched_inserts(expanded, motifs, positions="centre", length=150, seed=1, collection="c")
    pairs = {(i.motif_id, i.partner_id) for i in found if i.partner_id}
    assert Counter(sum(name.startswith("m") for name in pair) for pair in pairs) == {1: kept, 0: neither}


def test_controls_have_the_width_and_letters_of_what_they_stand_for():
    _, mismatched = listed([{"motifs": IDS[:2], "gaps": [3, 5], "mismatched": 40}])
    alone = {i.motif_id: i.sequence for i in mismatched if i.partner_id is None}
    assert len(alone) == 40 + 2 * LEAST_WITHOUT_MOTIF
    consensus = [sorted(m.consensus) for m in MOTIFS[:2]]
    turned = [sorted(m.consensus.translate(TURNED)) for m in MOTIFS[:2]]
    assert all(sorted(sequence) in consensus + turned for sequence in alone.values())
    assert not {m.consensus for m in MOTIFS[:2]} & set(alone.values())


def test_a_short_motif_has_as_many_as_it_has_controls(caplog):
    short = [motif_from_sequence(s, s, s, "", 0, "tsv") for s in ("ACG", "TTG")]
    expanded = expand_pairs([{"motifs": ["ACG", "TTG"], "gaps": [3, 9], "mismatched": 200}], short)
    with caplog.at_level("INFO", "marginome"):
        found = mismatched_inserts(expanded, short, positions="centre", length=50, seed=1, collection="c")
    pairs = {(i.motif_id, i.partner_id) for i in found if i.partner_id}
    assert 40 < len(pairs) < 200 and f"{240 - len(pairs)} of 240 mismatched pairs are left out" in caplog.text
