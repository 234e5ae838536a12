from marginome.jobs.merge_batches import merge_batches
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    merge_batches(
        parts=snakemake.input.effects,
        part_backgrounds=snakemake.input.backgrounds,
        part_profiles=snakemake.input.profiles,
        effects=snakemake.output.effects,
        tsv=snakemake.output.tsv,
        backgrounds=snakemake.output.backgrounds,
        profiles=snakemake.output.profiles,
    )
