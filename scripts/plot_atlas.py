from marginome.jobs.plot_atlas import plot_atlas
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    plot_atlas(
        models=snakemake.input.models,
        consensus=snakemake.input.consensus,
        families=snakemake.input.families,
        top=snakemake.params.top,
        files=[snakemake.output.svg, snakemake.output.pdf],
    )
