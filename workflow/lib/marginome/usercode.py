"""The user's own functions and classes: ``path/to/file.py:name``, loaded only because the config names them."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.storage import sha256_of


def load_user_object(reference: str, *, where: str) -> Any:
    """Load a function or class from a file of the user's.

    Parameters
    ----------
    reference : str
        ``path/to/file.py:name``. The file is run as a module of its own; its folder is on the import path
        while it is loaded, so that it can import its neighbours.
    where : str
        Config key, for messages.

    Returns
    -------
    object
        Whatever has that name in the file; it is callable.

    Raises
    ------
    MarginomeError
        No such file, an error while it runs, no such name, or not callable.
    """
    file, colon, name = reference.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py":
        raise MarginomeError(f"found '{reference}', wanted path/to/file.py:name", where=where)
    if not path.is_file():
        raise MarginomeError(f"the file '{file}' does not exist", where=where)
    module_name = f"marginome_user_{path.stem}_{sha256_of(path)[:12]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        sys.path.insert(0, str(path.resolve().parent))
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            sys.modules.pop(module_name, None)
            raise MarginomeError(
                f"'{file}' stops with {first_line(error)}", where=where, remedy=f"Try: python {file}"
            ) from error
        finally:
            sys.path.remove(str(path.resolve().parent))
    found = getattr(module, name, None)
    if found is None:
        names = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
        raise unknown_name(f"name in {file}", name, names, where=where)
    if not callable(found):
        raise MarginomeError(f"'{name}' in {file} is not a function or class", where=where)
    return found


def check_reference(reference: str, *, where: str) -> None:
    """Check that a file of the user's defines a name, by reading it: nothing in it is run.

    Parameters
    ----------
    reference : str
        ``path/to/file.py:name``.
    where : str
        Config key, for messages.

    Raises
    ------
    MarginomeError
        The file is not Python, or nothing at its top level can be what is named. A file that makes names while it
        runs (``globals``, ``exec``, ``setattr``, ``import *``, a ``__getattr__`` of the module) may make any.
    """
    file, _, name = reference.rpartition(":")
    try:
        tree = ast.parse(Path(file).read_bytes(), filename=file)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise MarginomeError(
            f"'{file}' is not valid Python{f', line {line}' if line else ''}: {getattr(error, 'msg', error)}",
            where=where,
            remedy=f"Try: python {file}",
        ) from None
    except OSError as error:
        raise MarginomeError(f"'{file}' cannot be read ({error.strerror})", where=where) from None
    defined = set(_top_level_names(tree.body))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if name not in defined and not ({"*", "__getattr__"} & defined or {"globals", "vars", "exec", "setattr"} & used):
        callables = [node.name for node in tree.body if isinstance(node, _DEFINITIONS) and node.name[0] != "_"]
        raise unknown_name(f"name in {file}", name, callables, where=where)


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _top_level_names(body: list[ast.stmt]) -> Iterator[str]:
    """Names that the statements of a module bind, also within if, try, with and loops; ``*`` for import *."""
    queue: list[ast.AST] = list(body)
    while queue:
        node = queue.pop()
        if isinstance(node, _DEFINITIONS):
            yield node.name  # what is within is not the module's
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        else:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            queue.extend(ast.iter_child_nodes(node))
