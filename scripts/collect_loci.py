from marginome.jobs.collect_loci import collect_loci
from marginome.jobs.runner import job
from marginome.opened_files import OpenedFiles

with job(snakemake.log[0]):
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    collect_loci(
        opened.settings(snakemake.params.attribution["loci"]),
        name=snakemake.wildcards.attribution,
        digests=opened.digests(snakemake.params.digests),
        index=tuple(snakemake.input.index),
        check=snakemake.input.check,
        model=snakemake.params.model,
        attribution=snakemake.params.attribution,
        background=next(iter(snakemake.input.background), None),
        motifs=next(iter(snakemake.input.motifs), None),
        fasta=snakemake.output.fasta,
        bed=snakemake.output.bed,
        sizes=snakemake.output.sizes,
        record=snakemake.output.record,
    )
