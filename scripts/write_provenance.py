from marginome.jobs.provenance import write_provenance
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    write_provenance(
        snakemake.params.screen,
        digests=snakemake.params.digests,
        effects=snakemake.input.effects,
        shards=snakemake.input.shards,
        checks=snakemake.input.checks,
        json_file=snakemake.output.json,
    )
