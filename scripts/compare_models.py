from marginome.jobs.compare_models import compare_models
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    compare_models(
        models=snakemake.input.models,
        consensus=snakemake.input.consensus,
        families=snakemake.input.families,
        labels=snakemake.output.labels,
        tau=snakemake.output.tau,
    )
