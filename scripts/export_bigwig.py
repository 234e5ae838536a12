from marginome.jobs.export_bigwig import export_bigwig
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    export_bigwig(
        attributions=snakemake.input.attributions,
        sizes=snakemake.input.sizes,
        track=snakemake.wildcards.track,
        bigwig=snakemake.output.bigwig,
    )
