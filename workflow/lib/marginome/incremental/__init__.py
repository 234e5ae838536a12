"""Running a model on many edits of the same backgrounds, computing only what an edit changes.

`Engine` is what other modules use; ``docs/engine.md`` tells how an operation gets its rule.
"""

from . import rules  # fills the registry that plans look rules up in
from .edits import Edits
from .engine import Engine, EngineInfo

__all__ = ["Edits", "Engine", "EngineInfo", "rules"]
