"""The interactive page of one screen: what is put into it, and how compactly."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.errors import MarginomeError
from marginome.report.page import Arrays, asset, document, escape, filled, joined, json_island, save, shortened
from marginome.results import Profiles
from marginome.tables import EFFECTS

#: What tells one insert from another, as far as a table has the column.
_INSERT = (
    "collection", "motif_id", "orientation", "start", "insert", "draw", "partner_id", "partner_orientation", "gap",
    "order",
)  # fmt: skip
#: The same without what the opposite orientation changes.
_SITE = ("collection", "motif_id", "start", "draw", "partner_id", "partner_orientation", "gap", "order")
#: Spread over many orders of magnitude: kept as log10, so that 1e-60 is not zero in single precision.
_LOGARITHMIC = ("p", "q")
_NEEDED = ("model", "background", "motif_id", "orientation", "output", "effect")
#: Longest profile drawn base by base; longer ones are averaged in bins of equal width.
_PROFILE_POINTS = 2000
ECHARTS = "vendor/echarts-6.1.0.min.js"
#: The files of assets/screen in the order in which they are joined: a file may use, while the page loads, what files
#: before it define; from inside its functions it may use all of them.
SCREEN_FILES = (
    "data", "numbers", "state", "filter", "significance", "logo", "table", "chart", "scatter", "figures", "agreement",
    "heatmap", "detail", "backgrounds", "profile", "attributions", "outputs", "controls",
)  # fmt: skip


class AttributionLogos(NamedTuple):
    """Mean attributions around inserts, before and after, by one function of one output.

    Attributes
    ----------
    rows : numpy.ndarray
        Integer positions (m,) in the effect table, as in `Profiles`.
    before, after : numpy.ndarray or h5py.Dataset
        (m, 4, width), alphabet A C G T; `before` may be None. NaN beyond the ends of the sequence.
    first : numpy.ndarray or int
        Position of the first column in the input sequence (0-based, bp), one or (m,).
    output, unit : str
        What was attributed, and its unit.
    function : str
        How, e.g. ``deep_lift_shap``.
    """

    rows: np.ndarray
    before: np.ndarray | None
    after: np.ndarray
    first: np.ndarray | int
    output: str = ""
    function: str = ""
    unit: str = ""


class Packed(NamedTuple):
    """What `write_report` says about the page it wrote: bytes, and how many inserts have which detail."""

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
    provenance: Mapping | None = None,
    commands: Sequence[str] = (),
    methods: str = "",
    title: str = "Motif screen",
    name: str = "screen",
    overview: str | None = None,
    q_threshold: float = 0.05,
    detail_bytes: int = 8_000_000,
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
    provenance : mapping, optional
        Shown as it is at the foot of the page.
    commands : sequence of str, optional
        Shell commands that make the results again.
    methods : str, optional
        A paragraph for a paper: `marginome.report.methods_paragraph`.
    title, name : str
        Heading of the page; name of the screen, used in the names of downloads.
    overview : str, optional
        Relative link to the overview page.
    q_threshold : float, default 0.05
        Where a row counts as significant when the page opens.
    detail_bytes : int, default 8,000,000
        Most compressed bytes for per-background effects and profiles together (each gets half, or a third where there
        are attributions, which get the rest); what does not fit is left out from the weakest insert on, and the page
        says so.

    Returns
    -------
    Packed

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
    insert = _codes(effects, _INSERT)
    site = _codes(effects, _SITE)
    motif = _codes(effects, ("collection", "motif_id"))
    strength = _strength(effects, insert)

    table = Arrays()
    columns = [_column(table, effects, column) for column in effects.columns]
    for label, codes in (("#insert", insert), ("#site", site), ("#motif", motif)):
        table.add(label, codes.astype(np.uint32))
    widths = _pwms(table, effects, motifs, motif)

    detail = Arrays()
    share = detail_bytes // (3 if attributions else 2)
    kept = _per_background(detail, per_background, insert, strength, share)
    profile_meta, n_profiles = _profiles(detail, profiles, strength[insert], share)
    left = detail_bytes - len(detail.compressed()) if attributions else 0
    attribution_meta, n_attributions = _attributions(detail, attributions, strength[insert], left)

    meta = {
        "title": title,
        "name": name,
        "q_threshold": q_threshold,
        "columns": columns,
        "arrays": table.directory,
        "detail": detail.directory,
        "pwm_widths": widths,
        "per_background": kept,
        "baseline": _baseline(baseline or {}),
        "profiles": profile_meta,
        "attributions": attribution_meta,
        "positions": _many_positions(effects),
        "help": {c.name: c.description for c in EFFECTS},
    }
    values = {
        "mark": asset("mark.svg").strip(),
        "title": escape(title),
        "subtitle": escape(_subtitle(effects, insert)),
        "overview": f'<a class="back" href="{escape(overview)}">All results</a>' if overview else "",
        "provenance": provenance_html(provenance or {}),
        "commands": commands_html(commands),
        "methods": methods_html(methods),
    }
    page = document(
        title=title,
        body=filled(asset("screen.html"), values),
        islands=[json_island("meta", meta), table.island("table-data"), detail.island("detail-data")],
        scripts=[asset(ECHARTS), asset("common.js"), joined(f"screen/{name}.js" for name in SCREEN_FILES)],
    )
    save(path, page)
    return Packed(
        os.path.getsize(path), len(effects), int(insert.max()) + 1, len(kept.get("inserts", ())), n_profiles,
        n_attributions,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- the table
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


def _column(arrays: Arrays, table: pd.DataFrame, name: str) -> dict:
    """Add one column of the table and return its description."""
    values = table[name]
    if pd.api.types.is_bool_dtype(values):
        values = values.map({True: "true", False: "false"})
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        whole = pd.api.types.is_integer_dtype(values) or bool(np.all(numbers[~np.isnan(numbers)] % 1 == 0))
        if name in _LOGARITHMIC:
            with np.errstate(divide="ignore", invalid="ignore"):
                arrays.add(name, np.log10(numbers).astype(np.float32))
            return {"name": name, "kind": "log10"}
        if whole and np.nanmax(np.abs(numbers), initial=0) < 2**24:  # float32 holds these exactly
            arrays.add(name, numbers.astype(np.float32))
            return {"name": name, "kind": "whole"}
        arrays.add(name, shortened(numbers))
        return {"name": name, "kind": "number"}
    codes, levels = pd.factorize(values.astype(object).where(values.notna(), None), use_na_sentinel=False)
    width = next(t for t in (np.uint8, np.uint16, np.uint32) if len(levels) <= np.iinfo(t).max)
    arrays.add(name, codes.astype(width))
    return {"name": name, "kind": "text", "levels": [None if pd.isna(v) else str(v) for v in levels]}


def _pwms(arrays: Arrays, effects: pd.DataFrame, motifs: pd.DataFrame, motif: np.ndarray) -> list[int]:
    """Add every motif's probabilities as bytes (1/255 steps) and return their widths, in order of `motif`."""
    keys = [c for c in ("collection", "motif_id") if c in motifs and c in effects]
    given = {tuple(map(str, key)): pwm for *key, pwm in motifs[[*keys, "pwm"]].itertuples(index=False)}
    # the row as given comes first: its insert stands for a motif without a matrix
    order = np.argsort(effects["orientation"].ne("+").to_numpy(), kind="stable")
    first = order[np.unique(motif[order], return_index=True)[1]]
    blocks, widths = [], []
    for row in first:
        pwm = given.get(tuple(str(effects[k].iat[row]) for k in keys))
        if pwm is None and "insert" in effects:
            text = str(effects["insert"].iat[row])
            pwm = np.array([[float(base == letter) for letter in text] for base in "ACGT"])
        pwm = np.zeros((4, 0)) if pwm is None else np.stack([np.asarray(r, dtype=np.float64) for r in pwm])
        if pwm.shape[0] != 4:
            raise MarginomeError(
                f"its matrix has shape {pwm.shape}, (4, width) is wanted",
                where=f"motif '{effects['motif_id'].iat[row]}'",
            )
        blocks.append(np.rint(np.clip(pwm, 0, 1) * 255).astype(np.uint8).T.reshape(-1))
        widths.append(int(pwm.shape[1]))
    arrays.add("#pwm", np.concatenate(blocks) if blocks else np.zeros(0, np.uint8))
    return widths


# ------------------------------------------------------------------------------------------ the detail
def _per_background(
    arrays: Arrays, effects: np.ndarray | None, insert: np.ndarray, strength: np.ndarray, budget: int
) -> dict:
    """Add the effects in single backgrounds, each row in steps of 1/32767 of its largest, strongest inserts first."""
    if effects is None or effects.shape[1] == 0:
        return {}
    order = np.argsort(-strength, kind="stable")
    rows_of = np.bincount(insert, minlength=len(strength))
    # noise does not compress: two bytes a number is what it takes
    keep = int(np.searchsorted(np.cumsum(rows_of[order]) * effects.shape[1] * 2, budget, side="right"))
    chosen = np.zeros(len(strength), dtype=bool)
    chosen[order[:keep]] = True
    rows = np.flatnonzero(chosen[insert])
    if not len(rows):
        return {"inserts": [], "of": len(strength)}
    values = np.asarray(effects[rows] if isinstance(effects, np.ndarray) else effects[:][rows], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        scale = np.nan_to_num(np.nanmax(np.abs(values), axis=1, initial=0.0)) / 32767
    steps = values / np.where(scale > 0, scale, 1)[:, None]
    arrays.add("#background_rows", rows.astype(np.uint32))
    arrays.add("#background_scale", scale.astype(np.float32))
    arrays.add("#background_effects", np.where(np.isnan(steps), -32768, np.rint(np.nan_to_num(steps))).astype(np.int16))
    return {"n": int(effects.shape[1]), "inserts": np.flatnonzero(chosen).tolist(), "of": len(strength)}


def _profiles(arrays: Arrays, blocks: Sequence[Profiles], strength: np.ndarray, budget: int) -> tuple[list[dict], int]:
    """Add mean profiles: `before` once per block, every `after` as its difference in common steps.

    Weak inserts change next to nothing, so most steps are zero and compress away. The step is 1/1000 of the
    block's largest probability: a tenth of a pixel.
    """
    meta, kept = [], 0
    share = budget // max(len(blocks), 1)
    for number, block in enumerate(blocks):
        rows = np.asarray(block.rows)
        if len(rows) != block.after.shape[0]:
            raise MarginomeError(f"{len(rows)} rows, {block.after.shape[0]} profiles", where=f"profiles[{number}]")
        before, width = _binned(np.asarray(block.before, dtype=np.float64))
        after = _binned(np.asarray(block.after, dtype=np.float64))[0]
        order = np.argsort(-strength[rows], kind="stable")
        step = max(float(before.max(initial=0)), float(after.max(initial=0)), 1e-30) / 1000
        steps = np.clip(np.rint((after[order] - before) / step), -32767, 32767).astype(np.int16)
        n = len(order)
        while n > 1 and (size := _deflated(steps[:n])) > share:
            n = max(1, int(0.97 * n * share / size))
        arrays.add(f"#profile{number}_rows", rows[order[:n]].astype(np.uint32))
        arrays.add(f"#profile{number}_before", before.astype(np.float32))
        arrays.add(f"#profile{number}_change", steps[:n])
        meta.append(
            {
                "output": block.output, "strands": int(before.shape[0]), "length": int(before.shape[1]),
                "first": int(block.first), "bp": int(block.step) * width, "step": step, "n": n, "of": len(rows),
            }
        )  # fmt: skip
        kept += n
    return meta, kept


def _binned(profile: np.ndarray) -> tuple[np.ndarray, int]:
    """Average the last axis in bins so that at most `_PROFILE_POINTS` are left; return it and the bin's width."""
    length = profile.shape[-1]
    width = -(-length // _PROFILE_POINTS)
    if width == 1:
        return profile, 1
    whole = length // width * width
    return profile[..., :whole].reshape(*profile.shape[:-1], -1, width).mean(-1), width


def _deflated(values: np.ndarray) -> int:
    block = Arrays()
    block.add("x", values)
    return len(block.compressed())


def _attributions(
    arrays: Arrays, blocks: Sequence[AttributionLogos], strength: np.ndarray, budget: int
) -> tuple[list[dict], int]:
    """Add mean attributions: every different `before` once, every `after` as its difference in steps of its own.

    A step is 1/200 of the highest letter of the insert's own two logos, half a pixel of what is drawn. Inserts whose
    middle is at the same place have the same `before`.
    """
    meta, kept = [], 0
    share = budget // max(len(blocks), 1)
    for number, block in enumerate(blocks):
        rows = np.asarray(block.rows)
        after = np.nan_to_num(np.asarray(block.after, dtype=np.float32))
        before = np.zeros_like(after) if block.before is None else np.nan_to_num(np.asarray(block.before, np.float32))
        if after.ndim != 3 or after.shape[:2] != (len(rows), 4) or before.shape != after.shape:
            raise MarginomeError(
                f"shapes {before.shape} and {after.shape}, ({len(rows)}, 4, width) is wanted",
                where=f"attributions[{number}]",
            )
        order = np.argsort(-strength[rows], kind="stable")
        rows, before, after = rows[order], before[order], after[order]
        first = np.broadcast_to(np.asarray(block.first), len(order))[order]
        step = np.maximum(np.abs(before).max((1, 2), initial=0), np.abs(after).max((1, 2), initial=0)) / 200
        steps = np.rint((after - before) / np.where(step > 0, step, 1)[:, None, None]).astype(np.int16)
        places: dict[bytes, int] = {}
        which = np.array([places.setdefault(values.tobytes(), len(places)) for values in before], dtype=int)
        unique = shortened(before[np.unique(which, return_index=True)[1]])
        n, used, places_kept = 0, 0, 0
        while n < len(rows):  # piece by piece: what does not fit is not even compressed
            piece = slice(n, n + 16)
            needed = int(which[: piece.stop].max()) + 1
            used += _deflated(steps[piece]) + _deflated(unique[places_kept:needed])
            if n and used > share:
                break
            n, places_kept = min(piece.stop, len(rows)), needed
        name = f"#attribution{number}"
        arrays.add(f"{name}_rows", rows[:n].astype(np.uint32))
        arrays.add(f"{name}_first", first[:n].astype(np.float32))
        arrays.add(f"{name}_step", step[:n].astype(np.float32))
        arrays.add(f"{name}_which", which[:n].astype(np.uint32))
        arrays.add(f"{name}_before", unique[:places_kept])
        arrays.add(f"{name}_change", steps[:n])
        meta.append(
            {
                "output": block.output, "function": block.function, "unit": block.unit, "width": int(after.shape[2]),
                "before": block.before is not None, "n": n, "of": len(rows),
            }
        )  # fmt: skip
        kept += n
    return meta, kept


def _baseline(baseline: Mapping[tuple[str, str, str], np.ndarray]) -> list[dict]:
    return [
        {"model": m, "background": b, "output": o, "values": [float(f"{v:.6g}") for v in np.ravel(values)]}
        for (m, b, o), values in baseline.items()
    ]


# ------------------------------------------------------------------------------------------- the words
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


def _listed(names: Sequence[str], most: int = 4) -> str:
    names = [str(n) for n in names]
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def provenance_html(provenance: Mapping) -> str:
    """Return nested provenance as nested lists; every key and value is text."""
    if not provenance:
        return '<p class="muted">No record was given.</p>'
    return _nested(provenance)


def _nested(value: object) -> str:
    if isinstance(value, Mapping):
        rows = "".join(
            f"<details class='branch'><summary>{escape(k)}</summary>{_nested(v)}</details>"
            if isinstance(v, Mapping | list) and len(v) > 3
            else f"<div class='leaf'><dt>{escape(k)}</dt><dd>{_nested(v)}</dd></div>"
            for k, v in value.items()
        )
        return f"<dl class='tree'>{rows}</dl>"
    if isinstance(value, list | tuple):
        if all(not isinstance(v, Mapping | list | tuple) for v in value):
            return escape(", ".join(map(str, value)))
        return "<ul>" + "".join(f"<li>{_nested(v)}</li>" for v in value) + "</ul>"
    return escape("" if value is None else value)


def methods_html(text: str) -> str:
    """Return a paragraph for a paper, folded, with a button that copies it."""
    if not text:
        return ""
    return (
        '<details class="foot"><summary>For the methods section of a paper</summary><div class="commands">'
        '<button type="button" class="copy" data-copy="methods-text">Copy</button>'
        f'<p id="methods-text" class="prose">{escape(text)}</p></div></details>'
    )


def commands_html(commands: Sequence[str]) -> str:
    """Return shell commands as a block with a button that copies them."""
    if not commands:
        return ""
    text = escape("\n".join(commands))
    return (
        '<div class="commands"><button type="button" class="copy" data-copy="commands-text">Copy</button>'
        f'<pre id="commands-text" tabindex="0">{text}</pre></div>'
    )
