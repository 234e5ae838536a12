from marginome.jobs.runner import job
from marginome.jobs.summary import summarize_screen

with job(snakemake.log[0], threads=snakemake.threads):
    summarize_screen(
        snakemake.params.screen,
        inserts=snakemake.input.inserts,
        families=snakemake.input.families,
        baselines=snakemake.input.baselines,
        shards=snakemake.input.shards,
        effects=snakemake.output.effects,
        tsv=snakemake.output.tsv,
        backgrounds=snakemake.output.backgrounds,
        profiles=snakemake.output.profiles,
        agreement_table=snakemake.output.agreement,
        consensus_table=snakemake.output.consensus,
    )
