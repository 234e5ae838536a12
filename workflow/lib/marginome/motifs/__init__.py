"""Motif collections: from files of any common format to one checked list, and to a table and back.

Names are loaded when first used: what takes motifs from a table does not depend on how files are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginome.lazy import loader

_PUBLIC = {
    "FORMATS": "formats",
    "SUM_TOLERANCE": "motif",
    "Motif": "motif",
    "OddMotif": "motif",
    "collect_motifs": "formats",
    "find_motif": "table",
    "motif_table": "table",
    "motifs_from_table": "table",
    "read_jaspar_release": "formats",
    "read_modisco": "formats",
    "read_motifs": "formats",
    "select_motifs": "collection",
}

__all__ = [
    "FORMATS",
    "SUM_TOLERANCE",
    "Motif",
    "OddMotif",
    "collect_motifs",
    "find_motif",
    "motif_table",
    "motifs_from_table",
    "read_jaspar_release",
    "read_modisco",
    "read_motifs",
    "select_motifs",
]

if TYPE_CHECKING:
    from marginome.motifs.collection import select_motifs
    from marginome.motifs.formats import FORMATS, collect_motifs, read_jaspar_release, read_modisco, read_motifs
    from marginome.motifs.motif import SUM_TOLERANCE, Motif, OddMotif
    from marginome.motifs.table import find_motif, motif_table, motifs_from_table
else:
    __getattr__ = loader(__name__, _PUBLIC)
