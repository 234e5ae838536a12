"""Attributions: DeepLIFT/SHAP of any model, with completeness checked for every (sequence, reference) pair.

- ``deep_lift_shap.py``: the function, its arguments and batches;
- ``recording.py``: seeing a model's operations, and attaching rules to them;
- ``rules.py``: the mathematics of each operation;
- ``edited.py``: edited backgrounds against the backgrounds themselves, on what an edit changes only.
"""

from marginome.attribution.deep_lift_shap import (
    Attributions,
    AttributionsDeltas,
    AttributionsReferences,
    deep_lift_shap,
    find_unsupported_operations,
)
from marginome.attribution.edited import EditAttributions, EditAttributor

__all__ = [
    "Attributions",
    "AttributionsDeltas",
    "AttributionsReferences",
    "EditAttributions",
    "EditAttributor",
    "deep_lift_shap",
    "find_unsupported_operations",
]
