from marginome.jobs.merge_pairs import merge_pairs
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    merge_pairs(
        part_pairs=snakemake.input.pairs,
        part_arrangements=snakemake.input.arrangements,
        part_backgrounds=snakemake.input.backgrounds,
        pairs=snakemake.output.pairs,
        arrangements=snakemake.output.arrangements,
        backgrounds=snakemake.output.backgrounds,
    )
