"""What pairs and composites of motifs do beyond their motifs alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from marginome.errors import MarginomeError

_CASE = ["model", "background", "collection", "output", "measure"]


def motifs_alone(table: pd.DataFrame) -> np.ndarray:
    """Return where the two motifs of every pair stand alone.

    Parameters
    ----------
    table : pandas.DataFrame
        As `interaction` takes it.

    Returns
    -------
    numpy.ndarray
        Int64, shape (rows, 2): the row of the motif that the pair is named after, and that of its partner, at the
        places that they have in the pair; -1 for rows that are no pairs.

    Raises
    ------
    MarginomeError
        A pair whose motif alone is not in the table.
    """
    columns = [name for name in [*_CASE, "sample"] if name in table.columns]
    cases = table[columns].astype(object).where(table[columns].notna(), None)
    case = cases.groupby(columns, dropna=False, sort=False).ngroup().tolist() if columns else [0] * len(table)
    paired = table["partner_id"].notna().tolist()
    motif, strand, start = (table[name].tolist() for name in ("motif_id", "orientation", "start"))
    partner, turned, gap = (table[name].tolist() for name in ("partner_id", "partner_orientation", "gap"))
    order = table["order"].tolist() if "order" in table else ["given"] * len(table)
    inserts = table["insert"].tolist()
    alone = {}
    widths: dict[tuple, set[int]] = {}
    for i, is_pair in enumerate(paired):
        if not is_pair:
            alone[case[i], motif[i], strand[i], int(start[i]), inserts[i]] = i
            widths.setdefault((case[i], motif[i], strand[i]), set()).add(len(inserts[i]))

    found = np.full((len(table), 2), -1, dtype=np.int64)
    for i, is_pair in enumerate(paired):
        if not is_pair:
            continue
        names = [(motif[i], strand[i]), (partner[i], turned[i])]
        if order[i] == "swapped":
            names.reverse()
        for width in sorted(widths.get((case[i], *names[0]), ())):
            begin = width + int(gap[i])
            left = alone.get((case[i], *names[0], int(start[i]), inserts[i][:width]))
            right = alone.get((case[i], *names[1], int(start[i]) + begin, inserts[i][begin:]))
            if left is not None and right is not None:
                found[i] = (right, left) if order[i] == "swapped" else (left, right)
                break
        else:
            raise MarginomeError(
                f"the pair with '{partner[i]}', gap {gap[i]}, start {start[i]}, lacks a motif alone",
                where=f"motif '{motif[i]}'",
                remedy="Keep the rows of both motifs alone, at the starts that they have in the pair.",
            )
    return found


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
    found = motifs_alone(table)
    pairs = np.flatnonzero(found[:, 0] >= 0)
    first, second = found[pairs].T
    effect = table["effect"].to_numpy(dtype=np.float64)
    result = np.full((len(table), 2), np.nan)
    result[pairs, 0] = effect[pairs] - effect[first] - effect[second]
    if effects is not None and effects.shape[1] > 1:
        for some in np.array_split(np.arange(len(pairs)), len(pairs) // 4096 + 1):
            beyond = np.asarray(effects[pairs[some]], dtype=np.float64) - effects[first[some]] - effects[second[some]]
            result[pairs[some], 1] = beyond.std(axis=1, ddof=1) / np.sqrt(effects.shape[1])
    return pd.DataFrame(result, index=table.index, columns=["interaction", "interaction_se"])


def beside_sum(table: pd.DataFrame, effect: np.ndarray, singles: np.ndarray | None = None) -> pd.DataFrame:
    """Compare composites with the sum of their motifs alone, of one model, output and background set.

    Parameters
    ----------
    table : pandas.DataFrame
        An insert list of `marginome.composites.composite_table`: ``parts`` holds the rows of a composite's motifs,
        null for other rows.
    effect : numpy.ndarray, shape (rows,)
        Mean effect of each insert.
    singles : numpy.ndarray, shape (rows, backgrounds), optional
        Effect in every background; gives the standard error.

    Returns
    -------
    pandas.DataFrame
        ``effect``, ``additive``, ``beyond``, ``beyond_se`` of the composites, with the index of `table`.
    """
    rows = np.flatnonzero(table["parts"].notna())
    made = {name: np.full(len(rows), np.nan) for name in ("additive", "beyond_se")}
    for i, (row, parts) in enumerate(zip(rows, table["parts"].iloc[rows])):
        parts = np.asarray(parts, dtype=np.int64)
        made["additive"][i] = effect[parts].sum()
        if singles is not None and singles.shape[1] > 1:
            beyond = singles[row].astype(np.float64) - singles[parts].astype(np.float64).sum(axis=0)
            made["beyond_se"][i] = beyond.std(ddof=1) / np.sqrt(len(beyond))
    found = pd.DataFrame({"effect": effect[rows], **made}, index=table.index[rows])
    return found.assign(beyond=found["effect"] - found["additive"])
