"""The columns of tables that compare many models: labels, how specific families are, how two sides differ."""

from __future__ import annotations

from marginome.columns import FLOAT, INT, TEXT, Column
from marginome.list_tables import INSERT, MOTIF, POSITION

_OUTPUT = Column("output", TEXT, "Name of the models' output.", key=True)
_WHERE = (*(c for c in MOTIF if c.name != "motif_name"),
          Column("start", INT, "First base of the insert in the background (0-based, bp).", key=True),
          *(c for c in INSERT if c.name in ("insert", "sample")))  # fmt: skip
#: What the models with one value of a label say together of an insert.
LABEL_CONSENSUS = (
    Column("label", TEXT, "A column of the sheet of models.", key=True),
    Column("value", TEXT, "One of its values.", key=True),
    _OUTPUT,
    *_WHERE,
    Column("n_models", INT, "Models with this value that have the insert."),
    Column("mean", FLOAT, "Mean over models of their mean effects over background sets."),
    Column("spread", FLOAT, "Standard deviation between models; null for one."),
    Column("lowest", FLOAT, "Lowest effect of a model."),
    Column("highest", FLOAT, "Highest effect of a model."),
    Column("sign_agreement", FLOAT, "Share of models with the sign of the mean."),
    Column("mean_rank", FLOAT, "Rank of the absolute effect, averaged over models."),
    Column("worst_rank", FLOAT, "The worst of these ranks."),
    Column("consensus_rank", FLOAT, "Rank of the mean rank."),
    Column("q_max", FLOAT, "Largest q of any model and background set; null without controls."),
)
#: How specific a family of motifs is.
TAU = (
    Column("across", TEXT, "model, or a label: what the family is compared between.", key=True),
    _OUTPUT,
    Column("collection", TEXT, "Name of the motif collection.", key=True),
    Column("family", INT, "Number of the similarity family in its collection.", key=True),
    Column("family_representative", TEXT, "motif_id that the family is named after."),
    Column("n", INT, "Models, or values of the label, that are compared."),
    Column("tau", FLOAT, "0: the same in all; 1: in one alone. Of the strongest insert's effect in each."),
    Column("direction", INT, "1 or -1: tau is of effects up or down; 0 where there is no tau."),
    Column("strongest_in", TEXT, "Where the absolute effect is largest."),
    Column("strongest", FLOAT, "That effect."),
    Column("n_found", INT, "In how many the strongest insert's largest q is at most 0.05; null without controls."),
)
#: What inserts do differently in two sides of models.
MODEL_DIFFERENCES = (
    Column("background", TEXT, "Name of the background set.", key=True),
    *MOTIF,
    Column("start", INT, "First base of the insert in the background (0-based, bp).", key=True),
    POSITION,
    *INSERT,
    Column("family", INT, "Number of the motif's similarity family in its collection.", False),
    Column("family_representative", TEXT, "motif_id that the family is named after.", False),
    _OUTPUT,
    Column("n_first", INT, "Models of the first side."),
    Column("n_second", INT, "Models of the second side."),
    Column("claim", TEXT, "What p is about: models like these (replicates), these models, or these two models."),
    Column("first_mean", FLOAT, "Mean effect over the first side's models, on the common scale."),
    Column("second_mean", FLOAT, "The same of the second side."),
    Column("difference", FLOAT, "first_mean - second_mean."),
    Column("n_controls", INT, "Controls behind the null."),
    Column("control_mean", FLOAT, "Expected difference of a meaningless insert of this width and GC."),
    Column("control_sd", FLOAT, "Spread of the differences of such inserts."),
    Column("z", FLOAT, "(difference - control_mean) / control_sd."),
    Column("p_controls", FLOAT, "P of the difference under the null of the controls, two-sided: these models."),
    Column("t", FLOAT, "Welch's t, models as replicates; null with fewer than three a side."),
    Column("df", FLOAT, "Its degrees of freedom."),
    Column("p_models", FLOAT, "Its two-sided P: models like these."),
    Column("p", FLOAT, "The larger of p_controls and p_models, for the claim."),
    Column("p_resolution", FLOAT, "The least p that n_controls can show."),
    Column("q", FLOAT, "Benjamini-Hochberg of the larger of p and p_resolution, over inserts of a null."),
)
