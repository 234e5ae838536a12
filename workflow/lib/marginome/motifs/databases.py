"""Motifs that are in no text file: TF-MoDISco's HDF5 and the JASPAR releases that pyjaspar carries."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import numpy as np

from marginome.errors import MarginomeError, unknown_name
from marginome.hdf5 import Request, read_foreign_hdf5
from marginome.motifs.motif import Motif, OddMotif, normalise


def read_modisco(path: str | os.PathLike, *, trim: float = 0.3) -> list[Motif | OddMotif]:
    """Read the patterns of a TF-MoDISco HDF5 file (modisco-lite), trimmed to what contributes.

    Parameters
    ----------
    path : path
        Written by ``modisco motifs``.
    trim : float, default 0.3
        Positions at both ends are cut off until one whose summed absolute contribution is at least this
        fraction of the pattern's largest, as modisco-lite does for its motif comparison. 0 keeps all.

    Returns
    -------
    list of Motif and OddMotif
        ``motif_id`` is e.g. ``pos_patterns.pattern_0``; positive patterns first, in their order.
    """
    source = str(path)
    contents = read_foreign_hdf5(Request(source, r"(pos|neg)_patterns/[^/]+/(sequence|contrib_scores)"))
    if "metacluster_idx_to_submetacluster_results" in contents.names():
        raise MarginomeError(
            "this is a file of the first TF-MoDISco",
            where=source,
            remedy="Convert it: modisco convert -i old.h5 -o new.h5",
        )
    groups = [name for name in ("pos_patterns", "neg_patterns") if name in contents.attributes]
    if not groups:
        raise MarginomeError(
            f"no pos_patterns or neg_patterns in it (found: {', '.join(contents.names()[:5]) or 'nothing'})",
            where=source,
            remedy="Give the file that 'modisco motifs -o' wrote.",
        )
    motifs: list[Motif | OddMotif] = []
    for group in groups:
        for name in sorted(contents.names(group), key=lambda n: (int(re.sub(r"[^0-9]", "", n)[:9] or 0), n)):
            motif_id = f"{group}.{name}"
            try:
                motifs.append(_pattern(contents.arrays, f"{group}/{name}", motif_id, source, trim))
            except MarginomeError as error:
                motifs.append(OddMotif(motif_id, motif_id, error))
    return motifs


def _pattern(arrays: Mapping[str, np.ndarray], at: str, motif_id: str, source: str, trim: float) -> Motif:
    try:
        frequencies = np.asarray(arrays[f"{at}/sequence"], dtype=np.float64)
        scores = np.abs(np.asarray(arrays[f"{at}/contrib_scores"], dtype=np.float64)).sum(1)
        if frequencies.ndim != 2 or frequencies.shape[1] != 4 or scores.shape != frequencies.shape[:1]:
            raise ValueError(f"sequence has the shape {frequencies.shape}, wanted (width, 4)")
        if not np.isfinite(scores).all():
            raise ValueError("contrib_scores are not finite")
    except (KeyError, TypeError, ValueError, np.exceptions.AxisError) as error:
        raise MarginomeError(
            f"pattern '{motif_id}' cannot be read ({error})",
            where=source,
            remedy="Give the file that 'modisco motifs -o' wrote.",
        ) from None
    kept = np.flatnonzero(scores >= trim * scores.max()) if len(scores) else []
    if not len(kept):
        raise MarginomeError(f"pattern '{motif_id}' is empty", where=source, remedy="Leave it out.")
    pwm = normalise(frequencies[kept[0] : kept[-1] + 1], [0], source=source, motif=motif_id, counts=True)
    return Motif(motif_id, motif_id, pwm, source, 0, "modisco")


def read_jaspar_release(
    release: str | int, *, collection: str = "CORE", tax_group: list[str] | str = ()
) -> list[Motif | OddMotif]:
    """Read a JASPAR release from the installed pyjaspar, which carries the databases: no network.

    Parameters
    ----------
    release : str or int
        Year, e.g. 2026 or "JASPAR2026".
    collection : str, default "CORE"
        E.g. CORE or UNVALIDATED.
    tax_group : str or list of str, default all
        E.g. "vertebrates".

    Returns
    -------
    list of Motif and OddMotif
        The newest version of every matrix, sorted by id; counts normalised per position. UNVALIDATED of 2022 has an
        odd one, with a position of zeros.
    """
    import pyjaspar

    key = str(release).upper()
    key = key if key.startswith("JASPAR") else f"JASPAR{key}"
    if key not in pyjaspar.jaspar_releases:
        raise unknown_name("JASPAR release", key, sorted(pyjaspar.jaspar_releases), where="jaspar.release")
    database = pyjaspar.jaspardb(release=key)
    connection = database.conn
    try:
        have = [row[0] for row in connection.execute("SELECT DISTINCT collection FROM MATRIX ORDER BY 1")]
        if collection not in have:
            raise unknown_name("collection", collection, have, where=f"{key}, jaspar.collection")
        groups = [tax_group] if isinstance(tax_group, str) else list(tax_group)
        query = "SELECT DISTINCT val FROM MATRIX_ANNOTATION WHERE tag = 'tax_group' ORDER BY 1"
        taxa = [row[0] for row in connection.execute(query)]
        for group in groups:
            if group not in taxa:
                raise unknown_name("tax group", group, taxa, where=f"{key}, jaspar.tax_group")
        records = database.fetch_motifs(collection=collection, tax_group=groups or None)
    finally:
        connection.close()
    source = f"{key} {collection} (pyjaspar {pyjaspar.__version__})"
    motifs: list[Motif | OddMotif] = []
    for record in sorted(records, key=lambda r: r.matrix_id):
        matrix = np.array([record.counts[base] for base in "ACGT"], dtype=np.float64).T
        try:
            pwm = normalise(matrix, [0], source=source, motif=record.matrix_id, counts=True)
            motifs.append(Motif(record.matrix_id, record.name, pwm, source, 0, "jaspar"))
        except MarginomeError as error:
            motifs.append(OddMotif(record.matrix_id, record.name, error))
    return motifs
