from marginome.jobs.collect_loci import collect_loci
from marginome.jobs.runner import job
from marginome.opened_files import OpenedFiles

with job(snakemake.log[0]):
    collect_loci(
        OpenedFiles(snakemake.params.opened, snakemake.input.files).settings(snakemake.params.attribution["loci"]),
        name=snakemake.wildcards.attribution,
        index=tuple(snakemake.input.index),
        check=snakemake.input.check,
        model=snakemake.params.model,
        attribution=snakemake.params.attribution,
        background=next(iter(snakemake.input.background), None),
        motifs=next(iter(snakemake.input.motifs), None),
        fasta=snakemake.output.fasta,
        bed=snakemake.output.bed,
        sizes=snakemake.output.sizes,
    )
