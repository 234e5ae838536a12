from marginome.jobs.annotate_seqlets import annotate_seqlets
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    annotate_seqlets(
        snakemake.params.annotate["annotate"],
        seed=snakemake.params.seed,
        attributions=snakemake.input.attributions,
        seqlets=snakemake.input.seqlets,
        motifs=snakemake.input.motifs,
        annotations=snakemake.output.annotations,
        threads=snakemake.threads,
    )
