from marginome.jobs.report_elements import report_elements
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    report_elements(
        snakemake.wildcards.attribution,
        attributions=snakemake.input.attributions,
        seqlets=snakemake.input.seqlets[0],
        effects=next(iter(snakemake.input.effects), None),
        backgrounds=next(iter(snakemake.input.backgrounds), None),
        patterns=next(iter(snakemake.input.patterns), None),
        members=next(iter(snakemake.input.members), None),
        pattern_effects=next(iter(snakemake.input.pattern_effects), None),
        figure=snakemake.input.figure,
        provenance=snakemake.input.provenance,
        page=snakemake.output.page,
    )
