# Models, in batches: checked once, and their predictions on every background set computed once.


rule check_model:
    input:
        files=model_files,
    output:
        json=CHECK,
    log:
        "<logs>/check_model/{batch}.log",
    benchmark:
        "<benchmarks>/check_model/{batch}.tsv"
    priority: FIRST
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        **gpus(),
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=30,
    params:
        models=model_settings,
        opened=model_opened,
        digests=model_digests,
        engine=engine_settings(),
        code=code_with_models("jobs.check_model"),
    script:
        "../../scripts/check_model.py"


rule report_model:
    input:
        check=rules.check_model.output.json,
    output:
        page=report(
            "<results>/models/{batch}/check.html",
            caption="../report/report_model.rst",
            category="Models",
            labels={"models": "{batch}", "figure": "checks"},
        ),
    log:
        "<logs>/report_model/{batch}.log",
    benchmark:
        "<benchmarks>/report_model/{batch}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=code_digest("jobs.report_model"),
    script:
        "../../scripts/report_model.py"


rule predict_baseline:
    input:
        files=model_files,
        check=rules.check_model.output.json,
        fasta=rules.make_background.output.fasta,
    output:
        predictions=BASELINE,
    log:
        "<logs>/predict_baseline/{batch}/{background}.log",
    benchmark:
        "<benchmarks>/predict_baseline/{batch}/{background}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        **gpus(),
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=60,
    params:
        models=model_settings,
        opened=model_opened,
        digests=model_digests,
        engine=engine_settings(),
        code=code_with_models("jobs.predict_baseline"),
    script:
        "../../scripts/predict_baseline.py"
