from marginome.jobs.runner import job
from marginome.jobs.summarize_screen import summarize_screen

with job(snakemake.log[0], threads=snakemake.threads):
    summarize_screen(
        batches=dict(zip(snakemake.params.batches, snakemake.input.effects)),
        failed=snakemake.input.failed,
        manifest=snakemake.output.manifest,
        agreement_table=snakemake.output.agreement,
        consensus_table=snakemake.output.consensus,
    )
