"""docs/notebook.md: which arguments of the field's functions are ours too, held against both signatures."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

import marginome
from workspace import ROOT

PEERS = {
    "predict": "predict", "marginalize": "marginalize", "marginalize_annotations": "marginalize",
    "substitute": "ersatz", "multisubstitute": "ersatz", "shuffle": "ersatz", "dinucleotide_shuffle": "ersatz",
    "random_one_hot": "utils", "one_hot_encode": "utils", "deep_lift_shap": "deep_lift_shap",
    "saturation_mutagenesis": "saturation_mutagenesis", "recursive_seqlets": "seqlet", "tfmodisco_seqlets": "seqlet",
    "plot_logo": "plot",
}  # fmt: skip


def parameters(function) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind not in kinds]


def rows_of_the_table() -> dict[str, set[str]]:
    """Function -> the arguments that its row says are not there."""
    rows = {}
    for line in (ROOT / "docs" / "notebook.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and (name := cells[0].strip("`")) in PEERS:
            rows[name] = set(re.findall(r"`(\w+)`", cells[1]))
    return rows


@pytest.mark.parametrize("name", PEERS)
def test_the_table_says_which_arguments_are_not_there(name):
    theirs = parameters(getattr(importlib.import_module(f"tangermeme.{PEERS[name]}"), name))
    ours = parameters(getattr(marginome, name))
    assert rows_of_the_table()[name] == set(theirs) - set(ours)
    # what both have stands in the same place, so that calls by position mean the same
    shared = [p for p in theirs if p in ours]
    assert [p for p in ours if p in shared] == shared
    assert ours[: len(shared)] == shared or name == "marginalize_annotations"
