"""How tables that should be the same are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from marginome.errors import MarginomeError
from marginome.jobs.compare_screen import compare_tables
from marginome.tables import EFFECTS, INSERT_KEYS


def test_compare_tables():
    expected = pd.DataFrame({"id": ["a", "b", "c"], "x": [1.0, np.nan, 3.0], "n": [1, 2, 3], "kind": ["u", None, "w"]})
    assert compare_tables(expected, expected.copy()).empty
    moved = expected.iloc[::-1]
    assert compare_tables(expected, moved, keys=["id"]).empty
    assert not compare_tables(expected, moved).empty
    found = expected.copy()
    found.loc[0, "x"] = 1.001
    found.loc[1, "x"] = 2.0
    found.loc[2, "kind"] = "v"
    differences = compare_tables(expected, found, keys=["id"]).set_index(["row", "column"])
    assert set(differences.index) == {("a", "x"), ("b", "x"), ("c", "kind")}
    assert differences.loc[("a", "x"), "difference"] == pytest.approx(0.001)
    assert len(compare_tables(expected, found, 0.01, keys=["id"])) == 2
    assert len(compare_tables(expected, found, {"x": 0.01}, keys=["id"])) == 2
    assert len(compare_tables(expected, found, {"n": 0.01}, keys=["id"])) == 3


def test_compare_tables_of_other_shapes():
    expected = pd.DataFrame({"id": ["a", "b"], "x": [1, 2]})
    found = pd.DataFrame({"id": ["b", "d"], "y": [2, 5]})
    differences = compare_tables(expected, found, keys=["id"])
    told = set(zip(differences["row"], differences["column"], differences["expected"], differences["found"]))
    assert told == {
        ("(whole column)", "x", "present", "missing"),
        ("(whole column)", "y", "missing", "present"),
        ("a", "(whole row)", "present", "missing"),
        ("d", "(whole row)", "missing", "present"),
    }
    with pytest.raises(MarginomeError, match=r"found.*two rows have the key"):
        compare_tables(expected, pd.concat([expected, expected]), keys=["id"])


def test_the_keys_of_the_table_are_what_its_rows_are_told_apart_by():
    """Seven lists of them were kept; a column that is a key is said once."""
    keys = [column.name for column in EFFECTS if column.key]
    assert keys == ["model", "background", *INSERT_KEYS, "output"]
    assert INSERT_KEYS == (
        "collection", "motif_id", "orientation", "start", "insert", "sample", "partner_id", "partner_orientation",
        "gap", "order",
    )  # fmt: skip
    assert [column.name for column in EFFECTS if column.key and not column.required] == [*INSERT_KEYS[5:]]
