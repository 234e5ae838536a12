from marginome.jobs.check_entries import check_entries
from marginome.jobs.runner import job

with job(snakemake.log[0]):
    lists = iter(snakemake.input.inserts)
    check_entries(
        snakemake.params.screens,
        snakemake.params.attributions,
        checks=dict(zip(snakemake.params.models, snakemake.input.checks)),
        inserts={screen: [next(lists) for _ in range(n)] for screen, n in snakemake.params.lists.items()},
        length=snakemake.params.length,
        json=snakemake.output.json,
    )
