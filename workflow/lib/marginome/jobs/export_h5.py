"""Sequences and attributions of an entry as HDF5 in ChromBPNet's layout."""

from __future__ import annotations

import os

from marginome.attribution_file import open_attributions
from marginome.exports import write_shap_h5


def export_h5(*, attributions: str | os.PathLike, h5: str | os.PathLike) -> None:
    """Write the arrays of an entry as `marginome.exports.write_shap_h5` does.

    Parameters
    ----------
    attributions : path
    h5 : path
        To write.
    """
    with open_attributions(attributions) as found:
        write_shap_h5(h5, found)
