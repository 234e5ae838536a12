from marginome.jobs.check_model import check_models
from marginome.jobs.runner import job
from marginome.leases import leased_device
from marginome.opened_files import OpenedFiles

engine = snakemake.params.engine
with job(snakemake.log[0], threads=engine["threads"]), leased_device(engine["device"]) as device:
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    check_models(
        opened.settings(snakemake.params.models),
        digests=opened.digests(snakemake.params.digests),
        engine=engine,
        device=device,
        json=snakemake.output.json,
    )
