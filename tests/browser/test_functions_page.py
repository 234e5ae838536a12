"""Attributions of a real run on the page of its screen: every set and output, next to a function of another shape."""

from __future__ import annotations

import re
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from workspace import Workspace, rules_run, small_config

pytestmark = [pytest.mark.browser, pytest.mark.workflow, pytest.mark.long]
SCREEN = "results/screens/ctcf_jaspar"
OWN = """
def highest(model, X, args=None):
    return X.float().cumsum(2).amax(2)
"""


@pytest.fixture(scope="module")
def attributed(finished, tmp_path_factory) -> tuple[Workspace, str]:
    """A finished run whose screen then asked for attributions, and what that made Snakemake do."""
    folder = tmp_path_factory.mktemp("functions") / "run"
    shutil.copytree(finished.folder, folder, symlinks=True)
    (folder / "own.py").write_text(OWN)
    config = small_config()
    config["screens"]["ctcf_jaspar"] |= {
        "functions": ["predict", "deep_lift_shap", {"function": "own.py:highest"}],
        "function_settings": {"n_references": 1},
    }
    space = Workspace(folder, config)
    return space, space.run(cores=2).stdout


def test_a_screen_that_is_done_gets_attributions_and_repeats_nothing(attributed):
    space, output = attributed
    made = rules_run(output)
    assert made == {"apply_before", "apply_after", "merge_functions", "write_provenance", "report_screen",
                    "write_overview", "all"}  # fmt: skip
    log = space.path("logs", "report_screen", "ctcf_jaspar.log").read_text()
    assert "96 attributions" in log and "highest of counts has shape" in log
    overview = space.path("results", "index.html").read_text()
    assert "screens/ctcf_jaspar/functions.h5" in overview and "screens/ctcf_jaspar/figures/functions.svg" in overview


def test_a_chosen_motif_shows_its_logos_before_and_after(attributed, browser):
    space, _ = attributed
    effects = pd.read_parquet(space.path(SCREEN, "effects.parquet"))
    browser.open(space.path(SCREEN, "report.html"))
    seen = 0
    with h5py.File(space.path(SCREEN, "functions.h5")) as handle:
        ids = list(zip(*(handle["inserts"][k].asstr()[...] for k in ("motif_id", "orientation"))))
        size = int(handle.attrs["window"])
        for background in effects["background"].unique():
            for output in effects["output"].unique():
                browser.set("output", output)
                browser.set("background", background)
                browser.set("search", "MA0139.2")
                for n in range(2):
                    browser.run("document.querySelectorAll('#tbody tr.row')[arguments[0]].click()", n)
                    strand = browser.column("Strand")[n].replace("\u2212", "-")
                    assert browser.texts("#detail .tag")[0] == "MA0139.2"
                    labels = browser.run(
                        "return [...document.querySelectorAll('#detail > canvas[aria-label*=SHAP]')]"
                        ".map(c => c.getAttribute('aria-label'))"
                    )
                    assert [label.split(" the insert")[0] for label in labels] == [
                        f"DeepLIFT/SHAP of {output}, {side}" for side in ("before", "after")
                    ]
                    place = ids.index(("MA0139.2", strand))
                    values = handle[f"bpnet_ctcf/{background}/deep_lift_shap/{output}"]
                    both = np.stack([values["before"][place], values["after"][place]])
                    high = float(np.maximum(both, 0).sum(1).max())
                    low = float(np.minimum(both, 0).sum(1).min())
                    row = effects[(effects["motif_id"] == "MA0139.2") & (effects["orientation"] == strand)].iloc[0]
                    first = row["start"] + len(row["insert"]) // 2 - size // 2
                    for label in labels:
                        told = re.search(
                            r"from (\S+) to (\S+) in positions (\d+) to (\d+)", label.replace("\u2212", "-")
                        )
                        assert float(told[1]) == pytest.approx(low, rel=0.06, abs=high / 50)
                        assert float(told[2]) == pytest.approx(high, rel=0.06)
                        assert (int(told[3]), int(told[4])) == (first, first + size - 1)
                    seen += 1
    assert seen == 8
    # the other output is there too, folded
    browser.run("document.querySelector('#detail details.others').open = true")
    browser.wait("return document.querySelectorAll('#detail details.others canvas').length === 2")
    # letters are painted: more ink after than before
    ink = browser.run(
        "return [...document.querySelectorAll('#detail > canvas[aria-label*=SHAP]')].map(c => {"
        "const d = c.getContext('2d').getImageData(60, 0, c.width - 60, 84).data; const seen = {};"
        "for (let i = 0; i < d.length; i += 4) seen[[d[i], d[i + 1], d[i + 2]]] = 1;"
        "return Object.keys(seen).length; })"
    )
    assert min(ink) > 4
    assert browser.logged() == []


def test_without_functions_there_is_no_such_part(finished, browser):
    browser.open(finished.path(SCREEN, "report.html"))
    assert "Attributions around the insert" not in browser.texts("#detail h3")
