from marginome.jobs.report_atlas import report_atlas
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    report_atlas(
        snakemake.wildcards.screen,
        models=snakemake.input.models,
        consensus=snakemake.input.consensus,
        families=snakemake.input.families,
        effects=snakemake.input.effects,
        provenance=snakemake.input.provenance,
        pages=snakemake.params.pages,
        links=snakemake.params.links,
        page=snakemake.output.page,
    )
