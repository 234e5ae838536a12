"""The attribution functions that a config can name, as figures and pages call them. Imports nothing."""

from __future__ import annotations

#: Name in the config -> how a reader sees it. `marginome.attribution.functions` calls them. The dataset `method` of
#: attributions.h5 counts along this list, so that a new one goes to its end.
ATTRIBUTIONS = {
    "deep_lift_shap": "DeepLIFT/SHAP",
    "saturation_mutagenesis": "saturation mutagenesis",
    "integrated_gradients": "integrated gradients",
}
