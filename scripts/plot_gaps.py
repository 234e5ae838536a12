from marginome.jobs.plot_gaps import plot_gaps
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    plot_gaps(
        effects=snakemake.input.effects,
        profiles=snakemake.input.profiles,
        top=snakemake.params.top,
        figure=snakemake.output.figure,
        profiles_figure=snakemake.output.profiles,
    )
