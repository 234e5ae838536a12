from marginome.jobs.estimate import estimate
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    lists = iter(snakemake.input.inserts)
    estimate(
        snakemake.params.screens,
        inserts={s: {name: next(lists) for name in names} for s, names in snakemake.params.lists.items()},
        backgrounds=dict(zip(snakemake.params.backgrounds, snakemake.input.backgrounds)),
        checks={m: path for models, path in zip(snakemake.params.models, snakemake.input.checks) for m in models},
        table=snakemake.output.table,
    )
