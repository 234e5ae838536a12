# marginome: which motifs drive a trained model's predictions, by how much, and whether to believe it.
#
# This file is the table of contents. Everything a run needs is in the config (config/README.md explains
# each key); results appear under results/ (results/README.md says what each file is).
#
#   snakemake --cores all                                the shipped demo (config/config.yaml)
#   snakemake --cores all --configfile my.yaml           your own
#   snakemake --profile slurm --configfile my.yaml       on a cluster (profiles/slurm is a start)
#   snakemake --cores 1 estimate --configfile my.yaml    how long it will take, how many shards to use
#
# Targets (estimate, screens, ...) come before --configfile, which takes every word that follows it.

from snakemake.utils import min_version

min_version("9.22.0")


# A config of one's own stands alone: merged with the demo's, it would run the demo's screens too.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/patterns.smk"  # of files that functions name; no rules
include: "workflow/rules/common.smk"  # config, input functions, the library on the path; no rules
include: "workflow/rules/results.smk"  # what a reader gets, by kind of file; no rules


# None is no image; it is used with --sdm apptainer only.
container: CONFIG.get("container")


include: "workflow/rules/user_files.smk"  # files that the config names; no rules
include: "workflow/rules/element_inputs.smk"  # input functions of elements.smk; no rules
include: "workflow/rules/backgrounds.smk"
include: "workflow/rules/motifs.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/screens.smk"
include: "workflow/rules/functions.smk"
include: "workflow/rules/elements.smk"
include: "workflow/rules/exports.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/atlas.smk"


localrules:
    all,
    backgrounds,
    motifs,
    models,
    screens,
    reproduce,
    attributions,
    check_entries,
    label_models,
    report_model,


# Everything that the config asks for.
rule all:
    default_target: True
    input:
        entries_checked(),
        rules.write_overview.output,
        screen_results(),
        attribution_results(),


# Named targets: `snakemake --cores all screens --configfile my.yaml` and so on.
rule backgrounds:
    input:
        expand(BACKGROUND, background=CONFIG["backgrounds"]),


rule motifs:
    input:
        expand(COLLECTION, collection=CONFIG["motifs"]),


rule models:
    input:
        expand(CHECK, batch=BATCHES),


rule screens:
    input:
        entries_checked(),
        screen_results(),


rule attributions:
    input:
        entries_checked(),
        attribution_results(),


# Screens that should give a published table again: every difference, none on the same kind of machine. It has no
# output, so each call checks the published files and judges the differences anew.
rule reproduce:
    input:
        effects=expand(EFFECTS, screen=EXPECTED),
        tables=expand(DIFFERENCES, screen=EXPECTED),
        expected=inputs(EXPECTED.values()),
        sums=inputs(checksums_beside(EXPECTED.values())),
    log:
        "<logs>/reproduce/reproduce.log",
    conda:
        "envs/marginome.yaml"
    params:
        screens=list(EXPECTED),
    script:
        "scripts/reproduce.py"
