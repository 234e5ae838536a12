from marginome.jobs.inserts import list_screen_inserts
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    list_screen_inserts(
        snakemake.params.screen,
        seed=snakemake.params.seed,
        motifs=snakemake.input.motifs,
        length=snakemake.params.length,
        checks=snakemake.input.checks,
        inserts=snakemake.output.inserts,
        families=snakemake.output.families,
        threads=snakemake.threads,
    )
