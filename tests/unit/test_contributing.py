"""CONTRIBUTING.md: places exist, four at most in a recipe; one that is forgotten fails here or where it says."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

import marginome
from marginome import backgrounds, effects
from marginome.config_schema import entry_kinds, schemas
from marginome.errors import MarginomeError
from marginome.figure_names import SCREEN_FIGURES
from marginome.jobs.plot_screen import FIGURES
from marginome.measures import MEASURES
from marginome.models.loaders import LOADERS
from marginome.motifs.formats import FORMATS, read_file
from marginome.report.screen import methods
from workspace import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n(.+?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def enums(section: str) -> list[list]:
    """Every list of allowed values in a section's schema."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            found.extend([node["enum"]] if isinstance(node.get("enum"), list) else [])
            node = list(node.values())
        if isinstance(node, list):
            for part in node:
                walk(part)

    walk(schemas()[f"{section}.schema.yaml"])
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_four_places_at_most_and_they_exist(name):
    steps = re.findall(r"^\d+\. (.+?)(?=^\d+\. |^$)", RECIPES[name], re.MULTILINE | re.DOTALL)
    assert 2 <= len(steps) <= 4
    for step in steps:
        place = re.match(r"`([^`]+)`|The job that fills it, in `([^`]+)`", step)
        assert place, step
        path = (place[1] or place[2]).partition("<")[0]
        assert (ROOT / path).exists(), path
    tests = re.findall(r"`(tests/[\w/.]+\.py)`", RECIPES[name])
    assert tests and all((ROOT / test).is_file() for test in tests)


def test_there_is_a_recipe_for_everything_that_is_added_often():
    assert list(RECIPES) == [
        "A background kind", "A measure", "A column", "A motif format", "A model format", "An attribution function",
        "A rule of the engine", "A figure",
    ]  # fmt: skip


def test_a_background_kind_is_in_every_place():
    assert set(entry_kinds("backgrounds")) == set(backgrounds._KINDS) == set(methods._KINDS)


def test_a_measure_is_in_every_place():
    assert set(effects.FUNCTIONS) == set(MEASURES) and list(MEASURES) in enums("models")
    assert all(callable(getattr(marginome, name)) for name in MEASURES)


def test_a_motif_format_is_in_every_place_and_has_a_file():
    assert list(FORMATS) in enums("motifs")
    read = set()
    for path in (ROOT / "tests" / "data" / "motifs").iterdir():
        if path.suffix != ".md":
            try:
                read |= {getattr(motif, "format", None) for motif in read_file(path)}
            except MarginomeError:
                continue  # a file of what is refused
    assert read - {None} == set(FORMATS) - {"auto"}


def test_a_model_format_is_in_every_place():
    assert list(LOADERS) in enums("models")
    for name, module in LOADERS.items():
        load = importlib.import_module(f"marginome.models.{module}").load
        assert list(inspect.signature(load).parameters)[:3] == ["file", "bias_file", "settings"], name


def test_a_figure_is_in_every_place():
    assert list(FIGURES) == list(SCREEN_FIGURES)
    for name in SCREEN_FIGURES:
        assert len((ROOT / "workflow" / "report" / f"{name}.rst").read_text(encoding="utf-8")) > 100
