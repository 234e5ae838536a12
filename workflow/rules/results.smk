# What a reader gets of a run, and what its pages are made of: files by kind, and functions of rules that name them. No rules
# here.

import shlex

from marginome.figure_names import SCREEN_FIGURES


def has_functions(screen):
    """Say whether a screen asks for more than predictions."""
    return any(function != "predict" for function in CONFIG["screens"][screen]["functions"])


def has_judged_pairs(screen):
    """Say whether a screen puts in pairs, and mismatched ones to judge them by."""
    return bool(CONFIG["screens"][screen].get("pairs")) and CONFIG["screens"][screen]["controls"] is not False


# Screens with a model of a sheet: a table is a file for each batch, and there is no page of everything.
OF_SHEETS = {model for sheet in SHEETS for model in sheet}
SHEET_SCREENS = [
    screen for screen, entry in CONFIG["screens"].items() if not OF_SHEETS.isdisjoint(entry["models"])
]


def screen_files(screen):
    """What a reader gets of a screen, by kind of file; names in the folder of results."""
    files = {
        "agreement": "agreement.parquet",
        "consensus": "consensus.parquet",
        "provenance": "provenance.json",
    }
    if screen in SHEET_SCREENS:
        files = {
            "page": "atlas.html",
            "clustermap": "figures/clustermap.svg",
            "clustermap_pdf": "figures/clustermap.pdf",
            "manifest": "manifest.parquet",
            "models": "models.parquet",
            "labels": "label_consensus.parquet",
            "tau": "tau.parquet",
            **files,
        }
    else:
        files = {
            "page": "report.html",
            "effects": "effects.parquet",
            "tsv": "effects.tsv.gz",
            "backgrounds": "effects.h5",
            "profiles": "profiles.h5",
            **files,
            **{f"figures/{name}": f"figures/{name}.svg" for name in SCREEN_FIGURES},
        }
        if CONFIG["screens"][screen].get("pairs"):
            files |= {"gaps": "figures/gaps.svg", "gap_profiles": "figures/gap_profiles.svg"}
    if has_judged_pairs(screen):
        files |= {
            "pairs": "pairs.parquet",
            "arrangements": "arrangements.parquet",
            "pair_backgrounds": "pair_backgrounds.parquet",
            "interactions_figure": "figures/interactions.svg",
            "pairs_figure": "figures/pairs.svg",
            "pair_backgrounds_figure": "figures/pair_backgrounds.svg",
            "interactions_pdf": "figures/interactions.pdf",
            "pairs_pdf": "figures/pairs.pdf",
            "pair_backgrounds_pdf": "figures/pair_backgrounds.pdf",
        }
    if CONFIG["screens"][screen].get("composites"):
        files |= {"composites": "composites.parquet", "composites_figure": "figures/composites.svg"}
    if has_functions(screen):
        files |= {"functions": "functions.h5", "functions_figure": "figures/functions.svg"}
    files |= {
        f"comparisons/{name}": f"comparisons/{name}.parquet"
        for name in CONFIG["screens"][screen]["comparisons"]
    }
    return {kind: f"screens/{screen}/{name}" for kind, name in files.items()}


def pages_of_models(screen):
    """The page of each model of a screen of a sheet, relative to the screen's folder."""
    found = {}
    for batch in batches_of_screen(screen):
        models = models_of_batch(batch, screen)
        found |= {model: f"pages/{batch}/{i}-of-{len(models)}.html" for i, model in enumerate(models, 1)}
    return found


def links_of_atlas(screen):
    """What the atlas links to, relative to the screen's folder."""
    files = {kind: os.path.relpath(name, f"screens/{screen}") for kind, name in SCREEN_FILES[screen].items()}
    return {name: name for kind, name in files.items() if kind != "page" and not kind.endswith("_pdf")}


SCREEN_FILES = {screen: screen_files(screen) for screen in CONFIG["screens"]}
BACKGROUND_FILES = {
    background: {
        "fasta": f"backgrounds/{background}.fa.gz",
        "bed": f"backgrounds/{background}.bed",
        "tsv": f"backgrounds/{background}.tsv",
        "figure": f"backgrounds/{background}.svg",
        "checks": f"backgrounds/{background}.json",
        "page": f"backgrounds/{background}.html",
    }
    for background in CONFIG["backgrounds"]
}
MODEL_FILES = {
    batch: {"json": f"models/{batch}/check.json", "page": f"models/{batch}/check.html"} for batch in BATCHES
}


def in_results(names):
    """The files of these names in the folder of results."""
    return [f"<results>/{name}" for name in names]


def screen_results():
    """Everything a reader gets of every screen."""
    files = in_results([name for files in SCREEN_FILES.values() for name in files.values()])
    pages = [
        f"screens/{screen}/{page}" for screen in SHEET_SCREENS for page in pages_of_models(screen).values()
    ]
    tables = [file for screen in SHEET_SCREENS for file in tables_of(screen)]
    return [*files, *tables, *in_results(pages)]


def tables_of(screen):
    """The files that hold the rows of a screen."""
    if screen not in SHEET_SCREENS:
        return expand(EFFECTS, screen=screen)
    return expand(BATCH_EFFECTS, screen=screen, batch=batches_of_screen(screen))


# Of an attribution entry the overview shows these.
ENTRY_ON_OVERVIEW = (
    "seqlets.parquet",
    "annotations.parquet",
    "patterns.parquet",
    "elements.svg",
    "provenance.json",
)


def overview_files():
    """The names of the files that the overview reads or shows; it links to the rest."""
    of_screens = ("effects", "page", "figures/heatmap", "manifest", "provenance")
    of_entries = [
        name
        for attribution in CONFIG["attributions"]
        for name in attribution_files(attribution)
        if os.path.basename(name) in ENTRY_ON_OVERVIEW
    ]
    return [
        *(files[kind] for files in SCREEN_FILES.values() for kind in of_screens if kind in files),
        *(files[kind] for files in BACKGROUND_FILES.values() for kind in ("checks", "figure", "page")),
        *(name for files in MODEL_FILES.values() for name in files.values()),
        *of_entries,
    ]


def run_command(*names):
    """The command that makes the results (or some of them, by name) again, as it is shown to readers."""
    targets = [f"{CONFIG['pathvars']['results']}/{name}" for name in names]
    # targets first: --configfile takes every word that follows it
    named = ["--configfile", *map(os.path.relpath, workflow.overwrite_configfiles)]
    return shlex.join(["snakemake", "--cores", "all", *targets, *(named if len(named) > 1 else [])])


def screen_section(screen, models=None):
    """A screen's entry with the entries that it names, and the run's settings; of some of its models if these are given."""
    entry = CONFIG["screens"][screen]
    if models is not None:
        entry = {key: value for key, value in entry.items() if key != "comparisons"} | {
            "models": list(models)
        }
    named = {
        section: {name: CONFIG[section][name] for name in entry[section]}
        for section in ("models", "motifs", "backgrounds")
    }
    return {"screen": {screen: entry}, "seed": CONFIG["seed"], **engine_settings(), **named}


def opened_for(entry):
    """What was made of the files that an entry's motifs and background sets name, and says which were opened."""
    return [*expand(COLLECTION, collection=entry.get("motifs", [])), *checks_of_backgrounds(entry)]


def checks_of_backgrounds(entry):
    """What is said of an entry's background sets when they are made."""
    return in_results(BACKGROUND_FILES[background]["checks"] for background in entry.get("backgrounds", []))


def modules_of_screen(models):
    """The modules that compute a screen, with what reads the files of its models."""
    readers = {reader for model in models for reader in readers_of("models", model)}
    jobs = ("marginalize", "summarize_batch", "summarize_screen", "merge_batches", "apply_functions")
    return [*(f"jobs.{job}" for job in jobs), *sorted(readers)]


def files_of_models(models):
    """The files that the entries of some models name."""
    return {file for model in models for file in entry_files("models", model)}


@functools.cache
def checksums_beside_models(screen):
    """SHA-256 of the files of a screen, less those that its models name."""
    of_models = files_of_models(CONFIG["screens"][screen]["models"])
    return {file: digest for file, digest in checksums("screens", screen).items() if file not in of_models}


def record_of_batch(wildcards):
    """Params function: what the record of a screen says of a batch of its models, as far as the config tells."""
    screen, models = wildcards.screen, models_of(wildcards)
    known = checksums("screens", screen)
    own = {file: known[file] for file in sorted(files_of_models(models))}
    return {
        "config": screen_section(screen, models),
        "digests": {**checksums_beside_models(screen), **own},
        "code": modules_of_screen(models),
        "command": run_command(SCREEN_FILES[screen]["page"]),
    }


# ------------------------------------------------------------------------------------------- functions
def code_of(wildcards):
    """Params function: digests of the user's own code that a screen names."""
    return named_digests("screens", wildcards.screen)


def results_of_screen(wildcards):
    """Input function: the results of a screen whose checksums are recorded."""
    return [*tables_of(wildcards.screen), *functions_of_screen(wildcards)]


def parts_of_screen(wildcards):
    """Input function: every shard of a screen, of predictions and of functions beside them."""
    after = AFTER
    functions = shards_of_screen(after)(wildcards) if has_functions(wildcards.screen) else []
    return [*shards_of_screen(SHARD)(wildcards), *functions]


def merged_functions(wildcards):
    """Params function: what shards of functions are put together by, in the order of the inputs."""
    entry = CONFIG["screens"][wildcards.screen]
    asked = {key: entry[key] for key in ("functions", "function_settings")}
    batches = {
        batch: models_of_batch(batch, wildcards.screen) for batch in batches_of_screen(wildcards.screen)
    }
    return {"batches": batches, **merged_screen(wildcards), **asked}


def of_judged_pairs(pattern):
    """Input function: a table of judged pairs, if the screen has any."""
    return lambda wildcards: (
        expand(pattern, **dict(wildcards.items())) if has_judged_pairs(wildcards.screen) else []
    )


def inserts_of_functions(wildcards):
    """Input function: what functions are applied to: an insert list, or of judged pairs the best arrangements."""
    pattern = BEST if has_judged_pairs(wildcards.screen) else INSERTS
    return expand(pattern, **dict(wildcards.items()))[0]


def lists_of_functions(wildcards):
    """Input function: what functions were applied to, list by list; of judged pairs batch by batch, then list by list."""
    if has_judged_pairs(wildcards.screen):
        return per_batch(BEST, list="motifs")(wildcards)
    return per_screen(INSERTS, list="motifs")(wildcards)


def functions_of_screen(wildcards):
    """Input function: what functions beside predict gave in a screen, if it asks for any."""
    return expand(
        FUNCTIONS,
        screen=[screen for screen in (wildcards.screen,) if has_functions(screen)],
    )
