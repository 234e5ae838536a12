"""Where the packages that compile code keep it, when the home folder cannot be written. Imports nothing heavy."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

#: What numba, Matplotlib and Triton call their folders.
VARIABLES = {"NUMBA_CACHE_DIR": "numba", "MPLCONFIGDIR": "matplotlib", "TRITON_CACHE_DIR": "triton"}


def redirect_caches() -> None:
    """Point caches that would lie in the home folder to a temporary one, if the home folder cannot be written.

    On a cluster's nodes and in containers it often cannot; without a place for what it compiles, numba refuses to
    import this package from a read-only folder. What the user has set stays.
    """
    try:
        if all(_can_be_written(Path(home).expanduser()) for home in _homes()):
            return
    except (RuntimeError, OSError):  # there is no home, or no way to it
        pass
    try:
        folder = _own_folder()
    except OSError:  # no temporary folder either
        return
    for variable, name in VARIABLES.items():
        os.environ.setdefault(variable, str(folder / name))


def _homes() -> list[str]:
    return [
        os.environ.get("XDG_CACHE_HOME") or "~/.cache",
        os.environ.get("XDG_CONFIG_HOME") or "~/.config",
    ]


def _can_be_written(folder: Path) -> bool:
    """Whether a folder is there to write to, or can be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """A temporary folder that only this user writes to: what lies in it is run."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"marginome-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="marginome-"))


def used_by_jobs(folder: Path) -> None:
    """Have the processes that this one starts import from a folder before all others: the same copy of the library.

    Parameters
    ----------
    folder : Path
        What holds the package: `workflow/lib` of a checkout.
    """
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(folder), *filter(None, others)]))
