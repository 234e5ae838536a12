# Many models beside one another: where two sides of them differ.


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
