from marginome.jobs.export_h5 import export_h5
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    export_h5(attributions=snakemake.input.attributions, h5=snakemake.output.h5)
