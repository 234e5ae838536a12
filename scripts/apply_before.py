from marginome.jobs.apply_functions import apply_functions
from marginome.jobs.runner import job
from marginome.leases import leased_device
from marginome.opened_files import OpenedFiles

engine = snakemake.params.engine
with job(snakemake.log[0], threads=engine["threads"]), leased_device(engine["device"]) as device:
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    apply_functions(
        opened.settings(snakemake.params.models),
        name=snakemake.params.name,
        digests=opened.digests(snakemake.params.digests),
        screen=snakemake.params.screen,
        seed=snakemake.params.seed,
        engine=engine,
        device=device,
        fasta=snakemake.input.fasta,
        inserts=None,
        shard="1-of-1",
        output=snakemake.output.before,
    )
