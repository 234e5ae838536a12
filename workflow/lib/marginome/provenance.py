"""What a result was made from: digests of code and files, versions, the machine. Imports no PyTorch."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import marginome
from marginome.seals import OPEN_SEAL, is_sealed, seal
from marginome.storage import sha256_of

PACKAGE = Path(__file__).resolve().parent
SOURCES = Path(".snakemake/marginome/sources.json")  # beside Snakemake's own records, and shipped with the sources
# Files beside the code that the code reads. Others, such as an editor's copy of one, are not in an installed package.
DATA = (".css", ".html", ".js", ".svg")


# ---------------------------------------------------------------------------------------------- code
@functools.cache
def code_digest(*modules: str) -> str:
    """Digest the code that modules depend on, so that an edit reruns what it can change and no more.

    Snakemake follows a rule's script but not what the script imports. This goes into a rule's params:
    a hash over the static import closure of `modules` within the package, without comments, docstrings
    and layout. Data files beside a module of a sub-package (templates, styles) count with it. What a module imports
    by a name that is made while it runs is not seen: name it among `modules` (see `models.headers.reader_modules`).

    Parameters
    ----------
    *modules : str
        Names relative to the package, e.g. ``"jobs.marginalize"``.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    closure = import_closure(*modules)
    digest = _digest_of(closure, PACKAGE)
    folders = {path.parent for path in closure if path.parent != PACKAGE}
    for folder in sorted(folders):
        for data in sorted(folder.rglob("*")):
            # what lies in a package below counts for those that import it
            if data.is_file() and data.suffix in DATA and _package_of(data) == folder:
                digest.update(str(data.relative_to(PACKAGE)).encode())
                digest.update(data.read_bytes())
    return digest.hexdigest()[:16]


def _package_of(path: Path) -> Path:
    """Return the nearest folder above a file that is a package."""
    return next(folder for folder in path.parents if (folder / "__init__.py").is_file())


def import_closure(*modules: str) -> set[Path]:
    """Return the package's source files that `modules` import, directly or not (themselves included)."""
    files = [_module_file(PACKAGE, name) for name in modules]
    if None in files:
        raise FileNotFoundError(f"no module of marginome: {modules}")
    return _closure(files, PACKAGE, "marginome")


def content_digests(files: Iterable[str]) -> dict[str, str]:
    """Return a digest of what files hold: of Python code what it does, of all else every byte.

    Parameters
    ----------
    files : iterable of str
        Existing files. Of the user's code (``.py``) the file and what it imports from its own folder count, without
        comments, docstrings and layout; code that is found in another way is not seen.

    Returns
    -------
    dict
        path -> 64 hexadecimal digits; ``"missing"`` as `file_digests` says.
    """
    files = list(files)
    digests = file_digests(files)
    for file in files:
        if file.endswith(".py") and digests[file] != "missing":
            path = Path(file).resolve()
            digests[file] = _digest_of(_closure([path], path.parent), path.parent).hexdigest()
    return digests


def with_imported(files: Iterable[str]) -> list[str]:
    """Return files, and behind each of Python what it imports from its own folder."""
    found = []
    for file in files:
        found.append(file)
        if file.endswith(".py") and os.path.isfile(file):
            path = Path(file).resolve()
            others = sorted(_closure([path], path.parent) - {path})
            found += [os.path.join(os.path.dirname(file), other.relative_to(path.parent)) for other in others]
    return list(dict.fromkeys(found))


def _digest_of(files: Iterable[Path], root: Path) -> Any:
    """Return a hash, to be gone on with, over the code of files and their paths from a root."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(_source(path).digest.encode())
    return digest


def _closure(files: Iterable[Path], root: Path, package: str = "") -> set[Path]:
    """Return files and what they import, directly or not, from the folder `root`, which is a package of that name."""
    queue, seen = list(files), set()
    kept = _kept_sources()
    known = len(kept["files"])
    while queue:
        path = queue.pop()
        if path not in seen:
            seen.add(path)
            found = (_module_file(root, name) for name in _imported(_source(path).imports, path, root, package))
            queue.extend(file for file in found if file is not None)
    if len(kept["files"]) > known:
        _keep(SOURCES, kept)
    return seen


@functools.cache
def _module_file(root: Path, name: str) -> Path | None:
    base = root.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


class _Source(NamedTuple):
    """What a source file is to a digest: what it imports (dots before the name, module, names), a hash of its code."""

    imports: list[tuple[int, str, list[str]]]
    digest: str


@functools.cache
def _source(path: Path) -> _Source:
    content = path.read_bytes()
    name = hashlib.sha256(content).hexdigest()
    known = _kept_sources()["files"]
    if name not in known:
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError):  # the user's: whoever runs it says so
            known[name] = [[], name]
        else:
            known[name] = [_imports(tree), hashlib.sha256(_normalised(tree)).hexdigest()]
    return _Source(*known[name])


@functools.cache
def _kept_sources() -> dict[str, Any]:
    """What was found in source files before, by the SHA-256 of their bytes: it holds for copies on other machines too.

    Every job parses the workflow, and would parse 200 files of code anew for it, which takes 3 s. Of no use to another
    version of Python or of this file.
    """
    made_by = [platform.python_version(), sha256_of(__file__)]
    kept = _kept(SOURCES)
    return kept if kept.get("made_by") == made_by else {"made_by": made_by, "files": {}}


def _imports(tree: ast.Module) -> list[tuple[int, str, list[str]]]:
    """Every import statement of a file that runs, also inside functions."""
    found: list[tuple[int, str, list[str]]] = []
    for node in _run(tree):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return found


def _imported(imports: Iterable[tuple[int, str, list[str]]], path: Path, root: Path, package: str) -> set[str]:
    """Return what import statements of a file may name in the package at `root`, relative to it."""
    parts = path.relative_to(root).parent.parts
    found: set[str] = set()
    for level, name, names in imports:
        if level:  # relative: one dot is the file's own package
            name = ".".join([*parts[: len(parts) - level + 1], *filter(None, [name])])
        elif package:
            if name != package and not name.startswith(f"{package}."):
                continue
            name = name.removeprefix(package).removeprefix(".")
        found.update([name, *(".".join(filter(None, [name, one])) for one in names)])
    found.discard("")
    # importing a.b.c runs a/__init__ and a/b/__init__ too
    return found | {name.rsplit(".", k)[0] for name in found for k in range(1, name.count(".") + 1)}


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree, without what is there for type checkers alone."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        yield node
        checked = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        nodes.extend(node.orelse if checked else ast.iter_child_nodes(node))


def _normalised(tree: ast.Module) -> bytes:
    """The code of a file without comments, layout and docstrings; takes them out of the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                if isinstance(body[0].value.value, str):
                    node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree).encode()


# ---------------------------------------------------------------------------------------------- files
def file_digests(
    files: Iterable[str], cache: str | os.PathLike | None = ".snakemake/marginome/digests.json"
) -> dict[str, str]:
    """Return the SHA-256 of files by path, remembering them by size and modification time.

    Parameters
    ----------
    files : iterable of str
        Existing files.
    cache : path, optional
        JSON file that keeps what was computed, so that a 3 GB genome is read once and not at every
        parse of the workflow. None keeps nothing.

    Returns
    -------
    dict
        path -> 64 hexadecimal digits; a file that does not exist gets ``"missing"`` (a dry run may plan it).
    """
    known: dict[str, list] = {} if cache is None else _kept(Path(cache))
    digests, changed = {}, False
    for file in files:
        try:
            stat = os.stat(file)
        except OSError:
            digests[file] = "missing"
            continue
        key = os.path.realpath(file)
        stamp = [stat.st_size, stat.st_mtime_ns]
        if known.get(key, [None])[:2] != stamp:
            known[key] = [*stamp, sha256_of(file)]
            changed = True
        digests[file] = known[key][2]
    if changed and cache is not None:
        _keep(Path(cache), known)
    return digests


def _kept(cache: Path) -> dict[str, Any]:
    """What was kept, if every byte of it is as it was written; nothing else."""
    try:
        found = json.loads(cache.read_text(encoding="utf-8")) if is_sealed(cache) else {}
    except (OSError, ValueError):
        found = {}
    found.pop(_SEAL_KEY, None)
    return found


_SEAL_KEY = ""  # no file has that path


def _keep(cache: Path, known: Mapping) -> None:
    temporary = cache.with_name(f".{os.getpid()}.{cache.name}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({**known, _SEAL_KEY: OPEN_SEAL}), encoding="utf-8")
        seal(temporary)
        os.replace(temporary, cache)
    except OSError:  # a read-only folder: the digests are computed again next time
        temporary.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------- run
_PACKAGES = (
    "snakemake", "torch", "numpy", "pandas", "scipy", "numba", "h5py", "pyarrow", "biopython", "pyfaidx",
    "pybedtools", "modisco-lite", "memelite", "matplotlib",
)  # fmt: skip


def narrowed(record: Mapping[str, Any], models: Collection[str], results: Collection[str] = ()) -> dict[str, Any]:
    """Return what a screen's record says of some of its models: a page of one of thousands says nothing of the others.

    Parameters
    ----------
    record : mapping
        A screen's ``provenance.json``.
    models : collection of str
        Those that are kept: their entries, files, checks and shards. Files that others alone were made of go.
    results : collection of str
        Results whose SHA-256 is kept, by path relative to the record.

    Returns
    -------
    dict
        A new record; what is of no model is as it was, but for the lists of models and comparisons of the screen.
    """
    config = record["config"]
    own, others = set(), set()
    for name, check in record["models"].items():
        (own if name in models else others).update(check["input_digests"])
    screens = {
        name: {key: value for key, value in entry.items() if key != "comparisons"}
        | {"models": [model for model in entry["models"] if model in models]}
        for name, entry in config["screen"].items()
    }
    return {
        **record,
        "config": {**config, "screen": screens, "models": _only(config["models"], models)},
        "input_sha256": _only(record["input_sha256"], record["input_sha256"].keys() - (others - own)),
        "result_sha256": _only(record["result_sha256"], results),
        "shards": [shard for shard in record["shards"] if shard.get("model") in models],
        "models": _only(record["models"], models),
    }


def _only(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "marginome": marginome.__version__}  # of the copy that runs
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int | None]:
    """Return what is known of the machine without asking for a device."""
    fields = _cpuinfo()
    flags = fields.get("flags", "").split()
    return {
        "platform": platform.platform(),
        "processor": fields.get("model name") or platform.processor(),
        # Kernels differ with these, and with them last digits; one name (AMD EPYC) may be several kinds.
        "processor_model": f"family {fields['cpu family']}, model {fields['model']}"
        if "cpu family" in fields
        else None,
        "vector_instructions": next((name for name in ("avx512f", "avx2", "avx", "sse2") if name in flags), None),
        "cpus": os.cpu_count(),
        "executable": sys.executable,
    }


def _cpuinfo() -> dict[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def git_state(folder: str | os.PathLike) -> dict[str, str | bool | None]:
    """Return the commit of a checkout and whether it has uncommitted changes; Nones outside git."""
    try:
        run = functools.partial(subprocess.run, cwd=folder, capture_output=True, text=True, check=True, timeout=20)
        commit = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        dirty = bool(run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip())
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "modified": None}
    return {"commit": commit, "modified": dirty}
