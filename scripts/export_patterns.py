from marginome.jobs.export_patterns import export_patterns
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    export_patterns(
        patterns=snakemake.input.patterns[0],
        seqlets=snakemake.input.seqlets,
        meme=snakemake.output.meme,
        bed=snakemake.output.bed,
    )
