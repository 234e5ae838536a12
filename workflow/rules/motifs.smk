# Motif collections: every file format becomes one checked table.


rule collect_motifs:
    input:
        files=files_of("motifs", "collection"),
    output:
        table=COLLECTION,
    log:
        "<logs>/collect_motifs/{collection}.log",
    benchmark:
        "<benchmarks>/collect_motifs/{collection}.tsv"
    priority: FIRST
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=30,
    params:
        settings=settings_of("motifs", "collection"),
        opened=opened_of("motifs", "collection"),
        digests=digests_of("motifs", "collection"),
        readers=lambda wildcards: readers_of("motifs", wildcards.collection),
        code=code_of_collection,
    script:
        "../../scripts/collect_motifs.py"
