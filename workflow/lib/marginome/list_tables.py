"""The columns of motif collections and insert lists, which every shard is computed from."""

from __future__ import annotations

import pyarrow as pa

from marginome.columns import FLOAT, INT, TEXT, Column

#: Which motif an insert is of.
MOTIF = (
    Column("collection", TEXT, "Name of the motif collection (or of the table of annotations or patterns).", key=True),
    Column("motif_id", TEXT, "Identifier of the motif, unique in its collection.", key=True),
    Column("motif_name", TEXT, "Name of the motif as its file gives it."),
    Column("orientation", TEXT, "+ as given, - reverse complement.", key=True),
)
POSITION = Column(
    "position", INT, "Number of the place in the config (from 0); widths that are placed alike share it.", False
)
#: What is put in.
INSERT = (
    Column("insert", TEXT, "The bases that were put in; N kept the background's base.", key=True),
    Column("sample", INT, "Number of the PWM sample; null unless inserts are sampled.", False, key=True),
    Column("partner_id", TEXT, "Second motif of a pair; null for single motifs.", False, key=True),
    Column("partner_orientation", TEXT, "Its orientation.", False, key=True),
    Column("gap", INT, "Bases between the two (bp).", False, key=True),
    Column("order", TEXT, "Which motif of a pair comes first: given or swapped.", False, key=True),
)
#: A motif collection.
MOTIFS = (
    Column("collection", TEXT, "Name of the collection.", key=True),
    Column("motif_id", TEXT, "Identifier of the motif, unique in its collection.", key=True),
    Column("motif_name", TEXT, "Its name as its file gives it."),
    Column("width", INT, "Width (bp)."),
    Column("information_bits", FLOAT, "Information of the whole matrix (bits)."),
    Column("consensus", TEXT, "The most frequent base of each position."),
    Column("sequence", TEXT, "Null unless the motif is a given sequence."),
    Column("source", TEXT, "Its file."),
    Column("line", INT, "Where it begins in the file."),
    Column("format", TEXT, "Format of the file."),
    Column("pwm", pa.list_(FLOAT), "Probabilities of A C G T, position by position."),
)
#: The motifs of a list, grouped by likeness.
FAMILIES = (
    Column("collection", TEXT, "Name of the motif collection.", key=True),
    Column("motif_id", TEXT, "Identifier of the motif.", key=True),
    Column("motif_name", TEXT, "Its name."),
    Column("family", INT, "Number of its similarity family."),
    Column("family_representative", TEXT, "motif_id that the family is named after."),
)
#: What goes in, and its controls, before it is placed in sequences.
INSERT_LIST = (
    Column("role", TEXT, "motif, control, or mismatched (of pairs: a motif beside a control of the other)."),
    *MOTIF[1:],
    Column("offset", INT, "First base (bp), counted from what the metadata `from` says."),
    *INSERT,
    MOTIF[0],
    POSITION,
    Column("control_kind", TEXT, "dinucleotide, mononucleotide or pool."),
    Column("controls", pa.list_(INT), "Numbers of the controls made from the insert."),
    Column("control", INT, "A control's number."),
)
#: The same of a list of composites: which rows they are, and which their motifs alone.
COMPOSITE_LIST = (
    *INSERT_LIST,
    Column("parts", pa.list_(INT), "Of a composite: the rows of its motifs alone, from left to right; null: none."),
    Column("entry", INT, "Of a composite: the number of its entry in the config."),
)
