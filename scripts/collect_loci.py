from marginome.jobs.collect_loci import collect_loci
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    collect_loci(
        snakemake.params.attribution["loci"],
        name=snakemake.wildcards.attribution,
        check=snakemake.input.check,
        model=snakemake.params.model,
        attribution=snakemake.params.attribution,
        background=next(iter(snakemake.input.background), None),
        motifs=next(iter(snakemake.input.motifs), None),
        fasta=snakemake.output.fasta,
        bed=snakemake.output.bed,
        sizes=snakemake.output.sizes,
    )
