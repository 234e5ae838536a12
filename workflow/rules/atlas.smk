# Many models beside one another: what they have in common by their labels, how specific motifs are, where sides differ.


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
