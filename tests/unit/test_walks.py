"""docs/walks.md: every function, rule and file that a walk names is there."""

from __future__ import annotations

import importlib
import re
from functools import reduce

import pytest

from workspace import ROOT

TEXT = (ROOT / "docs" / "walks.md").read_text(encoding="utf-8")
WALKS = dict(re.findall(r"^## (A .+?)\n(.+?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
RULES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk"))
LIBRARY = ROOT / "workflow" / "lib" / "marginome"


@pytest.mark.parametrize("walk", WALKS)
def test_what_a_walk_names_is_there(walk):
    rows = re.findall(r"^\| (.+?) \| (.*?) ?\| .*\|$", WALKS[walk], re.MULTILINE)[1:]
    assert len(rows) >= 10
    for where, function in rows:
        if where.startswith("rule "):
            name = where.removeprefix("rule ").strip("`")
            assert re.search(rf"^rule {name}:", RULES, re.MULTILINE), where
            assert (ROOT / "scripts" / f"{name}.py").is_file(), where
        else:
            path = where.strip("`")
            assert (LIBRARY / path).is_file(), where
            module = importlib.import_module("marginome." + path.removesuffix(".py").replace("/", "."))
            found = reduce(getattr, function.strip("`").split("."), module)
            assert callable(found) and found.__module__ == module.__name__, (where, function)


def test_the_walks_are_those_that_the_contributors_page_points_to():
    assert len(WALKS) == 3 and "docs/walks.md" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
