"""The shipped profiles: a site's own holds, and what they name exists."""

from __future__ import annotations

import re

import pytest
import yaml

from workspace import ROOT

DEFAULT = ROOT / "profiles" / "default" / "profile.yaml"
SLURM = ROOT / "profiles" / "slurm" / "profile.yaml"


@pytest.fixture(scope="module")
def rules() -> dict[str, str]:
    """Text of each rule by its name."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    parts = re.split(r"^(?:rule (\w+):|use rule (\w+) as (\w+) with:)$", text, flags=re.MULTILINE)[1:]
    found = list(zip(*(parts[i::4] for i in range(4))))
    own = {name: body for name, _, _, body in found if name}
    return own | {derived: own[base] + body for _, base, derived, body in found if derived}


def test_nothing_in_the_repository_shadows_or_overrides_a_profile_named_slurm():
    for name in ("slurm", "default"):  # Snakemake would take such a folder for the profile
        assert not (ROOT / name).exists()
    # It is merged into every other profile and wins: what a site decides must not be in it.
    assert set(yaml.safe_load(DEFAULT.read_text())) == {"rerun-triggers", "rerun-incomplete", "show-failed-logs"}


def test_the_slurm_profile_names_every_gpu_rule_and_only_rules_that_exist(rules):
    gpu = {name for name, body in rules.items() if "**gpus()" in body}
    assert {"marginalize", "attribute", "apply_elements_after"} <= gpu
    text = SLURM.read_text()
    offered = yaml.safe_load(
        re.sub(r"^# ?", "", text[text.index("# set-resources:") :], flags=re.MULTILINE).split("\n\n")[0]
    )
    assert set(offered["set-resources"]) == gpu
    groups = yaml.safe_load(text)["groups"]
    assert set(groups) <= set(rules) - gpu  # a group with two GPU rules could ask for two GPUs
    assert "write_overview" not in groups  # would join all screens into one job


def test_the_profile_alone_decides_how_often_a_job_is_tried(rules):
    """Under Slurm, a rule's own retries would repeat it in the allocation that was too small for it."""
    assert not [name for name, body in rules.items() if re.search(r"^    retries:", body, flags=re.MULTILINE)]
