"""Composites: the peer's sequences, sums by brute force, and what a config may not say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from tangermeme.ersatz import multisubstitute as peer_multisubstitute

from marginome import MarginomeError, random_one_hot
from marginome.bases import reverse_complement_text
from marginome.composites import composite_name, composite_table, list_composites
from marginome.config_checks import _composite_problems, _composite_width
from marginome.figures.composites import composite_figure
from marginome.interactions import beside_sum
from marginome.jobs.list_inserts import list_screen_inserts
from marginome.motifs import motif_table, read_motifs
from marginome.motifs.motif import motif_from_sequence
from marginome.storage import write_table
from marginome.substitution import encode_insert, put

LENGTH = 60
SITES = {"A": "GATAAG", "B": "CACGTGT", "C": "TTC"}
MOTIFS = [motif_from_sequence(s, name, f"name {name}", "", 0, "given") for name, s in SITES.items()]


def inserted(X: torch.Tensor, sequence: str, start: int) -> torch.Tensor:
    return put(X, encode_insert(sequence), start)


@pytest.mark.parametrize("positions", ["centre", [0, 7]])
def test_a_composite_is_what_the_peer_puts_in_and_its_parts_are_its_motifs(positions):
    X = random_one_hot((3, 4, LENGTH), random_state=1)
    asked = [{"motifs": ["A", "B", "name C"], "gaps": [[2, 0], 5], "orientations": ["+", "+--"]}]
    found = list_composites(asked, MOTIFS, positions=positions, length=LENGTH, collection="own")
    places = [None] if positions == "centre" else positions
    wanted = [(s, g, i, at) for s in ("+++", "+--") for g in ([2, 0], [5, 5]) for i, at in enumerate(places)]
    assert len(found) == len(wanted)
    for composite, (strands, gaps, position, start) in zip(found, wanted):
        turned = [s if strand == "+" else reverse_complement_text(s) for s, strand in zip(SITES.values(), strands)]
        whole = composite.insert
        theirs = peer_multisubstitute(X, turned, gaps, start=start)
        assert torch.equal(inserted(X, whole.sequence, whole.start), theirs)
        one_by_one = X
        for part in composite.parts:
            one_by_one = inserted(one_by_one, part.sequence, part.start)
        assert torch.equal(one_by_one, theirs)
        assert [part.motif_id for part in composite.parts] == list(SITES)
        assert "".join(part.orientation for part in composite.parts) == strands
        assert composite.position == position and composite.entry == 0 and whole.collection == "own"
    assert found[0].insert.motif_id == "A+ 2 B+ 0 C+" and found[0].insert.motif_name.startswith("name A+ 2 name B+")


def test_copies_begin_with_the_motif_alone_and_nothing_is_there_twice():
    asked = [{"motifs": ["B"], "copies": [1, 2, 4], "gaps": [3, 6]}, {"motifs": ["B", "B"], "gaps": [3]}]
    found = list_composites(asked, MOTIFS, length=LENGTH)
    assert [len(c.parts) for c in found] == [1, 2, 2, 4, 4]
    assert found[0].insert == found[0].parts[0] and found[0].insert.motif_id == "B"
    assert found[3].insert.motif_id == "4 x B+ gap 3" and found[3].insert.sequence == "NNN".join([SITES["B"]] * 4)
    assert composite_name(["B", "B"], "+-", [3]) == "B+ 3 B-"
    with pytest.raises(MarginomeError, match="does not lie within the background of 60 bp"):
        list_composites([{"motifs": ["B"], "copies": [6], "gaps": [6]}], MOTIFS, length=LENGTH)
    with pytest.raises(MarginomeError, match=r"composites\[0\].motifs.*Did you mean"):
        list_composites([{"motifs": ["name Q"], "gaps": [6]}], MOTIFS, length=LENGTH)


def test_samples_have_their_own_parts():
    pwm = motif_from_sequence("ACGNNT", "S", "S", "", 0, "given")
    found = list_composites([{"motifs": ["S", "A"], "gaps": [2]}], [pwm, MOTIFS[0]], mode="sample", draws=3, length=60)
    assert [c.insert.sample for c in found] == [0, 1, 2]
    assert all(part.sample == c.insert.sample for c in found for part in c.parts)
    assert all(c.insert.sequence.startswith(c.parts[0].sequence) for c in found)


@pytest.mark.parametrize("bend", [lambda s: s, lambda s: 3 * torch.tanh(s / 3), lambda s: s + 0.1 * s**2])
def test_the_sum_is_that_of_the_motifs_at_their_places(bend):
    """Weights that differ along the sequence: a motif at another place would have another effect."""
    X = random_one_hot((5, 4, LENGTH), random_state=2).double()
    weights = torch.randn(4, LENGTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) / 3

    def model(Y):
        return bend((Y * weights).sum(dim=(1, 2)))

    asked = [{"motifs": ["A", "C", "B"], "gaps": [[1, 4], [9, 0]]}, {"motifs": ["C"], "copies": [1, 3], "gaps": [2]}]
    table = composite_table(list_composites(asked, MOTIFS, positions=[0, 11], length=LENGTH))
    single = np.stack([
        (model(inserted(X, row["insert"], row["offset"])) - model(X)).numpy() for _, row in table.iterrows()
    ])  # fmt: skip
    found = beside_sum(table, single.mean(axis=1), single)
    assert len(found) == 8 and (table.loc[found.index, "entry"].tolist() == [0] * 4 + [1] * 4)
    assert table.loc[found.index, "position"].tolist() == [0, 1] * 4
    for row, said in found.iterrows():
        whole = table.loc[row]
        alone = table.loc[list(whole["parts"])]
        # brute force: each motif put in by itself
        begins, beyond = whole["offset"], single[row].copy()
        for _, part in alone.iterrows():
            ahead = part["offset"] - begins
            assert whole["insert"][ahead : ahead + len(part["insert"])] == part["insert"]
            beyond -= (model(inserted(X, part["insert"], part["offset"])) - model(X)).numpy()
        assert said["beyond"] == pytest.approx(beyond.mean(), abs=1e-12)
        assert said["beyond_se"] == pytest.approx(beyond.std(ddof=1) / np.sqrt(5), abs=1e-12)
        assert said["additive"] == pytest.approx(said["effect"] - said["beyond"])
    straight = bend(torch.tensor(2.0)) == 2
    of_several = found[[len(parts) > 1 for parts in table.loc[found.index, "parts"]]]
    assert (of_several["beyond"].abs().max() < 1e-12) == bool(straight)
    without = beside_sum(table, single.mean(axis=1))
    assert without["beyond_se"].isna().all() and np.array_equal(without["beyond"], found["beyond"])


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"motifs": ["a", "b"], "copies": [2], "gaps": [1]}, ["copies", "2 motifs are named"]),
        ({"motifs": ["a", "b"]}, ["gaps are missing"]),
        ({"motifs": ["a"], "copies": [1, 2]}, ["gaps are missing"]),
        ({"motifs": ["a", "b"], "gaps": {"start": 5, "stop": 5, "step": 1}}, ["gaps", "the grid is empty"]),
        ({"motifs": ["a", "b", "c"], "gaps": [[1]]}, ["gaps", "found 1 gaps in [1]", "or 2"]),
        ({"motifs": ["a"], "copies": [3], "gaps": [[1, 2]]}, ["gaps", "Of copies, give one for all"]),
        ({"motifs": ["a", "b", "c"], "gaps": [1], "orientations": ["+-"]}, ["orientations", "'+-'", "or 3"]),
        ({"motifs": ["a"], "copies": [2], "gaps": [1], "orientations": ["+-"]}, ["orientations", "one for all"]),
    ],
)  # fmt: skip
def test_what_cannot_be_put_in_is_said(entry, told):
    (problem,) = _composite_problems(entry, "screens.s.composites[0]")
    assert all(text in str(problem) for text in told), problem


def test_more_arrangements_than_a_list_can_hold_are_refused_before_they_are_listed():
    wide = {"motifs": ["A", "B"], "gaps": {"start": 0, "stop": 10**12, "step": 1}, "orientations": ["+", "-"]}
    with pytest.raises(
        MarginomeError, match=r"composites\[1\]: 1 x 2 x 1,000,000,000,000 of copies, orientations and gaps"
    ):
        list_composites([{"motifs": ["A"]}, wide], MOTIFS, length=None)


def test_what_can_be_put_in():
    good = [({"motifs": ["a"]}, 6), ({"motifs": ["a", "b"], "gaps": [[3], 4], "orientations": ["+", "-+"]}, 16),
            ({"motifs": ["a"], "copies": [1, 4], "gaps": {"start": 0, "stop": 11, "step": 5}}, 54)]  # fmt: skip
    for entry, width in good:
        assert not list(_composite_problems(entry, "x")) and _composite_width(entry, 6) == width


def test_the_figure_draws_each_entry_along_what_varies():
    def row(entry, n, strands, gaps, start, effect, **kwargs):
        return {"model": "m", "background": "b", "output": "y", "unit": "u", "collection": "c", "entry": entry,
                "motif_name": f"{n}", "n_motifs": n, "orientations": strands, "gaps": gaps, "start": start,
                "sample": None, "position": start // 10,
                "effect": effect, "effect_se": 0.1, "additive": n * 1.0, "seam": None,
                **kwargs}  # fmt: skip

    rows = [row(0, 1, "+", None, 0, 1.0), row(0, 2, "++", "4", 0, 1.8), row(0, 4, "++++", "4,4,4", 0, 2.5),
            row(1, 1, "+", None, 0, 1.0), row(1, 1, "+", None, 10, 2.0),
            row(2, 2, "++", "3", 0, 1.0), row(2, 2, "++", "5", 0, 2.0, seam="A"), row(2, 2, "+-", "3", 0, 3.0),
            row(3, 3, "+++", "3,4", 0, 1.0), row(3, 3, "+++", "4,3", 0, 1.5)]  # fmt: skip
    figure = composite_figure(pd.DataFrame(rows))
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_xlabel() for ax in shown] == ["copies", "first base (bp)", "bases between neighbours", ""]
    curve = next(line for line in shown[0].lines if line.get_linestyle() == "-")
    assert curve.get_xdata().tolist() == [1, 2, 4] and curve.get_ydata().tolist() == [1.0, 1.8, 2.5]
    dashed = next(line for line in shown[0].lines if line.get_linestyle() == "--")
    assert dashed.get_ydata().tolist() == [1, 2, 4]
    hollow = [line for line in shown[2].lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in hollow] == [[5]]
    with pytest.raises(MarginomeError, match="there are no composites"):
        composite_figure(pd.DataFrame())


def test_curves_of_the_figure_are_those_of_one_orientation_and_position():
    what = {"model": "m", "background": "b", "output": "y", "unit": "u", "collection": "c", "sample": None,
            "seam": None, "effect_se": 0.1}  # fmt: skip
    along = [
        what | {"entry": 0, "motif_name": "A", "n_motifs": 1, "orientations": strand, "gaps": None, "start": 10 * i,
                "position": i, "effect": i + 5 * (strand == "-"), "additive": 1.0}
        for i in range(3) for strand in "+-"
    ]  # fmt: skip
    copies = [
        what | {"entry": 1, "motif_name": f"{n}", "n_motifs": n, "orientations": "+" * n,
                "gaps": ",".join([str(gap)] * (n - 1)) or None, "start": 50 * position, "position": position,
                "effect": 100.0 * position + n, "additive": 1.0}
        for n in (1, 2, 3) for gap in range(8) for position in (0, 1) if n > 1 or gap == 0
    ]  # fmt: skip
    figure = composite_figure(pd.DataFrame(along + copies))
    first, second = (ax for ax in figure.axes if ax.get_visible())
    drawn = [line for line in first.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3]
    assert [line.get_ydata().tolist() for line in drawn] == [[0, 1, 2], [5, 6, 7]]
    drawn = [line for line in second.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3]
    assert all(line.get_ydata().tolist() == [1, 2, 3] for line in drawn) and len(drawn) == 6
    assert "the first 6 of 8 curves" in second.get_title(loc="left")


def test_a_composite_is_a_family_of_its_own(tmp_path):
    """So that the views across models, which show families, have it."""
    (tmp_path / "m.tsv").write_text("\n".join(f"{name}\t{site}" for name, site in SITES.items()) + "\n")
    write_table(tmp_path / "motifs.parquet", motif_table(read_motifs(tmp_path / "m.tsv")).assign(collection="own"))
    screen = {"inserts": "consensus", "draws": 1, "orientations": "forward", "positions": "centre", "flanks": None,
              "pairs": None, "composites": [{"motifs": ["A", "B"], "gaps": [2, 7]}, {"motifs": ["C"]}]}  # fmt: skip
    list_screen_inserts(screen, controls=False, seed=1, motifs=tmp_path / "motifs.parquet",
                        inserts=tmp_path / "inserts.parquet", families=tmp_path / "families.parquet")  # fmt: skip
    families = pd.read_parquet(tmp_path / "families.parquet").set_index("motif_id")
    inserts = pd.read_parquet(tmp_path / "inserts.parquet")
    assert set(inserts["motif_id"]) <= set(families.index) == {*SITES, "A+ 2 B+", "A+ 7 B+"}
    own = families.loc[["A+ 2 B+", "A+ 7 B+"]]
    assert own["family"].is_unique and not own["family"].isin(families.loc[list(SITES), "family"]).any()
    assert own["family_representative"].tolist() == ["A+ 2 B+", "A+ 7 B+"]
