from marginome.jobs.runner import job
from marginome.jobs.score_pairs import score_screen_pairs

with job(snakemake.log[0], threads=snakemake.threads):
    score_screen_pairs(
        snakemake.params.screen,
        models=snakemake.params.models,
        inserts=snakemake.input.inserts,
        families=snakemake.input.families,
        motifs=snakemake.input.motifs,
        baselines=snakemake.input.baselines,
        shards=snakemake.input.shards,
        pairs=snakemake.output.pairs,
        arrangements=snakemake.output.arrangements,
        backgrounds=snakemake.output.backgrounds,
    )
