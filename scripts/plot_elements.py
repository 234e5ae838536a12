from marginome.jobs.plot_elements import plot_elements
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    plot_elements(
        snakemake.wildcards.attribution,
        attributions=snakemake.input.attributions,
        seqlets=snakemake.input.seqlets[0],
        effects=next(iter(snakemake.input.effects), None),
        patterns=next(iter(snakemake.input.patterns), None),
        figure=snakemake.output.figure,
    )
