from marginome.jobs.predict_baseline import predict_baselines
from marginome.jobs.runner import job
from marginome.leases import leased_device
from marginome.opened_files import OpenedFiles

engine = snakemake.params.engine
with job(snakemake.log[0], threads=engine["threads"]), leased_device(engine["device"]) as device:
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    predict_baselines(
        opened.settings(snakemake.params.models),
        digests=opened.digests(snakemake.params.digests),
        engine=engine,
        device=device,
        check=snakemake.input.check,
        fasta=snakemake.input.fasta,
        predictions=snakemake.output.predictions,
    )
