# Screens: every insert in every background, in shards; then the table.


# A list is the inserts of one collection and their own controls: no background set, no model, no other list.
rule list_inserts:
    input:
        motifs="<results>/motifs/{list}.parquet",
    output:
        inserts=INSERTS,
        families=FAMILIES,
    log:
        "<logs>/list_inserts/{screen}/{list}.log",
    benchmark:
        "<benchmarks>/list_inserts/{screen}/{list}.tsv"
    priority: FIRST
    conda:
        "../../envs/marginome.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        screen=screen_of("inserts", "draws", "orientations", "positions", "flanks", "pairs", "composites"),
        controls=list_controls,
        seed=CONFIG["seed"],
        code=code_digest("jobs.list_inserts"),
    script:
        "../../scripts/list_inserts.py"


# Mistakes stop a run before anything long starts: models are loaded and checked, motifs read and placed, and what screens
# and attributions ask of them is compared with what there is. No job takes its output, since another screen would then make
# everything anew; an `ancient` input would hide from Snakemake (9.27) that a job's own params have changed in the same
# run. These jobs have priority instead, so that they come first where there is a choice.
rule check_entries:
    input:
        checks=lambda wildcards: checks_of(entries_with_background(wildcards.background)["models"]),
        inserts=lambda wildcards: lists_of_screens(
            INSERTS, entries_with_background(wildcards.background)["screens"]
        ),
    output:
        json=ENTRIES,
    log:
        "<logs>/check_entries/{background}.log",
    benchmark:
        "<benchmarks>/check_entries/{background}.tsv"
    priority: FIRST
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        models=lambda wildcards: in_batches(entries_with_background(wildcards.background)["models"]),
        lists=lambda wildcards: {
            screen: len(lists_of(screen))
            for screen in entries_with_background(wildcards.background)["screens"]
        },
        atlases=lambda wildcards: [
            screen
            for screen in entries_with_background(wildcards.background)["screens"]
            if screen in SHEET_SCREENS
        ],
        length=lambda wildcards: CONFIG["backgrounds"][wildcards.background].get("length"),
        screens=asked_of_models("screens", "models", "outputs"),
        attributions=asked_of_models("attributions", "model", "output", "target", "marginalize"),
        code=code_digest("jobs.check_entries"),
    script:
        "../../scripts/check_entries.py"


rule marginalize:
    input:
        files=model_files,
        check=rules.check_model.output.json,
        fasta=rules.make_background.output.fasta,
        baseline=rules.predict_baseline.output.predictions,
        inserts=rules.list_inserts.output.inserts,
    output:
        shard=SHARD,
    log:
        "<logs>/marginalize/{screen}/{batch}/{background}/{list}/{shard}.log",
    benchmark:
        "<benchmarks>/marginalize/{screen}/{batch}/{background}/{list}/{shard}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        **gpus(),
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=240,
    params:
        models=model_settings,
        opened=model_opened,
        digests=model_digests,
        screen=screen_of("outputs", "keep"),
        engine=engine_settings(),
        code=code_with_models("jobs.marginalize"),
    script:
        "../../scripts/marginalize.py"


# Everything of a row that no other model and no other list decides.
rule summarize_batch:
    input:
        inserts=per_screen(INSERTS, list="motifs"),
        families=per_screen(FAMILIES, list="motifs"),
        baselines=per_screen(BASELINE, background="backgrounds"),
        shards=shards_of_screen(SHARD),
    output:
        effects=BATCH_EFFECTS,
        backgrounds=BATCH_BACKGROUNDS,
        profiles=BATCH_PROFILES,
        failed=BATCH_FAILED,
    log:
        "<logs>/summarize_batch/{screen}/{batch}.log",
    benchmark:
        "<benchmarks>/summarize_batch/{screen}/{batch}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        screen=merged_screen,
        models=models_of,
        code=code_digest("jobs.summarize_batch"),
    script:
        "../../scripts/summarize_batch.py"


# What goes across models. A screen of a sheet has its rows in a file for each batch, which the manifest names.
rule summarize_screen:
    input:
        effects=per_batch(BATCH_EFFECTS),
        failed=per_batch(BATCH_FAILED),
    output:
        manifest=MANIFEST,
        agreement="<results>/screens/{screen}/agreement.parquet",
        consensus=CONSENSUS,
    log:
        "<logs>/summarize_screen/{screen}.log",
    benchmark:
        "<benchmarks>/summarize_screen/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        batches=lambda wildcards: batches_of_screen(wildcards.screen),
        code=code_digest("jobs.summarize_screen"),
    script:
        "../../scripts/summarize_screen.py"


# One file of each kind. Of a screen of a sheet it is made when a file of it is asked for by name.
rule merge_batches:
    input:
        manifest=rules.summarize_screen.output.manifest,  # no model failed
        effects=per_batch(BATCH_EFFECTS),
        backgrounds=per_batch(BATCH_BACKGROUNDS),
        profiles=per_batch(BATCH_PROFILES),
    output:
        effects=EFFECTS,
        tsv="<results>/screens/{screen}/effects.tsv.gz",
        backgrounds="<results>/screens/{screen}/effects.h5",
        profiles="<results>/screens/{screen}/profiles.h5",
    log:
        "<logs>/merge_batches/{screen}.log",
    benchmark:
        "<benchmarks>/merge_batches/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=code_digest("jobs.merge_batches"),
    script:
        "../../scripts/merge_batches.py"


# Labels are of no job but this one: an edit of one computes nothing again.
rule label_models:
    output:
        table=SCREEN_MODELS,
    log:
        "<logs>/label_models/{screen}.log",
    benchmark:
        "<benchmarks>/label_models/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        labels=labels_of_screen,
        code=code_digest("jobs.label_models"),
    script:
        "../../scripts/label_models.py"


rule plot_screen:
    input:
        effects=rules.merge_batches.output.effects,
        backgrounds=rules.merge_batches.output.backgrounds,
        profiles=rules.merge_batches.output.profiles,
        baselines=per_batch(BASELINE, background="backgrounds"),
        motifs=per_screen(COLLECTION, collection="motifs"),
    output:
        **{
            name: report(
                f"<results>/screens/{{screen}}/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Screens",
                subcategory="{screen}",
                labels={"figure": shows},
            )
            for name, shows in SCREEN_FIGURES.items()
        },
    log:
        "<logs>/plot_screen/{screen}.log",
    benchmark:
        "<benchmarks>/plot_screen/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=30,
    params:
        top=CONFIG["report"]["top"],
        code=code_digest("jobs.plot_screen"),
    script:
        "../../scripts/plot_screen.py"


# For screens of pairs.
rule plot_gaps:
    input:
        effects=rules.merge_batches.output.effects,
        profiles=rules.merge_batches.output.profiles,
    output:
        figure=report(
            "<results>/screens/{screen}/figures/gaps.svg",
            caption="../report/gaps.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "effect against gap"},
        ),
        profiles=report(
            "<results>/screens/{screen}/figures/gap_profiles.svg",
            caption="../report/gap_profiles.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "profiles against gap"},
        ),
    log:
        "<logs>/plot_gaps/{screen}.log",
    benchmark:
        "<benchmarks>/plot_gaps/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=20,
    params:
        top=6,
        code=code_digest("jobs.plot_gaps"),
    script:
        "../../scripts/plot_gaps.py"


# For screens of pairs with controls: the mismatched pairs are in the insert lists, and so in the shards. A pair is judged
# within a model, q too, so that another model changes nothing.
rule score_pairs:
    input:
        inserts=per_screen(INSERTS, list="motifs"),
        families=per_screen(FAMILIES, list="motifs"),
        motifs=per_screen(COLLECTION, collection="motifs"),
        baselines=per_screen(BASELINE, background="backgrounds"),
        shards=shards_of_screen(SHARD),
    output:
        pairs=BATCH_PAIRS,
        arrangements=BATCH_ARRANGEMENTS,
        backgrounds=BATCH_PAIR_BACKGROUNDS,
    log:
        "<logs>/score_pairs/{screen}/{batch}.log",
    benchmark:
        "<benchmarks>/score_pairs/{screen}/{batch}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        screen=merged_screen,
        models=models_of,
        code=code_digest("jobs.score_pairs"),
    script:
        "../../scripts/score_pairs.py"


rule merge_pairs:
    input:
        manifest=rules.summarize_screen.output.manifest,  # no model failed
        pairs=per_batch(BATCH_PAIRS),
        arrangements=per_batch(BATCH_ARRANGEMENTS),
        backgrounds=per_batch(BATCH_PAIR_BACKGROUNDS),
    output:
        pairs=PAIRS,
        arrangements=ARRANGEMENTS,
        backgrounds=PAIR_BACKGROUNDS,
    log:
        "<logs>/merge_pairs/{screen}.log",
    benchmark:
        "<benchmarks>/merge_pairs/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=20,
    params:
        code=code_digest("jobs.merge_pairs"),
    script:
        "../../scripts/merge_pairs.py"


rule plot_pairs:
    input:
        pairs=rules.merge_pairs.output.pairs,
        arrangements=rules.merge_pairs.output.arrangements,
        backgrounds=rules.merge_pairs.output.backgrounds,
    output:
        interactions=report(
            "<results>/screens/{screen}/figures/interactions.svg",
            caption="../report/interactions.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "interaction against gap"},
        ),
        heatmap=report(
            "<results>/screens/{screen}/figures/pairs.svg",
            caption="../report/pairs.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "which pairs cooperate"},
        ),
        backgrounds=report(
            "<results>/screens/{screen}/figures/pair_backgrounds.svg",
            caption="../report/pair_backgrounds.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "best arrangements in every background"},
        ),
        pdf=expand(
            "<results>/screens/{screen}/figures/{name}.pdf",
            name=["interactions", "pairs", "pair_backgrounds"],
            allow_missing=True,
        ),
    log:
        "<logs>/plot_pairs/{screen}.log",
    benchmark:
        "<benchmarks>/plot_pairs/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=20,
    params:
        top=CONFIG["report"]["top"],
        code=code_digest("jobs.plot_pairs"),
    script:
        "../../scripts/plot_pairs.py"


# For screens of composites: the motifs of each alone, at their places in it, are in the insert lists.
rule compare_composites:
    input:
        inserts=per_screen(INSERTS, list="motifs"),
        families=per_screen(FAMILIES, list="motifs"),
        motifs=per_screen(COLLECTION, collection="motifs"),
        baselines=per_batch(BASELINE, background="backgrounds"),
        shards=shards_of_screen(SHARD),
    output:
        table="<results>/screens/{screen}/composites.parquet",
        figure=report(
            "<results>/screens/{screen}/figures/composites.svg",
            caption="../report/composites.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "composites against the sum of their motifs"},
        ),
    log:
        "<logs>/compare_composites/{screen}.log",
    benchmark:
        "<benchmarks>/compare_composites/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=30,
    params:
        screen=merged_screen,
        batches=lambda wildcards: [
            models_of_batch(batch, wildcards.screen) for batch in batches_of_screen(wildcards.screen)
        ],
        code=code_digest("jobs.compare_composites"),
    script:
        "../../scripts/compare_composites.py"


# Screens with a published table that they should give again.
EXPECTED = {name: entry["expected"] for name, entry in CONFIG["screens"].items() if entry.get("expected")}


# Run by name only: `snakemake --cores all reproduce --configfile my.yaml`.
rule compare_screen:
    input:
        effects=rules.merge_batches.output.effects,
        expected=lambda wildcards: inputs([EXPECTED[wildcards.screen]])[0],
    output:
        table=DIFFERENCES,
    log:
        "<logs>/compare_screen/{screen}.log",
    benchmark:
        "<benchmarks>/compare_screen/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=20,
    params:
        code=code_digest("jobs.compare_screen"),
        digests=lambda wildcards: named_digests("screens", wildcards.screen),
    script:
        "../../scripts/compare_screen.py"


# Run by name only: `snakemake --cores 1 estimate --configfile my.yaml`.
rule estimate:
    input:
        inserts=lists_of_screens(INSERTS, CONFIG["screens"]),
        backgrounds=expand(BACKGROUND, background=CONFIG["backgrounds"]),
        checks=checks_of(CONFIG["models"]),
    output:
        table="<results>/estimate.tsv",
    log:
        "<logs>/estimate/estimate.log",
    benchmark:
        "<benchmarks>/estimate/estimate.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        screens={
            name: {key: entry.get(key) for key in ("models", "backgrounds", "shards", "outputs", "keep")}
            for name, entry in CONFIG["screens"].items()
        },
        lists={screen: list(lists_of(screen)) for screen in CONFIG["screens"]},
        backgrounds=list(CONFIG["backgrounds"]),
        models=in_batches(CONFIG["models"]),
        code=code_digest("jobs.estimate"),
    script:
        "../../scripts/estimate.py"
