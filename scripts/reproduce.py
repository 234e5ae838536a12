from marginome.jobs.reproduce import judge_differences
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    judge_differences(
        snakemake.params.expected,
        dict(zip(snakemake.params.expected, snakemake.input.effects)),
        dict(zip(snakemake.params.expected, snakemake.input.tables)),
    )
