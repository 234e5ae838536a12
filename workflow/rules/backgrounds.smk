# Background sets: the sequences that motifs are put into.


# An index beside the genome is not looked for: where that folder is, no job need be. It is made once, of the genome alone: its
# rule has no digest of code, since an edit would make every background set anew for the same index.
rule index_genome:
    input:
        genome=lambda wildcards: inputs([GENOMES[wildcards.genome][0]])[0],
    output:
        fai=GENOME_INDEX,
        gzi=GENOME_BLOCKS,
    log:
        "<logs>/index_genome/{genome}.log",
    benchmark:
        "<benchmarks>/index_genome/{genome}.tsv"
    conda:
        "../../envs/marginome.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=60,
    params:
        digest=genome_digest,
    script:
        "../../scripts/index_genome.py"


rule make_background:
    input:
        files=files_of("backgrounds", "background"),
        index=lambda wildcards: index_of(CONFIG["backgrounds"][wildcards.background]),
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
        opened=opened_of("backgrounds", "background"),
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
