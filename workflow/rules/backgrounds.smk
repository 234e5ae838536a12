# Background sets: the sequences that motifs are put into.


rule make_background:
    input:
        files=files_of("backgrounds", "background"),
    output:
        fasta=BACKGROUND,
        bed="<results>/backgrounds/{background}.bed",
        tsv="<results>/backgrounds/{background}.tsv",
        figure=report(
            "<results>/backgrounds/{background}.svg",
            caption="../report/make_background.rst",
            category="Backgrounds",
            labels={"background set": "{background}", "figure": "composition"},
        ),
        checks="<results>/backgrounds/{background}.json",
    log:
        "<logs>/make_background/{background}.log",
    benchmark:
        "<benchmarks>/make_background/{background}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        settings=settings_of("backgrounds", "background"),
        digests=digests_of("backgrounds", "background"),
        seed=CONFIG["seed"],
        code=code_of_background,
    script:
        "../../scripts/make_background.py"


rule report_background:
    input:
        checks=rules.make_background.output.checks,
        tsv=rules.make_background.output.tsv,
        figure=rules.make_background.output.figure,
    output:
        page=report(
            "<results>/backgrounds/{background}.html",
            caption="../report/report_background.rst",
            category="Backgrounds",
            labels={"background set": "{background}", "figure": "checks"},
        ),
    log:
        "<logs>/report_background/{background}.log",
    benchmark:
        "<benchmarks>/report_background/{background}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=code_digest("jobs.report_background"),
    script:
        "../../scripts/report_background.py"
