"""The page of a background set: whether its sequences are what was asked for, and what they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from marginome.report.parts import Link
from marginome.report.plain import Section, write_page
from marginome.storage import damaged, read_json, sha256_of

#: Checks of a set that are single values: key, what it is, how to read it.
_CHECKS = (
    ("kind", "kind", "How the sequences were made (config/README.md)."),
    ("n", "sequences", ""),
    ("length_bp", "length (bp)", ""),
    ("gc_mean", "mean GC", "Fraction of G and C, mean over the sequences."),
    ("gc_target_mean", "mean GC of the target", "Of what the set was made to resemble."),
    ("gc_ks_distance", "GC: Kolmogorov-Smirnov distance",
     "Largest gap between the cumulative GC distributions of set and target: 0 for the same, 1 for none in common. "
     "Chance alone gives a small set of n sequences about 1 / sqrt(n)."),
    ("dinucleotide_distance", "dinucleotides: total variation distance",
     "Half the summed differences of mean dinucleotide fractions between set and target: 0 for the same, 1 for none "
     "in common."),
    ("bins_short", "GC bins with too few windows", "Filled from their nearest bins; 0 is what one wants."),
    ("hits_excluded", "sequences left out for a strong motif hit", "Where the config excludes hits."),
    ("equal_to_input", "shuffles equal to their input", "Too repetitive to be shuffled; 0 is what one wants."),
    ("source_sequences", "sequences that were shuffled", ""),
    ("signal_limit", "most signal allowed in a window", "In the unit of the bigWig files."),
)  # fmt: skip
_SHOWN = ["id", "length", "gc", "unknown", "source"]


def report_background(
    name: str,
    *,
    checks: str | os.PathLike,
    tsv: str | os.PathLike,
    figure: str | os.PathLike,
    page: str | os.PathLike,
) -> None:
    """Write the page of one background set.

    Parameters
    ----------
    name : str
        Of the set.
    checks, tsv, figure : path
        What `make_background` wrote.
    page : path
        HTML to write.
    """
    found = read_json(checks)
    if sha256_of(tsv) != found.get("tsv_sha256", sha256_of(tsv)):  # earlier versions wrote none
        raise damaged(tsv, "its content is not what was written")
    table = pd.read_csv(tsv, sep="\t", dtype={"id": str, "source": str}, na_filter=False)
    sections = [
        Section(
            "Checks",
            "An insert's effect is measured in these sequences: composition that is far from the regions one cares "
            "about is a reason to try another set.",
            _single_values(found),
            [(figure, "Left: cumulative distribution of GC. Right: fraction of each dinucleotide, mean and standard "
              "deviation over sequences.")],
        )
    ]  # fmt: skip
    if found.get("bins"):
        bins = pd.DataFrame(found["bins"]).rename(columns=lambda c: c.replace("gc_", "GC ").replace("_", " "))
        sections.append(
            Section("GC bins", "Windows wanted (as the target has them), available, and obtained.", bins)
        )  # fmt: skip
    if found.get("probabilities"):
        sections.append(Section("Composition", "Probability of each base.", pd.DataFrame([found["probabilities"]])))
    if found.get("dropped"):
        left_out = pd.DataFrame([(k.replace("_", " "), n) for k, n in found["dropped"].items()])
        sections.append(
            Section("Left out", "Windows or sequences that were not used, by reason.",
                    left_out.set_axis(["reason", "number"], axis=1))
        )  # fmt: skip
    files = [Link(os.path.basename(path), os.path.relpath(path, os.path.dirname(page))) for path in (tsv, checks)]
    sections.append(Section("Sequences", "", table[[c for c in _SHOWN if c in table]], links=files))
    write_page(page, title=f"Background set {name}", sections=sections, overview="../index.html")


def _single_values(found: Mapping[str, Any]) -> pd.DataFrame:
    rows = [(label, found[key], text) for key, label, text in _CHECKS if found.get(key) is not None]
    return pd.DataFrame(rows, columns=["check", "value", "what it says"])
