"""The atlas of a screen of many models, in a real browser."""

from __future__ import annotations

import time

import numpy as np
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from marginome.report.atlas import write_atlas
from synthetic_atlas import TISSUES, synthetic_atlas

pytestmark = pytest.mark.browser
PAINTED = (
    "const c = document.getElementById('heat'), r = devicePixelRatio,"
    "d = c.getContext('2d').getImageData(arguments[0] * r, arguments[1] * r, 1, 1).data; return [...d.slice(0, 3)]"
)


@pytest.fixture(scope="module")
def atlases(tmp_path_factory):
    """Atlases of few models, of hostile names and of 500 models; every model has a page."""
    folder = tmp_path_factory.mktemp("atlas")
    asked = {
        "small": {"n_models": 24, "outputs": ("counts", "profile")}, "hostile": {"n_models": 5, "hostile": True},
        "bare": {"n_models": 6, "controls": False}, "large": {"n_models": 500, "n_motifs": 1019, "outputs": ("a", "b")},
    }  # fmt: skip
    made = {}
    for name, options in asked.items():
        atlas = synthetic_atlas(**options)
        made[name] = atlas, folder / f"{name}.html"
        write_atlas(made[name][1], **atlas._asdict(), title=f"Screen {name}", name=name, overview="index.html")
    for link in made["small"][0].pages.values():
        page = folder / link
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<title>{page.stem}</title><h1>{page.stem}</h1>")
    return made


def at_cell(browser, x, y):
    """Where a cell is on the canvas: column and row as shares of the map."""
    return browser.run(
        "const c = document.getElementById('heat'), b = c.getBoundingClientRect(), n = window.marginomeMap();"
        "return [n.left + arguments[0] * n.width - b.width / 2, n.top + arguments[1] * n.height - b.height / 2]", x, y,
    )  # fmt: skip


def move(browser, x, y):
    canvas = browser.driver.find_element("id", "heat")
    return ActionChains(browser.driver).move_to_element_with_offset(canvas, round(x), round(y))


def test_page_asks_for_nothing_and_logs_nothing(browser, atlases):
    for atlas, path in atlases.values():
        browser.open(path)
        move(browser, *at_cell(browser, 0.5, 0.5)).click().perform()
        browser.run("document.getElementById('theme').click()")
        browser.run("document.getElementById('theme').click()")
        time.sleep(0.2)
        assert browser.logged() == [] and browser.run("return window.owned") is None
        assert [url for url in browser.requests() if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
        assert browser.count.endswith(f"of {len(atlas.models)} models")


def test_500_models_open_fast_and_small(browser, atlases):
    _, path = atlases["large"]
    assert path.stat().st_size < 30_000_000
    assert browser.seconds_to_open(path) < 3
    assert browser.run("return window.marginomeTimes.map") < 500
    browser.set("motif", "ctcf ma0139.2")
    assert browser.count.startswith("1 of 340 families, 500 of 500")


def test_a_cell_says_what_the_matrix_says(browser, atlases):
    atlas, path = atlases["small"]
    matrix = atlas.families[0].matrix
    browser.open(path)
    found = (matrix.q <= 0.05).any(1)
    assert browser.count == f"{found.sum()} of {len(matrix.rows)} families, 24 of 24 models"
    f = int(np.abs(matrix.effect).max(1).argmax())
    representative = matrix.rows["family_representative"].iloc[f]
    m = int(np.abs(matrix.effect[f]).argmax())
    browser.open(path, f"#family={representative}&chosen={matrix.models[m]}")
    told = browser.texts("#detail p")
    (effect,) = [line.replace("\u2212", "-").split()[1] for line in told if line.startswith("effect")]
    assert float(effect) == pytest.approx(matrix.effect[f, m], rel=6e-3)
    best = atlas.inserts[0].rows.iloc[atlas.families[0].strongest[f, m]]
    assert any(best["motif_id"] in line and line.startswith("by ") for line in told)
    assert browser.text("#detail h3") == matrix.models[m]
    assert any(line.startswith("q below") or line.startswith("q about") for line in told)
    # arrows move the choice to the neighbour
    browser.run("document.getElementById('heat').focus()")
    rows = browser.run("return window.marginomeMap().rows")
    step = 1 if rows.index(f) + 1 < len(rows) else -1
    browser.key(Keys.ARROW_DOWN if step == 1 else Keys.ARROW_UP)
    neighbour = matrix.rows["family_representative"].iloc[rows[rows.index(f) + step]]
    assert f"family={neighbour}" in browser.run("return location.hash")
    assert browser.text("#detail h3") == matrix.models[m]


def test_colours_are_those_of_the_effects(browser, atlases):
    """Of the strongest cell, of one that is not found, with labels for columns in order."""
    atlas, path = atlases["small"]
    matrix = atlas.families[0].matrix
    browser.open(path, "#order=label")
    shown = browser.run("const n = window.marginomeMap(); return [n.rows, n.columns, n.left, n.top, n.width, n.height]")
    rows, columns, left, top, width, height = shown
    tissue = atlas.models["tissue"].to_numpy()[columns]
    assert len(set(tissue)) == 1 + (tissue[1:] != tissue[:-1]).sum()  # each in one run
    bright = {}
    for i, f in enumerate(rows):
        for j, m in enumerate(columns):
            x, y = left + (j + 0.8) * width / len(columns), top + (i + 0.85) * height / len(rows)
            bright[f, m] = (x, y)
    strong = max(bright, key=lambda fm: abs(matrix.effect[fm]))
    weak = min(bright, key=lambda fm: abs(matrix.effect[fm]))
    assert matrix.q[strong] <= 0.05 < matrix.q[weak]
    full, pale = (np.array(browser.run(PAINTED, *bright[fm])) for fm in (strong, weak))
    middle = np.array([0xF7, 0xF7, 0xF5])
    assert np.abs(pale - middle).max() < 12 < 60 < np.abs(full - middle).max()
    assert (full[0] > full[2]) == (matrix.effect[strong] > 0)  # orange is up, blue is down


def test_search_zoom_and_reset(browser, atlases):
    atlas, path = atlases["small"]
    browser.open(path)
    tissue = atlas.models["tissue"].iloc[0]
    browser.set("model", tissue)
    n = (atlas.models["tissue"] == tissue).sum()
    assert browser.count.endswith(f"{n} of 24 models")
    browser.run("document.getElementById('reset').click()")
    assert browser.count.endswith("24 of 24 models") and browser.run("return document.getElementById('back').hidden")
    before = browser.count
    start, end = at_cell(browser, 0.2, 0.2), at_cell(browser, 0.6, 0.6)
    move(browser, *start).click_and_hold().move_by_offset(20, 20).perform()
    canvas = browser.driver.find_element("id", "heat")
    ActionChains(browser.driver).move_to_element_with_offset(canvas, *map(round, end)).release().perform()
    zoomed = browser.count
    assert zoomed != before and not browser.run("return document.getElementById('back').hidden")
    assert 8 <= int(zoomed.split(", ")[1].split()[0]) <= 12
    browser.run("document.getElementById('back').click()")
    assert browser.count == before
    chips = browser.texts(".chip")
    assert {chip.rsplit(" ", 1)[0] for chip in chips} == set(atlas.models["tissue"]) <= set(TISSUES)
    browser.run("document.querySelector('.chip').click()")
    assert browser.count.endswith(f"{chips[0].rsplit('(')[1][:-1]} of 24 models")


def test_a_click_opens_the_models_own_page(browser, atlases):
    atlas, path = atlases["small"]
    browser.open(path)
    move(browser, *at_cell(browser, 0.5, 0.5)).click().perform()
    chosen = browser.text("#detail h3")
    browser.run("document.getElementById('open').click()")
    browser.wait("return document.title.includes('-of-')")
    assert browser.run("return document.title") == atlas.pages[chosen].rsplit("/", 1)[1].removesuffix(".html")
    assert "output=counts&row.motif_id=" in browser.run("return location.hash")
    # and one on a side colour does at once
    browser.open(path)
    columns, size = browser.run("const n = window.marginomeMap(); return [n.columns, n.cell.x]")
    x, y = at_cell(browser, 0, 0)
    move(browser, x + 2.5 * size, y - 8).click().perform()
    browser.wait("return document.title.includes('-of-')")
    wanted = atlas.pages[atlas.models["model"].iloc[columns[2]]]
    assert browser.run("return document.title") == wanted.rsplit("/", 1)[1].removesuffix(".html")


def test_without_controls_all_families_are_shown_in_full(browser, atlases):
    atlas, path = atlases["bare"]
    browser.open(path)
    assert browser.count.startswith(f"{len(atlas.families[0].matrix.rows)} of")
    assert browser.run("return document.getElementById('found-label').hidden")


def test_narrow_and_dark(browser, atlases):
    _, path = atlases["small"]
    browser.size(420)
    browser.media("dark")
    try:
        browser.open(path)
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth + 1")
        assert browser.run("return document.documentElement.dataset.theme") == "dark"
    finally:
        browser.size(1400)
        browser.media("light")
