"""What a pair of motifs does beyond its two motifs alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from marginome.errors import MarginomeError

_CASE = ["model", "background", "collection", "output", "measure"]


def interaction(table: pd.DataFrame, effects: np.ndarray | None = None) -> pd.DataFrame:
    """Return what a pair does beyond the sum of its two motifs alone, for every pair of an effect table.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of an effect table with ``motif_id, orientation, start, insert, partner_id,
        partner_orientation, gap, order, effect``, and ``sample, model, background, collection, output,
        measure`` where they exist; the motifs alone are among the rows, at the places that they have
        in the pairs (as `list_inserts` lists them).
    effects : numpy.ndarray, shape (rows, n_backgrounds), optional
        Effects of every background, row by row; gives the standard error.

    Returns
    -------
    pandas.DataFrame
        The index of `table`; columns ``interaction`` (the unit of the effect: pair - first alone - second
        alone) and ``interaction_se`` (standard deviation over backgrounds of that difference, over
        the square root of their number). Missing for rows that are not pairs.

    Raises
    ------
    MarginomeError
        A pair whose motif alone is not in the table.
    """
    columns = [name for name in [*_CASE, "sample"] if name in table.columns]
    case = table[columns].astype(object).where(table[columns].notna(), None).itertuples(index=False, name=None)
    keys = list(case)
    paired = table["partner_id"].notna().to_numpy()
    motif, strand, start = (table[name].tolist() for name in ("motif_id", "orientation", "start"))
    inserts, effect = table["insert"].tolist(), table["effect"].to_numpy(dtype=np.float64)
    alone = {
        (keys[i], motif[i], strand[i], int(start[i]), inserts[i]): i for i in range(len(table)) if not paired[i]
    }  # fmt: skip
    widths: dict[tuple, set[int]] = {}
    for key, name, direction, _, sequence in alone:
        widths.setdefault((key, name, direction), set()).add(len(sequence))

    result = np.full((len(table), 2), np.nan)
    for i in np.flatnonzero(paired):
        row = table.iloc[i]
        names = [(motif[i], strand[i]), (row["partner_id"], row["partner_orientation"])]
        if row.get("order") == "swapped":
            names.reverse()
        found = None
        for width in sorted(widths.get((keys[i], *names[0]), ())):
            begin = width + int(row["gap"])
            left = alone.get((keys[i], *names[0], int(start[i]), inserts[i][:width]))
            right = alone.get((keys[i], *names[1], int(start[i]) + begin, inserts[i][begin:]))
            if left is not None and right is not None:
                found = (left, right)
                break
        if found is None:
            raise MarginomeError(
                f"the pair with '{row['partner_id']}', gap {row['gap']}, start {start[i]}, lacks a motif alone",
                where=f"motif '{motif[i]}'",
                remedy="Keep the rows of both motifs alone, at the starts that they have in the pair.",
            )
        result[i, 0] = effect[i] - effect[found[0]] - effect[found[1]]
        if effects is not None:
            beyond = np.asarray(effects[i], dtype=np.float64) - effects[found[0]] - effects[found[1]]
            if len(beyond) > 1:
                result[i, 1] = beyond.std(ddof=1) / np.sqrt(len(beyond))
    return pd.DataFrame(result, index=table.index, columns=["interaction", "interaction_se"])
