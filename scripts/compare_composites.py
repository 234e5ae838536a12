from marginome.jobs.compare_composites import compare_composites
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    compare_composites(
        snakemake.params.screen,
        batches=snakemake.params.batches,
        inserts=snakemake.input.inserts,
        families=snakemake.input.families,
        motifs=snakemake.input.motifs,
        baselines=snakemake.input.baselines,
        shards=snakemake.input.shards,
        table=snakemake.output.table,
        figure=snakemake.output.figure,
    )
