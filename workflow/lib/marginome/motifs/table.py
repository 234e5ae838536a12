"""Motifs as a table and back, and one motif among others by its id or name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from marginome.errors import MarginomeError
from marginome.motifs.motif import Motif


def find_motif(motifs: Sequence[Motif], wanted: str, *, where: str | None = None) -> Motif:
    """Return the motif of that id, or else the only one of that name."""
    named = [motif for motif in motifs if motif.motif_id == wanted]
    named = named or [motif for motif in motifs if motif.motif_name.lower() == wanted.lower()]
    if not named:
        names = sorted({name for motif in motifs for name in (motif.motif_id, motif.motif_name)})
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
        raise MarginomeError(
            f"there is no motif '{wanted}' among {len(motifs)}",
            where=where,
            remedy=f"Did you mean {' or '.join(close)}?" if close else "Give an id or a name of the collection.",
        )
    if len(named) > 1:
        raise MarginomeError(
            f"{len(named)} motifs are named '{wanted}'",
            where=where,
            remedy=f"Give the id: {', '.join(motif.motif_id for motif in named[:10])}.",
        )
    return named[0]


def motif_table(motifs: Sequence[Motif]) -> pd.DataFrame:
    """Return one row per motif, from which `motifs_from_table` makes the motifs again, bit for bit.

    Returns
    -------
    pandas.DataFrame
        ``motif_id, motif_name, width`` (bp)``, information_bits, consensus, sequence`` (null unless
        given)``, source, line, format, pwm`` (list of width x 4 probabilities, position by position).
    """
    return pd.DataFrame(
        {
            "motif_id": [m.motif_id for m in motifs],
            "motif_name": [m.motif_name for m in motifs],
            "width": np.array([m.width for m in motifs], dtype=np.int64),
            "information_bits": np.array([m.information_bits for m in motifs], dtype=np.float64),
            "consensus": [m.consensus for m in motifs],
            "sequence": pd.Series([m.sequence for m in motifs], dtype=object),
            "source": [m.source for m in motifs],
            "line": np.array([m.line for m in motifs], dtype=np.int64),
            "format": [m.format for m in motifs],
            "pwm": [m.pwm.ravel() for m in motifs],
        }
    )


def motifs_from_table(table: pd.DataFrame) -> list[Motif]:
    """Make the motifs of a table of `motif_table` again."""
    return [
        Motif(
            row.motif_id,
            row.motif_name,
            np.asarray(row.pwm, dtype=np.float64).reshape(-1, 4),
            row.source,
            int(row.line),
            row.format,
            row.sequence if isinstance(row.sequence, str) else None,
        )
        for row in table.itertuples(index=False)
    ]
