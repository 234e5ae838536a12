from marginome.jobs.estimate import estimate
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    estimate(
        snakemake.params.screens,
        inserts=snakemake.params.inserts,
        backgrounds=snakemake.params.backgrounds,
        checks=snakemake.params.checks,
        table=snakemake.output.table,
    )
