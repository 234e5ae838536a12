"""Which module reads the files of a model. Imports no PyTorch: the plan of a run needs it too.

A loader is imported when a model asks for it, and its code counts for that model alone (`headers.reader_modules`).
"""

from __future__ import annotations

#: Loader, as configs name it, to the module of this package whose function ``load`` is called:
#: ``load(file, bias_file, settings, loader, where) -> built.Built``.
LOADERS = {
    "bpnet_lite": "bpnet",
    "chrombpnet": "keras",
    "bpnet_keras": "keras",
    "keras": "keras",
    "beluga": "beluga",
    "cherimoya": "cherimoya",
    "torch_export": "exported",
    "pickled_module": "own",
}
#: Of a function or class of the user's that builds the model (``path/to/file.py:name``).
OWN = "own"
#: Loaders that take ``bias_weights``.
WITH_BIAS = ("bpnet_lite", "chrombpnet", "keras")
