"""What a reader does with the page of an attribution entry, in a real browser."""

from __future__ import annotations

import base64
import json
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.keys import Keys

from marginome.arrays import write_hdf5
from marginome.columns import conform
from marginome.storage import write_table
from marginome.tables import EFFECTS
from synthetic_elements import Elements, synthetic_elements, write_elements_page

pytestmark = pytest.mark.browser

BP = "return new URLSearchParams(location.hash.slice(1)).get('bp').split('-').map(Number)"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Elements:
    return synthetic_elements(tmp_path_factory.mktemp("elements"))


@pytest.fixture(scope="module")
def page(made) -> Path:
    return write_elements_page(made)


def number(text: str) -> float:
    return float(text.replace("\u2212", "-").replace("+", ""))


def choose_locus(browser, value: int) -> None:
    browser.run(
        "const s = document.querySelector('select.locus'); s.value = arguments[0];s.dispatchEvent(new Event('change'))",
        str(value),
    )


def label(browser) -> str:
    return browser.run("return document.querySelector('#figure canvas').getAttribute('aria-label')")


def test_page_asks_for_nothing_and_logs_nothing(browser, made, page):
    browser.open(page)
    for tab in browser.texts("#tabs button"):
        browser.tab(tab)
    browser.tab("Locus")
    for _ in range(2):
        browser.run("document.getElementById('theme').click()")
        time.sleep(0.2)
        assert browser.run(
            "return [...document.querySelectorAll('#detail canvas, #figure canvas, #tbody canvas')].every(c => "
            "c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0))"
        )
    assert browser.logged() == []
    asked = [url for url in browser.requests() if not url.startswith(("data:", "blob:"))]
    assert asked == [page.as_uri()]
    assert browser.texts(".links a")[:2] == ["provenance.json", "figure"]
    assert "snakemake --cores all" in browser.text("#commands-text")


def test_it_opens_with_the_strongest_element_in_its_locus(browser, made, page):
    browser.open(page)
    counts = made.effects[made.effects["output"] == "counts"].sort_values("effect", ascending=False)
    best = counts.iloc[0]
    assert browser.chosen == best["motif_name"] and number(browser.text(".big b")) == pytest.approx(
        best["effect"], rel=6e-3
    )
    place = f"{best['chrom']}:{best['genome_start']}-{best['genome_end']}"
    assert browser.texts("#detail .hidden-row")[0].startswith(f"{place}, attribution")
    chrom, span = label(browser).removeprefix("Attributions of ").split(":")
    start, end = map(int, span.split("-"))
    assert chrom == best["chrom"] and start <= best["genome_start"] < best["genome_end"] <= end == start + 120
    assert browser.run("return document.querySelector('select.locus').selectedOptions[0].text").startswith(
        best["sequence_id"])  # fmt: skip


def test_any_locus_with_what_its_elements_do_alone(browser, made, page):
    browser.open(page)
    effects = made.effects[made.effects["output"] == "counts"].set_index("motif_id")
    ids = [option.split(" (")[0] for option in browser.texts("select.locus option")]
    assert len(ids) == 12
    for i, name in enumerate(ids):
        choose_locus(browser, i)
        assert label(browser) == f"Attributions of {name}"  # all of it
        mine = effects[effects["sequence_id"] == name].sort_values("seqlet_start")
        told = [t for t in browser.texts(".elements button") if "pattern" not in t]
        assert len(told) == len(mine)
        for text, row in zip(told, mine.itertuples()):
            what, alone, q = text.split(", ")
            assert what == row.motif_name and number(alone.removeprefix("alone ")) == pytest.approx(
                row.effect, rel=6e-3
            )
            assert float(q.removeprefix("q ")) == row.q
        patterns = [t for t in browser.texts(".elements button") if "pattern" in t]
        assert len(patterns) == len(mine)  # every seqlet is one of a pattern too
        if len(mine):
            assert browser.chosen == mine["motif_name"].iloc[0]
    assert any(not (effects["sequence_id"] == name).any() for name in ids)
    assert browser.logged() == []


def test_letters_are_those_of_the_file(browser, made, page):
    """What the page holds of every span, unpacked as it unpacks it."""
    browser.open(page)
    found = browser.run(
        "const meta = JSON.parse(document.getElementById('meta').textContent); return [meta.loci, meta.detail]"
    )
    loci, directory = found
    assert loci["length"] == 400 and loci["ids"][1] == "chr2:10000-10400" and loci["without_letters"] == 0
    raw = browser.run("return document.getElementById('detail-data').textContent")
    block = zlib.decompress(base64.b64decode(raw))

    def array(name):
        kind = np.dtype({"f4": "<f4", "i2": "<i2", "u1": "u1", "u2": "<u2", "u4": "<u4"}[directory[name]["kind"]])
        n, at = directory[name]["count"], directory[name]["offset"]
        planes = np.frombuffer(block[at : at + n * kind.itemsize], np.uint8).reshape(kind.itemsize, n)
        return np.ascontiguousarray(planes.T).view(kind).ravel()

    spans = list(zip(*(array(f"#span_{name}").astype(int) for name in ("locus", "start", "end"))))
    bases, steps, scale, done = array("#span_bases"), array("#span_steps"), array("#locus_scale"), 0
    for locus, start, end in spans:
        part = slice(done, done := done + end - start)
        assert "".join("ACGTN"[b] for b in bases[part]) == made.text[locus][start:end]
        np.testing.assert_allclose(
            steps[part] * scale[locus], made.observed[locus, start:end], atol=0.51 * scale[locus]
        )
    assert done == len(bases) < 0.8 * 12 * 400  # spans, not whole loci
    for row in made.seqlets.itertuples():
        assert any(i == row.example_idx and a <= row.start - 30 and b >= row.end + 30 for i, a, b in spans)
    outline = array("#locus_bins").reshape(12, -1) * scale[:, None]
    np.testing.assert_allclose(np.abs(outline).max(1), np.abs(made.observed).max(1), atol=scale.max())


def test_zoom_and_pan(browser, made, page):
    browser.open(page)
    choose_locus(browser, 0)
    assert browser.run(BP) == [0, 400]
    browser.run("document.querySelector('#figure canvas').focus()")
    browser.key("+")
    assert browser.run(BP) == [100, 300]
    browser.key("+")
    browser.key(Keys.ARROW_RIGHT)
    assert browser.run(BP) == [170, 270]
    for _ in range(20):
        browser.key(Keys.ARROW_RIGHT)
    assert browser.run(BP) == [300, 400]  # no further than its end
    browser.key("-")
    assert browser.run(BP) == [200, 400]
    browser.key("0")
    assert browser.run(BP) == [0, 400]
    for _ in range(9):
        browser.key("+")
    start, end = browser.run(BP)
    assert end - start == 20  # no closer
    browser.run("document.querySelector('#tab-options [title=\"The whole locus\"]').click()")
    browser.run(
        "document.querySelector('#figure canvas').dispatchEvent(new WheelEvent('wheel', {deltaY: -100, ctrlKey: true, "
        "bubbles: true, cancelable: true, clientX: 500, clientY: 300}))"
    )
    start, end = browser.run(BP)
    assert end - start == 320
    browser.run(
        "const c = document.querySelector('#figure canvas'), b = c.getBoundingClientRect();"
        "const at = (type, x) => new PointerEvent(type, {clientX: b.left + x, clientY: b.top + 120, bubbles: true});"
        "c.dispatchEvent(at('pointerdown', 500)); dispatchEvent(at('pointermove', 600));"
        "dispatchEvent(at('pointerup', 600))"
    )
    assert browser.run(BP)[0] < start or start == 0
    assert browser.logged() == []


def test_an_element_of_the_figure_is_chosen_by_a_click(browser, made, page):
    browser.open(page)
    ids = [option.split(" (")[0] for option in browser.texts("select.locus option")]
    two = made.seqlets.groupby("sequence_id").size().pipe(lambda n: n[n == 2]).index[0]
    choose_locus(browser, ids.index(two))
    mine = made.seqlets[made.seqlets["sequence_id"] == two].sort_values("start")
    assert browser.chosen == mine["match_name"].iloc[0]
    last = mine.iloc[-1]
    browser.run(
        "const c = document.querySelector('#figure canvas'), b = c.getBoundingClientRect();"
        "const x = b.left + 52 + (b.width - 60) * arguments[0] / 400;"
        "const at = (type) => new PointerEvent(type, {clientX: x, clientY: b.top + 214 + arguments[1], bubbles: true});"
        "c.dispatchEvent(at('pointerdown')); dispatchEvent(at('pointerup'))",
        float(last["start"] + last["end"]) / 2, 5.0,
    )  # fmt: skip
    assert browser.chosen == last["match_name"]
    assert browser.texts(".elements button[aria-pressed=true]")[0].startswith(last["match_name"])


def test_patterns_with_their_seqlets(browser, made, page):
    browser.open(page)
    browser.set("collection", "patterns")
    assert browser.count.startswith("2 of ")
    browser.set("search", "pos_")
    assert browser.count.startswith("1 of ") and browser.chosen == "pos_patterns.pattern_0"
    mine = made.members[made.members["pattern_id"] == "pos_patterns.pattern_0"]
    ordered = mine.sort_values("attribution", key=np.abs, ascending=False)
    told = browser.texts(".instances li")
    assert len(told) == len(mine) and f"Its seqlets ({len(mine)})" in browser.texts("#detail h3")
    first = ordered.iloc[0]
    assert told[0].startswith(f"{first['chrom']}:{first['genome_start']}-{first['genome_end']} (+)")
    assert [number(t.split()[-1]) for t in told] == pytest.approx(ordered["attribution"].tolist(), rel=6e-3)
    last = ordered.iloc[-1]
    browser.tab("Rank")
    browser.run("[...document.querySelectorAll('.instances button')].at(-1).click()")
    start, end = map(int, label(browser).split(":")[1].split("-"))
    assert start <= last["genome_start"] and last["genome_end"] <= end
    assert browser.logged() == []


def test_a_link_restores_the_view(browser, made, page):
    browser.open(page)
    choose_locus(browser, 4)
    browser.run("document.querySelector('#figure canvas').focus()")
    browser.key("+")
    browser.set("q", "0.05")
    browser.set("collection", "seqlets")
    kept = (label(browser), browser.count, browser.chosen)
    fragment = browser.run("return location.hash")
    browser.open(page)
    assert (label(browser), browser.count, browser.chosen) != kept
    browser.open(page, fragment)
    assert (label(browser), browser.count, browser.chosen) == kept
    browser.open(page, "#locus=chr9:1-2&bp=x-y&figure=locus")  # of another page
    assert browser.logged() == [] and label(browser).startswith("Attributions of chr")


def test_search_filters_and_the_keyboard(browser, made, page):
    browser.open(page)
    counts = made.effects[made.effects["output"] == "counts"]
    browser.set("search", "ctcf")
    assert browser.count.startswith(f"{(counts['motif_name'] == 'CTCF').sum()} of ")
    browser.set("search", made.seqlets["sequence_id"].iloc[0])
    assert browser.count.startswith(f"{(counts['sequence_id'] == made.seqlets['sequence_id'].iloc[0]).sum()} of ")
    # the figure goes with what is found
    assert browser.run("return document.querySelector('select.locus').selectedOptions[0].text").startswith(
        made.seqlets["sequence_id"].iloc[0])  # fmt: skip
    browser.set("search", "")
    browser.set("collection", "seqlets")
    browser.set("q", "0.05")
    assert browser.count.startswith(f"{(counts['q'] <= 0.05).sum()} of ")
    browser.run("document.getElementById('reset').click()")
    browser.set("family", "2")  # of seqlets there are 0 and 1
    assert browser.count.startswith("1 of ") and browser.chosen == "pos_patterns.pattern_0"
    browser.run("document.getElementById('reset').click()")
    browser.run("document.getElementById('table').focus()")
    browser.key(Keys.HOME)
    first, place = browser.chosen, label(browser)
    browser.key(Keys.ARROW_DOWN)
    assert label(browser) != place and browser.run("return document.activeElement.id") == "table"
    browser.key(Keys.ARROW_UP)
    assert browser.chosen == first and label(browser) == place
    browser.header("Attribution")
    got = [number(t) for t in browser.column("Attribution")]
    assert got == sorted(got, reverse=True)
    table = pd.read_csv(browser.downloaded("peaks.filtered.tsv"), sep="\t")
    assert len(table) == len(counts) + 2 and {"sequence_id", "seqlet_start", "effect", "q"} <= set(table)


def test_without_isolated_effects_it_shows_attributions(browser, made):
    browser.open(write_elements_page(made, isolated=False))
    best = made.seqlets.sort_values("attribution", ascending=False).iloc[0]
    assert browser.texts("#tabs button") == ["Locus"] and browser.chosen == best["match_name"]
    assert number(browser.text(".big b")) == pytest.approx(best["attribution"], rel=6e-3)
    assert "Effect across backgrounds, against controls" not in browser.texts("#detail h3")
    assert not any("Effect" in heading for heading in browser.texts("#thead th"))
    assert browser.logged() == []
    browser.open(write_elements_page(made, patterns=False))
    assert "pattern" not in " ".join(browser.texts(".elements button")) and browser.logged() == []


def test_hostile_names_stay_text(browser, tmp_path):
    evil = "</script><img src=x onerror='window.owned=1'>"
    made = synthetic_elements(tmp_path / "hostile", 3)
    table = pd.read_parquet(made.folder / "effects.parquet")
    texts = {key: evil for key in ("motif_name", "match_name", "unit", "model", "background")}
    write_table(made.folder / "effects.parquet", table.assign(**texts))
    browser.open(write_elements_page(made, name=evil))
    for tab in browser.texts("#tabs button"):
        browser.tab(tab)
    assert browser.chosen == evil and browser.run("return window.owned === undefined")
    assert browser.texts("h1") == [f"Elements of {evil}"] and browser.logged() == []


def test_an_unsigned_measure_of_the_users_is_one_sided(browser, tmp_path):
    """Without controls: an interval of a distance never holds 0, which says nothing; one of a difference does."""
    made = synthetic_elements(tmp_path / "own")
    for name, signed, drawn in (("distance", False, ""), ("change", True, "up")):
        measure = f"mine.py:{name}"
        table = made.effects.drop(columns=["q", "p", "z"]).assign(measure=measure, ci_low=0.1, ci_high=0.3, effect=0.2)
        write_table(made.folder / "effects.parquet", conform(table, EFFECTS, extra=True))
        with write_hdf5(made.folder / "effects.h5") as handle:
            readouts = {"output": ["counts"], "measure": [measure], "signed": [signed]}
            handle.create_group("bpnet/gc_matched").attrs["readouts"] = json.dumps(readouts)
        browser.open(write_elements_page(made, backgrounds=made.folder / "effects.h5", patterns=False))
        browser.run("document.querySelector('#tbody tr.row').click()")
        assert browser.run("return document.querySelector('.big b').className") == drawn
    assert browser.logged() == []


def test_nothing_found_says_so(browser, tmp_path):
    page = write_elements_page(synthetic_elements(tmp_path / "none", found=False))
    browser.open(page, ready=False)
    assert "There are no seqlets and no patterns in the 12 loci of peaks." in browser.text("main")
    assert browser.texts(".links a")[0] == "provenance.json"


def test_5000_loci_are_below_30_mb_and_open_within_3_s(browser, tmp_path, capsys):
    """In seconds of the page's own thread: a busy machine does not count."""
    page = write_elements_page(synthetic_elements(tmp_path / "large", 5000, 2114))
    size = page.stat().st_size
    seconds = browser.seconds_to_open(page, 2)
    with capsys.disabled():
        print(f"\n5,000 loci, 5,000 seqlets: {size / 1e6:.1f} MB, opens in {seconds:.1f} s of one core")
    assert size < 30_000_000 and seconds < 3
    choose_locus(browser, 4321)
    assert label(browser) == "Attributions of chr2:43210000-43212114" and browser.logged() == []
