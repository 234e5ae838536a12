from marginome.jobs.entries import check_entries
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    check_entries(
        snakemake.params.screens,
        snakemake.params.attributions,
        checks=dict(zip(snakemake.params.models, snakemake.input.checks)),
        json=snakemake.output.json,
    )
