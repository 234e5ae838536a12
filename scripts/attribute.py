from marginome.jobs.attribute import attribute_shard
from marginome.jobs.runner import job
from marginome.leases import leased_device
from marginome.opened_files import OpenedFiles

engine = snakemake.params.engine
with job(snakemake.log[0], threads=engine["threads"]), leased_device(engine["device"]) as device:
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    attribute_shard(
        opened.settings(snakemake.params.settings),
        name=snakemake.wildcards.attribution,
        model=snakemake.params.attribution["model"],
        digests=opened.digests(snakemake.params.digests),
        attribution=snakemake.params.attribution,
        seed=snakemake.params.seed,
        engine=engine,
        device=device,
        fasta=snakemake.input.fasta,
        references=next(iter(snakemake.input.references), None),
        shard=snakemake.wildcards.shard,
        output=snakemake.output.shard,
    )
