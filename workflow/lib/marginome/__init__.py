"""marginome: in-silico motif marginalization of sequence-to-function models.

Names are loaded when first used, so that a Snakefile (or a tool that only checks a config) imports
this package without importing PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginome.attribution_names import ATTRIBUTIONS
from marginome.caches import redirect_caches
from marginome.lazy import loader

redirect_caches()  # before numba is imported, which decides at once

__version__ = "0.1.0"

# public name -> module that holds it
_PUBLIC = {
    "MarginomeError": "errors",
    "one_hot_encode": "sequences",
    "one_hot_decode": "sequences",
    "random_one_hot": "sequences",
    "reverse_complement": "sequences",
    "substitute": "substitution",
    "multisubstitute": "substitution",
    "shuffle": "shuffles",
    "dinucleotide_shuffle": "shuffles",
    "predict": "prediction",
    "Readout": "prediction",
    "marginalize": "marginalization",
    "marginalize_annotations": "marginalization",
    "marginalize_many": "marginalization",
    "space": "spacing",
    "find_unsupported_operations": "attribution",
    "recursive_seqlets": "seqlets",
    "tfmodisco_seqlets": "seqlets",
    "plot_logo": "logos",
    "difference": "effects",
    "log2_fold_change": "effects",
    "euclidean": "effects",
    "jensen_shannon_distance": "effects",
    "load_model": "models",
    "read_motifs": "motifs",
    "list_inserts": "inserts",
    "interaction": "interactions",
    "make_background": "backgrounds",
    "summarize_effects": "confidence",
    "backgrounds_needed": "confidence",
    "score_effects": "insert_nulls",
    "score_values": "nulls",
    "add_q": "discoveries",
    "controls_needed": "discoveries",
    "agreement": "agreements",
    "consensus": "agreements",
    "compare_tables": "jobs.compare_screen",
    "list_controls": "controls",
    "motif_families": "families",
    "read_screen": "results",
    **dict.fromkeys(ATTRIBUTIONS, "attribution.functions"),
}

__all__ = ["__version__", *sorted(_PUBLIC)]

if not TYPE_CHECKING:
    __getattr__ = loader(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(__all__)
