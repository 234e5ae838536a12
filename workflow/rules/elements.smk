# From sequences to elements: attributions of loci, seqlets, patterns, and what each does in isolation.


rule collect_loci:
    input:
        files=part_files("loci"),
        index=lambda wildcards: index_of(CONFIG["attributions"][wildcards.attribution]["loci"]),
        check=attributed_model(lambda model: checks_of([model])[0]),
        background=background_of("loci", "background"),
        motifs=insert_collection,
    output:
        fasta="<results>/attributions/{attribution}/loci.fa.gz",
        bed="<results>/attributions/{attribution}/loci.bed",
        sizes="<results>/attributions/{attribution}/loci.sizes",
        record=LOCI_RECORD,
    log:
        "<logs>/collect_loci/{attribution}.log",
    benchmark:
        "<benchmarks>/collect_loci/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        attribution=attribution_of("model", "output", "target", "loci"),
        opened=part_opened("loci"),
        digests=part_digests("loci"),
        model=attributed_model(lambda model: {"input_length": CONFIG["models"][model].get("input_length")}),
        code=code_digest("jobs.collect_loci"),
    script:
        "../../scripts/collect_loci.py"


rule attribute:
    input:
        files=attributed_model(lambda model: inputs(data_files("models", model))),
        fasta=rules.collect_loci.output.fasta,
        references=background_of("references", "background"),
    output:
        shard=ATTRIBUTION_SHARD,
    log:
        "<logs>/attribute/{attribution}/{shard}.log",
    benchmark:
        "<benchmarks>/attribute/{attribution}/{shard}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        **gpus(),
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=480,
    params:
        settings=attributed_model(lambda model: CONFIG["models"][model]),
        opened=attributed_model(lambda model: opened(("models", model, (), ()))),
        digests=attributed_model(lambda model: named_digests("models", model)),
        attribution=attribution_of(
            "model", "output", "target", "method", "references", "max_delta", "on_exceed", "precision_bits"
        ),
        seed=CONFIG["seed"],
        engine=engine_settings(),
        code=attributed_model(lambda model: code_digest("jobs.attribute", *readers_of("models", model))),
    script:
        "../../scripts/attribute.py"


rule merge_attributions:
    input:
        shards=attribution_shards,
        fasta=rules.collect_loci.output.fasta,
    output:
        attributions="<results>/attributions/{attribution}/attributions.h5",
    log:
        "<logs>/merge_attributions/{attribution}.log",
    benchmark:
        "<benchmarks>/merge_attributions/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=code_digest("jobs.merge_attributions"),
    script:
        "../../scripts/merge_attributions.py"


rule call_seqlets:
    input:
        attributions=rules.merge_attributions.output.attributions,
    output:
        seqlets=SEQLETS,
        bed="<results>/attributions/{attribution}/seqlets.bed",
    log:
        "<logs>/call_seqlets/{attribution}.log",
    benchmark:
        "<benchmarks>/call_seqlets/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        seqlets=attribution_of("seqlets"),
        code=code_digest("jobs.call_seqlets"),
    script:
        "../../scripts/call_seqlets.py"


rule annotate_seqlets:
    input:
        attributions=rules.merge_attributions.output.attributions,
        seqlets=rules.call_seqlets.output.seqlets,
        motifs=collections_of,
    output:
        annotations=ANNOTATIONS,
    log:
        "<logs>/annotate_seqlets/{attribution}.log",
    benchmark:
        "<benchmarks>/annotate_seqlets/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=120,
    params:
        annotate=attribution_of("annotate"),
        seed=CONFIG["seed"],
        code=code_digest("jobs.annotate_seqlets"),
    script:
        "../../scripts/annotate_seqlets.py"


rule find_patterns:
    input:
        attributions=rules.merge_attributions.output.attributions,
    output:
        hdf5="<results>/attributions/{attribution}/patterns.h5",
        patterns=PATTERNS,
        seqlets=PATTERN_SEQLETS,
    log:
        "<logs>/find_patterns/{attribution}.log",
    benchmark:
        "<benchmarks>/find_patterns/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: lambda wildcards: CONFIG["attributions"][wildcards.attribution]["patterns"]["threads"]
    resources:
        mem_mb=memory(8000),
        runtime=480,
    params:
        patterns=attribution_of("patterns"),
        seed=CONFIG["seed"],
        code=code_digest("jobs.find_patterns"),
    script:
        "../../scripts/find_patterns.py"


rule annotate_patterns:
    input:
        patterns=rules.find_patterns.output.patterns,
        motifs=collections_of,
    output:
        matches=PATTERN_MATCHES,
    log:
        "<logs>/annotate_patterns/{attribution}.log",
    benchmark:
        "<benchmarks>/annotate_patterns/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        annotate=attribution_of("annotate"),
        seed=CONFIG["seed"],
        code=code_digest("jobs.annotate_patterns"),
    script:
        "../../scripts/annotate_patterns.py"


rule list_elements:
    input:
        files=part_files("marginalize", "annotations"),
        attributions=rules.merge_attributions.output.attributions,
        table=element_table,
        members=pattern_members,
    output:
        inserts=ELEMENT_INSERTS,
        families="<results>/attributions/{attribution}/{elements}/families.parquet",
        elements="<results>/attributions/{attribution}/{elements}/elements.parquet",
    log:
        "<logs>/list_elements/{attribution}/{elements}.log",
    benchmark:
        "<benchmarks>/list_elements/{attribution}/{elements}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        marginalize=settings_of_elements,
        opened=lambda wildcards: opened(
            ("attributions", wildcards.attribution, ("marginalize", "annotations"), ("annotations",))
        ),
        annotations=part_digests("marginalize", "annotations"),
        digests=attributed_model(lambda model: named_digests("models", model)),
        seed=CONFIG["seed"],
        code=code_digest("jobs.list_elements"),
    script:
        "../../scripts/list_elements.py"


rule marginalize_elements:
    input:
        files=model_files,
        check=of_batch(CHECK),
        fasta=rules.make_background.output.fasta,
        baseline=of_batch(BASELINE),
        inserts=rules.list_elements.output.inserts,
    output:
        shard=ELEMENT_SHARD,
    log:
        "<logs>/marginalize_elements/{attribution}/{elements}/{model}/{background}/{shard}.log",
    benchmark:
        "<benchmarks>/marginalize_elements/{attribution}/{elements}/{model}/{background}/{shard}.tsv"
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
        screen=screen_of_elements("keep"),
        engine=engine_settings(),
        code=code_with_models("jobs.marginalize_elements"),
    script:
        "../../scripts/marginalize_elements.py"


rule summarize_elements:
    input:
        inserts=rules.list_elements.output.inserts,
        families=rules.list_elements.output.families,
        elements=rules.list_elements.output.elements,
        baselines=per_attribution(BASELINE),
        shards=element_shards(ELEMENT_SHARD),
    output:
        effects=ELEMENT_EFFECTS,
        tsv="<results>/attributions/{attribution}/{elements}/effects.tsv.gz",
        backgrounds=ELEMENT_BACKGROUNDS,
        profiles="<results>/attributions/{attribution}/{elements}/profiles.h5",
    log:
        "<logs>/summarize_elements/{attribution}/{elements}.log",
    benchmark:
        "<benchmarks>/summarize_elements/{attribution}/{elements}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        model=lambda wildcards: CONFIG["attributions"][wildcards.attribution]["model"],
        backgrounds=lambda wildcards: CONFIG["attributions"][wildcards.attribution]["marginalize"][
            "backgrounds"
        ],
        code=code_digest("jobs.summarize_elements"),
    script:
        "../../scripts/summarize_elements.py"


rule plot_elements:
    input:
        attributions=rules.merge_attributions.output.attributions,
        seqlets=lambda wildcards: element_file(wildcards, "seqlets", "table"),
        effects=lambda wildcards: element_file(wildcards, "seqlets", "effects"),
        patterns=lambda wildcards: element_file(wildcards, "patterns", "table"),
    output:
        figure=report(
            "<results>/attributions/{attribution}/figures/elements.svg",
            caption="../report/plot_elements.rst",
            category="Attributions",
            subcategory="{attribution}",
            labels={"figure": "seqlets, alone and in their loci; patterns"},
        ),
    log:
        "<logs>/plot_elements/{attribution}.log",
    benchmark:
        "<benchmarks>/plot_elements/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        code=code_digest("jobs.plot_elements"),
    script:
        "../../scripts/plot_elements.py"


# The same record as a screen's.
rule write_attribution_provenance:
    input:
        results=recorded_results,
        shards=recorded_parts,
        checks=attributed_model(lambda model: checks_of([model])),
        opened=opened_for_attribution,
    output:
        json="<results>/attributions/{attribution}/provenance.json",
    log:
        "<logs>/write_attribution_provenance/{attribution}.log",
    benchmark:
        "<benchmarks>/write_attribution_provenance/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=20,
    params:
        config=lambda wildcards: attribution_section(wildcards.attribution),
        digests=lambda wildcards: checksums("attributions", wildcards.attribution),
        modules=attributed_model(
            lambda model: [
                "jobs.attribute",
                "jobs.call_seqlets",
                "jobs.find_patterns",
                "jobs.marginalize_elements",
                "jobs.summarize_elements",
                "jobs.apply_functions",
                *readers_of("models", model),
            ]
        ),
        command=lambda wildcards: run_command(f"attributions/{wildcards.attribution}/report.html"),
        code=code_digest("jobs.write_provenance"),
    script:
        "../../scripts/write_provenance.py"


rule report_elements:
    input:
        figure=rules.plot_elements.output.figure,
        attributions=rules.merge_attributions.output.attributions,
        members=lambda wildcards: element_file(wildcards, "patterns", "members"),
        seqlets=lambda wildcards: element_file(wildcards, "seqlets", "table"),
        effects=lambda wildcards: element_file(wildcards, "seqlets", "effects"),
        backgrounds=lambda wildcards: element_file(wildcards, "seqlets", "backgrounds"),
        patterns=lambda wildcards: element_file(wildcards, "patterns", "table"),
        pattern_effects=lambda wildcards: element_file(wildcards, "patterns", "effects"),
        provenance=rules.write_attribution_provenance.output.json,
    output:
        page=report(
            "<results>/attributions/{attribution}/report.html",
            caption="../report/report_elements.rst",
            category="Attributions",
            subcategory="{attribution}",
            labels={"figure": "loci, seqlets and patterns"},
        ),
    log:
        "<logs>/report_elements/{attribution}.log",
    benchmark:
        "<benchmarks>/report_elements/{attribution}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=10,
    params:
        code=code_digest("jobs.report_elements"),
    script:
        "../../scripts/report_elements.py"


# Attributions of the elements in isolation: the same jobs as a screen's.
use rule apply_before as apply_elements_before with:
    output:
        before=ELEMENT_BEFORE,
    log:
        "<logs>/apply_elements_before/{attribution}/{elements}/{model}/{background}.log",
    benchmark:
        "<benchmarks>/apply_elements_before/{attribution}/{elements}/{model}/{background}.tsv"
    params:
        models=model_settings,
        opened=model_opened,
        digests=model_digests,
        name=lambda wildcards: f"attributions.{wildcards.attribution}.marginalize",
        screen=screen_of_elements("functions", "function_settings"),
        user_code=part_digests("marginalize", "functions"),
        seed=CONFIG["seed"],
        engine=engine_settings(),
        code=code_with_models("jobs.apply_functions"),


use rule apply_after as apply_elements_after with:
    input:
        files=model_files,
        fasta=rules.make_background.output.fasta,
        inserts=rules.list_elements.output.inserts,
    output:
        shard=ELEMENT_AFTER,
    log:
        "<logs>/apply_elements_after/{attribution}/{elements}/{model}/{background}/{shard}.log",
    benchmark:
        "<benchmarks>/apply_elements_after/{attribution}/{elements}/{model}/{background}/{shard}.tsv"
    params:
        models=model_settings,
        opened=model_opened,
        digests=model_digests,
        name=lambda wildcards: f"attributions.{wildcards.attribution}.marginalize",
        screen=screen_of_elements("functions", "function_settings"),
        user_code=part_digests("marginalize", "functions"),
        seed=CONFIG["seed"],
        engine=engine_settings(),
        code=code_with_models("jobs.apply_functions"),


use rule merge_functions as merge_element_functions with:
    input:
        inserts=[rules.list_elements.output.inserts],
        effects=rules.summarize_elements.output.effects,
        before=per_attribution(ELEMENT_BEFORE),
        shards=element_shards(ELEMENT_AFTER),
    output:
        functions="<results>/attributions/{attribution}/{elements}/functions.h5",
        figure=report(
            "<results>/attributions/{attribution}/{elements}/functions.svg",
            caption="../report/merge_functions.rst",
            category="Attributions",
            subcategory="{attribution}",
            labels={"figure": "attributions of isolated {elements}"},
        ),
    log:
        "<logs>/merge_element_functions/{attribution}/{elements}.log",
    benchmark:
        "<benchmarks>/merge_element_functions/{attribution}/{elements}.tsv"
    params:
        screen=element_merge,
        top=CONFIG["report"]["top"],
        code=code_digest("jobs.merge_functions"),
