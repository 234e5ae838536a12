from marginome.jobs.list_inserts import list_screen_inserts
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    list_screen_inserts(
        snakemake.params.screen,
        controls=snakemake.params.controls,
        seed=snakemake.params.seed,
        motifs=snakemake.input.motifs,
        inserts=snakemake.output.inserts,
        families=snakemake.output.families,
        threads=snakemake.threads,
    )
