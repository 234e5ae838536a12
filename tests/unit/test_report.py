"""The pages: what is in them is what was given, and nothing in a name is ever read as markup."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import marginome.report.screen.writing as screen_module
from marginome.arrays import group_of
from marginome.errors import MarginomeError
from marginome.jobs.report_screen import read_attributions
from marginome.report import (
    AttributionLogos,
    Badge,
    Entry,
    Link,
    ScreenEntry,
    Section,
    methods_paragraph,
    write_overview,
    write_page,
    write_report,
)
from marginome.report.overview import screen_summary
from marginome.report.page import asset, document, filled, json_island, save
from marginome.report.screen.packing import Arrays, shortened
from marginome.report.screen.writing import ECHARTS, SCREEN_FILES
from marginome.results import Profiles
from synthetic_elements import synthetic_elements, write_elements_page
from synthetic_screen import synthetic_screen

SCREEN = "marginome.report.screen"
ECHARTS_SHA256 = (
    "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"  # npm echarts 6.1.0, dist/echarts.min.js
)


class Page(HTMLParser):
    """Elements, attributes and text of a page, as a browser would take it apart."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.scripts, self.text, self._script = [], [], [], None
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs)

    def handle_data(self, data):
        if self._script is not None:
            self.scripts.append((self._script, data))
        else:
            self.text.append(data)

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def island(self, name):
        return next(text for attrs, text in self.scripts if attrs.get("id") == name)

    def unpack(self, name, directory):
        """Decode a block of arrays independently of the code that packed it."""
        block = zlib.decompress(base64.b64decode(self.island(name)))
        found = {}
        for key, at in directory.items():
            dtype = np.dtype({"f4": "<f4", "i2": "<i2", "u1": "u1", "u2": "<u2", "u4": "<u4"}[at["kind"]])
            size = dtype.itemsize * at["count"]
            planes = np.frombuffer(block[at["offset"] : at["offset"] + size], np.uint8).reshape(dtype.itemsize, -1)
            found[key] = np.ascontiguousarray(planes.T).view(dtype).ravel()
        return found


def page_of(tmp_path, screen, **options):
    path = tmp_path / "report.html"
    packed = write_report(
        path, effects=screen.effects, motifs=screen.motifs, per_background=screen.per_background,
        baseline=screen.baseline, profiles=screen.profiles, **options,
    )  # fmt: skip
    page = Page(path)
    return page, json.loads(page.island("meta")), packed


def test_json_island_cannot_be_left_and_reads_back():
    value = {
        "a": "</script><script>alert(1)</script>",
        "b": ["<!--", "&amp;", "\u2028", "\ud800", 'quote"'],
        "c": float("nan"),
    }
    island = json_island("x", value)
    inside = re.fullmatch(r'<script type="application/json" id="x">(.*)</script>', island, re.S)[1]
    assert not set("<>&") & set(inside)
    assert json.loads(inside) == {**value, "c": None}


def test_arrays_read_back(tmp_path):
    draw = np.random.default_rng(0)
    given = {
        "f": draw.normal(size=(7, 3)).astype(np.float32),
        "i": np.array([-32768, 0, 32767], np.int16),
        "b": np.arange(256, dtype=np.uint8),
        "w": np.array([0, 65535], np.uint16),
        "l": np.array([0, 2**32 - 1], np.uint32),
        "none": np.zeros(0, np.float32),
    }
    arrays = Arrays()
    for name, values in given.items():
        arrays.add(name, values)
    path = tmp_path / "page.html"
    path.write_text(arrays.island("x"))
    found = Page(path).unpack("x", arrays.directory)
    for name, values in given.items():
        np.testing.assert_array_equal(found[name], values.ravel())


def test_shortened_numbers_keep_six_digits():
    draw = np.random.default_rng(1)
    x = np.concatenate([draw.normal(size=20000) * 10.0 ** draw.uniform(-30, 30, 20000), [0.0, 1.0, -1.0]])
    got = shortened(x).astype(np.float64)
    assert np.all(np.abs(got - x) <= 1.1e-6 * np.abs(x))
    special = shortened(np.array([np.nan, np.inf, -np.inf, 3.4028e38]))
    assert np.isnan(special[0]) and special[1] == np.inf and special[2] == -np.inf and np.isfinite(special[3])


def test_document_allows_its_own_scripts_by_hash_and_nothing_else(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(document(title="<b>&", body="<p>x</p>", scripts=["let a = 1;\n", "let b = 2;\r\nlet c;"]))
    page = Page(path)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    allowed = re.search(r"script-src ([^;]+)", policy)[1].split()
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for _, text in page.scripts
    ]
    assert allowed == hashes and len(hashes) == 3
    assert "default-src 'none'" in policy and "unsafe-inline" not in re.search(r"script-src[^;]+", policy)[0]
    assert not any(name in attrs for _, attrs in page.tags for name in ("src", "href", "onload", "onclick"))
    assert "<title>&lt;b&gt;&amp;</title>" in page.source


@pytest.mark.parametrize("script", ["x = '</SCRIPT>'", "<!-- x"])
def test_document_refuses_a_script_that_ends_its_own_element(script):
    with pytest.raises(ValueError, match="end its own element"):
        document(title="x", body="", scripts=[script])


def test_the_page_of_a_screen_is_joined_from_short_files_of_their_own_names():
    files = [*(Path(screen_module.__file__).parent / "assets").glob("*.js")]
    assert {path.stem for path in files} == set(SCREEN_FILES) and SCREEN_FILES[-1] == "controls"
    files.append(Path(screen_module.__file__).parents[1] / "assets" / "shared.js")
    named = re.compile(r"^(?:async )?(?:function|const|let) ([\w$]+)", re.MULTILINE)
    names = []
    for path in files:
        lines = path.read_text(encoding="utf-8").split("\n")
        assert len(lines) <= 300 and max(map(len, lines)) <= 120 and lines[0].startswith("/* "), path.name
        names += named.findall("\n".join(lines))
    assert len(names) > 100
    assert {name for name in names if names.count(name) > 1} == set()  # the second would replace the first in silence


def test_filled_does_not_search_values_again():
    assert filled("[[a]] [[b]]", {"a": "[[b]]", "b": "x"}) == "[[b]] x"


def test_vendored_library_is_the_published_file_with_its_licence():
    assert hashlib.sha256(asset(ECHARTS, SCREEN).encode()).hexdigest() == ECHARTS_SHA256
    licence = asset("vendor/echarts-6.1.0.LICENSE.txt", SCREEN)
    assert "Apache License" in licence and "The Apache Software Foundation" in licence and "Mike Bostock" in licence
    assert "Licensed to the Apache Software Foundation" in asset(ECHARTS, SCREEN)[:400]  # stays in every page


def test_table_of_the_page_is_the_table_given(tmp_path):
    screen = synthetic_screen(12, outputs=("counts", "other"))
    table = screen.effects
    table.loc[3, ["effect", "q"]] = np.nan
    table.loc[4, "p"] = 1e-250
    table.loc[5, "p"] = 0.0
    table["largest_change_bp"] = pd.array([None, 5, *[7] * (len(table) - 2)], dtype="Int64")
    table["control_kind"] = table["control_kind"].where(table.index != 6)
    page, meta, packed = page_of(tmp_path, screen)
    arrays = page.unpack("table-data", meta["arrays"])
    assert [c["name"] for c in meta["columns"]] == list(table.columns) and packed.rows == len(table)
    for column in meta["columns"]:
        got, want = arrays[column["name"]], table[column["name"]]
        if column["kind"] == "text":
            assert [column["levels"][i] for i in got] == [None if pd.isna(v) else v for v in want], column["name"]
        elif column["kind"] == "log10":
            with np.errstate(divide="ignore"):
                np.testing.assert_allclose(got, np.log10(want), rtol=1.1e-6, equal_nan=True)
        elif column["kind"] == "whole":
            np.testing.assert_array_equal(got, want.to_numpy(float, na_value=np.nan))
        else:
            np.testing.assert_allclose(got, want, rtol=1.1e-6, equal_nan=True)
    kinds = {c["name"]: c["kind"] for c in meta["columns"]}
    assert kinds["start"] == kinds["largest_change_bp"] == kinds["family"] == "whole" and kinds["p"] == "log10"
    # the groups: rows of one insert, of one motif
    for label, keys in (("#insert", ["motif_id", "orientation"]), ("#motif", ["motif_id"]), ("#site", ["motif_id"])):
        np.testing.assert_array_equal(arrays[label], table.groupby(keys, sort=False).ngroup())
    # the matrices, in the order of motifs
    at = 0
    for width, (_, motif) in zip(meta["pwm_widths"], screen.motifs.iterrows(), strict=True):
        got = arrays["#pwm"][at : at + 4 * width].reshape(width, 4).T / 255
        np.testing.assert_allclose(got, motif["pwm"], atol=0.5 / 255 + 1e-9)
        at += 4 * width


def test_the_page_says_how_much_is_in_it(tmp_path):
    screen = synthetic_screen(4)
    page, _, _ = page_of(tmp_path, screen)
    inserts = screen.effects[["motif_id", "orientation", "start", "insert"]].drop_duplicates()
    assert f"{len(inserts)} inserts, {len(screen.effects)} effects" in "".join(page.text)


def test_details_are_what_was_given(tmp_path):
    screen = synthetic_screen(10)
    singles = screen.per_background.copy()
    singles[2, 5:] = np.nan  # a smaller set
    singles[7] = 0.0
    screen = screen._replace(per_background=singles)
    page, meta, packed = page_of(tmp_path, screen)
    detail = page.unpack("detail-data", meta["detail"])
    rows = detail["#background_rows"]
    assert sorted(rows) == list(range(len(singles))) and packed.per_background_inserts == 20
    steps = detail["#background_effects"].reshape(len(rows), -1).astype(float)
    steps[steps == -32768] = np.nan
    got = steps * detail["#background_scale"][:, None]
    bound = np.nanmax(np.abs(singles[rows]), axis=1, keepdims=True) / 32767
    assert np.array_equal(np.isnan(got), np.isnan(singles[rows]))
    assert np.all(np.abs(np.nan_to_num(got) - np.nan_to_num(singles[rows])) <= 0.51 * bound + 1e-12)
    for number, block in enumerate(screen.profiles):
        about = meta["profiles"][number]
        order = [list(block.rows).index(r) for r in detail[f"#profile{number}_rows"]]
        assert sorted(order) == list(range(20)) and about["length"] == 1000 and about["first"] == 557
        before = detail[f"#profile{number}_before"].reshape(2, 1000)
        np.testing.assert_allclose(before, block.before, rtol=1.1e-6)
        after = before + detail[f"#profile{number}_change"].reshape(-1, 2, 1000) * about["step"]
        np.testing.assert_allclose(after, block.after[order], atol=0.51 * block.after.max() / 1000)


def test_details_that_do_not_fit_are_left_out_from_the_weakest(tmp_path):
    screen = synthetic_screen(20)
    _, meta, packed = page_of(tmp_path, screen, detail_bytes=2 * 8 * 2 * 16 * 2)  # half of it: 8 inserts in 2 sets
    kept = set(meta["per_background"]["inserts"])
    strength = (
        screen.effects["effect"]
        .abs()
        .groupby(screen.effects.groupby(["motif_id", "orientation"], sort=False).ngroup())
        .max()
    )
    assert len(kept) == 8 == packed.per_background_inserts and meta["per_background"]["of"] == 40
    assert kept == set(strength.sort_values(ascending=False).index[:8])
    assert 1 <= meta["profiles"][0]["n"] < meta["profiles"][0]["of"] == 40


def test_long_profiles_are_averaged_in_bins(tmp_path):
    screen = synthetic_screen(4)
    before = np.linspace(0, 1, 5001)[None]
    after = np.stack([before * 2, before * 3])
    page, meta, _ = page_of(tmp_path, screen._replace(profiles=[Profiles(np.array([0, 2]), before, after, step=32)]))
    about = meta["profiles"][0]
    got = page.unpack("detail-data", meta["detail"])["#profile0_before"]
    assert (about["bp"], about["values"], about["length"]) == (96, 3, 1667) and len(got) == 1667
    unknown = page_of(tmp_path, screen._replace(profiles=[Profiles(np.array([0, 2]), before, after, step=0)]))[1]
    assert (unknown["profiles"][0]["bp"], unknown["profiles"][0]["values"]) == (
        0,
        3,
    )  # bins of three values, of unknown bases
    np.testing.assert_allclose(got, [before[0, 3 * i : 3 * i + 3].mean() for i in range(1667)], rtol=1.1e-6)


def unpacked_logos(page, meta, number):
    """(rows, first, before, after) of one block of attributions, as the page reads them."""
    part = page.unpack("detail-data", meta["detail"])
    width = meta["attributions"][number]["width"]
    name = f"#attribution{number}"
    before = part[f"{name}_before"].reshape(-1, 4, width)[part[f"{name}_which"]]
    change = part[f"{name}_change"].reshape(-1, 4, width) * part[f"{name}_step"][:, None, None]
    return part[f"{name}_rows"], part[f"{name}_first"], before, before + change


def test_attributions_of_pairs_that_are_one_sequence_are_tied_to_each_of_their_rows(tmp_path):
    """A motif beside a palindrome, as it is and turned round: two rows of one sequence, one place, one motif_id."""
    rows = pd.DataFrame({
        "model": "m", "background": "b", "collection": "c", "motif_id": ["A", "A", "A"], "orientation": "+", "start": 3,
        "sample": pd.NA, "insert": ["GATTCACGTG", "GATTCACGTG", "GATT"], "partner_id": ["P", "P", None],
        "partner_orientation": ["+", "-", None], "gap": [0, 0, None], "order": ["given", "given", None], "output": "o",
        "unit": "u",
    })  # fmt: skip
    with h5py.File(tmp_path / "functions.h5", "w") as handle:
        handle.attrs["window"] = 4
        for name in ("motif_id", "orientation", "insert"):
            handle[f"inserts/{name}"] = rows[name].astype(object).to_numpy()
        handle["inserts/start"] = rows["start"].to_numpy()
        handle["inserts/insert_id"] = np.array(
            ["c|A|+|3|P|+|gap 0|given", "c|A|+|3|P|-|gap 0|given", "c|A|+|3"], dtype=object
        )
        made = handle.create_group(f"{group_of('m', 'b')}/deep_lift_shap/o")
        made["before"] = made["after"] = np.arange(3 * 4 * 4, dtype=np.float32).reshape(3, 4, 4)
        (logos,) = read_attributions(handle, rows, where="functions.h5")
    assert logos.rows.tolist() == [0, 1, 2] and len(logos.after) == 3


def test_attributions_are_tied_to_rows_of_their_own_model_and_background(tmp_path):
    rows = pd.DataFrame([
        {"model": m, "background": b, "motif_id": name, "orientation": "+", "start": 3, "insert": "GATT", "output": o,
         "unit": "u"} for m in "mn" for b in "bc" for name in "AB" for o in "op"
    ])  # fmt: skip
    with h5py.File(tmp_path / "functions.h5", "w") as handle:
        handle.attrs["window"] = 4
        for name in ("motif_id", "orientation", "insert"):
            handle[f"inserts/{name}"] = rows[name][:4:2].astype(object).to_numpy()
        handle["inserts/start"] = np.array([3, 3])
        for m, b in (("m", "b"), ("m", "c"), ("n", "b"), ("n", "c")):
            made = handle.create_group(f"{group_of(m, b)}/deep_lift_shap/p")
            made["before"] = made["after"] = np.zeros((2, 4, 4), np.float32)
        found = read_attributions(handle, rows, where="functions.h5")
    assert [logos.rows.tolist() for logos in found] == [[1, 3], [5, 7], [9, 11], [13, 15]]


def test_attribution_logos_are_what_was_given(tmp_path):
    screen = synthetic_screen(4)
    draw = np.random.default_rng(0)
    before = np.repeat(draw.normal(size=(1, 4, 9)), 3, axis=0)
    before[2] = draw.normal(size=(4, 9))  # an insert at another place
    after = draw.normal(size=(3, 4, 9))
    after[1, :, :2] = before[1, :, :2] = np.nan  # beyond the end of the sequence
    after[0], before[0] = 0, 0
    rows, first = np.array([1, 4, 6]), np.array([3, -2, 7])
    logos = [
        AttributionLogos(rows, before, after, first, "counts", "deep_lift_shap", "log counts"),
        AttributionLogos(rows[:2], None, after[:2], 5, "<b>"),
    ]
    page, meta, packed = page_of(tmp_path, screen, attributions=logos)
    assert packed.attributions == 5
    about = meta["attributions"]
    assert (about[0]["function"], about[0]["output"], about[0]["unit"]) == ("DeepLIFT/SHAP", "counts", "log counts")
    assert [a["before"] for a in about] == [True, False] and about[1]["output"] == "<b>"
    given = [(before, after, first), (np.zeros_like(after[:2]), after[:2], np.array([5, 5]))]
    for number, (b, a, f) in enumerate(given):
        got_rows, got_first, got_before, got_after = unpacked_logos(page, meta, number)
        order = [list(rows).index(r) for r in got_rows]
        np.testing.assert_array_equal(got_first, f[order])
        np.testing.assert_allclose(got_before, np.nan_to_num(b)[order], rtol=1.1e-6)
        highest = np.maximum(np.nan_to_num(np.abs(b)).max((1, 2)), np.nan_to_num(np.abs(a)).max((1, 2)))[order]
        assert np.all(np.abs(got_after - np.nan_to_num(a)[order]) <= 0.51 * highest[:, None, None] / 200)
    with pytest.raises(MarginomeError, match="attributions"):
        page_of(tmp_path, screen, attributions=[AttributionLogos(np.array([1]), None, after, first=0)])


def test_the_same_attributions_before_are_kept_once_and_weak_inserts_go_first(tmp_path):
    screen = synthetic_screen(60)
    rows = np.flatnonzero(screen.effects["background"] == "shuffled")
    draw = np.random.default_rng(0)
    before = np.repeat(draw.normal(size=(1, 4, 60)), len(rows), axis=0)
    after = draw.normal(size=(len(rows), 4, 60))
    logos = [AttributionLogos(rows, before, after, 0, "counts", "f")]
    page, meta, packed = page_of(tmp_path, screen._replace(per_background=None, profiles=[]), attributions=logos)
    assert packed.attributions == 120 and meta["detail"]["#attribution0_before"]["count"] == 240
    page, meta, packed = page_of(
        tmp_path, screen._replace(per_background=None, profiles=[]), attributions=logos, detail_bytes=20_000
    )
    assert 16 <= packed.attributions == meta["attributions"][0]["n"] < 120 == meta["attributions"][0]["of"]
    kept = screen.effects.loc[unpacked_logos(page, meta, 0)[0]]
    strength = screen.effects.groupby(["motif_id", "orientation"])["effect"].agg(lambda e: e.abs().max())
    best = strength.sort_values(ascending=False).index[: packed.attributions]
    assert set(zip(kept["motif_id"], kept["orientation"])) == set(best)


def test_motif_without_a_matrix_is_drawn_from_its_insert_as_given(tmp_path):
    screen = synthetic_screen(4)
    page, meta, _ = page_of(tmp_path, screen._replace(motifs=screen.motifs.iloc[1:]))
    arrays = page.unpack("table-data", meta["arrays"])
    insert = screen.effects["insert"].iat[0]
    got = arrays["#pwm"][: 4 * meta["pwm_widths"][0]].reshape(-1, 4)
    assert "".join("ACGT"[i] for i in got.argmax(1)) == insert and set(got.ravel()) == {0, 255}


def test_hostile_names_stay_text(tmp_path):
    screen = synthetic_screen(30, hostile=True)
    evil = "</title><script>window.owned=1</script>"
    options = {"title": evil, "name": evil, "commands": [evil], "provenance": {evil: {"k": [evil, {"x": evil}]}}}
    page, meta, _ = page_of(tmp_path, screen, **options)
    clean, _, _ = page_of(tmp_path, synthetic_screen(30), title="x", commands=["x"],
                          provenance={"a": {"k": ["b", {"x": "c"}]}})  # fmt: skip
    assert [t for t, _ in page.tags] == [t for t, _ in clean.tags]  # not one element more
    assert [a.get("id") for a, _ in page.scripts] == [a.get("id") for a, _ in clean.scripts]
    names = next(c["levels"] for c in meta["columns"] if c["name"] == "motif_name")
    assert "<script>window.owned=1</script>" in names and meta["title"] == evil
    assert evil in "".join(page.text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s._replace(effects=s.effects.drop(columns="effect")), "columns missing.*effect"),
        (lambda s: s._replace(effects=s.effects.iloc[:0]), "no rows"),
        (lambda s: s._replace(per_background=s.per_background[:5]), "per_background: has 5 rows, the effect table 16"),
        (lambda s: s._replace(motifs=s.motifs.assign(pwm=[np.zeros((3, 5))] * 4)), r"MA0139.2.*\(4, width\)"),
        (lambda s: s._replace(profiles=[s.profiles[0]._replace(rows=np.array([0]))]), "1 rows, 8 profiles"),
    ],
)
def test_what_does_not_fit_is_an_error(tmp_path, change, message):
    with pytest.raises(MarginomeError, match=message):
        page_of(tmp_path, change(synthetic_screen(4)))
    assert not (tmp_path / "report.html").exists()


def test_same_input_same_bytes(tmp_path):
    screen = synthetic_screen(8)
    first = page_of(tmp_path, screen)[0].source
    assert page_of(tmp_path, screen)[0].source == first


def test_size_of_the_whole_database(tmp_path, capsys):
    screen = synthetic_screen(1019, outputs=tuple(f"task {i}" for i in range(12)))
    _, _, packed = page_of(tmp_path, screen)
    with capsys.disabled():
        print(f"\n1,019 motifs x 2 orientations x 12 outputs x 2 sets: {packed.bytes / 1e6:.1f} MB")
    assert packed.rows == 48912 and packed.bytes < 15e6


def test_pages_of_prose_tables_and_figures(tmp_path):
    figure = tmp_path / "a.svg"
    figure.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    table = pd.DataFrame(
        {
            "what": ["<i>x</i>", Link("go", "javascript:alert(1)"), Badge("fine", True), None],
            "n": [1.23456, 2, -0.5, np.nan],
        }
    )
    path = tmp_path / "page.html"
    write_page(
        path, title="<check>", subtitle="&", overview="../index.html", commands=["a && b"], provenance={"k": 1},
        sections=[Section("One", "first\n\nsecond", table, [(figure, "cap <x>")], [Link("file", "x y.tsv")], 3)],
    )  # fmt: skip
    page = Page(path)
    links = [a["href"] for t, a in page.tags if t == "a"]
    assert links == ["../index.html", "x%20y.tsv", "javascript%3Aalert%281%29"]
    text = " ".join(page.text)
    for wanted in ("<i>x</i>", "1.235", "fine", "first", "second", "cap <x>", "a && b", "The first 3 of 4 rows."):
        assert wanted in text, wanted
    assert "\u22120.5" in text and "nan" not in text.lower()
    images = [a["src"] for t, a in page.tags if t == "img"]
    assert base64.b64decode(images[0].removeprefix("data:image/svg+xml;base64,")) == figure.read_bytes()
    with pytest.raises(MarginomeError, match="only SVG and PNG"):
        write_page(path, title="x", sections=[Section("x", figures=[("a.pdf", "")])])


def test_overview_leads_to_everything(tmp_path):
    screen = synthetic_screen(30)
    write_overview(
        tmp_path / "index.html", title="All", intro="intro",
        screens=[ScreenEntry("first screen", "screens/a b/report.html", screen.effects, [Link("table", "t.tsv")])],
        backgrounds=[Entry("gc", {"n": 16}, [Link("FASTA", "b/gc.fa.gz")])],
        models=[Entry("bpnet", {"check": Badge("passed", True)}, [Link("check", "m/check.html")])],
        provenance={"seed": 1}, commands=["make demo"],
    )  # fmt: skip
    page = Page(tmp_path / "index.html")
    links = [a["href"] for t, a in page.tags if t == "a"]
    assert links == ["screens/a%20b/report.html", "t.tsv", "b/gc.fa.gz", "m/check.html"]
    text = " ".join(page.text)
    assert "make demo" in text and "Attributions, seqlets" not in text and "30 motifs in 2 background sets" in text


def test_summary_counts_what_the_table_says():
    table = synthetic_screen(40).effects
    said, top = screen_summary(table, top=5)
    passed = table[table["q"] <= 0.05].groupby("motif_id")["background"].nunique()
    assert f"{len(passed)} motifs do more" in said and f"{(passed == 2).sum()} in every one" in said
    means = table.groupby(["motif_id", "orientation"])["effect"].mean().abs().sort_values(ascending=False)
    best = list(dict.fromkeys(motif for motif, _ in means.index))[:5]
    assert list(top["Identifier"]) == best
    first = table[(table["motif_id"] == best[0]) & (table["orientation"] == means.index[0][1])].set_index("background")
    for background in ("gc_matched", "shuffled"):
        cell = top[background].iat[0]
        assert cell.effect == pytest.approx(first["effect"][background])
        assert cell.q == pytest.approx(first["q"][background]) and cell.significant


def test_a_row_that_is_not_significant_says_so_on_the_overview(tmp_path):
    table = synthetic_screen(4, backgrounds=("only",)).effects.assign(q=[0.57, 0.04] * 4)
    write_overview(tmp_path / "index.html", title="x", screens=[ScreenEntry("s", "s.html", table)])
    source = (tmp_path / "index.html").read_text()
    pale = table.groupby("motif_id").apply(lambda t: t.loc[t["effect"].abs().idxmax(), "q"] > 0.05).sum()
    assert source.count('class="pale"') == pale and source.count("q 0.57") == pale
    without = table.drop(columns="q")
    write_overview(tmp_path / "index.html", title="x", screens=[ScreenEntry("s", "s.html", without)])
    assert 'class="pale"' not in (tmp_path / "index.html").read_text()


def test_hostile_names_stay_text_on_the_overview_and_the_page_of_elements(tmp_path):
    from marginome.storage import write_json, write_table

    evil = "</td><script>window.owned=1</script>"

    def made(folder, name, hostile):
        folder.mkdir()
        screen = synthetic_screen(30, hostile=hostile)
        effects = screen.effects.assign(unit=name)
        (folder / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'></svg>")
        write_overview(
            folder / "index.html", title=name, intro=name,
            screens=[ScreenEntry(name, f"screens/{name}", effects, [Link(name, name)], folder / "a.svg", name)],
            backgrounds=[Entry(name, {name: name}, [Link(name, name)], folder / "a.svg", name)],
            models=[Entry(name, {name: Badge(name, True)})], attributions=[Entry(name, {name: Link(name, name)})],
            provenance={name: [name]}, commands=[name],
        )  # fmt: skip
        entry = synthetic_elements(folder / name.replace("/", ""), 3)
        for kind in ("effects", "pattern_effects"):
            own = pd.read_parquet(entry.folder / f"{kind}.parquet")
            texts = {key: name for key in ("motif_name", "match_name", "unit", "insert", "background", "model")}
            write_table(entry.folder / f"{kind}.parquet", own.assign(**texts))
        write_json(entry.folder / "provenance.json", {"command": name, name: {"k": name}})
        return Page(folder / "index.html"), Page(write_elements_page(entry, name=name))

    for hostile, clean in zip(made(tmp_path / "h", evil, True), made(tmp_path / "c", "x", False), strict=True):
        assert [t for t, _ in hostile.tags] == [t for t, _ in clean.tags]  # not one element more
        assert [sorted(a) for _, a in hostile.tags] == [sorted(a) for _, a in clean.tags]  # nor an attribute
        assert evil in "".join(hostile.text)
    assert "<script>window.owned=1</script>" in "".join(Page(tmp_path / "h" / "index.html").text)


def test_the_page_of_elements_leads_to_every_file_that_there_is(tmp_path):
    entry = synthetic_elements(tmp_path, 3, found=False)
    names = {"report": ["provenance.json", "elements.svg", "attributions.h5", "seqlets.parquet", "effects.parquet",
                        "patterns.parquet", "pattern_effects.parquet"],
             "report_plain": ["provenance.json", "elements.svg", "attributions.h5", "seqlets.parquet"]}  # fmt: skip
    for name, wanted in names.items():
        page = write_elements_page(entry, isolated=name == "report", patterns=name == "report")
        links = [a["href"] for t, a in Page(page).tags if t == "a" and "href" in a]
        assert page.stem == name and [link for link in links if (tmp_path / link).is_file()] == wanted


def test_a_record_is_shown_nested_as_it_is(tmp_path):
    write_page(tmp_path / "x.html", title="x", sections=[], provenance={"a": ["b", 2], "d": [["e", "f"], {"x": None}]})
    page = Page(tmp_path / "x.html")
    assert "a b, 2 d e, f x" in " ".join(t.strip() for t in page.text if t.strip())
    assert [t for t, _ in page.tags].count("li") == 2


def test_a_methods_paragraph_says_what_the_record_holds(tmp_path):
    weights, genome, peaks = "resources/w.pt", "genome.fa.gz", "a {b} <i>.bed"
    sets = {
        "even": {"kind": "uniform", "n": 8, "length": 300},
        "skewed": {"kind": "composition", "n": 9, "length": 300, "probabilities": [0.3, 0.2, 0.2, 0.3]},
        "windows": {"kind": "gc_matched", "n": 10, "length": 2114, "genome": genome, "peaks": peaks},
        "shuffles": {"kind": "dinucleotide_shuffle", "n": 11, "length": 300, "fasta": "x.fa"},
        "alike": {"kind": "composition", "n": 12, "length": 300, "fasta": "y.fa"},
        "own": {"kind": "fasta", "fasta": "x.fa"},
        "given": {"kind": "bed", "genome": genome, "regions": peaks, "length": 300},
    }
    screen = {
        "models": ["m"], "motifs": ["j", "f"], "backgrounds": list(sets), "orientations": "+", "inserts": "sample",
        "draws": 7, "positions": {"start": 0, "stop": 100, "step": 10}, "flanks": {"left": "ACG"},
        "controls": {"pool": 1000},
    }  # fmt: skip
    record = {
        "config": {
            "screen": {"s": screen}, "seed": 5, "precision": "float32", "models": {"m": {"weights": weights}},
            "motifs": {
                "j": {"jaspar": {"release": 2026}},
                "f": {"files": ["a.meme", {"file": "x/b.txt", "format": "homer"}]},
            },
            "backgrounds": sets,
        },
        "input_sha256": {weights: "0123456789abcdef", genome: "f" * 64}, "versions": {"marginome": "0.1.0"},
        "models": {"m": {"input_length": 2114, "outputs": [{"name": "counts", "measure": "log2_fold_change"}]}},
    }  # fmt: skip
    text = methods_paragraph(record)
    for wanted in (
        "w.pt (SHA-256 01234567...)", "JASPAR 2026, a.meme and b.txt", "7 samples per matrix", "the given orientation",
        "every 10 bp from 0 up to 100", "ACG before it", "8 random sequences of equally", "[0.3, 0.2, 0.2, 0.3]",
        "10 genomic windows", "11 dinucleotide-preserving shuffles of x.fa", "the sequences of x.fa",
        "12 random sequences with the base frequencies of y.fa",
        "the regions of a {b} <i>.bed", "a pool of 1,000", "seed 5", "counts (log2 fold change)", "2,114 bp",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert "None" not in text
    for controls, said in (
        ({"pool": {"j": 2000, "f": 300}}, "(2,000 for j and 300 for f, each collection with its own)"),
        ({"per_insert": 16}, "(16 for every insert)"),
        ({}, "40 for each distinct insert, at least 300 and at most 1,000"),
    ):
        assert said in methods_paragraph(
            {**record, "config": record["config"] | {"screen": {"s": screen | {"controls": controls}}}}
        )
    screen |= {"controls": False, "positions": [3, 40], "pairs": [{"gaps": [4]}, {"gaps": [4, 9]}]}
    text = methods_paragraph(record)
    assert "no p was computed" in text and "positions 3 and 40 (from 0)" in text and "put in: pairs at" in text
    screen |= {"controls": {}, "inserts": "consensus"}
    assert "ranked among those of mismatched pairs" in methods_paragraph(record)
    screen["pairs"] = screen["pairs"][:1]  # one gap: nothing is far apart
    assert "no p was computed" in methods_paragraph(record)
    composites = {key: value for key, value in screen.items() if key != "pairs"} | {"composites": [{}]}
    said = methods_paragraph({**record, "config": record["config"] | {"screen": {"s": composites}}})
    assert "put in: composites at" in said and "sum of the effects of its motifs alone" in said
    page, _, _ = page_of(tmp_path, synthetic_screen(4), methods=text)
    assert text in "".join(page.text)


def test_the_overview_names_what_another_config_left_in_the_folder(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("marginome"), "propagate", True)
    from marginome.jobs.write_overview import write_overview as write

    for folder in ("screens/ours", "screens/theirs", "attributions/old"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "report.html").touch()
    (tmp_path / "screens/unfinished").mkdir()
    page = tmp_path / "index.html"
    empty = {"backgrounds": {}, "models": {}, "attributions": {}, "opened": {}, "commands": []}
    with caplog.at_level("WARNING", logger="marginome"):
        write({"title": "x"}, screens={}, page=page, readme=tmp_path / "README.md", **empty)
    said = "not of this config and are not shown here: screens ours, theirs; attributions old."
    assert said in "".join(Page(page).text) and said in caplog.text


def test_the_overview_counts_what_an_attribution_entry_found(tmp_path):
    """Of one with patterns and names, and of one with seqlets alone."""
    from marginome.jobs.write_overview import write_overview as write
    from marginome.storage import write_json, write_table

    files, opened = {}, {}
    for name, tables in (("all", {"seqlets": 5, "annotations": 4, "patterns": 3}), ("few", {"seqlets": 2})):
        files[name] = [f"attributions/{name}/{file}" for file in ("report.html", "provenance.json")]
        opened[files[name][1]] = tmp_path / f"{name}.json"
        write_json(tmp_path / f"{name}.json", {"command": "make"})
        for table, n in tables.items():
            files[name].append(f"attributions/{name}/{table}.parquet")
            opened[files[name][-1]] = tmp_path / f"{name}.{table}.parquet"
            write_table(opened[files[name][-1]], pd.DataFrame({"match_id": ["A", *[None] * (n - 1)]}))
    page, empty = tmp_path / "index.html", {"screens": {}, "backgrounds": {}, "models": {}, "commands": []}
    write({"title": "x"}, attributions=files, opened=opened, page=page, readme=tmp_path / "README.md", **empty)
    text = " ".join(" ".join(Page(page).text).split())
    assert "seqlets 5 of them with a named motif 1 patterns 3" in text and "seqlets 2" in text


def test_of_a_table_that_is_too_large_whole_outputs_are_shown_those_with_most_discoveries_first(tmp_path, monkeypatch):
    screen = synthetic_screen(20, outputs=("a", "b", "c"))
    table = screen.effects.assign(q=1.0)
    table.loc[(table["output"] == "c") & (table["effect"] > 0), "q"] = 0.01
    table.loc[(table["output"] == "b") & (table["effect"] > 1), "q"] = 0.01
    monkeypatch.setattr(screen_module, "MOST_ROWS", 170)  # 80 rows an output
    page, meta, packed = page_of(tmp_path, screen._replace(effects=table))
    assert packed.rows == 160 and packed.inserts == 40
    assert next(c["levels"] for c in meta["columns"] if c["name"] == "output") == ["b", "c"]
    kept = table[table["output"] != "a"]
    arrays = page.unpack("table-data", meta["arrays"])
    np.testing.assert_allclose(arrays["effect"], kept["effect"], rtol=1.1e-6)
    assert "2 of 3 outputs, those with most effects at q ≤ 0.05" in "".join(page.text)
    assert {base["output"] for base in meta["baseline"]} == {"b", "c"}
    detail = page.unpack("detail-data", meta["detail"])
    # what belongs to a row still does, and profiles that were tied to rows of output a are tied to others of the insert
    np.testing.assert_array_equal(detail["#background_rows"], np.arange(160))
    singles = detail["#background_effects"].reshape(160, -1) * detail["#background_scale"][:, None]
    want = screen.per_background[kept.index]
    np.testing.assert_allclose(singles, want, atol=1e-4 * np.abs(want).max())
    assert packed.profiles == 80 and set(detail["#profile0_rows"]) <= set(range(160))
    insert_of = [tuple(row) for row in kept[["motif_id", "orientation", "background"]].to_numpy()]
    tied = [insert_of[row] for row in detail["#profile0_rows"]]
    assert set(tied) == {key for key in insert_of if key[2] == "gc_matched"} and len(tied) == 40


def test_of_one_output_that_is_too_large_the_strongest_inserts_are_shown(tmp_path, monkeypatch):
    screen = synthetic_screen(20)
    monkeypatch.setattr(screen_module, "MOST_ROWS", 31)  # two rows an insert
    page, meta, packed = page_of(tmp_path, screen)
    assert (packed.rows, packed.inserts) == (30, 15)
    assert "the 15 strongest of 40 inserts" in "".join(page.text)
    keys = ["motif_id", "orientation"]
    size = screen.effects.assign(size=screen.effects["effect"].abs()).groupby(keys)["size"].max()
    wanted = screen.effects[[tuple(k) in set(size.nlargest(15).index) for k in screen.effects[keys].to_numpy()]]
    arrays = page.unpack("table-data", meta["arrays"])
    np.testing.assert_allclose(arrays["effect"], wanted["effect"], rtol=1.1e-6)


def test_a_page_has_fewer_rows_where_its_bytes_are_too_many(tmp_path, monkeypatch):
    screen = synthetic_screen(100, outputs=("a", "b", "c", "d"))
    whole = write_report(tmp_path / "whole.html", effects=screen.effects, motifs=screen.motifs)
    monkeypatch.setattr(screen_module, "PAGE_BYTES", whole.bytes - 20_000)
    packed = write_report(tmp_path / "page.html", effects=screen.effects, motifs=screen.motifs)
    assert packed.bytes == (tmp_path / "page.html").stat().st_size <= whole.bytes - 20_000 and packed.rows in (400, 800)


def test_a_plain_page_that_is_too_large_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("marginome"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="marginome"):
        save(tmp_path / "page.html", "x" * 29_000_000)
        assert not caplog.records
        save(tmp_path / "page.html", "x" * 31_000_000)
    assert "is 31 MB, which a browser opens slowly" in caplog.text
