# What a reader opens: one page per screen, an overview, and the record of how it was made.


rule write_provenance:
    input:
        results=results_of_screen,
        shards=parts_of_screen,
        checks=lambda wildcards: expand(CHECK, batch=batches_of_screen(wildcards.screen)),
        opened=lambda wildcards: opened_for(CONFIG["screens"][wildcards.screen]),
    output:
        json="<results>/screens/{screen}/provenance.json",
    log:
        "<logs>/write_provenance/{screen}.log",
    benchmark:
        "<benchmarks>/write_provenance/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=20,
    params:
        config=lambda wildcards: screen_section(wildcards.screen),
        digests=lambda wildcards: checksums("screens", wildcards.screen),
        modules=lambda wildcards: modules_of_screen(CONFIG["screens"][wildcards.screen]["models"]),
        command=lambda wildcards: run_command(SCREEN_FILES[wildcards.screen]["page"]),
        code=code_digest("jobs.write_provenance"),
    script:
        "../../scripts/write_provenance.py"


rule report_screen:
    input:
        effects=rules.merge_batches.output.effects,
        backgrounds=rules.merge_batches.output.backgrounds,
        profiles=rules.merge_batches.output.profiles,
        baselines=per_batch(BASELINE, background="backgrounds"),
        motifs=per_screen(COLLECTION, collection="motifs"),
        provenance=rules.write_provenance.output.json,
        functions=functions_of_screen,
        pairs=of_judged_pairs(PAIRS),
        arrangements=of_judged_pairs(ARRANGEMENTS),
        pair_backgrounds=of_judged_pairs(PAIR_BACKGROUNDS),
    output:
        page=report(
            "<results>/screens/{screen}/report.html",
            caption="../report/report_screen.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "the interactive page"},
        ),
    log:
        "<logs>/report_screen/{screen}.log",
    benchmark:
        "<benchmarks>/report_screen/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=30,
    params:
        code=code_digest("jobs.report_screen"),
    script:
        "../../scripts/report_screen.py"


rule write_overview:
    input:
        files=in_results(overview_files()),
    output:
        page=report(
            "<results>/index.html",
            caption="../report/write_overview.rst",
            category="Overview",
            labels={"figure": "all results"},
        ),
        readme="<results>/README.md",
    log:
        "<logs>/write_overview/overview.log",
    benchmark:
        "<benchmarks>/write_overview/overview.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        report=CONFIG["report"],
        names=overview_files(),
        screens=SCREEN_FILES,
        backgrounds=BACKGROUND_FILES,
        models=MODEL_FILES,
        attributions={name: attribution_files(name) for name in CONFIG["attributions"]},
        command=run_command(),
        code=code_digest("jobs.write_overview"),
    script:
        "../../scripts/write_overview.py"
