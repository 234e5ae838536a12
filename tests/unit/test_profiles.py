"""The shipped profiles: a site's own holds, and what they name exists."""

from __future__ import annotations

import graphlib
import re
import subprocess
import sys

import pytest
import yaml

from workspace import ROOT

DEFAULT = ROOT / "profiles" / "default" / "profile.yaml"
SLURM = ROOT / "profiles" / "slurm" / "profile.yaml"
KUBERNETES = ROOT / "profiles" / "kubernetes" / "profile.yaml"
BATCH = ROOT / "profiles" / "aws-batch" / "profile.yaml"


@pytest.fixture(scope="module")
def rules() -> dict[str, str]:
    """Text of each rule by its name."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    parts = re.split(r"^(?:rule (\w+):|use rule (\w+) as (\w+) with:)$", text, flags=re.MULTILINE)[1:]
    found = list(zip(*(parts[i::4] for i in range(4))))
    own = {name: body for name, _, _, body in found if name}
    return own | {derived: own[base] + body for _, base, derived, body in found if derived}


def test_nothing_in_the_repository_shadows_or_overrides_a_profile_named_slurm():
    for name in ("slurm", "kubernetes", "aws-batch", "default"):  # Snakemake would take such a folder for the profile
        assert not (ROOT / name).exists()
    # It is merged into every other profile and wins: what a site decides must not be in it.
    assert set(yaml.safe_load(DEFAULT.read_text())) == {"rerun-triggers", "rerun-incomplete", "show-failed-logs"}


def test_the_slurm_profile_names_every_gpu_rule_and_only_rules_that_exist(rules):
    gpu = {name for name, body in rules.items() if "**gpus()" in body}
    assert {"marginalize", "attribute", "apply_elements_after"} <= gpu
    assert set(offered(SLURM)) == gpu
    groups = yaml.safe_load(SLURM.read_text())["groups"]
    assert set(groups) <= set(rules) - gpu  # a group with two GPU rules could ask for two GPUs
    assert "write_overview" not in groups  # would join all screens into one job


def test_the_slurm_profile_names_every_rule_once(rules):
    """A rule that is added has to be thought of: alone, in a group, or on a GPU."""
    text = SLURM.read_text()
    alone = re.search(r"^# Alone: ((?:.+,\n# )*.+)$", text, flags=re.MULTILINE)[1]
    named = [*re.findall(r"\w+", alone), *yaml.safe_load(text)["groups"], *offered(SLURM)]
    assert sorted(named) == sorted([*rules, "report_batch"])  # a rule for each size of batch, named when it is made


@pytest.mark.parametrize(
    "config", ["config/config.yaml", "with comparisons", "with functions", "of pairs with functions"]
)
def test_no_group_waits_for_a_job_that_waits_for_it(config, tmp_path):
    """Groups as single jobs: the graph has no circle, so that each can start when those before it are done."""
    if "functions" in config:
        example = "config/examples/grammar.yaml" if "pairs" in config else "config/config.yaml"
        entries = yaml.safe_load((ROOT / example).read_text())
        next(iter(entries["screens"].values()))["functions"] = ["predict", "deep_lift_shap"]
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump(entries, sort_keys=False))
    if config == "with comparisons":
        entries = yaml.safe_load((ROOT / "config/examples/atlas.yaml").read_text())
        entries["screens"]["all"]["comparisons"] = {"c": {"first": {"protein": "CTCF"}, "second": {"protein": "JUND"}}}
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump(entries))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--rulegraph", "--configfile", str(config)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    rules = dict(re.findall(r'(\d+)\[label = "(\w+)"', done.stdout))
    groups = yaml.safe_load(SLURM.read_text())["groups"]
    before: dict[str, set[str]] = {}
    for first, then in re.findall(r"(\d+) -> (\d+)", done.stdout):
        one, other = (groups.get(rules[number], rules[number]) for number in (first, then))
        if one != other:
            before.setdefault(other, set()).add(one)
    assert {"summarize_screen", "write_overview"} <= set(rules.values()), done.stderr
    assert len(list(graphlib.TopologicalSorter(before).static_order())) > 10  # raises CycleError


def offered(profile) -> dict:
    """What a profile offers for `device: cuda`, in comments, by rule."""
    text = profile.read_text()
    block = text[text.index("# set-resources:") :].split("\n\n")[0]
    return yaml.safe_load(re.sub(r"^# ?", "", block, flags=re.MULTILINE))["set-resources"]


def test_each_executor_is_asked_for_gpus_in_its_own_words(rules):
    gpu = {name for name, body in rules.items() if "**gpus()" in body}
    assert offered(KUBERNETES) == {name: {"gpu_manufacturer": "nvidia", "scale": 0} for name in gpu}
    assert offered(BATCH) == {name: {"mem_mb": 8192, "_gpus": 1} for name in gpu}


def test_batch_is_asked_for_sizes_of_memory_that_its_plugin_knows_and_that_are_enough(rules):
    """A multiple of 1024 from 2048 to 8192 goes with one processor; anything else is turned into 2048."""
    profile = yaml.safe_load(BATCH.read_text())
    models = 5000  # memory_mb of the demo and 2,000
    for name, body in rules.items():
        wanted = re.search(r"mem_mb=memory\((.+)\)", body)[1]
        wanted = int(wanted) if wanted.isdigit() else models
        given = profile["set-resources"].get(name, {}).get("mem_mb", 2048)
        assert wanted <= given and given in range(2048, 8193, 1024), name


def test_the_profile_alone_decides_how_often_a_job_is_tried(rules):
    """Under Slurm, a rule's own retries would repeat it in the allocation that was too small for it."""
    assert not [name for name, body in rules.items() if re.search(r"^    retries:", body, flags=re.MULTILINE)]
