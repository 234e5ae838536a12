"""What an attribution entry asks for, as the rules read it; without Snakemake."""

from __future__ import annotations

import pytest

from marginome.attribution_entries import (
    element_functions,
    element_kinds,
    element_screen,
    element_settings,
    export_files,
    part_of,
    result_files,
    used_entries,
)

PLAIN = {
    "model": "m",
    "loci": {"kind": "bed", "regions": "r.bed", "genome": "g.fa"},
    "annotate": None,
    "patterns": None,
}
WHOLE = {
    "model": "m",
    "loci": {"kind": "background", "background": "b1", "insert": {"collection": "c1", "motif": "CTCF"}},
    "references": {"background": "b2"},
    "annotate": {"motifs": ["c2", "c1"]},
    "patterns": {},
    "marginalize": {
        "backgrounds": ["b3", "b1"],
        "keep": {"profiles": True},
        "flank": 5,
        "samples": 3,
        "controls": {},
        "shards": 4,
        "functions": ["predict", "deep_lift_shap"],
    },
}


def test_the_entries_that_it_uses():
    assert used_entries(PLAIN) == {"models": ["m"], "motifs": [], "backgrounds": []}
    assert used_entries(WHOLE) == {"models": ["m"], "motifs": ["c1", "c2"], "backgrounds": ["b1", "b2", "b3"]}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("loci", "insert", "collection"), "c1"),
        (("annotate", "motifs"), ["c2", "c1"]),
        (("loci", "genome"), None),
        (("marginalize", "annotations"), None),
        (("no", "such", "key"), None),
    ],
)
def test_a_part(path, found):
    assert part_of(WHOLE, path) == found


def test_elements_as_a_screen():
    assert element_kinds(PLAIN) == ["seqlets"] and element_kinds(WHOLE) == ["seqlets", "patterns"]
    assert element_screen(WHOLE, "keep") == {"outputs": None, "keep": {"profiles": True}}
    # how many shards is no reason to list the elements anew
    assert element_settings(WHOLE) == {"flank": 5, "samples": 3, "controls": {}}
    assert element_functions(WHOLE) and not element_functions(PLAIN)


def test_results_are_those_that_are_asked_for():
    assert result_files(PLAIN) == [
        "attributions.h5", "seqlets.parquet", "seqlets.bed", "export/elements.bed", "export/observed.bw",
        "figures/elements.svg", "report.html", "provenance.json",
    ]  # fmt: skip
    assert not [name for name in result_files(PLAIN | {"loci": {"kind": "fasta"}}) if name.endswith(".bw")]
    asked = export_files(PLAIN | {"export": ["hypothetical", "npz", "h5"]})
    assert asked == [
        "export/observed.bw", *(f"export/hypothetical_{base}.bw" for base in "ACGT"), "export/sequences.npz",
        "export/hypothetical.npz", "export/loci.narrowPeak", "export/attributions.shap.h5",
    ]  # fmt: skip
    found = result_files(WHOLE)
    assert {"annotations.parquet", "patterns.h5", "pattern_matches.parquet", "patterns/effects.parquet"} < {*found}
    assert {"seqlets/functions.h5", "patterns/functions.svg"} < {*found} and len(found) == len({*found})
    without = {**WHOLE, "annotate": None, "marginalize": {**WHOLE["marginalize"], "functions": ["predict"]}}
    assert not [name for name in result_files(without) if "match" in name or "functions" in name or "annot" in name]
