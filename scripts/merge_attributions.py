from marginome.jobs.merge_attributions import merge_attributions
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    merge_attributions(
        shards=snakemake.input.shards,
        fasta=snakemake.input.fasta,
        attributions=snakemake.output.attributions,
    )
