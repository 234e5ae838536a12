"""Attributions: DeepLIFT/SHAP of any model, with completeness checked for every (sequence, reference) pair.

- ``deep_lift_shap.py``: the function, its arguments and batches;
- ``passes.py``: the pass over sequences and that over their references;
- ``recording.py``, ``attaching.py``: seeing a model's operations, and attaching rules to them;
- ``rules.py``: the mathematics of each operation;
- ``edited.py``: edited backgrounds against the backgrounds themselves, on what an edit changes only.
"""

from marginome.attribution.deep_lift_shap import (
    Attributions,
    AttributionsDeltas,
    AttributionsReferences,
    deep_lift_shap,
)
from marginome.attribution.edited import EditAttributions, EditAttributor
from marginome.attribution.unsupported import find_unsupported_operations

__all__ = [
    "Attributions",
    "AttributionsDeltas",
    "AttributionsReferences",
    "EditAttributions",
    "EditAttributor",
    "deep_lift_shap",
    "find_unsupported_operations",
]
