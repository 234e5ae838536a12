"""Effects of many models side by side: a row for each insert, or each family of motifs, a column for each model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from marginome.agreements import consensus_of
from marginome.columns import check_columns
from marginome.errors import MarginomeError
from marginome.storage import read_row_groups

#: What tells the inserts of a model apart in a table of `marginome.tables.CONSENSUS`.
INSERT = ("collection", "motif_id", "orientation", "start", "insert", "sample")


class ModelMatrix(NamedTuple):
    """What models say of the same inserts, or of the same families; one output.

    Attributes
    ----------
    output : str
    rows : pandas.DataFrame
        What the n rows are: columns of `INSERT`, or ``collection, family, family_representative``.
    models : tuple of str
        The m models that have the output (or the values of a label, see `label_consensus`).
    effect : numpy.ndarray
        Effects, float64, shape (n, m); NaN where a model has no such row.
    q : numpy.ndarray
        The largest q of the background sets, float64, shape (n, m); NaN without controls.
    """

    output: str
    rows: pd.DataFrame
    models: tuple[str, ...]
    effect: np.ndarray
    q: np.ndarray


def read_matrices(paths: Sequence[str | os.PathLike], *, models: Iterable[str] | None = None) -> list[ModelMatrix]:
    """Read what models say of each insert over their background sets.

    Parameters
    ----------
    paths : sequence of path
        Tables of `marginome.tables.CONSENSUS`, of a batch of models each, or one of all. They are read row group by row
        group, so that memory is that of the matrices: 16 bytes for each insert, model and output.
    models : iterable of str, optional
        Which of the models, in this order; by default all, as they come.

    Returns
    -------
    list of ModelMatrix
        One for each output, in the order of their first rows. Rows are those of any model, in the order in which they
        come; the effect is the mean over background sets.

    Raises
    ------
    MarginomeError
        If a model has an insert twice.
    """
    columns = ["model", "output", *INSERT, "mean", "q_max"]
    wanted = None if models is None else set(models)
    found: dict[str, _Growing] = {}
    for path in paths:
        for group in read_row_groups(path):
            table = group.select([c for c in columns if c in group.schema.names]).to_pandas()
            check_columns(table, columns[:-1], str(path))
            for (model, output), part in table.groupby(["model", "output"], sort=False):
                if wanted is None or model in wanted:
                    found.setdefault(output, _Growing()).add(model, part, str(path))
    order = None if models is None else list(models)
    return [growing.matrix(output, order) for output, growing in found.items()]


class _Growing:
    """A matrix to which models are added one after another. Their rows are mostly the same, in the same order."""

    def __init__(self) -> None:
        self.keys: pd.MultiIndex | None = None
        self.parts: dict[str, list] = {}

    def add(self, model: str, part: pd.DataFrame, where: str) -> None:
        sample = part["sample"].astype("Int64").fillna(-1).astype(np.int64)  # a missing key equals no other
        keys = pd.MultiIndex.from_frame(part[list(INSERT)].assign(sample=sample))
        if not keys.is_unique:
            example = dict(zip(INSERT, keys[keys.duplicated()][0]))
            raise MarginomeError(f"the model '{model}' has an insert twice: {example}", where=where)
        if self.keys is None:
            self.keys = keys
        if not keys.equals(self.keys):
            self.keys = self.keys.append(keys.difference(self.keys, sort=False))
            place = self.keys.get_indexer(keys)
        else:
            place = None
        values = [part[c].to_numpy(dtype=float) if c in part else np.full(len(part), np.nan) for c in ("mean", "q_max")]
        parts = self.parts.setdefault(model, [])
        if parts:
            raise MarginomeError(f"the model '{model}' is in two places", where=where)
        parts.append((place, *values))

    def matrix(self, output: str, order: list[str] | None) -> ModelMatrix:
        models = tuple(self.parts) if order is None else tuple(model for model in order if model in self.parts)
        effect = np.full((len(self.keys), len(models)), np.nan)
        q = effect.copy()
        for column, model in enumerate(models):
            for place, values, qs in self.parts[model]:
                at = slice(len(values)) if place is None else place
                effect[at, column], q[at, column] = values, qs
        rows = self.keys.to_frame(index=False)
        rows["sample"] = rows["sample"].where(rows["sample"] >= 0)
        return ModelMatrix(output, rows, models, effect, q)


class FamilyMatrix(NamedTuple):
    """Families by models, and which insert stands for a family in a model.

    Attributes
    ----------
    matrix : ModelMatrix
        Effect and q of each family's strongest insert.
    strongest : numpy.ndarray
        That insert's row in the matrix of inserts, int64, shape (n_families, n_models); -1 where there is none.
    """

    matrix: ModelMatrix
    strongest: np.ndarray


def family_matrix(inserts: ModelMatrix, families: pd.DataFrame) -> FamilyMatrix:
    """Say of each family of similar motifs what its strongest insert does in each model.

    Parameters
    ----------
    inserts : ModelMatrix
        A row for each insert.
    families : pandas.DataFrame
        Columns ``collection, motif_id, family, family_representative`` (`marginome.list_tables.FAMILIES`).

    Returns
    -------
    FamilyMatrix
        Families in the order of their collections and numbers. The strongest insert is the one with the largest
        absolute effect over members, orientations, positions and samples, model by model; the first of equals.

    Raises
    ------
    MarginomeError
        If a motif is in no family.
    """
    needed = ["collection", "motif_id", "family", "family_representative"]
    check_columns(families, needed, "family_matrix")
    joined = inserts.rows[["collection", "motif_id"]].merge(families[needed], how="left", validate="many_to_one")
    if joined["family"].isna().any():
        motif = joined.loc[joined["family"].isna(), "motif_id"].iloc[0]
        raise MarginomeError(f"the motif '{motif}' is in no family", where="family_matrix")
    named = ["collection", "family", "family_representative"]
    grouped = joined.groupby(named, sort=True)
    number = grouped.ngroup().to_numpy()
    rows = joined[named].assign(number=number).drop_duplicates("number").sort_values("number")[named]
    rows = rows.astype({"family": np.int64}).reset_index(drop=True)
    size = np.where(np.isnan(inserts.effect), -1.0, np.abs(inserts.effect))
    strongest = np.full((len(rows), len(inserts.models)), -1, dtype=np.int64)
    order = np.argsort(number, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        best = members[size[members].argmax(0)]
        here = size[best, np.arange(len(inserts.models))] >= 0
        strongest[number[members[0]], here] = best[here]
    columns = np.arange(len(inserts.models))
    effect, q = (np.where(strongest >= 0, values[strongest, columns], np.nan) for values in inserts[-2:])
    return FamilyMatrix(ModelMatrix(inserts.output, rows, inserts.models, effect, q), strongest)


# ------------------------------------------------------------------------------------------------ labels
def models_by_label(models: Sequence[str], values: Mapping[str, str]) -> dict[str, list[int]]:
    """Return which of some models have each value of a label, by number; models without a value are in none.

    Parameters
    ----------
    models : sequence of str
    values : mapping of str to str
        The label's value by model.

    Returns
    -------
    dict of str to list of int
        Values in the order of their first models.
    """
    found: dict[str, list[int]] = {}
    for i, model in enumerate(models):
        if model in values:
            found.setdefault(values[model], []).append(i)
    return found


def label_consensus(matrix: ModelMatrix, values: Mapping[str, str]) -> tuple[pd.DataFrame, ModelMatrix]:
    """Say for each insert what all models with one value of a label say together.

    Parameters
    ----------
    matrix : ModelMatrix
        Inserts by models.
    values : mapping of str to str
        The label's value by model, e.g. its tissue.

    Returns
    -------
    table : pandas.DataFrame
        For each value, in the order of its first model: ``value, output``, the columns of `INSERT`, ``n_models`` and
        what `marginome.agreements.consensus` says, with models in place of background sets. Inserts that no model of a
        value has are left out. ``q_max`` is the largest of all models and background sets.
    means : ModelMatrix
        The mean effect of each insert over the models of each value, values in place of models, with that q.
    """
    groups = models_by_label(matrix.models, values)
    shape = (len(matrix.rows), len(groups))
    effect, q, parts = np.full(shape, np.nan), np.full(shape, np.nan), []
    for column, (value, members) in enumerate(groups.items()):
        wide, qs = pd.DataFrame(matrix.effect[:, members]), pd.DataFrame(matrix.q[:, members])
        told = consensus_of(wide[wide.notna().any(axis=1)], qs[wide.notna().any(axis=1)])
        effect[told.index, column], q[told.index, column] = told["mean"], told["q_max"]
        here = matrix.rows.loc[told.index].assign(value=value, output=matrix.output)
        parts.append(pd.concat([here, told.rename(columns={"n_sets": "n_models"})], axis=1))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table, ModelMatrix(matrix.output, matrix.rows, tuple(groups), effect, q)


# ------------------------------------------------------------------------------------------------ specificity
class Tau(NamedTuple):
    """How specific each row is; arrays of shape (n,).

    Attributes
    ----------
    tau : numpy.ndarray
        From 0 (the same in all) to 1 (in one alone), float64. NaN with fewer than two values, or where all are 0.
    direction : numpy.ndarray
        +1 or -1: the sign of the value that is largest in size, to which tau refers; 0 where tau is NaN.
    n : numpy.ndarray
        Values that are not missing, int64.
    """

    tau: np.ndarray
    direction: np.ndarray
    n: np.ndarray


def tau(values: np.ndarray) -> Tau:
    """Return the tau index of specificity of each row.

    Parameters
    ----------
    values : numpy.ndarray
        Effects in m models (tissues, labels), shape (n, m), of one unit. NaN is left out.

    Returns
    -------
    Tau

    Notes
    -----
    ``tau = sum_i (1 - x_i / max_j x_j) / (n - 1)`` over the n values of a row (Yanai et al. 2005, Bioinformatics
    21:650), which is made for expression, never negative. Effects may be. So a row is looked at in one direction, that
    of its largest absolute value: values are multiplied by that sign, and what is then below 0 counts as 0. A motif
    that represses in one tissue and does nothing elsewhere has tau 1 and direction -1. One that activates in half of
    the tissues and represses as strongly in the others has that of half of them.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise MarginomeError(f"has shape {values.shape}, wanted (rows, models)", where="tau")
    known = ~np.isnan(values)
    n = known.sum(1)
    filled = np.where(known, values, 0.0)
    largest = np.abs(filled).argmax(1) if values.shape[1] else np.zeros(len(values), dtype=int)
    top = filled[np.arange(len(values)), largest] if values.shape[1] else np.zeros(len(values))
    direction = np.sign(top)
    defined = (n > 1) & (top != 0)
    share = np.clip(filled * direction[:, None], 0, None) / np.where(defined, np.abs(top), 1.0)[:, None]
    index = (n - share.sum(1)) / np.maximum(n - 1, 1)
    return Tau(np.where(defined, index, np.nan), np.where(defined, direction, 0.0), n)


def specificity(matrix: ModelMatrix, *, q: float = 0.05) -> pd.DataFrame:
    """Say how specific each row is, and where it is strongest.

    Parameters
    ----------
    matrix : ModelMatrix
        Families (or inserts) by models, or by the values of a label.
    q : float, default 0.05
        Where a row counts as found.

    Returns
    -------
    pandas.DataFrame
        The columns of `matrix.rows`, then ``output, n, tau, direction`` (`tau`), ``strongest_in`` (the model or value
        with the largest absolute effect), ``strongest`` (that effect) and ``n_found`` (models with a q of at most `q`;
        null without controls). Most specific first.
    """
    found = tau(matrix.effect)
    size = np.where(np.isnan(matrix.effect), -1.0, np.abs(matrix.effect))
    at = size.argmax(1)
    tested = ~np.isnan(matrix.q)
    counts = np.where(tested.any(1), (tested & (matrix.q <= q)).sum(1), np.nan)
    names = np.where(found.n > 0, np.array(matrix.models, dtype=object)[at], None)
    table = matrix.rows.assign(
        output=matrix.output, n=found.n, tau=found.tau, direction=found.direction.astype(np.int64), strongest_in=names,
        strongest=matrix.effect[np.arange(len(at)), at], n_found=pd.array(counts, dtype="Float64").astype("Int64"),
    )  # fmt: skip
    return table.sort_values("tau", ascending=False, kind="stable").reset_index(drop=True)
