from marginome.jobs.call_seqlets import call_seqlets
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    call_seqlets(
        snakemake.params.seqlets["seqlets"],
        attributions=snakemake.input.attributions,
        seqlets=snakemake.output.seqlets,
        bed=snakemake.output.bed,
    )
