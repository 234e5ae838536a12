"""The figures for papers: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from marginome import figures
from marginome.errors import MarginomeError
from marginome.plots import save_figure
from marginome.seals import is_sealed
from synthetic_screen import synthetic_screen


@pytest.fixture(scope="module")
def screen():
    return synthetic_screen(40)


def by_hand(table, n):
    """Mean effect over sets of each motif's stronger orientation, by plain loops: [(mean, id, orientation)]."""
    best = {}
    for (motif, orientation), part in table.groupby(["motif_id", "orientation"]):
        mean = part["effect"].mean()
        if motif not in best or abs(mean) > abs(best[motif][0]):
            best[motif] = (mean, motif, orientation)
    return sorted(best.values(), reverse=True)[:n]


def test_strongest_takes_the_stronger_orientation_of_each_motif(screen):
    got = figures.strongest(screen.effects, 6, lowest=3)
    want = by_hand(screen.effects, 40)
    want = want[:6] + [w for w in want[-3:] if w[0] < 0]
    assert list(zip(got["motif_id"], got["orientation"])) == [(m, o) for _, m, o in want]
    np.testing.assert_allclose(got["effect"], [e for e, _, _ in want])
    assert got["label"].is_unique and got["label"].iat[0].startswith("CTCF")


def test_strongest_never_shows_a_motif_twice(screen):
    few = screen.effects[screen.effects["motif_id"].isin(screen.motifs["motif_id"].head(4))]
    assert len(figures.strongest(few, 6)) == 4


def test_heatmap_shows_single_backgrounds_centred_on_zero(screen):
    figure = figures.heatmap_figure(screen.effects, screen.per_background, top=5)
    images = [
        ax.images[0] for ax in figure.axes if ax.images and ax.get_title(loc="left") in ("gc_matched", "shuffled")
    ]
    assert len(images) == 2
    chosen = figures.strongest(screen.effects, 5)
    for image, name in zip(images, ("gc_matched", "shuffled")):
        assert image.norm.vmin == -image.norm.vmax
        shown = np.asarray(image.get_array())
        keys = screen.effects["motif_id"] + screen.effects["orientation"]
        wanted = np.array(
            [
                screen.per_background[np.flatnonzero((keys == m + o) & (screen.effects["background"] == name))[0]]
                for m, o in zip(chosen["motif_id"], chosen["orientation"])
            ]
        )
        np.testing.assert_array_equal(np.sort(shown, axis=1), np.sort(wanted, axis=1))
        assert np.all(np.diff(shown.mean(0)) <= 0)  # backgrounds sorted by their mean
    assert max(np.abs(i.get_array()).max() for i in images) == pytest.approx(images[0].norm.vmax)
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == list(chosen["label"])


def test_heatmap_of_many_outputs_is_relative_to_each_output():
    screen = synthetic_screen(30, outputs=("a", "b", "c"))
    screen.effects.loc[screen.effects["output"] == "b", "effect"] *= 1000
    figure = figures.heatmap_figure(screen.effects, screen.per_background, top=5)
    ax = next(ax for ax in figure.axes if ax.get_title(loc="left") == "every output")
    shown = np.asarray(ax.images[0].get_array())
    chosen = figures.strongest(screen.effects[screen.effects["output"] == "a"], 5)
    assert shown.shape == (len(chosen), 3) and (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == (-1, 1)
    table = screen.effects
    row = chosen.iloc[0]
    for column, output in enumerate("abc"):
        some = table[table["output"] == output]
        mine = some[(some["motif_id"] == row["motif_id"]) & (some["orientation"] == row["orientation"])]
        assert shown[0, column] == pytest.approx(mine["effect"].mean() / some["effect"].abs().max())


def test_before_after_points_are_baseline_and_baseline_plus_effect(screen):
    figure = figures.before_after_figure(screen.effects, screen.per_background, screen.baseline, top=4)
    want = sorted(by_hand(screen.effects, 40), key=lambda w: -abs(w[0]))[:4]
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 4
    for ax, (_, motif, orientation) in zip(shown, want):
        for points, name in zip(ax.collections, ("gc_matched", "shuffled")):
            row = np.flatnonzero(
                (screen.effects["motif_id"] == motif)
                & (screen.effects["orientation"] == orientation)
                & (screen.effects["background"] == name)
            )[0]
            base = screen.baseline["bpnet_ctcf", name, "counts"]
            want_points = np.column_stack([base, base + screen.per_background[row]])
            np.testing.assert_allclose(points.get_offsets(), want_points, rtol=1e-6)
        assert ax.get_xlim() == ax.get_ylim()  # or the diagonal would lie


def test_before_after_without_single_backgrounds_shows_means():
    screen = synthetic_screen(20, outputs=("a", "b"))
    figure = figures.before_after_figure(screen.effects, top=1)
    points = np.concatenate([c.get_offsets() for c in figure.axes[0].collections])
    (_, motif, orientation), *_ = sorted(
        by_hand(screen.effects[screen.effects["output"] == "a"], 20), key=lambda w: -abs(w[0])
    )
    mine = screen.effects[(screen.effects["motif_id"] == motif) & (screen.effects["orientation"] == orientation)]
    want = mine[["before_mean", "after_mean"]].to_numpy()
    np.testing.assert_allclose(points[np.lexsort(points.T)], want[np.lexsort(want.T)])


def test_profiles_of_the_strongest_on_both_strands(screen):
    figure = figures.profiles_figure(screen.profiles, screen.effects, top=3)
    block = screen.profiles[0]
    change = np.abs(block.after - block.before).sum((1, 2))
    best = int(np.argmax(change))
    ax = figure.axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["after +"].get_ydata(), block.after[best][0])
    np.testing.assert_allclose(lines["after \u2212"].get_ydata(), -block.after[best][1])
    np.testing.assert_allclose(lines["before \u2212"].get_ydata(), -block.before[1])
    np.testing.assert_array_equal(lines["after +"].get_xdata(), 557 + np.arange(1000))
    shaded = ax.patches[0].get_bbox()
    row = screen.effects.loc[block.rows[best]]
    assert (shaded.x0, shaded.x1) == (row["start"], row["start"] + len(row["insert"]))
    assert len(figure.axes) == 6


def test_no_profiles_is_said_in_the_figure(screen):
    figure = figures.profiles_figure([], screen.effects)
    assert "no profiles" in figure.texts[0].get_text()


def test_information_is_two_bits_less_the_entropy(screen):
    pwm = screen.motifs["pwm"].iat[0]
    got = figures.information(pwm)
    np.testing.assert_allclose(got.sum(0), 2 - entropy(pwm, base=2))
    np.testing.assert_allclose(got / got.sum(0), pwm / pwm.sum(0))
    assert np.all(figures.information(np.zeros((4, 2))) == 0)
    np.testing.assert_allclose(figures.information(np.full((4, 1), 0.25)), 0, atol=1e-12)


def test_logos_show_the_orientation_that_acts_most(screen):
    figure = figures.logos_figure(screen.effects, screen.motifs, top=3)
    chosen = figures.strongest(screen.effects, 3)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == len(chosen)
    drawn = {ax.get_title(loc="left").rsplit("  ", 1)[0]: "".join(t.get_text() for t in ax.texts) for ax in shown}
    assert drawn == dict(zip(chosen["label"], chosen["insert"]))


def test_a_logo_on_the_other_strand_is_turned_round(screen, monkeypatch):
    heights = []
    monkeypatch.setattr("marginome.logos.plot_logo", lambda values, **_: heights.append(values))
    for n, shape in ((2, (2, 1)), (4, (3, 2)), (6, (3, 3))):  # a third as many from the bottom
        figure = figures.logos_figure(screen.effects, screen.motifs, top=n)
        assert figure.axes[0].get_gridspec().get_geometry() == shape
    given, chosen = screen.motifs.set_index("motif_id")["pwm"], figures.strongest(screen.effects, n)
    assert set(chosen["orientation"]) == {"+", "-"}
    for found, motif, strand in zip(heights[-len(chosen) :], chosen["motif_id"], chosen["orientation"], strict=True):
        bits = np.stack([(2 - entropy(column, base=2)) * column for column in np.stack(list(given[motif])).T], 1)
        np.testing.assert_allclose(found, bits if strand == "+" else bits[::-1, ::-1], atol=1e-5)


def test_gap_lines(screen):
    first = screen.effects.iloc[[0]].loc[np.zeros(6, int)].reset_index(drop=True)
    pairs = first.assign(partner_id="MA1", partner_orientation=["+", "-"] * 3, gap=[5, 5, 0, 0, 9, 9], order="given")
    pairs["effect"] = np.arange(6.0)
    pairs["ci_low"], pairs["ci_high"] = pairs["effect"] - 1, pairs["effect"] + 1
    figure = figures.gap_figure(pairs)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    got = [(list(line.get_xdata()), list(line.get_ydata())) for line in lines]
    assert got == [([0, 5, 9], [2, 0, 4]), ([0, 5, 9], [3, 1, 5])]
    with pytest.raises(MarginomeError, match="no pairs"):
        figures.gap_figure(screen.effects)


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_same_bytes_every_time(screen, tmp_path, kind):
    for name in ("a", "b"):
        save_figure(figures.heatmap_figure(screen.effects, screen.per_background, top=4), tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_names_are_never_read_as_mathematics_or_markup(tmp_path):
    screen = synthetic_screen(12)
    names = {n: f"$x^{{{i}}}_< -- &{n}" for i, n in enumerate(screen.effects["motif_name"].unique())}
    table = screen.effects.assign(motif_name=screen.effects["motif_name"].map(names))
    table["background"] = table["background"].map({"gc_matched": "$\\frac", "shuffled": "<b>"})
    drawn = [
        figures.heatmap_figure(table, screen.per_background),
        figures.before_after_figure(table, top=3),
        figures.logos_figure(table, screen.motifs, top=3),
        figures.profiles_figure(screen.profiles, table, top=2),
    ]
    import xml.etree.ElementTree as ElementTree

    for i, figure in enumerate(drawn):
        save_figure(figure, tmp_path / f"{i}.svg")
        ElementTree.parse(tmp_path / f"{i}.svg")  # well-formed


def test_unknown_output_is_an_error(screen):
    with pytest.raises(MarginomeError, match="no rows of model 'bpnet_ctcf' and output 'x'"):
        figures.heatmap_figure(screen.effects, output="x")


def test_table_without_optional_columns(screen):
    bare = screen.effects.drop(columns=["z", "p", "q", "control_mean", "control_sd", "family", "family_representative"])
    figures.heatmap_figure(bare)
    assert isinstance(figures.strongest(bare.drop(columns="collection"), 3), pd.DataFrame)


def test_hostile_names_are_drawn_as_they_are(tmp_path):
    """SVG has scripts and links too, and matplotlib reads text between dollars as mathematics."""
    from xml.etree import ElementTree

    screen = synthetic_screen(30, hostile=True)
    names = screen.effects["motif_name"]
    table = screen.effects.assign(
        motif_name=names.replace({"{b}{a|x}": r"$\frac{$", "=1+1": "a_$_b$", "&lt;b&gt;": "--><script>1</script>"})
    )
    table["unit"] = "<script>$</script>"
    chosen = figures.strongest(table[table["output"] == "counts"], 9).assign(start=10)
    logos = np.random.default_rng(0).normal(size=(2, len(chosen), 4, 71))
    drawn = {
        "heatmap": figures.heatmap_figure(table, screen.per_background),
        "before_after": figures.before_after_figure(table, screen.per_background, screen.baseline, top=9),
        "profiles": figures.profiles_figure(screen.profiles, table),
        "logos": figures.logos_figure(table, screen.motifs),
        "attributions": figures.attributions_figure(chosen, *logos, what="$<script>", unit="$"),
    }
    for name, figure in drawn.items():
        save_figure(figure, tmp_path / f"{name}.svg")
        root = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        for node in root.iter():
            assert node.tag.rsplit("}")[-1] not in ("script", "a", "foreignObject", "image") or name == "heatmap", name
            assert not any(attribute.rsplit("}")[-1].startswith("on") for attribute in node.attrib)
        save_figure(figure, tmp_path / f"{name}.pdf")
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_attributions_are_drawn_on_one_scale_with_the_insert_shaded():
    inserts = pd.DataFrame({"motif_name": ["a", "b"], "orientation": ["+", "-"], "start": [30, 30],
                            "insert": ["ACGTA", "GG"], "effect": [1.0, -0.5]})  # fmt: skip
    before, after = np.zeros((2, 4, 21)), np.zeros((2, 4, 21))
    after[0, 0, 8:13], after[1, 2, 9:11], before[0, 3, 2] = 1.0, -2.0, 0.5
    before[:, :, 20] = np.nan
    figure = figures.attributions_figure(inserts, before, after, what="DeepLIFT/SHAP of counts", unit="log counts")
    axes = np.array(figure.axes).reshape(2, 2)
    assert axes[0, 0].get_ylim() == axes[0, 1].get_ylim() == (0.0, pytest.approx(1.05))
    assert axes[1, 0].get_ylim()[0] == pytest.approx(-2.1)
    shaded = [(p.get_x(), p.get_width()) for p in axes[:, 0].ravel()[0].patches]
    assert shaded == [(7.5, 5.0)]
    labels = [t.get_text() for t in axes[1, 0].get_xticklabels()]
    assert axes[1, 0].get_xticks()[labels.index("0")] == 9  # the insert's first base
    assert figure.get_supylabel() == "DeepLIFT/SHAP of counts (log counts)"
    nothing = figures.attributions_figure(inserts.iloc[:0], before[:0], after[:0])
    assert "no attributions" in nothing.texts[0].get_text()


def test_a_figure_that_is_cut_off_is_known_as_one_that_had_a_digest(screen, tmp_path):
    path = tmp_path / "x.svg"
    save_figure(figures.heatmap_figure(screen.effects, screen.per_background, top=2), path)
    whole = path.read_bytes()
    assert is_sealed(path)
    for cut in (len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="cut off"):
            is_sealed(path)
