from marginome.jobs.export_attributions import export_arrays
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    export_arrays(
        attributions=snakemake.input.attributions,
        layout="npz",
        outputs=[snakemake.output.sequences, snakemake.output.hypothetical, snakemake.output.loci],
    )
