from marginome.jobs.index_genome import index_genome
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    index_genome(snakemake.input.genome, fai=snakemake.output.fai, gzi=snakemake.output.gzi)
