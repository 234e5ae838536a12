from marginome.jobs.collect_motifs import collect_motifs
from marginome.jobs.runner import job
from marginome.opened_files import OpenedFiles

with job(snakemake.log[0]):
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    collect_motifs(
        snakemake.params.settings,
        opened=opened,
        name=snakemake.wildcards.collection,
        readers=snakemake.params.readers,
        digests=opened.digests(snakemake.params.digests),
        table=snakemake.output.table,
    )
