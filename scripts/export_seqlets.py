from marginome.jobs.export_seqlets import export_seqlets
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    export_seqlets(
        attributions=snakemake.input.attributions,
        seqlets=snakemake.input.seqlets[0],
        effects=next(iter(snakemake.input.effects), None),
        bed=snakemake.output.bed,
    )
