"""The tools' own word on the code: ruff, snakefmt, Snakemake's linter."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from workspace import ROOT


def _run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("snakefmt", "--check", "Snakefile", "workflow/rules"),
    ],
    ids=["ruff check", "ruff format", "snakefmt"],
)
def test_a_tool_is_content(command):
    done = _run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_snakemakes_linter_is_content():
    done = _run("snakemake", "--lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Congratulations" in done.stdout + done.stderr


def test_scripts_are_one_library_call():
    for script in (ROOT / "scripts").glob("*.py"):
        assert len(script.read_text().splitlines()) <= 40, script.name


def test_a_rules_job_is_in_a_file_of_the_rules_name():
    """The folder of jobs lists the flow; what applies functions before and after an insert is one job."""
    for script in (ROOT / "scripts").glob("*.py"):
        job = {"apply_before": "apply_functions", "apply_after": "apply_functions"}.get(script.stem, script.stem)
        assert f"from marginome.jobs.{job} import" in script.read_text(), script.name


def test_no_result_of_a_rule_is_ancient_to_another():
    """Below a job that runs Snakemake looks at no params, and ancient input makes no job run: changes are missed."""
    marked = [
        (rules.name, line.strip())
        for rules in sorted((ROOT / "workflow" / "rules").glob("*.smk"))
        for line in rules.read_text().splitlines()
        if re.search(r"\b(ancient|inputs)\(", line.partition("#")[0])
    ]
    assert len(marked) >= 4
    assert [(name, line) for name, line in marked if "rules." in line or "results" in line] == []


def test_no_two_test_files_have_one_name():
    """Pytest imports them by name alone, and would collect neither."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) > 90 and len(set(names)) == len(names)
