# The user's files that entries of the config name: which, where in the entry, what they hold. No rules here.
#
# Where Snakemake ships the sources, a job parses this file on a machine that has none of them: it is told what the process
# that planned the run found, by a file that goes with the config files.

import hashlib
import importlib.util
import re

from snakemake_interface_executor_plugins.settings import SharedFSUsage

from marginome.config import SECTIONS, file_keys, file_places
from marginome.planning import Planned, check_shipped
from marginome.provenance import SOURCES
from marginome.textfiles import is_address


def shipped():
    """Say whether jobs get the sources from Snakemake."""
    return SharedFSUsage.SOURCES not in workflow.storage_settings.shared_fs_usage


PLAN = Planned(".snakemake/marginome/plan.json", read=shipped() and not workflow.is_main_process)


@PLAN.asks
def named_places(section, name):
    """Where an entry names files, which, and whether they are code (`file_places`)."""
    return file_places(CONFIG, section, name)


@PLAN.asks
def named_digests(section, name):
    """Digests of the files that an entry names; a job looks at no others."""
    files = entry_files(section, name)
    known = section_digests(section) if workflow.is_main_process else content_digests(here(files))
    return {file: stored_digest(file) if is_address(file) else known[file] for file in files}


@PLAN.asks
def checksums(section, name):
    """SHA-256 of every file that a screen or an attribution entry, and what it names, need; of imported code too."""
    entry = CONFIG[section][name]
    used = entry if section == "screens" else used_entries(entry)
    named = [(s, one) for s in ("models", "motifs", "backgrounds") for one in used.get(s, [])]
    files = [file for one in [*named, (section, name)] for file in entry_files(*one)]
    there = {file: stored_digest(file) for file in files if is_address(file)}
    return {**file_digests(with_imported(here(files))), **there}


@PLAN.asks
def readers_of(section, name):
    """What reads the files of a model (modules) or of a collection (by file); looked up once, since the content tells."""
    entry = CONFIG[section][name]
    if section == "models":
        return list(reader_modules(entry))
    settings = entry if section == "motifs" else (entry.get("exclude_hits") or {}).get("motifs")
    return formats.readers_of(settings) if settings else {}


def here(files):
    """Those of some files that are no addresses."""
    return [file for file in files if not is_address(file)]


# Snakemake's storage plugins by the beginnings of the addresses that they know.
STORAGE_PLUGINS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}


def check_plugin(address):
    """Refuse an address that no installed plugin of Snakemake's fetches from."""
    scheme = address.partition("://")[0]
    plugin = STORAGE_PLUGINS.get(scheme)
    if plugin is None:
        known = ", ".join(f"{scheme}://" for scheme in STORAGE_PLUGINS)
        raise WorkflowError(f"{address}: files are fetched from {known}; download others first.")
    if importlib.util.find_spec(f"snakemake_storage_plugin_{plugin}") is None:
        raise WorkflowError(f"{address}: to fetch it, pip install snakemake-storage-plugin-{plugin}")


if workflow.is_main_process and "://" in str(CONFIG):
    for file in {file for _, file in file_keys(CONFIG) if is_address(file)}:
        check_plugin(file)


@functools.cache
def stored(address):
    """The file at an address, as an input that Snakemake fetches."""
    return storage(address)


@PLAN.asks
def stored_digest(address):
    """SHA-256 of the file at an address where the config gives it; else what its server says of it."""
    known = CONFIG["sha256"].get(address)
    if known:
        return known
    found = stored(address).flags["storage_object"]
    tag = found.s3obj().e_tag if hasattr(found, "s3obj") else ""
    return f"{address} {tag} of {found.size()} bytes and {found.mtime():.0f} s".replace('"', "")


def inputs(files):
    """Files of the user's as inputs that are ancient (see `files_of`), fetched where they are addresses."""
    return [ancient(stored(file) if is_address(file) else file) for file in files]


def entry_files(section, name):
    """The files that an entry names, data and code, sorted."""
    return sorted({file for _, files, _ in named_places(section, name) for file in files})


def data_places(section, name, part=()):
    """Where a part of an entry, given by keys, names files that are data: by keys within the entry, and which."""
    return [
        (path, files)
        for path, files, is_code in named_places(section, name)
        if not is_code and list(path[: len(part)]) == list(part)
    ]


@functools.cache
def data_files(section, name, part=()):
    """The files that are data, in their order and each once: the code is shipped as Snakemake's own sources are."""
    return list(dict.fromkeys(file for _, files in data_places(section, name, part) for file in files))


@functools.cache
def section_digests(section):
    """Digests of the files of all entries of a section: what is remembered of them is read and written once."""
    return content_digests(
        dict.fromkeys(file for name in CONFIG[section] for file in here(entry_files(section, name)))
    )


@functools.cache
def opened(*entries):
    """What a job is told of the files among its inputs (`OpenedFiles`).

    An entry is (section, name, part, keys): the keys lead from the job's settings to that part.
    """
    names, places, known = [], [], {}
    for section, name, part, keys in entries:
        files = data_files(section, name, part)
        for path, found in data_places(section, name, part):
            numbers = [len(names) + files.index(file) for file in found]
            places.append([[*keys, *path[len(part) :]], numbers])
        names += files
        known |= named_digests(section, name)
    digests = [known[name] if re.fullmatch("[0-9a-f]{64}", known[name]) else None for name in names]
    return {"names": names, "places": places, "digests": digests}


def checksums_beside(files):
    """The lists of checksums that lie beside published tables."""
    beside = [os.path.join(os.path.dirname(file), "SHA256SUMS") for file in files]
    return list(dict.fromkeys(file for file in beside if os.path.exists(file)))


def genome_name(file):
    """The name of a genome in the folder of results: what it is called, and a digest of where it is."""
    called = re.sub("[^A-Za-z0-9_.-]", "_", os.path.basename(file))
    return f"{called}-{hashlib.sha256(file.encode()).hexdigest()[:8]}"


# Genomes are large and several entries read one: each is indexed once. By name: the file, and an entry that names it.
GENOMES = {
    genome_name(entry["genome"]): (entry["genome"], section, name)
    for section, part in (("backgrounds", None), ("attributions", "loci"))
    for name in CONFIG[section]
    for entry in [CONFIG[section][name][part] if part else CONFIG[section][name]]
    if entry.get("genome")
}


def index_of(entry):
    """The index of the genome that a background set or loci are from, if they are from one."""
    genome = entry.get("genome")
    return expand([GENOME_INDEX, GENOME_BLOCKS], genome=[genome_name(genome)] if genome else [])


def genome_digest(wildcards):
    """Params function: the digest of a genome."""
    file, section, name = GENOMES[wildcards.genome]
    return named_digests(section, name)[file]


def write_plan():
    """Have the file that jobs are told by go with the config files, and what is known of the code's own files."""
    for section in SECTIONS:
        for name in CONFIG[section]:
            named_digests(section, name)
            (checksums if section in ("screens", "attributions") else readers_of)(section, name)
    sheets = [one if isinstance(one, str) else one["file"] for one in CONFIG["sheets"]]
    keep_batches()
    workflow.configfiles += [PLAN.write(), str(SOURCES), *sheets, *([KEPT_BATCHES.path] if sheets else [])]


# Whether the executor ships sources is not known yet; without a default storage none does.
if workflow.is_main_process and workflow.storage_settings.default_storage_provider is not None:
    write_plan()


def look_when_jobs_end():
    """Have Snakemake look for jobs to start when one ends, not by the clock as well.

    For its limit of 100 jobs started a second, 9.27.1 has a timer call the next look after each look, and a job's end
    adds one: after a thousand jobs it looks a thousand times a second, which takes a core. Where cores or the number
    of jobs at once bound what is started, the limit does nothing else. Another limit, which somebody asked for, stays.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    bound = workflow.local_exec or (workflow.resource_settings.nodes or sys.maxsize) <= 100
    if bound and limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


onstart:
    look_when_jobs_end()
    try:
        keep_batches()
    except (MarginomeError, OSError) as error:
        raise WorkflowError(str(error)) from None
    if shipped():
        places = [
            place
            for section in SECTIONS
            for name in CONFIG[section]
            for place in named_places(section, name)
        ]
        try:
            check_shipped([file for _, files, is_code in places if is_code for file in files])
        except MarginomeError as error:
            raise WorkflowError(str(error)) from None
