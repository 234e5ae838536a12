from marginome.jobs.report_model import report_model
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    report_model(snakemake.wildcards.batch, check=snakemake.input.check, page=snakemake.output.page)
