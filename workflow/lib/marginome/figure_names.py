"""The figures of every screen, as Snakemake's report and the overview call them. Imports nothing.

`marginome.jobs.plot_screen` draws them into ``results/screens/<screen>/figures/<name>.svg``; the caption for a reader
is ``workflow/report/<name>.rst``.
"""

from __future__ import annotations

#: Name -> what it shows.
SCREEN_FIGURES = {
    "heatmap": "effects in every background",
    "before_after": "before against after",
    "profiles": "profiles of the strongest motifs",
    "logos": "what was put in",
}
