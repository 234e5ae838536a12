"""Jobs in an image. There is no container engine here: a script in the place of apptainer records how it is called."""

from __future__ import annotations

import os
from pathlib import Path

from workspace import Workspace, small_config

APPTAINER = """#!/bin/bash
echo "$@" >> {calls}
[ "$1" = --version ] && {{ echo "apptainer version 1.3.0"; exit; }}
while [[ "$1" != *.sif ]]; do shift; done
shift
exec "$@"
"""


def test_the_image_of_the_config_is_what_jobs_run_in(tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    engine = tmp_path / "bin" / "apptainer"
    engine.parent.mkdir()
    engine.write_text(APPTAINER.format(calls=calls))
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:{os.environ['PATH']}")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "marginome.sif").touch()
    space = Workspace(folder, {**small_config(), "container": "marginome.sif"})
    space.run("motifs", "--sdm", "apptainer", "--apptainer-args= --nv")
    started = [line for line in calls.read_text().splitlines() if line.startswith("exec")]
    assert len(started) == 1 and "--nv" in started[0].split()
    assert Path(started[0].split(" bash -c ")[0].split()[-1]).name == "marginome.sif"
    assert (folder / "results" / "motifs" / "jaspar.parquet").exists()
