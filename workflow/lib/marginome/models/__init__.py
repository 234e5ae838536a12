"""Trained models of other people's code, loaded from a config entry. Importing this package imports no PyTorch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_PUBLIC = {"load_model": "loading", "LoadedModel": "loading", "Output": "outputs", "Argument": "arguments"}

__all__ = ["Argument", "LoadedModel", "Output", "load_model"]

if TYPE_CHECKING:
    from marginome.models.arguments import Argument
    from marginome.models.loading import LoadedModel, load_model
    from marginome.models.outputs import Output
else:

    def __getattr__(name: str):
        """Import the module that holds a public name when the name is first used."""
        if name not in _PUBLIC:
            raise AttributeError(f"module 'marginome.models' has no attribute {name!r}")
        return getattr(importlib.import_module(f"marginome.models.{_PUBLIC[name]}"), name)
