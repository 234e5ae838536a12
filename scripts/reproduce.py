from marginome.jobs.reproduce import judge_differences
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    judge_differences(
        dict(zip(snakemake.params.screens, snakemake.input.expected)),
        dict(zip(snakemake.params.screens, snakemake.input.effects)),
        dict(zip(snakemake.params.screens, snakemake.input.tables)),
    )
