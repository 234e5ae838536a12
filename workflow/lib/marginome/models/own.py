"""The user's own code: a class or function of a Python file named in the config."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from marginome.errors import MarginomeError, unknown_name


def code_from_file(reference: str, where: str) -> Any:
    """Import ``path/to/file.py:name`` and return the object of that name.

    The file is run, as any import does; its folder is on the import path while it is, so that it can
    import its neighbours. It is the user's own file, named in the user's own config.

    Raises
    ------
    MarginomeError
        When there is no such file or name, or when the file fails.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if not file.endswith(".py") or not name:
        raise MarginomeError(f"'{reference}' does not name code", where=where, remedy="Write path/to/file.py:name.")
    if not path.is_file():
        raise MarginomeError(
            f"there is no file '{file}'", where=where, remedy="Paths are relative to the working directory."
        )
    resolved = path.resolve()
    module_name = f"marginome_own_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, resolved)
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses and pickles of the file look their module up
        sys.path.insert(0, str(resolved.parent))
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            line = _line_in(error, str(resolved))
            raise MarginomeError(
                f"the file fails when it is imported{line}: {type(error).__name__}: {error}", where=f"{where}: {file}"
            ) from error
        finally:
            sys.path.remove(str(resolved.parent))
    module = sys.modules[module_name]
    if not hasattr(module, name):
        names = [n for n in vars(module) if not n.startswith("_")]
        raise unknown_name("class or function", name, names, where=f"{where}: {file}")
    return getattr(module, name)


def _line_in(error: BaseException, file: str) -> str:
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = f" (line {trace.tb_lineno})"
        trace = trace.tb_next
    return line
