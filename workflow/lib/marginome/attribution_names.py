"""The attribution functions that a config can name, as figures and pages call them. Imports nothing."""

from __future__ import annotations

#: Name in the config -> how a reader sees it. `marginome.attribution.functions` calls them. A new one goes to the end.
ATTRIBUTIONS = {
    "deep_lift_shap": "DeepLIFT/SHAP",
    "saturation_mutagenesis": "saturation mutagenesis",
    "integrated_gradients": "integrated gradients",
}
#: What the dataset `method` of attributions.h5 is an index into.
METHODS = tuple(ATTRIBUTIONS)
