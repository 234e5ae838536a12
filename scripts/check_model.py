from marginome.jobs.models import check_model
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.params.engine["threads"]):
    check_model(
        snakemake.params.settings,
        name=snakemake.wildcards.model,
        digests=snakemake.params.digests,
        engine=snakemake.params.engine,
        json=snakemake.output.json,
        page=snakemake.output.page,
    )
