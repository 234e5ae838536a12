from marginome.jobs.report import write_overview
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    write_overview(
        snakemake.params.report,
        pages=snakemake.input.pages,
        provenance=snakemake.input.provenance,
        backgrounds=snakemake.input.backgrounds,
        checks=snakemake.input.checks,
        page=snakemake.output.page,
        readme=snakemake.output.readme,
    )
