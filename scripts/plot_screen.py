from marginome.jobs.plot_screen import plot_screen
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    plot_screen(
        effects=snakemake.input.effects,
        backgrounds=snakemake.input.backgrounds,
        profiles=snakemake.input.profiles,
        baselines=snakemake.input.baselines,
        motifs=snakemake.input.motifs,
        top=snakemake.params.top,
        files=dict(snakemake.output.items()),
    )
