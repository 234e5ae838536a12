"""Keras models (.h5, .keras) rebuilt in PyTorch: read as JSON and arrays, so nothing in the file is executed.

Covers ChromBPNet (bias, accessibility and combined), BPNet of basepairmodels, and models like
MPRA-DragoNN's or SpliceAI's. Files of Keras 2 and the legacy .h5 of Keras 3 are read. `file` reads a
file and says what is in it, `archive` opens a .keras one, `graph` follows the architecture, `layers`,
`wide_layers` and `activations` build each layer's modules, `settings` checks that no setting of a layer is passed over.
"""

from marginome.models.keras.file import load

__all__ = ["load"]
