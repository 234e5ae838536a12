# The config, checked; the library on the path of every rule and script; functions that rules use. No rules here.

import functools
import gc
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

VERSION = "0.1.0"  # of these rules, which are made for this version of the library

# The library beside these rules comes before an installed one, here and in the jobs. A workflow that Snakemake fetches
# by its address has none beside it: rules and scripts come file by file, so the library is installed.
LIBRARY = (Path(str(workflow.current_basedir)) / ".." / "lib").resolve()
if (LIBRARY / "marginome").is_dir():
    sys.path.insert(0, str(LIBRARY))
HOW = (
    f"Install it: pip install 'marginome @ git+<address of marginome>@v{VERSION}#subdirectory=workflow/lib', "
    "into the environment that snakemake runs in."
)
try:
    import marginome
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error.name or 'marginome'}: this Python package is missing in {sys.prefix}. {HOW}"
    ) from None
if marginome.__version__ != VERSION:
    raise WorkflowError(
        f"marginome {marginome.__version__} in {Path(marginome.__file__).parent} is not the {VERSION} of this workflow. {HOW}"
    )

from marginome.attribution_entries import used_entries
from marginome.caches import used_by_jobs
from marginome.config import check_keys, job_config, resolve_config
from marginome.errors import MarginomeError
from marginome.models.headers import reader_modules
from marginome.motifs import formats
from marginome.provenance import code_digest, content_digests, file_digests, with_imported
from marginome.sheets import KeptBatches, batches_of, expand_sheets
from marginome.units import controls_of, of_list, shards_of

# Planning makes millions of objects that stay: to look through them again and again for what may go takes a tenth of it.
gc.set_threshold(200_000)

if LIBRARY in Path(marginome.__file__).parents:
    used_by_jobs(LIBRARY)
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
EXPANDED = expand_sheets(config)
SHEETS = EXPANDED.sheets
KEPT_BATCHES = KeptBatches(os.path.join(CONFIG["pathvars"]["results"], "models", "batches.tsv"))
try:
    BATCHES = batches_of(CONFIG["models"], SHEETS, CONFIG["batch"], KEPT_BATCHES.read() if SHEETS else {})
except MarginomeError as error:
    raise WorkflowError(str(error)) from None
BATCH_OF = {model: batch for batch, models in BATCHES.items() for model in models}


def keep_batches():
    """Have models of sheets stay in their batches: when a run begins, so that a dry run decides nothing."""
    of_sheets = {model for sheet in SHEETS for model in sheet}
    if of_sheets:
        KEPT_BATCHES.write({batch: models for batch, models in BATCHES.items() if models[0] in of_sheets})


wildcard_constraints:
    batch=r"[A-Za-z0-9_][A-Za-z0-9_.+-]*",
    model=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    list=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    background=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    genome=r"[A-Za-z0-9_.-]+",
    collection=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    screen=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    attribution=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    comparison=r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    elements=r"seqlets|patterns",
    shard=r"\d+-of-\d+",
    track=r"observed|hypothetical_[ACGT]",


def code_of_collection(wildcards):
    """Params function: the digest of the code that makes a collection, with the readers of its own files alone."""
    settings = CONFIG["motifs"][wildcards.collection]
    readers = readers_of("motifs", wildcards.collection)
    return code_digest("jobs.collect_motifs", *formats.reader_modules(settings, readers))


def code_of_background(wildcards):
    """Params function: the digest of the code that makes a background set; motifs are read where hits are left out."""
    settings = (CONFIG["backgrounds"][wildcards.background].get("exclude_hits") or {}).get("motifs")
    known = readers_of("backgrounds", wildcards.background)
    readers = formats.reader_modules(settings, known) if settings else ()
    return code_digest("jobs.make_background", *(("motifs.formats", *readers) if settings else ()))


def files_of(section, wildcard):
    """Input function: the files that one config entry names and that are data.

    Marked ancient: Snakemake follows modification times where one means content, so a touched genome or
    model would rerun everything. Their digests are in the params of the rules that use them (`digests_of`).
    """
    return lambda wildcards: inputs(data_files(section, wildcards[wildcard]))


def opened_of(section, wildcard):
    """Params function: what a job is told of those files."""
    return lambda wildcards: opened((section, wildcards[wildcard], (), ()))


def settings_of(section, wildcard):
    """Params function: one config entry as it is, so that a change elsewhere in the config reruns nothing."""
    return lambda wildcards: CONFIG[section][wildcards[wildcard]]


def digests_of(section, wildcard):
    """Params function: digests of the files that one config entry names."""
    return lambda wildcards: named_digests(section, wildcards[wildcard])


def models_of(wildcards):
    """The models that a job computes: of its batch (and screen), or the one that it names."""
    if "batch" not in wildcards.keys():
        return (wildcards.model,)
    return models_of_batch(wildcards.batch, wildcards.get("screen"))


@functools.cache
def models_of_batch(batch, screen=None):
    """The models of a batch; of those, the ones that a screen asks for."""
    asked = BATCHES[batch] if screen is None else set(CONFIG["screens"][screen]["models"])
    return tuple(model for model in BATCHES[batch] if model in asked)


def model_files(wildcards):
    """Input function: the files of a job's models (see `files_of`)."""
    return inputs(file for model in models_of(wildcards) for file in data_files("models", model))


def model_opened(wildcards):
    """Params function: what a job is told of those files."""
    return opened(*[("models", model, (), (model,)) for model in models_of(wildcards)])


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
    )[0]


def checks_of(models):
    """The files of the checks of some models, one for each batch that has any of them."""
    return expand(CHECK, batch=list(grouped_by_batch(models)))


def in_batches(models):
    """Some models, in the lists that go with the files of `checks_of`."""
    return list(grouped_by_batch(models).values())


def grouped_by_batch(models):
    """Some models by the batch that they are in."""
    found = {}
    for model in models:
        found.setdefault(BATCH_OF[model], []).append(model)
    return found


def batches_of_screen(screen):
    """The batches of a screen's models, in their order."""
    return list(dict.fromkeys(BATCH_OF[model] for model in CONFIG["screens"][screen]["models"]))


def labels_of_screen(wildcards):
    """Params function: the labels that sheets give a screen's models."""
    return {model: EXPANDED.labels.get(model, {}) for model in CONFIG["screens"][wildcards.screen]["models"]}


def lists_of(screen):
    """How many shards each insert list of a screen has, by the list's name: that of the collection that it is made of."""
    entry = CONFIG["screens"][screen]
    return {name: shards_of(entry["shards"], name) for name in entry["motifs"]}


def code_with_models(job):
    """Params function: the digest of a job's code and of what reads the files of its models."""
    return lambda wildcards: code_digest(
        job, *sorted({module for model in models_of(wildcards) for module in readers_of("models", model)})
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
    """The resource of a job with a model in it: one GPU when the device is cuda; 0 is a GPU job to some executors."""
    return {"gpu": 1} if CONFIG["device"] == "cuda" else {}


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


def sides_of(wildcards):
    """Params function: the models of both sides of a comparison."""
    return CONFIG["screens"][wildcards.screen]["comparisons"][wildcards.comparison]


def batch_files(pattern, screen, models):
    """Files of the batches that some models of a screen are in, each once."""
    return expand(pattern, screen=screen, batch=list(dict.fromkeys(BATCH_OF[model] for model in models)))


def list_controls(wildcards):
    """Params function: what the screen's controls say for one insert list."""
    return controls_of(CONFIG["screens"][wildcards.screen]["controls"], wildcards.list)


def merged_screen(wildcards):
    """Params function: what shards are put together by, in the order of the inputs."""
    return {
        "backgrounds": CONFIG["screens"][wildcards.screen]["backgrounds"],
        "shards": [len(shards) for shards in lists_of(wildcards.screen).values()],
    }


FIRST = 10  # priority of jobs that find mistakes


def entries_checked():
    """What check_entries makes for the background sets that screens and attributions use."""
    used = [name for name in CONFIG["backgrounds"] if entries_with_background(name)["models"]]
    return expand(ENTRIES, background=used)


@functools.cache
def entries_with_background(background):
    """The screens and attributions that use a background set, and their models."""
    screens = [name for name, entry in CONFIG["screens"].items() if background in entry["backgrounds"]]
    attributions = [
        name
        for name, entry in CONFIG["attributions"].items()
        if background in used_entries(entry)["backgrounds"]
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
