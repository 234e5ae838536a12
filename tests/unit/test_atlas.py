"""What an atlas is made of: the order of its axes, the bytes of its page, its figure, the pages of its models."""

from __future__ import annotations

import base64
import itertools
import json
import re
import zlib

import numpy as np
import pandas as pd
import pytest
from scipy.cluster import hierarchy

import marginome.clustering as clustering
import marginome.report.atlas.writing as writing
from marginome.clustering import cluster_rows
from marginome.errors import MarginomeError
from marginome.figures.clustermap import clustermap_figure
from marginome.jobs.plot_atlas import plot_atlas
from marginome.jobs.report_atlas import report_atlas
from marginome.jobs.report_batch import report_batch
from marginome.report.atlas import write_atlas
from marginome.storage import read_json, write_json, write_table
from result_files import Results
from synthetic_atlas import synthetic_atlas


# ------------------------------------------------------------------------------------------------ clustering
def average_linkage(values):
    """The heights at which clusters join, by loops."""
    groups, heights = [[i] for i in range(len(values))], []
    while len(groups) > 1:
        mean = {
            (a, b): np.mean([np.linalg.norm(values[i] - values[j]) for i in groups[a] for j in groups[b]])
            for a, b in itertools.combinations(range(len(groups)), 2)
        }
        (a, b), height = min(mean.items(), key=lambda item: item[1])
        groups[a] += groups.pop(b)
        heights.append(height)
    return heights


def test_rows_are_joined_by_their_mean_distance():
    values = np.random.default_rng(0).normal(size=(12, 5))
    values[3, 2] = np.nan
    found = cluster_rows(values)
    np.testing.assert_allclose(found.tree[:, 2], average_linkage(np.nan_to_num(values)))
    assert sorted(found.order) == list(range(12))


@pytest.mark.parametrize("seed", range(6))
def test_neighbouring_leaves_are_alike(seed):
    """Never less than as the tree was built (SciPy's turning of seed 5 is), and mostly as much as the tree allows."""
    values = np.random.default_rng(seed).normal(size=(7, 3))
    found = cluster_rows(values)

    def orders(node):
        """Every order of leaves that the tree allows."""
        if node < 7:
            return [[node]]
        left, right = (orders(int(child)) for child in found.tree[node - 7, :2])
        return [a + b for x, y in ((left, right), (right, left)) for a in x for b in y]

    def way(order):
        return sum(np.linalg.norm(values[a] - values[b]) for a, b in itertools.pairwise(order))

    built = hierarchy.leaves_list(hierarchy.linkage(values, method="average"))
    shortest = min(map(way, orders(12)))
    assert shortest - 1e-9 <= way(found.order.tolist()) <= way(built.tolist()) + 1e-9
    if seed in (0, 2, 3):
        assert way(found.order.tolist()) == pytest.approx(shortest)


def test_few_rows_and_many(monkeypatch):
    for n in (0, 1):
        assert (
            cluster_rows(np.zeros((n, 3))).order.tolist() == list(range(n))
            and cluster_rows(np.zeros((n, 3))).tree is None
        )
    monkeypatch.setattr(clustering, "MOST_TURNED", 3)
    assert sorted(cluster_rows(np.random.default_rng(0).normal(size=(9, 2))).order) == list(range(9))


# ------------------------------------------------------------------------------------------------ the page
def unpacked(path, island="atlas-data"):
    """What a page holds: its words and its arrays."""
    text = path.read_text()
    meta = json.loads(re.search(r'<script type="application/json" id="meta">(.*?)</script>', text, re.DOTALL)[1])
    block = zlib.decompress(base64.b64decode(re.search(rf'id="{island}">(.*?)</script>', text, re.DOTALL)[1]))
    arrays = {}
    for name, part in meta["arrays"].items():
        kind = np.dtype("<" + part["kind"])
        planes = np.frombuffer(block, np.uint8, part["count"] * kind.itemsize, part["offset"])
        arrays[name] = planes.reshape(kind.itemsize, -1).T.copy().view(kind)[:, 0]
    return meta, arrays


@pytest.mark.parametrize("controls", [True, False])
def test_a_page_holds_the_matrices(tmp_path, controls):
    atlas = synthetic_atlas(14, 30, ("counts", "profile"), controls=controls)
    # a model without the second output
    less = atlas.inserts[1]
    cut = less._replace(models=less.models[:-1], effect=less.effect[:, :-1], q=less.q[:, :-1])
    family = atlas.families[1]
    matrix = family.matrix
    cut_family = family._replace(
        matrix=matrix._replace(models=cut.models, effect=matrix.effect[:, :-1], q=matrix.q[:, :-1]),
        strongest=family.strongest[:, :-1],
    )
    atlas = atlas._replace(families=[atlas.families[0], cut_family], inserts=[atlas.inserts[0], cut])
    packed = write_atlas(tmp_path / "a.html", **atlas._asdict())
    assert packed == ((tmp_path / "a.html").stat().st_size, 10, 14, 2)
    meta, arrays = unpacked(tmp_path / "a.html")
    assert meta["models"] == atlas.models["model"].tolist() and meta["left_out"] == 0
    tissue = meta["labels"]["tissue"]
    assert [tissue["levels"][c] for c in tissue["codes"]] == atlas.models["tissue"].tolist()
    assert meta["labels"]["assay"]["codes"][-1] == -1
    for k, (one, inserts) in enumerate(zip(atlas.families, atlas.inserts)):
        n, output = len(one.matrix.models), meta["outputs"][k]
        effect = arrays[f"effect{k}"].reshape(10, 14)
        assert (effect[:, n:] == -32768).all() and (arrays[f"q{k}"].reshape(10, 14)[:, n:] == 255).all()
        np.testing.assert_allclose(effect[:, :n] / 32766 * output["most"], one.matrix.effect, atol=output["most"] / 6e4)
        q = arrays[f"q{k}"].reshape(10, 14)[:, :n]
        if controls:
            np.testing.assert_array_equal((q >= 127) & (q < 255), one.matrix.q <= 0.05)
            steps = np.where(q >= 127, q - 127, q)
            inside = steps < 126
            logs = -np.log10(one.matrix.q[inside])
            assert (steps[inside] <= logs * 30 + 1e-9).all() and (steps[inside] > logs * 30 - 1 - 1e-9).all()
        else:
            assert (q == 255).all() and not output["tested"]
        number = arrays[f"insert{k}"].reshape(10, 14)
        for f, m in itertools.product(range(10), range(n)):
            motif, orientation, _ = output["inserts"][number[f, m]]
            row = inserts.rows.iloc[one.strongest[f, m]]
            assert (motif, orientation) == (row["motif_id"], row["orientation"])
        for axis, size in (("families", 10), ("models", 14)):
            assert sorted(arrays[f"{axis}{k}"]) == list(range(size))
    assert [len(f["members"]) for f in meta["families"]] == [3] * 10


def test_a_page_that_would_be_too_large_keeps_the_families_that_do_most(tmp_path, monkeypatch):
    atlas = synthetic_atlas(300, 300)
    write_atlas(tmp_path / "all.html", **atlas._asdict())
    whole = (tmp_path / "all.html").stat().st_size
    monkeypatch.setattr(writing, "PAGE_BYTES", whole - 40_000)
    packed = write_atlas(tmp_path / "some.html", **atlas._asdict())
    assert packed.bytes <= whole - 40_000 and 10 < packed.families < 100
    meta, _ = unpacked(tmp_path / "some.html")
    matrix = atlas.families[0].matrix
    order = np.argsort(-np.abs(matrix.effect).max(1), kind="stable")[: packed.families]
    assert {f["id"] for f in meta["families"]} == set(matrix.rows["family_representative"].iloc[order])
    assert f"the {packed.families} families that do most in any model, of 100" in (tmp_path / "some.html").read_text()
    with pytest.raises(MarginomeError, match="no families"):
        write_atlas(tmp_path / "none.html", **atlas._replace(families=[], inserts=[])._asdict())


# ------------------------------------------------------------------------------------------------ the figure
def drawn(atlas, **options):
    matrix = atlas.families[0].matrix
    names = [
        atlas.names[key]
        for key in matrix.rows[["collection", "family_representative"]].itertuples(index=False, name=None)
    ]
    return matrix, names, clustermap_figure(matrix, names=names, labels=atlas.models.set_index("model"), **options)


def test_the_clustermap_shows_the_strongest_that_are_found():
    matrix, names, figure = drawn(synthetic_atlas(20, 150), top=6)
    ax = next(ax for ax in figure.axes if ax.get_yticklabels() and len(ax.get_yticks()) == 6)
    found = (matrix.q <= 0.05).any(1)
    size = np.where(found, np.abs(matrix.effect).max(1), -1)
    best = np.argsort(-size, kind="stable")[:6]
    assert sorted(t.get_text() for t in ax.get_yticklabels()) == sorted(names[f] for f in best)
    models = [t.get_text() for t in ax.get_xticklabels()]
    rows = [names.index(t.get_text()) for t in ax.get_yticklabels()]
    columns = [matrix.models.index(m) for m in models]
    np.testing.assert_allclose(ax.images[0].get_array(), matrix.effect[np.ix_(rows, columns)])
    dots = {(round(x), round(y)) for x, y in ax.collections[0].get_offsets()}
    assert dots == {(j, i) for i, f in enumerate(rows) for j, m in enumerate(columns) if matrix.q[f, m] <= 0.05}
    told = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"tissue: liver", "assay: ATAC"} <= told


def test_branches_of_the_trees_end_at_their_rows_and_columns():
    """SciPy's leaves are 10 apart, the first at 5; the left tree runs from the top down, its root at the left."""
    _, _, figure = drawn(synthetic_atlas(20, 150), top=6)
    top, left = (ax for ax in figure.axes if not ax.images and len(ax.lines) > 1)
    assert (top.get_xlim(), left.get_ylim()) == ((0, 200), (60, 0))
    assert len(top.lines) == 19 and len(left.lines) == 5
    assert left.get_xlim()[0] > left.get_xlim()[1]


@pytest.mark.parametrize("values", [12, 15])
def test_the_legend_of_the_clustermap_counts_what_it_does_not_name(values):
    atlas = synthetic_atlas(20, 30)
    given = [f"donor {i % values}" for i in range(20)]
    _, _, figure = drawn(atlas._replace(models=atlas.models.assign(tissue=given)))
    told = [text.get_text() for text in figure.legends[0].get_texts() if text.get_text().startswith("tissue")]
    assert len(told) == 12 + (values > 12) and told[12:] == ["tissue: and 3 more"] * (values > 12)


def test_the_clustermap_of_many_models_of_none_and_without_controls():
    _, _, figure = drawn(synthetic_atlas(90, 30))
    assert not any(ax.collections for ax in figure.axes if ax.images)
    _, _, figure = drawn(synthetic_atlas(1, 30, controls=False))
    assert figure.axes
    atlas = synthetic_atlas(5, 30)
    matrix = atlas.families[0].matrix
    nothing = matrix._replace(q=np.ones_like(matrix.q))
    figure = clustermap_figure(nothing, names=["x"] * 10, labels=pd.DataFrame(index=range(5)))
    assert "No family of motifs" in figure.texts[0].get_text()


# ------------------------------------------------------------------------------------------------ the jobs
@pytest.fixture(scope="module")
def results(tmp_path_factory):
    made = Results(tmp_path_factory.mktemp("results"))
    made.screen()
    made.functions()
    made.page()
    return made


def test_the_page_of_a_model_is_that_of_the_screen_with_it_alone(results):
    pages = [results.at(f"pages/{i}-of-1.html") for i in (1,)]
    write_json(results.at("failed.json"), {})
    files = {"failed": results.at("failed.json"), "effects": results.at("batch/effects.parquet"),
             "backgrounds": results.at("batch/effects.h5"),
             "profiles": results.at("batch/profiles.h5"), "baselines": [results.at("baseline.h5")],
             "motifs": [results.at("motifs.parquet")], "provenance": read_json(results.at("provenance.json")),
             "functions": results.at("functions.h5"), "pairs": None, "arrangements": None,
             "pair_backgrounds": None}  # fmt: skip
    report_batch("s", models=[results.model], **files, pages=pages)
    (meta, mine), (wanted_meta, wanted) = (unpacked(p, "table-data") for p in (pages[0], results.at("report.html")))
    for column in ("effect", "z", "q", "#insert", "#motif", "#pwm"):
        np.testing.assert_array_equal(mine[column], wanted[column], err_msg=column)
    assert {c["name"] for c in meta["columns"]} >= {"effect", "q", "family", "sign_consistency"}
    for part in ("baseline", "profiles", "attributions", "unsigned"):
        assert meta[part] == wanted_meta[part], part
    assert "toy, screen s" in pages[0].read_text() and ">Atlas</a>" in pages[0].read_text()
    write_json(results.at("failed.json"), {"other": "no such luck"})
    with pytest.raises(MarginomeError, match="no such luck"):
        report_batch("s", models=[results.model], **files, pages=pages)
    write_json(results.at("failed.json"), {})
    gone = results.at("copy.parquet")
    gone.write_bytes(files["effects"].read_bytes())
    with pytest.raises(MarginomeError, match="no rows of model 'other'"):
        report_batch("s", models=["other"], **{**files, "effects": gone}, pages=pages)


def test_the_jobs_of_an_atlas(results):
    write_table(results.at("models.parquet"), pd.DataFrame({"model": [results.model], "tissue": ["liver"]}))
    given = {"models": results.at("models.parquet"), "consensus": results.at("consensus.parquet"),
             "families": [results.at("families.parquet")]}  # fmt: skip
    report_atlas("s", **given, effects=[results.at("batch/effects.parquet")], provenance=results.at("provenance.json"),
                 pages={results.model: "pages/1-of-1.html"}, links={"tau.parquet": "tau.parquet"},
                 page=results.at("atlas.html"))  # fmt: skip
    meta, arrays = unpacked(results.at("atlas.html"))
    table = pd.read_parquet(results.at("consensus.parquet"))
    for k, output in enumerate(meta["outputs"]):
        part = table[table["output"] == output["name"]]
        best = part.loc[part["mean"].abs().groupby(part["motif_id"]).idxmax()].set_index("motif_id")
        told = dict(zip([f["id"] for f in meta["families"]], arrays[f"effect{k}"] / 32766 * output["most"]))
        for motif, value in told.items():
            assert value == pytest.approx(best.loc[motif, "mean"], abs=output["most"] / 6e4)
    units = pd.read_parquet(results.at("effects.parquet"))[["output", "unit"]].drop_duplicates()
    assert {o["name"]: o["unit"] for o in meta["outputs"]} == dict(zip(units["output"], units["unit"]))
    plot_atlas(**given, top=3, files=[results.at("clustermap.svg"), results.at("clustermap.pdf")])
    assert "<svg" in results.at("clustermap.svg").read_text()
    assert results.at("clustermap.pdf").read_bytes().startswith(b"%PDF")
