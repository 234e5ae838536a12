"""The columns of every result table, defined once; tables are checked against them when written."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from marginome.errors import MarginomeError
from marginome.storage import atomic, outdated, read_table


class Column(NamedTuple):
    """One column.

    Attributes
    ----------
    name : str
    type : pyarrow.DataType
    description : str
        What it means, with its unit.
    required : bool, default True
        Whether every table has it.
    key : bool, default False
        Whether it tells rows apart: no two rows are equal in all of these.
    """

    name: str
    type: pa.DataType
    description: str
    required: bool = True
    key: bool = False


_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()

_WHAT = [
    Column("model", _TEXT, "Name of the model in the config.", key=True),
    Column("background", _TEXT, "Name of the background set.", key=True),
    Column("collection", _TEXT, "Name of the motif collection (or of the table of annotations or patterns).", key=True),
    Column("motif_id", _TEXT, "Identifier of the motif, unique in its collection.", key=True),
    Column("motif_name", _TEXT, "Name of the motif as its file gives it."),
    Column("orientation", _TEXT, "+ as given, - reverse complement.", key=True),
    Column("start", _INT, "First base of the insert in the background (0-based, bp).", key=True),
    Column(
        "position", _INT, "Number of the place in the config (from 0); widths that are placed alike share it.", False
    ),
    Column("insert", _TEXT, "The bases that were put in; N kept the background's base.", key=True),
    Column("sample", _INT, "Number of the PWM sample; null unless inserts are sampled.", False, key=True),
    Column("partner_id", _TEXT, "Second motif of a pair; null for single motifs.", False, key=True),
    Column("partner_orientation", _TEXT, "Its orientation.", False, key=True),
    Column("gap", _INT, "Bases between the two (bp).", False, key=True),
    Column("order", _TEXT, "Which motif of a pair comes first: given or swapped.", False, key=True),
]
_EFFECT = [
    Column("output", _TEXT, "Name of the model's output.", key=True),
    Column("measure", _TEXT, "How before and after are compared."),
    Column("unit", _TEXT, "Unit of the effect."),
    Column("n_backgrounds", _INT, "Backgrounds averaged over."),
    Column("before_mean", _FLOAT, "Mean output without the insert; null where the output is not a scalar."),
    Column("after_mean", _FLOAT, "Mean output with the insert; null where the output is not a scalar."),
    Column("effect", _FLOAT, "Mean effect over backgrounds."),
    Column("effect_sd", _FLOAT, "Standard deviation of the effect over backgrounds."),
    Column("effect_se", _FLOAT, "Its standard error, sd / sqrt(n)."),
    Column("ci_low", _FLOAT, "Lower end of the 95 % t interval over backgrounds."),
    Column("ci_high", _FLOAT, "Upper end of it."),
    Column("sign_consistency", _FLOAT, "Fraction of backgrounds whose effect has the mean's sign.", False),
    Column("largest_change_bp", _INT, "Profiles: output position whose mean probability changes most.", False),
    Column("n_controls", _INT, "Controls behind this row's null.", False),
    Column("control_kind", _TEXT, "dinucleotide, mononucleotide or pool (see docs/statistics.md).", False),
    Column("control_mean", _FLOAT, "Expected effect of a meaningless insert of this width and GC.", False),
    Column("control_sd", _FLOAT, "Spread of the effects of such inserts.", False),
    Column("z", _FLOAT, "(effect - control_mean) / control_sd.", False),
    Column("p", _FLOAT, "P of the effect under the null of the controls: two-sided, of distances one-sided.", False),
    Column("p_resolution", _FLOAT, "The least p that n_controls can show; a smaller p orders rows.", False),
    Column("q", _FLOAT, "Benjamini-Hochberg of the larger of p and p_resolution, over inserts of a null.", False),
    Column("interaction", _FLOAT, "Pairs: effect minus the sum of the two motifs' effects alone.", False),
    Column("interaction_se", _FLOAT, "Its standard error over backgrounds.", False),
    Column("effect_fold_sd", _FLOAT, "Ensembles: standard deviation of the effect between members.", False),
    Column("family", _INT, "Number of the motif's similarity family in its collection.", False),
    Column("family_representative", _TEXT, "motif_id that the family is named after.", False),
    Column("engine", _TEXT, "incremental or full: which computation ran."),
    Column("precision", _TEXT, "Arithmetic of the model."),
]

EFFECTS: tuple[Column, ...] = (*_WHAT, *_EFFECT)
#: How far two background sets, or two models that share an output, agree.
AGREEMENT = (
    Column("across", _TEXT, "background or model: what is compared.", key=True),
    Column("model", _TEXT, "Name of the model; null where models are compared.", key=True),
    Column("background", _TEXT, "Name of the background set; null where sets are compared.", key=True),
    Column("output", _TEXT, "Name of the model's output.", key=True),
    Column("first", _TEXT, "One of the two.", key=True),
    Column("second", _TEXT, "The other.", key=True),
    Column("n", _INT, "Inserts that both have."),
    Column("spearman", _FLOAT, "Rank correlation of their effects."),
    Column("pearson", _FLOAT, "Correlation of their effects."),
    Column("sign_agreement", _FLOAT, "Share of inserts with the same sign."),
    Column("top_overlap", _FLOAT, "Share of the 20 largest effects of one that are among those of the other."),
)
#: What all background sets of a model say together of an insert.
CONSENSUS = (
    _WHAT[0],
    _EFFECT[0],
    *(c for c in _WHAT if c.name in ("collection", "motif_id", "orientation", "start", "insert", "sample")),
    Column("n_sets", _INT, "Background sets that have the insert."),
    Column("mean", _FLOAT, "Mean effect over background sets."),
    Column("spread", _FLOAT, "Standard deviation between them."),
    Column("lowest", _FLOAT, "Lowest effect."),
    Column("highest", _FLOAT, "Highest effect."),
    Column("sign_agreement", _FLOAT, "Share of sets with the sign of the mean."),
    Column("mean_rank", _FLOAT, "Rank of the absolute effect, averaged over sets."),
    Column("worst_rank", _FLOAT, "The worst of these ranks."),
    Column("consensus_rank", _FLOAT, "Rank of the mean rank."),
    Column("q_max", _FLOAT, "Largest q of any set.", False),
)
#: A motif collection.
MOTIFS = (
    Column("collection", _TEXT, "Name of the collection.", key=True),
    Column("motif_id", _TEXT, "Identifier of the motif, unique in its collection.", key=True),
    Column("motif_name", _TEXT, "Its name as its file gives it."),
    Column("width", _INT, "Width (bp)."),
    Column("information_bits", _FLOAT, "Information of the whole matrix (bits)."),
    Column("consensus", _TEXT, "The most frequent base of each position."),
    Column("sequence", _TEXT, "Null unless the motif is a given sequence."),
    Column("source", _TEXT, "Its file."),
    Column("line", _INT, "Where it begins in the file."),
    Column("format", _TEXT, "Format of the file."),
    Column("pwm", pa.list_(_FLOAT), "Probabilities of A C G T, position by position."),
)
#: The motifs of a list, grouped by likeness.
FAMILIES = (
    Column("collection", _TEXT, "Name of the motif collection.", key=True),
    Column("motif_id", _TEXT, "Identifier of the motif.", key=True),
    Column("motif_name", _TEXT, "Its name."),
    Column("family", _INT, "Number of its similarity family."),
    Column("family_representative", _TEXT, "motif_id that the family is named after."),
)
#: What goes in, and its controls, before it is placed in sequences.
INSERT_LIST = (
    Column("role", _TEXT, "motif or control."),
    *(c for c in _WHAT if c.name in ("motif_id", "motif_name", "orientation")),
    Column("offset", _INT, "First base (bp), counted from what the metadata `from` says."),
    *(c for c in _WHAT if c.name in ("insert", "sample")),
    *(c for c in _WHAT if c.name.startswith("partner") or c.name in ("gap", "order", "collection")),
    Column("position", _INT, "Number of the config's position, from 0."),
    Column("control_kind", _TEXT, "dinucleotide, mononucleotide or pool."),
    Column("controls", pa.list_(_INT), "Numbers of the controls made from the insert."),
    Column("control", _INT, "A control's number."),
)
#: What tells the inserts of one model and background set from one another, where a table has it.
INSERT_KEYS = tuple(c.name for c in _WHAT if c.key and c.name not in ("model", "background"))


def conform(table: pd.DataFrame, columns: Sequence[Column], *, extra: bool = False, name: str = "table") -> pa.Table:
    """Bring a frame to the stated columns, order and types, or say what does not fit.

    A table without rows gets all columns: nothing in it says which of them apply.

    Parameters
    ----------
    table : pandas.DataFrame
        Must hold every required column, unless it has no rows.
    columns : sequence of Column
        The schema, e.g. `EFFECTS`.
    extra : bool, default False
        Whether columns that the schema does not know are kept (at the end) or an error.
    name : str
        For messages.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    MarginomeError
        On a missing or unknown column, or a value that its type cannot hold.
    """
    unknown = [c for c in table.columns if c not in {column.name for column in columns}]
    if not len(table):
        table = table.reindex(columns=[*(c.name for c in columns), *unknown])
    missing = [c.name for c in columns if c.required and c.name not in table]
    if missing or (unknown and not extra):
        raise MarginomeError(f"columns missing: {missing}; columns not in the schema: {unknown}", where=name)
    present = [c for c in columns if c.name in table]
    fields = [pa.field(c.name, c.type, metadata={"description": c.description}) for c in present]
    try:
        arrays = [pa.array(table[c.name] if len(table) else [], type=c.type, from_pandas=True) for c in present]
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise MarginomeError(f"a value does not fit its column: {error}", where=name) from error
    result = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    for column in unknown:
        result = result.append_column(column, pa.array(table[column], from_pandas=True))
    return result


def check_columns(table: pd.DataFrame, columns: Sequence[str], where: str, *, remedy: str | None = None) -> None:
    """Refuse a table without some columns.

    Parameters
    ----------
    table : pandas.DataFrame
        Any.
    columns : sequence of str
        Names it must have.
    where : str
        For the message: the function or file that needs them.
    remedy : str, optional
        What to do where they are missing.

    Raises
    ------
    MarginomeError
        With the missing names and those that are there.
    """
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise MarginomeError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}",
            where=where,
            remedy=remedy,
        )


def read_effects(path: str | os.PathLike) -> pd.DataFrame:
    """Read an effect table that another job wrote; one that lacks columns of `EFFECTS` is removed and named."""
    table = read_table(path)
    missing = [c.name for c in EFFECTS if c.required and c.name not in table]
    if missing:
        raise outdated(path, f"the columns {', '.join(missing)}")
    return table


def write_tsv(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Write a table as tab-separated text, gzipped when the name ends in .gz (same bytes for the same table)."""
    with atomic(path) as temporary:
        if str(path).endswith(".gz"):
            with open(temporary, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as handle:
                handle.write(table.to_csv(sep="\t", index=False, na_rep="").encode())
        else:
            table.to_csv(temporary, sep="\t", index=False, na_rep="")


def describe(columns: tuple[Column, ...]) -> str:
    """Return a Markdown table of column, type and meaning."""
    lines = ["| column | type | meaning |", "|---|---|---|"]
    lines += [
        f"| `{c.name}` | {c.type}{'' if c.required else ', where it applies'} | {c.description} |" for c in columns
    ]
    return "\n".join(lines)
