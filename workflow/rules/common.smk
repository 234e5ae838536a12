# The config, checked; the library on the path of every rule and script; functions that rules use. No rules here.

import functools
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str((Path(str(workflow.current_basedir)) / ".." / "lib").resolve()))

from marginome.config import check_keys, entry_files, job_config, resolve_config
from marginome.errors import MarginomeError
from marginome.figure_names import SCREEN_FIGURES
from marginome.models.headers import reader_modules
from marginome.provenance import code_digest, content_digests, file_digests, with_imported
from marginome.units import batches_of, controls_of, of_list, shards_of

try:
    # Jobs parse this file again: each checks what it uses itself, of a config that the main process found right.
    main = workflow.is_main_process
    CONFIG = resolve_config(config, files=workflow.configfiles) if main else job_config(config)
except MarginomeError as error:
    files = workflow.overwrite_configfiles
    if len(files) > 1:  # snakemake --configfile my.yaml <target> takes the target for a second config
        named = ", ".join(os.path.relpath(file) for file in files)
        error = f"{error}\n--configfile was given {named}: if one of them is a target, name it before --configfile."
    raise WorkflowError(str(error)) from None


# What one job with a model in it computes is of one batch of models; a file of it has a group for each model.
BATCHES = batches_of(CONFIG)
BATCH_OF = {model: batch for batch, models in BATCHES.items() for model in models}


wildcard_constraints:
    batch=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    model=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    list=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    background=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    collection=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    screen=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    attribution=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    elements=r"seqlets|patterns",
    shard=r"\d+-of-\d+",


@functools.cache
def named_files(section, name):
    """The files that one config entry names; looked up once, not for each of thousands of jobs."""
    return entry_files(CONFIG, section, name)


@functools.cache
def section_digests(section):
    """Digests of the files of all entries of a section: what is remembered of them is read and written once."""
    return content_digests(
        dict.fromkeys(file for name in CONFIG[section] for file in named_files(section, name))
    )


def named_digests(section, name):
    """Digests of the files that one config entry names; a job looks at no others."""
    files = named_files(section, name)
    known = section_digests(section) if workflow.is_main_process else content_digests(files)
    return {file: known[file] for file in files}


@functools.cache
def model_readers(model):
    """The modules that read the files of a model; looked up once, since a header tells."""
    return reader_modules(CONFIG["models"][model])


def files_of(section, wildcard):
    """Input function: the files that one config entry names.

    Marked ancient: Snakemake follows modification times where one means content, so a touched genome or
    model would rerun everything. Their digests are in the params of the rules that use them (`digests_of`).
    """
    return lambda wildcards: ancient(named_files(section, wildcards[wildcard]))


def settings_of(section, wildcard):
    """Params function: one config entry as it is, so that a change elsewhere in the config reruns nothing."""
    return lambda wildcards: CONFIG[section][wildcards[wildcard]]


def digests_of(section, wildcard):
    """Params function: digests of the files that one config entry names."""
    return lambda wildcards: named_digests(section, wildcards[wildcard])


def models_of(wildcards):
    """The models that a job computes: of its batch, or the one that it names."""
    return BATCHES[wildcards.batch] if "batch" in wildcards.keys() else (wildcards.model,)


def model_files(wildcards):
    """Input function: the files of a job's models (see `files_of`)."""
    return ancient([file for model in models_of(wildcards) for file in named_files("models", model)])


def model_settings(wildcards):
    """Params function: the entries of a job's models, and of no other."""
    return {model: CONFIG["models"][model] for model in models_of(wildcards)}


def model_digests(wildcards):
    """Params function: SHA-256 of the files of each of a job's models."""
    return {model: named_digests("models", model) for model in models_of(wildcards)}


def of_batch(pattern):
    """Input function: a file of the batch that the model of a job is in."""
    return lambda wildcards: expand(
        pattern, **{**dict(wildcards.items()), "batch": BATCH_OF[wildcards.model]}
    )


def checks_of(models):
    """The files of the checks of some models; those of one batch are one file."""
    return expand(rules.check_model.output.json, batch=[BATCH_OF[model] for model in models])


def batches_of_screen(screen):
    """The batches of a screen's models, in their order."""
    return list(dict.fromkeys(BATCH_OF[model] for model in CONFIG["screens"][screen]["models"]))


def lists_of(screen):
    """How many shards each insert list of a screen has, by the list's name: that of the collection that it is made of."""
    entry = CONFIG["screens"][screen]
    return {name: shards_of(entry["shards"], name) for name in entry["motifs"]}


def code_with_models(job):
    """Params function: the digest of a job's code and of what reads the files of its models."""
    return lambda wildcards: code_digest(
        job, *sorted({module for model in models_of(wildcards) for module in model_readers(model)})
    )


def screen_of(*keys):
    """Params function: the keys of a screen's entry that a rule uses."""
    check_keys("screens", keys)
    return lambda wildcards: {key: CONFIG["screens"][wildcards.screen].get(key) for key in keys}


def engine_settings():
    """The run's settings that every rule with a model in it uses."""
    return {
        key: CONFIG.get(key) for key in ("device", "precision", "engine", "block", "threads", "memory_mb")
    }


def gpus():
    """GPUs that a job with a model in it asks for: exactly one when the device is cuda."""
    return 1 if CONFIG["device"] == "cuda" else 0


def memory(base_mb):
    """Resource function: memory (MB) of a job, more after each failed attempt."""
    return lambda wildcards, attempt: base_mb * attempt


def per_screen(pattern, **names):
    """Input function: a pattern expanded over the entries that a screen names, e.g. background='backgrounds'."""
    return lambda wildcards: expand(
        pattern,
        **dict(wildcards.items()),
        **{wildcard: CONFIG["screens"][wildcards.screen][key] for wildcard, key in names.items()},
    )


def per_batch(pattern, **names):
    """Input function: a pattern expanded over the batches of a screen, and over entries that it names."""
    return lambda wildcards: expand(
        pattern,
        screen=wildcards.screen,
        batch=batches_of_screen(wildcards.screen),
        **{wildcard: CONFIG["screens"][wildcards.screen][key] for wildcard, key in names.items()},
    )


def shards_of_screen(pattern):
    """Input function: the shards of a screen, or of the batch that is named: by batch, background set and list."""

    def inputs(wildcards):
        batches = [wildcards.batch] if "batch" in wildcards.keys() else batches_of_screen(wildcards.screen)
        return [
            file
            for batch in batches
            for background in CONFIG["screens"][wildcards.screen]["backgrounds"]
            for name, shards in lists_of(wildcards.screen).items()
            for file in expand(
                pattern, screen=wildcards.screen, batch=batch, background=background, list=name, shard=shards
            )
        ]

    return inputs


def list_controls(wildcards):
    """Params function: what the screen's controls say for one insert list."""
    return controls_of(CONFIG["screens"][wildcards.screen]["controls"], wildcards.list)


def merged_screen(wildcards):
    """Params function: what shards are put together by, in the order of the inputs."""
    return {
        "backgrounds": CONFIG["screens"][wildcards.screen]["backgrounds"],
        "shards": [len(shards) for shards in lists_of(wildcards.screen).values()],
    }


@functools.cache
def entries_with_background(background):
    """The screens and attributions that use a background set, and their models."""
    screens = [name for name, entry in CONFIG["screens"].items() if background in entry["backgrounds"]]
    attributions = [
        name for name in CONFIG["attributions"] if background in entries_of_attribution(name)["backgrounds"]
    ]
    models = {model for name in screens for model in CONFIG["screens"][name]["models"]}
    models |= {CONFIG["attributions"][name]["model"] for name in attributions}
    return {"screens": screens, "attributions": attributions, "models": sorted(models)}


def lists_of_screens(pattern, screens):
    """A pattern expanded over the insert lists of some screens, screen by screen."""
    return [file for screen in screens for file in expand(pattern, screen=screen, list=lists_of(screen))]


def asked_of_models(section, *keys):
    """Params function: the keys that ask something of a model, of the entries that use a background set."""
    check_keys(section, keys)
    return lambda wildcards: {
        name: {key: CONFIG[section][name].get(key) for key in keys}
        for name in entries_with_background(wildcards.background)[section]
    }


def has_functions(screen):
    """Say whether a screen asks for more than predictions."""
    return any(function != "predict" for function in CONFIG["screens"][screen]["functions"])


# What a reader gets, by kind of file.
SCREEN_FILES = {
    screen: {
        "page": f"results/screens/{screen}/report.html",
        "effects": f"results/screens/{screen}/effects.parquet",
        "tsv": f"results/screens/{screen}/effects.tsv.gz",
        "backgrounds": f"results/screens/{screen}/effects.h5",
        "profiles": f"results/screens/{screen}/profiles.h5",
        "agreement": f"results/screens/{screen}/agreement.parquet",
        "consensus": f"results/screens/{screen}/consensus.parquet",
        **{f"figures/{name}": f"results/screens/{screen}/figures/{name}.svg" for name in SCREEN_FIGURES},
        "provenance": f"results/screens/{screen}/provenance.json",
        **({"gaps": f"results/screens/{screen}/figures/gaps.svg"} if entry.get("pairs") else {}),
        **(
            {
                "functions": f"results/screens/{screen}/functions.h5",
                "functions_figure": f"results/screens/{screen}/figures/functions.svg",
            }
            if has_functions(screen)
            else {}
        ),
    }
    for screen, entry in CONFIG["screens"].items()
}
BACKGROUND_FILES = {
    background: {
        "fasta": f"results/backgrounds/{background}.fa.gz",
        "bed": f"results/backgrounds/{background}.bed",
        "tsv": f"results/backgrounds/{background}.tsv",
        "figure": f"results/backgrounds/{background}.svg",
        "checks": f"results/backgrounds/{background}.json",
        "page": f"results/backgrounds/{background}.html",
    }
    for background in CONFIG["backgrounds"]
}
MODEL_FILES = {
    batch: {"json": f"results/models/{batch}/check.json", "page": f"results/models/{batch}/check.html"}
    for batch in BATCHES
}


def screen_results():
    """Everything a reader gets of every screen."""
    return [file for files in SCREEN_FILES.values() for file in files.values()]


# Of an attribution entry the overview shows these.
ENTRY_ON_OVERVIEW = (
    "seqlets.parquet",
    "annotations.parquet",
    "patterns.parquet",
    "elements.svg",
    "provenance.json",
)


def overview_inputs():
    """The files that the overview reads or shows; it links to the rest."""
    return {
        "screens": [
            files[k]
            for files in SCREEN_FILES.values()
            for k in ("effects", "page", "figures/heatmap", "provenance")
        ],
        "backgrounds": [
            files[k] for files in BACKGROUND_FILES.values() for k in ("checks", "figure", "page")
        ],
        "models": [file for files in MODEL_FILES.values() for file in files.values()],
        "attributions": [
            file for file in attribution_results() if os.path.basename(file) in ENTRY_ON_OVERVIEW
        ],
    }


def run_command(*targets):
    """The command that makes the results (or some of them) again, as it is shown to readers."""
    # targets first: --configfile takes every word that follows it
    named = ["--configfile", *map(os.path.relpath, workflow.overwrite_configfiles)]
    return shlex.join(["snakemake", "--cores", "all", *targets, *(named if len(named) > 1 else [])])


def screen_section(screen):
    """A screen's entry with the entries of the models, motifs and backgrounds that it names, and the run's settings."""
    entry = CONFIG["screens"][screen]
    named = {
        section: {name: CONFIG[section][name] for name in entry[section]}
        for section in ("models", "motifs", "backgrounds")
    }
    return {"screen": {screen: entry}, "seed": CONFIG["seed"], **engine_settings(), **named}


def screen_digests(screen):
    """SHA-256 of every file that a screen's entries name."""
    entry = CONFIG["screens"][screen]
    files = [
        file
        for section in ("models", "motifs", "backgrounds")
        for name in entry[section]
        for file in entry_files(CONFIG, section, name)
    ]
    return file_digests(with_imported([*files, *entry_files(CONFIG, "screens", screen)]))


# ------------------------------------------------------------------------------------------- functions
def code_of(wildcards):
    """Params function: digests of the user's own code that a screen names."""
    return named_digests("screens", wildcards.screen)


def results_of_screen(wildcards):
    """Input function: the results of a screen whose checksums are recorded."""
    return [rules.summarize_screen.output.effects, *functions_of_screen(wildcards)]


def parts_of_screen(wildcards):
    """Input function: every shard of a screen, of predictions and of functions beside them."""
    after = rules.apply_after.output.shard
    functions = shards_of_screen(after)(wildcards) if has_functions(wildcards.screen) else []
    return [*shards_of_screen(rules.marginalize.output.shard)(wildcards), *functions]


def merged_functions(wildcards):
    """Params function: what shards of functions are put together by, in the order of the inputs."""
    entry = CONFIG["screens"][wildcards.screen]
    asked = {key: entry[key] for key in ("functions", "function_settings")}
    batches = {batch: BATCHES[batch] for batch in batches_of_screen(wildcards.screen)}
    return {"batches": batches, **merged_screen(wildcards), **asked}


def functions_of_screen(wildcards):
    """Input function: what functions beside predict gave in a screen, if it asks for any."""
    return expand(
        rules.merge_functions.output.functions,
        screen=[screen for screen in (wildcards.screen,) if has_functions(screen)],
    )


# ------------------------------------------------------------------------------------------- attributions
def attribution_of(*keys):
    """Params function: the keys of an attribution entry that a rule uses."""
    check_keys("attributions", keys)
    return lambda wildcards: {key: CONFIG["attributions"][wildcards.attribution].get(key) for key in keys}


def attributed_model(function):
    """Input or params function of the model that an attribution entry names, e.g. `settings_of`'s."""

    def inputs(wildcards):
        return function(CONFIG["attributions"][wildcards.attribution]["model"])

    return inputs


def part_files(*path):
    """Input function: the files that one part of an attribution entry names, marked ancient (see `files_of`)."""
    return lambda wildcards: ancient(_part_files(wildcards, path))


def part_digests(*path):
    """Params function: digests of those files."""
    return lambda wildcards: content_digests(_part_files(wildcards, path))


def _part_files(wildcards, path):
    # the entry of that name with nothing but the part, so that a change elsewhere in it reruns nothing
    part = found = {}
    entry = CONFIG["attributions"][wildcards.attribution]
    for key in path[:-1]:
        part[key], entry = {}, entry.get(key) or {}
        part = part[key]
    if path[-1] in entry:
        part[path[-1]] = entry[path[-1]]
    return entry_files(
        {"attributions": {wildcards.attribution: found}}, "attributions", wildcards.attribution
    )


def background_of(*path):
    """Input function: the FASTA of the background set that a part of an attribution entry names, if it does."""

    def inputs(wildcards):
        entry = CONFIG["attributions"][wildcards.attribution]
        for key in path:
            entry = (entry or {}).get(key)
        return expand(rules.make_background.output.fasta, background=[entry] if entry else [])

    return inputs


def insert_collection(wildcards):
    """Input function: the table of the collection that the insert of the loci is from, if it is from one."""
    insert = CONFIG["attributions"][wildcards.attribution]["loci"].get("insert") or {}
    return expand(
        rules.collect_motifs.output.table, collection=[insert[k] for k in ("collection",) if k in insert]
    )


def element_settings(wildcards):
    """Params function: how elements are put into backgrounds, without how many shards."""
    entry = CONFIG["attributions"][wildcards.attribution]["marginalize"]
    used = ("outputs", "annotations", "flank", "samples", "controls")
    return {key: entry[key] for key in used if key in entry}


def element_screen(wildcards):
    """Params function: what `marginalize` takes of a screen's entry."""
    entry = CONFIG["attributions"][wildcards.attribution]["marginalize"]
    return {"outputs": entry.get("outputs"), "keep": entry["keep"]}


def element_functions(wildcards):
    """Params function: what `apply_functions` takes of a screen's entry."""
    entry = CONFIG["attributions"][wildcards.attribution]["marginalize"]
    return {"outputs": entry.get("outputs")} | {key: entry[key] for key in ("functions", "function_settings")}


def element_merge(wildcards):
    """Params function: what the shards of elements are put together by, as `merge_functions` takes a screen's."""
    entry = CONFIG["attributions"][wildcards.attribution]
    chosen = {"batches": {"": [entry["model"]]}, "backgrounds": entry["marginalize"]["backgrounds"]}
    return chosen | {"shards": [entry["marginalize"]["shards"]]} | element_functions(wildcards)


def collections_of(wildcards):
    """Input function: tables of the motif collections that name seqlets and patterns."""
    entry = CONFIG["attributions"][wildcards.attribution].get("annotate") or {}
    return expand(rules.collect_motifs.output.table, collection=entry.get("motifs", []))


def attribution_shards(wildcards):
    """Input function: every shard of an attribution entry."""
    count = CONFIG["attributions"][wildcards.attribution]["shards"]
    return expand(
        rules.attribute.output.shard,
        attribution=wildcards.attribution,
        shard=[f"{i}-of-{count}" for i in range(1, count + 1)],
    )


def element_file(wildcards, elements, what):
    """Input function: a table of seqlets or patterns, named where the config says how, or their isolated effects.

    Empty where the config does not ask for it.
    """
    entry = CONFIG["attributions"][wildcards.attribution]
    if elements == "patterns" and entry.get("patterns") is None:
        return []
    if what == "effects":
        files = rules.summarize_elements.output.effects if entry.get("marginalize") else []
    elif elements == "patterns":
        files = (
            rules.annotate_patterns.output.matches
            if entry.get("annotate")
            else rules.find_patterns.output.patterns
        )
    else:
        files = (
            rules.annotate_seqlets.output.annotations
            if entry.get("annotate")
            else rules.call_seqlets.output.seqlets
        )
    return expand(files, attribution=wildcards.attribution, elements=elements)


def element_table(wildcards):
    """Input function: the table of the seqlets or patterns that are put into backgrounds."""
    return element_file(wildcards, wildcards.elements, "table")


def pattern_members(wildcards):
    """Input function: the seqlets of the patterns, which samples are drawn from."""
    return rules.find_patterns.output.seqlets if wildcards.elements == "patterns" else []


def per_attribution(pattern):
    """Input function: a pattern expanded over the background sets that elements are put into."""

    def inputs(wildcards):
        entry = CONFIG["attributions"][wildcards.attribution]
        names = {"model": entry["model"], "background": entry["marginalize"]["backgrounds"]}
        return expand(pattern, **dict(wildcards.items()), **names, batch=BATCH_OF[entry["model"]])

    return inputs


def element_shards(pattern):
    """Input function: every shard of the seqlets or patterns of an attribution entry."""

    def inputs(wildcards):
        entry = CONFIG["attributions"][wildcards.attribution]
        count = entry["marginalize"]["shards"]
        return expand(
            pattern,
            attribution=wildcards.attribution,
            elements=wildcards.elements,
            model=entry["model"],
            background=entry["marginalize"]["backgrounds"],
            shard=shards_of(count, wildcards.elements),
        )

    return inputs


def attribution_files():
    """What a reader gets of every attribution entry, by name."""
    wanted = {}
    for name, entry in CONFIG["attributions"].items():
        files = [
            "attributions.h5",
            "seqlets.parquet",
            "seqlets.bed",
            "figures/elements.svg",
            "report.html",
            "provenance.json",
        ]
        elements = ["seqlets"]
        if entry.get("annotate"):
            files.append("annotations.parquet")
        if entry.get("patterns") is not None:
            files += ["patterns.h5", "patterns.parquet"]
            elements.append("patterns")
            if entry.get("annotate"):
                files.append("pattern_matches.parquet")
        if entry.get("marginalize"):
            files += [f"{kind}/effects.parquet" for kind in elements]
            if any(function != "predict" for function in entry["marginalize"]["functions"]):
                files += [f"{kind}/functions.{suffix}" for kind in elements for suffix in ("h5", "svg")]
        wanted[name] = [f"results/attributions/{name}/{file}" for file in files]
    return wanted


def recorded_results(wildcards):
    """Input function: the tables and arrays of an attribution entry, whose checksums are recorded."""
    return [file for file in attribution_files()[wildcards.attribution] if file.endswith((".parquet", ".h5"))]


def recorded_parts(wildcards):
    """Input function: every shard of an attribution entry: of attributions, then of its isolated elements."""
    entry = CONFIG["attributions"][wildcards.attribution]
    found = attribution_shards(wildcards)
    if not entry.get("marginalize"):
        return found
    patterns = [rules.marginalize_elements.output.shard]
    if any(function != "predict" for function in entry["marginalize"]["functions"]):
        patterns.append(rules.apply_elements_after.output.shard)
    count = entry["marginalize"]["shards"]
    return found + expand(
        patterns,
        attribution=wildcards.attribution,
        elements=["seqlets", *(["patterns"] if entry.get("patterns") is not None else [])],
        model=entry["model"],
        background=entry["marginalize"]["backgrounds"],
        shard=[f"{i}-of-{count}" for i in range(1, count + 1)],
    )


def entries_of_attribution(attribution):
    """The names in other sections that an attribution entry uses, by section."""
    entry = CONFIG["attributions"][attribution]
    loci, annotate, marginalize = (entry.get(key) or {} for key in ("loci", "annotate", "marginalize"))
    motifs = [*annotate.get("motifs", []), (loci.get("insert") or {}).get("collection")]
    backgrounds = [loci.get("background"), (entry.get("references") or {}).get("background")]
    named = {"models": [entry["model"]], "motifs": motifs}
    named["backgrounds"] = [*backgrounds, *marginalize.get("backgrounds", [])]
    return {section: sorted({name for name in names if name}) for section, names in named.items()}


def attribution_section(attribution):
    """An attribution entry with the entries that it names, and the run's settings."""
    named = {
        section: {name: CONFIG[section][name] for name in names}
        for section, names in entries_of_attribution(attribution).items()
    }
    entry = {attribution: CONFIG["attributions"][attribution]}
    return {"attribution": entry, "seed": CONFIG["seed"], **engine_settings(), **named}


def attribution_digests(attribution):
    """SHA-256 of every file that an attribution entry and the entries that it names need."""
    files = entry_files(CONFIG, "attributions", attribution)
    for section, names in entries_of_attribution(attribution).items():
        files = [*files, *(file for name in names for file in entry_files(CONFIG, section, name))]
    return file_digests(with_imported(files))


def attribution_results():
    """Everything a reader gets of every attribution entry."""
    return [file for files in attribution_files().values() for file in files]
