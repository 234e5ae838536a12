from marginome.jobs.baseline import predict_baseline
from marginome.jobs.runner import job

with job(snakemake.log[0], threads=snakemake.params.engine["threads"]):
    predict_baseline(
        snakemake.params.settings,
        name=snakemake.wildcards.model,
        digests=snakemake.params.digests,
        engine=snakemake.params.engine,
        check=snakemake.input.check,
        fasta=snakemake.input.fasta,
        predictions=snakemake.output.predictions,
    )
