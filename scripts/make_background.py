from marginome.jobs.make_background import make_background
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    make_background(
        snakemake.params.settings,
        name=snakemake.wildcards.background,
        seed=snakemake.params.seed,
        digests=snakemake.params.digests,
        fasta=snakemake.output.fasta,
        bed=snakemake.output.bed,
        tsv=snakemake.output.tsv,
        figure=snakemake.output.figure,
        checks=snakemake.output.checks,
    )
