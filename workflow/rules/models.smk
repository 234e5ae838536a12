# Models: checked once, and their predictions on every background set computed once.


rule check_model:
    input:
        files=files_of("models", "model"),
    output:
        json="results/models/{model}/check.json",
    log:
        "logs/check_model/{model}.log",
    benchmark:
        "benchmarks/check_model/{model}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=30,
        gpu=gpus(),
    params:
        settings=settings_of("models", "model"),
        digests=digests_of("models", "model"),
        engine=engine_settings(),
        code=code_with_model("jobs.models"),
    script:
        "../../scripts/check_model.py"


rule report_model:
    input:
        check=rules.check_model.output.json,
    output:
        page=report(
            "results/models/{model}/check.html",
            caption="../report/report_model.rst",
            category="Models",
            labels={"model": "{model}", "figure": "checks"},
        ),
    log:
        "logs/report_model/{model}.log",
    benchmark:
        "benchmarks/report_model/{model}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        code=code_digest("jobs.model_page"),
    script:
        "../../scripts/report_model.py"


rule predict_baseline:
    input:
        files=files_of("models", "model"),
        check=rules.check_model.output.json,
        fasta=rules.make_background.output.fasta,
    output:
        predictions="results/baselines/{model}/{background}.h5",
    log:
        "logs/predict_baseline/{model}/{background}.log",
    benchmark:
        "benchmarks/predict_baseline/{model}/{background}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=60,
        gpu=gpus(),
    params:
        settings=settings_of("models", "model"),
        digests=digests_of("models", "model"),
        engine=engine_settings(),
        code=code_with_model("jobs.baseline"),
    script:
        "../../scripts/predict_baseline.py"
