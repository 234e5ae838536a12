"""The columns of what screens of pairs and composites say: of each pair, arrangement and composite."""

from __future__ import annotations

from marginome.columns import BOOL, FLOAT, INT, TEXT, Column

_WHERE = (
    Column("model", TEXT, "Name of the model in the config.", key=True),
    Column("background", TEXT, "Name of the background set.", key=True),
    Column("output", TEXT, "Name of the model's output.", key=True),
)
_PAIR = (
    *_WHERE,
    Column("unit", TEXT, "Unit of effects and interactions."),
    Column("collection", TEXT, "Name of the motif collection.", key=True),
    Column("motif_id", TEXT, "The motif that the pair is named after.", key=True),
    Column("partner_id", TEXT, "The other motif.", key=True),
    Column("motif_name", TEXT, "Name of the first."),
    Column("partner_name", TEXT, "Name of the other."),
)
_PLACE = (
    Column("orientation", TEXT, "Orientation of the first motif."),
    Column("partner_orientation", TEXT, "Orientation of the other."),
    Column("order", TEXT, "given: the first motif stands on the left; swapped: on the right."),
    Column("gap", INT, "Bases between the two (bp)."),
)
_BEST = tuple(c._replace(required=False) for c in _PLACE)

#: A row a pair, position, model, background set and (signed) output.
PAIRS = (
    *_PAIR,
    Column("position", INT, "Number of the place in the config (from 0).", key=True),
    Column("effect", FLOAT, "Of the first motif alone, mean over its places."),
    Column("effect_partner", FLOAT, "Of the other motif alone, mean over its places."),
    Column("n_arrangements", INT, "Arrangements that may be the best: no seam, 3 bp apart or more, not far apart."),
    Column("cooperation_z", FLOAT, "The largest beyond / beyond_sd of any of them; null where there is none.", False),
    Column("cooperation_p", FLOAT, "Its rank among the largest of whole mismatched pairs (docs/grammar.md).", False),
    Column("cooperation_p_low", FLOAT, "Lower end of the 95 % interval of p over resampled motifs.", False),
    Column("cooperation_p_high", FLOAT, "Upper end of it.", False),
    Column("cooperation_q", FLOAT, "Benjamini-Hochberg of the larger of p and p_resolution, over pairs.", False),
    *_BEST,
    Column("interaction", FLOAT, "In that arrangement: effect - effect of the first alone - of the other.", False),
    Column("expected", FLOAT, "In it: what two motifs of this strength do to each other anywhere.", False),
    Column("syntax_z", FLOAT, "As cooperation_z, with the pair's own mean far apart taken off.", False),
    Column("syntax_p", FLOAT, "Its rank among those of whole mismatched pairs.", False),
    Column("syntax_q", FLOAT, "Benjamini-Hochberg, as cooperation_q.", False),
    *(c._replace(name=f"syntax_{c.name}") for c in _BEST),
    Column("hard_share", FLOAT, "Share of the interaction's mean square that depends on the arrangement.", False),
    Column("period_share", FLOAT, "Share of what depends on the gap that a wave of 10.5 bp explains.", False),
    Column("period_p", FLOAT, "Its rank among those of mismatched pairs.", False),
    Column("n_mismatched", INT, "Mismatched pairs of the same arrangements.", False),
    Column("p_resolution", FLOAT, "The least p that they can show.", False),
    Column("far_bp", INT, "From which gap on motifs are taken as far apart (bp).", False),
)

#: A row an arrangement of a pair.
ARRANGEMENTS = (
    *_PAIR,
    Column("position", INT, "Number of the place in the config (from 0).", key=True),
    *(c._replace(key=True) for c in _PLACE),
    Column("start", INT, "First base of the arrangement in the background (0-based, bp).", key=True),
    Column("effect_pair", FLOAT, "Mean effect of the pair."),
    Column("effect", FLOAT, "Of the first motif alone at its place."),
    Column("effect_partner", FLOAT, "Of the other one."),
    Column("interaction", FLOAT, "effect_pair - effect - effect_partner."),
    Column("interaction_fold_sd", FLOAT, "Ensembles: standard deviation of the interaction between members.", False),
    Column("expected", FLOAT, "What two motifs of this strength do to each other anywhere.", False),
    Column("beyond", FLOAT, "interaction - expected.", False),
    Column("beyond_sd", FLOAT, "What meaningless neighbours do to the two in this arrangement.", False),
    Column("beyond_z", FLOAT, "beyond / beyond_sd.", False),
    Column("seam", TEXT, "A motif with a site across the junction that neither motif holds; null: none.", False),
    Column("eligible", BOOL, "Whether it may be the pair's best arrangement.", False),
)

#: A row a background of a pair that has a best arrangement: effects in it, of that background.
PAIR_BACKGROUNDS = (
    *_PAIR,
    Column("position", INT, "Number of the place in the config (from 0).", key=True),
    Column("sequence", INT, "Number of the background in its set (from 0).", key=True),
    Column("effect_pair", FLOAT, "Effect of the pair in its best arrangement."),
    Column("effect", FLOAT, "Of the first motif alone at its place."),
    Column("effect_partner", FLOAT, "Of the other one."),
)

#: A row a composite, model, background set and (signed) output.
COMPOSITES = (
    *_WHERE,
    Column("unit", TEXT, "Unit of effects: the scale on which they are added."),
    Column("collection", TEXT, "Name of the motif collection.", key=True),
    Column("entry", INT, "Number of the entry in the config (from 0)."),
    Column("motif_id", TEXT, "Its motifs from left to right, orientations, and the bases between them.", key=True),
    Column("motif_name", TEXT, "The same with names."),
    Column("n_motifs", INT, "How many motifs it has."),
    Column("orientations", TEXT, "Their orientations from left to right.", key=True),
    Column("gaps", TEXT, "Bases between each two neighbours (bp), comma-separated; null for a motif alone.", False),
    Column("insert", TEXT, "The bases that were put in; N kept the background's base.", key=True),
    Column("sample", INT, "Number of the PWM sample; null unless inserts are sampled.", False, key=True),
    Column("start", INT, "First base in the background (0-based, bp).", key=True),
    Column("position", INT, "Number of the place in the config (from 0)."),
    Column("n_backgrounds", INT, "Backgrounds averaged over."),
    Column("effect", FLOAT, "Mean effect of the composite."),
    Column("effect_se", FLOAT, "Its standard error over backgrounds."),
    Column("additive", FLOAT, "Sum of the effects of its motifs alone, each at its place in the composite."),
    Column("beyond", FLOAT, "effect - additive."),
    Column("beyond_se", FLOAT, "Its standard error; null where effects of single backgrounds were not kept.", False),
    Column("seam", TEXT, "A motif with a site across a junction that neither neighbour holds; null: none.", False),
)
