# Many models beside one another: what they have in common by their labels, how specific motifs are, where sides differ;
# the atlas, and a page for each model.


rule compare_models:
    input:
        models=SCREEN_MODELS,
        consensus=CONSENSUS,
        families=per_screen(FAMILIES, list="motifs"),
    output:
        labels="<results>/screens/{screen}/label_consensus.parquet",
        tau="<results>/screens/{screen}/tau.parquet",
    log:
        "<logs>/compare_models/{screen}.log",
    benchmark:
        "<benchmarks>/compare_models/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=code_digest("jobs.compare_models"),
    script:
        "../../scripts/compare_models.py"


rule compare_sides:
    input:
        manifest=MANIFEST,  # no model failed
        effects=lambda wildcards: batch_files(
            BATCH_EFFECTS, wildcards.screen, sides_of(wildcards)["first"][:1]
        )[0],
        singles=lambda wildcards: batch_files(
            BATCH_BACKGROUNDS, wildcards.screen, [m for side in sides_of(wildcards).values() for m in side]
        ),
        inserts=per_screen(INSERTS, list="motifs"),
    output:
        table=COMPARISON,
    log:
        "<logs>/compare_sides/{screen}/{comparison}.log",
    benchmark:
        "<benchmarks>/compare_sides/{screen}/{comparison}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        sides=sides_of,
        backgrounds=lambda wildcards: CONFIG["screens"][wildcards.screen]["backgrounds"],
        code=code_digest("jobs.compare_sides"),
    script:
        "../../scripts/compare_sides.py"


rule report_atlas:
    input:
        models=SCREEN_MODELS,
        consensus=CONSENSUS,
        families=per_screen(FAMILIES, list="motifs"),
        effects=per_batch(BATCH_EFFECTS),
        provenance=rules.write_provenance.output.json,
    output:
        page=report(
            "<results>/screens/{screen}/atlas.html",
            caption="../report/report_atlas.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "the atlas"},
        ),
    log:
        "<logs>/report_atlas/{screen}.log",
    benchmark:
        "<benchmarks>/report_atlas/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=30,
    params:
        pages=lambda wildcards: pages_of_models(wildcards.screen),
        links=lambda wildcards: links_of_atlas(wildcards.screen),
        code=code_digest("jobs.report_atlas"),
    script:
        "../../scripts/report_atlas.py"


# A rule for each number of models that a batch of a screen has: how many files a rule makes cannot hang on a wildcard.
for size in sorted(
    {len(models_of_batch(batch, screen)) for screen in SHEET_SCREENS for batch in batches_of_screen(screen)}
):

    rule:
        name:
            f"report_batch_of_{size}"
        input:
            failed=BATCH_FAILED,
            effects=BATCH_EFFECTS,
            backgrounds=BATCH_BACKGROUNDS,
            profiles=BATCH_PROFILES,
            baselines=per_screen(BASELINE, background="backgrounds"),
            motifs=per_screen(COLLECTION, collection="motifs"),
            shards=parts_of_screen,
            checks=[CHECK],
            sets=lambda wildcards: checks_of_backgrounds(CONFIG["screens"][wildcards.screen]),
            functions=functions_of_screen,
            pairs=of_judged_pairs(BATCH_PAIRS),
            arrangements=of_judged_pairs(BATCH_ARRANGEMENTS),
            pair_backgrounds=of_judged_pairs(BATCH_PAIR_BACKGROUNDS),
        output:
            pages=expand(MODEL_PAGE, i=range(1, size + 1), n=size, allow_missing=True),
        log:
            f"<logs>/report_batch/{{screen}}/{{batch}}/{size}.log",
        benchmark:
            f"<benchmarks>/report_batch/{{screen}}/{{batch}}/{size}.tsv"
        conda:
            "../../envs/marginome.yaml"
        threads: 1
        resources:
            mem_mb=memory(2000),
            runtime=60,
        params:
            models=models_of,
            record=record_of_batch,
            code=code_digest("jobs.report_batch", "jobs.write_provenance"),
        script:
            "../../scripts/report_batch.py"


rule plot_atlas:
    input:
        models=SCREEN_MODELS,
        consensus=CONSENSUS,
        families=per_screen(FAMILIES, list="motifs"),
    output:
        svg=report(
            "<results>/screens/{screen}/figures/clustermap.svg",
            caption="../report/plot_atlas.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "families by models"},
        ),
        pdf="<results>/screens/{screen}/figures/clustermap.pdf",
    log:
        "<logs>/plot_atlas/{screen}.log",
    benchmark:
        "<benchmarks>/plot_atlas/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=30,
    params:
        top=4 * CONFIG["report"]["top"],
        code=code_digest("jobs.plot_atlas"),
    script:
        "../../scripts/plot_atlas.py"
