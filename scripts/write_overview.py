from marginome.jobs.runner import job
from marginome.jobs.write_overview import write_overview

with job(snakemake.log[0]):
    write_overview(
        snakemake.params.report,
        screens=snakemake.params.screens,
        backgrounds=snakemake.params.backgrounds,
        models=snakemake.params.models,
        attributions=snakemake.params.attributions,
        opened=dict(zip(snakemake.params.names, snakemake.input.files)),
        commands=[snakemake.params.command],
        page=snakemake.output.page,
        readme=snakemake.output.readme,
    )
