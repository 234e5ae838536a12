"""What the page of a screen holds, in as few bytes as its figures need: the table, matrices, profiles, attributions."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.attribution_names import ATTRIBUTIONS
from marginome.errors import MarginomeError
from marginome.report.page import escape
from marginome.results import Profiles

#: Spread over many orders of magnitude: kept as log10, so that 1e-60 is not zero in single precision.
_LOGARITHMIC = ("p", "q")
#: Longest profile drawn base by base; longer ones are averaged in bins of equal width.
_PROFILE_POINTS = 2000


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


class Arrays:
    """Numeric arrays for a page: one compressed block and a directory of what is in it.

    Numbers wider than a byte are stored byte plane by byte plane (all first bytes, all second bytes, ...),
    which deflate compresses far better than numbers one after the other. Everything is little-endian.
    """

    def __init__(self) -> None:
        self.directory: dict[str, dict] = {}
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, name: str, values: np.ndarray) -> None:
        """Add an array of float32, int16, uint8, uint16 or uint32 under a name.

        Parameters
        ----------
        name : str
            Unique in the block.
        values : numpy.ndarray
            Any shape; stored in C order, the page sees it flat.
        """
        values = np.ascontiguousarray(values)
        kinds = {"float32": "f4", "int16": "i2", "uint8": "u1", "uint16": "u2", "uint32": "u4"}
        kind = kinds[values.dtype.name]
        raw = values.astype(values.dtype.newbyteorder("<"), copy=False)
        planes = raw.reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T
        data = planes.tobytes()
        self.directory[name] = {"kind": kind, "offset": self._length, "count": int(values.size)}
        self._parts.append(data)
        self._length += len(data)

    def compressed(self) -> bytes:
        """Return the block, deflated (zlib format; level 9 takes six times as long for 2 to 4 % less)."""
        return zlib.compress(b"".join(self._parts), 6)

    def island(self, identifier: str) -> str:
        """Return a script element that holds the block as base64 text."""
        text = base64.b64encode(self.compressed()).decode("ascii")
        return f'<script type="application/octet-stream" id="{escape(identifier)}">{text}</script>'


def shortened(values: np.ndarray) -> np.ndarray:
    """Return numbers as float32 with 20 significant bits (relative error at most 1.1e-6), which compress better.

    A page shows three digits and its download six; the Parquet file has them all.
    """
    single = np.asarray(values, dtype=np.float32)
    bits = single.view(np.uint32)
    rounded = ((bits + np.uint32(0x8)) & np.uint32(0xFFFFFFF0)).view(np.float32)
    return np.where(np.isfinite(single) & np.isfinite(rounded), rounded, single)


def pack_column(arrays: Arrays, table: pd.DataFrame, name: str) -> dict:
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


def pack_motifs(arrays: Arrays, effects: pd.DataFrame, motifs: pd.DataFrame, motif: np.ndarray) -> list[int]:
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


def pack_backgrounds(
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


def pack_profiles(
    arrays: Arrays, blocks: Sequence[Profiles], strength: np.ndarray, budget: int
) -> tuple[list[dict], int]:
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
                "first": int(block.first), "bp": int(block.step) * width, "values": width, "step": step, "n": n,
                "of": len(rows),
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


def pack_attributions(
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
                "output": block.output, "function": ATTRIBUTIONS.get(block.function, block.function),
                "unit": block.unit, "width": int(after.shape[2]),
                "before": block.before is not None, "n": n, "of": len(rows),
            }
        )  # fmt: skip
        kept += n
    return meta, kept
