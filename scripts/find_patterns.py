from marginome.jobs.find_patterns import find_patterns
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    find_patterns(
        snakemake.params.patterns["patterns"],
        seed=snakemake.params.seed,
        attributions=snakemake.input.attributions,
        hdf5=snakemake.output.hdf5,
        patterns=snakemake.output.patterns,
        seqlets=snakemake.output.seqlets,
    )
