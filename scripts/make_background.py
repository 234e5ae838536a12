from marginome.jobs.make_background import make_background
from marginome.jobs.runner import job
from marginome.opened_files import OpenedFiles

with job(snakemake.log[0]):
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    make_background(
        snakemake.params.settings,
        opened=opened,
        index=tuple(snakemake.input.index),
        name=snakemake.wildcards.background,
        seed=snakemake.params.seed,
        digests=opened.digests(snakemake.params.digests),
        fasta=snakemake.output.fasta,
        bed=snakemake.output.bed,
        tsv=snakemake.output.tsv,
        figure=snakemake.output.figure,
        checks=snakemake.output.checks,
    )
