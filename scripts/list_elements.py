from marginome.jobs.list_elements import list_elements
from marginome.jobs.runner import job
from marginome.opened_files import OpenedFiles

with job(snakemake.log[0], threads=snakemake.threads):
    opened = OpenedFiles(snakemake.params.opened, snakemake.input.files)
    list_elements(
        opened.settings(snakemake.params.marginalize),
        kind=snakemake.wildcards.elements,
        name=snakemake.wildcards.attribution,
        seed=snakemake.params.seed,
        digests=snakemake.params.digests,
        annotations=opened.digests(snakemake.params.annotations),
        attributions=snakemake.input.attributions,
        table=snakemake.input.table[0],
        members=snakemake.input.members or None,
        inserts=snakemake.output.inserts,
        families=snakemake.output.families,
        elements=snakemake.output.elements,
    )
