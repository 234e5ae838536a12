from marginome.jobs.export_npz import export_npz
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    export_npz(
        attributions=snakemake.input.attributions,
        sequences=snakemake.output.sequences,
        hypothetical=snakemake.output.hypothetical,
        loci=snakemake.output.loci,
    )
