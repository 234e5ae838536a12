"""The atlas: what goes into its page, in as few bytes as the picture needs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.clustering import cluster_rows
from marginome.errors import MarginomeError
from marginome.model_matrices import FamilyMatrix, ModelMatrix
from marginome.report.page import PAGE_BYTES, asset, document, escape, filled, joined, json_island, save
from marginome.report.parts import Link, commands_html, links_html, provenance_html
from marginome.report.screen.packing import Arrays

#: The scripts of assets/, in the order in which they are joined.
ATLAS_FILES = ("data", "map", "panel", "controls")
ECHARTS = "vendor/echarts-6.1.0.min.js"
#: Steps of -log10 q in a byte, and the byte of what has no q.
_Q_STEPS, _NO_Q = 30, 255


class PackedAtlas(NamedTuple):
    """What `write_atlas` says about the page it wrote."""

    bytes: int
    families: int
    models: int
    outputs: int


def write_atlas(
    path: str | os.PathLike,
    *,
    families: Sequence[FamilyMatrix],
    inserts: Sequence[ModelMatrix],
    names: Mapping[tuple[str, str], str],
    models: pd.DataFrame,
    members: Mapping[tuple[str, int], Sequence[str]],
    pages: Mapping[str, str],
    units: Mapping[str, str],
    provenance: Mapping | None = None,
    commands: Sequence[str] = (),
    links: Sequence[Link] = (),
    title: str = "Atlas",
    name: str = "atlas",
    overview: str | None = None,
    q_threshold: float = 0.05,
) -> PackedAtlas:
    """Write the page of a screen of many models: one HTML file that opens from disk and asks for nothing else.

    Parameters
    ----------
    path : path
        The file to write.
    families : sequence of FamilyMatrix
        Families by models, one for each output, all of the same families.
    inserts : sequence of ModelMatrix
        The inserts that they were made of.
    names : mapping of (collection, motif_id) to str
        Names of motifs.
    models : pandas.DataFrame
        Column ``model``, and a column for each label; null where a model has none.
    members : mapping of (collection, family) to sequence of str
        Ids of the motifs of each family, which the search looks at.
    pages : mapping of str to str
        Relative link to the page of each model.
    units : mapping of str to str
        Unit of the effects of each output.
    provenance, commands, links, title, name, overview
        As for `marginome.report.write_report`.
    q_threshold : float, default 0.05
        Where a family counts as found in a model.

    Returns
    -------
    PackedAtlas

    Raises
    ------
    MarginomeError
        If there is no output or no family.

    Notes
    -----
    The page is below `PAGE_BYTES`. Where all families would not fit, those that do most in any model are kept, and the
    page says so. An effect is kept in steps of 1/32,766 of the output's largest, q as the threshold says and in steps
    of a thirtieth of a power of ten.
    """
    if not families or not len(families[0].matrix.rows):
        raise MarginomeError("there are no families to show", where="atlas", remedy="Is the motif collection empty?")
    total = len(families[0].matrix.rows)
    kept = np.arange(total)
    while True:
        page = _page(
            [_some(one, kept) for one in families], inserts, names, models, members, pages, units, q_threshold,
            name=name, left_out=total - len(kept),
            words={
                "mark": asset("mark.svg").strip(), "title": escape(title),
                "overview": f'<a class="back" href="{escape(overview)}">All results</a>' if overview else "",
                "provenance": provenance_html(provenance or {}), "commands": commands_html(commands),
                "links": links_html(links) if links else "",
            },
        )  # fmt: skip
        size = len(page.encode("utf-8", errors="replace"))
        if size <= PAGE_BYTES or len(kept) == 1:
            break
        strength = np.nanmax([_strength(one.matrix) for one in families], axis=0)
        fits = max(1, int(0.9 * len(kept) * PAGE_BYTES / size))
        kept = np.sort(np.argsort(-strength, kind="stable")[:fits])
    save(path, page)
    return PackedAtlas(os.path.getsize(path), len(kept), len(models), len(families))


def _strength(matrix: ModelMatrix) -> np.ndarray:
    """Return the largest absolute effect of each row, as a share of the output's; 0 where there is none."""
    size = np.nan_to_num(np.abs(matrix.effect), nan=0.0).max(1, initial=0.0)
    return size / (size.max(initial=0.0) or 1.0)


def _some(one: FamilyMatrix, kept: np.ndarray) -> FamilyMatrix:
    matrix = one.matrix
    some = matrix._replace(rows=matrix.rows.iloc[kept], effect=matrix.effect[kept], q=matrix.q[kept])
    return FamilyMatrix(some, one.strongest[kept])


def _page(
    families: Sequence[FamilyMatrix],
    inserts: Sequence[ModelMatrix],
    names: Mapping[tuple[str, str], str],
    models: pd.DataFrame,
    members: Mapping[tuple[str, int], Sequence[str]],
    pages: Mapping[str, str],
    units: Mapping[str, str],
    q_threshold: float,
    *,
    name: str,
    left_out: int,
    words: Mapping[str, str],
) -> str:
    arrays, outputs = Arrays(), []
    place = {model: i for i, model in enumerate(models["model"])}
    for k, (one, listed) in enumerate(zip(families, inserts, strict=True)):
        outputs.append(_pack_output(arrays, k, one, listed, place, names, q_threshold))
        outputs[-1]["unit"] = units.get(one.matrix.output, "")
    rows = families[0].matrix.rows
    labels = {label: _coded(models[label]) for label in models.columns if label != "model"}
    meta = {
        "name": name,
        "q_threshold": q_threshold,
        "arrays": arrays.directory,
        "outputs": outputs,
        "families": [
            {
                "id": representative,
                "name": names.get((collection, representative), representative),
                "members": [f"{names.get((collection, m), m)} {m}" for m in members.get((collection, family), ())],
            }
            for collection, family, representative in rows.itertuples(index=False)
        ],
        "models": list(models["model"]),
        "pages": [pages.get(model) for model in models["model"]],
        "labels": labels,
        "left_out": left_out,
    }
    said = f"{len(rows):,} families of motifs, {len(models):,} models, {len(outputs):,} outputs".replace(
        " 1 outputs", " 1 output"
    )
    note = (
        f"This page holds the {len(rows):,} families that do most in any model, of {len(rows) + left_out:,}."
        if left_out
        else ""
    )
    values = {**words, "subtitle": escape(said), "left_out": f'<p class="note left-out">{note}</p>' if note else ""}
    own = "marginome.report.atlas"
    return document(
        title=words["title"],
        body=filled(asset("atlas.html", own), values),
        islands=[json_island("meta", meta), arrays.island("atlas-data")],
        scripts=[
            asset(ECHARTS, "marginome.report.screen"), asset("common.js"),
            joined([asset("shared.js"), *(asset(f"{file}.js", own) for file in ATLAS_FILES)]),
        ],
    )  # fmt: skip


def _pack_output(
    arrays: Arrays,
    k: int,
    one: FamilyMatrix,
    listed: ModelMatrix,
    place: Mapping[str, int],
    names: Mapping[tuple[str, str], str],
    q_threshold: float,
) -> dict:
    """Add one output: effects, q, which insert, and the order of both axes. Models without it have no effect."""
    at = np.array([place[model] for model in one.matrix.models], dtype=np.int64)
    shape = (len(one.matrix.rows), len(place))
    effect, q, strongest = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, -1, dtype=np.int64)
    effect[:, at], q[:, at], strongest[:, at] = one.matrix.effect, one.matrix.q, one.strongest
    known = np.isfinite(effect)
    most = float(np.abs(effect[known]).max(initial=0.0)) or 1.0
    whole = np.where(known, np.rint(np.where(known, effect, 0) / most * 32766), -32768)
    tested = ~np.isnan(q)
    found = tested & (q <= q_threshold)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.clip(np.nan_to_num(np.floor(-np.log10(q) * _Q_STEPS), nan=0.0, posinf=126), 0, 126)
    used, number = np.unique(strongest, return_inverse=True)
    arrays.add(f"effect{k}", whole.astype(np.int16))
    arrays.add(f"q{k}", np.where(tested, level + 127 * found, _NO_Q).astype(np.uint8))
    arrays.add(f"insert{k}", number.astype(np.uint16 if len(used) < 2**16 else np.uint32))
    arrays.add(f"families{k}", cluster_rows(effect / most).order.astype(np.uint32))
    arrays.add(f"models{k}", cluster_rows(effect.T / most).order.astype(np.uint32))
    rows = listed.rows.iloc[used[used >= 0]]
    motifs = [
        [motif, orientation, names.get((collection, motif), motif)]
        for collection, motif, orientation in rows[["collection", "motif_id", "orientation"]].itertuples(index=False)
    ]
    shown = np.abs(effect[found if found.any() else known])
    return {
        "name": one.matrix.output,
        "most": most,
        "bright": float(np.quantile(shown, 0.98)) if len(shown) else most,
        "tested": bool(tested.any()),
        "inserts": [*([None] if -1 in used else []), *motifs],
    }


def _coded(values: pd.Series) -> dict:
    """A label as codes of its values, -1 for none."""
    codes, levels = pd.factorize(values.astype(object).where(values.notna(), None), sort=False)
    return {"codes": codes.tolist(), "levels": [str(level) for level in levels]}
