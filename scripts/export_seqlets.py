from marginome.jobs.export_elements import export_elements
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    export_elements(
        attributions=snakemake.input.attributions,
        seqlets=snakemake.input.seqlets[0],
        effects=next(iter(snakemake.input.effects), None),
        bed=snakemake.output.bed,
    )
