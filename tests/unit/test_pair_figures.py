"""The figures of pairs: what is drawn is what was given."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from marginome.errors import MarginomeError
from marginome.figures.gaps import gap_figure, gap_profiles_figure
from marginome.figures.pairs import interaction_figure, pair_backgrounds_figure, pairs_figure
from marginome.results import Profiles

GAPS, N = [3, 10, 40], 5
KINDS = [("+", "+", "given"), ("+", "-", "swapped")]
WIDTHS = {"A": 8, "B": 12}
HEAD = {"model": "m", "background": "u", "output": "profile", "unit": "log counts", "collection": "c", "position": 0}


def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Two pairs, the second with the smaller p: pairs, arrangements, backgrounds."""
    draw = np.random.default_rng(0)
    pairs, arrangements, singles = [], [], []
    for k, (a, b) in enumerate((("A", "A"), ("A", "B"))):
        head = HEAD | {"motif_id": a, "partner_id": b, "motif_name": f"${a}", "partner_name": f"${b}"}
        for (one, two, order), gap in itertools.product(KINDS, GAPS):
            arrangements.append(head | {"orientation": one, "partner_orientation": two, "order": order, "gap": gap,
                                        "interaction": draw.normal(), "interaction_fold_sd": 0.1 * gap, "expected": 0.0,
                                        "beyond_sd": 0.1, "seam": None})  # fmt: skip
        pairs.append(head | {"orientation": "+", "partner_orientation": "-", "order": "swapped", "gap": 10,
                             "interaction": 1.0, "expected": 0.5, "cooperation_p": [0.5, 0.01][k],
                             "cooperation_q": 0.5})  # fmt: skip
        singles += [head | {"sequence": i, "effect_pair": x, "effect": y, "effect_partner": z}
                    for i, (x, y, z) in enumerate(draw.normal(size=(N, 3)))]  # fmt: skip
    return pd.DataFrame(pairs), pd.DataFrame(arrangements), pd.DataFrame(singles)


def bars(ax) -> list[tuple[float, float]]:
    """Lower and upper ends of error bars, by x."""
    segments = [s for some in ax.collections if hasattr(some, "get_segments") for s in some.get_segments()]
    return [(s[0][1], s[1][1]) for s in sorted(segments, key=lambda s: s[0][0])]


def test_bars_of_an_ensemble_are_what_its_members_differ_by():
    pairs, arrangements, _ = tables()
    figure = interaction_figure(pairs, arrangements)
    first = arrangements[(arrangements["partner_id"] == "B") & (arrangements["order"] == "given")]
    wanted = [(i - s, i + s) for i, s in zip(first["interaction"], first["interaction_fold_sd"])]
    np.testing.assert_allclose(bars(figure.axes[0]), wanted)
    plain = interaction_figure(pairs, arrangements.drop(columns="interaction_fold_sd"))
    assert bars(plain.axes[0]) == []

    effects = arrangements.rename(columns={"interaction": "effect", "interaction_fold_sd": "effect_fold_sd"})
    effects = effects.assign(measure="difference", ci_low=effects["effect"] - 9, ci_high=effects["effect"] + 9)
    most = effects.loc[effects["effect"].abs().idxmax(), "partner_id"]
    figure = gap_figure(effects)
    line = effects[(effects["partner_id"] == most)].sort_values(["order", "gap"])
    wanted = sorted((e - s, e + s) for e, s in zip(line["effect"], line["effect_fold_sd"]))
    np.testing.assert_allclose(sorted(bars(figure.axes[0])), wanted)
    assert bars(gap_figure(effects.drop(columns="effect_fold_sd")).axes[0]) == []
    assert {ax.get_title(loc="left") for ax in figure.axes} == {"$A with A", "$A with B"}  # of one position: not said


def test_strips_are_both_motifs_alone_their_sum_and_the_pair_in_each_background():
    pairs, _, singles = tables()
    figure = pair_backgrounds_figure(pairs, singles)
    ax = figure.axes[0]
    assert ax.get_title(loc="left").startswith("$B\u2212 10 bp $A+\ninteraction +1, expected +0.5")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["$A", "$B", "sum", "together"]
    mine = singles[singles["partner_id"] == "B"]
    wanted = [mine["effect"], mine["effect_partner"], mine["effect"] + mine["effect_partner"], mine["effect_pair"]]
    dots = [line.get_ydata() for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, wanted)
    means = [line.get_ydata() for line in ax.lines if line.get_marker() != "o" and len(line.get_xdata()) == 2
             and line.get_color() == "black"]  # fmt: skip
    np.testing.assert_allclose(means, [[w.mean()] * 2 for w in wanted])
    paired = [line.get_ydata() for line in ax.lines if list(line.get_xdata()) == [2, 3]]
    np.testing.assert_allclose(paired, np.stack(wanted[2:], axis=1))
    assert len(figure.axes) == 2
    told = pair_backgrounds_figure(pairs, singles[:0]).texts[0].get_text()
    assert "No pair has a best arrangement" in told


def test_pairs_whose_single_backgrounds_were_not_kept_have_no_strip():
    pairs, _, singles = tables()
    other = pairs.assign(collection="d", cooperation_p=0.001)  # of another list, which was too large
    figure = pair_backgrounds_figure(pd.concat([other, pairs], ignore_index=True), singles)
    same = pair_backgrounds_figure(pairs, singles)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [ax.get_title(loc="left") for ax in same.axes]


def test_at_several_positions_a_line_is_of_one_of_them():
    pairs, arrangements, _ = tables()
    moved = arrangements.assign(position=1, interaction=arrangements["interaction"] + 5)
    both = pd.concat([arrangements, moved], ignore_index=True)
    figure = interaction_figure(pd.concat([pairs, pairs.assign(position=1, cooperation_p=0.02)]), both)
    assert len(figure.axes) == 4 * len(KINDS)
    for row, (partner, position) in enumerate([("B", 0), ("B", 1)]):
        panels = figure.axes[row * len(KINDS) :][: len(KINDS)]
        assert panels[0].get_ylabel().startswith(f"$A\n${partner}\nposition {position}")
        of_pair = both[(both["partner_id"] == partner) & (both["position"] == position)]
        for ax, order in zip(panels, ("given", "swapped"), strict=True):
            mine = of_pair[of_pair["order"] == order]
            (line,) = [
                one
                for one in ax.lines
                if list(one.get_xdata()) == GAPS and one.get_linestyle() == "-" and one.get_marker() == "None"
            ]
            np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), mine["interaction"])

    far = pairs.assign(position=1, interaction=[-1.0, 2.5])
    ax = pairs_figure(pd.concat([pairs, far])).axes[0]
    beyond = dict(zip((t.get_text() for t in ax.get_yticklabels()), ax.images[0].get_array()[:, 0] * 2))
    assert beyond == {"$A + $A, position 0": 0.5, "$A + $B, position 0": 0.5, "$A + $A, position 1": -1.5,
                      "$A + $B, position 1": 2.0}  # fmt: skip

    effects = both.rename(columns={"interaction": "effect"}).drop(columns="interaction_fold_sd")
    effects = effects.assign(measure="difference", ci_low=effects["effect"], ci_high=effects["effect"])
    figure = gap_figure(effects)
    titles = {ax.get_title(loc="left"): ax for ax in figure.axes if ax.get_visible()}
    assert set(titles) == {f"$A with {b}, position {i}" for b in "AB" for i in (0, 1)}
    for title, ax in titles.items():
        lines = [one for one in ax.lines if len(one.get_xdata()) > 2]
        assert len(lines) == len(KINDS) and all(list(one.get_xdata()) == GAPS for one in lines), title


def profile_case() -> tuple[list[Profiles], pd.DataFrame]:
    """Effects and profiles of both pairs and of motifs alone, of two strands."""
    _, arrangements, _ = tables()
    alone = pd.DataFrame([
        HEAD | {"motif_id": name, "motif_name": f"${name}", "orientation": "+", "insert": "A" * width, "start": 100}
        for name, width in WIDTHS.items()
    ])  # fmt: skip
    wide = arrangements["motif_id"].map(WIDTHS) + arrangements["partner_id"].map(WIDTHS) + arrangements["gap"]
    made = arrangements.assign(insert=["A" * w for w in wide], start=150 - wide // 2, effect=range(len(wide)))
    effects = pd.concat([alone, made], ignore_index=True).assign(measure="difference")
    draw = np.random.default_rng(1)
    before, after = draw.random((2, 300)), draw.random((len(effects), 2, 300))
    return [Profiles(rows=np.arange(len(effects)), before=before, after=after, output="profile")], effects


def test_profiles_against_the_gap_are_after_less_before():
    profiles, effects = profile_case()
    figure = gap_profiles_figure(profiles, effects, top=1)
    panels = [ax for ax in figure.axes if ax.get_yticklabels() and "profile" not in ax.get_ylabel()]
    assert len(panels) == 2 and [ax.get_title(loc="left") for ax in panels] == ["A+ B+", "B\u2212 A+"]
    for ax, (_, _, order) in zip(panels, KINDS):
        rows = effects[(effects["partner_id"] == "B") & (effects["order"] == order)].sort_values("gap")
        assert [t.get_text() for t in ax.get_yticklabels()] == [str(gap) for gap in GAPS]
        mesh = ax.collections[0]
        x = np.asarray(mesh.get_coordinates())[0, :-1, 0].astype(int)
        change = (profiles[0].after[rows.index] - profiles[0].before).sum(axis=1)[:, x]
        np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(change.shape), change)
        assert -mesh.norm.vmin == mesh.norm.vmax >= np.abs(change).max() - 1e-9
        first, second = (WIDTHS["A"], WIDTHS["B"]) if order == "given" else (WIDTHS["B"], WIDTHS["A"])
        wanted = [
            [s, e] for row in rows.itertuples()
            for s, e in ((row.start, row.start + first),
                         (row.start + first + row.gap, row.start + first + row.gap + second))
        ]  # fmt: skip
        assert [list(line.get_xdata()) for line in ax.lines] == wanted


@pytest.mark.parametrize("first", [270, -250, 557, -2000])
def test_of_pairs_beside_the_profile_what_is_near_is_drawn_or_all_of_it(first):
    """The pairs and 100 bases beside them are bases 20 to 279 of the input."""
    profiles, effects = profile_case()
    figure = gap_profiles_figure([profiles[0]._replace(first=first)], effects, top=1)
    near = [x for x in range(first, first + 300) if 20 <= x < 280] or list(range(first, first + 300))
    x = np.asarray(figure.axes[0].collections[0].get_coordinates())[0, :, 0]
    np.testing.assert_array_equal(x, [*near, near[-1] + 1])


def test_a_profile_in_bins_is_drawn_over_its_bases_and_one_of_unknown_bins_by_number():
    """Sixty bins of 8 bp from base -100 on: near the pairs are those that have a base of 20 to 279."""
    profiles, effects = profile_case()
    binned = [profiles[0]._replace(before=profiles[0].before[:, :60], after=profiles[0].after[..., :60])]
    known = gap_profiles_figure([binned[0]._replace(first=-100, step=8)], effects, top=1)
    unknown = gap_profiles_figure([binned[0]._replace(first=0, step=0)], effects, top=1)
    edges = [np.asarray(f.axes[0].collections[0].get_coordinates())[0, :, 0].tolist() for f in (known, unknown)]
    assert edges == [list(range(20, 284 + 1, 8)), list(range(61))]
    assert [f.get_supxlabel().partition(" ")[0] for f in (known, unknown)] == ["position", "number"]
    wanted = gap_profiles_figure(profiles, effects, top=1).axes[0].lines
    assert [list(line.get_xdata()) for line in known.axes[0].lines] == [list(line.get_xdata()) for line in wanted]
    assert not unknown.axes[0].lines


def test_a_motif_of_the_same_id_in_another_collection_has_its_own_width():
    profiles, effects = profile_case()
    other = effects[effects["partner_id"].isna()].assign(collection="b", insert="A" * 20, motif_name="other")
    both = pd.concat([other, effects], ignore_index=True)
    wanted = gap_profiles_figure(profiles, effects, top=1)
    shifted = np.concatenate([profiles[0].after[: len(other)], profiles[0].after])
    figure = gap_profiles_figure([profiles[0]._replace(rows=np.r_[: len(both)], after=shifted)], both, top=1)
    for found, known in zip(figure.axes, wanted.axes):
        assert [list(line.get_xdata()) for line in found.lines] == [list(line.get_xdata()) for line in known.lines]
        assert found.get_ylabel() == known.get_ylabel()


def test_without_profiles_or_pairs_the_figure_says_so():
    profiles, effects = profile_case()
    assert "no profiles" in gap_profiles_figure([], effects).texts[0].get_text()
    with pytest.raises(MarginomeError, match="no pairs"):
        gap_profiles_figure(profiles, effects[effects["gap"].isna()])
