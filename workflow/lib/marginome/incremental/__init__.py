"""Running a model on many edits of the same backgrounds, computing only what an edit changes.

`Engine` is what other modules use; ``docs/engine.md`` tells how an operation gets its rule.
"""

from .batches import check_batches
from .edits import Edits
from .engine import Engine, EngineInfo

__all__ = ["Edits", "Engine", "EngineInfo", "check_batches"]
