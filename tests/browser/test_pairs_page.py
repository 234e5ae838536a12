"""The section of pairs on the page of a screen: its table is pairs.parquet, its curves are those of the chosen pair."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest

from marginome.jobs.report_batch import report_batch
from marginome.report import write_report
from marginome.report.screen import JudgedPairs
from marginome.report.screen.pairs import pair_islands
from marginome.storage import read_json, read_table, write_json, write_table
from result_files import Results
from synthetic_screen import synthetic_screen

pytestmark = pytest.mark.browser
GAPS = [0, 4, 8, 12, 40, 60]
KINDS = [("+", "+", "given"), ("+", "-", "given"), ("+", "+", "swapped")]
N = 8
EVIL = "<img src=x onerror='window.owned=1'>"


def judged(backgrounds=("gc_matched", "shuffled"), positions=(0,)) -> JudgedPairs:
    draw = np.random.default_rng(1)
    pairs, arrangements, singles = [], [], []
    names = {"m0": "CTCF", "m1": EVIL, "m2": "NRF1"}
    for background, (a, b), at in itertools.product(backgrounds, itertools.combinations(names, 2), positions):
        head = {"model": "bpnet_ctcf", "background": background, "output": "counts", "unit": "log counts",
                "collection": "jaspar", "motif_id": a, "partner_id": b, "motif_name": names[a],
                "partner_name": names[b], "position": at}  # fmt: skip
        for (one, two, order), gap in itertools.product(KINDS, GAPS):
            arrangements.append(
                head | {"orientation": one, "partner_orientation": two, "order": order, "gap": gap, "start": 500 - gap,
                        "interaction": draw.normal(), "interaction_fold_sd": 0.05 + 0.01 * gap, "expected": -0.2,
                        "beyond_sd": 0.1,
                        "seam": "m2" if gap == 0 else None}
            )  # fmt: skip
        p = {"m0m1": 0.0001, "m0m2": 0.4, "m1m2": 0.02}[a + b]
        pairs.append(
            head | {"orientation": "+", "partner_orientation": "-", "order": "swapped", "gap": 8, "interaction": 0.5,
                    "expected": -0.2, "cooperation_p": p, "cooperation_q": 3 * p, "syntax_p": 0.3, "syntax_q": 0.5,
                    "p_resolution": 0.005, "effect": 1.0, "effect_partner": 0.5}
        )  # fmt: skip
        singles += [
            head | {"sequence": i, "effect": one, "effect_partner": two, "effect_pair": both}
            for i, (one, two, both) in enumerate(draw.normal([1, 0, 2], size=(N, 3)))
        ]
    return JudgedPairs(*map(pd.DataFrame, (pairs, arrangements, singles)))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    screen = synthetic_screen(20)
    path = tmp_path_factory.mktemp("pairs") / "page.html"
    write_report(path, effects=screen.effects, motifs=screen.motifs, pairs=judged(), title="Screen", name="pairs")
    return path


CELLS = "return [...document.querySelectorAll('#pairs-body tr')].map(r => [...r.children].map(c => c.textContent))"
LINES = """const chart = echarts.getInstanceByDom(document.getElementById('pairs-figure'));
return chart.getOption().series.filter(s => s.type === 'line' && s.symbol === 'circle')
  .map(s => s.data.map(d => [...d.value, d.itemStyle.borderWidth ?? 0]));"""


def test_the_table_has_the_pairs_of_the_filters_smallest_p_first(browser, page):
    browser.open(page)
    assert browser.text("#pairs-count") == "3 pairs of motifs"
    rows = browser.run(CELLS)
    assert [row[0] for row in rows] == [f"CTCF with {EVIL}", f"{EVIL} with NRF1", "CTCF with NRF1"]
    assert rows[0][1] == "B\u2212 8 A+" and rows[0][2:4] == ["+0.500", "\u22120.200"]
    assert [row[4] for row in rows] == ["< 0.0050", "0.020", "0.40"] and rows[1][5] == "0.060"
    browser.set("background", "")
    assert len(browser.wait(f"const r = (() => {{ {CELLS} }})(); return r.length === 6 && r")[0]) == 10
    assert browser.run("return window.owned") is None and browser.logged() == []


def test_the_curves_are_those_of_the_chosen_pair_and_the_address_keeps_it(browser, page):
    table = judged().arrangements

    def wanted(a, b, background="gc_matched"):
        rows = table[(table["motif_id"] == a) & (table["partner_id"] == b) & (table["background"] == background)]
        kinds = rows["orientation"] + " " + rows["partner_orientation"] + " " + rows["order"]
        return [part.sort_values("gap") for _, part in rows.groupby(kinds, sort=True)]

    def check(*pair):
        for drawn, part in zip(browser.run(LINES), wanted(*pair), strict=True):
            assert [point[0] for point in drawn] == GAPS
            np.testing.assert_allclose([point[1] for point in drawn], part["interaction"], rtol=2e-6)
            assert [point[2] > 0 for point in drawn] == [True] + [False] * 5, "hollow where there is a seam"

    browser.open(page)
    check("m0", "m1")
    titles = (
        "return echarts.getInstanceByDom(document.getElementById('pairs-figure')).getOption().title.map(t => t.text)"
    )
    assert browser.run(titles) == ["A+ \u2026 B+", "B+ \u2026 A+", "A+ \u2026 B\u2212"]
    browser.run("document.querySelectorAll('#pairs-body tr')[2].click()")
    check("m0", "m2")
    fragment = browser.run("return location.hash")
    assert "two=" in fragment
    browser.open(page, fragment)
    check("m0", "m2")
    browser.set("background", "shuffled")
    browser.wait("return document.querySelector('#pairs-body tr[aria-selected=true]') !== null")
    browser.wait(f"return JSON.stringify((() => {{ {LINES} }})()) !== arguments[0]", "x")
    check("m0", "m2", "shuffled")
    for scheme in ("dark", "light"):
        browser.run(f"document.documentElement.dataset.theme = '{scheme}'")
    assert browser.logged() == []


DOTS = """const chart = echarts.getInstanceByDom(document.getElementById('pairs-strips'));
return chart.getOption().series.find(s => s.type === 'scatter').data.map(d => [d.background, ...d.value]);"""
BARS = """const chart = echarts.getInstanceByDom(document.getElementById('pairs-figure'));
return chart.getOption().series.filter(s => s.type === 'custom' && s.data[0].length === 3).map(s => s.data);"""


def test_the_strips_are_the_backgrounds_of_the_chosen_pair_and_bars_are_of_folds(browser, page):
    table = judged()
    singles = table.backgrounds[table.backgrounds["background"] == "gc_matched"]
    browser.open(page)
    for row, (a, b) in ((0, ("m0", "m1")), (2, ("m0", "m2"))):
        browser.run(f"document.querySelectorAll('#pairs-body tr')[{row}].click()")
        mine = singles[(singles["motif_id"] == a) & (singles["partner_id"] == b)]
        values = mine.assign(sum=mine["effect"] + mine["effect_partner"])
        values = values[["effect", "effect_partner", "sum", "effect_pair"]].to_numpy()
        wanted = [[i, x, value] for i, one in enumerate(values) for x, value in enumerate(one)]
        np.testing.assert_allclose(browser.run(DOTS), wanted, atol=1e-5)
    assert "B\u2212" not in browser.text("#pairs-strips-note") and "Nrf" not in browser.text("#pairs-strips-note")
    assert "NRF1\u2212 8 CTCF+, in every background" in browser.text("#pairs-strips-note")
    bars = browser.run(BARS)
    assert len(bars) == len(KINDS)
    for drawn, lines in zip(bars, browser.run(LINES), strict=True):
        for (gap, low, high), (_, middle, _) in zip(drawn, lines, strict=True):
            np.testing.assert_allclose([low, high], [middle - 0.05 - 0.01 * gap, middle + 0.05 + 0.01 * gap], atol=1e-5)
    assert browser.logged() == []


def test_where_single_backgrounds_were_not_kept_the_page_says_so(browser, tmp_path):
    screen, two = synthetic_screen(4), judged()
    plain = two.arrangements.drop(columns="interaction_fold_sd")
    write_report(tmp_path / "page.html", effects=screen.effects, motifs=screen.motifs, title="Screen", name="pairs",
                 pairs=two._replace(arrangements=plain, backgrounds=two.backgrounds[:0]))  # fmt: skip
    browser.open(tmp_path / "page.html")
    assert browser.run("return document.getElementById('pairs-strips').hidden") is True
    assert "pair_backgrounds.parquet" in browser.text("#pairs-strips-note")
    assert browser.run(BARS) == [] and "ensemble" not in browser.text("#pairs-figure-note")
    assert browser.logged() == []


def test_a_page_of_a_sheet_has_the_pairs_of_its_own_model(browser, tmp_path):
    """Each page of a batch: the table and the curves of one model, within the bytes that an atlas gives a page."""
    made = Results(tmp_path / "results")
    made.screen()
    made.functions()
    made.page()
    here = {"background": made.background, "output": read_table(made.at("effects.parquet"))["output"].iat[0]}
    own = [table.assign(model=made.model, **here) for table in judged(backgrounds=(made.background,))]
    other = [table.assign(model="other", motif_name="of another", **here) for table in own]
    names = ("pairs", "arrangements", "pair_backgrounds")
    for name, *both in zip(names, own, other):
        write_table(made.at(f"{name}.parquet"), pd.concat(both))
    write_json(made.at("failed.json"), {})
    report_batch(
        "s", models=[made.model], failed=made.at("failed.json"), effects=made.at("batch/effects.parquet"),
        backgrounds=made.at("batch/effects.h5"), profiles=made.at("batch/profiles.h5"),
        baselines=[made.at("baseline.h5")], motifs=[made.at("motifs.parquet")], functions=made.at("functions.h5"),
        provenance=read_json(made.at("provenance.json")), pages=[tmp_path / "page.html"],
        **{name: made.at(f"{name}.parquet") for name in names},
    )  # fmt: skip
    browser.open(tmp_path / "page.html")
    rows = browser.run(CELLS)
    assert [row[0] for row in rows] == [f"CTCF with {EVIL}", f"{EVIL} with NRF1", "CTCF with NRF1"]
    browser.run("document.querySelectorAll('#pairs-body tr')[2].click()")
    mine = own[1][(own[1]["motif_id"] == "m0") & (own[1]["partner_id"] == "m2")]
    drawn = sorted(point[1] for line in browser.run(LINES) for point in line)
    np.testing.assert_allclose(drawn, sorted(mine["interaction"]), rtol=2e-6)
    assert len(browser.run(DOTS)) == 4 * N
    assert "of another" not in (tmp_path / "page.html").read_text() and browser.logged() == []


def test_a_page_of_many_keeps_a_part_of_the_curves():
    """An atlas has a page a model: of 1 MB of detail in place of 8, an eighth of the arrangements and backgrounds."""
    wide = judged(backgrounds=tuple(f"b{i}" for i in range(100)))
    repeated = wide._replace(
        arrangements=pd.concat([wide.arrangements.assign(gap=wide.arrangements["gap"] + 100 * i) for i in range(40)])
    )
    described = [json.loads(re.search(r">(.*)<", pair_islands(repeated, share=share)[0])[1]) for share in (1, 1 / 8)]
    whole, part = (one["curve_arrays"]["pair"]["count"] for one in described)
    assert whole > 190_000 and 20_000 < part <= 25_000 and part % (40 * len(GAPS) * len(KINDS)) == 0
    assert described[0]["n"] == described[1]["n"] == 300


def test_a_screen_without_judged_pairs_has_no_such_section(browser, pages):
    browser.open(pages["small"])
    assert browser.texts("#pairs-section") == [] and browser.logged() == []


def test_what_does_not_fit_is_left_out_and_said(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("marginome.report.screen.pairs.MOST_PAIRS", 4)
    monkeypatch.setattr("marginome.report.screen.pairs.MOST_ARRANGEMENTS", 36)
    screen = synthetic_screen(4)
    path = tmp_path / "page.html"
    write_report(path, effects=screen.effects, motifs=screen.motifs, pairs=judged(), title="Screen", name="pairs")
    browser.open(path)
    assert "holds 4 of 6 rows" in browser.text("#pairs-note")
    assert browser.run("return document.getElementById('pairs-figure').hidden") is False
    browser.run("document.querySelectorAll('#pairs-body tr')[1].click()")
    assert browser.run("return document.getElementById('pairs-figure').hidden") is True
    assert "arrangements.parquet" in browser.text("#pairs-figure-note")


def test_a_pair_at_several_positions_has_a_row_and_curves_of_each(browser, tmp_path):
    screen, two = synthetic_screen(20), judged(positions=(0, 1))
    write_report(tmp_path / "page.html", effects=screen.effects, motifs=screen.motifs, pairs=two, title="Screen",
                 name="pairs")  # fmt: skip
    browser.open(tmp_path / "page.html")
    rows = browser.run(CELLS)
    assert len(rows) == 6 and {(row[0], row[1]) for row in rows[:2]} == {(f"CTCF with {EVIL}", "0"),
                                                                         (f"CTCF with {EVIL}", "1")}  # fmt: skip
    drawn = []
    for row in (0, 1):
        browser.run(f"document.querySelectorAll('#pairs-body tr')[{row}].click()")
        drawn.append(browser.run(LINES))
    of = two.arrangements
    of = of[(of["background"] == "gc_matched") & (of["motif_id"] == "m0") & (of["partner_id"] == "m1")]
    for position, curves in zip((rows[0][1], rows[1][1]), drawn):
        mine = of[of["position"] == int(position)]
        assert sorted(v[1] for curve in curves for v in curve) == pytest.approx(sorted(mine["interaction"]), rel=2e-6)


def test_an_output_without_interactions_says_so(browser, tmp_path):
    screen = synthetic_screen(4, outputs=("distance", "counts"))
    write_report(tmp_path / "page.html", effects=screen.effects, motifs=screen.motifs, pairs=judged(), title="Screen",
                 name="pairs")  # fmt: skip
    browser.open(tmp_path / "page.html")
    assert browser.text("#pairs-count") == "0 pairs of motifs"
    assert "no interactions were computed" in browser.text("#pairs-figure-note")
    browser.set("output", "counts")
    browser.wait("return document.querySelector('#pairs-count').textContent === '3 pairs of motifs'")
