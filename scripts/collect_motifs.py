from marginome.jobs.collect_motifs import collect_motifs
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    collect_motifs(
        snakemake.params.settings,
        name=snakemake.wildcards.collection,
        readers=snakemake.params.readers,
        digests=snakemake.params.digests,
        table=snakemake.output.table,
    )
