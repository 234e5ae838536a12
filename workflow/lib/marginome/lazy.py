"""Public names of a package, each loaded when it is first used: what needs one does not depend on what others need."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def loader(package: str, public: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    public : mapping of str to str
        Public name -> module that holds it, relative to the package.

    Returns
    -------
    callable
        Imports the module of a name and keeps what it found; AttributeError for a name that is not public.
    """

    def load(name: str) -> Any:
        if name not in public:
            raise AttributeError(f"module '{package}' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{public[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
