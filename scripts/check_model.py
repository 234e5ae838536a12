from marginome.jobs.models import check_model
from marginome.jobs.runner import job
from marginome.leases import leased_device

engine = snakemake.params.engine
with job(snakemake.log[0], threads=engine["threads"]), leased_device(engine["device"]) as device:
    check_model(
        snakemake.params.settings,
        name=snakemake.wildcards.model,
        digests=snakemake.params.digests,
        engine=engine,
        device=device,
        json=snakemake.output.json,
    )
