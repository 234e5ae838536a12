"""What an edit reruns: what it can change, no more. Dry runs on copies of the repository and a finished run."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from workspace import RESOURCES, ROOT, Workspace, jobs_of, rules_run, small_config

pytestmark = pytest.mark.workflow
REPORTING = {
    "plot_screen", "report_screen", "report_background", "report_model", "write_overview", "write_provenance", "all",
}  # fmt: skip


@pytest.fixture
def copied(finished, tmp_path):
    """A finished working directory and the repository it was made with, both free to be changed."""
    repository = tmp_path / "repository"
    repository.mkdir()
    shutil.copy2(ROOT / "Snakefile", repository)
    for name in ("workflow", "scripts", "envs", "profiles", "config"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    (tmp_path / "work" / "resources").unlink()
    shutil.copytree(RESOURCES, tmp_path / "work" / "resources")
    return Workspace(tmp_path / "work", small_config(), repository=repository)


def _planned(workspace) -> set[str]:
    return rules_run(workspace.run("-n").stdout)


def _edit(path, old, new):
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1))


def test_what_can_change_nothing_reruns_nothing(copied):
    assert _planned(copied) == set()
    library = copied.repository / "workflow" / "lib" / "marginome"
    _edit(library / "jobs" / "marginalize.py", "from __future__", "# a comment\nfrom __future__")
    _edit(library / "jobs" / "marginalize.py", '"""One shard', '"""A shard')
    caption = copied.repository / "workflow" / "report" / "heatmap.rst"
    caption.write_text(caption.read_text() + "\nOne more sentence.\n")
    for file in [
        copied.path("resources/models/bpnet_ctcf_k562_2114.state_dict.pt"),
        copied.path("resources/genome/hg19_chr20_piece.fa.gz"),
        *(copied.repository / "scripts").iterdir(),
    ]:
        os.utime(file)  # newer than every result
    assert _planned(copied) == set()


def test_snakemake_looks_for_jobs_when_one_ends(copied):
    for page in copied.path("results").rglob("*.html"):
        page.unlink()
    said = copied.run("--verbose").stdout
    jobs = sum(jobs_of(said).values())
    assert jobs >= 5 and said.count("Ready jobs") <= jobs + 2


def test_an_edit_of_the_marginalization_reruns_what_depends_on_it(copied):
    module = copied.repository / "workflow" / "lib" / "marginome" / "jobs" / "marginalize.py"
    module.write_text(module.read_text() + "\nCHANGED = 1\n")
    planned = _planned(copied)
    assert {"marginalize", "summarize_screen", "all"} <= planned
    assert not planned & {"make_background", "collect_motifs", "check_model", "list_inserts"}


def test_a_line_that_a_shard_does_not_run_costs_no_shard(copied):
    """Of a comparison, of readers of other models, of what draws: hours of GPU would be for nothing."""
    library = copied.repository / "workflow" / "lib" / "marginome"
    for name in ("agreements.py", "figures/heatmap.py", "models/keras/layers.py", "models/beluga.py"):
        (library / name).write_text((library / name).read_text() + "\nCHANGED = 1\n")
    planned = _planned(copied)
    assert {"summarize_screen", "plot_screen"} <= planned
    assert not planned & {"check_model", "predict_baseline", "list_inserts", "marginalize", "summarize_batch"}


def test_a_motif_reader_that_no_file_wants_makes_nothing_anew(copied):
    motifs = copied.repository / "workflow" / "lib" / "marginome" / "motifs"
    _edit(motifs / "formats.py", '    "meme": "meme",\n', '    "meme": "meme",\n    "mine": "mine",\n')
    _edit(
        motifs / "formats.py",
        "    first = head[0]",
        '    if "MINE" in head:\n        return "mine"\n    first = head[0]',
    )
    (motifs / "mine.py").write_text("def read_mine(text, source):\n    yield from ()\n")
    _edit(motifs / "transfac.py", "most = max(6,", "most = max(7,")
    assert _planned(copied) == set()


def test_a_model_format_that_no_model_wants_makes_nothing_anew(copied):
    models = copied.repository / "workflow" / "lib" / "marginome" / "models"
    _edit(models / "loaders.py", '    "beluga": "beluga",\n', '    "beluga": "beluga",\n    "mine": "mine",\n')
    (models / "mine.py").write_text("def load(file, bias_file, settings, loader, where):\n    return None\n")
    assert _planned(copied) == set()


def test_an_edit_of_what_reads_a_collections_files_makes_it_anew(copied):
    module = copied.repository / "workflow" / "lib" / "marginome" / "motifs" / "meme.py"
    module.write_text(module.read_text() + "\nCHANGED = 1\n")
    planned = _planned(copied)
    assert {"collect_motifs", "list_inserts", "marginalize", "summarize_screen"} <= planned
    assert not planned & {"make_background", "check_model", "predict_baseline"}


def test_an_edit_of_what_reads_the_model_checks_it_again(copied):
    module = copied.repository / "workflow" / "lib" / "marginome" / "models" / "bpnet.py"
    module.write_text(module.read_text() + "\nCHANGED = 1\n")
    planned = _planned(copied)
    assert {"check_model", "predict_baseline", "marginalize"} <= planned
    assert not planned & {"make_background", "collect_motifs", "list_inserts"}


def test_an_edit_of_a_figure_of_the_screens_page_reruns_that_page(copied):
    script = copied.repository / "workflow" / "lib" / "marginome" / "report" / "screen" / "assets" / "heatmap.js"
    script.write_text(script.read_text() + "\n/* changed */\n")
    assert _planned(copied) == {"report_screen", "write_overview", "all"}


def test_an_edit_of_the_report_reruns_the_report(copied):
    template = copied.repository / "workflow" / "lib" / "marginome" / "report" / "assets" / "style.css"
    template.write_text(template.read_text() + "\n/* changed */\n")
    planned = _planned(copied)
    assert "report_screen" in planned and planned <= REPORTING


def test_a_title_reruns_the_overview_alone(copied):
    copied.config["report"]["title"] = "Another title"
    assert _planned(copied) == {"write_overview", "all"}


def test_another_model_file_under_the_same_name_reruns_what_used_it(copied):
    import torch

    path = copied.path("resources/models/bpnet_ctcf_k562_2114.state_dict.pt")
    weights = torch.load(path, weights_only=True)
    weights["linear.bias"] += 1
    torch.save(weights, path)
    os.utime(path, (1, 1))  # older than every result: the content decides
    planned = _planned(copied)
    assert {"check_model", "predict_baseline", "marginalize", "summarize_screen"} <= planned
    assert not planned & {"make_background", "collect_motifs"}


def test_a_changed_setting_reruns_its_part(copied):
    copied.config["backgrounds"]["gc_matched"]["n"] = 5
    planned = _planned(copied)
    assert {"make_background", "predict_baseline", "marginalize"} <= planned
    assert not planned & {"collect_motifs", "check_model"}


def test_pathvars_say_where_everything_goes(workspace):
    workspace.config["pathvars"] = {"results": "out/tables", "logs": "out/logs"}
    told = workspace.run("-n", "-p").stdout
    lines = re.findall(r"^    (?:output|log|benchmark): (.+)$", told, re.MULTILINE)
    folders = {"/".join(file.split("/")[:2]) for line in lines for file in line.split(", ")}
    assert {folder for folder in folders if not folder.startswith("benchmarks/")} == {"out/tables", "out/logs"}
    assert not re.search(r"\bresults/|<results>", told)
    workspace.config["pathvars"] = {"results": "out/<x>"}
    told = workspace.run("-n", check=False).stdout
    assert "Traceback" not in told and "out/<x>" in told
