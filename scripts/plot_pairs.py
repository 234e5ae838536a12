from marginome.jobs.plot_pairs import plot_pairs
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    plot_pairs(
        pairs=snakemake.input.pairs,
        arrangements=snakemake.input.arrangements,
        backgrounds=snakemake.input.backgrounds,
        top=snakemake.params.top,
        interactions=[snakemake.output.interactions, snakemake.output.pdf[0]],
        heatmap=[snakemake.output.heatmap, snakemake.output.pdf[1]],
        strips=[snakemake.output.backgrounds, snakemake.output.pdf[2]],
    )
