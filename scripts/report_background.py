from marginome.jobs.report_background import report_background
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    report_background(
        snakemake.wildcards.background,
        checks=snakemake.input.checks,
        tsv=snakemake.input.tsv,
        figure=snakemake.input.figure,
        page=snakemake.output.page,
    )
