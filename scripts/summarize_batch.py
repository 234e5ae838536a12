from marginome.jobs.runner import job
from marginome.jobs.summarize_batch import summarize_batch

with job(snakemake.log[0], threads=snakemake.threads):
    summarize_batch(
        snakemake.params.screen,
        models=snakemake.params.models,
        inserts=snakemake.input.inserts,
        families=snakemake.input.families,
        baselines=snakemake.input.baselines,
        shards=snakemake.input.shards,
        effects=snakemake.output.effects,
        backgrounds=snakemake.output.backgrounds,
        profiles=snakemake.output.profiles,
        failed=snakemake.output.failed,
    )
