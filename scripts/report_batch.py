from pathlib import Path

from marginome.jobs.report_batch import report_batch
from marginome.jobs.runner import job
from marginome.jobs.write_provenance import provenance_record

with job(snakemake.log[0]):
    made = provenance_record(
        Path(snakemake.input.effects).parents[1],
        **snakemake.params.record,
        opened=[*snakemake.input.motifs, *snakemake.input.sets],
        results=[snakemake.input.effects],
        shards=snakemake.input.shards,
        checks=snakemake.input.checks,
    )
    report_batch(
        snakemake.wildcards.screen,
        models=snakemake.params.models,
        failed=snakemake.input.failed,
        effects=snakemake.input.effects,
        backgrounds=snakemake.input.backgrounds,
        profiles=snakemake.input.profiles,
        baselines=snakemake.input.baselines,
        motifs=snakemake.input.motifs,
        provenance=made,
        functions=next(iter(snakemake.input.functions), None),
        pairs=next(iter(snakemake.input.pairs), None),
        arrangements=next(iter(snakemake.input.arrangements), None),
        pair_backgrounds=next(iter(snakemake.input.pair_backgrounds), None),
        pages=snakemake.output.pages,
    )
