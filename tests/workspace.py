"""Real runs of Snakemake in a folder of their own, on a small version of the demo."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
import yaml
from filelock import FileLock

from marginome.config import file_places
from marginome.provenance import SOURCES

ROOT = Path(__file__).resolve().parents[1]
RESOURCES = ROOT / "resources"

# The motif the model knows (three matrices of it) and some that it does not.
MOTIFS = ["MA0139.2", "MA1929.2", "MA1930.2", "MA0138.3", "MA0506.3", "MA0035.5", "MA0476.2", "MA0079.5", "MA0095.4",
          "MA0105.4", "MA0106.3", "MA0107.1"]  # fmt: skip


def small_config() -> dict:
    """The demo with a dozen motifs, four backgrounds and few controls."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["motifs"]["jaspar"]["include"] = MOTIFS
    config["block"] = 16  # runs are compared to the last digit
    for background in config["backgrounds"].values():
        background["n"] = 4
    config["screens"]["ctcf_jaspar"]["controls"] = {"pool": 60}
    config["screens"]["ctcf_jaspar"]["shards"] = 1
    return config


def small_elements_config() -> dict:
    """The example of elements with few references, motifs, backgrounds and controls."""
    config = yaml.safe_load((ROOT / "config" / "examples" / "elements.yaml").read_text())
    config = json.loads(json.dumps(config))  # entries that share a YAML anchor become entries of their own
    config["motifs"]["jaspar"]["include"] = ["MA00*", "*CTCF*"]
    config["block"] = 16  # runs are compared to the last digit
    config["backgrounds"]["gc_matched"]["n"] = 4
    for entry in config["attributions"].values():
        entry["shards"] = 1
        entry["references"]["n"] = 4
        entry["annotate"]["shuffles"] = 500
        entry["marginalize"]["controls"] = {"pool": 200}  # q < 0.05 of most takes 40 x tests / findings
    return config


class Workspace:
    """A working directory with the shipped resources and a config, and the commands a user runs in it."""

    def __init__(self, folder: Path, config: dict, *, repository: Path = ROOT):
        self.folder = folder
        self.repository = repository
        self.config = copy.deepcopy(config)
        if not (folder / "resources").exists():
            (folder / "resources").symlink_to(RESOURCES)
        know_sources(folder)
        self.write()

    def write(self) -> None:
        """Write the config as it is now."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))

    def run(self, *arguments: str, cores: int = 1, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        """Run snakemake with this folder's config; the output is in ``stdout`` (both streams)."""
        self.write()
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.repository / "Snakefile"), "--directory",
                   str(self.folder), "--configfile", str(self.folder / "config.yaml"), "--cores", str(cores),
                   "--nocolor", *arguments]  # fmt: skip
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.repository,
            timeout=800,
            **kwargs,
        )
        if check and done.returncode:
            raise AssertionError(f"snakemake failed:\n{done.stdout[-6000:]}")
        return done

    def path(self, *parts: str) -> Path:
        """A path in this folder."""
        return self.folder.joinpath(*parts)


KNOW = """
from marginome.provenance import PACKAGE, import_closure
import_closure(*(".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in PACKAGE.rglob("*.py")))
"""


@functools.cache
def known_sources() -> Path:
    """A file of what is known of the code's own files, which holds in any folder: it goes by their content."""
    subprocess.run([sys.executable, "-c", KNOW], cwd=ROOT, check=True)
    return ROOT / SOURCES


def know_sources(folder: Path) -> None:
    """Have the first run in a folder parse no file of the code, which takes 3 s."""
    if not (folder / SOURCES).exists():
        (folder / SOURCES).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(known_sources(), folder / SOURCES)


def jobs_of(output: str) -> dict[str, int]:
    """The rules that a run (or a dry run) lists in its job table, and how many jobs each has."""
    lines = output.splitlines()
    found: dict[str, int] = {}
    for i, line in enumerate(lines):
        if line.startswith("job ") and "count" in line:
            for row in lines[i + 2 :]:
                name, *count = row.split() or ["total"]
                if name == "total":
                    break
                found[name] = int(count[0])
    return found


def rules_run(output: str) -> set[str]:
    """The rules that a run (or a dry run) lists in its job table."""
    return set(jobs_of(output))


def entry_files(config: dict, section: str, name: str) -> list[str]:
    """The files that one entry of a resolved config names, sorted, each once."""
    return sorted({file for _, files, _ in file_places(config, section, name) for file in files})


def script_processes(folder: Path, rule: str) -> list[int]:
    """Return the processes that run a rule's script in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has ended
            continue
        script = rf"{re.escape(str(folder))}/\.snakemake/scripts/[^/]*\.{rule}\.py"
        if state != "Z" and any(re.fullmatch(script, word) for word in command):
            found.append(int(entry.name))
    return found


def cannot_run(reason: str) -> NoReturn:
    """Skip the calling test for what this machine lacks; fail instead where MARGINOME_REQUIRE_ALL=1 (CI)."""
    if os.environ.get("MARGINOME_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def need(program: str, package: str) -> str:
    """Return where a system program is; the calling test cannot run without it."""
    return shutil.which(program) or cannot_run(f"{program} is not installed (Debian package {package})")


def slurm_lock() -> FileLock:
    """Held by whoever uses the machine's one test cluster, and by whoever takes it down."""
    return FileLock(str(Path(tempfile.gettempdir()) / "marginome-slurm.lock"), timeout=1500)


def slurm_started() -> Path:
    """Exists when this run of the tests started the cluster."""
    return Path(tempfile.gettempdir()) / f"marginome-slurm-{os.environ['MARGINOME_TESTS']}.started"
