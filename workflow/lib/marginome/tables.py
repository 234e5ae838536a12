"""The columns of the tables that screens end in, defined once."""

from __future__ import annotations

import os

import pandas as pd

from marginome.columns import FLOAT, INT, TEXT, Column
from marginome.list_tables import INSERT, MOTIF, POSITION
from marginome.storage import outdated, read_table

_WHAT = (
    Column("model", TEXT, "Name of the model in the config.", key=True),
    Column("background", TEXT, "Name of the background set.", key=True),
    *MOTIF,
    Column("start", INT, "First base of the insert in the background (0-based, bp).", key=True),
    POSITION,
    *INSERT,
)
_EFFECT = [
    Column("output", TEXT, "Name of the model's output.", key=True),
    Column("measure", TEXT, "How before and after are compared."),
    Column("unit", TEXT, "Unit of the effect."),
    Column("n_backgrounds", INT, "Backgrounds averaged over."),
    Column("before_mean", FLOAT, "Mean output without the insert; null where the output is not a scalar."),
    Column("after_mean", FLOAT, "Mean output with the insert; null where the output is not a scalar."),
    Column("effect", FLOAT, "Mean effect over backgrounds."),
    Column("effect_sd", FLOAT, "Standard deviation of the effect over backgrounds."),
    Column("effect_se", FLOAT, "Its standard error, sd / sqrt(n)."),
    Column("ci_low", FLOAT, "Lower end of the 95 % t interval over backgrounds."),
    Column("ci_high", FLOAT, "Upper end of it."),
    Column("sign_consistency", FLOAT, "Fraction of backgrounds whose effect has the mean's sign.", False),
    Column("largest_change_bp", INT, "Profiles: first base (0-based) of the value that changes most.", False),
    Column("n_controls", INT, "Controls behind this row's null.", False),
    Column("control_kind", TEXT, "dinucleotide, mononucleotide or pool (see docs/statistics.md).", False),
    Column("control_mean", FLOAT, "Expected effect of a meaningless insert of this width and GC.", False),
    Column("control_sd", FLOAT, "Spread of the effects of such inserts.", False),
    Column("z", FLOAT, "(effect - control_mean) / control_sd.", False),
    Column("p", FLOAT, "P of the effect under the null of the controls: two-sided, of distances one-sided.", False),
    Column("p_resolution", FLOAT, "The least p that n_controls can show; a smaller p orders rows.", False),
    Column("q", FLOAT, "Benjamini-Hochberg of the larger of p and p_resolution, over inserts of a null.", False),
    Column("interaction", FLOAT, "Pairs: effect minus the sum of the two motifs' effects alone.", False),
    Column("interaction_se", FLOAT, "Its standard error over backgrounds.", False),
    Column("effect_fold_sd", FLOAT, "Ensembles: standard deviation of the effect between members.", False),
    Column("family", INT, "Number of the motif's similarity family in its collection.", False),
    Column("family_representative", TEXT, "motif_id that the family is named after.", False),
    Column("engine", TEXT, "incremental or full: which computation ran."),
    Column("precision", TEXT, "Arithmetic of the model."),
]

EFFECTS: tuple[Column, ...] = (*_WHAT, *_EFFECT)
#: How far two background sets, or two models that share an output, agree.
AGREEMENT = (
    Column("across", TEXT, "background or model: what is compared.", key=True),
    Column("model", TEXT, "Name of the model; null where models are compared.", key=True),
    Column("background", TEXT, "Name of the background set; null where sets are compared.", key=True),
    Column("output", TEXT, "Name of the model's output.", key=True),
    Column("first", TEXT, "One of the two.", key=True),
    Column("second", TEXT, "The other.", key=True),
    Column("n", INT, "Inserts that both have."),
    Column("spearman", FLOAT, "Rank correlation of their effects."),
    Column("pearson", FLOAT, "Correlation of their effects."),
    Column("sign_agreement", FLOAT, "Share of inserts with the same sign."),
    Column("top_overlap", FLOAT, "Share of the 20 largest effects of one that are among those of the other."),
)
#: What all background sets of a model say together of an insert.
CONSENSUS = (
    _WHAT[0],
    _EFFECT[0],
    *(c for c in _WHAT if c.name in ("collection", "motif_id", "orientation", "start", "insert", "sample")),
    Column("n_sets", INT, "Background sets that have the insert."),
    Column("mean", FLOAT, "Mean effect over background sets."),
    Column("spread", FLOAT, "Standard deviation between them."),
    Column("lowest", FLOAT, "Lowest effect."),
    Column("highest", FLOAT, "Highest effect."),
    Column("sign_agreement", FLOAT, "Share of sets with the sign of the mean."),
    Column("mean_rank", FLOAT, "Rank of the absolute effect, averaged over sets."),
    Column("worst_rank", FLOAT, "The worst of these ranks."),
    Column("consensus_rank", FLOAT, "Rank of the mean rank."),
    Column("q_max", FLOAT, "Largest q of any set.", False),
)
#: Which file holds the rows of a model, of a screen whose table is a file for each batch of models.
MANIFEST = (
    _WHAT[0],
    Column("batch", TEXT, "The models that were computed together."),
    Column("file", TEXT, "Its rows of the effect table, relative to the folder of this table."),
    Column("rows", INT, "How many there are."),
)
#: The models of a screen; labels of sheets are further columns.
MODELS = (_WHAT[0],)
#: What tells the inserts of one model and background set from one another, where a table has it.
INSERT_KEYS = tuple(c.name for c in _WHAT if c.key and c.name not in ("model", "background"))


def read_effects(path: str | os.PathLike) -> pd.DataFrame:
    """Read an effect table that another job wrote; one that lacks columns of `EFFECTS` is removed and named."""
    table = read_table(path)
    missing = [c.name for c in EFFECTS if c.required and c.name not in table]
    if missing:
        raise outdated(path, f"the columns {', '.join(missing)}")
    return table
