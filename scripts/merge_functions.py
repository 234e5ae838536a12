from marginome.jobs.merge_functions import merge_functions
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    merge_functions(
        snakemake.params.screen,
        inserts=snakemake.input.inserts,
        effects=snakemake.input.effects,
        before=snakemake.input.before,
        shards=snakemake.input.shards,
        top=snakemake.params.top,
        output=snakemake.output.functions,
        figure=snakemake.output.figure,
    )
