from marginome.jobs.annotate_patterns import annotate_patterns
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.threads):
    annotate_patterns(
        snakemake.params.annotate["annotate"],
        seed=snakemake.params.seed,
        patterns=snakemake.input.patterns,
        motifs=snakemake.input.motifs,
        matches=snakemake.output.matches,
        threads=snakemake.threads,
    )
