from marginome.jobs.marginalize_elements import marginalize_elements
from marginome.jobs.runner import job
from marginome.leases import leased_device
from marginome.opened_files import OpenedFiles

engine = snakemake.params.engine
with job(snakemake.log[0], threads=engine["threads"]), leased_device(engine["device"]) as device:
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    marginalize_elements(
        opened.settings(snakemake.params.models),
        inserts=snakemake.input.inserts,
        shard=snakemake.wildcards.shard,
        output=snakemake.output.shard,
        digests=opened.digests(snakemake.params.digests),
        screen=snakemake.params.screen,
        engine=engine,
        device=device,
        check=snakemake.input.check,
        fasta=snakemake.input.fasta,
        baseline=snakemake.input.baseline,
    )
