from marginome.jobs.compare_sides import compare_sides
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    compare_sides(
        first=snakemake.params.sides["first"],
        second=snakemake.params.sides["second"],
        backgrounds=snakemake.params.backgrounds,
        effects=snakemake.input.effects,
        singles=snakemake.input.singles,
        inserts=snakemake.input.inserts,
        table=snakemake.output.table,
    )
