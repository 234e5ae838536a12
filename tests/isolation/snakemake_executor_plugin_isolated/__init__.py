"""An executor for tests: each job is a process in an empty folder, without the checkout and the working directory.

Like a pod it gets Snakemake's source archive and its inputs from the default storage, the interpreter from its machine.
Only the first jobs fetch the archive, as Snakemake has each do; the others get copies of what one of them unpacked, at
one path, and share the library in it: what Python and numba compile beside it would take each job up to 15 s.
It has failed when Python code in it opened a path outside of its folder, the interpreter and the system's own folders.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=True,
    auto_deploy_default_storage_provider=False,  # the plugin is installed, and there is no network
)
PYTHON = Path(sys.prefix).resolve()
# In order: what stays is put aside, what is hidden is covered, what stays is put back; the job's folder has its place.
MOUNTS = """
set -e
mount --make-rprivate /
i=0; for kept in $KEPT; do i=$((i+1)); mkdir -p "$FOLDER/kept$i"; mount --bind "$kept" "$FOLDER/kept$i"; done
for hidden in $HIDDEN; do mount -t tmpfs none "$hidden"; done
i=0; for kept in $KEPT; do i=$((i+1)); mkdir -p "$kept"; mount --bind "$FOLDER/kept$i" "$kept"; done
mount --bind "$FOLDER" "$PLACE"; cd "$PLACE/job"
if [ ! -d "$SOURCES" ]; then
    sh -c "$FETCH"; cp -a . "$SOURCES.$$"; mv -T "$SOURCES.$$" "$SOURCES" || true
fi
cp -a "$SOURCES/." .
mount --bind "$SOURCES/workflow/lib" workflow/lib
exec sh -c "$COMMAND"
"""
SYSTEM = ("/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/", "/var/cache/fontconfig", "/bin/")


class Executor(RemoteExecutor):
    """Runs jobs in folders of their own."""

    def __post_init__(self) -> None:
        self.plugins = os.environ["ISOLATED_PLUGINS"]
        self.common = Path(tempfile.mkdtemp(prefix="isolated-"))
        self.place = self.common / "place"
        self.place.mkdir()
        self.hidden = [os.getcwd(), *os.environ["ISOLATED_HIDDEN"].split(os.pathsep)]

    def run_job(self, job: JobExecutorInterface) -> None:
        """Start a job."""
        folder = Path(tempfile.mkdtemp(prefix="isolated-"))
        for name in ("tmp", "home", "audit", "job"):
            (folder / name).mkdir()
        shutil.copy(Path(__file__).parents[1] / "audit.py", folder / "audit" / "sitecustomize.py")
        # OpenBLAS may be told which processor's code to run: on another one sums round differently.
        kept = ("AWS", "SNAKEMAKE", "LANG", "OPENBLAS")
        environment = {name: value for name, value in os.environ.items() if name.startswith(kept)}
        variables, fetch, command = self.format_job_exec(job).split(" && ")
        assert "--deploy-sources" in fetch and "--target-jobs" in command, (fetch, command)
        environment |= {
            "FOLDER": str(folder), "KEPT": f"{PYTHON} {self.plugins}", "HIDDEN": " ".join(self.hidden),
            "FETCH": f"{variables} && {fetch}", "COMMAND": f"{variables} && {command}", "PLACE": str(self.place),
            "SOURCES": f"{self.common}/sources",
            "PATH": f"{PYTHON}/bin:/usr/bin:/bin", "PYTHONPATH": f"{self.place}/audit:{self.plugins}",
            "HOME": f"{self.place}/home", "TMPDIR": f"{self.place}/tmp", "OPENED": f"{self.place}/opened",
        }  # fmt: skip
        with open(folder / "output", "wb") as output:
            process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", MOUNTS], env=environment, stdout=output, stderr=subprocess.STDOUT, cwd="/"
            )
        self.report_job_submission(SubmittedJobInfo(job, aux={"process": process, "folder": folder}))

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Yield the jobs that are running."""
        for info in active_jobs:
            process, folder = info.aux["process"], info.aux["folder"]
            code = process.poll()
            if code is None:
                yield info
                continue
            strange = outside(folder, self.place)
            if code or strange:
                told = (folder / "output").read_text(errors="replace")[-6000:]
                self.report_job_error(info, msg=f"it ended with {code}; it opened {strange or 'nothing else'}\n{told}")
            else:
                self.report_job_success(info)
            shutil.rmtree(folder)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """End jobs."""
        for info in active_jobs:
            info.aux["process"].terminate()

    def shutdown(self) -> None:
        """Wait for the thread that looks at jobs to end."""
        super().shutdown()
        shutil.rmtree(self.common, ignore_errors=True)


def outside(folder: Path, place: Path) -> list[str]:
    """Return what the Python code of a job opened that is neither its own nor the machine's."""
    machine = (PYTHON, os.environ["ISOLATED_PLUGINS"], Path(sys.base_prefix).resolve())
    paths = set((folder / "opened").read_text().splitlines())
    if not any(path.startswith(f"{place}/job/") for path in paths):
        return ["no file of its own: nothing was watched"]
    allowed = (*SYSTEM, *(f"{where}/" for where in (place, *machine)))
    return sorted(path for path in paths if not path.startswith(allowed))
