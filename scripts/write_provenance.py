from marginome.jobs.runner import job
from marginome.jobs.write_provenance import write_provenance

with job(snakemake.log[0]):
    write_provenance(
        snakemake.output.json,
        config=snakemake.params.config,
        digests=snakemake.params.digests,
        code=snakemake.params.modules,
        opened=snakemake.input.opened,
        results=snakemake.input.results,
        shards=snakemake.input.shards,
        checks=snakemake.input.checks,
        command=snakemake.params.command,
    )
