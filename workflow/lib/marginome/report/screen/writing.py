"""The interactive page of one screen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.element_tables import PATTERN_ELEMENTS, SEQLET_ELEMENTS
from marginome.errors import MarginomeError
from marginome.measures import MEASURES
from marginome.report.page import PAGE_BYTES, asset, document, escape, filled, joined, json_island, save
from marginome.report.parts import Link, commands_html, links_html, methods_html, provenance_html
from marginome.report.screen.loci import Loci, pack_loci
from marginome.report.screen.packing import (
    Arrays,
    AttributionLogos,
    pack_attributions,
    pack_backgrounds,
    pack_column,
    pack_motifs,
    pack_profiles,
)
from marginome.report.screen.pairs import JudgedPairs, pair_islands
from marginome.results import Profiles
from marginome.tables import EFFECTS, INSERT_KEYS

#: What tells inserts apart, without what the opposite orientation changes.
_SITE = tuple(key for key in INSERT_KEYS if key not in ("orientation", "insert"))
#: At most this many rows, so that a page opens within 3 s (docs/report.md).
MOST_ROWS = 400_000
#: Of single effects, profiles and attributions, compressed.
DETAIL_BYTES = 8_000_000
#: Measures of the library whose effects cannot be negative.
_DISTANCES = tuple(measure.name for measure in MEASURES.values() if not measure.signed)
_NEEDED = ("model", "background", "motif_id", "orientation", "output", "effect")
ECHARTS = "vendor/echarts-6.1.0.min.js"
#: The scripts of assets/ in the order in which they are joined: a file may use, while the page loads, what files
#: before it define; from inside its functions it may use all of them.
SCREEN_FILES = (
    "data", "numbers", "state", "filter", "significance", "logo", "table", "chart", "scatter", "figures", "agreement",
    "heatmap", "loci", "painting", "locus", "detail",
    "backgrounds", "profile", "attributions", "outputs", "pairs", "strips", "controls",
)  # fmt: skip


class Packed(NamedTuple):
    """What `write_report` says about the page it wrote: its bytes and rows, and how many inserts have which detail."""

    bytes: int
    rows: int
    inserts: int
    per_background_inserts: int
    profiles: int
    attributions: int


def write_report(
    path: str | os.PathLike,
    *,
    effects: pd.DataFrame,
    motifs: pd.DataFrame,
    per_background: np.ndarray | None = None,
    baseline: Mapping[tuple[str, str, str], np.ndarray] | None = None,
    profiles: Sequence[Profiles] = (),
    attributions: Sequence[AttributionLogos] = (),
    unsigned: Sequence[str] = _DISTANCES,
    loci: Loci | None = None,
    pairs: JudgedPairs | None = None,
    links: Sequence[Link] = (),
    provenance: Mapping | None = None,
    commands: Sequence[str] = (),
    methods: str = "",
    title: str = "Motif screen",
    name: str = "screen",
    overview: str | None = None,
    overview_title: str = "All results",
    q_threshold: float = 0.05,
    detail_bytes: int = DETAIL_BYTES,
) -> Packed:
    """Write the interactive page of a screen: one HTML file that opens from disk and asks for nothing else.

    Parameters
    ----------
    path : path
        The file to write.
    effects : pandas.DataFrame
        The effect table (columns of `marginome.tables.EFFECTS`; further columns are shown with the numbers
        of a row and are part of the download).
    motifs : pandas.DataFrame
        Columns ``motif_id`` and ``pwm`` (array or nested list, (4, w) probabilities in the order A C G T), and
        ``collection`` where two collections may share an identifier. Motifs without a row are drawn from
        their insert.
    per_background : numpy.ndarray or h5py.Dataset, optional
        Effect in every single background, (rows of `effects`, backgrounds), NaN where there is none (sets of
        different size, outputs without a scalar).
    baseline : mapping, optional
        (model, background, output) -> outputs of the backgrounds without an insert, (backgrounds,): for the
        figure of before against after.
    profiles : sequence of Profiles, optional
        Mean profiles.
    attributions : sequence of AttributionLogos, optional
        Attributions before and after.
    unsigned : sequence of str, default those of the library
        Measures whose effects cannot be negative (`marginome.results.unsigned_measures` reads those of a run): without
        controls no row of theirs is called significant, and the band of controls ends at 0.
    loci : Loci, optional
        Of an attribution entry: the rows are its seqlets and patterns, and each is shown where it was found.
    pairs : JudgedPairs, optional
        Of a screen of pairs: which cooperate, and their interactions against the gap, in a section of their own.
    links : sequence of Link, optional
        Files beside the page.
    provenance : mapping, optional
        Shown as it is at the foot of the page.
    commands : sequence of str, optional
        Shell commands that make the results again.
    methods : str, optional
        A paragraph for a paper: `marginome.report.methods_paragraph`.
    title, name : str
        Heading of the page; name of the screen, used in the names of downloads.
    overview, overview_title : str, optional
        Relative link to the overview page, and what it is called.
    q_threshold : float, default 0.05
        Where a row counts as significant when the page opens.
    detail_bytes : int, default 8,000,000
        Most compressed bytes for per-background effects and profiles together (each gets half, or a third where there
        are attributions, which get the rest); what does not fit is left out from the weakest insert on, and the page
        says so. Of a part of the default, that part of the curves of pairs is kept.

    Returns
    -------
    Packed

    Notes
    -----
    A page is below `PAGE_BYTES` and holds at most `MOST_ROWS` rows. Of a larger table it shows whole outputs, those
    with most discoveries first; where not even one fits, the output's strongest inserts. It says what it leaves out.

    Raises
    ------
    MarginomeError
        When the table is empty, lacks a column, or an array does not fit it.
    """
    missing = [c for c in _NEEDED if c not in effects]
    if missing:
        raise MarginomeError(f"columns missing: {missing}", where="effects")
    if not len(effects):
        raise MarginomeError("the effect table has no rows", where="effects", remedy="Is the motif collection empty?")
    if per_background is not None and per_background.shape[0] != len(effects):
        raise MarginomeError(
            f"has {per_background.shape[0]} rows, the effect table {len(effects)}", where="per_background"
        )
    effects = effects.reset_index(drop=True)
    words = {
        "mark": asset("mark.svg").strip(),
        "title": escape(title),
        "overview": f'<a class="back" href="{escape(overview)}">{escape(overview_title)}</a>' if overview else "",
        "provenance": provenance_html(provenance or {}),
        "commands": commands_html(commands),
        "methods": methods_html(methods),
        "links": links_html(links) if links else "",
        "things": "elements" if loci else "motifs",
        "thing": "element" if loci else "motif",
        "pairs": "" if pairs is None else _own("pairs.html"),
    }
    islands = [] if pairs is None else pair_islands(pairs, share=min(1.0, detail_bytes / DETAIL_BYTES))
    most = MOST_ROWS
    while True:
        rows, left_out = _rows_that_fit(effects, q_threshold, most)
        given = _Given(effects, per_background, profiles, attributions, _baseline(baseline or {}))
        page, packed = _page(
            given if not left_out else _some_rows(given, rows), motifs, {**words, "left_out": _note(left_out)},
            unsigned=unsigned, name=name, title=title, q_threshold=q_threshold, detail_bytes=detail_bytes, loci=loci,
            islands=islands,
        )  # fmt: skip
        size = len(page.encode("utf-8", errors="replace"))
        if size <= PAGE_BYTES or len(rows) == 1:
            break
        most = max(1, int(0.9 * len(rows) * PAGE_BYTES / size))
    save(path, page)
    return packed._replace(bytes=os.path.getsize(path))


class _Given(NamedTuple):
    """The rows of a page with what belongs to them."""

    effects: pd.DataFrame
    per_background: np.ndarray | None
    profiles: Sequence[Profiles]
    attributions: Sequence[AttributionLogos]
    baseline: Sequence[Mapping]


def _page(
    given: _Given,
    motifs: pd.DataFrame,
    words: Mapping[str, str],
    *,
    unsigned: Sequence[str],
    title: str,
    name: str,
    q_threshold: float,
    detail_bytes: int,
    loci: Loci | None,
    islands: Sequence[str],
) -> tuple[str, Packed]:
    """Return a page, and what is in it (its bytes are not counted yet)."""
    effects, per_background, profiles, attributions, baseline = given
    insert = _codes(effects, INSERT_KEYS)
    site = _codes(effects, _SITE)
    motif = _codes(effects, ("collection", "motif_id"))
    strength = _strength(effects, insert)

    table = Arrays()
    columns = [pack_column(table, effects, column) for column in effects.columns]
    for label, codes in (("#insert", insert), ("#site", site), ("#motif", motif)):
        table.add(label, codes.astype(np.uint32))
    widths = pack_motifs(table, effects, motifs, motif)

    detail = Arrays()
    share = detail_bytes // (3 if attributions else 2)
    kept = pack_backgrounds(detail, per_background, insert, strength, share)
    profile_meta, n_profiles = pack_profiles(detail, profiles, strength[insert], share)
    left = detail_bytes - len(detail.compressed()) if attributions else 0
    attribution_meta, n_attributions = pack_attributions(detail, attributions, strength[insert], left)

    placed = None if loci is None else pack_loci(detail, effects, loci)

    meta = {
        "title": title,
        "name": name,
        "q_threshold": q_threshold,
        "keys": ["model", "background", "output", *INSERT_KEYS],
        "columns": columns,
        "arrays": table.directory,
        "detail": detail.directory,
        "pwm_widths": widths,
        "per_background": kept,
        "baseline": baseline,
        "profiles": profile_meta,
        "attributions": attribution_meta,
        "positions": _many_positions(effects),
        "unsigned": list(unsigned),
        "loci": placed,
        "help": {c.name: c.description for c in (*SEQLET_ELEMENTS, *PATTERN_ELEMENTS, *EFFECTS)},
    }
    values = {**words, "subtitle": escape(_subtitle(effects, insert) if loci is None else _said(effects, loci))}
    page = document(
        title=title,
        body=filled(_own("screen.html"), values),
        islands=[json_island("meta", meta), table.island("table-data"), detail.island("detail-data"), *islands],
        scripts=[_own(ECHARTS), asset("common.js"), _scripts()],
    )
    return page, Packed(
        0, len(effects), int(insert.max()) + 1, len(kept.get("inserts", ())), n_profiles, n_attributions
    )


def _scripts() -> str:
    return joined([asset("shared.js"), *(_own(f"{name}.js") for name in SCREEN_FILES)])


def _own(name: str) -> str:
    return asset(name, "marginome.report.screen")


def _rows_that_fit(effects: pd.DataFrame, q_threshold: float, most: int) -> tuple[np.ndarray, str]:
    """Return at most `most` rows of a table for its page, and a sentence that says what is left out ("" for nothing).

    Outputs stay whole, so that a rank among all inserts, a filter or a figure says the same as of the whole table.
    """
    if len(effects) <= most:
        return np.arange(len(effects)), ""
    found = effects["q"] <= q_threshold if "q" in effects else pd.Series(False, index=effects.index)
    outputs = found.groupby([effects["model"], effects["output"]], sort=False, dropna=False)
    sizes, discoveries, of = outputs.size().to_numpy(), outputs.sum().to_numpy(), outputs.ngroup().to_numpy()
    order = np.argsort(-discoveries, kind="stable")
    fits = int(np.searchsorted(np.cumsum(sizes[order]), most, side="right"))
    if fits:
        why = f"with most effects at q \u2264 {q_threshold:g}" if found.any() else "that come first"
        return np.flatnonzero(np.isin(of, order[:fits])), (
            f"This page holds {fits:,} of {len(sizes):,} outputs, those {why}. effects.parquet has all."
        )
    rows = np.flatnonzero(of == order[0])
    part = effects.iloc[rows]
    insert = _codes(part, INSERT_KEYS)
    strongest = np.argsort(-_strength(part, insert), kind="stable")
    kept = max(1, int(np.searchsorted(np.cumsum(np.bincount(insert)[strongest]), most, side="right")))
    return rows[np.isin(insert, strongest[:kept])], (
        f"This page holds the {kept:,} strongest of {len(strongest):,} inserts"
        + (f", of 1 of {len(sizes):,} outputs" if len(sizes) > 1 else "")
        + "; a rank is among them. effects.parquet has all."
    )


def _some_rows(given: _Given, rows: np.ndarray) -> _Given:
    """Return some rows with what belongs to them."""
    effects, per_background, profiles, attributions, baseline = given
    part = effects.iloc[rows].reset_index(drop=True)
    # a profile is tied to any row of its model, background set and insert: to another where its own is not kept
    of = _codes(effects, (*INSERT_KEYS, "model", "background"))
    place = np.full(of.max() + 1, -1)
    place[of[rows]] = np.arange(len(rows))
    place = place[of]
    if per_background is not None:
        per_background = (per_background if isinstance(per_background, np.ndarray) else per_background[:])[rows]
    outputs = set(zip(part["model"], part["output"]))
    return _Given(
        part, per_background, [_tied(block, place) for block in profiles],
        [_tied(block, place) for block in attributions],
        [base for base in baseline if (base["model"], base["output"]) in outputs],
    )  # fmt: skip


def _tied(block: NamedTuple, place: np.ndarray) -> NamedTuple:
    """Return profiles or attributions tied to new rows: `place` is the new row of every old one, -1 for none."""
    new = place[np.asarray(block.rows)]
    kept = np.flatnonzero(new >= 0)
    changed = {"rows": new[kept], "after": np.asarray(block.after)[kept]}
    if isinstance(block, AttributionLogos):
        changed["before"] = None if block.before is None else np.asarray(block.before)[kept]
        changed["first"] = np.broadcast_to(np.asarray(block.first), len(new))[kept]
    return block._replace(**changed)


def _note(text: str) -> str:
    return f'<p class="note left-out">{escape(text)}</p>' if text else ""


def _many_positions(effects: pd.DataFrame) -> bool:
    """Whether any motif is put at several places (inserts of different width at the centre start differently)."""
    if "start" not in effects:
        return False
    same = [c for c in ("collection", "motif_id", "orientation", "insert", "partner_id", "gap") if c in effects]
    return bool((effects.groupby(same, dropna=False)["start"].nunique() > 1).any())


def _codes(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Number the distinct combinations of columns (those that exist) in order of appearance."""
    present = [c for c in columns if c in table]
    return table.groupby(present, sort=False, dropna=False).ngroup().to_numpy()


def _strength(effects: pd.DataFrame, insert: np.ndarray) -> np.ndarray:
    """Return, per insert, its largest effect relative to the largest one of the same output."""
    size = effects["effect"].abs()
    largest = size.groupby([effects["model"], effects["output"]], dropna=False).transform("max")
    relative = (size / largest.where(largest > 0)).fillna(0.0).to_numpy()
    strength = np.zeros(insert.max() + 1)
    np.maximum.at(strength, insert, relative)
    return strength


def _baseline(baseline: Mapping[tuple[str, str, str], np.ndarray]) -> list[dict]:
    return [
        {"model": m, "background": b, "output": o, "values": [float(f"{v:.6g}") for v in np.ravel(values)]}
        for (m, b, o), values in baseline.items()
    ]


def _subtitle(effects: pd.DataFrame, insert: np.ndarray) -> str:
    """Say in one line what was screened."""
    n_motifs = effects["motif_id"].nunique()
    parts = [f"{n_motifs:,} motif{'s' if n_motifs != 1 else ''}"]
    orientations = sorted(effects["orientation"].dropna().unique())
    parts.append("both orientations" if len(orientations) > 1 else f"orientation {orientations[0]}")
    if _many_positions(effects):
        per_motif = effects.groupby(["motif_id", "orientation"])["start"].nunique()
        parts.append(f"{int(per_motif.max())} positions")
    sets = effects["background"].drop_duplicates()
    sizes = effects.groupby("background")["n_backgrounds"].max() if "n_backgrounds" in effects else {}
    named = [f"{b} ({int(sizes[b])} sequences)" if b in sizes else str(b) for b in sets]
    parts.append(f"background set{'s' if len(named) > 1 else ''} {_listed(named)}")
    models, outputs = effects["model"].drop_duplicates().tolist(), effects["output"].nunique()
    parts.append(f"model{'s' if len(models) > 1 else ''} {_listed(models)}")
    parts.append(f"{outputs} output{'s' if outputs > 1 else ''}")
    parts.append(f"{int(insert.max()) + 1:,} inserts, {len(effects):,} effects")
    return " · ".join(parts)


def _said(effects: pd.DataFrame, loci: Loci) -> str:
    """Say in one line what was found in the loci."""
    model, output = effects["model"].iloc[0], loci.found.metadata["output"]
    count = effects.drop_duplicates(["collection", "motif_id"])["collection"].value_counts()
    parts = [f"{len(loci.found):,} loci of {loci.found.length:,} bp", f"model {model}, output {output}",
             *(f"{n:,} {kind}" for kind, n in count.items())]  # fmt: skip
    sets = [name for name in effects["background"].drop_duplicates() if name]
    return " · ".join([*parts, *([f"in isolation in {_listed(sets)}"] if sets else [])])


def _listed(names: Sequence[str], most: int = 4) -> str:
    names = [str(n) for n in names]
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
