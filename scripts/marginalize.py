from marginome.jobs.runner import job
from marginome.jobs.screen import marginalize_shard

with job(snakemake.log[0], threads=snakemake.params.engine["threads"]):
    marginalize_shard(
        snakemake.params.settings,
        model=snakemake.wildcards.model,
        digests=snakemake.params.digests,
        screen=snakemake.params.screen,
        engine=snakemake.params.engine,
        check=snakemake.input.check,
        fasta=snakemake.input.fasta,
        baseline=snakemake.input.baseline,
        inserts=snakemake.input.inserts,
        shard=snakemake.wildcards.shard,
        output=snakemake.output.shard,
    )
