from marginome.jobs.export_attributions import export_arrays
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    export_arrays(
        attributions=snakemake.input.attributions,
        layout="h5",
        outputs=[snakemake.output.h5],
    )
