# Attributions, seqlets and patterns in the formats of other programs: bigWig, BED, MEME, and the arrays that TF-MoDISco and
# Fi-NeMo read.


rule export_bigwig:
    input:
        attributions=rules.merge_attributions.output.attributions,
        sizes=rules.collect_loci.output.sizes,
    output:
        bigwig="<results>/attributions/{attribution}/export/{track}.bw",
    log:
        "<logs>/export_bigwig/{attribution}/{track}.log",
    benchmark:
        "<benchmarks>/export_bigwig/{attribution}/{track}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=code_digest("jobs.export_bigwig"),
    script:
        "../../scripts/export_bigwig.py"


rule export_npz:
    input:
        attributions=rules.merge_attributions.output.attributions,
    output:
        sequences="<results>/attributions/{attribution}/export/sequences.npz",
        hypothetical="<results>/attributions/{attribution}/export/hypothetical.npz",
        loci="<results>/attributions/{attribution}/export/loci.narrowPeak",
    log:
        "<logs>/export_npz/{attribution}.log",
    benchmark:
        "<benchmarks>/export_npz/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=code_digest("jobs.export_npz"),
    script:
        "../../scripts/export_npz.py"


rule export_h5:
    input:
        attributions=rules.merge_attributions.output.attributions,
    output:
        h5="<results>/attributions/{attribution}/export/attributions.shap.h5",
    log:
        "<logs>/export_h5/{attribution}.log",
    benchmark:
        "<benchmarks>/export_h5/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=code_digest("jobs.export_h5"),
    script:
        "../../scripts/export_h5.py"


rule export_seqlets:
    input:
        attributions=rules.merge_attributions.output.attributions,
        seqlets=lambda wildcards: element_file(wildcards, "seqlets", "table"),
        effects=lambda wildcards: element_file(wildcards, "seqlets", "effects"),
    output:
        bed="<results>/attributions/{attribution}/export/elements.bed",
    log:
        "<logs>/export_seqlets/{attribution}.log",
    benchmark:
        "<benchmarks>/export_seqlets/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        code=code_digest("jobs.export_seqlets"),
    script:
        "../../scripts/export_seqlets.py"


rule export_patterns:
    input:
        patterns=lambda wildcards: element_file(wildcards, "patterns", "table"),
        seqlets=rules.find_patterns.output.seqlets,
    output:
        meme="<results>/attributions/{attribution}/export/patterns.meme",
        bed="<results>/attributions/{attribution}/export/pattern_seqlets.bed",
    log:
        "<logs>/export_patterns/{attribution}.log",
    benchmark:
        "<benchmarks>/export_patterns/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        code=code_digest("jobs.export_patterns"),
    script:
        "../../scripts/export_patterns.py"
