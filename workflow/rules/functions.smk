# Functions beside predict: attributions (or the user's own) of backgrounds, once, and of every insert in them.


rule apply_before:
    input:
        files=files_of("models", "model"),
        fasta=rules.make_background.output.fasta,
    output:
        before="results/screens/{screen}/functions/{model}/{background}/before.h5",
    log:
        "logs/apply_before/{screen}/{model}/{background}.log",
    benchmark:
        "benchmarks/apply_before/{screen}/{model}/{background}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=240,
        gpu=gpus(),
    params:
        settings=settings_of("models", "model"),
        digests=digests_of("models", "model"),
        name=lambda wildcards: f"screens.{wildcards.screen}",
        screen=screen_of("outputs", "functions", "function_settings"),
        user_code=code_of,
        seed=CONFIG["seed"],
        engine=engine_settings(),
        code=code_with_model("jobs.apply_functions"),
    script:
        "../../scripts/apply_before.py"


rule apply_after:
    input:
        files=files_of("models", "model"),
        fasta=rules.make_background.output.fasta,
        inserts=rules.list_inserts.output.inserts,
    output:
        shard="results/screens/{screen}/functions/{model}/{background}/{shard}.h5",
    log:
        "logs/apply_after/{screen}/{model}/{background}/{shard}.log",
    benchmark:
        "benchmarks/apply_after/{screen}/{model}/{background}/{shard}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=480,
        gpu=gpus(),
    params:
        settings=settings_of("models", "model"),
        digests=digests_of("models", "model"),
        name=lambda wildcards: f"screens.{wildcards.screen}",
        screen=screen_of("outputs", "functions", "function_settings"),
        user_code=code_of,
        seed=CONFIG["seed"],
        engine=engine_settings(),
        code=code_with_model("jobs.apply_functions"),
    script:
        "../../scripts/apply_after.py"


rule merge_functions:
    input:
        inserts=rules.list_inserts.output.inserts,
        effects=rules.summarize_screen.output.effects,
        before=per_screen(rules.apply_before.output.before, model="models", background="backgrounds"),
        shards=shards_of(rules.apply_after.output.shard),
    output:
        functions="results/screens/{screen}/functions.h5",
        figure=report(
            "results/screens/{screen}/figures/functions.svg",
            caption="../report/merge_functions.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "attributions before and after"},
        ),
    log:
        "logs/merge_functions/{screen}.log",
    benchmark:
        "benchmarks/merge_functions/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        screen=screen_of("models", "backgrounds", "functions", "function_settings"),
        top=CONFIG["report"]["top"],
        code=code_digest("jobs.merge_functions"),
    script:
        "../../scripts/merge_functions.py"
