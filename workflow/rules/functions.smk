# Functions beside predict: attributions (or the user's own) of backgrounds, once, and of every insert in them.


# Of judged pairs functions are applied to the best arrangements alone: each costs many times what a prediction does. Which
# these are is a matter of a batch's own models.
rule choose_arrangements:
    input:
        inserts=INSERTS,
        pairs=BATCH_PAIRS,
    output:
        chosen=BEST,
    log:
        "<logs>/choose_arrangements/{screen}/{batch}/{list}.log",
    benchmark:
        "<benchmarks>/choose_arrangements/{screen}/{batch}/{list}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=10,
    params:
        code=code_digest("jobs.choose_arrangements"),
    script:
        "../../scripts/choose_arrangements.py"


rule apply_before:
    input:
        files=model_files,
        fasta=rules.make_background.output.fasta,
    output:
        before=BEFORE,
    log:
        "<logs>/apply_before/{screen}/{batch}/{background}.log",
    benchmark:
        "<benchmarks>/apply_before/{screen}/{batch}/{background}.tsv"
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
        name=lambda wildcards: f"screens.{wildcards.screen}",
        screen=screen_of("outputs", "functions", "function_settings"),
        user_code=code_of,
        seed=CONFIG["seed"],
        engine=engine_settings(),
        code=code_with_models("jobs.apply_functions"),
    script:
        "../../scripts/apply_before.py"


rule apply_after:
    input:
        files=model_files,
        fasta=rules.make_background.output.fasta,
        inserts=inserts_of_functions,
    output:
        shard=AFTER,
    log:
        "<logs>/apply_after/{screen}/{batch}/{background}/{list}/{shard}.log",
    benchmark:
        "<benchmarks>/apply_after/{screen}/{batch}/{background}/{list}/{shard}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: CONFIG["threads"]
    resources:
        **gpus(),
        mem_mb=memory(CONFIG["memory_mb"] + 2000),
        runtime=480,
    params:
        models=model_settings,
        opened=model_opened,
        digests=model_digests,
        name=lambda wildcards: f"screens.{wildcards.screen}",
        screen=screen_of("outputs", "functions", "function_settings"),
        user_code=code_of,
        seed=CONFIG["seed"],
        engine=engine_settings(),
        code=code_with_models("jobs.apply_functions"),
    script:
        "../../scripts/apply_after.py"


rule merge_functions:
    input:
        inserts=lists_of_functions,
        effects=rules.merge_batches.output.effects,
        before=per_batch(BEFORE, background="backgrounds"),
        shards=shards_of_screen(AFTER),
    output:
        functions=FUNCTIONS,
        figure=report(
            "<results>/screens/{screen}/figures/functions.svg",
            caption="../report/merge_functions.rst",
            category="Screens",
            subcategory="{screen}",
            labels={"figure": "attributions before and after"},
        ),
    log:
        "<logs>/merge_functions/{screen}.log",
    benchmark:
        "<benchmarks>/merge_functions/{screen}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        screen=merged_functions,
        top=CONFIG["report"]["top"],
        code=code_digest("jobs.merge_functions"),
    script:
        "../../scripts/merge_functions.py"
