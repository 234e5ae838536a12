from marginome.jobs.runner import job
from marginome.jobs.summarize_elements import summarize_elements

with job(snakemake.log[0], threads=snakemake.threads):
    summarize_elements(
        model=snakemake.params.model,
        names=snakemake.params.backgrounds,
        inserts=snakemake.input.inserts,
        families=snakemake.input.families,
        elements=snakemake.input.elements,
        baselines=snakemake.input.baselines,
        shards=snakemake.input.shards,
        effects=snakemake.output.effects,
        tsv=snakemake.output.tsv,
        backgrounds=snakemake.output.backgrounds,
        profiles=snakemake.output.profiles,
    )
