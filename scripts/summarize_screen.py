from marginome.jobs.runner import job
from marginome.jobs.summarize_screen import summarize_screen

with job(snakemake.log[0], threads=snakemake.threads):
    summarize_screen(
        parts=snakemake.input.effects,
        part_backgrounds=snakemake.input.backgrounds,
        part_profiles=snakemake.input.profiles,
        failed=snakemake.input.failed,
        effects=snakemake.output.effects,
        tsv=snakemake.output.tsv,
        backgrounds=snakemake.output.backgrounds,
        profiles=snakemake.output.profiles,
        agreement_table=snakemake.output.agreement,
        consensus_table=snakemake.output.consensus,
    )
