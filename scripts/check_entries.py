from marginome.jobs.check_entries import check_entries
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    lists = iter(snakemake.input.inserts)
    check_entries(
        snakemake.params.screens,
        snakemake.params.attributions,
        checks={m: path for models, path in zip(snakemake.params.models, snakemake.input.checks) for m in models},
        inserts={screen: [next(lists) for _ in range(n)] for screen, n in snakemake.params.lists.items()},
        atlases=snakemake.params.atlases,
        length=snakemake.params.length,
        json=snakemake.output.json,
    )
