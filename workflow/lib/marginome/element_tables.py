"""The columns of the tables from attributions to elements, as `marginome.tables` has those of effects."""

from __future__ import annotations

import pyarrow as pa

from marginome.columns import FLOAT, INT, TEXT, Column

_NUMBERS = pa.list_(FLOAT)

_PLACE = (
    Column("sequence_id", TEXT, "Name of the locus."),
    Column("chrom", TEXT, "Contig; null where the loci have no coordinates."),
    Column("genome_start", INT, "First base in the genome (0-based, bp)."),
    Column("genome_end", INT, "One after the last base in the genome (bp)."),
)
#: What `marginome.matches` adds where motifs to compare with are named.
MATCHES = (
    Column("match_collection", TEXT, "Collection of the motif that matches; null where none holds.", False),
    Column("match_id", TEXT, "Its identifier.", False),
    Column("match_name", TEXT, "Its name.", False),
    Column("match_strand", TEXT, "+ as the motif is given, - reverse complement.", False),
    Column("match_offset", INT, "Where the motif begins in the query (bp).", False),
    Column("match_overlap", INT, "Positions compared (bp).", False),
    Column("best_id", TEXT, "The nearest motif, whether it holds or not.", False),
    Column("tomtom_p", FLOAT, "Tomtom's p of the nearest motif.", False),
    Column("match_p", FLOAT, "p of the best match among column-shuffled queries.", False),
    Column("match_q", FLOAT, "Benjamini-Hochberg of it over the queries.", False),
    Column("information_bits", FLOAT, "Information of the query (bits).", False),
)
SEQLETS = (
    Column("seqlet_id", TEXT, "Identifier, unique in the entry.", key=True),
    Column("example_idx", INT, "Number of the locus, from 0."),
    *_PLACE,
    Column("start", INT, "First base in the locus (0-based, bp)."),
    Column("end", INT, "One after the last base in the locus (bp)."),
    Column("sign", TEXT, "+ raises the output, - lowers it."),
    Column("attribution", FLOAT, "Sum of the attributions of its bases (unit of the output)."),
    Column("p_value", FLOAT, "Rank within these loci, no error rate; null for the tfmodisco caller."),
    Column("sequence", TEXT, "Its bases."),
    Column("caller", TEXT, "recursive or tfmodisco."),
)
PATTERNS = (
    Column("pattern_id", TEXT, "Identifier, unique in the entry.", key=True),
    Column("sign", TEXT, "+ raises the output, - lowers it."),
    Column("n_seqlets", INT, "Seqlets in it."),
    Column("width", INT, "Width (bp, trimmed)."),
    Column("consensus", TEXT, "The most frequent base of each position (trimmed)."),
    Column("attribution", FLOAT, "Mean over its seqlets of the sum of their attributions (trimmed)."),
    Column("pwm", _NUMBERS, "Frequencies of A C G T, position by position (trimmed)."),
    Column("contributions", _NUMBERS, "Mean attributions of A C G T, position by position (trimmed)."),
)
PATTERN_SEQLETS = (
    Column("pattern_id", TEXT, "The pattern.", key=True),
    Column("number", INT, "Of the seqlet in the pattern, from 0.", key=True),
    Column("example_idx", INT, "Number of the locus, from 0."),
    *_PLACE,
    Column("start", INT, "First base in the locus (0-based, bp, trimmed)."),
    Column("end", INT, "One after the last base in the locus (bp, trimmed)."),
    Column("strand", TEXT, "- where the pattern's reverse complement is there."),
    Column("sequence", TEXT, "Its bases in the pattern's orientation."),
    Column("attribution", FLOAT, "Sum of the attributions of its bases (unit of the output)."),
)
_IDENTIFIER = Column("motif_id", TEXT, "Identifier of the element: of the seqlet, annotation or pattern.", key=True)
#: Of the elements that go into backgrounds; they stand behind the effects' own columns. What a span of a BED file has
#: no value for is not required.
SEQLET_ELEMENTS = (
    _IDENTIFIER,
    *_PLACE,
    Column("seqlet_start", INT, "First base in the locus (0-based, bp)."),
    Column("seqlet_end", INT, "One after the last base in the locus (bp)."),
    Column("sign", TEXT, "+ raises the output, - lowers it.", False),
    Column("attribution", FLOAT, "Sum of the attributions of its bases (unit of the output)."),
    Column("seqlet_p", FLOAT, "The caller's rank within these loci, no error rate.", False),
    Column("seqlet", TEXT, "Its bases, without flanks.", False),
    *MATCHES,
)
PATTERN_ELEMENTS = (
    _IDENTIFIER,
    *(c for c in PATTERNS[1:] if c.name not in ("width", "pwm", "contributions")),
    Column("pattern_width", INT, "Width (bp, trimmed)."),
    *MATCHES,
)
