# Functions of the rules in elements.smk: what an entry of attributions asks for (marginome.attribution_entries), as files
# and params. No rules here.

from marginome.attribution_entries import (
    element_functions,
    element_kinds,
    element_screen,
    element_settings,
    part_of,
    result_files,
)


def attribution_of(*keys):
    """Params function: the keys of an attribution entry that a rule uses."""
    check_keys("attributions", keys)
    return lambda wildcards: {key: CONFIG["attributions"][wildcards.attribution].get(key) for key in keys}


def attributed_model(function):
    """Input or params function of the model that an attribution entry names, e.g. `settings_of`'s."""

    def inputs(wildcards):
        return function(CONFIG["attributions"][wildcards.attribution]["model"])

    return inputs


def part_files(*part):
    """Input function: the files that a part of an attribution entry names, marked ancient (see `files_of`)."""
    return lambda wildcards: inputs(data_files("attributions", wildcards.attribution, part))


def part_opened(*part):
    """Params function: what a job with that part as its settings is told of those files."""
    return lambda wildcards: opened(("attributions", wildcards.attribution, part, ()))


def part_digests(*part):
    """Params function: digests of the files that a part names, of code too."""
    return lambda wildcards: _part_digests(wildcards.attribution, part)


def _part_digests(attribution, part):
    places = named_places("attributions", attribution)
    files = {file for path, found, _ in places if list(path[: len(part)]) == list(part) for file in found}
    return {file: named_digests("attributions", attribution)[file] for file in sorted(files)}


def background_of(*path):
    """Input function: the FASTA of the background set that a part of an attribution entry names, if it does."""

    def inputs(wildcards):
        name = part_of(CONFIG["attributions"][wildcards.attribution], path)
        return expand(BACKGROUND, background=[name] if name else [])

    return inputs


def insert_collection(wildcards):
    """Input function: the table of the collection that the insert of the loci is from, if it is from one."""
    name = part_of(CONFIG["attributions"][wildcards.attribution], ("loci", "insert", "collection"))
    return expand(COLLECTION, collection=[name] if name else [])


def settings_of_elements(wildcards):
    """Params function: how elements are put into backgrounds, without how many shards."""
    return element_settings(CONFIG["attributions"][wildcards.attribution])


def screen_of_elements(*keys):
    """Params function: what a rule takes of a screen's entry, of the isolated elements."""
    return lambda wildcards: element_screen(CONFIG["attributions"][wildcards.attribution], *keys)


def element_merge(wildcards):
    """Params function: what the shards of elements are put together by, as `merge_functions` takes a screen's."""
    entry = CONFIG["attributions"][wildcards.attribution]
    chosen = {"batches": {"": [entry["model"]]}, "backgrounds": entry["marginalize"]["backgrounds"]}
    asked = element_screen(entry, "functions", "function_settings")
    return chosen | {"shards": [entry["marginalize"]["shards"]]} | asked


def collections_of(wildcards):
    """Input function: tables of the motif collections that name seqlets and patterns."""
    names = part_of(CONFIG["attributions"][wildcards.attribution], ("annotate", "motifs"))
    return expand(COLLECTION, collection=names or [])


def attribution_shards(wildcards):
    """Input function: every shard of an attribution entry."""
    count = CONFIG["attributions"][wildcards.attribution]["shards"]
    return expand(
        ATTRIBUTION_SHARD,
        attribution=wildcards.attribution,
        shard=[f"{i}-of-{count}" for i in range(1, count + 1)],
    )


def element_file(wildcards, elements, what):
    """Input function: a table of seqlets or patterns, named where the config says how, or their isolated effects (as
    a table, and of single backgrounds), or the seqlets of patterns.

    Empty where the config does not ask for it.
    """
    entry = CONFIG["attributions"][wildcards.attribution]
    if elements not in element_kinds(entry):
        return []
    if what in ("effects", "backgrounds"):
        pattern = {"effects": ELEMENT_EFFECTS, "backgrounds": ELEMENT_BACKGROUNDS}[what]
        files = pattern if entry.get("marginalize") else []
    elif what == "members":
        files = PATTERN_SEQLETS
    elif elements == "patterns":
        files = PATTERN_MATCHES if entry.get("annotate") else PATTERNS
    else:
        files = ANNOTATIONS if entry.get("annotate") else SEQLETS
    return expand(files, attribution=wildcards.attribution, elements=elements)


def element_table(wildcards):
    """Input function: the table of the seqlets or patterns that are put into backgrounds."""
    return element_file(wildcards, wildcards.elements, "table")


def pattern_members(wildcards):
    """Input function: the seqlets of the patterns, which samples are drawn from."""
    return PATTERN_SEQLETS if wildcards.elements == "patterns" else []


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


def attribution_files(attribution):
    """What a reader gets of an attribution entry: names in the folder of results."""
    return [
        f"attributions/{attribution}/{file}" for file in result_files(CONFIG["attributions"][attribution])
    ]


def recorded_results(wildcards):
    """Input function: the tables and arrays of an attribution entry, whose checksums are recorded."""
    names = attribution_files(wildcards.attribution)
    return in_results(name for name in names if name.endswith((".parquet", ".h5")))


def recorded_parts(wildcards):
    """Input function: every shard of an attribution entry: of attributions, then of its isolated elements."""
    entry = CONFIG["attributions"][wildcards.attribution]
    found = attribution_shards(wildcards)
    if not entry.get("marginalize"):
        return found
    patterns = [ELEMENT_SHARD]
    if element_functions(entry):
        patterns.append(ELEMENT_AFTER)
    count = entry["marginalize"]["shards"]
    return found + expand(
        patterns,
        attribution=wildcards.attribution,
        elements=element_kinds(entry),
        model=entry["model"],
        background=entry["marginalize"]["backgrounds"],
        shard=[f"{i}-of-{count}" for i in range(1, count + 1)],
    )


def opened_for_attribution(wildcards):
    """Input function: what says which files were opened for an attribution entry, beside those of its model."""
    entry = CONFIG["attributions"][wildcards.attribution]
    kinds = element_kinds(entry) if entry.get("marginalize") else []
    inserts = expand(ELEMENT_INSERTS, attribution=wildcards.attribution, elements=kinds)
    return [
        *opened_for(used_entries(entry)),
        *expand(LOCI_RECORD, attribution=wildcards.attribution),
        *inserts,
    ]


def attribution_section(attribution):
    """An attribution entry with the entries that it names, and the run's settings."""
    named = {
        section: {name: CONFIG[section][name] for name in names}
        for section, names in used_entries(CONFIG["attributions"][attribution]).items()
    }
    entry = {attribution: CONFIG["attributions"][attribution]}
    return {"attribution": entry, "seed": CONFIG["seed"], **engine_settings(), **named}


def attribution_results():
    """Everything a reader gets of every attribution entry."""
    return in_results(file for name in CONFIG["attributions"] for file in attribution_files(name))
