"""Several motifs at several distances: what a model makes of each arrangement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from marginome.errors import MarginomeError
from marginome.marginalization import marginalize_many
from marginome.prediction import map_structure, predict
from marginome.sequences import DNA, validate_one_hot
from marginome.substitution import NamedMotif, arrange, insert_start, put


class Spacing(NamedTuple):
    """What a function returned before and after; unpacks as ``y_before, y_afters``.

    Attributes
    ----------
    y_before : tensor or nested list, tuple, dict of tensors
        As the function returns it, ``(n, ...)``.
    y_afters : the same
        With an axis for the spacings behind that of the backgrounds, ``(n, spacings, ...)``.
    """

    y_before: Any
    y_afters: Any


def space(
    model: torch.nn.Module,
    X: torch.Tensor,
    motifs: Sequence[str | torch.Tensor | NamedMotif],
    spacing: torch.Tensor | np.ndarray | Sequence[Sequence[int]],
    start: int | None = None,
    alphabet: Sequence[str] = DNA,
    func: Callable = predict,
    additional_func_kwargs: dict | None = None,
    verbose: bool = False,
    *,
    engine: str = "auto",
    **kwargs: Any,
) -> Spacing:
    """Put motifs into backgrounds at each of several spacings; apply a function before (once) and after each.

    Parameters
    ----------
    model, X, alphabet, func, additional_func_kwargs, **kwargs
        As in `marginalize`.
    motifs : sequence of str, Motif or torch.Tensor
        m motifs in their order from left to right; each as in `marginalize`.
    spacing : torch.Tensor, numpy.ndarray or nested list, shape (k, m - 1)
        A row an arrangement: bases of background between each two neighbours (bp, 0 or more).
    start : int, optional
        Position of the first base of the first motif, from 0. By default each arrangement is centred, so that the first
        motif moves with the spacing: give `start` to hold it in its place.
    verbose : bool, default False
        Show progress over the arrangements.
    engine : {"auto", "incremental", "full"}, default "auto"
        As in `marginalize_many`.

    Returns
    -------
    Spacing
        ``y_before`` and ``y_afters``, on the CPU where `func` is `predict`.

    Raises
    ------
    MarginomeError
        No or another number of gaps than motifs have, a gap that is negative or no whole number, an arrangement that
        does not fit (says which), and as in `marginalize`.

    Examples
    --------
    >>> y_before, y_afters = space(model, X, ["GTGACTCATC", "CACTTCC"], [[0], [5], [10]])  # doctest: +SKIP
    """
    validate_one_hot(X, "X")
    gaps = _rows(spacing, len(motifs))
    inserts = [arrange(X, motifs, row, alphabet) for row in gaps]
    names = [f"the arrangement spacing[{i}]" for i in range(len(gaps))]
    starts = [insert_start(X.shape[-1], insert.shape[-1], start, name=name) for insert, name in zip(inserts, names)]
    settings = {**kwargs, **(additional_func_kwargs or {})}
    if all(len(insert) == 1 for insert in inserts):
        shown = {"verbose": verbose} if func is predict and verbose else {}
        before, after = marginalize_many(model, X, inserts, starts, func=func, engine=engine, **shown | settings)
        return Spacing(before, map_structure(lambda y: y.transpose(0, 1), after))
    before, found = func(model, X, **settings), []  # a motif for each background: nothing is shared
    for insert, begin in zip(tqdm(inserts, disable=not verbose, unit="arrangement"), starts):
        found.append(func(model, put(X, insert, begin), **settings))
    return Spacing(before, map_structure(lambda *y: torch.stack(y, dim=1), *found))


def _rows(spacing: torch.Tensor | np.ndarray | Sequence[Sequence[int]], motifs: int) -> list[list[int]]:
    """Return the gaps of each arrangement as int, or say what is wrong with them."""
    try:
        rows = np.asarray(spacing)
    except ValueError:  # rows of different lengths
        rows = np.empty(0)
    if rows.ndim != 2 or len(rows) == 0 or rows.shape[1] != motifs - 1:
        raise MarginomeError(
            f"expected a row of {motifs - 1} gaps for each arrangement of {motifs} motifs, found shape {rows.shape}",
            where="spacing",
            remedy="Of two motifs at three distances: [[0], [5], [10]].",
        )
    if rows.dtype.kind not in "iuf" or (rows != np.round(rows)).any() or (rows < 0).any():
        raise MarginomeError("a gap is a whole number (bp), at least 0", where="spacing")
    return rows.astype(int).tolist()
