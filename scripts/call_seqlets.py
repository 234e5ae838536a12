from marginome.jobs.runner import job
from marginome.jobs.seqlets import call_seqlets

with job(snakemake.log[0], threads=snakemake.threads):
    call_seqlets(
        snakemake.params.seqlets["seqlets"],
        attributions=snakemake.input.attributions,
        seqlets=snakemake.output.seqlets,
        bed=snakemake.output.bed,
    )
