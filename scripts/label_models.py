from marginome.jobs.label_models import label_models
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    label_models(snakemake.params.labels, table=snakemake.output.table)
