from marginome.jobs.collect_motifs import collect_motifs
from marginome.jobs.runner import job
from marginome.opened_files import OpenedFiles

with job(snakemake.log[0]):
    collect_motifs(
        snakemake.params.settings,
        opened=OpenedFiles(snakemake.params.opened, snakemake.input.files),
        name=snakemake.wildcards.collection,
        readers=snakemake.params.readers,
        digests=snakemake.params.digests,
        table=snakemake.output.table,
    )
