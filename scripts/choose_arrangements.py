from marginome.jobs.choose_arrangements import choose_arrangements
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    choose_arrangements(inserts=snakemake.input.inserts, pairs=snakemake.input.pairs, chosen=snakemake.output.chosen)
