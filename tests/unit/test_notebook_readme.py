"""The code of "From a notebook" runs, in order and in one process, and shows what it is there to show."""

from __future__ import annotations

import re

import matplotlib
import pytest
import torch

matplotlib.use("Agg")

from workspace import ROOT


def blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## From a notebook\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """What the blocks leave behind, run as a user does, from the root of the repository."""
    import matplotlib.pyplot as plt

    namespace: dict = {}
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "resources").symlink_to(ROOT / "resources")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for i, block in enumerate(blocks()):
            exec(compile(block, f"README.md, block {i + 1}", "exec"), namespace)
    plt.close("all")
    return namespace, folder


def test_there_is_code_in_it():
    assert len(blocks()) == 4


def test_it_shows_what_it_is_there_to_show(notebook):
    values, folder = notebook
    change = difference_of(values["y_before"], values["y_after"])
    assert (change > 0).all() and change.mean() > 1
    assert values["profiles"].argmax() == 0 and values["profiles"][0] > 3 * values["profiles"][1]
    effect = (values["after"] - values["before"]).mean(dim=(1, 2))
    assert (effect > 1).sum() == 2
    assert (folder / "seqlets.svg").stat().st_size > 1000


def difference_of(before, after) -> torch.Tensor:
    return after[1] - before[1]


def test_the_readme_explains_every_column():
    from marginome.columns import describe
    from marginome.tables import EFFECTS

    assert describe(EFFECTS) in (ROOT / "README.md").read_text(encoding="utf-8")
