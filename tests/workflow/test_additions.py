"""What is computed when something is added to a run: its own units, and no other. Dry runs on a run that is done.

Nothing is computed here: the outputs of a first plan are empty files that Snakemake is told to take for results.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter

import pytest

from workspace import RESOURCES, Workspace, small_config

pytestmark = pytest.mark.workflow
#: What a reader opens, made anew with any table.
PAGES = {"plot_screen", "report_screen", "write_provenance", "write_overview", "all"}


def _config() -> dict:
    """Two models, two background sets, one collection, in two shards."""
    config = small_config()
    weights = config["models"]["bpnet_ctcf"]
    config["models"] = {"a": dict(weights), "b": dict(weights, weights="b.pt")}
    config["screens"] = {"s": config["screens"]["ctcf_jaspar"] | {"models": ["a", "b"], "shards": 2}}
    return config


def _planned(output: str) -> Counter:
    """The jobs of a dry run: rule and wildcards, ``marginalize a gc_matched jaspar 1-of-2`` without the screen."""
    found: Counter = Counter()
    for block in re.split(r"^(?:local)?rule ", output, flags=re.MULTILINE)[1:]:
        rule = block.partition(":")[0]
        named = re.search(r"^    wildcards: (.*)$", block, re.MULTILINE)
        values = dict(part.split("=") for part in named[1].split(", ")) if named else {}
        order = ("batch", "background", "list", "collection", "shard")
        found[" ".join([rule, *(values[key] for key in order if key in values)])] += 1
    return found


def _done(folder, config: dict) -> Workspace:
    """A working directory in which everything is there."""
    shutil.copy(RESOURCES / "models" / "bpnet_ctcf_k562_2114.state_dict.pt", folder / "b.pt")
    workspace = Workspace(folder, config)
    outputs = re.findall(r"^    output: (.*)$", workspace.run("-n").stdout, re.MULTILINE)
    for file in (file for line in outputs for file in line.split(", ")):
        workspace.path(file).parent.mkdir(parents=True, exist_ok=True)
        workspace.path(file).touch()
    workspace.run("--touch", "--forceall")
    assert "Nothing to be done" in workspace.run("-n").stdout
    return workspace


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return _done(tmp_path_factory.mktemp("done"), _config())


@pytest.fixture
def run(done, tmp_path):
    """A copy that may be changed."""
    shutil.copytree(done.folder, tmp_path / "work", symlinks=True)
    return Workspace(tmp_path / "work", _config())


def check(run: Workspace, wanted: set[str], pages: set[str] = PAGES) -> None:
    """A dry run plans these jobs, each once, and nothing else but pages."""
    planned = _planned(run.run("-n").stdout)
    found = {job for job in planned if job not in pages}
    assert found == wanted, {"missing": wanted - found, "too much": found - wanted}
    assert set(planned.values()) == {1} and {job for job in planned if job in pages} == pages


SUMMARIES = {"summarize_batch a", "summarize_batch b", "summarize_screen", "merge_batches"}


def test_a_background_set_computes_itself_its_baselines_and_its_units(run):
    run.config["backgrounds"]["third"] = {"kind": "uniform", "n": 4, "length": 2114}
    run.config["screens"]["s"]["backgrounds"].append("third")
    check(run, SUMMARIES | {
        "check_entries third", "make_background third", "report_background third", "predict_baseline a third",
        "predict_baseline b third",
        *(f"marginalize {model} third jaspar {i}-of-2" for model in "ab" for i in (1, 2)),
    })  # fmt: skip


def test_a_collection_computes_its_list_and_its_units(run):
    run.config["motifs"]["mine"] = {"files": run.config["motifs"]["jaspar"]["files"], "include": ["MA0139.2"]}
    screen = run.config["screens"]["s"]
    screen["motifs"].append("mine")
    screen["shards"] = {"jaspar": 2}  # one for the new list
    check(run, SUMMARIES | {
        "collect_motifs mine", "list_inserts mine", "check_entries gc_matched", "check_entries shuffled_peaks",
        *(f"marginalize {model} {background} mine 1-of-1"
          for model in "ab" for background in ("gc_matched", "shuffled_peaks")),
    })  # fmt: skip


def _units_of(model: str) -> set[str]:
    return {
        f"check_model {model}", f"report_model {model}", f"summarize_batch {model}", "summarize_screen",
        "merge_batches",
        "check_entries gc_matched", "check_entries shuffled_peaks",
        *(f"predict_baseline {model} {background}" for background in ("gc_matched", "shuffled_peaks")),
        *(f"marginalize {model} {background} jaspar {i}-of-2"
          for background in ("gc_matched", "shuffled_peaks") for i in (1, 2)),
    }  # fmt: skip


def test_a_model_computes_its_check_baselines_and_units(run):
    run.config["models"]["c"] = dict(run.config["models"]["a"])
    run.config["screens"]["s"]["models"].append("c")
    check(run, _units_of("c"))


def test_other_weights_of_one_model_compute_its_batch(run):
    with open(run.path("b.pt"), "ab") as handle:
        handle.write(b"other")
    check(run, _units_of("b"))


@pytest.mark.parametrize("shards", [3, {"jaspar": 3}])
def test_another_number_of_shards_computes_the_shards_of_the_screen(run, shards):
    run.config["screens"]["s"]["shards"] = shards
    check(run, SUMMARIES | {
        f"marginalize {model} {background} jaspar {i}-of-3"
        for model in "ab" for background in ("gc_matched", "shuffled_peaks") for i in (1, 2, 3)
    })  # fmt: skip


def test_a_page_computes_itself(run):
    run.config["report"]["title"] = "Another title"
    check(run, set(), {"write_overview", "all"})


def test_controls_of_one_list_compute_that_list(run):
    run.config["screens"]["s"]["controls"] = {"pool": {"jaspar": 60}}  # the number it had, said otherwise
    check(run, set(), {"write_provenance", "report_screen", "write_overview", "all"})  # the record tells the config
    run.config["screens"]["s"]["controls"] = {"pool": {"jaspar": 70}}
    check(run, SUMMARIES | {
        "list_inserts jaspar", "check_entries gc_matched", "check_entries shuffled_peaks",
        *(f"marginalize {model} {background} jaspar {i}-of-2"
          for model in "ab" for background in ("gc_matched", "shuffled_peaks") for i in (1, 2)),
    })  # fmt: skip


def _shards_of(background: str) -> set[str]:
    return {f"marginalize {model} {background} jaspar {i}-of-2" for model in "ab" for i in (1, 2)}


def test_other_outputs_of_a_screen_compute_its_shards(run):
    run.config["screens"]["s"]["outputs"] = ["counts"]
    check(run, SUMMARIES | {
        "check_entries gc_matched", "check_entries shuffled_peaks",
        *_shards_of("gc_matched"), *_shards_of("shuffled_peaks"),
    })  # fmt: skip


def test_what_is_changed_together_is_all_computed(run):
    """A job that runs first hides no change of another: of weights and a background set, both are made anew."""
    with open(run.path("b.pt"), "ab") as handle:
        handle.write(b"other")
    run.config["backgrounds"]["gc_matched"]["n"] += 1
    check(run, _units_of("b") | _shards_of("gc_matched") | SUMMARIES | {
        "make_background gc_matched", "report_background gc_matched",
        "predict_baseline a gc_matched", "predict_baseline b gc_matched",
    })  # fmt: skip


def test_a_model_beside_judged_pairs_computes_no_function_of_another(tmp_path):
    """Which arrangements are the best hangs on a model's own effects: those of the others are not looked at again."""
    config = _config()
    config["screens"]["s"] |= {
        "functions": ["predict", "deep_lift_shap"],
        "pairs": [{"motifs": ["MA0139.2", "MA0139.2"], "gaps": [3, 10, 50], "mismatched": 40}],
    }
    run = _done(tmp_path, config)
    run.config["models"]["c"] = dict(run.config["models"]["a"])
    run.config["screens"]["s"]["models"].append("c")
    backgrounds = ("gc_matched", "shuffled_peaks")
    check(run, _units_of("c") | {
        "score_pairs c", "merge_pairs", "choose_arrangements c jaspar", "merge_functions",
        *(f"apply_before c {background}" for background in backgrounds),
        *(f"apply_after c {background} jaspar {i}-of-2" for background in backgrounds for i in (1, 2)),
    }, PAGES | {"plot_gaps", "plot_pairs"})  # fmt: skip
