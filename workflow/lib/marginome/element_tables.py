"""The columns of the tables from attributions to elements, as `marginome.tables` has those of effects."""

from __future__ import annotations

import pyarrow as pa

from marginome.columns import Column

_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()
_NUMBERS = pa.list_(_FLOAT)

_PLACE = (
    Column("sequence_id", _TEXT, "Name of the locus."),
    Column("chrom", _TEXT, "Contig; null where the loci have no coordinates."),
    Column("genome_start", _INT, "First base in the genome (0-based, bp)."),
    Column("genome_end", _INT, "One after the last base in the genome (bp)."),
)
#: What `marginome.matches` adds where motifs to compare with are named.
MATCHES = (
    Column("match_collection", _TEXT, "Collection of the motif that matches; null where none holds.", False),
    Column("match_id", _TEXT, "Its identifier.", False),
    Column("match_name", _TEXT, "Its name.", False),
    Column("match_strand", _TEXT, "+ as the motif is given, - reverse complement.", False),
    Column("match_offset", _INT, "Where the motif begins in the query (bp).", False),
    Column("match_overlap", _INT, "Positions compared (bp).", False),
    Column("best_id", _TEXT, "The nearest motif, whether it holds or not.", False),
    Column("tomtom_p", _FLOAT, "Tomtom's p of the nearest motif.", False),
    Column("match_p", _FLOAT, "p of the best match among column-shuffled queries.", False),
    Column("match_q", _FLOAT, "Benjamini-Hochberg of it over the queries.", False),
    Column("information_bits", _FLOAT, "Information of the query (bits).", False),
)
SEQLETS = (
    Column("seqlet_id", _TEXT, "Identifier, unique in the entry.", key=True),
    Column("example_idx", _INT, "Number of the locus, from 0."),
    *_PLACE,
    Column("start", _INT, "First base in the locus (0-based, bp)."),
    Column("end", _INT, "One after the last base in the locus (bp)."),
    Column("sign", _TEXT, "+ raises the output, - lowers it."),
    Column("attribution", _FLOAT, "Sum of the attributions of its bases (unit of the output)."),
    Column("p_value", _FLOAT, "Rank within these loci, no error rate; null for the tfmodisco caller."),
    Column("sequence", _TEXT, "Its bases."),
    Column("caller", _TEXT, "recursive or tfmodisco."),
)
PATTERNS = (
    Column("pattern_id", _TEXT, "Identifier, unique in the entry.", key=True),
    Column("sign", _TEXT, "+ raises the output, - lowers it."),
    Column("n_seqlets", _INT, "Seqlets in it."),
    Column("width", _INT, "Width (bp, trimmed)."),
    Column("consensus", _TEXT, "The most frequent base of each position (trimmed)."),
    Column("attribution", _FLOAT, "Mean over its seqlets of the sum of their attributions (trimmed)."),
    Column("pwm", _NUMBERS, "Frequencies of A C G T, position by position (trimmed)."),
    Column("contributions", _NUMBERS, "Mean attributions of A C G T, position by position (trimmed)."),
)
PATTERN_SEQLETS = (
    Column("pattern_id", _TEXT, "The pattern.", key=True),
    Column("number", _INT, "Of the seqlet in the pattern, from 0.", key=True),
    Column("example_idx", _INT, "Number of the locus, from 0."),
    *_PLACE,
    Column("start", _INT, "First base in the locus (0-based, bp, trimmed)."),
    Column("end", _INT, "One after the last base in the locus (bp, trimmed)."),
    Column("strand", _TEXT, "- where the pattern's reverse complement is there."),
    Column("sequence", _TEXT, "Its bases in the pattern's orientation."),
    Column("attribution", _FLOAT, "Sum of the attributions of its bases (unit of the output)."),
)
_IDENTIFIER = Column("motif_id", _TEXT, "Identifier of the element: of the seqlet, annotation or pattern.", key=True)
#: Of the elements that go into backgrounds; they stand behind the effects' own columns. What a span of a BED file has
#: no value for is not required.
SEQLET_ELEMENTS = (
    _IDENTIFIER,
    *_PLACE,
    Column("seqlet_start", _INT, "First base in the locus (0-based, bp)."),
    Column("seqlet_end", _INT, "One after the last base in the locus (bp)."),
    Column("sign", _TEXT, "+ raises the output, - lowers it.", False),
    Column("attribution", _FLOAT, "Sum of the attributions of its bases (unit of the output)."),
    Column("seqlet_p", _FLOAT, "The caller's rank within these loci, no error rate.", False),
    Column("seqlet", _TEXT, "Its bases, without flanks.", False),
    *MATCHES,
)
PATTERN_ELEMENTS = (
    _IDENTIFIER,
    *(c for c in PATTERNS[1:] if c.name not in ("width", "pwm", "contributions")),
    Column("pattern_width", _INT, "Width (bp, trimmed)."),
    *MATCHES,
)
