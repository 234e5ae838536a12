"""What the page of an attribution entry holds beside its table: loci, letters around elements, seqlets of patterns.

Not whole loci: those of one model may have 500,000 bases. A locus has its strongest base in each of some bins, and
letters where there is something to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.attribution_file import AttributionFile
from marginome.report.screen.packing import Arrays

#: Bases that are shown as letters on either side of an element.
FLANK = 30
#: Letters of a page in all: three bytes each before compression. Loci with the strongest elements come first.
MOST_LETTERS = 3_000_000
#: Numbers that the outlines of all loci may have.
_MOST_BINS = 2_500_000


class Loci(NamedTuple):
    """The loci of a page.

    Attributes
    ----------
    found : AttributionFile
        Open.
    members : pandas.DataFrame
        Seqlets of patterns: ``pattern_id, example_idx, start, end, strand, attribution``.
    contributions : dict of str to numpy.ndarray
        Mean attributions (width, 4) of each pattern, by its id.
    """

    found: AttributionFile
    members: pd.DataFrame
    contributions: dict[str, np.ndarray]


def pack_loci(arrays: Arrays, table: pd.DataFrame, loci: Loci) -> dict:
    """Add outlines and letters of all loci and the seqlets of patterns; return what describes them.

    Attributions are stored in steps of 1/200 of the largest one of their locus, half a pixel of what is drawn.

    Parameters
    ----------
    arrays : Arrays
    table : pandas.DataFrame
        The page's rows; seqlets have ``sequence_id, seqlet_start, seqlet_end``.
    loci : Loci
    """
    found, members, contributions = loci
    observed = found.observed()
    scale = np.abs(observed).max(1, initial=0.0) / 200
    places = _places(table, found, observed, members)
    spans, left_out = _spans(places, found.length, observed)
    bins = int(min(found.length, 256, max(16, _MOST_BINS // len(found))))
    arrays.add("#locus_scale", scale.astype(np.float32))
    arrays.add("#locus_bins", _steps(_outline(observed, bins), scale[:, None]))
    bases, steps = [np.zeros(0, np.uint8)], [np.zeros(0, np.int16)]
    for locus, start, end in spans:
        one_hot = found.part("sequences", locus, start, end)
        bases.append(np.where(one_hot.any(0), one_hot.argmax(0), 4).astype(np.uint8))
        steps.append(_steps(observed[locus, start:end], scale[locus]))
    for name, values in zip(("locus", "start", "end"), np.array(spans, dtype=np.uint32).reshape(-1, 3).T):
        arrays.add(f"#span_{name}", values)
    arrays.add("#span_bases", np.concatenate(bases))
    arrays.add("#span_steps", np.concatenate(steps))
    names = list(contributions)
    known = members[members["pattern_id"].isin(names)]
    arrays.add("#instance_pattern", pd.Categorical(known["pattern_id"], names).codes.astype(np.uint16))
    for column in ("example_idx", "start", "end"):
        arrays.add(f"#instance_{column}", known[column].to_numpy(np.uint32))
    arrays.add("#instance_strand", known["strand"].eq("-").to_numpy(np.uint8))
    arrays.add("#instance_attribution", known["attribution"].to_numpy(np.float32))
    arrays.add("#contributions", np.concatenate([np.zeros(0), *(c.ravel() for c in contributions.values())])
               .astype(np.float32))  # fmt: skip
    return {
        "ids": found.ids, "length": found.length, "bins": bins, "unit": found.metadata["unit"], "patterns": names,
        "widths": [len(c) for c in contributions.values()], "without_letters": left_out,
        "output": found.metadata["output"],
    }  # fmt: skip


def _steps(values: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    return np.rint(np.nan_to_num(values / np.where(np.asarray(scale) > 0, scale, 1))).astype(np.int16)


def _outline(observed: np.ndarray, bins: int) -> np.ndarray:
    """Return the attribution that is largest in size in each of so many parts of every locus."""
    edges = np.linspace(0, observed.shape[1], bins + 1).astype(int)
    parts = [observed[:, a:b] for a, b in pairwise(edges)]
    return np.stack([np.take_along_axis(p, np.abs(p).argmax(1)[:, None], 1)[:, 0] for p in parts], axis=1)


def _places(
    table: pd.DataFrame, found: AttributionFile, observed: np.ndarray, members: pd.DataFrame
) -> dict[int, list[tuple[int, int]]]:
    """Return what is to be read in each locus: its strongest base, its seqlets, its seqlets of patterns."""
    places: dict[int, list[tuple[int, int]]] = {
        i: [(int(at), int(at) + 1)] for i, at in enumerate(np.abs(observed).argmax(1))
    }
    if "seqlet_start" in table:
        numbers = {name: i for i, name in enumerate(found.ids)}
        seqlets = table[["sequence_id", "seqlet_start", "seqlet_end"]].dropna().drop_duplicates()
        for name, start, end in seqlets.itertuples(index=False):
            places[numbers[name]].append((int(start), int(end)))
    for i, start, end in members[["example_idx", "start", "end"]].itertuples(index=False):
        places[int(i)].append((int(start), int(end)))
    return places


def _spans(
    places: dict[int, list[tuple[int, int]]], length: int, observed: np.ndarray
) -> tuple[Sequence[tuple[int, int, int]], int]:
    """Return (locus, start, end) of all letters, merged where they touch, and how many loci have none."""
    spans, letters, left_out = [], 0, 0
    for locus in np.argsort(-np.abs(observed).max(1, initial=0.0), kind="stable"):
        mine: list[list[int]] = []
        for start, end in sorted(places[int(locus)]):
            start, end = max(0, start - FLANK), min(length, end + FLANK)
            if mine and start <= mine[-1][1]:
                mine[-1][1] = max(mine[-1][1], end)
            else:
                mine.append([start, end])
        letters += sum(end - start for start, end in mine)
        if letters > MOST_LETTERS:
            left_out += 1
        else:
            spans += [(int(locus), start, end) for start, end in mine]
    return sorted(spans), left_out
