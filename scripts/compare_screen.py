from marginome.jobs.compare_screen import compare_screen
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    compare_screen(
        expected=snakemake.input.expected,
        effects=snakemake.input.effects,
        table=snakemake.output.table,
    )
